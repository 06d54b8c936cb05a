//! What tests of the log share: a log key, a small CA, a directory as a map.
#![allow(dead_code)]

use p256::ecdsa::signature::Signer;
use sealwright::log::checkpoint::SignedCheckpoint;
use sealwright::log::entry::{Commitment, CrlFacts, Entry, Event};
use sealwright::log::tiles::TileLog;
use sealwright::log::trust::TrustPolicy;
use sealwright::log::vkey::VerifierKey;
use sealwright::types::{Fingerprint, Serial};
use std::collections::BTreeMap;
use std::path::Path;

pub const ORIGIN: &str = "factory.example/log";
pub const POLICY: [u8; 32] = [2; 32];
pub const START_MS: u64 = 1_700_000_000_000;

/// A log's signing key, generated for the test.
pub struct LogKey {
    secret: p256::ecdsa::SigningKey,
    pub public: VerifierKey,
}

impl LogKey {
    pub fn generate() -> Self {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).unwrap();
        let secret = p256::ecdsa::SigningKey::from_slice(&bytes).unwrap();
        let spki = spki::EncodePublicKey::to_public_key_der(secret.verifying_key()).unwrap();
        Self { public: VerifierKey::ecdsa(ORIGIN, spki.as_bytes()).unwrap(), secret }
    }

    pub fn trust(&self) -> TrustPolicy {
        TrustPolicy::of_log(self.public.clone())
    }

    pub fn sign(&self, log: &TileLog) -> SignedCheckpoint {
        let checkpoint = log.checkpoint().unwrap();
        let signature: p256::ecdsa::DerSignature = self.secret.sign(checkpoint.text().as_bytes());
        SignedCheckpoint::assemble(&checkpoint, &self.public, signature.as_bytes().to_vec()).unwrap()
    }
}

/// A root and certificates under it.
pub struct TestCa {
    pub root_der: Vec<u8>,
    pub root_pem: String,
    issuer: rcgen::CertifiedIssuer<'static, rcgen::KeyPair>,
    device: rcgen::KeyPair,
}

impl TestCa {
    pub fn new(name: &str) -> Self {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.key_usages.push(rcgen::KeyUsagePurpose::KeyCertSign);
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2050, 1, 1);
        let issuer = rcgen::CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().unwrap()).unwrap();
        Self { root_der: issuer.der().to_vec(), root_pem: issuer.pem(), issuer, device: rcgen::KeyPair::generate().unwrap() }
    }

    pub fn leaf(&self, serial: u64) -> Vec<u8> {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, format!("device-{serial}"));
        params.serial_number = Some(rcgen::SerialNumber::from((serial + 0x4000_0000_0000_0000).to_be_bytes().to_vec()));
        params.not_before = rcgen::date_time_ymd(2023, 11, 14);
        params.not_after = rcgen::date_time_ymd(2040, 1, 1);
        params.key_usages.push(rcgen::KeyUsagePurpose::DigitalSignature);
        params.use_authority_key_identifier_extension = true;
        params.signed_by(&self.device, &self.issuer).unwrap().der().to_vec()
    }
}

pub fn entry_at(index: u64, policy: Option<[u8; 32]>, event: Event) -> Entry {
    Entry::new(START_MS + index * 1000, Commitment::new(&[1; 32], &index.to_be_bytes()), policy, event).unwrap()
}

/// A day in a factory: import, start, policy, then certificates, refusals, a revocation, CRLs.
pub fn day(ca: &TestCa, size: u64) -> Vec<Entry> {
    let issuer = Fingerprint::of_spki(b"issuer");
    let event = |i: u64| match i {
        0 => Event::CeremonyImported(ca.root_der.clone()),
        1 => Event::Started("0.1.0".into()),
        2 => Event::PolicyActivated("line-a".into()),
        i if i % 10 == 3 => Event::Refused("P2".into()),
        50 => Event::Revoked { issuer, serial: Serial::generate().unwrap(), reason: 1 },
        i if i % 100 == 51 => {
            let facts = CrlFacts { issuer, number: i, this_update: i, next_update: i + 100, entries: 1, digest: [i as u8; 32] };
            Event::CrlSigned(facts)
        }
        i => Event::Issued(ca.leaf(i)),
    };
    (0..size).map(|i| entry_at(i, (i >= 2).then_some(POLICY), event(i))).collect()
}

pub fn encoded(entries: &[Entry]) -> Vec<Vec<u8>> {
    entries.iter().map(Entry::encode).collect()
}

/// Creates, fills and publishes a log.
pub fn publish_log(dir: &Path, key: &LogKey, entries: &[Vec<u8>]) -> SignedCheckpoint {
    let mut log = TileLog::create(dir, ORIGIN).unwrap();
    log.append(0, entries).unwrap();
    let signed = key.sign(&log);
    log.publish(&signed).unwrap();
    signed
}

/// Every file below `dir` by relative name.
pub fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.insert(path.strip_prefix(dir).unwrap().to_string_lossy().into_owned(), std::fs::read(&path).unwrap());
            }
        }
    }
    found
}
