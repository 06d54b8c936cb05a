//! The log on disk: crash and repeat, refusal of contradictions, and a verifier that was written
//! from the specifications alone as judge.

mod logkit;

use logkit::{LogKey, ORIGIN, files};
use proptest::prelude::*;
use sealwright::log::entry::{Commitment, Entry, Event};
use sealwright::log::proof::{Proof, verify_certificate};
use sealwright::log::tiles::TileLog;
use sealwright::log::{LogError, merkle};
use std::process::Command;

fn entries(range: std::ops::Range<u64>) -> Vec<Vec<u8>> {
    let leaf = |i: u64| {
        let event =
            if i.is_multiple_of(3) { Event::Refused(format!("rule-{i}")) } else { Event::Issued(vec![i as u8; 20 + (i % 50) as usize]) };
        Entry::new(1_700_000_000_000 + i, Commitment::new(&[1; 32], &i.to_be_bytes()), Some([2; 32]), event).unwrap().encode()
    };
    range.map(leaf).collect()
}

#[test]
fn creation_is_explicit_and_loading_never_creates() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(TileLog::load(dir.path()), Err(LogError::Absent(_))));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    let log = TileLog::create(&dir.path().join("log"), ORIGIN).unwrap();
    assert!(matches!(TileLog::load(&dir.path().join("log")), Err(LogError::Locked(_))));
    drop(log);
    assert!(matches!(TileLog::create(&dir.path().join("log"), ORIGIN), Err(LogError::Exists(_))));
    assert_eq!(TileLog::load(&dir.path().join("log")).unwrap().size(), 0);
    std::fs::create_dir(dir.path().join("full")).unwrap();
    std::fs::write(dir.path().join("full/file"), b"").unwrap();
    assert!(matches!(TileLog::create(&dir.path().join("full"), ORIGIN), Err(LogError::Exists(_))));
}

#[test]
fn a_verifier_written_from_the_specifications_accepts_log_and_proof() {
    let dir = tempfile::tempdir().unwrap();
    let key = LogKey::generate();
    let mut log = TileLog::create(&dir.path().join("log"), ORIGIN).unwrap();
    let mut at = 0;
    for size in [1u64, 255, 256, 257, 600, 66_000] {
        log.append(at, &entries(at..size)).unwrap();
        at = size;
        let signed = key.sign(&log);
        log.publish(&signed).unwrap();
        let index = (0..size).rev().find(|i| !i.is_multiple_of(3)).unwrap_or(0);
        let mut command = Command::new("python3");
        command.arg("tests/log_verify.py").arg(log.reader().dir()).arg(key.public.to_string());
        if let Event::Issued(der) = Entry::decode(&log.entry(index).unwrap()).unwrap().event() {
            let proof = Proof::make(log.reader(), index, &signed).unwrap();
            std::fs::write(dir.path().join("p"), proof.to_string()).unwrap();
            std::fs::write(dir.path().join("c"), der).unwrap();
            command.arg(dir.path().join("p")).arg(dir.path().join("c"));
            assert_eq!(verify_certificate(der, &Proof::parse(proof.to_string().as_bytes()).unwrap(), &key.trust()).unwrap().index, index);
        }
        let out = command.output().unwrap();
        let text = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success() && text.contains(&format!("entries {size}")), "{text}");
        assert!(size == 1 || text.contains(&format!("proved {index}")), "{text}");
    }
}

