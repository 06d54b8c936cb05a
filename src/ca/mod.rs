//! Layer `ca`.
