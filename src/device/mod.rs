//! Secure elements: what the provisioning machine asks of a chip, and the chips that answer.
//!
//! [`SecureElement`] is written for a journal: every irreversible step is one call, every step can be
//! repeated after an interruption, and [`SecureElement::status`] tells which steps the chip has already taken.
//! [`atecc608`] drives a real or emulated chip over a [`transport`]; [`emulator`] is that chip in software.

pub mod atecc608;
pub mod emulator;
mod error;
pub mod transport;

pub use atecc608::attestation::{Attestation, Statement};
pub use error::{DeviceError, Refusal, StatusCode};

use crate::types::Invalid;
use std::fmt;

/// Serial number of an element: nine octets, `01 23 … EE` on standard ATECC parts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ElementSerial([u8; 9]);

impl ElementSerial {
    /// Takes the nine octets in the order the chip numbers them (SN\[0\] first).
    pub fn new(bytes: [u8; 9]) -> Self {
        Self(bytes)
    }

    /// Reads 18 hexadecimal digits.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let bytes = hex::decode(text).ok().and_then(|b| <[u8; 9]>::try_from(b).ok());
        bytes.map(Self).ok_or_else(|| Invalid::new("element serial", "must be 18 hexadecimal digits"))
    }

    /// The nine octets.
    pub fn as_bytes(&self) -> &[u8; 9] {
        &self.0
    }
}

impl fmt::Display for ElementSerial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode_upper(self.0))
    }
}

impl fmt::Debug for ElementSerial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ElementSerial({self})")
    }
}

/// What the chip says it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ElementInfo {
    /// Unique serial number, unverified: a lying chip can claim any.
    pub serial: ElementSerial,
    /// Four revision octets as the chip reports them.
    pub revision: [u8; 4],
    /// Part name derived from the revision, e.g. `ATECC608B`.
    pub model: String,
}

/// Where a chip's configuration stands beside the profile it should have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Configuration {
    /// Equal to the profile in every byte that the profile decides.
    Matches,
    /// Different; each entry names a field, what the chip holds and what the profile wants.
    Differs(Vec<String>),
}

/// Everything that decides which provisioning step comes next; reading it changes nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ElementStatus {
    /// Configuration beside the profile.
    pub configuration: Configuration,
    /// The configuration is locked for good.
    pub configuration_locked: bool,
    /// The data zone is locked for good (slots that the profile leaves open stay writable until their own lock).
    pub data_locked: bool,
    /// The device key's public half, x‖y, when the slot holds a key that the chip can compute with.
    pub public_key: Option<[u8; 64]>,
    /// The device key slot is locked for good.
    pub key_locked: bool,
    /// Storage slots of the profile that are locked for good.
    pub locked_storage: Vec<Storage>,
}

/// Named storage of a profile, outside the device key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Storage {
    /// Device certificate in Microchip's compressed form (72 octets).
    DeviceCertificate,
    /// Issuer certificate in compressed form (72 octets).
    SignerCertificate,
    /// Issuer public key (72 octets: four zero octets before x and before y).
    SignerPublicKey,
    /// Free data, the largest slot: a full DER certificate when it fits (416 octets).
    Data,
}

impl Storage {
    /// The name used in chip profiles.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DeviceCertificate => "device-certificate",
            Self::SignerCertificate => "signer-certificate",
            Self::SignerPublicKey => "signer-public-key",
            Self::Data => "data",
        }
    }
}

impl fmt::Display for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A secure element in the hands of a factory station, with the profile it is to have.
///
/// The order of a run is: `identify`, `status`, `configure`, `lock_configuration`, `generate_key`, `lock_data`,
/// `sign` (request), `write`/`read` (certificates), `lock_key`, `lock_storage`, `status`, `sign` (challenge).
/// A call whose effect is already in place and right returns `Ok` without touching the chip's memory, except
/// `generate_key`, which replaces the key for as long as the chip lets it.
pub trait SecureElement: Send {
    /// Wakes the chip and reads who it is.
    fn identify(&mut self) -> Result<ElementInfo, DeviceError>;

    /// Reads configuration, locks and public key.
    fn status(&mut self) -> Result<ElementStatus, DeviceError>;

    /// The whole configuration as evidence (128 octets on ATECC parts).
    fn read_configuration(&mut self) -> Result<Vec<u8>, DeviceError>;

    /// Writes the profile's configuration and reads it back. On a locked chip: `Ok` when equal, refused otherwise.
    fn configure(&mut self) -> Result<(), DeviceError>;

    /// Locks the configuration, irreversibly, after a fresh read-back equals the profile.
    fn lock_configuration(&mut self) -> Result<(), DeviceError>;

    /// Locks the data zone, irreversibly; before it, an ATECC608 neither signs nor reads slots.
    fn lock_data(&mut self) -> Result<(), DeviceError>;

    /// Makes a new device key inside the chip and returns its public half, x‖y. A part whose manufacturer made the
    /// key for good (`preprovisioned` in its profile) answers that key.
    fn generate_key(&mut self) -> Result<[u8; 64], DeviceError>;

    /// Public half of the device key, computed by the chip from the private key it holds.
    fn public_key(&mut self) -> Result<[u8; 64], DeviceError>;

    /// ECDSA signature r‖s of a SHA-256 digest by the device key.
    fn sign(&mut self, digest: &[u8; 32]) -> Result<[u8; 64], DeviceError>;

    /// The chip's own signed statement about the device key, its slot and the serial number, over a challenge of
    /// the host. `None` when the profile does not let the key sign such statements.
    fn attest(&mut self, challenge: &[u8; 20]) -> Result<Option<Attestation>, DeviceError>;

    /// 32 octets from the chip's random number generator.
    fn random(&mut self) -> Result<[u8; 32], DeviceError>;

    /// Octets that a storage can hold; `None` when the profile has no such storage.
    fn capacity(&self, storage: Storage) -> Option<usize>;

    /// Writes `bytes` at the start of a storage and compares a read-back; unequal octets are an error.
    fn write(&mut self, storage: Storage, bytes: &[u8]) -> Result<(), DeviceError>;

    /// Reads the first `length` octets of a storage.
    fn read(&mut self, storage: Storage, length: usize) -> Result<Vec<u8>, DeviceError>;

    /// Locks the device key slot, irreversibly, when the chip's key is `expected`; reads the lock back.
    fn lock_key(&mut self, expected: &[u8; 64]) -> Result<(), DeviceError>;

    /// Locks a storage, irreversibly, when it starts with `expected`; reads the lock back.
    /// `Ok` without a lock when the profile's plan leaves this storage open.
    fn lock_storage(&mut self, storage: Storage, expected: &[u8]) -> Result<(), DeviceError>;
}
