//! The permission model: what a profile would let someone do to a chip for the rest of its life.

use super::slots::SlotUse;
use super::zones::SLOTS;
use crate::device::Storage;

/// What the model says of a profile.
#[derive(Default, Debug)]
pub struct Findings {
    /// Reasons not to write this profile into any chip.
    pub refusals: Vec<String>,
    /// Allowed, but worth a look before a line starts.
    pub warnings: Vec<String>,
}

/// Checks slots, roles and lock plan together.
pub fn check(
    slots: &[SlotUse; SLOTS as usize],
    key_slot: u8,
    storage: &[(Storage, u8)],
    locked: &[Storage],
    lock_device_key: bool,
    i2c_address: u8,
) -> Findings {
    let mut findings = Findings::default();
    if i2c_address < 0x10 || i2c_address & 1 == 1 {
        findings.refusals.push(format!("i2c_address {i2c_address:#04X} must be even (7-bit address times two) and at least 0x10"));
    }
    for (number, slot) in slots.iter().enumerate() {
        let SlotUse::PrivateKey(key) = slot else { continue };
        if key.import {
            findings.refusals.push(format!("slot {number}: import_key lets a key from outside replace the chip's own"));
        }
        if number != usize::from(key_slot) && key.generate {
            findings.warnings.push(format!("slot {number}: GenKey stays open for the life of the device"));
        }
        if key.ecdh {
            findings.warnings.push(format!("slot {number}: ECDH hands the shared secret to the host in the clear"));
        }
    }
    if let Some(SlotUse::PrivateKey(key)) = slots.get(usize::from(key_slot)) {
        let needs = [
            (key.external_sign, "external_sign, or it cannot sign its request"),
            (key.generate, "generate_key, or no key is ever made in it"),
            (key.public, "public_key, or a resumed run cannot read which key it holds"),
            (key.lockable, "lockable, or GenKey could replace the certified key for the life of the device"),
            (lock_device_key, "locks.device_key, or GenKey could replace the certified key for the life of the device"),
        ];
        let missing = needs.iter().filter(|(given, _)| !given);
        findings.refusals.extend(missing.map(|(_, what)| format!("slot {key_slot} (device-key) needs {what}")));
        if !key.internal_sign {
            findings.warnings.push(format!("slot {key_slot} (device-key): without internal_sign the chip cannot attest its configuration"));
        }
    }
    check_storage(slots, storage, locked, &mut findings);
    findings
}

fn check_storage(slots: &[SlotUse; SLOTS as usize], storage: &[(Storage, u8)], locked: &[Storage], findings: &mut Findings) {
    for (role, number) in storage {
        let Some(SlotUse::Data(data)) = slots.get(usize::from(*number)) else { continue };
        if !data.readable {
            findings.refusals.push(format!("slot {number} ({role}) must be readable, or it can never be compared before the lock"));
        }
        if !data.writable {
            findings
                .refusals
                .push(format!("slot {number} ({role}) must be writable until its lock: it is written after the data zone lock"));
        }
        match (locked.contains(role), data.lockable) {
            (true, false) => findings.refusals.push(format!("slot {number} ({role}) is in the lock plan and must be lockable")),
            (false, true) => {
                findings.warnings.push(format!("slot {number} ({role}) stays writable for anyone on the bus: it is not in the lock plan"))
            }
            (false, false) => findings.warnings.push(format!("slot {number} ({role}) can never be locked and stays writable")),
            (true, true) => {}
        }
    }
}
