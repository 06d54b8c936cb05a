//! Artifact signatures: openssl and pycose as foreign judges, and every small change refused.

mod pki;

use pki::{DEVICE, LONG, Pki, SUB, Spec, TIMESTAMPING, python, run};
use sealwright::artifact::{
    ArtifactError, ArtifactSigner, ContentDigest, DigestAlgorithm, Envelope, Format, Judge, SignerChain, digest_for, sign, wasm,
};
use sealwright::types::{SignatureAlgorithm, unix_now};
use sealwright::x509::chain::{At, OfflineVerifier};
use sealwright::x509::sign::ArtifactStatement;
use std::io::Cursor;
use std::process::Command;

/// A device key in a file of the test, used through openssl.
struct FileKey<'a> {
    pki: &'a Pki,
    name: &'a str,
    algorithm: SignatureAlgorithm,
}

impl ArtifactSigner for FileKey<'_> {
    fn algorithm(&self) -> SignatureAlgorithm {
        self.algorithm
    }

    fn sign(&mut self, statement: &ArtifactStatement) -> Result<Vec<u8>, String> {
        self.pki.write("statement", statement.bytes());
        let md = if self.algorithm == SignatureAlgorithm::EcdsaSha384 { "-sha384" } else { "-sha256" };
        let key = format!("{}.key", self.name);
        Ok(match self.algorithm {
            SignatureAlgorithm::Ed25519 => self.pki.openssl(&["pkeyutl", "-sign", "-rawin", "-inkey", &key, "-in", "statement"]),
            _ => self.pki.openssl(&["dgst", md, "-sign", &key, "statement"]),
        }
        .stdout)
    }
}

/// The smallest module with a function, a custom section before it, and an export.
const MODULE: &[u8] =
    b"\0asm\x01\0\0\0\x00\x05\x04note\x01\x05\x01\x60\x00\x01\x7f\x03\x02\x01\x00\x07\x05\x01\x01f\x00\x00\x0a\x06\x01\x04\x00\x41\x2a\x0b";

/// Changes of one byte: lowest bit (order, parity), case of text, highest bit (tags, lengths), all.
const FLIPS: [u8; 4] = [0x01, 0x20, 0x80, 0xff];

fn signed_by(pki: &Pki, format: Format, content: &[u8], device: &str, algorithm: SignatureAlgorithm, time: Option<i64>) -> Vec<u8> {
    let chain = SignerChain::new(&[pki.der(device), pki.der("sub")]).unwrap();
    let digest = ContentDigest::read(digest_for(algorithm), content, |_| {}).unwrap();
    sign(format, &mut FileKey { pki, name: device, algorithm }, &chain, &digest, time).unwrap()
}

fn signed(pki: &Pki, format: Format, content: &[u8]) -> Vec<u8> {
    signed_by(pki, format, content, "device", SignatureAlgorithm::EcdsaSha256, Some(1_700_000_000))
}

fn verifier(pki: &Pki) -> OfflineVerifier {
    OfflineVerifier::builder().root(pki.der("root")).build().unwrap()
}

fn judge(verifier: &OfflineVerifier) -> Judge<'_> {
    Judge { verifier, at: now(), authority: None }
}

fn now() -> At {
    At::Time(unix_now())
}

fn verify(verifier: &OfflineVerifier, envelope: &[u8], content: &[u8]) -> Result<(), ArtifactError> {
    let envelope = Envelope::parse(envelope)?;
    let digest = ContentDigest::read(envelope.digest_algorithm(), content, |_| {})?;
    envelope.verify(&digest, &judge(verifier)).map(drop)
}

