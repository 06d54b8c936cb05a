//! The machine: one element, from power-on to shipped.

use super::journal::{Event, Journal, Progress};
use super::statistics::Statistics;
use super::{Ask, Certified, Certify, JournalError, ProvisionError, Step};
use crate::device::{Configuration, DeviceError, ElementInfo, ElementSerial, ElementStatus, SecureElement, Storage};
use crate::durable;
use crate::types::{DeviceIdentity, SignatureAlgorithm};
use crate::x509::chain::{At, OfflineVerifier};
use crate::x509::csr::{RequestInfo, VerifiedCsr};
use crate::x509::{keys, pem};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use x509_cert::name::Name;

/// The machine's fixed parts; one serves many elements, one after the other.
pub struct Provisioner<'a> {
    /// Who certifies.
    pub authority: &'a dyn Certify,
    /// Journals, one file an element.
    pub journals: &'a Path,
    /// Finished devices, one directory each: what goes into the device's flash, and the record.
    pub devices: &'a Path,
    /// DER root that the quality check trusts.
    pub root: &'a [u8],
}

/// The element in hand and what is known of it.
pub struct Device<'a> {
    element: &'a mut dyn SecureElement,
    info: ElementInfo,
    journal: Journal,
    statistics: &'a mut Statistics,
    chip: Duration,
    authority: Duration,
}

/// A finished device.
#[derive(Clone, Debug)]
pub struct Shipped {
    /// Serial number of the element.
    pub element: ElementSerial,
    /// Canonical device identity.
    pub device: String,
    /// DER certificate.
    pub certificate: Vec<u8>,
    /// Index in the transparency log.
    pub log_index: u64,
    /// x‖y of the key in the element, read back from the element.
    pub public_key: [u8; 64],
    /// Whether the element itself holds the whole certificate.
    pub certificate_on_element: bool,
    /// Directory with certificate, chain and record.
    pub directory: PathBuf,
    /// It was finished by an earlier run; nothing was done but checks.
    pub already: bool,
    /// Time spent in the element and on its bus, in this run.
    pub chip: Duration,
    /// Time spent waiting for the authority, in this run.
    pub authority: Duration,
}

impl Provisioner<'_> {
    /// Runs the line on one element. `name` gives the identity for an element's serial number.
    ///
    /// # Errors
    /// [`ProvisionError`]; every error but `Scrap` and `Foreign` can be followed by another run,
    /// which resumes.
    pub fn provision(
        &self,
        element: &mut dyn SecureElement,
        name: &dyn Fn(&ElementInfo) -> Result<DeviceIdentity, String>,
        statistics: &mut Statistics,
    ) -> Result<Shipped, ProvisionError> {
        let result = self.walk(element, name, statistics);
        match &result {
            Ok(_) => statistics.ship(),
            Err(error) => statistics.fail(error),
        }
        result
    }

    fn walk(
        &self,
        element: &mut dyn SecureElement,
        name: &dyn Fn(&ElementInfo) -> Result<DeviceIdentity, String>,
        statistics: &mut Statistics,
    ) -> Result<Shipped, ProvisionError> {
        let started = Instant::now();
        let step = Step::PowerOn;
        let at = |source| ProvisionError::Element { step, source };
        let info = element.identify().map_err(at)?;
        let identity = name(&info).map_err(|reason| ProvisionError::Foreign { serial: info.serial.to_string(), reason })?;
        let journal = Journal::open(self.journals, &info.serial)?;
        let status = element.status().map_err(at)?;
        let mut device = Device { element, info, journal, statistics, chip: started.elapsed(), authority: Duration::ZERO };
        device.admit(&status, &identity)?;
        device.statistics.time(step, started.elapsed());

        device.configure(&status)?;
        let key = device.make_key()?;
        device.change(Step::LockData, status.data_locked, |e| e.lock_data())?;
        let ask = device.request(&identity, &key)?;
        let certified = device.certify(self.authority, &ask)?;
        let on_element = device.store(self, &identity, &certified)?;
        device.lock(&key, &certified, on_element)?;
        device.test_signature(&certified)?;
        device.quality_check(self, &key, &certified)?;
        let already = device.journal.progress().shipped;
        let directory = self.directory(&device.info);
        device.record(&directory, &identity, &certified, on_element)?;
        Ok(Shipped {
            element: device.info.serial,
            device: identity.canonical(),
            certificate: certified.certificate,
            log_index: certified.log_index,
            public_key: key,
            certificate_on_element: on_element,
            directory,
            already,
            chip: device.chip,
            authority: device.authority,
        })
    }

    fn directory(&self, info: &ElementInfo) -> PathBuf {
        self.devices.join(info.serial.to_string())
    }
}

