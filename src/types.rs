//! Domain types shared by every layer. None of them is a serde type (A2).

mod clock;

pub use clock::{unix_millis, unix_now};

use sha2::{Digest, Sha256};
use std::fmt;

/// Why a value from outside is not a valid domain value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct Invalid {
    /// Name of the field as the user knows it.
    pub field: &'static str,
    /// What is wrong and what would be right.
    pub reason: String,
}

impl Invalid {
    /// Builds the error.
    pub fn new(field: &'static str, reason: impl Into<String>) -> Self {
        Self { field, reason: reason.into() }
    }
}

/// Certificate serial number: 20 octets, top bit clear, leading octet non-zero, so always
/// positive, below 2^159 and exactly 20 octets in DER (RFC 5280 §4.1.2.2).
///
/// Six octets of time, 14 of randomness: neighbours in time are neighbours in the store's
/// index, which makes inserts several times faster, and 112 random bits remain (BR 7.1 asks
/// for 64). The time tells no more than notBefore does.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Serial([u8; 20]);

impl Serial {
    /// Draws a serial: 0x40, 40 bits of Unix seconds, 112 bits from the kernel's CSPRNG.
    pub fn generate() -> Result<Self, Invalid> {
        let mut bytes = [0u8; 20];
        getrandom::fill(&mut bytes[6..]).map_err(|e| Invalid::new("serial", format!("no randomness from the kernel: {e}")))?;
        bytes[..6].copy_from_slice(&((0x40 << 40 | unix_now() as u64 & 0xff_ffff_ffff) << 16).to_be_bytes()[..6]);
        Ok(Self(bytes))
    }

    /// Reads 40 hexadecimal digits (colons allowed) as written by [`fmt::Display`] or openssl.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let plain: String = text.chars().filter(|c| *c != ':').collect();
        let bytes = hex::decode(&plain).map_err(|_| Invalid::new("serial", "must be 40 hexadecimal digits"))?;
        Self::from_bytes(bytes.try_into().map_err(|_| Invalid::new("serial", "must be 40 hexadecimal digits"))?)
    }

    /// Accepts 20 octets that make a positive serial of full length.
    pub fn from_bytes(bytes: [u8; 20]) -> Result<Self, Invalid> {
        if bytes[0] == 0 || bytes[0] & 0x80 != 0 {
            return Err(Invalid::new("serial", "must be positive and start with a non-zero octet"));
        }
        Ok(Self(bytes))
    }

    /// The 20 octets, big endian.
    pub fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Serial({self})")
    }
}

/// SHA-256 of a DER SubjectPublicKeyInfo: how keys are named (K3).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Fingerprint of a DER SubjectPublicKeyInfo.
    pub fn of_spki(spki_der: &[u8]) -> Self {
        Self(Sha256::digest(spki_der).into())
    }

    /// Reads 64 hexadecimal digits.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let bytes = hex::decode(text).ok().and_then(|b| <[u8; 32]>::try_from(b).ok());
        bytes.map(Self).ok_or_else(|| Invalid::new("fingerprint", "must be 64 hexadecimal digits (SHA-256 of the SubjectPublicKeyInfo)"))
    }

    /// The 32 octets.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $field:literal, $max:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
        pub struct $name(String);

        impl $name {
            /// Accepts letters, digits and `. _ : -`, starting with a letter or digit, within the length bound.
            pub fn parse(text: &str) -> Result<Self, Invalid> {
                plain_token(text, $field, $max).map(|t| Self(t.to_owned()))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name_type!(
    /// Name of an issuance profile.
    ProfileName, "profile", 64
);
name_type!(
    /// The caller's idempotency key for one request.
    RequestId, "request_id", 128
);

fn plain_token<'a>(text: &'a str, field: &'static str, max: usize) -> Result<&'a str, Invalid> {
    if text.is_empty() || text.len() > max {
        return Err(Invalid::new(field, format!("must have 1 to {max} characters")));
    }
    if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:-".contains(&b)) || !text.as_bytes()[0].is_ascii_alphanumeric() {
        return Err(Invalid::new(field, "may hold letters, digits and . _ : - and must start with a letter or digit"));
    }
    Ok(text)
}

/// The device's own identifier in canonical form: equal devices are equal strings.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum DeviceId {
    /// Free text of 1 to 64 characters, letters, digits and `. _ : -`.
    Free(String),
    /// EUI-48.
    Mac48([u8; 6]),
    /// EUI-64.
    Mac64([u8; 8]),
    /// RFC 9562 UUID.
    Uuid([u8; 16]),
}