#[test]
fn openssl_accepts_our_cms_and_we_accept_openssls() {
    let pki = Pki::three_tiers();
    let ours = signed(&pki, Format::Cms, MODULE);
    let content = pki.write("module.wasm", MODULE);
    pki.write("ours.p7s", &ours);
    let check = |content: &str, purpose: &str| {
        let args = ["cms", "-verify", "-binary", "-inform", "DER", "-in", "ours.p7s", "-content", content, "-CAfile", "root.pem"];
        pki.try_openssl(&[&args[..], &["-purpose", purpose, "-cades", "-out", "/dev/null"]].concat()).status.success()
    };
    assert!(check(content.to_str().unwrap(), "any"));
    pki.write("other", b"other");
    assert!(!check("other", "any"));

    let cms = |extra: &[&str], out: &str| {
        let args = ["cms", "-sign", "-binary", "-signer", "device.pem", "-inkey", "device.key", "-certfile", "sub.pem"];
        pki.openssl(&[&args[..], &["-in", "module.wasm", "-outform", "DER", "-md", "sha256", "-out", out], extra].concat());
        std::fs::read(pki.path(out)).unwrap()
    };
    let verifier = verifier(&pki);
    verify(&verifier, &cms(&["-cades"], "cades.p7s"), MODULE).unwrap();
    let pem = pki.openssl(&["cms", "-cmsout", "-inform", "DER", "-in", "cades.p7s", "-outform", "PEM"]).stdout;
    verify(&verifier, &pem, MODULE).unwrap();
    assert!(matches!(verify(&verifier, &cms(&[], "plain.p7s"), MODULE), Err(ArtifactError::Unbound(..))));
    assert!(matches!(verify(&verifier, &cms(&["-cades", "-nodetach"], "attached.p7s"), MODULE), Err(ArtifactError::Malformed(..))));
    assert!(matches!(verify(&verifier, &cms(&["-cades", "-keyid"], "keyid.p7s"), MODULE), Err(ArtifactError::Malformed(..))));
}

#[test]
fn pycose_accepts_our_cose_and_we_accept_pycoses() {
    let pki = Pki::three_tiers();
    let content = pki.write("module.wasm", MODULE);
    let ours = pki.write("ours.cose", signed(&pki, Format::Cose, MODULE));
    let judge = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/judges/cose.py");
    let verdict = |content: &std::path::Path| {
        let out = run(Command::new(python()).arg(judge).arg("verify").arg(&ours).arg(content));
        (String::from_utf8_lossy(&out.stdout).trim().to_owned(), String::from_utf8_lossy(&out.stderr).into_owned())
    };
    assert_eq!(verdict(&content).0, "good", "{}", verdict(&content).1);
    assert_eq!(verdict(&pki.write("other", b"other")).0, "bad");

    let chain: Vec<_> = ["device", "sub"].iter().map(|n| pki.write(&format!("{n}.der"), pki.der(n))).collect();
    let theirs = pki.path("theirs.cose");
    let out = run(Command::new(python()).arg(judge).arg("sign").arg(&theirs).arg(&content).arg(pki.path("device.key")).args(chain));
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    verify(&verifier(&pki), &std::fs::read(theirs).unwrap(), MODULE).unwrap();
}

#[test]
fn every_flip_cut_and_insertion_of_an_envelope_or_its_artifact_is_refused() {
    let pki = Pki::three_tiers();
    let verifier = verifier(&pki);
    for format in [Format::Cms, Format::Cose] {
        let good = signed(&pki, format, MODULE);
        verify(&verifier, &good, MODULE).unwrap();
        let mut bad = good.clone();
        for i in 0..good.len() {
            for mask in FLIPS {
                bad[i] ^= mask;
                assert!(verify(&verifier, &bad, MODULE).is_err(), "{format} byte {i} ^ {mask:#x}");
                bad[i] = good[i];
            }
            assert!(verify(&verifier, &good[..i], MODULE).is_err(), "{format} cut at {i}");
            for byte in [0x00, 0x31, 0xff] {
                bad.insert(i, byte);
                assert!(verify(&verifier, &bad, MODULE).is_err(), "{format} {byte:#x} inserted at {i}");
                bad.remove(i);
            }
        }
        bad.push(0);
        assert!(verify(&verifier, &bad, MODULE).is_err(), "{format} trailing byte");
        for i in 0..MODULE.len() {
            let mut other = MODULE.to_vec();
            other[i] ^= 0x80;
            assert!(matches!(verify(&verifier, &good, &other), Err(ArtifactError::Changed)), "{format} artifact byte {i}");
        }
    }
}

