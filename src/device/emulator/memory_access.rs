//! Read, Write and Lock: what the locks and the slot permissions let through.

use super::commands::{EXECUTION, Outcome, PARSE};
use super::state::Memory;
use crate::device::atecc608::packet::crc16;
use crate::device::atecc608::slots::SlotWords;
use crate::device::atecc608::zones::{Address, SLOTS, Zone};

/// Read: the configuration always; OTP and data only after the data lock, data as its SlotConfig says.
pub fn read(memory: &Memory, param1: u8, param2: u16) -> Outcome {
    let at = Address::from_params(param1, param2).ok_or(PARSE)?;
    let length = at.length();
    let zone: &[u8] = match at.zone() {
        Zone::Configuration => &memory.configuration,
        // Before the data lock OTP reads as a fixed pattern.
        Zone::Otp if !memory.data_locked() => return Ok([0xff, 0xff, 0, 0].repeat(length / 4)),
        Zone::Otp => &memory.otp,
        Zone::Data(slot) => {
            if !memory.data_locked() || !SlotWords::of(&memory.configuration, slot).reads_clear() {
                return Err(EXECUTION);
            }
            memory.slots.get(usize::from(slot)).ok_or(PARSE)?
        }
    };
    // The last block of a slot is short; the rest of it reads as zero.
    Ok(zone.iter().skip(at.offset()).copied().chain(std::iter::repeat(0)).take(length).collect())
}

/// Write in the clear.
pub fn write(memory: &mut Memory, param1: u8, param2: u16, data: &[u8]) -> Outcome {
    let at = Address::from_params(param1, param2).ok_or(PARSE)?;
    // Bit 6 asks for an encrypted write, which carries a MAC of 32 octets as well.
    if data.len() != at.length() || param1 & 0x40 != 0 {
        return Err(PARSE);
    }
    match at.zone() {
        Zone::Configuration => {
            let touched = at.offset()..at.offset() + at.length();
            let fixed = (0..16).chain(84..88).any(|octet| touched.contains(&octet));
            if memory.configuration_locked() || fixed {
                return Err(EXECUTION);
            }
            put(&mut memory.configuration, at.offset(), data);
        }
        Zone::Otp => {
            // Whole blocks between the two locks, nothing after the second.
            if !memory.configuration_locked() || memory.data_locked() || at.length() != 32 {
                return Err(EXECUTION);
            }
            put(&mut memory.otp, at.offset(), data);
        }
        Zone::Data(slot) => {
            let words = SlotWords::of(&memory.configuration, slot);
            let open = match memory.data_locked() {
                // Between the two locks every data slot takes whole blocks; private keys only by GenKey or PrivWrite.
                false => at.length() == 32 && !words.is_private(),
                true => words.writes_clear(),
            };
            if !memory.configuration_locked() || memory.slot_locked(slot) || !open {
                return Err(EXECUTION);
            }
            put(memory.slots.get_mut(usize::from(slot)).ok_or(PARSE)?, at.offset(), data);
        }
    }
    Ok(vec![0])
}

fn put(zone: &mut [u8], offset: usize, data: &[u8]) {
    zone.iter_mut().skip(offset).zip(data).for_each(|(octet, new)| *octet = *new);
}

/// Lock of a zone or a slot; never undone by anything.
pub fn lock(memory: &mut Memory, mode: u8, summary: u16) -> Outcome {
    let unchecked = mode & 0x80 != 0;
    if mode & 0x40 != 0 {
        return Err(PARSE);
    }
    match mode & 0x03 {
        0 => {
            if memory.configuration_locked() || !(unchecked || crc16(&memory.configuration) == summary) {
                return Err(EXECUTION);
            }
            memory.configuration[87] = 0x00;
        }
        1 => {
            let contents = [memory.slots.concat().as_slice(), &memory.otp].concat();
            if !memory.configuration_locked() || memory.data_locked() || !(unchecked || crc16(&contents) == summary) {
                return Err(EXECUTION);
            }
            memory.configuration[86] = 0x00;
        }
        2 => {
            let slot = mode >> 2 & 0x0f;
            let lockable = slot < SLOTS && SlotWords::of(&memory.configuration, slot).lockable();
            if !memory.configuration_locked() || memory.slot_locked(slot) || !lockable {
                return Err(EXECUTION);
            }
            memory.lock_slot(slot);
        }
        _ => return Err(PARSE),
    }
    Ok(vec![0])
}

/// UpdateExtra: UserExtra (84) and UserExtraAdd (85) can be written while zero, even after the configuration lock.
pub fn update_extra(memory: &mut Memory, mode: u8, value: u16) -> Outcome {
    let value = u8::try_from(value).map_err(|_| PARSE)?;
    let octet = match mode {
        0 => &mut memory.configuration[84],
        1 => &mut memory.configuration[85],
        _ => return Err(PARSE),
    };
    if *octet != 0 {
        return Err(EXECUTION);
    }
    *octet = value;
    Ok(vec![0])
}
