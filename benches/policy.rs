//! Cost of a decision, of building and of linting one certificate, beside one P-256 verification
//! (what proof of possession costs anyway), same run.

use sealwright::policy::decide::{Caller, IssuerContext, decide};
use sealwright::policy::profile::Profile;
use sealwright::policy::sample;
use sealwright::policy::set::PolicySet;
use sealwright::types::{DeviceId, DeviceIdentity, KeyAlgorithm, ProfileName, Serial};
use sealwright::x509::csr::VerifiedCsr;
use sealwright::x509::lint::lint_for;
use sealwright::x509::tbs::{Issuer, Tbs};
use std::path::Path;
use std::sync::LazyLock;

struct Material {
    profiles: Vec<Profile>,
    caller: Caller,
    csr: VerifiedCsr,
    identity: DeviceIdentity,
    issuer: Issuer,
    serial: Serial,
}

static MATERIAL: LazyLock<Material> = LazyLock::new(|| {
    let set = PolicySet::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("policies")).unwrap();
    let named = |n: &str| set.get(&ProfileName::parse(n).unwrap()).unwrap().clone();
    let identity = DeviceIdentity::new(DeviceId::parse("mac", "00:1a:2b:3c:4d:5e").unwrap());
    Material {
        profiles: NAMES.iter().map(|n| named(n)).collect(),
        caller: Caller::new("station", 1000).unwrap(),
        csr: sample::request(KeyAlgorithm::P256).unwrap(),
        identity: identity.with_device_type("sensor-3").unwrap(),
        issuer: sample::issuer("CN=Sample PAI,1.3.6.1.4.1.37244.2.1=FFF1", sample::SAMPLE_END).unwrap(),
        serial: Serial::generate().unwrap(),
    }
});

const NAMES: [&str; 3] = ["generic-device", "ieee-802.1ar-idevid", "matter-dac"];

fn main() {
    divan::main();
}

fn tbs(m: &Material, profile: &Profile) -> (Tbs, Vec<sealwright::x509::lint::Standard>) {
    let context = IssuerContext { issuer: &m.issuer, soft_token: false };
    let approved = decide(profile, &m.caller, &m.csr, &m.identity, &context, sample::SAMPLE_NOW).unwrap();
    (Tbs::build(approved.plan(), &m.issuer, &m.serial).unwrap(), approved.standards().to_vec())
}

#[divan::bench(args = [0, 1, 2])]
fn decision(bencher: divan::Bencher<'_, '_>, profile: usize) {
    let m = &*MATERIAL;
    let context = IssuerContext { issuer: &m.issuer, soft_token: false };
    bencher.bench(|| decide(&m.profiles[profile], &m.caller, &m.csr, &m.identity, &context, sample::SAMPLE_NOW).unwrap());
}

#[divan::bench(args = [0, 1, 2])]
fn decision_build_lint(bencher: divan::Bencher<'_, '_>, profile: usize) {
    let m = &*MATERIAL;
    bencher.bench(|| {
        let (tbs, standards) = tbs(m, &m.profiles[profile]);
        lint_for(tbs, &m.issuer, &standards).unwrap()
    });
}

#[divan::bench]
fn p256_proof_of_possession(bencher: divan::Bencher<'_, '_>) {
    let der = MATERIAL.csr.der();
    bencher.bench(|| VerifiedCsr::from_bytes(der).unwrap());
}
