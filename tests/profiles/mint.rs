//! A root, an intermediate and device certificates made through the library's own line
//! (decide → build → lint → attach), with keys that live only as long as the test.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use sealwright::policy::decide::{Approved, Caller, IssuerContext, Refusals, decide};
use sealwright::policy::profile::Profile;
use sealwright::policy::set::PolicySet;
use sealwright::types::{DeviceId, DeviceIdentity, ProfileName, Serial, SignatureAlgorithm, Validity, unix_now};
use sealwright::x509::csr::{RequestInfo, VerifiedCsr};
use sealwright::x509::keys::p256_spki;
use sealwright::x509::lint::{Standard, lint_for};
use sealwright::x509::plan::Plan;
use sealwright::x509::tbs::{Issuer, Tbs, extension};
use std::path::Path;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage, KeyUsages};

/// Shortest way to a P-256 key that can sign.
pub struct Key(EcdsaKeyPair);

impl Key {
    pub fn generate() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap())
    }

    pub fn spki(&self) -> Vec<u8> {
        p256_spki(self.0.public_key().as_ref()[1..].try_into().unwrap()).unwrap()
    }

    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.0.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()
    }
}

/// A CA: its certificate and what it takes to issue under it.
pub struct Authority {
    pub certificate: Vec<u8>,
    pub issuer: Issuer,
    key: Key,
}

fn ca_plan(name: &str, spki: Vec<u8>, validity: Validity, path_len: Option<u8>) -> Plan {
    Plan {
        subject: name.parse().unwrap(),
        spki_der: spki,
        validity,
        extensions: vec![
            extension(&BasicConstraints { ca: true, path_len_constraint: path_len }, true).unwrap(),
            extension(&KeyUsage(KeyUsages::KeyCertSign | KeyUsages::CRLSign), true).unwrap(),
        ],
        subject_key_identifier: true,
        may_outlive_issuer: false,
    }
}

fn seal(plan: &Plan, issuer: &Issuer, key: &Key, standards: &[Standard]) -> Vec<u8> {
    let tbs = Tbs::build(plan, issuer, &Serial::generate().unwrap()).unwrap();
    let linted = lint_for(tbs, issuer, standards).unwrap_or_else(|f| panic!("{f:?}"));
    linted.attach(issuer, &key.sign(linted.der())).unwrap()
}

impl Authority {
    fn new(certificate: Vec<u8>, key: Key) -> Self {
        Self { issuer: Issuer::from_certificate(&certificate).unwrap(), certificate, key }
    }

    /// A root of 20 years and an intermediate of `years`, both starting a day ago.
    pub fn two_tiers(years: i64) -> (Self, Self) {
        let start = unix_now() - 86_400;
        let of = |years: i64| Validity::new(start, start + years * 365 * 86_400).unwrap();
        let (root_key, key) = (Key::generate(), Key::generate());
        let name = "CN=Test Root,O=Example Devices";
        let own = Issuer::self_signed(name.parse().unwrap(), root_key.spki(), of(20)).unwrap();
        let root = Self::new(seal(&ca_plan(name, root_key.spki(), of(20), None), &own, &root_key, &[]), root_key);
        let plan = ca_plan("CN=Test Intermediate,O=Example Devices", key.spki(), of(years), Some(0));
        let sub = Self::new(seal(&plan, &root.issuer, &root.key, &[]), key);
        (root, sub)
    }

    /// The intermediate alone.
    pub fn intermediate(years: i64) -> Self {
        Self::two_tiers(years).1
    }

    /// A Matter root by its shipped profile.
    pub fn matter_paa(set: &PolicySet) -> Self {
        let key = Key::generate();
        let start = unix_now() - 86_400;
        let validity = Validity::new(start, start + 21 * 365 * 86_400).unwrap();
        let own = Issuer::self_signed("CN=PAA-1".parse().unwrap(), key.spki(), validity).unwrap();
        let approved = ceremony(set, "matter-paa", &key, "PAA-1", &own);
        Self::new(seal(approved.plan(), &own, &key, approved.standards()), key)
    }

    /// A Matter intermediate by its shipped profile.
    pub fn matter_pai(&self, set: &PolicySet) -> Self {
        let key = Key::generate();
        let approved = ceremony(set, "matter-pai", &key, "PAI-1", &self.issuer);
        Self::new(self.issue(&approved), key)
    }

    /// Decides as the profile's first role would see it.
    pub fn decide(&self, profile: &Profile, csr: &VerifiedCsr, id: &DeviceIdentity, soft: bool) -> Result<Approved, Refusals> {
        let caller = Caller::new(&profile.roles()[0], 1000).unwrap();
        decide(profile, &caller, csr, id, &IssuerContext { issuer: &self.issuer, soft_token: soft }, unix_now())
    }

    /// Signs what was approved.
    pub fn issue(&self, approved: &Approved) -> Vec<u8> {
        seal(approved.plan(), &self.issuer, &self.key, approved.standards())
    }
}

fn ceremony(set: &PolicySet, name: &str, key: &Key, id: &str, issuer: &Issuer) -> Approved {
    let info = RequestInfo::new(&Default::default(), &key.spki()).unwrap();
    let csr = info.assemble(SignatureAlgorithm::EcdsaSha256, &key.sign(info.der())).unwrap();
    let caller = Caller::new("ceremony", 0).unwrap();
    let context = IssuerContext { issuer, soft_token: false };
    decide(&profile(set, name), &caller, &csr, &identity("free", id), &context, unix_now()).unwrap()
}

/// The shipped profiles.
pub fn shipped() -> PolicySet {
    PolicySet::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("policies")).unwrap()
}

/// A shipped profile.
pub fn profile(set: &PolicySet, name: &str) -> Profile {
    set.get(&ProfileName::parse(name).unwrap()).unwrap().clone()
}

/// A request for a fresh P-256 key; its subject asks for what nobody grants.
pub fn request() -> VerifiedCsr {
    request_with(&rcgen::PKCS_ECDSA_P256_SHA256)
}

/// A request for a fresh key of the algorithm.
pub fn request_with(algorithm: &'static rcgen::SignatureAlgorithm) -> VerifiedCsr {
    let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["ca.example".into()]).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, "Root of everything");
    VerifiedCsr::from_bytes(params.serialize_request(&key).unwrap().der()).unwrap()
}

/// A full identity.
pub fn identity(kind: &str, id: &str) -> DeviceIdentity {
    let bare = DeviceIdentity::new(DeviceId::parse(kind, id).unwrap());
    bare.with_device_type("sensor-3").unwrap().with_hardware_revision("B.2").unwrap().with_firmware_version("1.4.0").unwrap()
}

/// PEM of a certificate.
pub fn pem(der: &[u8]) -> String {
    sealwright::x509::pem::encode("CERTIFICATE", der)
}