#[test]
fn a_proof_holds_for_its_certificate_key_and_every_bit_alone() {
    let dir = tempfile::tempdir().unwrap();
    let key = LogKey::generate();
    let mut log = TileLog::create(&dir.path().join("log"), ORIGIN).unwrap();
    log.append(0, &entries(0..300)).unwrap();
    let signed = key.sign(&log);
    let text = Proof::make(log.reader(), 4, &signed).unwrap().to_string();
    let der = vec![4u8; 24];
    let proved = verify_certificate(&der, &Proof::parse(text.as_bytes()).unwrap(), &key.trust()).unwrap();
    assert_eq!((proved.index, proved.entry.time_ms(), proved.entry.policy()), (4, 1_700_000_000_004, Some(&[2; 32])));
    assert!(verify_certificate(&[5; 24], &Proof::parse(text.as_bytes()).unwrap(), &key.trust()).is_err());
    assert!(verify_certificate(&der, &Proof::parse(text.as_bytes()).unwrap(), &LogKey::generate().trust()).is_err());
    for at in 0..text.len() {
        let mut bad = text.as_bytes().to_vec();
        bad[at] ^= 1;
        let verdict = Proof::parse(&bad).and_then(|p| verify_certificate(&der, &p, &key.trust()));
        assert!(verdict.is_err(), "byte {at}");
    }
    // A refusal cannot be passed off as a certificate.
    let refusal = Proof::make(log.reader(), 3, &signed).unwrap();
    assert!(verify_certificate(b"rule-3", &refusal, &key.trust()).is_err());
}

#[test]
fn contradictions_are_refused_and_repetition_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let key = LogKey::generate();
    let path = dir.path().join("log");
    let mut log = TileLog::create(&path, ORIGIN).unwrap();
    log.append(0, &entries(0..100)).unwrap();
    let early = key.sign(&log);
    log.publish(&early).unwrap();
    assert!(matches!(log.append(101, &entries(101..102)), Err(LogError::Conflict { index: 100, .. })));
    assert!(matches!(log.append(98, &entries(90..95)), Err(LogError::Conflict { index: 98, .. })));
    log.append(50, &entries(50..140)).unwrap();
    log.append(0, &entries(0..140)).unwrap();
    assert_eq!(log.size(), 140);
    assert!(matches!(log.publish(&early), Err(LogError::Conflict { .. })));
    assert!(log.append(140, &[vec![0; 65_536]]).is_err());
    log.publish(&key.sign(&log)).unwrap();
    drop(log);

    // An old state beside a newer checkpoint is a rollback.
    let now = files(&path);
    let rolled = format!("sealwright log state v1\n{}", early.checkpoint().text());
    std::fs::write(path.join("state"), rolled).unwrap();
    assert!(matches!(TileLog::load(&path), Err(LogError::Corrupt { .. })));
    std::fs::write(path.join("state"), &now["state"]).unwrap();
    for damaged in ["tile/0/000.p/140", "tile/entries/000.p/140", "checkpoint", "state"] {
        let mut bytes = now[damaged].clone();
        let at = bytes.len() / 4;
        bytes[at] ^= 0x11;
        std::fs::write(path.join(damaged), bytes).unwrap();
        assert!(TileLog::load(&path).is_err(), "{damaged}");
        std::fs::write(path.join(damaged), &now[damaged]).unwrap();
    }
    assert_eq!(TileLog::load(&path).unwrap().size(), 140);
}

/// Every file of a state is written by its own step; a crash is a prefix of those steps.
#[test]
fn after_a_crash_between_any_two_files_the_same_append_gives_the_same_log() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let mut log = TileLog::create(&path, ORIGIN).unwrap();
    log.append(0, &entries(0..250)).unwrap();
    drop(log);
    let before = files(&path);
    let mut log = TileLog::load(&path).unwrap();
    log.append(250, &entries(250..600)).unwrap();
    drop(log);
    let after = files(&path);
    let order = |name: &str| (!name.contains("entries"), !name.contains("tile/"));
    let mut fresh: Vec<&String> = after.keys().filter(|name| before.get(*name) != after.get(*name)).collect();
    fresh.sort_by_key(|name| order(name));
    assert_eq!(fresh.len(), 3 + 3 + 1 + 1, "{fresh:?}");
    for crash in 0..fresh.len() {
        std::fs::remove_dir_all(&path).unwrap();
        for (name, bytes) in before.iter().chain(fresh[..crash].iter().map(|n| (*n, &after[*n]))) {
            std::fs::create_dir_all(path.join(name).parent().unwrap()).unwrap();
            std::fs::write(path.join(name), bytes).unwrap();
        }
        if let Some(cut) = fresh.get(crash).filter(|name| name.contains("tile/")) {
            std::fs::create_dir_all(path.join(cut).parent().unwrap()).unwrap();
            std::fs::write(path.join(format!("{cut}.new")), b"cut").unwrap();
        }
        let mut log = TileLog::load(&path).unwrap();
        let size = log.size();
        log.append(size.min(250), &entries(size.min(250)..600)).unwrap();
        drop(log);
        drop(TileLog::load(&path).unwrap());
        assert!(files(&path) == after, "crash before file {crash}");
    }
}

