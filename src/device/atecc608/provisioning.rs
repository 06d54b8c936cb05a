//! The provisioning steps on an ATECC608: each irreversible step follows a fresh read-back.

use super::attestation::Attestation;
use super::command::Command;
use super::driver::{Atecc608, Locks};
use super::slots::SlotUse;
use super::zones::{Zone, slot_size};
use crate::device::{Configuration, DeviceError, ElementInfo, ElementStatus, Refusal, SecureElement, StatusCode, Storage};
use crate::x509::keys;
use p256::ecdsa::signature::hazmat::PrehashVerifier;

fn too_early<T>(step: &'static str) -> Result<T, DeviceError> {
    Err(DeviceError::Refused(Refusal::TooEarly(step)))
}

impl Atecc608 {
    fn slot(&self, storage: Storage) -> Result<u8, DeviceError> {
        self.profile.slot_of(storage).ok_or(DeviceError::Refused(Refusal::NoSuchStorage(storage.as_str())))
    }

    /// `None` when the slot holds no usable key; the chip says so with an execution or ECC status.
    fn existing_key(&mut self) -> Result<Option<[u8; 64]>, DeviceError> {
        match self.public_key() {
            Ok(key) => Ok(Some(key)),
            Err(DeviceError::Status { status: StatusCode::Execution | StatusCode::EccFault, .. }) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Locks a slot unless it is locked, whatever became of an interrupted attempt, and reads the lock back.
    fn lock_and_read_back(&mut self, slot: u8) -> Result<(), DeviceError> {
        if self.locks()?.slot(slot) {
            return Ok(());
        }
        match self.lock_slot(slot) {
            Ok(()) | Err(DeviceError::OutcomeUnknown { .. }) => {}
            Err(e) => return Err(e),
        }
        self.expect_lock(&format!("lock bit of slot {slot}"), |locks| locks.slot(slot))
    }

    /// Nothing can replace the device key any more: its slot is locked, or was never open on this part.
    fn key_is_fixed(&self, locks: &Locks) -> bool {
        locks.slot(self.profile.key_slot()) || (self.profile.preprovisioned() && locks.configuration && locks.data)
    }

    fn expect_lock(&mut self, what: &str, locked: impl Fn(&Locks) -> bool) -> Result<(), DeviceError> {
        match locked(&self.locks()?) {
            true => Ok(()),
            false => Err(DeviceError::ReadBack { what: what.to_owned(), found: "unlocked".into(), wanted: "locked".into() }),
        }
    }

    fn check_model(&mut self) -> Result<(), DeviceError> {
        let info = self.read_info()?;
        match info.model.starts_with(self.profile.model()) {
            true => Ok(()),
            false => Err(DeviceError::Refused(Refusal::WrongModel { found: info.model, wanted: self.profile.model().to_owned() })),
        }
    }
}

impl SecureElement for Atecc608 {
    fn identify(&mut self) -> Result<ElementInfo, DeviceError> {
        self.read_info()
    }

    fn status(&mut self) -> Result<ElementStatus, DeviceError> {
        let image = self.configuration()?;
        let locks = Locks::of(&image);
        let differences = self.profile.differences(&image);
        let configuration = if differences.is_empty() { Configuration::Matches } else { Configuration::Differs(differences) };
        let readable = locks.configuration && configuration == Configuration::Matches;
        let public_key = if readable { self.existing_key()? } else { None };
        let locked = self.profile.storage().iter().filter(|(_, slot)| locks.slot(*slot));
        Ok(ElementStatus {
            configuration,
            configuration_locked: locks.configuration,
            data_locked: locks.data,
            public_key,
            key_locked: self.key_is_fixed(&locks),
            locked_storage: locked.map(|(storage, _)| *storage).collect(),
        })
    }

    fn read_configuration(&mut self) -> Result<Vec<u8>, DeviceError> {
        self.configuration().map(Vec::from)
    }

    fn configure(&mut self) -> Result<(), DeviceError> {
        self.check_model()?;
        let current = self.configuration()?;
        let wanted = self.profile.applied_to(&current);
        if current == wanted {
            return Ok(());
        }
        if Locks::of(&current).configuration {
            return Err(DeviceError::Refused(Refusal::ForeignConfiguration(self.profile.differences(&current))));
        }
        if self.profile.preprovisioned() {
            return Err(DeviceError::Refused(Refusal::NotPreprovisioned));
        }
        self.write_configuration(&current, &wanted)?;
        let found = self.configuration()?;
        match found == wanted {
            true => Ok(()),
            false => {
                Err(DeviceError::ReadBack { what: "configuration zone".into(), found: hex::encode(found), wanted: hex::encode(wanted) })
            }
        }
    }

    fn lock_configuration(&mut self) -> Result<(), DeviceError> {
        let current = self.configuration()?;
        let differences = self.profile.differences(&current);
        let locks = Locks::of(&current);
        if !differences.is_empty() {
            return match locks.configuration {
                true => Err(DeviceError::Refused(Refusal::ForeignConfiguration(differences))),
                false => too_early("configure"),
            };
        }
        if locks.configuration {
            return Ok(());
        }
        if self.profile.preprovisioned() {
            return Err(DeviceError::Refused(Refusal::NotPreprovisioned));
        }
        match self.lock_configuration_zone(&current) {
            Ok(()) | Err(DeviceError::OutcomeUnknown { .. }) => self.expect_lock("LockConfig", |l| l.configuration),
            Err(e) => Err(e),
        }
    }

    fn lock_data(&mut self) -> Result<(), DeviceError> {
        let locks = self.locks()?;
        if locks.data {
            return Ok(());
        }
        if !locks.configuration {
            return too_early("lock_configuration");
        }
        match self.lock_data_zone() {
            Ok(()) | Err(DeviceError::OutcomeUnknown { .. }) => self.expect_lock("LockValue", |l| l.data),
            Err(e) => Err(e),
        }
    }

    fn generate_key(&mut self) -> Result<[u8; 64], DeviceError> {
        if !self.locks()?.configuration {
            return too_early("lock_configuration");
        }
        let slot = self.profile.key_slot();
        if self.profile.preprovisioned() {
            return self.public_key();
        }
        self.told_key = None;
        let key = match self.generate_key_in(slot) {
            // The first key, if it was made, was never seen by anyone: a second GenKey is the clean way on.
            Err(DeviceError::OutcomeUnknown { .. }) => self.generate_key_in(slot)?,
            other => other?,
        };
        if self.public_key()? != key {
            return Err(DeviceError::Untrustworthy { command: "GenKey", reason: "it reports another public key when asked again" });
        }
        keys::p256_spki(&key)
            .map(|_| key)
            .map_err(|_| DeviceError::Untrustworthy { command: "GenKey", reason: "the public key is not a point of P-256" })
    }

    fn public_key(&mut self) -> Result<[u8; 64], DeviceError> {
        let key = self.public_key_of(self.profile.key_slot())?;
        self.told_key = Some(key);
        Ok(key)
    }

    fn sign(&mut self, digest: &[u8; 32]) -> Result<[u8; 64], DeviceError> {
        let locks = self.locks()?;
        if !(locks.configuration && locks.data) {
            return too_early("lock_data");
        }
        let slot = self.profile.key_slot();
        let key = match self.told_key {
            Some(key) => key,
            None => self.public_key()?,
        };
        let signature = self.sign_with(slot, digest)?;
        let point = [[0x04].as_slice(), &key].concat();
        let holds = p256::ecdsa::VerifyingKey::from_sec1_bytes(&point)
            .and_then(|k| p256::ecdsa::Signature::from_slice(&signature).and_then(|s| k.verify_prehash(digest, &s)));
        match holds {
            Ok(()) => Ok(signature),
            Err(_) => {
                Err(DeviceError::Untrustworthy { command: "Sign", reason: "the signature does not verify with the chip's own public key" })
            }
        }
    }

    fn attest(&mut self, challenge: &[u8; 20]) -> Result<Option<Attestation>, DeviceError> {
        let slot = self.profile.key_slot();
        if !matches!(self.profile.slot_use(slot), SlotUse::PrivateKey(key) if key.internal_sign) {
            return Ok(None);
        }
        let configuration = self.configuration()?;
        if !Locks::of(&configuration).data {
            return too_early("lock_data");
        }
        let random = self.fixed(&Command::nonce(challenge))?;
        let public_key = self.fixed(&Command::digest_key(slot))?;
        let signature = self.fixed(&Command::sign_internal(slot))?;
        let attestation = Attestation { challenge: *challenge, random, slot, configuration, public_key, signature };
        match attestation.verify(&public_key) {
            Ok(_) => Ok(Some(attestation)),
            Err(_) => Err(DeviceError::Untrustworthy { command: "Sign", reason: "its statement about itself does not verify" }),
        }
    }

    fn random(&mut self) -> Result<[u8; 32], DeviceError> {
        self.random_bytes()
    }

    fn capacity(&self, storage: Storage) -> Option<usize> {
        self.profile.slot_of(storage).map(slot_size)
    }

    fn write(&mut self, storage: Storage, bytes: &[u8]) -> Result<(), DeviceError> {
        let slot = self.slot(storage)?;
        if bytes.len() > slot_size(slot) {
            return Err(DeviceError::Refused(Refusal::TooLong { given: bytes.len(), capacity: slot_size(slot) }));
        }
        let locks = self.locks()?;
        if !locks.data {
            return too_early("lock_data");
        }
        let length = bytes.len().next_multiple_of(4);
        let mut wanted = bytes.to_vec();
        wanted.resize(length, 0);
        if self.read_zone(Zone::Data(slot), 0, length)? == wanted {
            return Ok(());
        }
        self.write_zone(Zone::Data(slot), &wanted)?;
        let found = self.read_zone(Zone::Data(slot), 0, length)?;
        match found == wanted {
            true => Ok(()),
            false => Err(DeviceError::ReadBack { what: format!("slot {slot}"), found: hex::encode(found), wanted: hex::encode(wanted) }),
        }
    }

    fn read(&mut self, storage: Storage, length: usize) -> Result<Vec<u8>, DeviceError> {
        let slot = self.slot(storage)?;
        if length > slot_size(slot) {
            return Err(DeviceError::Refused(Refusal::TooLong { given: length, capacity: slot_size(slot) }));
        }
        self.read_zone(Zone::Data(slot), 0, length)
    }

    fn lock_key(&mut self, expected: &[u8; 64]) -> Result<(), DeviceError> {
        if self.public_key()? != *expected {
            return Err(DeviceError::Refused(Refusal::OtherKey));
        }
        let locks = self.locks()?;
        match self.key_is_fixed(&locks) {
            true => Ok(()),
            false => self.lock_and_read_back(self.profile.key_slot()),
        }
    }

    fn lock_storage(&mut self, storage: Storage, expected: &[u8]) -> Result<(), DeviceError> {
        let slot = self.slot(storage)?;
        let found = self.read(storage, expected.len())?;
        if found != expected {
            return Err(DeviceError::ReadBack { what: format!("slot {slot}"), found: hex::encode(found), wanted: hex::encode(expected) });
        }
        match self.profile.locked_storage().contains(&storage) {
            true => self.lock_and_read_back(slot),
            false => Ok(()),
        }
    }
}