impl DeviceId {
    /// Reads `kind` (`free`, `mac`, `uuid`) and its text in the usual spellings.
    pub fn parse(kind: &str, text: &str) -> Result<Self, Invalid> {
        let digits = || -> Result<Vec<u8>, Invalid> {
            let plain: String = text.chars().filter(|c| !":-.".contains(*c)).collect();
            if text.len() > 47 {
                return Err(Invalid::new("id", "too long for this kind"));
            }
            hex::decode(plain).map_err(|_| Invalid::new("id", format!("{kind} must be hexadecimal digits")))
        };
        match kind {
            "free" => plain_token(text, "id", 64).map(|t| Self::Free(t.to_owned())),
            "mac" => match digits()?.as_slice() {
                b if b.len() == 6 => Ok(Self::Mac48(b.try_into().unwrap_or_default())),
                b if b.len() == 8 => Ok(Self::Mac64(b.try_into().unwrap_or_default())),
                b => Err(Invalid::new("id", format!("a MAC address has 48 or 64 bits, this has {}", b.len() * 8))),
            },
            "uuid" => {
                let b = digits()?;
                let n = b.len();
                b.try_into().map(Self::Uuid).map_err(|_| Invalid::new("id", format!("a UUID has 128 bits, this has {}", n * 8)))
            }
            other => Err(Invalid::new("kind", format!("'{other}' is not one of free, mac, uuid"))),
        }
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let join = |b: &[u8]| b.iter().map(|x| format!("{x:02X}")).collect::<Vec<_>>().join("-");
        match self {
            Self::Free(s) => f.write_str(s),
            Self::Mac48(b) => f.write_str(&join(b)),
            Self::Mac64(b) => f.write_str(&join(b)),
            Self::Uuid(b) => {
                let h = hex::encode(b);
                write!(f, "{}-{}-{}-{}-{}", &h[..8], &h[8..12], &h[12..16], &h[16..20], &h[20..])
            }
        }
    }
}

/// Who a device is: canonical id and optional attributes for name templates.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeviceIdentity {
    id: DeviceId,
    device_type: Option<String>,
    hardware_revision: Option<String>,
    firmware_version: Option<String>,
}

impl DeviceIdentity {
    /// An identity with an id only.
    pub fn new(id: DeviceId) -> Self {
        Self { id, device_type: None, hardware_revision: None, firmware_version: None }
    }

    /// Sets the device type (1 to 64 characters, letters, digits and `. _ : -`).
    pub fn with_device_type(mut self, value: &str) -> Result<Self, Invalid> {
        self.device_type = Some(plain_token(value, "device_type", 64)?.to_owned());
        Ok(self)
    }

    /// Sets the hardware revision; same alphabet.
    pub fn with_hardware_revision(mut self, value: &str) -> Result<Self, Invalid> {
        self.hardware_revision = Some(plain_token(value, "hardware_revision", 64)?.to_owned());
        Ok(self)
    }

    /// Sets the firmware version; same alphabet.
    pub fn with_firmware_version(mut self, value: &str) -> Result<Self, Invalid> {
        self.firmware_version = Some(plain_token(value, "firmware_version", 64)?.to_owned());
        Ok(self)
    }

    /// The identifier.
    pub fn id(&self) -> &DeviceId {
        &self.id
    }

    /// Unique key across kinds, e.g. `mac:00-11-22-33-44-55`.
    pub fn canonical(&self) -> String {
        let kind = match self.id {
            DeviceId::Free(_) => "free",
            DeviceId::Mac48(_) | DeviceId::Mac64(_) => "mac",
            DeviceId::Uuid(_) => "uuid",
        };
        format!("{kind}:{}", self.id)
    }

    /// Value of a template field: `id`, `device_type`, `hardware_revision`, `firmware_version`.
    pub fn field(&self, name: &str) -> Option<String> {
        match name {
            "id" => Some(self.id.to_string()),
            "device_type" => self.device_type.clone(),
            "hardware_revision" => self.hardware_revision.clone(),
            "firmware_version" => self.firmware_version.clone(),
            _ => None,
        }
    }
}

/// Validity period in Unix seconds, both ends inclusive (RFC 5280 §4.1.2.5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Validity {
    not_before: i64,
    not_after: i64,
}