#[test]
fn files_left_by_other_entries_stop_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let mut log = TileLog::create(&path, ORIGIN).unwrap();
    log.append(0, &entries(0..3)).unwrap();
    std::fs::create_dir_all(path.join("tile/entries/000.p")).unwrap();
    std::fs::write(path.join("tile/entries/000.p/5"), b"other entries").unwrap();
    assert!(matches!(log.append(3, &entries(3..5)), Err(LogError::Conflict { index: 3, .. })));
    assert_eq!(log.size(), 3);
}

/// Disk trouble in the middle of an append: no further append until the log is loaded afresh.
#[test]
fn after_an_io_error_the_log_stops_until_it_is_loaded_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let mut log = TileLog::create(&path, ORIGIN).unwrap();
    std::fs::write(path.join("tile"), b"a file where a directory belongs").unwrap();
    assert!(matches!(log.append(0, &entries(0..3)), Err(LogError::Io { .. })));
    std::fs::remove_file(path.join("tile")).unwrap();
    assert!(matches!(log.append(0, &entries(0..3)), Err(LogError::Io { .. })));
    drop(log);
    TileLog::load(&path).unwrap().append(0, &entries(0..3)).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever the batches, the directory and its proofs are those of the plain tree (I4).
    #[test]
    fn any_batches_give_the_plain_tree(batches in proptest::collection::vec(1u64..400, 1..8), picks in proptest::collection::vec(any::<u64>(), 8)) {
        let dir = tempfile::tempdir().unwrap();
        let mut log = TileLog::create(&dir.path().join("log"), ORIGIN).unwrap();
        let total: u64 = batches.iter().sum();
        let all = entries(0..total);
        let hashes: Vec<_> = all.iter().map(|e| merkle::leaf_hash(e)).collect();
        let mut at = 0;
        let mut roots = vec![(0, log.root())];
        for batch in batches {
            log.append(at, &all[at as usize..(at + batch) as usize]).unwrap();
            at += batch;
            roots.push((at, log.root()));
            prop_assert_eq!(log.root(), merkle::root(&hashes[..], at).unwrap());
        }
        for (old, root) in roots {
            let proof = log.reader().consistency_proof(old, total).unwrap();
            merkle::verify_consistency(old, total, &proof, &root, &log.root()).unwrap();
        }
        for pick in picks {
            let index = pick % total;
            prop_assert_eq!(&log.entry(index).unwrap(), &all[index as usize]);
            let proof = log.reader().inclusion_proof(index, total).unwrap();
            merkle::verify_inclusion(index, total, &hashes[index as usize], &proof, &log.root()).unwrap();
        }
    }

    #[test]
    fn every_accepted_leaf_is_canonical(mut leaf in proptest::collection::vec(any::<u8>(), 45..120), kind in 0u8..14, cut in 0usize..4) {
        leaf[0] = 1;
        leaf[1] = kind;
        leaf[2] = 0;
        leaf[42] = 0;
        let body = (leaf.len() - 45 - cut.min(leaf.len() - 45)) as u16;
        leaf.splice(43..45, body.to_be_bytes());
        leaf.truncate(45 + usize::from(body));
        if let Ok(entry) = Entry::decode(&leaf) {
            prop_assert_eq!(entry.encode(), leaf);
        }
    }
}
