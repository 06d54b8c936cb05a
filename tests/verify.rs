//! The chain verifier against openssl, GnuTLS, Python's cryptography and webpki.

mod pki;

use pki::{DEVICE, LONG, Pki, ROOT, SUB, Spec, sealwright};
use rustls_pki_types::{CertificateDer, UnixTime};
use sealwright::types::unix_now;
use sealwright::x509::chain::{At, OfflineVerifier, Rule};
use std::time::Duration;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

fn ours(pki: &Pki, root: &str, others: &[&str], leaf: &str) -> Result<(), Rule> {
    let verifier = OfflineVerifier::builder().root(pki.der(root)).build().map_err(|r| r.rule())?;
    let others: Vec<_> = others.iter().map(|n| pki.der(n)).collect();
    verifier.verify_chain(&pki.der(leaf), &others, At::Time(unix_now())).map(drop).map_err(|r| r.rule())
}

fn webpki_accepts(pki: &Pki, root: &str, others: &[&str], leaf: &str) -> bool {
    let (root, leaf) = (CertificateDer::from(pki.der(root)), CertificateDer::from(pki.der(leaf)));
    let others: Vec<_> = others.iter().map(|n| CertificateDer::from(pki.der(n))).collect();
    let now = UnixTime::since_unix_epoch(Duration::from_secs(unix_now() as u64));
    let Ok(anchor) = anchor_from_trusted_cert(&root) else { return false };
    let Ok(leaf) = EndEntityCert::try_from(&leaf) else { return false };
    leaf.verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &[anchor], &others, now, KeyUsage::client_auth(), None, None).is_ok()
}

/// One letter for each of openssl, certtool, cryptography, webpki: `+` accepts, `-` refuses.
fn judges(pki: &Pki, root: &str, others: &[&str], leaf: &str) -> String {
    let verdicts = [
        pki.openssl_accepts(root, others, leaf),
        pki.certtool_accepts(root, others, leaf),
        pki.cryptography_accepts(root, others, leaf),
        webpki_accepts(pki, root, others, leaf),
    ];
    verdicts.iter().map(|v| if *v { '+' } else { '-' }).collect()
}

#[test]
fn a_good_three_tier_chain_is_good_to_every_judge() {
    let pki = Pki::three_tiers();
    assert_eq!(ours(&pki, "root", &["sub"], "device"), Ok(()));
    assert_eq!(judges(&pki, "root", &["sub"], "device"), "++++");
}

