//! The transparency log: what an entry says, the Merkle tree over the entries, C2SP tiles on
//! disk, signed checkpoints and proofs that a device holder checks offline.
//!
//! [`entry`], [`merkle`], [`edge`], [`note`], [`vkey`], [`checkpoint`] and [`proof`] are pure;
//! [`tiles`] is the only writer and [`reader`] the only reader of a log directory; [`mirror`]
//! copies one, [`audit`] believes none of it.

pub mod audit;
pub mod checkpoint;
pub mod edge;
pub mod entry;
pub mod merkle;
pub mod mirror;
pub mod note;
pub mod proof;
pub mod reader;
pub mod tile;
pub mod tiles;
pub mod trust;
pub mod vkey;
pub mod witness;

use std::io;
use std::path::{Path, PathBuf};

/// Why the log refuses.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Bytes or text that are not what they claim to be.
    #[error("not a valid {what}: {reason}")]
    Malformed {
        /// The format, e.g. `checkpoint`.
        what: &'static str,
        /// The rule that is broken.
        reason: String,
    },
    /// The file system failed.
    #[error("{path}: {source}")]
    Io {
        /// File concerned.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Creation would overwrite (K4).
    #[error("{0} already holds a log; choose an empty directory, creation never overwrites")]
    Exists(PathBuf),
    /// Loading never creates (K4).
    #[error("{0} holds no log; create one explicitly or correct the path")]
    Absent(PathBuf),
    /// Another process writes this log.
    #[error("{0} is in use by another process; only one may write a log")]
    Locked(PathBuf),
    /// What is to be written contradicts what is already there.
    #[error("entry {index}: {reason}; a log is never rewritten, so restore the newer state instead")]
    Conflict {
        /// Index of the entry concerned.
        index: u64,
        /// The contradiction.
        reason: String,
    },
    /// A stored file does not agree with the tree.
    #[error("{path}: {reason}; take the file from a mirror")]
    Corrupt {
        /// File concerned.
        path: PathBuf,
        /// What does not agree.
        reason: String,
    },
    /// An index or size beyond the tree.
    #[error("{what} {value} is beyond the tree of size {size}")]
    OutOfRange {
        /// `index` or `size`.
        what: &'static str,
        /// Value asked for.
        value: u64,
        /// Size of the tree.
        size: u64,
    },
    /// A note without a good signature by the expected key.
    #[error("the note is not signed by {name}: {reason}")]
    Unsigned {
        /// Name of the key.
        name: String,
        /// Missing, or does not verify.
        reason: String,
    },
    /// An inclusion or consistency proof that does not lead to the root.
    #[error("the {0} proof does not lead to the signed root")]
    Disproved(&'static str),
    /// Certificate and log entry disagree.
    #[error("the certificate does not belong to this proof: {0}")]
    WrongCertificate(String),
}

impl LogError {
    fn malformed(what: &'static str, reason: impl Into<String>) -> Self {
        Self::Malformed { what, reason: reason.into() }
    }

    fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }

    fn corrupt(path: &Path, reason: impl Into<String>) -> Self {
        Self::Corrupt { path: path.to_owned(), reason: reason.into() }
    }
}
