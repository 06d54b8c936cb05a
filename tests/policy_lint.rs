//! Lint: every kind of bad certificate trips its rule, and Matter's published test certificates
//! are judged as the standard's own test plan judges them.

use sealwright::x509::lint::{Finding, Severity, Standard, lint_certificate, rules};
use sealwright::x509::pem;
use std::path::Path;
use std::process::Command;

/// A self-signed certificate by openssl with exactly these extensions.
fn openssl(subject: &str, extensions: &str) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let config = format!("[req]\ndistinguished_name=dn\nprompt=no\n[dn]\n[ext]\n{}\n", extensions.replace(" | ", "\n"));
    std::fs::write(dir.path().join("c"), config).unwrap();
    let out = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "/dev/null", "-days", "9"])
        .args(["-config", "c", "-extensions", "ext", "-subj", subject, "-outform", "DER", "-out", "c.der"])
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert!(out.status.success(), "{extensions}: {}", String::from_utf8_lossy(&out.stderr));
    std::fs::read(dir.path().join("c.der")).unwrap()
}

fn broken(der: &[u8], standards: &[Standard]) -> Vec<Finding> {
    lint_certificate(der, None, standards).unwrap()
}

const USAGE: &str = "keyUsage=critical,digitalSignature";

/// Extensions, added to a good keyUsage unless they bring their own, and the rule that they break.
const BAD: [(&str, &str); 34] = [
    ("keyUsage=critical,keyCertSign | basicConstraints=CA:TRUE | subjectKeyIdentifier=hash", "basic-constraints-critical"),
    ("keyUsage=critical,keyCertSign", "ca-signs"),
    ("keyUsage=critical,digitalSignature | basicConstraints=critical,CA:TRUE | subjectKeyIdentifier=hash", "ca-signs"),
    ("keyUsage=critical,keyCertSign | basicConstraints=critical,CA:TRUE | subjectKeyIdentifier=none", "ski-of-ca"),
    ("basicConstraints=critical,CA:FALSE,pathlen:0", "basic-constraints-path"),
    ("extendedKeyUsage=clientAuth", "key-usage-present"),
    ("keyUsage=digitalSignature", "key-usage-critical"),
    ("keyUsage=critical,encipherOnly", "key-usage-only"),
    ("2.5.29.15=critical,DER:030100", "key-usage-empty"),
    ("keyUsage=critical,keyEncipherment", "usage-fits-key"),
    ("2.5.29.37=DER:3000", "purposes-empty"),
    ("extendedKeyUsage=critical,anyExtendedKeyUsage", "purposes-any-critical"),
    ("extendedKeyUsage=clientAuth,clientAuth", "purposes-duplicate"),
    ("keyUsage=critical,nonRepudiation | extendedKeyUsage=serverAuth", "purposes-fit-usage"),
    ("keyUsage=critical,keyAgreement | extendedKeyUsage=codeSigning", "purposes-fit-usage"),
    ("extendedKeyUsage=timeStamping", "purposes-time-stamping"),
    ("extendedKeyUsage=critical,timeStamping,clientAuth", "purposes-time-stamping"),
    ("1.3.6.1.4.1.32473.7=critical,DER:0500", "extension-critical-unknown"),
    ("2.5.29.19=DER:0500", "extension-malformed"),
    ("2.5.29.17=DER:3000", "alt-name-empty"),
    ("subjectAltName=DNS:a_b.example", "alt-name-syntax"),
    ("subjectAltName=DNS:a.example.", "alt-name-syntax"),
    ("subjectAltName=URI:here", "alt-name-syntax"),
    ("subjectAltName=DNS:a.example,DNS:a.example", "alt-name-duplicate"),
    ("subjectAltName=critical,DNS:a.example", "alt-name-critical"),
    ("nameConstraints=critical,permitted;DNS:example", "name-constraints"),
    ("authorityInfoAccess=critical,OCSP;URI:http://a.example", "access-critical"),
    ("authorityInfoAccess=OCSP;URI:ftp://a.example", "access-uri"),
    ("crlDistributionPoints=URI:ftp://a.example", "crl-uri"),
    ("2.5.29.31=DER:3000", "crl-empty"),
    ("2.5.29.31=DER:30023000", "crl-point"),
    ("2.5.29.32=DER:300a300306012a300306012a", "policies-duplicate"),
    ("2.5.29.32=DER:3000", "policies-empty"),
    ("2.5.29.14=critical,DER:04020102", "ski-critical"),
];

