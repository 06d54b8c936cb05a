//! Signing: the whole message comes in, is hashed here, and leaves as an X.509-form signature.

use super::TokenError;
use super::key::Key;
use super::module::Token;
use crate::types::SignatureAlgorithm;
use crate::x509::keys;
use crate::x509::sign::ToSign;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::mechanism::{Mechanism, MechanismType};
use sha2::{Digest, Sha256, Sha384};

/// DER DigestInfo of SHA-256 up to the digest (RFC 8017 §9.2 note 1).
const DIGEST_INFO_SHA256: [u8; 19] =
    [0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20];

impl Token {
    /// Signs with a key of this token; the signature is in X.509 form (DER for ECDSA) and not yet
    /// verified: who attaches it verifies it.
    pub fn sign(&self, key: &Key, what: ToSign<'_>) -> Result<Vec<u8>, TokenError> {
        self.sign_message(key, what.message())
    }

    /// The mechanism for RSA signatures: raw PKCS#1 v1.5 where offered, because then the token
    /// cannot hash anything else than what was hashed here.
    pub(super) fn rsa_mechanism(&self) -> Result<MechanismType, TokenError> {
        [MechanismType::RSA_PKCS, MechanismType::SHA256_RSA_PKCS]
            .into_iter()
            .find(|m| self.mechanisms.contains(m))
            .ok_or_else(|| TokenError::Unsupported("RSA signatures: neither CKM_RSA_PKCS nor CKM_SHA256_RSA_PKCS is listed".into()))
    }

    pub(super) fn sign_message(&self, key: &Key, message: &[u8]) -> Result<Vec<u8>, TokenError> {
        let raw = |mechanism: &Mechanism<'_>, data: &[u8]| Ok::<_, TokenError>(self.session.sign(mechanism, key.handle, data)?);
        let to_der = |signature: Vec<u8>, length: usize| match keys::ecdsa_raw_to_der(&signature) {
            Ok(der) if signature.len() == length => Ok(der),
            _ => Err(TokenError::DeviceFailed { call: "C_Sign".into(), code: format!("a signature of {} bytes", signature.len()) }),
        };
        match key.algorithm().signature_algorithm() {
            SignatureAlgorithm::EcdsaSha256 => to_der(raw(&Mechanism::Ecdsa, &Sha256::digest(message))?, 64),
            SignatureAlgorithm::EcdsaSha384 => to_der(raw(&Mechanism::Ecdsa, &Sha384::digest(message))?, 96),
            SignatureAlgorithm::RsaSha256 if self.rsa_mechanism()? == MechanismType::RSA_PKCS => {
                raw(&Mechanism::RsaPkcs, &[&DIGEST_INFO_SHA256[..], &Sha256::digest(message)].concat())
            }
            SignatureAlgorithm::RsaSha256 => raw(&Mechanism::Sha256RsaPkcs, message),
            SignatureAlgorithm::Ed25519 => raw(&Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Ed25519)), message),
        }
    }
}