#[test]
fn every_change_of_a_signed_module_is_refused_and_stripping_gives_the_module_back() {
    let pki = Pki::three_tiers();
    let verifier = verifier(&pki);
    let check = |module: &[u8]| wasm::verify(&mut Cursor::new(module), &judge(&verifier), |_| {}).map(|s| s.len());
    let tail = wasm::section(&[signed(&pki, Format::Cms, MODULE)]).unwrap();
    let good = [MODULE, &tail].concat();
    assert_eq!(check(&good).unwrap(), 1);
    let layout = wasm::layout(&mut Cursor::new(&good)).unwrap();
    assert_eq!(&good[..layout.content_length as usize], MODULE);
    let mut bad = good.clone();
    for i in 0..good.len() {
        for mask in FLIPS {
            bad[i] ^= mask;
            assert!(check(&bad).is_err(), "byte {i} ^ {mask:#x}");
            bad[i] = good[i];
        }
        assert!(check(&good[..i]).is_err(), "cut at {i}");
        for byte in [0x00, 0x01, 0x80] {
            bad.insert(i, byte);
            assert!(check(&bad).is_err(), "{byte:#x} inserted at {i}");
            bad.remove(i);
        }
    }
    let custom = |name: &str| [&[0, name.len() as u8 + 1, name.len() as u8], name.as_bytes()].concat();
    for extra in [custom("x"), custom("signature"), custom(wasm::SECTION), tail.clone(), vec![0]] {
        assert!(check(&[&good[..], &extra].concat()).is_err(), "appended {extra:x?}");
        assert!(check(&[MODULE, &extra, &tail].concat()).is_err(), "before the signature {extra:x?}");
        assert!(check(&[&MODULE[..8], &extra, &MODULE[8..], &tail].concat()).is_err(), "first {extra:x?}");
    }
    // The header says component instead of module; sections change places.
    assert!(check(&[b"\0asm\x0d\0\x01\0", &good[8..]].concat()).is_err());
    assert!(check(&[&MODULE[..8], &MODULE[15..22], &MODULE[8..15], &good[22..]].concat()).is_err());
    assert!(check(&[&MODULE[..8], &tail, &MODULE[8..]].concat()).is_err());
    assert!(check(MODULE).unwrap_err().to_string().contains("not signed"));
}

#[test]
fn engines_still_load_a_signed_module() {
    let pki = Pki::three_tiers();
    let good = [MODULE, &wasm::section(&[signed(&pki, Format::Cms, MODULE)]).unwrap()].concat();
    let engine = wasmi::Engine::default();
    let module = wasmi::Module::new(&engine, &good[..]).unwrap();
    let mut store = wasmi::Store::new(&engine, ());
    let instance = wasmi::Linker::new(&engine).instantiate_and_start(&mut store, &module).unwrap();
    let f = instance.get_typed_func::<(), i32>(&store, "f").unwrap();
    assert_eq!(f.call(&mut store, ()).unwrap(), 42);
}

#[test]
fn several_devices_sign_one_module_and_every_signature_counts() {
    let pki = Pki::three_tiers();
    pki.device("second", "sub", DEVICE);
    pki.root("foreign", "/CN=Foreign Root");
    let es256 = SignatureAlgorithm::EcdsaSha256;
    let first = signed(&pki, Format::Cms, MODULE);
    let second = signed_by(&pki, Format::Cose, MODULE, "second", es256, None);
    let check = |envelopes: &[Vec<u8>]| {
        let module = [MODULE, &wasm::section(envelopes).unwrap()].concat();
        wasm::verify(&mut Cursor::new(module), &judge(&verifier(&pki)), |_| {})
    };
    let both = check(&[first.clone(), second.clone()]).unwrap();
    assert_eq!(both.iter().map(|s| s.claimed_time()).collect::<Vec<_>>(), [Some(1_700_000_000), None]);
    let other = signed_by(&pki, Format::Cms, b"other", "second", es256, None);
    assert!(matches!(check(&[first, other]), Err(ArtifactError::Changed)));
    assert!(wasm::section(&vec![second; wasm::MAX_SIGNATURES + 1]).is_err());
}

