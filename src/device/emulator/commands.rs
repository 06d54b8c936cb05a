//! What each command does, under locks and slot permissions.

use super::state::Memory;
use super::{keys, memory_access, statements};
use crate::device::atecc608::command::{GEN_KEY_DIGEST, SIGN_INTERNAL_WITH_SERIAL, opcode};
use crate::device::atecc608::slots::SlotWords;
use sha2::{Digest, Sha256};

pub const MISCOMPARE: u8 = 0x01;
pub const PARSE: u8 = 0x03;
pub const ECC: u8 = 0x05;
pub const EXECUTION: u8 = 0x0f;

/// Largest value of a monotonic counter.
const COUNTER_LIMIT: u32 = 2_097_151;

/// Data of the answer, or its status.
pub type Outcome = Result<Vec<u8>, u8>;

/// State that sleep and power loss erase.
#[derive(Default)]
pub struct Volatile {
    pub(super) temp_key: Option<[u8; 32]>,
    /// TempKey holds a nonce that the chip's own random number went into.
    pub(super) temp_key_random: bool,
    /// Slot whose public key GenKey has put into TempKey.
    pub(super) temp_key_of: Option<u8>,
    digest_buffer: Option<[u8; 32]>,
    sha: Option<Sha256>,
}

/// Executes the content of a command packet; the flag says that non-volatile memory changed.
pub fn execute(memory: &mut Memory, volatile: &mut Volatile, content: &[u8], lie: bool) -> (Outcome, bool) {
    let [code, param1, low, high, data @ ..] = content else { return (Err(PARSE), false) };
    let (param1, param2) = (*param1, u16::from_le_bytes([*low, *high]));
    let outcome = match *code {
        opcode::INFO => info(memory, volatile, param1, param2),
        opcode::RANDOM => random(memory),
        opcode::READ => memory_access::read(memory, param1, param2),
        opcode::WRITE => memory_access::write(memory, param1, param2, data),
        opcode::LOCK => memory_access::lock(memory, param1, param2),
        opcode::UPDATE_EXTRA => memory_access::update_extra(memory, param1, param2),
        opcode::GEN_KEY => gen_key(memory, volatile, param1, param2),
        opcode::NONCE => nonce(volatile, param1, data),
        opcode::SIGN => sign(memory, volatile, param1, param2, lie),
        opcode::VERIFY => verify(memory, volatile, param1, param2, data),
        opcode::SHA => sha(volatile, param1, param2, data),
        opcode::COUNTER => counter(memory, param1, param2),
        opcode::SELF_TEST => Ok(vec![0]),
        _ => Err(PARSE),
    };
    let writes = match *code {
        opcode::WRITE | opcode::LOCK | opcode::UPDATE_EXTRA => true,
        opcode::GEN_KEY => param1 & 0x04 != 0,
        opcode::COUNTER => param1 == 1,
        _ => false,
    };
    let changed = writes && outcome.is_ok();
    (outcome, changed)
}

fn slot_number(param2: u16) -> Result<u8, u8> {
    u8::try_from(param2).ok().filter(|slot| *slot < 16).ok_or(PARSE)
}

fn info(memory: &Memory, volatile: &Volatile, mode: u8, param2: u16) -> Outcome {
    match mode {
        0 => Ok(memory.configuration[4..8].to_vec()),
        // KeyValid: whether the slot holds a key that the chip can use.
        1 => slot_number(param2).map(|slot| vec![u8::from(memory.key_present >> slot & 1 == 1), 0, 0, 0]),
        2 => Ok(vec![u8::from(volatile.temp_key.is_some()) << 7, 0, 0, 0]),
        _ => Err(PARSE),
    }
}

fn random(memory: &Memory) -> Outcome {
    // Before the configuration lock the generator is replaced by a fixed pattern.
    if !memory.configuration_locked() {
        return Ok([0xff, 0xff, 0, 0].repeat(8));
    }
    random_octets().map(Vec::from)
}

fn random_octets() -> Result<[u8; 32], u8> {
    let mut octets = [0u8; 32];
    getrandom::fill(&mut octets).map_err(|_| EXECUTION)?;
    Ok(octets)
}

