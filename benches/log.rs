//! Figures of the log and of revocation at a million entries: `cargo bench --bench log [COUNT]`.
//! Appends are durable; run it on the disk that counts (TMPDIR).

use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::Signer;
use p256::pkcs8::EncodePrivateKey;
use sealwright::log::audit::{Yardstick, audit};
use sealwright::log::checkpoint::SignedCheckpoint;
use sealwright::log::entry::{Commitment, Entry, Event};
use sealwright::log::merkle;
use sealwright::log::proof::Proof;
use sealwright::log::tiles::TileLog;
use sealwright::log::trust::TrustPolicy;
use sealwright::log::vkey::VerifierKey;
use sealwright::types::{Serial, unix_now};
use sealwright::x509::status::Reason;
use sealwright::x509::status::crl::{Head, Revoked, Scope, TbsCrl};
use sealwright::x509::status::ocsp::{CertId, ResponseData, Status, Times};
use sealwright::x509::tbs::Issuer;
use std::hint::black_box;
use std::time::{Duration, Instant};

const BATCH: u64 = 1024;
const ROUNDS: u32 = 10_000;

fn main() {
    let count = std::env::args().filter_map(|a| a.parse().ok()).next().unwrap_or(1_000_000);
    let key = generate();
    revocation(&key, count);
    log(&key, count);
}

fn generate() -> SigningKey {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).unwrap();
    SigningKey::from_slice(&bytes).unwrap()
}

fn each(duration: Duration, rounds: u32) -> String {
    format!("{:.1} µs", duration.as_secs_f64() * 1e6 / f64::from(rounds))
}

fn peak_rss() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap_or(" unknown").trim().to_owned()
}

fn sign(key: &SigningKey, message: &[u8]) -> Vec<u8> {
    let signature: p256::ecdsa::DerSignature = key.sign(message);
    signature.as_bytes().to_vec()
}

fn revocation(key: &SigningKey, count: u64) {
    let pair = rcgen::KeyPair::try_from(key.to_pkcs8_der().unwrap().as_bytes()).unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root = rcgen::CertifiedIssuer::self_signed(params, pair).unwrap();
    let issuer = Issuer::from_certificate(root.der()).unwrap();
    let entry = |i: u64| {
        let serial = Serial::parse(&format!("40{i:016x}{:022x}", i.wrapping_mul(0x9e37_79b9_7f4a_7c15))).unwrap();
        Revoked { serial, at: 1_700_000_000 + i as i64 / 100, reason: Reason::KeyCompromise }
    };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("crl");
    let start = Instant::now();
    let head = Head::new(1, unix_now(), unix_now() + 86_400, Scope::Full, None).unwrap();
    let crl = TbsCrl::build(&issuer, &head, (0..count).map(entry)).unwrap();
    let built = start.elapsed();
    let signature = sign(key, crl.der());
    let mut file = std::io::BufWriter::new(std::fs::File::create(&path).unwrap());
    crl.write_signed(&issuer, &signature, &mut file).unwrap();
    drop(file);
    let bytes = std::fs::metadata(&path).unwrap().len();
    println!(
        "crl: {count} entries, {bytes} bytes, built in {built:?}, with signature and file {:?}, peak memory {}",
        start.elapsed(),
        peak_rss()
    );
    drop(crl);

    let id = CertId::new(&issuer, &[0x41; 20], false).unwrap();
    let now = unix_now();
    let times = Times { produced_at: now, this_update: now, next_update: now + 3600 };
    let start = Instant::now();
    for i in 0..ROUNDS {
        black_box(sign(key, &i.to_be_bytes()));
    }
    let raw = start.elapsed();
    let start = Instant::now();
    for i in 0..ROUNDS {
        let data = ResponseData::build(&issuer, &[(id.clone(), Status::Good)], times, Some(&i.to_be_bytes())).unwrap();
        black_box(data.attach(&issuer, root.der(), &sign(key, data.der())).unwrap());
    }
    println!("ocsp: answer {} of which the signature in memory takes {}", each(start.elapsed(), ROUNDS), each(raw, ROUNDS));
}

fn log(key: &SigningKey, count: u64) {
    let dir = tempfile::tempdir().unwrap();
    let spki = spki::EncodePublicKey::to_public_key_der(key.verifying_key()).unwrap();
    let public = VerifierKey::ecdsa("bench.example/log", spki.as_bytes()).unwrap();
    let entry = |i: u64| {
        let event = Event::Issued([&i.to_be_bytes()[..], &[7; 592]].concat());
        Entry::new(i, Commitment::new(&[0; 32], b""), Some([1; 32]), event).unwrap().encode()
    };
    let mut log = TileLog::create(&dir.path().join("log"), public.name()).unwrap();
    let mut appends = Vec::new();
    for first in (0..count).step_by(BATCH as usize) {
        let entries: Vec<_> = (first..(first + BATCH).min(count)).map(entry).collect();
        let start = Instant::now();
        log.append(first, &entries).unwrap();
        appends.push(start.elapsed());
    }
    let tenth = (appends.len() / 10).max(1);
    let mean = |part: &[Duration]| part.iter().sum::<Duration>() / part.len() as u32;
    println!("append of {BATCH}: first tenth {:?}, last tenth {:?}", mean(&appends[..tenth]), mean(&appends[appends.len() - tenth..]));
    let checkpoint = log.checkpoint().unwrap();
    let signed = SignedCheckpoint::assemble(&checkpoint, &public, sign(key, checkpoint.text().as_bytes())).unwrap();
    log.publish(&signed).unwrap();

    let picks: Vec<u64> = (0..u64::from(ROUNDS)).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15) % count).collect();
    let start = Instant::now();
    let proofs: Vec<_> = picks.iter().map(|i| log.reader().inclusion_proof(*i, count).unwrap()).collect();
    println!("inclusion proof at size {count}: made in {}", each(start.elapsed(), ROUNDS));
    let leaves: Vec<_> = picks.iter().map(|i| merkle::leaf_hash(&entry(*i))).collect();
    let start = Instant::now();
    for ((pick, leaf), proof) in picks.iter().zip(&leaves).zip(&proofs) {
        merkle::verify_inclusion(*pick, count, leaf, proof, &checkpoint.root()).unwrap();
    }
    println!("inclusion proof at size {count}: checked in {}, {} hashes", each(start.elapsed(), ROUNDS), proofs[0].len());
    let trust = TrustPolicy::of_log(public.clone());
    let files: Vec<Proof> = picks.iter().take(1000).map(|i| Proof::make(log.reader(), *i, &signed).unwrap()).collect();
    let start = Instant::now();
    for (pick, proof) in picks.iter().zip(&files) {
        proof.verify(&entry(*pick), &trust).unwrap();
    }
    println!("proof file: {} bytes, checked with its signature in {}", files[0].to_string().len(), each(start.elapsed(), 1000));
    let start = Instant::now();
    let report = audit(log.reader(), &public, &Yardstick::default(), &mut |_| ()).unwrap();
    println!("audit of {count} entries, {} MB, without certificates: {:?}", report.bytes / 1_000_000, start.elapsed());
}
