//! The chip's statement about its key, checked by anyone: a nonce that the host and the chip made together, a digest
//! of the public key (GenKey), and the chip's signature over both, the slot's configuration and lock, and the whole
//! serial number (Sign internal). Layouts: cryptoauthlib `atcah_nonce`, `atcah_gen_key_msg`, `atcah_sign_internal_msg`.

use super::command::{GEN_KEY_DIGEST, SIGN_INTERNAL_WITH_SERIAL, opcode};
use super::driver::Locks;
use super::slots::SlotWords;
use super::zones::CONFIGURATION_SIZE;
use crate::device::ElementSerial;
use crate::types::Invalid;
use p256::ecdsa::signature::hazmat::PrehashVerifier;
use p256::ecdsa::{Signature, VerifyingKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

const FORMAT: &str = "sealwright atecc608 attestation";
/// Largest attestation that is read.
const MAX_BYTES: usize = 8 * 1024;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAttestation {
    format: String,
    version: u32,
    challenge: String,
    random: String,
    slot: u8,
    configuration: String,
    public_key: String,
    signature: String,
}

/// Everything that is needed to check a chip's statement.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attestation {
    pub(super) challenge: [u8; 20],
    pub(super) random: [u8; 32],
    pub(super) slot: u8,
    pub(super) configuration: [u8; CONFIGURATION_SIZE],
    pub(super) public_key: [u8; 64],
    pub(super) signature: [u8; 64],
}

/// What a verified attestation says; nothing else of the configuration is covered by the signature.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Statement {
    /// Serial number of the chip.
    pub serial: ElementSerial,
    /// Slot of the key.
    pub slot: u8,
    /// SlotConfig of the slot.
    pub slot_config: u16,
    /// KeyConfig of the slot.
    pub key_config: u16,
    /// The slot is locked for good.
    pub locked: bool,
    /// No key from outside can have been put into the slot (PrivWrite is not allowed).
    pub made_inside: bool,
}

impl Attestation {
    /// Reads an attestation (JSON, version 1).
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let bad = |reason: &str| Invalid::new("attestation", reason);
        if text.len() > MAX_BYTES {
            return Err(bad("is too long"));
        }
        let raw: RawAttestation = serde_json::from_str(text).map_err(|e| bad(&e.to_string()))?;
        if raw.format != FORMAT || raw.version != 1 || raw.slot > 15 {
            return Err(bad("is not an ATECC608 attestation of version 1"));
        }
        Ok(Self {
            challenge: octets(&raw.challenge)?,
            random: octets(&raw.random)?,
            slot: raw.slot,
            configuration: octets(&raw.configuration)?,
            public_key: octets(&raw.public_key)?,
            signature: octets(&raw.signature)?,
        })
    }

    /// The text that [`Self::parse`] reads.
    pub fn to_text(&self) -> String {
        let raw = RawAttestation {
            format: FORMAT.into(),
            version: 1,
            challenge: hex::encode(self.challenge),
            random: hex::encode(self.random),
            slot: self.slot,
            configuration: hex::encode(self.configuration),
            public_key: hex::encode(self.public_key),
            signature: hex::encode(self.signature),
        };
        serde_json::to_string(&raw).unwrap_or_default()
    }

    /// The host's challenge, to be compared with the one that was sent.
    pub fn challenge(&self) -> &[u8; 20] {
        &self.challenge
    }

    /// Checks the statement against the public key of the device's certificate (x‖y).
    pub fn verify(&self, certified: &[u8; 64]) -> Result<Statement, Invalid> {
        if self.public_key != *certified {
            return Err(Invalid::new("attestation", "is about another key than the certificate's"));
        }
        let key = VerifyingKey::from_sec1_bytes(&[[0x04].as_slice(), &self.public_key].concat());
        let holds = key.and_then(|k| Signature::from_slice(&self.signature).and_then(|s| k.verify_prehash(&self.message_digest(), &s)));
        holds.map_err(|_| Invalid::new("attestation", "the chip's signature does not verify over this configuration and key"))?;
        let words = SlotWords::of(&self.configuration, self.slot);
        Ok(Statement {
            serial: self.serial(),
            slot: self.slot,
            slot_config: words.slot,
            key_config: words.key,
            locked: Locks::of(&self.configuration).slot(self.slot),
            made_inside: !words.imports(),
        })
    }

    fn serial(&self) -> ElementSerial {
        let [a, b, c, d, _, _, _, _, e, f, g, h, i, ..] = self.configuration;
        ElementSerial::new([a, b, c, d, e, f, g, h, i])
    }

    fn message_digest(&self) -> [u8; 32] {
        let [s0, s1, s2, s3, s4, s5, s6, s7, s8] = *self.serial().as_bytes();
        let nonce = Sha256::new().chain_update(self.random).chain_update(self.challenge).chain_update([opcode::NONCE, 0, 0]).finalize();
        let key_digest = Sha256::new()
            .chain_update(nonce)
            .chain_update([opcode::GEN_KEY, GEN_KEY_DIGEST, self.slot, 0, s8, s0, s1])
            .chain_update([0u8; 25])
            .chain_update(self.public_key)
            .finalize();
        let words = SlotWords::of(&self.configuration, self.slot);
        let open = u8::from(!Locks::of(&self.configuration).slot(self.slot));
        Sha256::new()
            .chain_update(key_digest)
            .chain_update([opcode::SIGN, SIGN_INTERNAL_WITH_SERIAL, self.slot, 0])
            .chain_update(words.slot.to_le_bytes())
            .chain_update(words.key.to_le_bytes())
            .chain_update([self.slot | 0x40, 0, 0])
            .chain_update([s8, s4, s5, s6, s7, s0, s1, s2, s3])
            .chain_update([open, 0, 0])
            .finalize()
            .into()
    }
}

fn octets<const N: usize>(text: &str) -> Result<[u8; N], Invalid> {
    let bytes = hex::decode(text).ok().and_then(|b| <[u8; N]>::try_from(b).ok());
    bytes.ok_or_else(|| Invalid::new("attestation", format!("{} hexadecimal digits expected", 2 * N)))
}
