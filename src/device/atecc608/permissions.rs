//! The permission model: what a profile would let someone do to a chip for the rest of its life.

use super::command::ClockMode;
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

/// A profile as the model sees it.
pub struct Plan<'a> {
    /// Permissions by slot.
    pub slots: &'a [SlotUse; SLOTS as usize],
    /// Slot of the device key.
    pub key_slot: u8,
    /// Storages and their slots.
    pub storage: &'a [(Storage, u8)],
    /// Storages that are locked at the end.
    pub locked: &'a [Storage],
    /// The device key slot is locked at the end.
    pub lock_device_key: bool,
    /// ChipMode octet.
    pub chip_mode: u8,
    /// 8-bit address.
    pub i2c_address: u8,
    /// The part arrives locked, with its key.
    pub preprovisioned: bool,
}

/// Checks slots, roles and lock plan together.
pub fn check(plan: &Plan<'_>) -> Findings {
    let mut findings = Findings::default();
    if plan.i2c_address < 0x10 || plan.i2c_address & 1 == 1 {
        let address = plan.i2c_address;
        findings.refusals.push(format!("i2c_address {address:#04X} must be even (7-bit address times two) and at least 0x10"));
    }
    if ClockMode::from_chip_mode(plan.chip_mode).is_none() {
        let mode = plan.chip_mode;
        findings.refusals.push(format!("chip_mode {mode:#04X} names no clock mode; bits 3 to 7 are 0x00 (M0), 0x28 (M1) or 0x68 (M2)"));
    }
    for (number, slot) in plan.slots.iter().enumerate() {
        let SlotUse::PrivateKey(key) = slot else { continue };
        if key.import {
            findings.refusals.push(format!("slot {number}: import_key lets a key from outside replace the chip's own"));
        }
        if number != usize::from(plan.key_slot) && key.generate {
            findings.warnings.push(format!("slot {number}: GenKey stays open for the life of the device"));
        }
        if key.ecdh {
            findings.warnings.push(format!("slot {number}: ECDH hands the shared secret to the host in the clear"));
        }
    }
    check_device_key(plan, &mut findings);
    check_storage(plan.slots, plan.storage, plan.locked, &mut findings);
    findings
}

fn check_device_key(plan: &Plan<'_>, findings: &mut Findings) {
    let number = plan.key_slot;
    let Some(SlotUse::PrivateKey(key)) = plan.slots.get(usize::from(number)) else { return };
    let arrives = plan.preprovisioned;
    let needs = [
        (key.external_sign, "external_sign, or it cannot sign its request"),
        (key.generate || arrives, "generate_key, or no key is ever made in it"),
        (!key.generate || !arrives, "generate_key = false on a preprovisioned part, or its key is not the manufacturer's for good"),
        (key.public, "public_key, or a resumed run cannot read which key it holds"),
        (key.lockable || arrives, "lockable, or GenKey could replace the certified key for the life of the device"),
        (plan.lock_device_key || arrives, "locks.device_key, or GenKey could replace the certified key for the life of the device"),
    ];
    let missing = needs.iter().filter(|(given, _)| !given);
    findings.refusals.extend(missing.map(|(_, what)| format!("slot {number} (device-key) needs {what}")));
    if !key.internal_sign {
        findings.warnings.push(format!("slot {number} (device-key): without internal_sign the chip cannot attest its configuration"));
    }
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
