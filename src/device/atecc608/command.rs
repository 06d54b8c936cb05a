//! The commands of provisioning: content, answer length, worst-case time, whether a repeat is harmless.

use super::zones::Address;
use std::time::Duration;

/// Opcodes (first octet after the count).
pub mod opcode {
    #![allow(missing_docs)]
    pub const READ: u8 = 0x02;
    pub const WRITE: u8 = 0x12;
    pub const NONCE: u8 = 0x16;
    pub const LOCK: u8 = 0x17;
    pub const RANDOM: u8 = 0x1B;
    pub const UPDATE_EXTRA: u8 = 0x20;
    pub const COUNTER: u8 = 0x24;
    pub const INFO: u8 = 0x30;
    pub const GEN_KEY: u8 = 0x40;
    pub const SIGN: u8 = 0x41;
    pub const VERIFY: u8 = 0x45;
    pub const SHA: u8 = 0x47;
    pub const SELF_TEST: u8 = 0x77;
}

/// Speed of the chip's arithmetic (ChipMode, configuration octet 19, bits 3 to 7).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClockMode {
    /// 0x00: fastest.
    M0,
    /// 0x28.
    M1,
    /// 0x68: slowest, least current.
    M2,
}

impl ClockMode {
    /// Reads a ChipMode octet; `None` for a divider that no data sheet names.
    pub fn from_chip_mode(octet: u8) -> Option<Self> {
        match octet & 0xf8 {
            0x00 => Some(Self::M0),
            0x28 => Some(Self::M1),
            0x68 => Some(Self::M2),
            _ => None,
        }
    }
}

/// Name and worst-case milliseconds of an opcode, as the vendor's driver waits for it; `None` for opcodes that
/// provisioning does not use.
pub fn timing(code: u8, mode: ClockMode) -> Option<(&'static str, u64)> {
    let (name, times) = match code {
        opcode::READ => ("Read", [5; 3]),
        opcode::WRITE => ("Write", [45; 3]),
        opcode::NONCE => ("Nonce", [20; 3]),
        opcode::LOCK => ("Lock", [35; 3]),
        opcode::RANDOM => ("Random", [23; 3]),
        opcode::UPDATE_EXTRA => ("UpdateExtra", [10; 3]),
        opcode::COUNTER => ("Counter", [25; 3]),
        opcode::INFO => ("Info", [5; 3]),
        opcode::GEN_KEY => ("GenKey", [115, 215, 653]),
        opcode::SIGN => ("Sign", [115, 220, 665]),
        opcode::VERIFY => ("Verify", [105, 295, 1085]),
        opcode::SHA => ("SHA", [36, 42, 75]),
        opcode::SELF_TEST => ("SelfTest", [250, 625, 2324]),
        _ => return None,
    };
    let [m0, m1, m2] = times;
    let time = match mode {
        ClockMode::M0 => m0,
        ClockMode::M1 => m1,
        ClockMode::M2 => m2,
    };
    Some((name, time))
}

/// GenKey mode: public key of a stored private key, and its digest into TempKey.
pub const GEN_KEY_DIGEST: u8 = 0x08;
/// Sign mode: internal message with the whole serial number.
pub const SIGN_INTERNAL_WITH_SERIAL: u8 = 0x40;

/// What a lost answer means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Repeat {
    /// Executing twice has the effect of executing once.
    Harmless,
    /// The first execution may have changed the chip for good; the caller must read its state.
    Never,
}

/// One command, ready to be framed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Command {
    content: Vec<u8>,
    answer: usize,
    repeat: Repeat,
}

/// What Lock locks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LockTarget {
    /// Configuration zone, with the CRC-16 of its 128 octets.
    Configuration(u16),
    /// Data and OTP zones, without a summary: private keys made inside are part of it and unknown to the host.
    Data,
    /// One slot.
    Slot(u8),
}

impl Command {
    fn new(code: u8, param1: u8, param2: u16, data: &[u8], answer: usize, repeat: Repeat) -> Self {
        let mut content = vec![code, param1];
        content.extend_from_slice(&param2.to_le_bytes());
        content.extend_from_slice(data);
        Self { content, answer, repeat }
    }

    /// Revision, four octets.
    pub fn info() -> Self {
        Self::new(opcode::INFO, 0, 0, &[], 4, Repeat::Harmless)
    }

    /// 32 random octets, the generator's seed updated.
    pub fn random() -> Self {
        Self::new(opcode::RANDOM, 0, 0, &[], 32, Repeat::Harmless)
    }

    /// Reads a word (4 octets) or a block (32 octets).
    pub fn read(at: Address) -> Self {
        Self::new(opcode::READ, at.param1(), at.param2(), &[], at.length(), Repeat::Harmless)
    }

    /// Writes a word or a block; `data` has the address's length. The same data twice is the same memory.
    pub fn write(at: Address, data: &[u8]) -> Self {
        Self::new(opcode::WRITE, at.param1(), at.param2(), data, 1, Repeat::Harmless)
    }

