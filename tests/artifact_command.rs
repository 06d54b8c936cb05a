//! `sealwright artifact` with a device key in an emulated element and in a SoftHSM token.

mod common;
mod pki;

use common::{Fixture, SOFTHSM, expect_good, text};
use pki::Pki;
use sealwright::device::SecureElement;
use sealwright::device::atecc608::{Atecc608, ChipProfile};
use sealwright::device::emulator::{Emulator, Timing};
use sealwright::device::transport::EmulatedTransport;
use sealwright::types::Fingerprint;
use sealwright::x509::keys;
use std::path::{Path, PathBuf};
use std::process::Output;

const CHIP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/elements/atecc608-tls.toml");
const MODULE: &[u8] = b"\0asm\x01\0\0\0\x00\x05\x04note";

/// A chip with a key, its state file, and a certificate `name` for it.
fn element(pki: &Pki, name: &str) -> PathBuf {
    let state = pki.path(&format!("{name}.chip"));
    let profile = ChipProfile::parse(&std::fs::read_to_string(CHIP).unwrap()).unwrap();
    let transport = EmulatedTransport::new(Emulator::open(&state, Timing::Instant).unwrap());
    let mut chip = Atecc608::new(Box::new(transport), profile);
    chip.identify().unwrap();
    chip.configure().unwrap();
    chip.lock_configuration().unwrap();
    let key = chip.generate_key().unwrap();
    chip.lock_data().unwrap();
    pki.device_for_key(name, "sub", &keys::p256_spki(&key).unwrap());
    pki.write(&format!("{name}.chain"), pki.pem(name) + &pki.pem("sub") + &pki.pem("root"));
    state
}

fn artifact(arguments: &[&dyn AsRef<Path>]) -> Output {
    let mut command = pki::sealwright();
    command.arg("artifact");
    pki::run(command.args(arguments.iter().map(|a| a.as_ref())))
}

fn sign(pki: &Pki, name: &str, state: &Path, more: &[&str], out: &Path, input: &Path) -> Output {
    let chain = pki.path(&format!("{name}.chain"));
    let mut arguments: Vec<&dyn AsRef<Path>> = vec![&"sign", &"--emulated", &state, &"--chip", &CHIP, &"--chain", &chain];
    more.iter().for_each(|m| arguments.push(m));
    artifact(&[&arguments[..], &[&"--out", &out, &input]].concat())
}

fn verify(pki: &Pki, more: &[&dyn AsRef<Path>], input: &Path) -> Output {
    let root = pki.path("root.pem");
    artifact(&[&[&"verify" as &dyn AsRef<Path>, &"--anchor", &root], more, &[&input]].concat())
}

#[test]
fn an_element_signs_firmware_that_openssl_and_we_verify() {
    let pki = Pki::three_tiers();
    let state = element(&pki, "gw-1");
    let firmware = pki.write("firmware.bin", vec![0xa5; 300_000]);
    let (cms, cose) = (pki.path("firmware.p7s"), pki.path("firmware.cose"));
    expect_good(sign(&pki, "gw-1", &state, &[], &cms, &firmware));
    expect_good(sign(&pki, "gw-1", &state, &["--format", "cose", "--time", "none"], &cose, &firmware));
    let args = ["cms", "-verify", "-binary", "-inform", "DER", "-in", "firmware.p7s", "-content", "firmware.bin", "-CAfile", "root.pem"];
    pki.openssl(&[&args[..], &["-purpose", "any", "-cades", "-out", "/dev/null"]].concat());
    let said = expect_good(verify(&pki, &[&"--signature", &cms, &"--signature", &cose], &firmware));
    assert!(
        said.contains("nobody attests that") && said.contains("when it was signed cannot be known") && said.contains("'CN=gw-1'"),
        "{said}"
    );
    assert_eq!(sign(&pki, "gw-1", &state, &[], &cms, &firmware).status.code(), Some(2), "overwritten");

    pki.timestamping_authority();
    let (query, reply, stamped) = (pki.path("q.tsq"), pki.path("r.tsr"), pki.path("stamped.p7s"));
    expect_good(artifact(&[&"timestamp-request", &cms, &"--out", &query]));
    std::fs::write(&reply, pki.timestamp(&std::fs::read(&query).unwrap())).unwrap();
    expect_good(artifact(&[&"timestamp-attach", &cms, &"--response", &reply, &"--out", &stamped]));
    assert_eq!(verify(&pki, &[&"--signature", &stamped], &firmware).status.code(), Some(1), "nobody to trust for the time");
    let said = expect_good(verify(&pki, &[&"--signature", &stamped, &"--timestamp-anchor", &pki.path("tsaroot.pem")], &firmware));
    assert!(said.contains("a timestamping authority saw the signature at"), "{said}");

    let changed = pki.write("changed.bin", vec![0xa4; 300_000]);
    let out = verify(&pki, &[&"--signature", &cms, &"--json"], &changed);
    let json: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((out.status.code(), json["verdict"].as_str()), (Some(1), Some("bad")));
    let out = verify(&pki, &[&"--signature", &cms, &"--at", &"2019-01-01"], &firmware);
    assert!(out.status.code() == Some(1) && text(&out).contains("validity"), "{}", text(&out));
    assert_eq!(verify(&pki, &[&"--signature", &"missing"], &firmware).status.code(), Some(2));
    assert_eq!(verify(&pki, &[], &firmware).status.code(), Some(1), "no module, no signature");
    // Another device's chain does not fit the chip's key: nothing is written.
    element(&pki, "gw-2");
    let out = sign(&pki, "gw-2", &state, &[], &pki.path("wrong.p7s"), &firmware);
    assert!(out.status.code() == Some(2) && text(&out).contains("does not fit the certificate"), "{}", text(&out));
}

