//! Layer `token`.