fn gen_key(memory: &mut Memory, volatile: &mut Volatile, mode: u8, param2: u16) -> Outcome {
    let slot = slot_number(param2)?;
    let words = SlotWords::of(&memory.configuration, slot);
    if !memory.configuration_locked() || !words.is_private_p256() {
        return Err(EXECUTION);
    }
    match mode {
        0x04 => {
            let open = !memory.data_locked() || words.generates();
            let random = !words.requires_random() || volatile.temp_key_random;
            if memory.slot_locked(slot) || !open || !random {
                return Err(EXECUTION);
            }
            let scalar = keys::generate().ok_or(ECC)?;
            let key = keys::public(scalar.as_ref()).ok_or(ECC)?;
            let cell = memory.slots.get_mut(usize::from(slot)).ok_or(PARSE)?;
            cell.iter_mut().skip(4).zip(scalar.iter()).for_each(|(octet, new)| *octet = *new);
            memory.key_present |= 1 << slot;
            Ok(key.to_vec())
        }
        GEN_KEY_DIGEST => {
            let key = private_key(memory, slot).and_then(|scalar| keys::public(scalar).ok_or(ECC))?;
            statements::digest_key(memory, volatile, slot, &key)?;
            Ok(key.to_vec())
        }
        0x00 => {
            if !words.tells_public_key() {
                return Err(EXECUTION);
            }
            private_key(memory, slot).and_then(|scalar| keys::public(scalar).ok_or(ECC)).map(|key| key.to_vec())
        }
        _ => Err(PARSE),
    }
}

fn private_key(memory: &Memory, slot: u8) -> Result<&[u8], u8> {
    if memory.key_present >> slot & 1 == 0 {
        return Err(EXECUTION);
    }
    memory.slots.get(usize::from(slot)).and_then(|s| s.get(4..36)).ok_or(PARSE)
}

fn nonce(volatile: &mut Volatile, mode: u8, data: &[u8]) -> Outcome {
    match (mode, data.len()) {
        (0x03, 32) => {
            volatile.temp_key = data.try_into().ok();
            volatile.temp_key_random = false;
            volatile.temp_key_of = None;
            Ok(vec![0])
        }
        (0x43, 32) => {
            volatile.digest_buffer = data.try_into().ok();
            Ok(vec![0])
        }
        // Random nonce: TempKey = SHA-256(RandOut, NumIn, opcode, mode, 0).
        (0x00 | 0x01, 20) => {
            let drawn = random_octets()?;
            let digest = Sha256::new().chain_update(drawn).chain_update(data).chain_update([opcode::NONCE, mode, 0]);
            volatile.temp_key = Some(digest.finalize().into());
            volatile.temp_key_random = true;
            volatile.temp_key_of = None;
            Ok(drawn.to_vec())
        }
        _ => Err(PARSE),
    }
}

/// The digest that a Sign or Verify mode names; it is used up.
fn take_digest(volatile: &mut Volatile, mode: u8) -> Result<[u8; 32], u8> {
    let source = if mode & 0x20 != 0 { &mut volatile.digest_buffer } else { &mut volatile.temp_key };
    source.take().ok_or(EXECUTION)
}

fn sign(memory: &Memory, volatile: &mut Volatile, mode: u8, param2: u16, lie: bool) -> Outcome {
    let slot = slot_number(param2)?;
    if mode == SIGN_INTERNAL_WITH_SERIAL {
        let digest = statements::internal_digest(memory, volatile, slot)?;
        return keys::sign(private_key(memory, slot)?, &digest).map(|s| s.to_vec()).ok_or(ECC);
    }
    if mode & !0x20 != 0x80 {
        return Err(PARSE);
    }
    let words = SlotWords::of(&memory.configuration, slot);
    let random = !words.requires_random() || volatile.temp_key_random;
    if !memory.data_locked() || !words.signs_external() || !random {
        return Err(EXECUTION);
    }
    let digest = take_digest(volatile, mode)?;
    let other = if lie { keys::generate() } else { None };
    let scalar = match &other {
        Some(scalar) => scalar.as_slice(),
        None => private_key(memory, slot)?,
    };
    keys::sign(scalar, &digest).map(|s| s.to_vec()).ok_or(ECC)
}

fn verify(memory: &Memory, volatile: &mut Volatile, mode: u8, param2: u16, data: &[u8]) -> Outcome {
    if !memory.data_locked() {
        return Err(EXECUTION);
    }
    let (signature, key) = match (mode & !0x20, data.split_at_checked(64)) {
        // External: the key follows the signature, param2 names the curve (4 = P-256).
        (0x02, Some((signature, key))) if key.len() == 64 && param2 == 4 => (signature, key.to_vec()),
        // Stored: the key lies in a data slot, four octets of padding before each half.
        (0x00, Some((signature, []))) => {
            let slot = slot_number(param2)?;
            let cell = memory.slots.get(usize::from(slot)).filter(|s| s.len() >= 72).ok_or(EXECUTION)?;
            (signature, [cell.get(4..36), cell.get(40..72)].into_iter().flatten().flatten().copied().collect())
        }
        _ => return Err(PARSE),
    };
    let digest = take_digest(volatile, mode)?;
    match keys::verify(&key, &digest, signature) {
        Some(true) => Ok(vec![0]),
        Some(false) => Err(MISCOMPARE),
        None => Err(ECC),
    }
}

