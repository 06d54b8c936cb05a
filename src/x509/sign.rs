//! What a token key may be asked to sign: nothing else ever reaches a token.

use super::csr::RequestInfo;
use super::status::LintedCrl;
use super::tbs::Linted;
use crate::types::Invalid;

/// A message of a known kind. The token layer hashes the whole message itself and, knowing the
/// kind, can apply the guard of the key before it signs.
#[derive(Clone, Copy, Debug)]
pub enum ToSign<'a> {
    /// A TBSCertificate that passed every lint.
    Certificate(&'a Linted),
    /// A CertificationRequestInfo of the key's own request (RFC 2986).
    Request(&'a RequestInfo),
    /// A TBSCertList that passed every lint.
    Crl(&'a LintedCrl),
    /// The text of a log checkpoint (C2SP signed note).
    Checkpoint(&'a str),
    /// A statement about an artifact (CMS signed attributes or COSE Sig_structure).
    Artifact(&'a ArtifactStatement),
}

impl ToSign<'_> {
    /// The whole message, not its digest.
    pub fn message(&self) -> &[u8] {
        match self {
            Self::Certificate(linted) => linted.der(),
            Self::Request(info) => info.der(),
            Self::Crl(crl) => crl.der(),
            Self::Checkpoint(text) => text.as_bytes(),
            Self::Artifact(statement) => statement.bytes(),
        }
    }
}

/// Largest artifact statement in bytes: digest, times and the hashes of a chain.
const MAX_STATEMENT: usize = 16 * 1024;

/// What a key signs about an artifact. Its first octets exclude every other kind of message: a
/// certificate or request starts with a SEQUENCE (30), a checkpoint with text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ArtifactStatement(Vec<u8>);

impl ArtifactStatement {
    /// Accepts a DER SET OF attributes (RFC 5652 §5.4) or a COSE Sig_structure of one signer
    /// (RFC 9052 §4.4), at most 16 KiB.
    pub fn new(bytes: Vec<u8>) -> Result<Self, Invalid> {
        let kind = bytes.first() == Some(&0x31) || bytes.starts_with(b"\x84\x6aSignature1");
        if !kind || bytes.len() > MAX_STATEMENT {
            return Err(Invalid::new(
                "artifact statement",
                "must be CMS signed attributes or a COSE Signature1 structure of at most 16 KiB",
            ));
        }
        Ok(Self(bytes))
    }

    /// The whole message.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}
