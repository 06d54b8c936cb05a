//! Decisions: deny by default, every broken rule named, nothing taken from the request.

use super::mint::{Authority, identity, profile, request, request_with, shipped};
use der::Decode;
use proptest::prelude::*;
use sealwright::policy::decide::{Caller, IssuerContext, decide};
use sealwright::policy::problem::Source;
use sealwright::policy::profile::{Profile, Reuse};
use sealwright::types::{DeviceId, DeviceIdentity, NO_EXPIRATION, unix_now};
use std::sync::LazyLock;
use x509_cert::Certificate;

static AUTHORITY: LazyLock<Authority> = LazyLock::new(|| Authority::intermediate(5));

#[test]
fn a_request_that_breaks_many_rules_hears_of_all() {
    let set = shipped();
    let generic = profile(&set, "generic-device");
    let csr = request_with(&rcgen::PKCS_ED25519);
    let caller = Caller::new("visitor", 4242).unwrap();
    let context = IssuerContext { issuer: &AUTHORITY.issuer, soft_token: true };
    let late = AUTHORITY.issuer.validity().not_after() + 1;
    let refusals = decide(&generic, &caller, &csr, &identity("free", "d1"), &context, late).unwrap_err();
    let rules: Vec<&str> = refusals.as_slice().iter().map(|r| r.rule).collect();
    assert_eq!(rules, ["role", "key-algorithm", "issuer-validity", "validity"]);
    assert!(refusals.to_string().contains("uid 4242"), "{refusals}");
    assert!(refusals.as_slice().iter().all(|r| !r.remedy.is_empty()));

    let idevid = profile(&set, "ieee-802.1ar-idevid");
    let bare = DeviceIdentity::new(DeviceId::parse("free", &"x_".repeat(20)).unwrap());
    let refusals = AUTHORITY.decide(&idevid, &request(), &bare, false).unwrap_err();
    let rules: Vec<&str> = refusals.as_slice().iter().map(|r| r.rule).collect();
    assert_eq!(rules, ["identity-length", "identity-pattern", "identity-field", "subject"]);
}

#[test]
fn soft_tokens_mark_and_production_refuses_them() {
    let text = std::fs::read_to_string("policies/generic-device.toml").unwrap();
    let read = |text: String| Profile::parse(&Source { name: "p".into(), text }).unwrap();
    let normal = read(text.clone());
    let subject = |soft| AUTHORITY.decide(&normal, &request(), &identity("free", "d1"), soft).unwrap().plan().subject.to_string();
    assert!(subject(true).contains("OU=TEST") && !subject(false).contains("TEST"));
    let production = read(text.replace("roles =", "production = true\nroles ="));
    let refusals = AUTHORITY.decide(&production, &request(), &identity("free", "d1"), true).unwrap_err();
    assert_eq!(refusals.as_slice()[0].rule, "production-token");
    AUTHORITY.decide(&production, &request(), &identity("free", "d1"), false).unwrap();
    let marked = read(text.replace("roles =", "test_mark = \"1.3.6.1.4.1.32473.9\"\nroles ="));
    let plan = AUTHORITY.decide(&marked, &request(), &identity("free", "d1"), true).unwrap();
    let policies = plan.plan().extensions.iter().find(|e| e.extn_id.to_string() == "2.5.29.32").unwrap();
    assert_eq!(hex::encode(policies.extn_value.as_bytes()), "300d300b06092b0601040181fd5909");
}

#[test]
fn the_issuers_own_key_and_short_lived_issuers_are_refused() {
    let generic = profile(&shipped(), "generic-device");
    let id = identity("uuid", "f81d4fae-7dec-11d0-a765-00a0c91e6bf6");
    let short = Authority::intermediate(1);
    // A day of the issuer's year is gone, so less than the minimum of one year is left.
    let refusals = short.decide(&generic, &request(), &id, false).unwrap_err();
    assert_eq!(refusals.as_slice()[0].rule, "validity");
    let mut longer = Authority::intermediate(2);
    let validity = longer.decide(&generic, &request(), &id, false).unwrap().plan().validity;
    assert_eq!(validity.not_after(), longer.issuer.validity().not_after());
    longer = Authority::intermediate(3);
    let validity = longer.decide(&generic, &request(), &id, false).unwrap().plan().validity;
    assert_eq!(validity.not_after() - validity.not_before(), 730 * 86_400 - 1);
}

#[test]
fn rules_for_the_store_are_readable() {
    let set = shipped();
    let idevid = profile(&set, "ieee-802.1ar-idevid");
    assert_eq!((idevid.device_reuse(), idevid.key_reuse(), idevid.quota().per_device), (Reuse::Refuse, Reuse::Refuse, Some(1)));
    assert_eq!(profile(&set, "generic-device").device_reuse(), Reuse::Renew);
    assert_eq!(idevid.policy_hash(), set.hash());
    let approved = AUTHORITY.decide(&idevid, &request(), &identity("free", "SN1"), false).unwrap();
    assert_eq!((approved.policy_hash(), approved.plan().validity.not_after()), (set.hash(), NO_EXPIRATION));
    assert_eq!(approved.profile(), idevid.name());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Whatever the identity, what is issued says exactly what the generic profile promises,
    /// read back by x509-cert from the finished bytes.
    #[test]
    fn issued_certificates_keep_the_promise_of_their_profile(id in "[A-Za-z0-9][A-Za-z0-9._:-]{0,70}", age in 0i64..300) {
        let generic = profile(&shipped(), "generic-device");
        let csr = request();
        let Ok(device) = DeviceId::parse("free", &id) else { return Ok(()) };
        let caller = Caller::new("station", 1).unwrap();
        let context = IssuerContext { issuer: &AUTHORITY.issuer, soft_token: false };
        let now = unix_now() + age * 86_400;
        let approved = decide(&generic, &caller, &csr, &DeviceIdentity::new(device), &context, now).unwrap();
        let certificate = Certificate::from_der(&AUTHORITY.issue(&approved)).unwrap();
        let tbs = certificate.tbs_certificate();
        prop_assert_eq!(tbs.subject().to_string(), format!("CN={id},O=Example Devices"));
        prop_assert_eq!(der::Encode::to_der(tbs.subject_public_key_info()).unwrap(), csr.spki_der());
        let (from, to) = (tbs.validity().not_before.to_unix_duration().as_secs() as i64, tbs.validity().not_after.to_unix_duration().as_secs() as i64);
        prop_assert!(from >= AUTHORITY.issuer.validity().not_before() && to <= AUTHORITY.issuer.validity().not_after());
        prop_assert!((365 * 86_400..=730 * 86_400).contains(&(to - from + 1)) && from <= now && now <= to);
        let mut oids: Vec<String> = tbs.extensions().unwrap().iter().map(|e| e.extn_id.to_string()).collect();
        oids.sort();
        prop_assert_eq!(oids, ["2.5.29.14", "2.5.29.15", "2.5.29.19", "2.5.29.35", "2.5.29.37"]);
    }
}
