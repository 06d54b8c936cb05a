//! The chip's commands as typed calls.

use super::command::{ClockMode, Command, LockTarget};
use super::link::Link;
use super::packet::crc16;
use super::profile::ChipProfile;
use super::zones::{Address, CONFIGURATION_SIZE, Zone};
use crate::device::transport::Transport;
use crate::device::{DeviceError, ElementInfo, ElementSerial, Refusal, StatusCode};
use sha2::{Digest, Sha256};

/// One ATECC608 on one bus, and the profile it is to have.
pub struct Atecc608 {
    link: Link,
    pub(super) profile: ChipProfile,
    /// The device key as the chip last told it, so that a signature can be checked without computing it again.
    pub(super) told_key: Option<[u8; 64]>,
}

/// Lock state of a configuration zone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Locks {
    /// LockConfig is no longer 0x55.
    pub configuration: bool,
    /// LockValue is no longer 0x55.
    pub data: bool,
    /// Bit n set: slot n is locked on its own.
    pub slots: u16,
}

impl Locks {
    /// Reads octets 86 to 89. Only 0x55 means unlocked.
    pub fn of(configuration: &[u8; CONFIGURATION_SIZE]) -> Self {
        let [.., value, config, low, high] = configuration.first_chunk::<90>().copied().unwrap_or([0; 90]);
        Self::from_octets([value, config, low, high])
    }

    fn from_octets([value, config, low, high]: [u8; 4]) -> Self {
        Self { configuration: config != 0x55, data: value != 0x55, slots: !u16::from_le_bytes([low, high]) }
    }

    /// Slot `slot` is locked on its own.
    pub fn slot(&self, slot: u8) -> bool {
        slot < 16 && self.slots >> slot & 1 == 1
    }
}

impl Atecc608 {
    /// Takes the bus. Nothing is sent until the first call.
    pub fn new(transport: Box<dyn Transport>, profile: ChipProfile) -> Self {
        Self { link: Link::new(transport), profile, told_key: None }
    }

    /// The profile that this chip is to have.
    pub fn profile(&self) -> &ChipProfile {
        &self.profile
    }

    /// Puts the chip to sleep.
    pub fn sleep(&mut self) -> Result<(), DeviceError> {
        self.link.sleep()
    }

    /// Revision, from the chip's logic, and serial number, from its configuration zone.
    pub fn read_info(&mut self) -> Result<ElementInfo, DeviceError> {
        let revision = self.fixed::<4>(&Command::info())?;
        let zone = self.read_zone(Zone::Configuration, 0, 32)?;
        let bytes: Option<[u8; 9]> = match zone.as_slice() {
            [a, b, c, d, _, _, _, _, e, f, g, h, i, ..] => Some([*a, *b, *c, *d, *e, *f, *g, *h, *i]),
            _ => None,
        };
        let serial = bytes.ok_or(DeviceError::Untrustworthy { command: "Read", reason: "the serial number is missing" })?;
        let model = format!("{}{}", model_name(revision), self.variant()?);
        Ok(ElementInfo { serial: ElementSerial::new(serial), revision, model })
    }

