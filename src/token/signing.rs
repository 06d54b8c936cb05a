//! Signing, wherever the module lives: in this process or in a signer process.

use super::signer::{Health, RemoteSigner};
use super::{SignerPool, TokenError, TokenInfo};
use crate::types::{Fingerprint, KeyAlgorithm};
use crate::x509::sign::ToSign;

/// What the issuance line and the log sign with.
#[derive(Debug)]
pub enum Signer {
    /// Module and PIN in this process: tests, tools, single-user machines.
    Here(Box<SignerPool>),
    /// Module and PIN in a process of their own, behind a guard.
    Process(RemoteSigner),
}

impl Signer {
    /// Signs the whole message of `what`; X.509 form, not yet verified. After
    /// [`TokenError::DeviceFailed`] it is unknown whether the token signed; after any other error
    /// it has not.
    pub async fn sign(&self, fingerprint: &Fingerprint, what: ToSign<'_>) -> Result<Vec<u8>, TokenError> {
        match self {
            Self::Here(pool) => pool.sign(fingerprint, what).await,
            Self::Process(remote) => remote.sign(fingerprint, what).await,
        }
    }

    /// DER SubjectPublicKeyInfo of one of the keys.
    pub fn spki_der(&self, fingerprint: &Fingerprint) -> Result<&[u8], TokenError> {
        match self {
            Self::Here(pool) => pool.spki_der(fingerprint),
            Self::Process(remote) => remote.spki_der(fingerprint),
        }
    }

    /// Algorithm of one of the keys.
    pub fn algorithm(&self, fingerprint: &Fingerprint) -> Result<KeyAlgorithm, TokenError> {
        match self {
            Self::Here(pool) => pool.algorithm(fingerprint),
            Self::Process(remote) => remote.algorithm(fingerprint),
        }
    }

    /// Signatures that may wait or be made at a time before [`Self::sign`] refuses.
    pub fn capacity(&self) -> usize {
        match self {
            Self::Here(pool) => pool.capacity(),
            Self::Process(remote) => remote.capacity(),
        }
    }

    /// The token, as read at the start.
    pub fn info(&self) -> &TokenInfo {
        match self {
            Self::Here(pool) => pool.info(),
            Self::Process(remote) => remote.info(),
        }
    }

    /// How the token is now; a pool in this process is up while it lives.
    pub fn health(&self) -> Health {
        match self {
            Self::Here(_) => Health::Up,
            Self::Process(remote) => remote.health(),
        }
    }
}