#[test]
fn each_bad_extension_trips_its_rule() {
    assert_eq!(broken(&openssl("/CN=a", USAGE), &[]), []);
    for (extensions, rule) in BAD {
        let own = rule == "key-usage-present" || extensions.starts_with("keyUsage=") || extensions.starts_with("2.5.29.15");
        let all = if own { extensions.to_owned() } else { format!("{USAGE} | {extensions}") };
        let found = broken(&openssl("/CN=a", &all), &[]);
        assert!(found.iter().any(|f| f.rule == rule), "{all}: {found:?}");
        assert!(found.len() <= 3, "{all}: {found:?}");
    }
}

#[test]
fn names_without_content_are_found() {
    let found = broken(&openssl("/", USAGE), &[]);
    let rules: Vec<&str> = found.iter().map(|f| f.rule).collect();
    assert_eq!(rules, ["issuer-name", "subject-empty"]);
    let long = openssl(&format!("/CN=a/L={}", "x".repeat(129 - 1)), USAGE);
    assert_eq!(broken(&long, &[]), []);
}

#[test]
fn a_signature_algorithm_that_differs_inside_and_non_der_are_found() {
    let good = openssl("/CN=a", USAGE);
    // The last AlgorithmIdentifier is the outer one: ecdsa-with-SHA256 becomes ecdsa-with-SHA384.
    let oid = hex::decode("06082a8648ce3d040302").unwrap();
    let at = good.windows(oid.len()).rposition(|w| w == oid).unwrap();
    let mut bad = good.clone();
    bad[at + oid.len() - 1] = 3;
    assert!(broken(&bad, &[]).iter().any(|f| f.rule == "signature-algorithm-agrees"));
    assert!(lint_certificate(&good[..good.len() - 1], None, &[]).is_err());
    assert!(lint_certificate(&vec![0x30; 1 << 20], None, &[]).is_err());
}

#[test]
fn matter_test_certificates_are_judged_as_the_standard_judges_them() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/matter");
    let (mut good, mut bad) = (0, 0);
    for entry in std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == "pem")) {
        let name = entry.file_stem().unwrap().to_str().unwrap().to_owned();
        let standard = match &name[..3] {
            "dac" => Standard::MatterDac,
            "pai" => Standard::MatterPai,
            _ => Standard::MatterPaa,
        };
        let der = pem::certificates(&std::fs::read(&entry).unwrap()).unwrap().remove(0);
        let verdict = lint_certificate(&der, None, &[standard]);
        let errors = verdict.map(|f| f.into_iter().filter(|f| f.severity == Severity::Error).collect::<Vec<_>>());
        if name[3..].starts_with("-good") {
            good += 1;
            assert_eq!(errors.as_deref(), Ok(&[][..]), "{name}");
        } else {
            bad += 1;
            assert!(errors.as_ref().map_or(true, |e| !e.is_empty()), "{name} is bad but clean");
        }
    }
    assert_eq!((good, bad), (7, 17));
}

#[test]
fn the_command_tells_clause_and_severity_and_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.der");
    let run = |args: &[&str]| {
        let out = Command::new(env!("CARGO_BIN_EXE_sealwright")).arg("lint").args(args).output().unwrap();
        (out.status.code(), String::from_utf8_lossy(&out.stdout).into_owned())
    };
    let file = path.to_str().unwrap();
    std::fs::write(&path, openssl("/CN=a", &format!("{USAGE} | subjectAltName=critical,DNS:a.example"))).unwrap();
    let (code, text) = run(&[file]);
    assert!(code == Some(0) && text.contains("warning  alt-name-critical: ") && text.contains("RFC 5280 §4.2.1.6"), "{text}");
    std::fs::write(&path, openssl("/CN=a", "keyUsage=digitalSignature")).unwrap();
    let (code, text) = run(&["--json", "--standard", "ieee-2030.5", file]);
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let findings = json["certificates"][0]["findings"].as_array().unwrap();
    assert!(code == Some(1) && findings.iter().any(|f| f["rule"] == "energy-subject"), "{text}");
    assert_eq!(run(&["/nonexistent"]).0, Some(2));
    let listed = run(&["--rules"]).1;
    assert_eq!(listed.lines().count(), rules().len());
    let ids: std::collections::HashSet<&str> = rules().iter().map(|r| r.0).collect();
    assert_eq!(ids.len(), rules().len(), "rule ids are unique");
}