    /// Suffix of parts that the manufacturer has configured: they are locked and name their certificate in OTP.
    fn variant(&mut self) -> Result<&'static str, DeviceError> {
        // Word 84: UserExtra, UserExtraAdd, LockValue, LockConfig.
        if self.read_zone(Zone::Configuration, 84, 4)?.get(2) != Some(&0) {
            return Ok("");
        }
        let code = self.read_zone(Zone::Otp, 0, 8)?;
        Ok(VARIANTS.iter().find(|(known, _)| *known == code.as_slice()).map_or("", |(_, suffix)| suffix))
    }

    /// All 128 octets of the configuration zone.
    pub fn configuration(&mut self) -> Result<[u8; CONFIGURATION_SIZE], DeviceError> {
        let bytes = self.read_zone(Zone::Configuration, 0, CONFIGURATION_SIZE)?;
        let zone: [u8; CONFIGURATION_SIZE] =
            bytes.try_into().map_err(|_| DeviceError::Answer { command: "Read", reason: "short configuration zone".into() })?;
        self.link.set_clock(ClockMode::from_chip_mode(zone[19]).unwrap_or(ClockMode::M2));
        Ok(zone)
    }

    /// Lock state alone: two words instead of the whole zone.
    pub fn locks(&mut self) -> Result<Locks, DeviceError> {
        match self.read_zone(Zone::Configuration, 86, 4)?.as_slice() {
            [value, config, low, high] => Ok(Locks::from_octets([*value, *config, *low, *high])),
            _ => Err(DeviceError::Answer { command: "Read", reason: "short configuration zone".into() }),
        }
    }

    /// Writes what differs between `current` and `image`: blocks 1 and 3 whole, the others, which hold octets that
    /// Write may not touch, by words.
    pub fn write_configuration(&mut self, current: &[u8; CONFIGURATION_SIZE], image: &[u8; CONFIGURATION_SIZE]) -> Result<(), DeviceError> {
        let blocks = current.chunks_exact(32).zip(image.chunks_exact(32)).enumerate();
        for (block, (have, wanted)) in blocks.filter(|(_, (have, wanted))| have != wanted) {
            let at = block * 32;
            if block % 2 == 1 {
                let address = Address::block(Zone::Configuration, at).ok_or_else(out_of_range)?;
                self.link.execute(&Command::write(address, wanted))?;
                continue;
            }
            let words = have.chunks_exact(4).zip(wanted.chunks_exact(4)).enumerate();
            for (word, (_, wanted)) in words.filter(|(_, (have, wanted))| have != wanted) {
                let address = Address::word(Zone::Configuration, at + word * 4).ok_or_else(out_of_range)?;
                self.link.execute(&Command::write(address, wanted))?;
            }
        }
        Ok(())
    }

    /// Locks the configuration zone with the CRC of `image`: the chip refuses when it holds anything else.
    pub fn lock_configuration_zone(&mut self, image: &[u8; CONFIGURATION_SIZE]) -> Result<(), DeviceError> {
        self.link.execute(&Command::lock(LockTarget::Configuration(crc16(image)))).map(|_| ())
    }

    /// Locks data and OTP zones.
    pub fn lock_data_zone(&mut self) -> Result<(), DeviceError> {
        self.link.execute(&Command::lock(LockTarget::Data)).map(|_| ())
    }

    /// Locks one slot.
    pub fn lock_slot(&mut self, slot: u8) -> Result<(), DeviceError> {
        self.link.execute(&Command::lock(LockTarget::Slot(slot & 0x0f))).map(|_| ())
    }

    /// Makes a key in `slot`; public key x‖y.
    pub fn generate_key_in(&mut self, slot: u8) -> Result<[u8; 64], DeviceError> {
        self.fixed(&Command::generate_key(slot))
    }

    /// Public key of the key in `slot`.
    pub fn public_key_of(&mut self, slot: u8) -> Result<[u8; 64], DeviceError> {
        self.fixed(&Command::public_key(slot))
    }

    /// Signs a SHA-256 digest with the key in `slot`: Random (fresh seed), Nonce pass-through, Sign external.
    pub fn sign_with(&mut self, slot: u8, digest: &[u8; 32]) -> Result<[u8; 64], DeviceError> {
        self.random_bytes()?;
        self.link.execute(&Command::load_digest(digest))?;
        self.fixed(&Command::sign_external(slot))
    }

    /// Lets the chip verify a signature.
    pub fn verify_on_chip(&mut self, digest: &[u8; 32], signature: &[u8; 64], key: &[u8; 64]) -> Result<bool, DeviceError> {
        self.link.execute(&Command::load_digest(digest))?;
        match self.link.execute(&Command::verify_external(signature, key)) {
            Ok(_) => Ok(true),
            Err(DeviceError::Status { status: StatusCode::Miscompare, .. }) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// 32 random octets. The fixed pattern `FF FF 00 00…` of a chip with open configuration is refused.
    pub fn random_bytes(&mut self) -> Result<[u8; 32], DeviceError> {
        let bytes = self.fixed::<32>(&Command::random())?;
        match bytes.chunks_exact(4).all(|word| word == [0xff, 0xff, 0, 0]) {
            true => Err(DeviceError::Refused(Refusal::TooEarly("the configuration lock (random numbers are fixed before it)"))),
            false => Ok(bytes),
        }
    }

    /// SHA-256 by the chip.
    pub fn sha256(&mut self, message: &[u8]) -> Result<[u8; 32], DeviceError> {
        self.link.execute(&Command::sha_start())?;
        let (blocks, rest) = message.as_chunks::<64>();
        for block in blocks {
            self.link.execute(&Command::sha_update(block))?;
        }
        let digest = self.fixed::<32>(&Command::sha_end(rest))?;
        match digest == <[u8; 32]>::from(Sha256::digest(message)) {
            true => Ok(digest),
            false => Err(DeviceError::Untrustworthy { command: "SHA", reason: "the digest is not the message's" }),
        }
    }

    /// Value of monotonic counter 0 or 1.
    pub fn counter(&mut self, counter: u8) -> Result<u32, DeviceError> {
        self.fixed(&Command::counter_read(counter)).map(u32::from_le_bytes)
    }

    /// Adds one to a monotonic counter, for good; its new value.
    pub fn increment_counter(&mut self, counter: u8) -> Result<u32, DeviceError> {
        self.fixed(&Command::counter_increment(counter)).map(u32::from_le_bytes)
    }

    /// Runs all self tests.
    pub fn self_test(&mut self) -> Result<(), DeviceError> {
        self.link.execute(&Command::self_test()).map(|_| ())
    }

    /// Writes the octet UserExtra, which the chip allows once.
    pub fn set_user_extra(&mut self, value: u8) -> Result<(), DeviceError> {
        self.link.execute(&Command::update_extra(value)).map(|_| ())
    }

    /// Reads `length` octets of a zone from `offset`; blocks where aligned, words elsewhere.
    pub fn read_zone(&mut self, zone: Zone, offset: usize, length: usize) -> Result<Vec<u8>, DeviceError> {
        let end = offset.checked_add(length).filter(|end| *end <= zone.size()).ok_or_else(out_of_range)?;
        let mut at = offset & !3;
        let start = at;
        let mut bytes = Vec::with_capacity(length + 8);
        while at < end {
            let whole = at.is_multiple_of(32) && at + 32 <= zone.size() && end - at >= 8;
            let address = if whole { Address::block(zone, at) } else { Address::word(zone, at) }.ok_or_else(out_of_range)?;
            bytes.extend(self.link.execute(&Command::read(address))?);
            at += address.length();
        }
        Ok(bytes.into_iter().skip(offset - start).take(length).collect())
    }

    /// Writes `bytes`, a multiple of four, at the start of a slot or of OTP: whole blocks, then words.
    pub fn write_zone(&mut self, zone: Zone, bytes: &[u8]) -> Result<(), DeviceError> {
        if bytes.len() > zone.size() || !bytes.len().is_multiple_of(4) {
            return Err(out_of_range());
        }
        let mut at = 0;
        for block in bytes.chunks(32) {
            let pieces = if block.len() == 32 { vec![block] } else { block.chunks(4).collect() };
            for piece in pieces {
                let address = if piece.len() == 32 { Address::block(zone, at) } else { Address::word(zone, at) };
                self.link.execute(&Command::write(address.ok_or_else(out_of_range)?, piece))?;
                at += piece.len();
            }
        }
        Ok(())
    }

    /// Executes a command whose answer has `N` octets.
    pub(super) fn fixed<const N: usize>(&mut self, command: &Command) -> Result<[u8; N], DeviceError> {
        let answer = self.link.execute(command)?;
        let reason = || format!("{N} octets expected");
        answer.try_into().map_err(|_| DeviceError::Answer { command: command.name(), reason: reason() })
    }
}

/// First octets of OTP by which the vendor's library tells its pre-configured parts apart.
const VARIANTS: [(&[u8; 8], &str); 8] = [
    (b"MKMwyhP1", "-TFLXTLS"),
    (b"KQp2ZkD8", "-TNGTLS"),
    (b"x6tjuZMy", "-TNGTLS"),
    (b"wdNxAjae", "-TNGTLS"),
    (b"Rsuy5YJh", "-TNGTLS"),
    (b"jsMu7iYO", "-TNGLORA"),
    (b"09qJNxI3", "-TNGLORA"),
    (b"BxZvm6q2", "-TNGLORA"),
];

fn out_of_range() -> DeviceError {
    DeviceError::Answer { command: "Read or Write", reason: "the address lies outside the zone".into() }
}

/// Part name from the Info revision: 00 00 60 xx is an ATECC608, xx = 02 an A, 03 or more a B or later.
fn model_name(revision: [u8; 4]) -> String {
    match revision {
        [0, 0, 0x60, 0..=2] => "ATECC608A".into(),
        [0, 0, 0x60, _] => "ATECC608B".into(),
        [0, 0, 0x50, _] => "ATECC508A".into(),
        other => format!("unknown part {}", hex::encode(other)),
    }
}