    /// Makes a private key in `slot`; answers the public key. A repeat replaces the key.
    pub fn generate_key(slot: u8) -> Self {
        Self::new(opcode::GEN_KEY, 0x04, u16::from(slot), &[], 64, Repeat::Never)
    }

    /// Public key of the private key in `slot`.
    pub fn public_key(slot: u8) -> Self {
        Self::new(opcode::GEN_KEY, 0x00, u16::from(slot), &[], 64, Repeat::Harmless)
    }

    /// Loads a digest into the message digest buffer (pass-through).
    pub fn load_digest(digest: &[u8; 32]) -> Self {
        Self::new(opcode::NONCE, 0x43, 0, digest, 1, Repeat::Harmless)
    }

    /// Makes TempKey from the host's 20 octets and 32 random ones, which are the answer; the seed is updated.
    pub fn nonce(challenge: &[u8; 20]) -> Self {
        Self::new(opcode::NONCE, 0x00, 0, challenge, 32, Repeat::Harmless)
    }

    /// Puts a digest over TempKey and the public key of `slot` into TempKey; answers the public key.
    pub fn digest_key(slot: u8) -> Self {
        Self::new(opcode::GEN_KEY, GEN_KEY_DIGEST, u16::from(slot), &[], 64, Repeat::Never)
    }

    /// Signs the chip's statement about TempKey, the slot it came from and the serial number with the key in `slot`.
    pub fn sign_internal(slot: u8) -> Self {
        Self::new(opcode::SIGN, SIGN_INTERNAL_WITH_SERIAL, u16::from(slot), &[], 64, Repeat::Never)
    }

    /// Signs the message digest buffer with the key in `slot`.
    pub fn sign_external(slot: u8) -> Self {
        Self::new(opcode::SIGN, 0xA0, u16::from(slot), &[], 64, Repeat::Harmless)
    }

    /// Verifies `signature` (r‖s) of the message digest buffer with `key` (x‖y) on P-256.
    pub fn verify_external(signature: &[u8; 64], key: &[u8; 64]) -> Self {
        Self::new(opcode::VERIFY, 0x22, 0x0004, &[signature.as_slice(), key].concat(), 1, Repeat::Harmless)
    }

    /// Locks for good.
    pub fn lock(target: LockTarget) -> Self {
        let (mode, summary) = match target {
            LockTarget::Configuration(crc) => (0x00, crc),
            LockTarget::Data => (0x81, 0),
            LockTarget::Slot(slot) => (0x02 | slot << 2, 0),
        };
        Self::new(opcode::LOCK, mode, summary, &[], 1, Repeat::Never)
    }

    /// Starts a SHA-256 computation.
    pub fn sha_start() -> Self {
        Self::new(opcode::SHA, 0x00, 0, &[], 1, Repeat::Harmless)
    }

    /// Adds a block of 64 octets.
    pub fn sha_update(block: &[u8; 64]) -> Self {
        Self::new(opcode::SHA, 0x01, 64, block, 1, Repeat::Never)
    }

    /// Adds the last 0 to 63 octets and answers the digest.
    pub fn sha_end(rest: &[u8]) -> Self {
        Self::new(opcode::SHA, 0x02, u16::try_from(rest.len()).unwrap_or(u16::MAX), rest, 32, Repeat::Never)
    }

    /// Value of counter 0 or 1.
    pub fn counter_read(counter: u8) -> Self {
        Self::new(opcode::COUNTER, 0, u16::from(counter), &[], 4, Repeat::Harmless)
    }

    /// Adds one to counter 0 or 1, for good.
    pub fn counter_increment(counter: u8) -> Self {
        Self::new(opcode::COUNTER, 1, u16::from(counter), &[], 4, Repeat::Never)
    }

    /// All self tests.
    pub fn self_test() -> Self {
        Self::new(opcode::SELF_TEST, 0x3B, 0, &[], 1, Repeat::Harmless)
    }

    /// Writes UserExtra (byte 84), which the chip allows once.
    pub fn update_extra(value: u8) -> Self {
        Self::new(opcode::UPDATE_EXTRA, 0x00, u16::from(value), &[], 1, Repeat::Never)
    }

    /// Opcode, parameters and data.
    pub fn content(&self) -> &[u8] {
        &self.content
    }

    /// Octets of a successful answer, without frame; 1 means a status octet.
    pub fn answer_length(&self) -> usize {
        self.answer
    }

    /// Whether a repeat is harmless.
    pub fn repeat(&self) -> Repeat {
        self.repeat
    }

    /// Name for messages.
    pub fn name(&self) -> &'static str {
        self.timing(ClockMode::M0).0
    }

    /// Longest execution.
    pub fn worst_case(&self, mode: ClockMode) -> Duration {
        Duration::from_millis(self.timing(mode).1)
    }

    fn timing(&self, mode: ClockMode) -> (&'static str, u64) {
        self.content.first().and_then(|code| timing(*code, mode)).unwrap_or(("command", 2500))
    }
}
