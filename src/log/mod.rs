//! Layer `log`.
