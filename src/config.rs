//! Configuration files of the binaries.