#[test]
fn bad_chains_are_refused_by_the_right_rule_and_the_other_judges_are_on_record() {
    let pki = Pki::three_tiers();
    let without = |text: &str, line: &str| text.lines().filter(|l| !l.starts_with(line)).map(|l| format!("{l}\n")).collect::<String>();
    let device = |name: &str, issuer: &str, ext: &str| pki.device(name, issuer, ext);
    let mut table = Vec::new();
    let mut check = |what: &'static str, others: &[&str], leaf: &str, rule: Rule, expected: &'static str| {
        let (own, foreign) = (ours(&pki, "root", others, leaf), judges(&pki, "root", others, leaf));
        if own != Err(rule) || foreign != expected {
            table.push(format!("{what}: ours {own:?} (expected {rule:?}), judges {foreign} (expected {expected})"));
        }
    };
    check("intermediate missing", &[], "device", Rule::Issuer, "----");

    pki.key("old", "P-256");
    let old = ("20200101000000Z", "20210101000000Z");
    pki.issue(&Spec { name: "old", issuer: "sub", subject: "/CN=old", extensions: DEVICE, dates: old });
    check("expired leaf", &["sub"], "old", Rule::Validity, "----");
    pki.key("young", "P-256");
    let young = ("20480101000000Z", "20490101000000Z");
    pki.issue(&Spec { name: "young", issuer: "sub", subject: "/CN=young", extensions: DEVICE, dates: young });
    check("leaf not yet valid", &["sub"], "young", Rule::Validity, "----");

    pki.root("other", "/CN=Test Root");
    pki.sub("othersub", "other", SUB);
    device("stranger", "othersub", DEVICE);
    check("root of the same name, another key", &["othersub"], "stranger", Rule::Issuer, "----");
    pki.key("imposter", "P-256");
    pki.issue(&Spec {
        name: "imposter",
        issuer: "other",
        subject: "/O=Acme/CN=Test sub",
        extensions: &SUB.replace("hash", "none"),
        dates: LONG,
    });
    device("forged", "imposter", &DEVICE.replace("keyid", "none"));
    check("issuer of the same name, another key", &["sub"], "forged", Rule::Signature, "----");

    pki.sub("subsub", "sub", SUB);
    device("deep", "subsub", DEVICE);
    check("pathLen exceeded", &["subsub", "sub"], "deep", Rule::PathLength, "----");
    device("leafissued", "device", DEVICE);
    check("a device issues", &["device", "sub"], "leafissued", Rule::Authority, "----");
    pki.sub("nobc", "root", &without(SUB, "basic").replace("keyCertSign,", ""));
    device("undernobc", "nobc", DEVICE);
    check("issuer without basicConstraints", &["nobc"], "undernobc", Rule::Authority, "----");
    pki.sub("noku", "root", &without(SUB, "keyUsage"));
    device("undernoku", "noku", DEVICE);
    check("issuer without keyUsage", &["noku"], "undernoku", Rule::Authority, "-+-+");
    pki.sub("crlonly", "root", &SUB.replace("keyCertSign,", ""));
    device("undercrlonly", "crlonly", DEVICE);
    check("issuer without keyCertSign", &["crlonly"], "undercrlonly", Rule::Authority, "---+");
    pki.sub("noski", "root", &SUB.replace("hash", "none"));
    device("undernoski", "noski", &DEVICE.replace("keyid", "issuer:always"));
    check("issuer without key identifier", &["noski"], "undernoski", Rule::Extension, "-+++");

    device("critical", "sub", &format!("{DEVICE}1.2.3.4=critical,DER:0500\n"));
    check("unknown critical extension, leaf", &["sub"], "critical", Rule::Extension, "----");
    pki.sub("criticalsub", "root", &format!("{SUB}1.2.3.4=critical,DER:0500\n"));
    device("undercritical", "criticalsub", DEVICE);
    check("unknown critical extension, issuer", &["criticalsub"], "undercritical", Rule::Extension, "----");
    device("noaki", "sub", &DEVICE.replace("keyid", "none"));
    check("no authorityKeyIdentifier", &["sub"], "noaki", Rule::Extension, "-+-+");

    pki.sub("named", "root", &format!("{SUB}nameConstraints=critical,permitted;DNS:acme.example\n"));
    device("outside", "named", DEVICE);
    check("outside the permitted names", &["named"], "outside", Rule::Name, "----");
    pki.sub("barred", "root", &format!("{SUB}nameConstraints=critical,excluded;DNS:example\n"));
    device("excluded", "barred", DEVICE);
    check("among the excluded names", &["barred"], "excluded", Rule::Name, "----");
    pki.sub("loose", "root", &SUB.replace("basicConstraints=critical,", "basicConstraints="));
    device("underloose", "loose", DEVICE);
    check("basicConstraints not critical", &["loose"], "underloose", Rule::Extension, "-+-+");
    pki.sub("policied", "root", &format!("{SUB}policyConstraints=requireExplicitPolicy:0\n"));
    device("underpolicied", "policied", DEVICE);
    check("policyConstraints", &["policied"], "underpolicied", Rule::Extension, "++++");
    device("address", "sub", &DEVICE.replace("DNS:device-1.example", "DNS:192.0.2.1"));
    check("an address as a DNS name", &["sub"], "address", Rule::Name, "++++");
    check("an authority as the leaf", &[], "sub", Rule::Authority, "++--");
    assert!(table.is_empty(), "\n{}", table.join("\n"));
}

#[test]
fn device_names_that_webpki_or_cryptography_cannot_judge_are_judged() {
    let pki = Pki::three_tiers();
    let module = "subjectAltName=critical,otherName:1.3.6.1.5.5.7.8.4;SEQUENCE:hw\nkeyUsage=critical,digitalSignature\nauthorityKeyIdentifier=keyid\n[hw]\ntype=OID:1.2.3.4\nserial=FORMAT:HEX,OCTETSTRING:0123456789abcdef01\n";
    pki.key("idevid", "P-256");
    let forever = ("20200101000000Z", "99991231235959Z");
    pki.issue(&Spec { name: "idevid", issuer: "sub", subject: "/", extensions: module, dates: forever });
    // 802.1AR: no expiry, a critical HardwareModuleName and no subject; openssl agrees.
    assert_eq!(ours(&pki, "root", &["sub"], "idevid"), Ok(()));
    assert!(pki.openssl_accepts("root", &["sub"], "idevid"));
}

