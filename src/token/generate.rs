//! Making a key pair in the token: explicit, never over an existing one (K4), read back (K2).

use super::attributes::{private_key_template, public_key_template};
use super::key::Key;
use super::module::Token;
use super::public::ec_params;
use super::{TokenError, TokenUri};
use crate::types::KeyAlgorithm;
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, ObjectClass};

/// Longest key label, bytes: what every common module stores.
const MAX_LABEL: usize = 64;
/// F4 (FIPS 186-5 §A.1.1 wants an odd exponent above 2^16).
const PUBLIC_EXPONENT: [u8; 3] = [1, 0, 1];

/// A random CKA_ID of 20 bytes.
pub fn new_key_id() -> Result<[u8; 20], TokenError> {
    let mut id = [0u8; 20];
    getrandom::fill(&mut id).map_err(|e| TokenError::Environment(format!("no randomness from the kernel: {e}")))?;
    Ok(id)
}

impl Token {
    /// Checks without writing that [`Token::generate_key`] can be asked for this key: the label is
    /// well formed and free, and the token lists the mechanism.
    pub fn can_generate(&self, algorithm: KeyAlgorithm, label: &str) -> Result<(), TokenError> {
        if label.is_empty() || label.len() > MAX_LABEL || label.chars().any(char::is_control) {
            return Err(TokenError::Unsupported(format!("a key label has 1 to {MAX_LABEL} bytes without control characters")));
        }
        if self.label_taken(label)? {
            return Err(TokenError::KeyExists(label.to_owned()));
        }
        let needed = match algorithm {
            KeyAlgorithm::P256 | KeyAlgorithm::P384 => [MechanismType::ECC_KEY_PAIR_GEN, MechanismType::ECDSA],
            KeyAlgorithm::Ed25519 => [MechanismType::ECC_EDWARDS_KEY_PAIR_GEN, MechanismType::EDDSA],
            KeyAlgorithm::Rsa(2048 | 3072 | 4096) => [MechanismType::RSA_PKCS_KEY_PAIR_GEN, self.rsa_mechanism()?],
            KeyAlgorithm::Rsa(bits) => return Err(TokenError::Unsupported(format!("RSA of {bits} bits; use 2048, 3072 or 4096"))),
        };
        match needed.iter().find(|m| !self.mechanisms.contains(m)) {
            Some(missing) => Err(TokenError::Unsupported(format!("{algorithm}: token {} does not list {missing}", self.info().serial))),
            None => Ok(()),
        }
    }

    /// Makes a key pair whose every relevant attribute is set explicitly, reads it back, and
    /// refuses (destroying the pair that it just made, nothing else) what reads back otherwise.
    pub fn generate_key(&self, algorithm: KeyAlgorithm, label: &str) -> Result<Key, TokenError> {
        self.generate_key_with_id(algorithm, label, &new_key_id()?)
    }

    /// The same with a CKA_ID that was recorded beforehand, so that after an interruption the key
    /// can be told from any other of its label.
    pub fn generate_key_with_id(&self, algorithm: KeyAlgorithm, label: &str, id: &[u8]) -> Result<Key, TokenError> {
        self.can_generate(algorithm, label)?;
        let names = [Attribute::Label(label.as_bytes().to_vec()), Attribute::Id(id.to_vec())];
        let (mut public, mut private) = (public_key_template(), private_key_template());
        public.extend(names.clone());
        private.extend(names);
        let mechanism = match algorithm {
            KeyAlgorithm::P256 | KeyAlgorithm::P384 => Mechanism::EccKeyPairGen,
            KeyAlgorithm::Ed25519 => Mechanism::EccEdwardsKeyPairGen,
            KeyAlgorithm::Rsa(_) => Mechanism::RsaPkcsKeyPairGen,
        };
        if let Some(params) = ec_params(algorithm) {
            public.push(Attribute::EcParams(params.to_vec()));
        }
        if let KeyAlgorithm::Rsa(bits) = algorithm {
            public.push(Attribute::ModulusBits(u64::from(bits).into()));
            public.push(Attribute::PublicExponent(PUBLIC_EXPONENT.to_vec()));
        }
        let (public, private) = self.session.generate_key_pair(&mechanism, &public, &private)?;
        let checked = self.describe(private).and_then(super::FoundKey::into_key).and_then(|key| {
            if key.algorithm() == algorithm && key.label() == label && key.id() == id {
                Ok(key)
            } else {
                let code = format!("a {} key labelled '{}' instead of the {algorithm} key asked for", key.algorithm(), key.label());
                Err(TokenError::DeviceFailed { call: "C_GenerateKeyPair".into(), code })
            }
        });
        if checked.is_err() {
            for object in [private, public] {
                if let Err(error) = self.session.destroy_object(object) {
                    tracing::error!(label, %error, "the refused key could not be destroyed; remove it by hand");
                }
            }
        }
        checked
    }

    /// Looks for the key that an interrupted [`Token::generate_key_with_id`] may have left. A public
    /// half alone under this recorded CKA_ID is that call's debris and is removed; nothing else is.
    pub fn recover_key(&self, label: &str, id: &[u8]) -> Result<Option<Key>, TokenError> {
        let named = |class| vec![Attribute::Class(class), Attribute::Label(label.as_bytes().to_vec()), Attribute::Id(id.to_vec())];
        if let Some(private) = self.session.find_objects(&named(ObjectClass::PRIVATE_KEY))?.first() {
            return self.describe(*private).and_then(super::FoundKey::into_key).map(Some);
        }
        for public in self.session.find_objects(&named(ObjectClass::PUBLIC_KEY))? {
            self.session.destroy_object(public)?;
        }
        Ok(None)
    }

    /// Destroys a key pair of this token, and proves that it is no longer found.
    pub fn destroy_key(&self, key: &Key) -> Result<(), TokenError> {
        let public = [Attribute::Class(ObjectClass::PUBLIC_KEY), Attribute::Id(key.id().to_vec())];
        self.session.destroy_object(key.handle)?;
        for object in self.session.find_objects(&public)? {
            self.session.destroy_object(object)?;
        }
        match self.find_key(&key.fingerprint()) {
            Err(TokenError::NoSuchKey(_)) => Ok(()),
            _ => Err(TokenError::DeviceFailed { call: "C_DestroyObject".into(), code: "success, but the key is still there".into() }),
        }
    }

    /// Name of a key of this token as a PKCS#11 URI.
    pub fn key_uri(&self, key: &Key) -> Result<TokenUri, TokenError> {
        Ok(self.info().uri()?.with_key(key.label(), key.id()))
    }
}
