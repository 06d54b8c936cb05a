//! Device keys as signers of artifacts: in a secure element, or in a PKCS#11 token.

use crate::artifact::ArtifactSigner;
use crate::device::SecureElement;
use crate::token::{Key, Token};
use crate::types::SignatureAlgorithm;
use crate::x509::keys;
use crate::x509::sign::{ArtifactStatement, ToSign};
use sha2::{Digest, Sha256};

/// The device key of a secure element. The chip signs a SHA-256 digest of the statement.
pub struct ElementSigner<'a>(pub &'a mut dyn SecureElement);

impl ArtifactSigner for ElementSigner<'_> {
    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::EcdsaSha256
    }

    fn sign(&mut self, statement: &ArtifactStatement) -> Result<Vec<u8>, String> {
        let digest: [u8; 32] = Sha256::digest(statement.bytes()).into();
        let raw = self.0.sign(&digest).map_err(|e| e.to_string())?;
        keys::ecdsa_raw_to_der(&raw).map_err(|e| e.to_string())
    }
}

/// A key of an open token. The token layer hashes the statement itself.
pub struct TokenSigner<'a> {
    /// The token.
    pub token: &'a Token,
    /// The key.
    pub key: &'a Key,
}

impl ArtifactSigner for TokenSigner<'_> {
    fn algorithm(&self) -> SignatureAlgorithm {
        self.key.algorithm().signature_algorithm()
    }

    fn sign(&mut self, statement: &ArtifactStatement) -> Result<Vec<u8>, String> {
        self.token.sign(self.key, ToSign::Artifact(statement)).map_err(|e| e.to_string())
    }
}