impl Device<'_> {
    /// Only an element whose state the journal explains is worked on.
    fn admit(&mut self, status: &ElementStatus, identity: &DeviceIdentity) -> Result<(), ProvisionError> {
        let progress = self.journal.progress();
        let serial = self.info.serial.to_string();
        let foreign = |reason: &str| Err(ProvisionError::Foreign { serial: serial.clone(), reason: reason.to_owned() });
        if let Some((step, reason)) = &progress.scrap {
            return foreign(&format!("it was scrapped at {step}: {reason}; put it in the scrap box"));
        }
        if let Some((_, _, device)) = &progress.request
            && *device != identity.canonical()
        {
            return foreign(&format!("it was asked to become {device}, not {}; give it that identity", identity.canonical()));
        }
        if status.key_locked && progress.certificate.is_none() {
            return foreign("its key slot is locked and this station's journal has no certificate for it: it was provisioned elsewhere");
        }
        if status.configuration_locked && !progress.known {
            return foreign("its configuration is locked and this station's journal does not know it: it was configured elsewhere");
        }
        if let (true, Configuration::Differs(fields)) = (status.configuration_locked, &status.configuration) {
            let reason = format!("the locked configuration differs from the profile: {}", fields.join("; "));
            return Err(self.scrap(Step::PowerOn, reason)?);
        }
        Ok(())
    }

    /// Marks the element as never to be finished, durably.
    fn scrap(&mut self, step: Step, reason: String) -> Result<ProvisionError, JournalError> {
        self.journal.write(Event::Scrap { step: step.name().into(), reason: reason.clone() })?;
        Ok(ProvisionError::Scrap { step, reason })
    }

    /// One timed step on the element, without the journal: reads and signatures.
    fn timed<T>(&mut self, step: Step, work: impl FnOnce(&mut dyn SecureElement) -> Result<T, DeviceError>) -> Result<T, ProvisionError> {
        let started = Instant::now();
        let result = work(&mut *self.element);
        self.statistics.time(step, started.elapsed());
        self.chip += started.elapsed();
        match result {
            Ok(value) => Ok(value),
            // Memory that does not hold what was written, or proofs that do not hold, never heal.
            Err(e @ (DeviceError::ReadBack { .. } | DeviceError::Untrustworthy { .. })) => Err(self.scrap(step, e.to_string())?),
            Err(source) => Err(ProvisionError::Element { step, source }),
        }
    }

    /// One journalled change of the element; skipped when the element says that it is in place.
    fn change<T: Default>(
        &mut self,
        step: Step,
        in_place: bool,
        work: impl FnOnce(&mut dyn SecureElement) -> Result<T, DeviceError>,
    ) -> Result<T, ProvisionError> {
        if in_place {
            return Ok(T::default());
        }
        self.journal.begin(step)?;
        let value = self.timed(step, work)?;
        self.journal.done(step)?;
        Ok(value)
    }

    fn configure(&mut self, status: &ElementStatus) -> Result<(), ProvisionError> {
        let written = status.configuration == Configuration::Matches;
        self.change(Step::Configure, written, |e| e.configure())?;
        self.change(Step::LockConfiguration, status.configuration_locked, |e| e.lock_configuration())
    }

    /// The key in the element: the journal's when it is still there, else a new one. A key that
    /// has a certificate is never replaced.
    fn make_key(&mut self) -> Result<[u8; 64], ProvisionError> {
        let step = Step::GenerateKey;
        let progress = self.journal.progress().clone();
        let present = self.timed(step, |e| e.status())?.public_key;
        match (progress.key, present) {
            (Some(known), Some(present)) if known == present => return Ok(known),
            (Some(_), _) if progress.certificate.is_some() => {
                return Err(self.scrap(step, "the element does not hold the key that was certified".into())?);
            }
            _ => {}
        }
        self.journal.begin(step)?;
        let key = self.timed(step, |e| {
            let made = e.generate_key()?;
            // Read back: what the slot holds, not what the command answered.
            let held = e.public_key()?;
            if made == held { Ok(held) } else { Err(read_back("the key slot after GenKey", &held, &made)) }
        })?;
        self.journal.write(Event::Key { public: hex::encode(key) })?;
        Ok(key)
    }

    /// The element's own request, kept in the journal before it is sent: after an interruption
    /// the same bytes go out again and the authority answers with the same certificate.
    fn request(&mut self, identity: &DeviceIdentity, key: &[u8; 64]) -> Result<Ask, ProvisionError> {
        let step = Step::Request;
        if let Some((request_id, csr, _)) = self.journal.progress().request.clone() {
            return Ok(Ask { request_id, identity: identity.clone(), csr });
        }
        let unusable = |reason: String| ProvisionError::Scrap { step, reason };
        let spki = keys::p256_spki(key).map_err(|e| unusable(e.to_string()))?;
        let info = RequestInfo::new(&Name::default(), &spki).map_err(|e| unusable(e.to_string()))?;
        let raw = self.timed(step, |e| e.sign(&Sha256::digest(info.der()).into()))?;
        let csr = match proven(&info, &raw) {
            Ok(csr) => csr,
            Err(reason) => return Err(self.scrap(step, reason)?),
        };
        let request_id = format!("element-{}-{}", self.info.serial, &hex::encode(Sha256::digest(csr.der()))[..16]);
        let event = Event::Request { id: request_id.clone(), csr: hex::encode(csr.der()), device: identity.canonical() };
        self.journal.write(event)?;
        Ok(Ask { request_id, identity: identity.clone(), csr: csr.der().to_vec() })
    }

    fn certify(&mut self, authority: &dyn Certify, ask: &Ask) -> Result<Certified, ProvisionError> {
        if let Some((certificate, chain, log_index)) = self.journal.progress().certificate.clone() {
            return Ok(Certified { certificate, chain, log_index });
        }
        let started = Instant::now();
        let certified = authority.certify(ask).map_err(|no| ProvisionError::NotCertified { reason: no.reason, transient: no.transient })?;
        self.statistics.time(Step::Certify, started.elapsed());
        self.authority += started.elapsed();
        self.journal.write(Event::Certificate {
            der: hex::encode(&certified.certificate),
            chain: certified.chain.iter().map(hex::encode).collect(),
            log_index: certified.log_index,
        })?;
        Ok(certified)
    }

    /// Certificate and chain go to the device's flash; the certificate also into the element's
    /// data slot when it fits. Both are read back. Tells whether the element holds it.
    fn store(&mut self, line: &Provisioner<'_>, identity: &DeviceIdentity, certified: &Certified) -> Result<bool, ProvisionError> {
        let step = Step::Store;
        let directory = line.directory(&self.info);
        let device = pem::encode(pem::CERTIFICATE, &certified.certificate);
        let chain: String =
            std::iter::once(device.clone()).chain(certified.chain.iter().map(|c| pem::encode(pem::CERTIFICATE, c))).collect();
        let files = [(directory.join("device.pem"), device.into_bytes()), (directory.join("chain.pem"), chain.into_bytes())];
        durable::write_once(&files, 0o644)
            .map_err(|e| JournalError::Io { path: directory.display().to_string(), reason: format!("{e} ({})", identity.canonical()) })?;
        let der = &certified.certificate;
        let fits = self.element.capacity(Storage::Data).is_some_and(|room| room >= der.len());
        if fits {
            let there = self.timed(step, |e| e.read(Storage::Data, der.len())).ok();
            self.change(step, there.as_ref() == Some(der), |e| e.write(Storage::Data, der))?;
        }
        Ok(fits)
    }

    /// Locks what was compared: the key slot when it holds the certificate's key, the data slot
    /// when it holds the certificate.
    fn lock(&mut self, key: &[u8; 64], certified: &Certified, on_element: bool) -> Result<(), ProvisionError> {
        let step = Step::LockKey;
        if on_element {
            let der = &certified.certificate;
            self.change(step, false, |e| e.lock_storage(Storage::Data, der))?;
        }
        let locked = self.timed(step, |e| e.status())?.key_locked;
        self.change(step, locked, |e| e.lock_key(key))?;
        self.timed(
            step,
            |e| if e.status()?.key_locked { Ok(()) } else { Err(read_back("the lock of the key slot", b"unlocked", b"locked")) },
        )
    }

    /// A fresh random challenge, verified with the certificate's key, not with the one the
    /// element claims.
    fn test_signature(&mut self, certified: &Certified) -> Result<(), ProvisionError> {
        let step = Step::TestSignature;
        let mut challenge = [0u8; 32];
        getrandom::fill(&mut challenge).map_err(|e| JournalError::Io { path: "random".into(), reason: e.to_string() })?;
        let raw = self.timed(step, |e| e.sign(&Sha256::digest(challenge).into()))?;
        let checked = certificate_key(&certified.certificate).and_then(|spki| verify_raw(&spki, &challenge, &raw));
        match checked {
            Ok(()) => Ok(()),
            Err(reason) => Err(self.scrap(step, format!("the element does not sign with the certificate's key: {reason}"))?),
        }
    }

    /// What a stranger would check: the chain to the root, and that the certificate's key is the
    /// one that the element computes from what it holds.
    fn quality_check(&mut self, line: &Provisioner<'_>, key: &[u8; 64], certified: &Certified) -> Result<(), ProvisionError> {
        let step = Step::QualityCheck;
        let held = self.timed(step, |e| e.public_key())?;
        let started = Instant::now();
        let verdict = (|| {
            let spki = keys::p256_spki(key).map_err(|e| e.to_string())?;
            if held != *key || certificate_key(&certified.certificate)? != spki {
                return Err("the certificate's key is not the element's".to_owned());
            }
            let verifier = OfflineVerifier::builder().root(line.root).build().map_err(|e| e.to_string())?;
            let chain = verifier.verify_chain(&certified.certificate, &certified.chain, At::Time(crate::types::unix_now()));
            chain.map(drop).map_err(|e| e.to_string())
        })();
        self.statistics.time(step, started.elapsed());
        match verdict {
            Ok(()) => Ok(()),
            Err(reason) => Err(self.scrap(step, reason)?),
        }
    }

    /// The evidence of the finished device, then the journal's last word.
    fn record(
        &mut self,
        directory: &Path,
        identity: &DeviceIdentity,
        certified: &Certified,
        on_element: bool,
    ) -> Result<(), ProvisionError> {
        if self.journal.progress().shipped {
            return Ok(());
        }
        let at = |source| ProvisionError::Element { step: Step::QualityCheck, source };
        let configuration = self.element.read_configuration().map_err(at)?;
        let status = self.element.status().map_err(at)?;
        let record = serde_json::json!({
            "version": 1,
            "element": { "serial": self.info.serial.to_string(), "model": self.info.model, "revision": hex::encode(self.info.revision) },
            "device": identity.canonical(),
            "configuration": hex::encode(configuration),
            "configuration_locked": status.configuration_locked,
            "data_locked": status.data_locked,
            "key_locked": status.key_locked,
            "public_key": status.public_key.map(hex::encode),
            "certificate_sha256": hex::encode(Sha256::digest(&certified.certificate)),
            "certificate_on_element": on_element,
            "log_index": certified.log_index,
        });
        let text = format!("{record:#}\n");
        durable::replace(&directory.join("record.json"), text.as_bytes(), 0o644)
            .map_err(|e| JournalError::Io { path: directory.display().to_string(), reason: e.to_string() })?;
        Ok(self.journal.write(Event::Shipped)?)
    }
}

