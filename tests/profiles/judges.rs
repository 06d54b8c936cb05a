//! openssl, certtool, Python's cryptography and pkilint on certificates of every shipped profile.

use super::mint::{Authority, identity, pem, profile, request, shipped};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// What a profile is used for, as the judges name it.
struct Case {
    profile: &'static str,
    id: &'static str,
    openssl: &'static str,
    purpose: Option<&'static str>,
}

const CLIENT: Option<&str> = Some("1.3.6.1.5.5.7.3.2");
const MAC: &str = "mac:00:1a:2b:3c:4d:5e";

const fn case(profile: &'static str, id: &'static str, openssl: &'static str, purpose: Option<&'static str>) -> Case {
    Case { profile, id, openssl, purpose }
}

const CASES: [Case; 14] = [
    case("aws-iot", MAC, "sslclient", CLIENT),
    case("azure-dps", "free:pump-7", "sslclient", CLIENT),
    case("cloud-proof-of-possession", "free:0123456789abcdef0123456789abcdef0123456789abcdef", "sslclient", CLIENT),
    case("code-signing-device", "free:builder-1", "any", Some("1.3.6.1.5.5.7.3.3")),
    case("est-client", "free:SN-1", "sslclient", CLIENT),
    case("generic-device", MAC, "sslclient", CLIENT),
    case("ieee-2030.5-device", "free:INV-001", "sslclient", None),
    case("ieee-802.1ar-idevid", "free:SN-0001", "sslclient", None),
    case("ieee-802.1ar-ldevid", "free:SN-0001", "sslclient", CLIENT),
    case("matter-dac", "free:DAC-1", "any", None),
    case("matter-paa", "free:PAA-1", "any", None),
    case("matter-pai", "free:PAI-1", "any", None),
    case("tls-client", "uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6", "sslclient", CLIENT),
    case("tls-server-local", MAC, "sslserver", Some("1.3.6.1.5.5.7.3.1")),
];

/// Errors of pkilint that are not ours: its URI check (Python's `validators.url`) knows web schemes
/// only and calls every `spiffe://` URI malformed; RFC 3986 and RFC 5280 §4.2.1.6 allow any scheme.
const WAIVERS: [(&str, &str); 1] = [("tls-client", "pkix.invalid_uri_syntax")];

/// The environment of `ci/python`; made once.
fn venv() -> &'static Path {
    static VENV: OnceLock<PathBuf> = OnceLock::new();
    VENV.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let out = Command::new(root.join("ci/python")).output().unwrap();
        assert!(out.status.success(), "ci/python: {}", String::from_utf8_lossy(&out.stderr));
        PathBuf::from(String::from_utf8(out.stdout).unwrap().trim()).parent().unwrap().to_owned()
    })
}

fn run(dir: &Path, program: impl AsRef<std::ffi::OsStr>, args: &[&str]) -> (bool, String) {
    let program = program.as_ref();
    let out = Command::new(program).args(args).current_dir(dir).output().unwrap_or_else(|e| panic!("{program:?}: {e}; run ci/packages"));
    (out.status.success(), format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr)))
}

fn accepted(case: &Case, dir: &Path, program: impl AsRef<std::ffi::OsStr>, args: &[&str]) {
    let name = format!("{:?}", program.as_ref());
    let (good, text) = run(dir, program, args);
    assert!(good, "{} by {name}: {text}\n{}", case.profile, run(dir, "openssl", &["x509", "-in", "leaf.pem", "-noout", "-text"]).1);
}

/// The leaf of the case, with the certificates between it and the root.
fn make(case: &Case) -> (Vec<u8>, Vec<Vec<u8>>, Vec<u8>) {
    let set = shipped();
    let profile = profile(&set, case.profile);
    let (kind, id) = case.id.split_once(':').unwrap();
    let device = identity(kind, id);
    match case.profile {
        "matter-paa" => {
            let root = Authority::matter_paa(&set);
            (root.certificate.clone(), vec![], root.certificate)
        }
        "matter-pai" => {
            let root = Authority::matter_paa(&set);
            let sub = root.matter_pai(&set);
            (sub.certificate, vec![], root.certificate)
        }
        "matter-dac" => {
            let root = Authority::matter_paa(&set);
            let sub = root.matter_pai(&set);
            let leaf = sub.issue(&sub.decide(&profile, &request(), &device, false).unwrap());
            (leaf, vec![sub.certificate], root.certificate)
        }
        _ => {
            let (root, sub) = Authority::two_tiers(5);
            let leaf = sub.issue(&sub.decide(&profile, &request(), &device, false).unwrap());
            (leaf, vec![sub.certificate], root.certificate)
        }
    }
}

#[test]
fn every_shipped_profile_pleases_four_foreign_judges() {
    let names: Vec<String> = shipped().iter().map(|p| p.name().to_string()).collect();
    assert_eq!(names, CASES.map(|c| c.profile.to_owned()), "every shipped profile needs a case here");
    for case in &CASES {
        let (leaf, between, root) = make(case);
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        std::fs::write(dir.join("leaf.pem"), pem(&leaf)).unwrap();
        std::fs::write(dir.join("root.pem"), pem(&root)).unwrap();
        let between: String = between.iter().map(|c| pem(c)).collect();
        std::fs::write(dir.join("between.pem"), &between).unwrap();
        std::fs::write(dir.join("chain.pem"), format!("{}{between}", pem(&leaf))).unwrap();

        let mut args = vec!["verify", "-x509_strict", "-purpose", case.openssl, "-CAfile", "root.pem"];
        if !between.is_empty() {
            args.extend(["-untrusted", "between.pem"]);
        }
        accepted(case, dir, "openssl", &[&args[..], &["leaf.pem"]].concat());

        let mut args = vec!["--verify", "--load-ca-certificate", "root.pem", "--infile", "chain.pem"];
        args.extend(case.purpose.iter().flat_map(|p| ["--verify-purpose", p]));
        accepted(case, dir, "certtool", &args);

        let judge = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/judges/profile.py");
        let judge = judge.to_str().unwrap();
        if case.profile != "matter-paa" {
            accepted(case, dir, venv().join("python"), &[judge, case.purpose.unwrap_or("any"), "root.pem", "chain.pem"]);
        }

        let (_, report) = run(dir, venv().join("python"), &["-m", "pkilint.bin.lint_pkix_cert", "lint", "-s", "ERROR", "leaf.pem"]);
        let waived = |line: &str| WAIVERS.iter().any(|(profile, code)| *profile == case.profile && line.contains(code));
        let errors: Vec<&str> = report.lines().filter(|l| l.contains("(ERROR)") || l.contains("(FATAL)")).collect();
        assert!(errors.iter().all(|l| waived(l)), "{} by pkilint: {report}", case.profile);
        assert!(report.contains("(ERROR)") || report.trim().is_empty(), "{} by pkilint: {report}", case.profile);
    }
}