#[test]
fn every_flipped_bit_truncation_and_insertion_of_the_device_certificate_is_refused() {
    let pki = Pki::three_tiers();
    let (root, sub, device) = (pki.der("root"), pki.der("sub"), pki.der("device"));
    let verifier = OfflineVerifier::builder().root(root).intermediate(sub.clone()).build().unwrap();
    let at = At::Time(unix_now());
    verifier.verify_device_certificate(&device, at).unwrap();
    let mut bad = device.clone();
    for i in 0..device.len() {
        for bit in 0..8 {
            bad[i] ^= 1 << bit;
            assert!(verifier.verify_device_certificate(&bad, at).is_err(), "byte {i} bit {bit}");
            bad[i] = device[i];
        }
        assert!(verifier.verify_device_certificate(&device[..i], at).is_err(), "cut at {i}");
        for byte in [0x00, 0x30, 0xff] {
            bad.insert(i, byte);
            assert!(verifier.verify_device_certificate(&bad, at).is_err(), "{byte:#x} inserted at {i}");
            bad.remove(i);
        }
    }
    bad.push(0);
    assert!(verifier.verify_device_certificate(&bad, at).is_err(), "trailing byte");
    // The intermediate, too: no flip of it may complete a path.
    let only_root = OfflineVerifier::builder().root(pki.der("root")).build().unwrap();
    for i in 0..sub.len() {
        let mut bad = sub.clone();
        bad[i] ^= 0x01;
        assert!(only_root.verify_chain(&device, &[bad], at).is_err(), "intermediate byte {i}");
    }
}

#[test]
fn time_is_inclusive_and_may_be_unknown() {
    let pki = Pki::three_tiers();
    pki.key("short", "P-256");
    let dates = ("20250101000000Z", "20250101000001Z");
    pki.issue(&Spec { name: "short", issuer: "sub", subject: "/CN=short", extensions: DEVICE, dates });
    pki.key("never", "P-256");
    let before_root = ("20180101000000Z", "20190101000000Z");
    pki.issue(&Spec { name: "never", issuer: "sub", subject: "/CN=never", extensions: DEVICE, dates: before_root });
    let verifier = OfflineVerifier::builder().root(pki.der("root")).intermediate(pki.der("sub")).build().unwrap();
    let first = 1_735_689_600;
    let verdict = |at| verifier.verify_device_certificate(&pki.der("short"), at).map_err(|r| r.rule());
    for (time, good) in [(first - 1, false), (first, true), (first + 1, true), (first + 2, false)] {
        assert_eq!(verdict(At::Time(time)).is_ok(), good, "{time}");
    }
    let window = verdict(At::Unknown).unwrap().window();
    assert_eq!((window.not_before(), window.not_after()), (first, first + 1));
    let never = verifier.verify_device_certificate(&pki.der("never"), At::Unknown).unwrap_err();
    assert_eq!(never.rule(), Rule::Validity);
}

#[test]
fn cross_signed_intermediates_find_the_way_and_floods_are_bounded() {
    let pki = Pki::three_tiers();
    pki.root("second", "/CN=Second Root");
    // The same intermediate key and name, certified by a second root.
    std::fs::copy(pki.path("sub.key"), pki.path("cross.key")).unwrap();
    pki.issue(&Spec { name: "cross", issuer: "second", subject: "/O=Acme/CN=Test sub", extensions: SUB, dates: LONG });
    for root in ["root", "second"] {
        assert_eq!(ours(&pki, root, &["sub", "cross"], "device"), Ok(()), "{root}");
        assert_eq!(ours(&pki, root, &["cross", "sub"], "device"), Ok(()), "{root}");
    }
    // Forty imposters of the issuer, without key identifiers, each costs one signature.
    let flood = SUB.replace("hash", "none");
    pki.key("flood", "P-256");
    let imposters: Vec<Vec<u8>> = (0..40)
        .map(|_| {
            pki.issue(&Spec { name: "flood", issuer: "second", subject: "/O=Acme/CN=Test sub", extensions: &flood, dates: LONG });
            pki.der("flood")
        })
        .collect();
    let verifier = OfflineVerifier::builder().root(pki.der("root")).build().unwrap();
    let refusal = verifier.verify_chain(&pki.der("device"), &imposters, At::Time(unix_now())).unwrap_err();
    assert!(matches!(refusal.rule(), Rule::Signature | Rule::Bounds), "{refusal}");
}