fn proven(info: &RequestInfo, raw: &[u8; 64]) -> Result<VerifiedCsr, String> {
    let signature = keys::ecdsa_raw_to_der(raw).map_err(|e| e.to_string())?;
    info.assemble(SignatureAlgorithm::EcdsaSha256, &signature).map_err(|e| e.to_string())
}

fn verify_raw(spki: &[u8], message: &[u8], raw: &[u8; 64]) -> Result<(), String> {
    let signature = keys::ecdsa_raw_to_der(raw).map_err(|e| e.to_string())?;
    keys::verify(spki, SignatureAlgorithm::EcdsaSha256, message, &signature).map_err(|e| e.to_string())
}

fn read_back(what: &str, found: &[u8], wanted: &[u8]) -> DeviceError {
    DeviceError::ReadBack { what: what.to_owned(), found: hex::encode(found), wanted: hex::encode(wanted) }
}

fn certificate_key(der: &[u8]) -> Result<Vec<u8>, String> {
    keys::of_certificate(der).map_err(|e| e.to_string())
}

impl Progress {
    /// One word for reports.
    pub fn state(&self) -> &'static str {
        match self {
            Self { scrap: Some(_), .. } => "scrap",
            Self { shipped: true, .. } => "shipped",
            Self { certificate: Some(_), .. } => "certified",
            Self { request: Some(_), .. } => "requested",
            Self { key: Some(_), .. } => "keyed",
            Self { known: true, .. } => "begun",
            _ => "unknown",
        }
    }
}
