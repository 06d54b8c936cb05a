//! Profiles: never a panic; a good one decides, and what it approves encodes and passes lint or is refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sealwright::policy::decide::{Caller, IssuerContext, decide};
use sealwright::policy::describe::describe;
use sealwright::policy::problem::Source;
use sealwright::policy::sample;
use sealwright::policy::set::PolicySet;
use sealwright::types::{DeviceId, DeviceIdentity, KeyAlgorithm, Serial};
use sealwright::x509::csr::VerifiedCsr;
use sealwright::x509::lint::lint_for;
use sealwright::x509::tbs::{Issuer, Tbs};
use std::sync::LazyLock;

static CSR: LazyLock<VerifiedCsr> = LazyLock::new(|| sample::request(KeyAlgorithm::P256).expect("a request"));
static ISSUER: LazyLock<Issuer> = LazyLock::new(|| sample::issuer(sample::SAMPLE_NAME, sample::SAMPLE_END).expect("an issuer"));

fuzz_target!(|text: &str| {
    let source = Source { name: "fuzz.toml".into(), text: text.to_owned() };
    let set = match PolicySet::from_sources(&[source]) {
        Ok(set) => set,
        Err(problems) => {
            assert!(!problems.is_empty() && problems.iter().all(|p| !p.to_string().is_empty()));
            return;
        }
    };
    for profile in set.iter() {
        assert!(!describe(profile).is_empty());
        let identity = DeviceIdentity::new(DeviceId::parse("free", "SN-1").expect("an id"));
        let Some(role) = profile.roles().first() else { continue };
        let caller = Caller::new(role, 1).expect("a role of a good profile is a role");
        let context = IssuerContext { issuer: &ISSUER, soft_token: true };
        if let Ok(approved) = decide(profile, &caller, &CSR, &identity, &context, sample::SAMPLE_NOW) {
            let serial = Serial::parse("4000000000000000000000000000000000000001").expect("a serial");
            let tbs = Tbs::build(approved.plan(), &ISSUER, &serial).expect("an approved plan encodes");
            let _ = lint_for(tbs, &ISSUER, approved.standards());
        }
    }
});