#[test]
fn the_purpose_must_be_listed_and_allowed_from_above() {
    use const_oid::db::rfc5280::{ID_KP_CLIENT_AUTH, ID_KP_SERVER_AUTH};
    let pki = Pki::three_tiers();
    pki.sub("serversub", "root", &format!("{SUB}extendedKeyUsage=serverAuth\n"));
    pki.device("under", "serversub", DEVICE);
    let verdict = |usage, sub: &str, leaf: &str| {
        let builder = OfflineVerifier::builder().root(pki.der("root")).intermediate(pki.der(sub)).extended_key_usage(usage);
        builder.build().unwrap().verify_device_certificate(&pki.der(leaf), At::Time(unix_now())).map(drop).map_err(|r| r.rule())
    };
    assert_eq!(verdict(ID_KP_CLIENT_AUTH, "sub", "device"), Ok(()));
    assert_eq!(verdict(ID_KP_SERVER_AUTH, "sub", "device"), Err(Rule::Usage));
    assert_eq!(verdict(ID_KP_CLIENT_AUTH, "serversub", "under"), Err(Rule::Usage));
}

#[test]
fn roots_must_be_authorities_and_signed_by_themselves() {
    let pki = Pki::three_tiers();
    let build = |der: Vec<u8>| OfflineVerifier::builder().root(der).build().map(drop).map_err(|r| r.rule());
    assert_eq!(build(pki.der("root")), Ok(()));
    assert_eq!(build(pki.der("device")), Err(Rule::Authority));
    let mut bad = pki.der("root");
    *bad.last_mut().unwrap() ^= 1;
    assert_eq!(build(bad), Err(Rule::Signature));
    assert_eq!(OfflineVerifier::builder().build().map(drop).map_err(|r| r.rule()), Err(Rule::Issuer));
    pki.key("caless", "P-256");
    let spec = Spec { name: "caless", issuer: "caless", subject: "/CN=x", extensions: &ROOT.replace("CA:TRUE", "CA:FALSE"), dates: LONG };
    pki.issue(&spec);
    assert_eq!(build(pki.der("caless")), Err(Rule::Extension));
}

#[test]
fn the_command_answers_with_exit_codes_picture_and_json() {
    let pki = Pki::three_tiers();
    let chain = pki.write("chain.pem", pki.pem("device") + &pki.pem("sub"));
    let root = pki.path("root.pem");
    let go = |extra: &[&str], chain: &std::path::Path| {
        let out = pki::run(sealwright().args(["verify", "--anchor"]).arg(&root).args(extra).arg(chain));
        (out.status.code().unwrap(), String::from_utf8(out.stdout).unwrap(), String::from_utf8(out.stderr).unwrap())
    };
    let (code, text, _) = go(&["--eku", "client-auth"], &chain);
    assert_eq!(code, 0, "{text}");
    for line in ["root 'CN=Test Root'", "└─ intermediate", "   └─ leaf", "window: 2020-01-01T00:00:00Z to 2049-12-31T23:59:59Z"] {
        assert!(text.contains(line), "{text}");
    }
    let (code, text, _) = go(&["--at", "2050-01-01", "--json"], &chain);
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, json["verdict"].as_str(), json["refusal"]["rule"].as_str()), (1, Some("bad"), Some("validity")));
    assert_eq!(json["at"], "2050-01-01T00:00:00Z");
    let (code, text, _) = go(&["--at", "unknown", "--json"], &chain);
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, json["at"].as_str(), json["chain"].as_array().map(Vec::len)), (0, Some("unknown"), Some(3)));
    let (code, text, _) = go(&[], &pki.path("device.pem"));
    assert!(code == 1 && text.contains("Test sub") && text.contains("RFC 5280 §6.1.3") && text.contains("remedy"), "{text}");
    let sub = pki.path("sub.pem");
    assert_eq!(go(&["--intermediates", sub.to_str().unwrap()], &pki.path("device.pem")).0, 0);
    assert_eq!(go(&["--authority"], &sub).0, 0);
    assert_eq!(go(&[], &pki.write("garbage", "no certificate")).0, 1);
    assert_eq!(go(&[], &pki.path("missing.pem")).0, 2);
    assert_eq!(go(&["--at", "yesterday"], &chain).0, 2);
    let (code, _, error) = go(&["--intermediates", pki.path("garbage").to_str().unwrap()], &chain);
    assert!(code == 2 && error.contains("garbage"), "{error}");
    assert_eq!(go(&[], &pki.write("huge", vec![b'x'; 1024 * 1024 + 1])).0, 2);
}
