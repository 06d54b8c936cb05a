//! What a token key may be asked to sign: nothing else ever reaches a token.

use super::csr::RequestInfo;
use super::tbs::Linted;

/// A message of a known kind. The token layer hashes the whole message itself and, knowing the
/// kind, can apply the guard of the key before it signs.
#[derive(Clone, Copy, Debug)]
pub enum ToSign<'a> {
    /// A TBSCertificate that passed every lint.
    Certificate(&'a Linted),
    /// A CertificationRequestInfo of the key's own request (RFC 2986).
    Request(&'a RequestInfo),
    /// The text of a log checkpoint (C2SP signed note).
    Checkpoint(&'a str),
}

impl ToSign<'_> {
    /// The whole message, not its digest.
    pub fn message(&self) -> &[u8] {
        match self {
            Self::Certificate(linted) => linted.der(),
            Self::Request(info) => info.der(),
            Self::Checkpoint(text) => text.as_bytes(),
        }
    }
}
