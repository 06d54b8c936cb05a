//! Layer `device`.