fn sha(volatile: &mut Volatile, mode: u8, length: u16, data: &[u8]) -> Outcome {
    if usize::from(length) != data.len() && mode & 0x07 != 0 {
        return Err(PARSE);
    }
    match mode & 0x07 {
        0 => {
            volatile.sha = Some(Sha256::new());
            Ok(vec![0])
        }
        1 if data.len() == 64 => {
            volatile.sha.as_mut().ok_or(EXECUTION)?.update(data);
            Ok(vec![0])
        }
        2 if data.len() < 64 => {
            let digest: [u8; 32] = volatile.sha.take().ok_or(EXECUTION)?.chain_update(data).finalize().into();
            // Bits 6 and 7: TempKey, digest buffer, or the answer alone.
            match mode >> 6 {
                0 => volatile.temp_key = Some(digest),
                1 => volatile.digest_buffer = Some(digest),
                _ => {}
            }
            Ok(digest.to_vec())
        }
        _ => Err(PARSE),
    }
}

fn counter(memory: &mut Memory, mode: u8, number: u16) -> Outcome {
    if !memory.configuration_locked() {
        return Err(EXECUTION);
    }
    let counter = memory.counters.get_mut(usize::from(number)).ok_or(PARSE)?;
    match mode {
        0 => {}
        1 if *counter < COUNTER_LIMIT => *counter += 1,
        1 => return Err(EXECUTION),
        _ => return Err(PARSE),
    }
    Ok(counter.to_le_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::atecc608::ChipProfile;
    use proptest::prelude::*;

    const SHIPPED: &str = include_str!("../../../config/elements/atecc608-tls.toml");

    /// A finished device: both zones locked, key and certificate slots locked.
    fn device() -> Memory {
        let mut memory = Memory::blank([1, 0x23, 1, 2, 3, 4, 5, 6, 0xee], [0, 0, 0x60, 3]);
        memory.configuration = ChipProfile::parse(SHIPPED).unwrap().applied_to(&memory.configuration);
        let mut run = |content: &[u8]| execute(&mut memory, &mut Volatile::default(), content, false).0.unwrap();
        run(&[opcode::LOCK, 0x80, 0, 0]);
        run(&[opcode::GEN_KEY, 0x04, 0, 0]);
        run(&[opcode::LOCK, 0x81, 0, 0]);
        run(&[opcode::LOCK, 0x02, 0, 0]);
        run(&[opcode::LOCK, 0x02 | 10 << 2, 0, 0]);
        memory
    }

    fn command() -> impl Strategy<Value = Vec<u8>> {
        let codes = prop::sample::select(vec![
            opcode::READ,
            opcode::WRITE,
            opcode::NONCE,
            opcode::LOCK,
            opcode::RANDOM,
            opcode::UPDATE_EXTRA,
            opcode::COUNTER,
            opcode::INFO,
            opcode::GEN_KEY,
            opcode::SIGN,
            opcode::VERIFY,
            opcode::SHA,
            opcode::SELF_TEST,
            0x46,
        ]);
        let length = prop::sample::select(vec![0usize, 4, 20, 32, 36, 64, 128]);
        let parts = (codes, any::<u8>(), 0u16..0x400, length, any::<u8>());
        parts.prop_map(|(code, mode, param, length, fill)| [[code, mode].as_slice(), &param.to_le_bytes(), &vec![fill; length]].concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_sequence_of_commands_undoes_a_lock(commands in prop::collection::vec(command(), 1..200)) {
            let mut memory = device();
            let before = memory.clone();
            let mut volatile = Volatile::default();
            let mut locked = !u16::from_le_bytes([memory.configuration[88], memory.configuration[89]]);
            for content in &commands {
                let previous = memory.clone();
                let (outcome, changed) = execute(&mut memory, &mut volatile, content, false);
                let same = memory.configuration == previous.configuration && memory.slots == previous.slots;
                prop_assert!(changed || (same && memory.otp == previous.otp), "a change would not be saved");
                prop_assert!(memory.configuration_locked() && memory.data_locked());
                let now = !u16::from_le_bytes([memory.configuration[88], memory.configuration[89]]);
                prop_assert_eq!(now & locked, locked, "a slot lock went away");
                locked = now;
                for slot in [0usize, 10] {
                    prop_assert_eq!(&memory.slots[slot], &before.slots[slot], "a locked slot changed");
                }
                if let Ok(data) = outcome {
                    let secret = &before.slots[0][4..36];
                    prop_assert!(!data.windows(32).any(|window| window == secret), "a private key left the chip");
                }
            }
            for octet in (0..84).chain(90..128) {
                prop_assert_eq!(memory.configuration[octet], before.configuration[octet]);
            }
        }
    }
}
