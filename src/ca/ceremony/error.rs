//! Why a ceremony does not go on.

use super::fault::Fault;
use crate::token::TokenError;

/// A refusal before the token is written to, or a stop that the same command can resume from.
#[derive(Debug, thiserror::Error)]
pub enum CeremonyError {
    /// The file is wrong; every fault that was found, with line and column.
    #[error("the ceremony file is refused:\n{}", list(.0))]
    Faulty(Vec<Fault>),
    /// The file itself cannot be read.
    #[error("{path}: {reason}")]
    Unreadable {
        /// The ceremony file.
        path: String,
        /// Why.
        reason: String,
    },
    /// An output exists already, or its directory is missing.
    #[error("output {path}: {reason}")]
    Output {
        /// Path as resolved.
        path: String,
        /// Why, and what to do.
        reason: String,
    },
    /// The token layer refused or failed.
    #[error("token for '{role}': {source}")]
    Token {
        /// `key` or `issuer`.
        role: &'static str,
        /// What the token layer says.
        source: TokenError,
    },
    /// A production ceremony met a software token (T1).
    #[error("token {0} is a software token, whose keys the host's administrator can copy; set purpose = \"test\" or use a hardware token")]
    SoftToken(String),
    /// A certificate or request cannot be built, or a signature does not verify.
    #[error("certificate: {0}")]
    Certificate(String),
    /// Not enough people have approved this plan, or an approval does not count.
    #[error("approval: {0}")]
    Approval(String),
    /// The journal cannot be read or written, or belongs to another plan.
    #[error("journal {path}: {reason}")]
    Journal {
        /// Path of the journal.
        path: String,
        /// Why, and what to do.
        reason: String,
    },
}

fn list(faults: &[Fault]) -> String {
    faults.iter().map(Fault::to_string).collect::<Vec<_>>().join("\n")
}
