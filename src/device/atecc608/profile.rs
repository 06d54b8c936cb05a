//! Chip profiles: what a part's configuration is to be, as a reviewed TOML file.

use super::permissions::{self, Plan};
use super::slots::{CLOSED, DataRules, PrivateKeyRules, SlotUse};
use super::zones::{CONFIGURATION_SIZE, SLOTS, slot_size};
use crate::device::{DeviceError, Storage};
use serde::Deserialize;

/// Largest profile file that is read.
pub const MAX_PROFILE_BYTES: usize = 64 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawProfile {
    version: u32,
    name: String,
    model: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    preprovisioned: bool,
    chip: RawChip,
    slot: Vec<RawSlot>,
    locks: RawLocks,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawChip {
    i2c_address: u8,
    chip_mode: u8,
    count_match: u8,
    use_lock: u8,
    volatile_key_permission: u8,
    secure_boot: u16,
    kdf_iv_location: u8,
    kdf_iv_string: u16,
    chip_options: u16,
    x509_format: [u8; 4],
}

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
enum RawSlot {
    P256Private {
        number: u8,
        role: Option<String>,
        external_sign: bool,
        internal_sign: bool,
        ecdh: bool,
        generate_key: bool,
        import_key: bool,
        public_key: bool,
        lockable: bool,
    },
    Data {
        number: u8,
        role: Option<String>,
        readable: bool,
        writable: bool,
        lockable: bool,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLocks {
    device_key: bool,
    storage: Vec<String>,
}

/// A valid chip profile: every slot decided, one device key, a lock plan that the slots permit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChipProfile {
    name: String,
    model: String,
    description: String,
    preprovisioned: bool,
    bytes: Vec<(usize, u8)>,
    slots: [SlotUse; SLOTS as usize],
    key_slot: u8,
    storage: Vec<(Storage, u8)>,
    locked: Vec<Storage>,
    warnings: Vec<String>,
}

impl ChipProfile {
    /// Parses and checks a profile; the error names every rule that it breaks.
    pub fn parse(text: &str) -> Result<Self, DeviceError> {
        if text.len() > MAX_PROFILE_BYTES {
            return Err(DeviceError::Profile(format!("longer than {MAX_PROFILE_BYTES} octets")));
        }
        let raw: RawProfile = toml::from_str(text).map_err(|e| DeviceError::Profile(e.to_string()))?;
        if raw.version != 1 {
            return Err(DeviceError::Profile(format!("version {} is unknown, this program reads version 1", raw.version)));
        }
        if raw.name.is_empty() || raw.name.len() > 64 || raw.description.len() > 1024 {
            return Err(DeviceError::Profile("name needs 1 to 64 characters, description at most 1024".into()));
        }
        if raw.model != "ATECC608" {
            return Err(DeviceError::Profile(format!("model '{}' is unknown, write ATECC608 (A, B and C)", raw.model)));
        }
        let mut slots = [CLOSED; SLOTS as usize];
        let mut roles = Roles::default();
        let mut seen = 0u16;
        for slot in &raw.slot {
            let (number, role, rules) = slot.parts();
            let Some(entry) = slots.get_mut(usize::from(number)) else {
                return Err(DeviceError::Profile(format!("slot {number} does not exist, slots are 0 to 15")));
            };
            if seen >> number & 1 == 1 {
                return Err(DeviceError::Profile(format!("slot {number} is described twice")));
            }
            seen |= 1 << number;
            *entry = rules;
            roles.assign(number, role, &rules)?;
        }
        let key_slot = roles.key.ok_or_else(|| DeviceError::Profile("no slot has the role 'device-key'".into()))?;
        let mut locked = Vec::new();
        for name in &raw.locks.storage {
            locked.push(roles.storage(name)?);
        }
        let findings = permissions::check(&Plan {
            slots: &slots,
            key_slot,
            storage: &roles.storage,
            locked: &locked,
            lock_device_key: raw.locks.device_key,
            chip_mode: raw.chip.chip_mode,
            i2c_address: raw.chip.i2c_address,
            preprovisioned: raw.preprovisioned,
        });
        if !findings.refusals.is_empty() {
            return Err(DeviceError::Profile(findings.refusals.join("; ")));
        }
        let bytes = decided_bytes(&raw.chip, &slots);
        let RawProfile { name, model, description, preprovisioned, .. } = raw;
        Ok(Self {
            name,
            model,
            description,
            preprovisioned,
            bytes,
            slots,
            key_slot,
            storage: roles.storage,
            locked,
            warnings: findings.warnings,
        })
    }

    /// Name, for records.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Part that the profile is for, without the revision letter.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Free text.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// The part arrives configured, locked and with a key that its manufacturer made for good.
    pub fn preprovisioned(&self) -> bool {
        self.preprovisioned
    }

    /// Things that are allowed but may surprise; to be shown before a line starts.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Slot of the device key.
    pub fn key_slot(&self) -> u8 {
        self.key_slot
    }

    /// Slot of a storage.
    pub fn slot_of(&self, storage: Storage) -> Option<u8> {
        self.storage.iter().find(|(s, _)| *s == storage).map(|(_, slot)| *slot)
    }

    /// Storages of the profile with their slots.
    pub fn storage(&self) -> &[(Storage, u8)] {
        &self.storage
    }

    /// Storages that the lock plan closes.
    pub fn locked_storage(&self) -> &[Storage] {
        &self.locked
    }

    /// Permissions of a slot.
    pub fn slot_use(&self, slot: u8) -> SlotUse {
        self.slots.get(usize::from(slot)).copied().unwrap_or(CLOSED)
    }

    /// `current` with every octet that the profile decides in place; counters, lock state and reserved octets stay.
    pub fn applied_to(&self, current: &[u8; CONFIGURATION_SIZE]) -> [u8; CONFIGURATION_SIZE] {
        let mut image = *current;
        for (at, value) in &self.bytes {
            if let Some(octet) = image.get_mut(*at) {
                *octet = *value;
            }
        }
        image
    }

    /// Fields in which `current` differs from the profile; empty when equal.
    pub fn differences(&self, current: &[u8; CONFIGURATION_SIZE]) -> Vec<String> {
        let changed = self.bytes.iter().filter_map(|(at, want)| match current.get(*at) {
            Some(have) if have != want => Some(format!("{} is {have:02X}, not {want:02X}", field_name(*at))),
            _ => None,
        });
        changed.collect()
    }
}

impl RawSlot {
    fn parts(&self) -> (u8, Option<&str>, SlotUse) {
        match self {
            Self::P256Private { number, role, external_sign, internal_sign, ecdh, generate_key, import_key, public_key, lockable } => {
                let rules = PrivateKeyRules {
                    external_sign: *external_sign,
                    internal_sign: *internal_sign,
                    ecdh: *ecdh,
                    generate: *generate_key,
                    import: *import_key,
                    public: *public_key,
                    lockable: *lockable,
                };
                (*number, role.as_deref(), SlotUse::PrivateKey(rules))
            }
            Self::Data { number, role, readable, writable, lockable } => {
                let rules = DataRules { readable: *readable, writable: *writable, lockable: *lockable };
                (*number, role.as_deref(), SlotUse::Data(rules))
            }
        }
    }
}

#[derive(Default)]
struct Roles {
    key: Option<u8>,
    storage: Vec<(Storage, u8)>,
}

impl Roles {
    fn assign(&mut self, number: u8, role: Option<&str>, rules: &SlotUse) -> Result<(), DeviceError> {
        let Some(role) = role else { return Ok(()) };
        let twice = || DeviceError::Profile(format!("role '{role}' is given to two slots"));
        match (role, rules) {
            ("device-key", SlotUse::PrivateKey(_)) => match self.key.replace(number) {
                None => Ok(()),
                Some(_) => Err(twice()),
            },
            ("device-key", SlotUse::Data(_)) => Err(DeviceError::Profile("'device-key' needs a slot of kind p256-private".into())),
            (name, SlotUse::Data(_)) => {
                let storage = parse_storage(name)?;
                if self.storage.iter().any(|(s, _)| *s == storage) {
                    return Err(twice());
                }
                let needed = if storage == Storage::Data { 1 } else { 72 };
                if slot_size(number) < needed {
                    return Err(DeviceError::Profile(format!("'{name}' needs {needed} octets; slots 0 to 7 have 36, use 8 to 15")));
                }
                self.storage.push((storage, number));
                Ok(())
            }
            (name, SlotUse::PrivateKey(_)) => Err(DeviceError::Profile(format!("'{name}' needs a slot of kind data"))),
        }
    }

    fn storage(&self, name: &str) -> Result<Storage, DeviceError> {
        let storage = parse_storage(name)?;
        match self.storage.iter().any(|(s, _)| *s == storage) {
            true => Ok(storage),
            false => Err(DeviceError::Profile(format!("locks.storage names '{name}', but no slot has this role"))),
        }
    }
}

fn parse_storage(name: &str) -> Result<Storage, DeviceError> {
    [Storage::DeviceCertificate, Storage::SignerCertificate, Storage::SignerPublicKey, Storage::Data]
        .into_iter()
        .find(|s| s.as_str() == name)
        .ok_or_else(|| {
            DeviceError::Profile(format!(
                "role '{name}' is not one of device-key, device-certificate, signer-certificate, signer-public-key, data"
            ))
        })
}

fn decided_bytes(chip: &RawChip, slots: &[SlotUse; SLOTS as usize]) -> Vec<(usize, u8)> {
    let secure_boot = chip.secure_boot.to_le_bytes();
    let kdf = chip.kdf_iv_string.to_le_bytes();
    let options = chip.chip_options.to_le_bytes();
    let mut bytes = vec![(16, chip.i2c_address), (18, chip.count_match), (19, chip.chip_mode)];
    let mut run = |at: usize, values: &[u8]| bytes.extend(values.iter().enumerate().map(|(i, v)| (at + i, *v)));
    for (slot, rules) in slots.iter().enumerate() {
        run(20 + 2 * slot, &rules.slot_config().to_le_bytes());
        run(96 + 2 * slot, &rules.key_config().to_le_bytes());
    }
    run(68, &[chip.use_lock, chip.volatile_key_permission]);
    run(70, &secure_boot);
    run(72, &[chip.kdf_iv_location]);
    run(73, &kdf);
    run(90, &options);
    run(92, &chip.x509_format);
    bytes.sort_unstable();
    bytes
}

/// Field of a configuration octet, for messages.
fn field_name(at: usize) -> String {
    match at {
        16 => "I2C address".into(),
        18 => "CountMatch".into(),
        19 => "ChipMode".into(),
        20..=51 => format!("SlotConfig[{}] octet {}", (at - 20) / 2, at % 2),
        68 => "UseLock".into(),
        69 => "VolatileKeyPermission".into(),
        70 | 71 => "SecureBoot".into(),
        72..=74 => "KdfIv".into(),
        90 | 91 => "ChipOptions".into(),
        92..=95 => format!("X509format[{}]", at - 92),
        96..=127 => format!("KeyConfig[{}] octet {}", (at - 96) / 2, at % 2),
        other => format!("configuration octet {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHIPPED: &str = include_str!("../../../config/elements/atecc608-tls.toml");

    #[test]
    fn the_shipped_profile_is_valid_and_applies_cleanly() {
        let profile = ChipProfile::parse(SHIPPED).unwrap();
        let blank = [0u8; 128];
        assert!(!profile.differences(&blank).is_empty());
        let image = profile.applied_to(&blank);
        assert_eq!(profile.differences(&image), Vec::<String>::new());
        assert_eq!(image[20..22], [0x83, 0x20]);
        assert_eq!(image[96..98], [0x33, 0x00]);
        assert_eq!(profile.slot_of(Storage::DeviceCertificate), Some(10));
    }

    #[test]
    fn every_foot_gun_is_refused_by_name() {
        for (from, to, rule) in [
            ("import_key = false", "import_key = true", "from outside"),
            ("lockable = true", "lockable = false", "lockable"),
            ("external_sign = true", "external_sign = false", "external_sign"),
            ("generate_key = true", "generate_key = false", "generate_key"),
            ("device_key = true", "device_key = false", "GenKey"),
            ("readable = true", "readable = false", "readable"),
            ("writable = true", "writable = false", "writable"),
            ("public_key = true", "public_key = false", "public_key"),
            ("number = 10", "number = 16", "slot 16"),
            ("number = 10", "number = 1", "72 octets"),
            ("version = 1", "version = 2", "version 2"),
            ("chip_mode = 0x00", "chip_mode = 0x30", "clock mode"),
            ("number = 10", "number = 10\nsecret = 1", "secret"),
            ("role = \"device-key\"", "", "device-key"),
        ] {
            let text = SHIPPED.replacen(from, to, 1);
            assert_ne!(text, SHIPPED, "{from}");
            let error = ChipProfile::parse(&text).unwrap_err().to_string();
            assert!(error.contains(rule), "{from} -> {to}: {error}");
        }
    }
}
