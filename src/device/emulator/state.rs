//! Everything that survives power loss: zones, keys, counters. The state file *is* the emulated chip.

use crate::device::DeviceError;
use crate::device::atecc608::zones::{CONFIGURATION_SIZE, OTP_SIZE, SLOTS, slot_size};
use crate::durable;
use serde::{Deserialize, Serialize};
use std::path::Path;
use zeroize::{Zeroize, Zeroizing};

const FORMAT: &str = "sealwright emulated atecc608";
/// A state file is below 5 kB; more is not one.
const MAX_STATE_BYTES: u64 = 64 * 1024;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawState {
    format: String,
    version: u32,
    configuration: String,
    otp: String,
    slots: Vec<String>,
    key_present: u16,
    counters: [u32; 2],
}

/// Non-volatile memory of one chip.
#[derive(Clone)]
pub struct Memory {
    /// Configuration zone.
    pub configuration: [u8; CONFIGURATION_SIZE],
    /// OTP zone.
    pub otp: [u8; OTP_SIZE],
    /// Data slots, each of its own size; a private key is the 32 octets after four of padding.
    pub slots: Vec<Vec<u8>>,
    /// Bit n set: slot n holds a private key.
    pub key_present: u16,
    /// Monotonic counters.
    pub counters: [u32; 2],
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.slots.zeroize();
    }
}

/// Configuration octets 16 to 127 of a part fresh from the factory; the first 16 are identity.
fn factory_configuration(serial: [u8; 9], revision: [u8; 4]) -> [u8; CONFIGURATION_SIZE] {
    let mut zone = [0u8; CONFIGURATION_SIZE];
    let [a, b, c, d, rest @ ..] = serial;
    let head = [[a, b, c, d], revision].concat();
    let mut put = |at: usize, values: &[u8]| zone.iter_mut().skip(at).zip(values).for_each(|(z, v)| *z = *v);
    put(0, &head);
    put(8, &rest);
    // AES enabled, I2C interface.
    put(13, &[0x61, 0x00, 0x01]);
    put(16, &[0xC0, 0x00, 0x00, 0x00]);
    // Slots of a blank part: private P-256 keys in the small slots, data above.
    for slot in 0..usize::from(SLOTS) {
        let (slot_config, key_config): (u16, u16) = if slot < 8 { (0x2083, 0x0033) } else { (0x0F0F, 0x003C) };
        put(20 + 2 * slot, &slot_config.to_le_bytes());
        put(96 + 2 * slot, &key_config.to_le_bytes());
    }
    put(52, &[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
    put(86, &[0x55, 0x55, 0xff, 0xff]);
    zone
}

impl Memory {
    /// A blank chip with this serial number and Info revision.
    pub fn blank(serial: [u8; 9], revision: [u8; 4]) -> Self {
        Self {
            configuration: factory_configuration(serial, revision),
            otp: [0xff; OTP_SIZE],
            slots: (0..SLOTS).map(|slot| vec![0xff; slot_size(slot)]).collect(),
            key_present: 0,
            counters: [0; 2],
        }
    }

    /// Reads a state file.
    pub fn load(path: &Path) -> Result<Self, DeviceError> {
        let bad = |reason: String| DeviceError::EmulatorState(format!("{}: {reason}", path.display()));
        let size = std::fs::metadata(path).map_err(|e| bad(e.to_string()))?.len();
        if size > MAX_STATE_BYTES {
            return Err(bad(format!("{size} octets are too many for a state file")));
        }
        let text = Zeroizing::new(std::fs::read_to_string(path).map_err(|e| bad(e.to_string()))?);
        let raw: RawState = serde_json::from_str(&text).map_err(|e| bad(e.to_string()))?;
        if raw.format != FORMAT || raw.version != 1 {
            return Err(bad(format!("is '{}' version {}, wanted '{FORMAT}' version 1", raw.format, raw.version)));
        }
        Self::from_raw(raw).ok_or_else(|| bad("a zone has the wrong size or is not hexadecimal".into()))
    }

    fn from_raw(raw: RawState) -> Option<Self> {
        let slots: Vec<Vec<u8>> = raw.slots.iter().map(hex::decode).collect::<Result<_, _>>().ok()?;
        let sizes_fit = slots.len() == usize::from(SLOTS) && (0..SLOTS).zip(&slots).all(|(n, s)| s.len() == slot_size(n));
        let memory = Self {
            configuration: hex::decode(&raw.configuration).ok()?.try_into().ok()?,
            otp: hex::decode(&raw.otp).ok()?.try_into().ok()?,
            slots,
            key_present: raw.key_present,
            counters: raw.counters,
        };
        sizes_fit.then_some(memory)
    }

    /// Replaces the state file atomically, mode 0600.
    pub fn save(&self, path: &Path) -> Result<(), DeviceError> {
        let bad = |reason: String| DeviceError::EmulatorState(format!("{}: {reason}", path.display()));
        let mut raw = RawState {
            format: FORMAT.into(),
            version: 1,
            configuration: hex::encode(self.configuration),
            otp: hex::encode(self.otp),
            slots: self.slots.iter().map(hex::encode).collect(),
            key_present: self.key_present,
            counters: self.counters,
        };
        let text = serde_json::to_vec_pretty(&raw).map(Zeroizing::new).map_err(|e| bad(e.to_string()));
        raw.slots.zeroize();
        durable::replace(path, &text?, 0o600).map_err(|e| bad(e.to_string()))
    }

    /// Configuration lock.
    pub fn configuration_locked(&self) -> bool {
        self.configuration[87] != 0x55
    }

    /// Data and OTP lock; it follows the configuration lock only.
    pub fn data_locked(&self) -> bool {
        self.configuration[86] != 0x55
    }

    /// Lock of one slot.
    pub fn slot_locked(&self, slot: u8) -> bool {
        let mask = u16::from_le_bytes([self.configuration[88], self.configuration[89]]);
        mask >> (slot & 0x0f) & 1 == 0
    }

    /// Clears a slot's bit for good.
    pub fn lock_slot(&mut self, slot: u8) {
        let mask = u16::from_le_bytes([self.configuration[88], self.configuration[89]]) & !(1 << (slot & 0x0f));
        let [low, high] = mask.to_le_bytes();
        self.configuration[88] = low;
        self.configuration[89] = high;
    }
}

/// Draws the serial number of a new emulated chip: `01 23`, six random octets, `EE`.
pub fn new_serial() -> Result<[u8; 9], DeviceError> {
    let mut middle = [0u8; 6];
    getrandom::fill(&mut middle).map_err(|e| DeviceError::EmulatorState(format!("no randomness from the kernel: {e}")))?;
    let [a, b, c, d, e, f] = middle;
    Ok([0x01, 0x23, a, b, c, d, e, f, 0xEE])
}
