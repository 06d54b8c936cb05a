//! What a vendor's module can do to us, done by a module of our own (`tests/fault-module`).

mod common;

use common::factory::Factory;
use common::{Fixture, SOFTHSM, expect_good, private_file, text};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Builds the module once, in a target directory of its own.
fn module() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let target = root.join("target/fault-module");
        let mut cargo = std::process::Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--locked", "--manifest-path"]).arg(root.join("tests/fault-module/Cargo.toml"));
        let out = cargo.arg("--target-dir").arg(&target).output().unwrap();
        assert!(out.status.success(), "{}", text(&out));
        target.join("debug/libfault_module.so")
    })
}

/// `sealwright` in a fixture whose PKCS#11 calls go through the fault module.
fn sealwright(fixture: &Fixture, args: &[&str]) -> Output {
    let mut command = fixture.command(env!("CARGO_BIN_EXE_sealwright"));
    command.args(args).env("FAULT_MODULE", SOFTHSM).env("FAULT_CONTROL", fixture.path("fault"));
    command.output().unwrap()
}

fn tell(fixture: &Fixture, fault: &str) {
    std::fs::write(fixture.path("fault"), fault).unwrap();
}

#[test]
fn a_token_that_lies_about_a_new_key_gets_it_destroyed_and_the_ceremony_stops() {
    let fixture = Fixture::new();
    let serial = fixture.token("root");
    fixture.root_file(&serial, |t| t.replace(SOFTHSM, module().to_str().unwrap()));
    // CKA_EXTRACTABLE (0x162) reads back true.
    tell(&fixture, "attribute lie 0x162\n");
    let out = sealwright(&fixture, &["ceremony", "root.toml"]);
    assert_eq!(out.status.code(), Some(2));
    assert!(text(&out).contains("CKA_EXTRACTABLE must be false and is true"), "{}", text(&out));
    let list = fixture.pkcs11_tool("root", &["--list-objects"]);
    assert!(!text(&list).contains("Key Object"), "{}", text(&list));
    // Told the truth, the same command goes on and leaves one key.
    tell(&fixture, "");
    expect_good(sealwright(&fixture, &["ceremony", "root.toml"]));
    let list = fixture.pkcs11_tool("root", &["--list-objects", "--type", "privkey"]);
    assert_eq!(text(&list).matches("Private Key Object").count(), 1, "{}", text(&list));
}

#[test]
fn a_ceremony_that_the_token_interrupts_goes_on_later() {
    let fixture = Fixture::new();
    let serial = fixture.token("root");
    fixture.root_file(&serial, |t| t.replace(SOFTHSM, module().to_str().unwrap()));
    for (fault, words) in [
        ("generate code 0x30", "CKR_DEVICE_ERROR"),
        ("generate code 0x32", "CKR_DEVICE_REMOVED"),
        ("sign code 0x5", "CKR_GENERAL_ERROR"),
        ("sign corrupt", "does not verify"),
        ("sign short", "a signature of"),
        ("login code 0x30", "CKR_DEVICE_ERROR"),
    ] {
        tell(&fixture, fault);
        let out = sealwright(&fixture, &["ceremony", "root.toml"]);
        assert_eq!(out.status.code(), Some(2), "{fault}: {}", text(&out));
        assert!(text(&out).contains(words), "{fault}: {}", text(&out));
        assert!(!fixture.path("root.pem").exists(), "{fault}");
    }
    tell(&fixture, "sign crash");
    assert!(!sealwright(&fixture, &["ceremony", "root.toml"]).status.success());
    tell(&fixture, "");
    expect_good(sealwright(&fixture, &["ceremony", "root.toml"]));
    fixture.openssl(&["verify", "-x509_strict", "-check_ss_sig", "-CAfile", "root.pem", "root.pem"]);
    let list = fixture.pkcs11_tool("root", &["--list-objects", "--type", "privkey"]);
    assert_eq!(text(&list).matches("Private Key Object").count(), 1, "{}", text(&list));
}

/// A factory whose daemon signs through a signer process on the fault module.
fn faulty() -> Factory {
    let mut factory = Factory::new();
    let config = std::fs::read_to_string(factory.path("daemon.toml")).unwrap();
    let log = config.lines().find_map(|l| l.strip_prefix("key = \"")).unwrap().trim_end_matches('"');
    let guard = include_str!("../config/guard.toml").replace(&"0".repeat(64), log);
    private_file(&factory.path("guard.toml"), &guard);
    std::fs::create_dir(factory.path("counters")).unwrap();
    factory.reconfigure("pin_file = \"pin\"", "pin_file = \"pin\"\nguard = \"guard.toml\"");
    factory.reconfigure(SOFTHSM, module().to_str().unwrap());
    tell(&factory.fixture, "");
    let log = std::fs::File::create(factory.path("daemon.log")).unwrap();
    let mut command = factory.daemon_command();
    command.env("FAULT_MODULE", SOFTHSM).env("FAULT_CONTROL", factory.path("fault"));
    let child = command.stderr(log).stdin(std::process::Stdio::null()).spawn().unwrap();
    factory.adopt(child);
    factory
}

#[test]
fn the_daemon_outlives_everything_that_the_module_does() {
    let factory = faulty();
    let mut serials = vec![factory.enrolled("r", "unit-0", &factory.request("first"))["serial"].clone()];
    for (n, fault) in ["sign corrupt", "sign short", "sign code 0x30", "sign code 0xb0", "sign crash", "sign hang"].iter().enumerate() {
        let (device, csr) = (format!("unit-{}", n + 1), factory.request(&format!("key{n}")));
        tell(&factory.fixture, fault);
        let failed = factory.enroll(&format!("r-{n}-fault"), &device, &csr);
        assert!(!failed.status.success(), "{fault}: {}", text(&failed));
        tell(&factory.fixture, "");
        // The daemon answers at once, and signs again as soon as there is a signer again.
        let until = Instant::now() + Duration::from_secs(60);
        let good = loop {
            let out = factory.enroll(&format!("r-{n}-good"), &device, &csr);
            if out.status.success() {
                break serde_json::from_slice::<serde_json::Value>(&out.stdout).unwrap();
            }
            assert!(Instant::now() < until, "{fault}: {} {}", text(&out), factory.log());
            // Seldom: the pause between two starts grows, and every attempt counts for the device's quota.
            std::thread::sleep(Duration::from_secs(2));
        };
        assert!(!serials.contains(&good["serial"]), "{fault}");
        serials.push(good["serial"].clone());
        std::fs::write(factory.path("unit.pem"), good["certificate"].as_str().unwrap()).unwrap();
        let verify = ["verify", "-x509_strict", "-CAfile", "root.pem", "-untrusted", "factory-chain.pem", "unit.pem"];
        assert!(factory.fixture.openssl(&verify).contains("unit.pem: OK"), "{fault}");
    }
    // I3: what was acknowledged is there.
    for serial in &serials {
        let (code, _) = factory.curl(&[&format!("http://localhost/v1/certificates/{}", serial.as_str().unwrap())]);
        assert_eq!(code, 200, "{serial}");
    }
}
