//! Random edits of certificates, CRLs, signatures and modules: nothing panics, nothing verifies.

mod pki;

use pki::{LONG, Pki};
use sealwright::artifact::{ArtifactSigner, ContentDigest, DigestAlgorithm, Envelope, Format, Judge, SignerChain, sign, wasm};
use sealwright::types::SignatureAlgorithm;
use sealwright::x509::chain::{At, OfflineVerifier, ReadCrl};
use sealwright::x509::sign::ArtifactStatement;
use std::io::Cursor;

const AT: At = At::Time(1_750_000_000);
const ROUNDS: u32 = 4_000;

/// Knuth's MMIX generator: the same edits in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit.max(1)
    }

    /// One to four edits: flips, cuts, insertions, copies of one part over another, lengths.
    fn edit(&mut self, good: &[u8]) -> Vec<u8> {
        let mut bytes = good.to_vec();
        for _ in 0..=self.below(4) {
            let (at, length) = (self.below(bytes.len()), 1 + self.below(40));
            let end = (at + length).min(bytes.len());
            match self.below(6) {
                0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                1 => drop(bytes.drain(at..end)),
                2 => bytes.insert(at, self.below(256) as u8),
                3 => {
                    let part = bytes[at..end].to_vec();
                    let to = self.below(bytes.len());
                    bytes.splice(to..to, part);
                }
                4 if at < bytes.len() => bytes[at] = [0x00, 0x7f, 0x80, 0x81, 0x84, 0xff][self.below(6)],
                _ => bytes.truncate(bytes.len().saturating_sub(self.below(30))),
            }
        }
        bytes
    }
}

struct FileKey<'a>(&'a Pki);

impl ArtifactSigner for FileKey<'_> {
    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::EcdsaSha256
    }

    fn sign(&mut self, statement: &ArtifactStatement) -> Result<Vec<u8>, String> {
        self.0.write("statement", statement.bytes());
        Ok(self.0.openssl(&["dgst", "-sha256", "-sign", "device.key", "statement"]).stdout)
    }
}

fn never_good(name: &str, good: &[u8], mut verdict: impl FnMut(&[u8]) -> bool) {
    assert!(verdict(good), "{name}: the unedited one must be good");
    let mut dice = Dice(0x5ea1);
    for round in 0..ROUNDS {
        let bad = dice.edit(good);
        assert!(bad == good || !verdict(&bad), "{name}: round {round} verifies: {}", hex::encode(bad));
    }
}

#[test]
fn edited_certificates_crls_signatures_and_modules_never_verify() {
    let pki = Pki::three_tiers();
    let (root, sub, device) = (pki.der("root"), pki.der("sub"), pki.der("device"));
    let verifier = OfflineVerifier::builder().root(root.clone()).intermediate(sub.clone()).build().unwrap();
    never_good("device certificate", &device, |der| verifier.verify_device_certificate(der, AT).is_ok());
    let alone = OfflineVerifier::builder().root(root).build().unwrap();
    never_good("intermediate", &sub, |der| alone.verify_chain(&device, &[der.to_vec()], AT).is_ok());

    let judge = Judge { verifier: &alone, at: AT, authority: None };
    let content = b"\0asm\x01\0\0\0\x00\x05\x04note";
    let chain = SignerChain::new(&[device, sub]).unwrap();
    let digest = ContentDigest::read(DigestAlgorithm::Sha256, &content[..], |_| {}).unwrap();
    for format in [Format::Cms, Format::Cose] {
        let envelope = sign(format, &mut FileKey(&pki), &chain, &digest, None).unwrap();
        never_good(&format.to_string(), &envelope, |bytes| {
            Envelope::parse(bytes).is_ok_and(|e| {
                let digest = ContentDigest::read(e.digest_algorithm(), &content[..], |_| {}).unwrap();
                e.verify(&digest, &judge).is_ok()
            })
        });
        let module = [&content[..], &wasm::section(&[envelope]).unwrap()].concat();
        never_good("module", &module, |bytes| wasm::verify(&mut Cursor::new(bytes), &judge, |_| {}).is_ok());
    }
    // A CRL's signature is checked in use, so reading alone may succeed; it must not panic.
    pki.revoke("device", "keyCompromise");
    let crl = pki.crl("sub", "", LONG);
    let mut dice = Dice(7);
    let read = (0..ROUNDS).filter(|_| ReadCrl::from_der(&dice.edit(&crl)).is_ok()).count();
    assert!(read < ROUNDS as usize / 2, "{read} edited CRLs are canonical");
}

#[test]
fn deep_long_and_empty_inputs_are_refused_at_once() {
    let pki = Pki::three_tiers();
    let verifier = OfflineVerifier::builder().root(pki.der("root")).build().unwrap();
    let deep: Vec<u8> = std::iter::repeat_n([0x30u8, 0x80], 100_000).flatten().collect();
    let definite: Vec<u8> = (0..4000).rev().flat_map(|n: u32| [0x30, 0x82, ((n * 4) >> 8) as u8, (n * 4) as u8]).collect();
    let cbor: Vec<u8> = std::iter::once(0xd2).chain(std::iter::repeat_n(0x81, 60_000)).collect();
    let started = std::time::Instant::now();
    for bytes in [&b""[..], &[0x30], &[0xd2], &deep, &definite, &cbor, &vec![0x30; 9 << 20]] {
        assert!(verifier.verify_device_certificate(bytes, AT).is_err());
        assert!(ReadCrl::from_der(bytes).is_err());
        assert!(Envelope::parse(bytes).is_err());
        assert!(wasm::layout(&mut Cursor::new(bytes)).is_err());
        assert!(wasm::layout(&mut Cursor::new([b"\0asm\x01\0\0\0", bytes].concat())).is_err() || bytes.is_empty());
    }
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
}
