//! The factory line against the real daemon: emulated chips over their wire protocol.

mod common;

use common::factory::Factory;
use common::{expect_good, text};
use sealwright::device::atecc608::{Atecc608, ChipProfile};
use sealwright::device::emulator::{Emulator, Timing};
use sealwright::device::transport::EmulatedTransport;
use sealwright::device::{DeviceError, SecureElement};
use serde_json::Value;
use std::path::Path;
use std::process::Output;

fn chip_profile() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config/elements/atecc608-tls.toml").display().to_string()
}

fn provision(factory: &Factory, more: &[&str]) -> Output {
    let chip = chip_profile();
    let base = [
        "provision",
        "--socket",
        "sealwright.sock",
        "--profile",
        "generic-device",
        "--chip",
        &chip,
        "--root",
        "root.pem",
        "--work",
        "line",
        "--emulated",
        "chips",
        "--timing",
        "instant",
        "--json",
    ];
    factory.fixture.sealwright(&[&base[..], more].concat())
}

fn events(out: Output) -> Vec<Value> {
    expect_good(out).lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

fn element(factory: &Factory, number: usize) -> Atecc608 {
    let chip = Emulator::open(&factory.path(&format!("chips/chip-{number:05}.json")), Timing::Instant).unwrap();
    let profile = ChipProfile::parse(&std::fs::read_to_string(chip_profile()).unwrap()).unwrap();
    Atecc608::new(Box::new(EmulatedTransport::new(chip)), profile)
}

#[test]
fn fifty_devices_hold_the_certified_keys_behind_locks_that_hold() {
    let factory = Factory::running();
    let lines = events(provision(&factory, &["--count", "50", "--stations", "8"]));
    let shipped: Vec<&Value> = lines.iter().filter(|l| l["event"] == "shipped").collect();
    assert_eq!(shipped.len(), 50);
    let statistics = lines.last().unwrap();
    assert_eq!((&statistics["success_rate"], &statistics["failed"]), (&Value::from(1.0), &Value::from(0)));
    assert!(statistics["steps"]["certify"]["p99_ms"].as_f64().unwrap() > 0.0);

    std::fs::write(factory.path("chain.pem"), std::fs::read(factory.path("factory.pem")).unwrap()).unwrap();
    let mut keys = std::collections::HashSet::new();
    for number in 0..50 {
        let mut element = element(&factory, number);
        let serial = element.identify().unwrap().serial.to_string();
        let status = element.status().unwrap();
        assert!(status.configuration_locked && status.data_locked && status.key_locked, "{serial}: {status:?}");
        let refused = element.generate_key().unwrap_err();
        assert!(matches!(refused, DeviceError::Status { .. }), "a second GenKey must be refused by the chip itself: {refused}");

        let directory = format!("line/devices/{serial}");
        let certificate = format!("{directory}/device.pem");
        let pubkey = factory.fixture.openssl(&["x509", "-in", &certificate, "-pubkey", "-noout"]);
        let spki = sealwright::x509::keys::p256_spki(&element.public_key().unwrap()).unwrap();
        let pem = sealwright::x509::pem::encode("PUBLIC KEY", &spki);
        assert_eq!(pubkey, pem, "the certificate's key is the chip's");
        assert!(keys.insert(pem));
        let verified = factory.fixture.openssl(&["verify", "-x509_strict", "-CAfile", "root.pem", "-untrusted", "chain.pem", &certificate]);
        assert!(verified.contains("OK"));
        let ours = factory.fixture.sealwright(&["verify", "--anchor", "root.pem", &format!("{directory}/chain.pem")]);
        expect_good(ours);
    }

    let again = events(provision(&factory, &["--count", "50", "--stations", "8"]));
    assert!(again.iter().filter(|l| l["event"] == "shipped").all(|l| l["already"] == true), "a second run only checks");
    assert_eq!(factory.status()["certificates"], 50);
}

#[test]
fn a_daemon_that_is_away_costs_no_chip() {
    let mut factory = Factory::running();
    factory.stop();
    let out = provision(&factory, &["--count", "2"]);
    assert_eq!(out.status.code(), Some(1), "{}", text(&out));
    assert!(text(&out).contains("cannot reach the daemon"), "{}", text(&out));
    factory.start();
    let lines = events(provision(&factory, &["--count", "2"]));
    assert_eq!(lines.iter().filter(|l| l["event"] == "shipped").count(), 2);
}

#[test]
fn a_chip_that_was_provisioned_elsewhere_is_refused_untouched() {
    let factory = Factory::running();
    events(provision(&factory, &["--count", "1"]));
    let before = std::fs::read(factory.path("chips/chip-00000.json")).unwrap();
    std::fs::rename(factory.path("line"), factory.path("elsewhere")).unwrap();
    let out = provision(&factory, &["--count", "1"]);
    assert_eq!(out.status.code(), Some(1));
    assert!(text(&out).contains("provisioned elsewhere"), "{}", text(&out));
    let configuration = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
    assert_eq!(configuration(&std::fs::read(factory.path("chips/chip-00000.json")).unwrap()), configuration(&before));
}
