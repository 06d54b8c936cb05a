//! Verifier keys (vkeys) of signed notes: ECDSA by the log, Ed25519, and Ed25519 cosignatures.

use super::LogError;
use super::note::check_name;
use crate::types::{KeyAlgorithm, SignatureAlgorithm};
use crate::x509::keys;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest, Sha256};

/// DER of an Ed25519 SubjectPublicKeyInfo up to the key's 32 octets (RFC 8410 §4).
const ED25519_SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// Signature types that are verified here, by their identifier byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoteKeyType {
    /// 0x01: Ed25519 over the text.
    Ed25519,
    /// 0x02: ECDSA with SHA-256 over the text, signature in ASN.1 DER.
    Ecdsa,
    /// 0x04: timestamped Ed25519 cosignature of a checkpoint (`cosignature/v1`).
    Cosignature,
}

impl NoteKeyType {
    fn byte(self) -> u8 {
        match self {
            Self::Ed25519 => 0x01,
            Self::Ecdsa => 0x02,
            Self::Cosignature => 0x04,
        }
    }
}

/// A public key with the name that it signs notes under.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifierKey {
    name: String,
    kind: NoteKeyType,
    spki_der: Vec<u8>,
}

impl VerifierKey {
    /// The ECDSA key of a log (P-256 or P-384), from its DER SubjectPublicKeyInfo.
    pub fn ecdsa(name: &str, spki_der: &[u8]) -> Result<Self, LogError> {
        check_name(name)?;
        match keys::classify(spki_der) {
            Ok(KeyAlgorithm::P256 | KeyAlgorithm::P384) => {
                Ok(Self { name: name.to_owned(), kind: NoteKeyType::Ecdsa, spki_der: spki_der.to_vec() })
            }
            Ok(other) => Err(LogError::malformed("log key", format!("{other} is not an ECDSA key on P-256 or P-384"))),
            Err(e) => Err(LogError::malformed("log key", e.to_string())),
        }
    }

    /// The Ed25519 key of a witness, from its 32 octets.
    pub fn cosignature(name: &str, public: &[u8; 32]) -> Result<Self, LogError> {
        check_name(name)?;
        Ok(Self { name: name.to_owned(), kind: NoteKeyType::Cosignature, spki_der: [&ED25519_SPKI[..], public].concat() })
    }

    /// Reads `name+hex(keyID)+base64(type ‖ public key)`; the id must be the one of name and key.
    pub fn parse(text: &str) -> Result<Self, LogError> {
        let bad = |reason: &str| LogError::malformed("verifier key", reason);
        let mut parts = text.trim_end_matches(['\n', '\r']).splitn(3, '+');
        let (Some(name), Some(id), Some(encoded)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(bad("it must read name+keyid+base64"));
        };
        check_name(name)?;
        let blob = BASE64.decode(encoded).map_err(|e| bad(&e.to_string()))?;
        let key = match blob.split_first() {
            Some((0x02, spki)) => Self::ecdsa(name, spki)?,
            Some((kind @ (0x01 | 0x04), public)) => {
                let public = public.try_into().map_err(|_| bad("an Ed25519 key has 32 octets"))?;
                let kind = if *kind == 0x01 { NoteKeyType::Ed25519 } else { NoteKeyType::Cosignature };
                Self { kind, ..Self::cosignature(name, public)? }
            }
            _ => return Err(bad("signature type is none of Ed25519 (1), ECDSA (2), cosignature (4)")),
        };
        if id != hex::encode(key.key_id()) {
            return Err(bad("the key id does not fit name and key"));
        }
        Ok(key)
    }

    /// Name in signature lines.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Signature type.
    pub fn kind(&self) -> NoteKeyType {
        self.kind
    }

    /// DER SubjectPublicKeyInfo.
    pub fn spki_der(&self) -> &[u8] {
        &self.spki_der
    }

    /// Four bytes that mark this key's lines: SHA-256(SPKI)\[:4\] for ECDSA, otherwise
    /// SHA-256(name ‖ LF ‖ type ‖ key)\[:4\].
    pub fn key_id(&self) -> [u8; 4] {
        let digest = match self.kind {
            NoteKeyType::Ecdsa => Sha256::digest(&self.spki_der),
            kind => Sha256::new().chain_update(&self.name).chain_update([b'\n', kind.byte()]).chain_update(self.material()).finalize(),
        };
        let [a, b, c, d, ..] = <[u8; 32]>::from(digest);
        [a, b, c, d]
    }

    /// Public key as vkeys carry it: SPKI for ECDSA, 32 octets for Ed25519.
    fn material(&self) -> &[u8] {
        match self.kind {
            NoteKeyType::Ecdsa => &self.spki_der,
            _ => self.spki_der.strip_prefix(&ED25519_SPKI).unwrap_or_default(),
        }
    }

    /// Verifies the signature bytes of a line over `text`; the reason on failure, the time of a
    /// cosignature on success.
    pub(super) fn verify(&self, text: &str, signature: &[u8]) -> Result<Option<u64>, String> {
        let check = |algorithm, message: &[u8], signature: &[u8]| {
            keys::verify(&self.spki_der, algorithm, message, signature).map_err(|e| e.to_string())
        };
        match self.kind {
            NoteKeyType::Ed25519 => check(SignatureAlgorithm::Ed25519, text.as_bytes(), signature).map(|()| None),
            NoteKeyType::Ecdsa => check(SignatureAlgorithm::EcdsaSha256, text.as_bytes(), signature).map(|()| None),
            NoteKeyType::Cosignature => {
                let (time, signature) = signature.split_first_chunk::<8>().ok_or("the cosignature is cut short")?;
                let time = u64::from_be_bytes(*time);
                check(SignatureAlgorithm::Ed25519, cosigned_message(time, text).as_bytes(), signature)?;
                Ok(Some(time))
            }
        }
    }
}

/// What an Ed25519 witness signs: `cosignature/v1`, the time in Unix seconds, the checkpoint's text.
pub fn cosigned_message(time: u64, text: &str) -> String {
    format!("cosignature/v1\ntime {time}\n{text}")
}

impl std::fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let blob = [&[self.kind.byte()], self.material()].concat();
        write!(f, "{}+{}+{}", self.name, hex::encode(self.key_id()), BASE64.encode(blob))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vkeys_read_back_and_refuse_a_foreign_id() {
        let text = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
        let key = VerifierKey::parse(text).unwrap();
        assert_eq!((key.to_string().as_str(), key.kind()), (text, NoteKeyType::Ed25519));
        assert!(VerifierKey::parse(&text.replace("530d", "530e")).is_err());
        assert!(VerifierKey::parse(&text.replace("foo", "fop")).is_err());
        assert!(VerifierKey::parse("a+b").is_err());
        assert!(VerifierKey::parse("a+00000000+/w==").is_err());
        let spki = rcgen::PublicKeyData::subject_public_key_info(&rcgen::KeyPair::generate().unwrap());
        let log = VerifierKey::ecdsa("factory.example/log", &spki).unwrap();
        assert_eq!(VerifierKey::parse(&log.to_string()).unwrap(), log);
        assert_eq!(log.key_id(), Sha256::digest(&spki)[..4]);
        let witness = VerifierKey::cosignature("witness.example/w1", &[7; 32]).unwrap();
        assert_eq!(VerifierKey::parse(&format!("{witness}\n")).unwrap(), witness);
    }
}