#[test]
fn devices_sign_one_module_together_and_rules_say_who_must() {
    let pki = Pki::three_tiers();
    let (first, second) = (element(&pki, "gw-1"), element(&pki, "sensor-7"));
    let module = pki.write("m.wasm", MODULE);
    let (once, twice, back) = (pki.path("once.wasm"), pki.path("twice.wasm"), pki.path("back.wasm"));
    expect_good(sign(&pki, "gw-1", &first, &["--embed"], &once, &module));
    expect_good(sign(&pki, "sensor-7", &second, &["--embed", "--format", "cose"], &twice, &once));
    let json: serde_json::Value = serde_json::from_str(&expect_good(verify(&pki, &[&"--json"], &twice))).unwrap();
    assert_eq!(json["signers"].as_array().map(Vec::len), Some(2));
    expect_good(artifact(&[&"strip", &twice, &"--out", &back]));
    assert_eq!(std::fs::read(back).unwrap(), MODULE);

    let issuer = sealwright::x509::chain::ReadCertificate::from_der(&pki.der("sub")).unwrap();
    let rules = format!(
        "version = 1\nrequire = \"all\"\n[[signer]]\nname = \"gateway\"\nsubject = {{ CN = \"gw-*\" }}\n\
         [[signer]]\nname = \"sensor of this line\"\nsubject = {{ CN = \"sensor-7\" }}\nissuer_key = \"{}\"\n",
        Fingerprint::of_spki(issuer.spki_der())
    );
    let rules = pki.write("rules.toml", rules);
    assert!(expect_good(verify(&pki, &[&"--rules", &rules], &twice)).contains("signed as: gateway, sensor of this line"));
    let out = verify(&pki, &[&"--rules", &rules], &once);
    assert!(out.status.code() == Some(1) && text(&out).contains("nobody signed as: sensor of this line"), "{}", text(&out));
    let typo = pki.write("typo.toml", "version = 1\nrequire = \"al\"\n");
    assert_eq!(verify(&pki, &[&"--rules", &typo], &twice).status.code(), Some(2));
}

#[test]
fn a_token_key_signs_too() {
    let fixture = Fixture::new();
    let serial = fixture.token("device");
    let uri = format!("pkcs11:serial={serial}");
    let pin = fixture.path("pin");
    let pin = pin.to_str().unwrap();
    let token = ["--module", SOFTHSM, "--token", &uri, "--pin-file", pin];
    expect_good(fixture.sealwright(&[&["keys", "generate", "--label", "device"][..], &token].concat()));
    let public = fixture.path("public.der");
    let out = fixture
        .pkcs11_tool("device", &["--read-object", "--type", "pubkey", "--label", "device", "--output-file", public.to_str().unwrap()]);
    assert!(out.status.success(), "{}", text(&out));
    let pki = Pki::three_tiers();
    pki.device_for_key("device", "sub", &std::fs::read(public).unwrap());
    let chain = pki.write("chain.pem", pki.pem("device") + &pki.pem("sub"));
    let (file, out) = (pki.write("file", b"content"), pki.path("file.p7s"));
    let paths = ["--chain", chain.to_str().unwrap(), "--out", out.to_str().unwrap(), file.to_str().unwrap()];
    expect_good(fixture.sealwright(&[&["artifact", "sign"][..], &token, &paths].concat()));
    expect_good(verify(&pki, &[&"--signature", &out], &file));
}