#[test]
fn another_certificate_of_the_same_key_cannot_be_put_in() {
    let pki = Pki::three_tiers();
    // Same key, same issuer, same serial and issuer name in the identifier: only the hash tells.
    std::fs::copy(pki.path("device.key"), pki.path("twin.key")).unwrap();
    pki.issue(&Spec { name: "twin", issuer: "sub", subject: "/CN=twin/serialNumber=43", extensions: DEVICE, dates: LONG });
    let good = signed(&pki, Format::Cms, MODULE);
    let swapped = replace(&good, &pki.der("device"), &pki.der("twin"));
    assert!(verify(&verifier(&pki), &swapped, MODULE).is_err());
    // A cross-signed intermediate of the same key, put in place of the one that was signed for.
    pki.root("second", "/CN=Second Root");
    std::fs::copy(pki.path("sub.key"), pki.path("cross.key")).unwrap();
    pki.issue(&Spec { name: "cross", issuer: "second", subject: "/O=Acme/CN=Test sub", extensions: SUB, dates: LONG });
    let second = OfflineVerifier::builder().root(pki.der("second")).intermediate(pki.der("cross")).build().unwrap();
    second.verify_device_certificate(&pki.der("device"), now()).unwrap();
    assert!(verify(&second, &good, MODULE).is_err());
}

/// Replaces bytes and repairs nothing but the outer lengths when they happen to be equal.
fn replace(haystack: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = haystack.windows(from.len()).position(|w| w == from).expect("the certificate is inside");
    [&haystack[..at], to, &haystack[at + from.len()..]].concat()
}

#[test]
fn other_keys_sign_and_unfit_ones_are_refused_before_the_signature_leaves() {
    let pki = Pki::three_tiers();
    pki.key("big", "P-384");
    pki.issue(&Spec { name: "big", issuer: "sub", subject: "/CN=big", extensions: DEVICE, dates: LONG });
    pki.openssl(&["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", "rsa.key"]);
    pki.issue(&Spec { name: "rsa", issuer: "sub", subject: "/CN=rsa", extensions: DEVICE, dates: LONG });
    pki.openssl(&["genpkey", "-algorithm", "ED25519", "-out", "ed.key"]);
    pki.issue(&Spec { name: "ed", issuer: "sub", subject: "/CN=ed", extensions: DEVICE, dates: LONG });
    let verifier = verifier(&pki);
    for (name, algorithm) in
        [("big", SignatureAlgorithm::EcdsaSha384), ("ed", SignatureAlgorithm::Ed25519), ("rsa", SignatureAlgorithm::RsaSha256)]
    {
        for format in [Format::Cms, Format::Cose] {
            if format == Format::Cose && name == "rsa" {
                continue;
            }
            let envelope = signed_by(&pki, format, MODULE, name, algorithm, None);
            verify(&verifier, &envelope, MODULE).unwrap_or_else(|e| panic!("{name} {format}: {e}"));
        }
    }
    let chain = SignerChain::new(&[pki.der("device"), pki.der("sub")]).unwrap();
    let digest = ContentDigest::read(DigestAlgorithm::Sha256, MODULE, |_| {}).unwrap();
    let mut wrong = FileKey { pki: &pki, name: "rsa", algorithm: SignatureAlgorithm::EcdsaSha256 };
    assert!(matches!(sign(Format::Cms, &mut wrong, &chain, &digest, None), Err(ArtifactError::Key(_))));
    assert!(SignerChain::new(&[pki.der("sub"), pki.der("device")]).is_err());
    pki.device("exchange", "sub", &DEVICE.replace("digitalSignature", "keyAgreement"));
    let chain = SignerChain::new(&[pki.der("exchange")]).unwrap();
    let mut key = FileKey { pki: &pki, name: "exchange", algorithm: SignatureAlgorithm::EcdsaSha256 };
    assert!(matches!(sign(Format::Cms, &mut key, &chain, &digest, None), Err(ArtifactError::Certificate(_))));
}

