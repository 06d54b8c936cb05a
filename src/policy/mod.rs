//! Layer `policy`.
