//! `sealwright policy` as a user runs it.

use std::process::{Command, Output};

fn sealwright(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sealwright")).args(args).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap()
}

#[test]
fn shipped_profiles_are_good_and_the_hash_is_stable() {
    let first = sealwright(&["policy", "check", "policies", "--json"]);
    assert_eq!(first.status.code(), Some(0), "{}", String::from_utf8_lossy(&first.stderr));
    let json: serde_json::Value = serde_json::from_slice(&first.stdout).unwrap();
    assert!(json["profiles"].as_array().unwrap().iter().any(|n| n == "generic-device"));
    let mut files: Vec<String> =
        std::fs::read_dir("policies").unwrap().map(|e| e.unwrap().path().display().to_string()).filter(|p| p.ends_with(".toml")).collect();
    files.sort();
    files.reverse();
    let mut args = vec!["policy", "check", "--json"];
    args.extend(files.iter().map(String::as_str));
    let second: serde_json::Value = serde_json::from_slice(&sealwright(&args).stdout).unwrap();
    assert_eq!(json["hash"], second["hash"], "the order of files must not matter");
}

#[test]
fn shipped_cases_pass_and_every_profile_has_some() {
    let out = sealwright(&["policy", "test", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(out.status.code(), Some(0), "{json:#}");
    assert_eq!((json["failed"].as_u64(), json["untested"].as_array().unwrap().len()), (Some(0), 0), "{json:#}");
    for profile in std::fs::read_dir("policies").unwrap().map(|e| e.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == "toml"))
    {
        let name = profile.file_stem().unwrap().to_str().unwrap();
        let page = if name.starts_with("matter-") { "matter" } else { name };
        assert!(profile.with_file_name(format!("{page}.md")).exists(), "{name} has no page");
    }
}

#[test]
fn a_case_that_expects_the_wrong_thing_fails() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("cases")).unwrap();
    std::fs::copy("policies/generic-device.toml", dir.path().join("generic-device.toml")).unwrap();
    let case = "version = 1\nprofile = \"generic-device\"\n[[case]]\nname = \"x\"\nrole = \"station\"\nkey = \"p256\"\nid = \"free:a\"\n";
    for (wrong, says) in [
        ("refused = [\"role\"]\n", "it would be issued"),
        ("subject = \"CN=b\"\n", "does not say 'subject     CN=b'"),
        ("lacks = [\"keyUsage\"]\n", "says 'keyUsage (critical)"),
        ("issuer_until = \"2026-02-01\"\n", "expected a certificate, got"),
    ] {
        std::fs::write(dir.path().join("cases/a.toml"), format!("{case}{wrong}")).unwrap();
        let out = sealwright(&["policy", "test", dir.path().to_str().unwrap()]);
        let text = String::from_utf8(out.stdout).unwrap();
        assert!(out.status.code() == Some(1) && text.contains(says), "{wrong}: {text}");
    }
}

