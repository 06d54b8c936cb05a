//! A root, an intermediate and device certificates made through the library's own line
//! (decide → build → lint → attach), with keys that live only as long as the test.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use der::Decode;
use sealwright::policy::decide::{Approved, Caller, IssuerContext, Refusals, decide};
use sealwright::policy::profile::Profile;
use sealwright::policy::set::PolicySet;
use sealwright::types::{DeviceId, DeviceIdentity, ProfileName, Serial, Validity, unix_now};
use sealwright::x509::csr::VerifiedCsr;
use sealwright::x509::keys::p256_spki;
use sealwright::x509::lint::lint;
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

/// A root and an intermediate under it.
pub struct Authority {
    pub root: Vec<u8>,
    pub intermediate: Vec<u8>,
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

fn seal(plan: &Plan, issuer: &Issuer, key: &Key) -> Vec<u8> {
    let tbs = Tbs::build(plan, issuer, &Serial::generate().unwrap()).unwrap();
    let linted = lint(tbs, issuer).unwrap_or_else(|f| panic!("{f:?}"));
    linted.attach(issuer, &key.sign(linted.der())).unwrap()
}

impl Authority {
    /// A root of 20 years and an intermediate of `years`, both starting a day ago.
    pub fn new(years: i64) -> Self {
        let start = unix_now() - 86_400;
        let of = |years: i64| Validity::new(start, start + years * 365 * 86_400).unwrap();
        let (root_key, key) = (Key::generate(), Key::generate());
        let root_name = "CN=Test Root,O=Example Devices";
        let root_issuer = Issuer::self_signed(root_name.parse().unwrap(), root_key.spki(), of(20)).unwrap();
        let root = seal(&ca_plan(root_name, root_key.spki(), of(20), None), &root_issuer, &root_key);
        let plan = ca_plan("CN=Test Intermediate,O=Example Devices", key.spki(), of(years), Some(0));
        let intermediate = seal(&plan, &root_issuer, &root_key);
        let issuer = Issuer::from_certificate(&intermediate).unwrap();
        Self { root, intermediate, issuer, key }
    }

    /// Decides as the profile's first role would see it.
    pub fn decide(&self, profile: &Profile, csr: &VerifiedCsr, id: &DeviceIdentity, soft: bool) -> Result<Approved, Refusals> {
        let caller = Caller::new(&profile.roles()[0], 1000).unwrap();
        decide(profile, &caller, csr, id, &IssuerContext { issuer: &self.issuer, soft_token: soft }, unix_now())
    }

    /// Signs what was approved.
    pub fn issue(&self, approved: &Approved) -> Vec<u8> {
        seal(approved.plan(), &self.issuer, &self.key)
    }
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
    use der::EncodePem;
    x509_cert::Certificate::from_der(der).unwrap().to_pem(der::pem::LineEnding::LF).unwrap()
}
