//! What the real line ships, judged by strangers, and every byte of it guarded.

mod common;

use common::factory::Factory;
use common::{expect_good, text};
use sealwright::x509::chain::{At, OfflineVerifier};
use sealwright::x509::pem;
use std::path::Path;
use std::process::Command;

#[test]
fn a_shipped_device_convinces_four_verifiers_and_no_changed_byte_does() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let factory = Factory::running();
    let chip = here.join("config/elements/atecc608-tls.toml");
    let base = ["provision", "--socket", "sealwright.sock", "--profile", "generic-device", "--root", "root.pem", "--work", "line"];
    let more = ["--emulated", "chips", "--timing", "instant", "--json", "--chip", chip.to_str().unwrap()];
    expect_good(factory.fixture.sealwright(&[&base[..], &more].concat()));
    let directory = std::fs::read_dir(factory.path("line/devices")).unwrap().next().unwrap().unwrap().path();
    let (device, chain) = (directory.join("device.pem"), directory.join("chain.pem"));
    let (device, chain) = (device.to_str().unwrap(), chain.to_str().unwrap());

    expect_good(factory.fixture.sealwright(&["verify", "--anchor", "root.pem", "--eku", "client-auth", chain]));
    let openssl = ["verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", "root.pem", "-untrusted", "factory-chain.pem", device];
    factory.fixture.openssl(&openssl);
    let certtool = ["--verify", "--load-ca-certificate", "root.pem", "--infile", chain];
    expect_good(factory.fixture.command("certtool").args(certtool).output().unwrap());
    let python = Command::new(here.join("ci/python")).output().unwrap();
    assert!(python.status.success(), "{}", text(&python));
    let python = String::from_utf8(python.stdout).unwrap();
    let judge = here.join("tests/judges/profile.py");
    let judge = [judge.to_str().unwrap(), "1.3.6.1.5.5.7.3.2", "root.pem", chain];
    expect_good(factory.fixture.command(python.trim()).args(judge).output().unwrap());

    let read = |path: &str| pem::certificates(&std::fs::read(path).unwrap()).unwrap();
    let root = pem::certificates(&std::fs::read(factory.path("root.pem")).unwrap()).unwrap().remove(0);
    let all = read(chain);
    let (good, issuers) = all.split_first().unwrap();
    let verifier = OfflineVerifier::builder().root(root).build().unwrap();
    let verdict = |der: &[u8]| verifier.verify_chain(der, issuers, At::Time(sealwright::types::unix_now()));
    verdict(good).unwrap();
    for index in 0..good.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut bad = good.clone();
            bad[index] ^= flip;
            assert!(verdict(&bad).is_err(), "byte {index} xor {flip:#x} is accepted");
        }
    }
}
