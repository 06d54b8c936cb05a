//! What the chip says about itself: GenKey digest and Sign internal, laid out as the vendor's host library has them
//! (`atcah_gen_key_msg`, `atcah_sign_internal_msg`).

use super::commands::{EXECUTION, Volatile};
use super::state::Memory;
use crate::device::atecc608::command::{GEN_KEY_DIGEST, SIGN_INTERNAL_WITH_SERIAL, opcode};
use crate::device::atecc608::slots::SlotWords;
use sha2::{Digest, Sha256};

/// TempKey becomes the digest of TempKey, the command, parts of the serial number and the public key.
pub fn digest_key(memory: &Memory, volatile: &mut Volatile, slot: u8, key: &[u8; 64]) -> Result<(), u8> {
    let nonce = volatile.temp_key.ok_or(EXECUTION)?;
    let zone = &memory.configuration;
    let mut message = [0u8; 128];
    let head = [nonce.as_slice(), &[opcode::GEN_KEY, GEN_KEY_DIGEST, slot, 0, zone[12], zone[0], zone[1]]].concat();
    message.iter_mut().zip(&head).for_each(|(m, h)| *m = *h);
    message.iter_mut().skip(64).zip(key).for_each(|(m, k)| *m = *k);
    volatile.temp_key = Some(Sha256::digest(message).into());
    volatile.temp_key_of = Some(slot);
    Ok(())
}

/// Digest of the internal message; TempKey is used up.
pub fn internal_digest(memory: &Memory, volatile: &mut Volatile, slot: u8) -> Result<[u8; 32], u8> {
    let words = SlotWords::of(&memory.configuration, slot);
    let (of, random) = (volatile.temp_key_of.take().ok_or(EXECUTION)?, volatile.temp_key_random);
    if !memory.data_locked() || !words.signs_internal() || !random {
        return Err(EXECUTION);
    }
    let temp_key = volatile.temp_key.take().ok_or(EXECUTION)?;
    let (zone, about) = (&memory.configuration, SlotWords::of(&memory.configuration, of));
    let [sc0, sc1] = about.slot.to_le_bytes();
    let [kc0, kc1] = about.key.to_le_bytes();
    // TempKey flags: slot in bits 0 to 3, bit 6 for GenKey; bit 4 would say that the nonce came from outside.
    let command = [opcode::SIGN, SIGN_INTERNAL_WITH_SERIAL, slot, 0, sc0, sc1, kc0, kc1, of | 0x40, 0, 0];
    let serial = [zone[12], zone[8], zone[9], zone[10], zone[11], zone[0], zone[1], zone[2], zone[3]];
    let tail = [u8::from(!memory.slot_locked(of)), 0, 0];
    let hash = Sha256::new().chain_update(temp_key).chain_update(command).chain_update(serial).chain_update(tail);
    Ok(hash.finalize().into())
}
