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
