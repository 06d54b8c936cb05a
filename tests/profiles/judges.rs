//! openssl, certtool and Python's cryptography on certificates of every shipped profile.

use super::mint::{Authority, identity, pem, profile, request, shipped};
use std::path::Path;
use std::process::Command;

/// What a profile is used for, as the judges name it.
struct Case {
    profile: &'static str,
    id: (&'static str, &'static str),
    openssl_purpose: &'static str,
    certtool_purpose: Option<&'static str>,
}

const CASES: [Case; 2] = [
    Case {
        profile: "generic-device",
        id: ("mac", "00:1a:2b:3c:4d:5e"),
        openssl_purpose: "sslclient",
        certtool_purpose: Some("1.3.6.1.5.5.7.3.2"),
    },
    Case { profile: "ieee-802.1ar-idevid", id: ("free", "SN-0001"), openssl_purpose: "sslclient", certtool_purpose: None },
];

fn run(dir: &Path, program: &str, args: &[&str]) -> (bool, String) {
    let out = Command::new(program).args(args).current_dir(dir).output().unwrap_or_else(|e| panic!("{program}: {e}; run ci/packages"));
    (out.status.success(), format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr)))
}

#[test]
fn every_shipped_profile_pleases_openssl_and_certtool() {
    let set = shipped();
    let names: Vec<&str> = set.iter().map(|p| p.name().as_str()).collect();
    let mut judged: Vec<&str> = CASES.iter().map(|c| c.profile).collect();
    judged.sort_unstable();
    assert_eq!(names, judged, "every shipped profile needs a case here");
    let authority = Authority::new(5);
    for case in &CASES {
        let profile = profile(&set, case.profile);
        let approved = authority.decide(&profile, &request(), &identity(case.id.0, case.id.1), false).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        std::fs::write(dir.join("leaf.pem"), pem(&authority.issue(&approved))).unwrap();
        std::fs::write(dir.join("root.pem"), pem(&authority.root)).unwrap();
        std::fs::write(dir.join("inter.pem"), pem(&authority.intermediate)).unwrap();
        let args =
            ["verify", "-x509_strict", "-purpose", case.openssl_purpose, "-CAfile", "root.pem", "-untrusted", "inter.pem", "leaf.pem"];
        let (good, text) = run(dir, "openssl", &args);
        assert!(good, "{}: {text}\n{}", case.profile, run(dir, "openssl", &["x509", "-in", "leaf.pem", "-noout", "-text"]).1);
        let chain = format!("{}{}", pem(&authority.issue(&approved)), pem(&authority.intermediate));
        std::fs::write(dir.join("chain.pem"), chain).unwrap();
        let mut args = vec!["--verify", "--load-ca-certificate", "root.pem", "--infile", "chain.pem"];
        if let Some(purpose) = case.certtool_purpose {
            args.extend(["--verify-purpose", purpose]);
        }
        let (good, text) = run(dir, "certtool", &args);
        assert!(good, "{}: {text}", case.profile);
    }
}