/// 9999-12-31T23:59:59Z, "no well-defined expiration" (RFC 5280 §4.1.2.5, 802.1AR).
pub const NO_EXPIRATION: i64 = 253_402_300_799;

impl Validity {
    /// Accepts times from 1970 to 9999 in order.
    pub fn new(not_before: i64, not_after: i64) -> Result<Self, Invalid> {
        if not_before < 0 || not_after > NO_EXPIRATION {
            return Err(Invalid::new("validity", "must lie between 1970 and 9999"));
        }
        if not_after <= not_before {
            return Err(Invalid::new("validity", "not_after must be later than not_before"));
        }
        Ok(Self { not_before, not_after })
    }

    /// First valid second.
    pub fn not_before(&self) -> i64 {
        self.not_before
    }

    /// Last valid second.
    pub fn not_after(&self) -> i64 {
        self.not_after
    }

    /// Whether `time` lies within, ends included.
    pub fn contains(&self, time: i64) -> bool {
        (self.not_before..=self.not_after).contains(&time)
    }
}

/// Public-key algorithms that sealwright issues from or for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum KeyAlgorithm {
    /// ECDSA on NIST P-256.
    P256,
    /// ECDSA on NIST P-384.
    P384,
    /// RSA with a modulus of this many bits.
    Rsa(u32),
    /// Ed25519 (RFC 8410).
    Ed25519,
}

impl KeyAlgorithm {
    /// Reads `p256`, `p384`, `rsa2048`, `rsa3072`, `rsa4096`, `ed25519`.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        Ok(match text {
            "p256" => Self::P256,
            "p384" => Self::P384,
            "rsa2048" => Self::Rsa(2048),
            "rsa3072" => Self::Rsa(3072),
            "rsa4096" => Self::Rsa(4096),
            "ed25519" => Self::Ed25519,
            other => {
                return Err(Invalid::new("algorithm", format!("'{other}' is not one of p256, p384, rsa2048, rsa3072, rsa4096, ed25519")));
            }
        })
    }

    /// The signature algorithm that a key of this kind makes in a certificate.
    pub fn signature_algorithm(self) -> SignatureAlgorithm {
        match self {
            Self::P256 => SignatureAlgorithm::EcdsaSha256,
            Self::P384 => SignatureAlgorithm::EcdsaSha384,
            Self::Rsa(_) => SignatureAlgorithm::RsaSha256,
            Self::Ed25519 => SignatureAlgorithm::Ed25519,
        }
    }
}

impl fmt::Display for KeyAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::P256 => f.write_str("p256"),
            Self::P384 => f.write_str("p384"),
            Self::Rsa(bits) => write!(f, "rsa{bits}"),
            Self::Ed25519 => f.write_str("ed25519"),
        }
    }
}

/// Signature algorithms of certificates.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum SignatureAlgorithm {
    /// ecdsa-with-SHA256 (RFC 5758).
    EcdsaSha256,
    /// ecdsa-with-SHA384 (RFC 5758).
    EcdsaSha384,
    /// sha256WithRSAEncryption (RFC 4055).
    RsaSha256,
    /// id-Ed25519 (RFC 8410).
    Ed25519,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serials_are_positive_distinct_and_below_2_pow_159() {
        let mut seen = std::collections::HashSet::new();
        for _ in 0..10_000 {
            let s = Serial::generate().unwrap();
            assert!(s.as_bytes()[0] >= 0x40 && s.as_bytes()[0] < 0x80);
            assert_eq!(Serial::parse(&s.to_string()).unwrap(), s);
            assert!(seen.insert(s));
        }
    }

    #[test]
    fn one_device_has_one_spelling() {
        for t in ["00:1a:2B:3c:4d:5e", "00-1A-2B-3C-4D-5E", "001a.2b3c.4d5e"] {
            assert_eq!(DeviceIdentity::new(DeviceId::parse("mac", t).unwrap()).canonical(), "mac:00-1A-2B-3C-4D-5E");
        }
        assert!([("mac", "00:11"), ("free", "a b")].iter().all(|(kind, text)| DeviceId::parse(kind, text).is_err()));
        let uuid = |text| DeviceId::parse("uuid", text).unwrap().to_string();
        assert_eq!(uuid("F81D4FAE-7DEC-11D0-A765-00A0C91E6BF6"), "f81d4fae-7dec-11d0-a765-00a0c91e6bf6");
    }
}