fn stamp(pki: &Pki, envelope: &[u8]) -> Vec<u8> {
    pki.timestamp(&sealwright::artifact::cms::timestamp::request(envelope).unwrap())
}

/// The same timestamp signed with the key `name`, which openssl's own authority would not do.
fn stamp_by(pki: &Pki, envelope: &[u8], name: &str) -> Vec<u8> {
    pki.write("reply.tsr", stamp(pki, envelope));
    pki.openssl(&["ts", "-reply", "-in", "reply.tsr", "-token_out", "-out", "token"]);
    pki.openssl(&["cms", "-verify", "-noverify", "-binary", "-inform", "DER", "-in", "token", "-out", "tst"]);
    let (pem, key) = (format!("{name}.pem"), format!("{name}.key"));
    let args = ["cms", "-sign", "-nodetach", "-binary", "-cades", "-econtent_type", "1.2.840.113549.1.9.16.1.4", "-in", "tst"];
    let token = pki.openssl(&[&args[..], &["-signer", &pem, "-inkey", &key, "-md", "sha256", "-outform", "DER"]].concat()).stdout;
    let length = token.len() + 5;
    [&[0x30, 0x82, (length >> 8) as u8, length as u8, 0x30, 3, 2, 1, 0], &token[..]].concat()
}

#[test]
fn a_timestamp_attests_the_time_and_every_flip_of_it_is_refused() {
    use sealwright::artifact::cms::timestamp::attach;
    let pki = Pki::three_tiers();
    pki.timestamping_authority();
    pki.device("mixed", "tsaroot", &TIMESTAMPING.replace("timeStamping", "timeStamping,codeSigning"));
    pki.device("alone", "tsaroot", TIMESTAMPING);
    let plain = signed(&pki, Format::Cms, MODULE);
    let good = attach(&plain, &stamp(&pki, &plain)).unwrap();
    let (devices, times) = (verifier(&pki), OfflineVerifier::builder().root(pki.der("tsaroot")));
    let times = times.extended_key_usage(const_oid::db::rfc5280::ID_KP_TIME_STAMPING).build().unwrap();
    // Long after every certificate has expired, the attested time still counts.
    let late = Judge { verifier: &devices, at: At::Time(2_600_000_000), authority: Some(&times) };
    let check = |bytes: &[u8], judge: &Judge| {
        let envelope = Envelope::parse(bytes)?;
        envelope.verify(&ContentDigest::read(envelope.digest_algorithm(), MODULE, |_| {})?, judge)
    };
    let attested = check(&good, &late).unwrap().attested_time().unwrap();
    assert!((attested - unix_now()).abs() < 600, "{attested}");
    assert!(check(&plain, &late).is_err());
    assert!(matches!(check(&good, &Judge { authority: None, ..late }), Err(ArtifactError::Timestamp(_))));
    assert!(matches!(check(&good, &Judge { authority: Some(&devices), ..late }), Err(ArtifactError::Timestamp(_))));
    check(&attach(&plain, &stamp_by(&pki, &plain, "alone")).unwrap(), &late).unwrap();
    let mixed = attach(&plain, &stamp_by(&pki, &plain, "mixed")).unwrap();
    assert!(check(&mixed, &late).unwrap_err().to_string().contains("timestamping alone"));
    assert!(attach(&good, &stamp(&pki, &plain)).is_err(), "a second token");
    assert!(attach(&signed(&pki, Format::Cms, b"other"), &stamp(&pki, &plain)).is_err(), "another signature's token");
    pki.write("stamped.p7s", &good);
    pki.write("module.wasm", MODULE);
    let args = ["cms", "-verify", "-binary", "-inform", "DER", "-in", "stamped.p7s", "-content", "module.wasm", "-CAfile", "root.pem"];
    pki.openssl(&[&args[..], &["-purpose", "any", "-cades", "-out", "/dev/null"]].concat());
    let mut bad = good.clone();
    for i in 0..good.len() {
        bad[i] ^= 0x01;
        assert!(check(&bad, &late).is_err(), "byte {i}");
        bad[i] = good[i];
    }
}