#[test]
fn explain_says_which_rule_decided_what() {
    let dir = tempfile::tempdir().unwrap();
    let csr = dir.path().join("a.csr");
    let made = Command::new("openssl")
        .args([
            "req",
            "-new",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-384",
            "-nodes",
            "-subj",
            "/CN=wish",
            "-keyout",
            "/dev/null",
            "-out",
        ])
        .arg(&csr)
        .output()
        .unwrap();
    assert!(made.status.success());
    let base = ["policy", "explain", "generic-device", "--identity", "mac:00:1a:2b:3c:4d:5e"];
    let refused = sealwright(&[&base[..], &["--csr", csr.to_str().unwrap(), "--role", "visitor"]].concat());
    let text = String::from_utf8(refused.stdout).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{text}");
    for line in [
        "REFUSED role",
        "REFUSED key-algorithm      the key is p384; use p256",
        "ok      identity-kind      mac48 is among",
        "'CN=wish' is not used",
        "Nothing would be signed",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let good = sealwright(&[&base[..], &["--json", "--at", "2026-03-01T00:00:00Z"]].concat());
    let json: serde_json::Value = serde_json::from_slice(&good.stdout).unwrap();
    assert_eq!(good.status.code(), Some(0), "{json:#}");
    assert!(json["certificate"].as_str().unwrap().contains("\nnot before  2026-02-28T23:00:00Z\n"), "{json:#}");
    let flat = sealwright(&["policy", "explain", "azure-dps"]);
    let text = String::from_utf8(flat.stdout).unwrap();
    assert!(text.contains("CN={id|lower}") && text.contains("after 2y"), "inherited and own rules: {text}");
}

#[test]
fn diff_shows_changes_of_meaning_only() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("generic-device.toml");
    let text = std::fs::read_to_string("policies/generic-device.toml").unwrap();
    let compare = |text: &str| {
        std::fs::write(&path, text).unwrap();
        let out = sealwright(&["policy", "diff", "policies/generic-device.toml", path.to_str().unwrap()]);
        (out.status.code(), String::from_utf8(out.stdout).unwrap())
    };
    assert_eq!(compare(&format!("# a comment\n{text}")), (Some(0), String::new()));
    let (code, changes) = compare(&text.replace("\"2y\"", "\"3y\"").replace("[\"p256\"]", "[\"p256\", \"p384\"]"));
    let expected = "- generic-device: key.algorithms = p256\n+ generic-device: key.algorithms = p256, p384\n\
                    - generic-device: validity.end = after 2y\n+ generic-device: validity.end = after 3y\n";
    assert_eq!((code, changes.as_str()), (Some(1), expected));
}

/// The keys that the reader names when it meets an unknown one.
fn expected_keys(section: &str) -> Vec<String> {
    let head = "version = 1\nname = \"a\"\ndescription = \"a\"\n";
    let text = if section.is_empty() { format!("{head}zzz = 1\n") } else { format!("{head}[{section}]\nzzz = 1\n") };
    let source = sealwright::policy::problem::Source { name: "a".into(), text };
    let problems = sealwright::policy::set::PolicySet::from_sources(&[source]).unwrap_err();
    let mut keys: Vec<String> = problems[0].message.split('`').skip(3).step_by(2).map(str::to_owned).collect();
    keys.sort();
    keys
}

#[test]
fn the_schema_has_the_keys_that_the_reader_has() {
    let schema: serde_json::Value = serde_json::from_slice(&sealwright(&["policy", "schema"]).stdout).unwrap();
    let keys = |v: &serde_json::Value| {
        let mut keys: Vec<String> = v["properties"].as_object().unwrap().keys().cloned().collect();
        keys.sort();
        keys
    };
    assert_eq!(keys(&schema), expected_keys(""));
    for section in ["identity", "key", "uniqueness", "quota", "validity", "subject", "san", "extensions"] {
        assert_eq!(keys(&schema["properties"][section]), expected_keys(section), "{section}");
    }
    let extensions = &schema["properties"]["extensions"]["properties"];
    assert_eq!(keys(&extensions["custom"]["items"]), expected_keys("[extensions.custom]"));
}

#[test]
fn exit_codes_tell_bad_profiles_from_a_bad_place() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.toml");
    let good = std::fs::read_to_string("policies/generic-device.toml").unwrap();
    std::fs::write(&path, good.replace("algorithms = [\"p256\"]", "algorithms = [\"p265\"]")).unwrap();
    let bad = sealwright(&["policy", "check", dir.path().to_str().unwrap()]);
    assert_eq!(bad.status.code(), Some(1));
    let text = String::from_utf8(bad.stderr).unwrap();
    assert!(text.contains(":13:15: 'p265' is not one of p256"), "{text}");
    assert!(text.contains(" 13 | algorithms = [\"p265\"]\n    |               ^^^^^^"), "{text}");
    for absent in ["/nonexistent", "/nonexistent.toml"] {
        assert_eq!(sealwright(&["policy", "check", absent]).status.code(), Some(2));
    }
    assert_eq!(sealwright(&["policy", "check"]).status.code(), Some(2));
}
