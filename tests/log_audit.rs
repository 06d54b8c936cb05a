//! The auditor against a log that someone changed: every byte, and every lie that keeps the tree whole.

mod logkit;

use logkit::{LogKey, POLICY, TestCa, day, encoded, entry_at, files, publish_log};
use sealwright::log::audit::{Report, Yardstick, audit};
use sealwright::log::checkpoint::SignedCheckpoint;
use sealwright::log::entry::{CrlFacts, Entry, Event};
use sealwright::log::proof::Proof;
use sealwright::log::reader::TileReader;
use sealwright::log::tiles::TileLog;
use sealwright::log::vkey::VerifierKey;
use sealwright::types::Fingerprint;
use sealwright::x509::tbs::Issuer;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

fn run(dir: &Path, key: &VerifierKey, yardstick: &Yardstick) -> Report {
    audit(&TileReader::new(dir), key, yardstick, &mut |_| ()).unwrap()
}

fn sealwright(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sealwright")).args(args).output().unwrap()
}

#[test]
fn an_honest_day_is_clean_and_every_certificate_is_verified() {
    let dir = tempfile::tempdir().unwrap();
    let (key, ca) = (LogKey::generate(), TestCa::new("root"));
    publish_log(&dir.path().join("log"), &key, &encoded(&day(&ca, 600)));
    let yardstick = Yardstick { issuers: vec![Issuer::from_certificate(&ca.root_der).unwrap()], ..Yardstick::default() };
    let report = run(&dir.path().join("log"), &key.public, &yardstick);
    assert!(report.is_clean(), "{:?}", report.findings());
    assert_eq!((report.size, report.kinds["refuse"], report.kinds["crl"]), (600, 60, 6));
    assert_eq!(report.signatures_verified, report.kinds["issue"] + 1);
}

/// Index of the entry that a byte of a bundle belongs to.
fn owner(bundle: &[u8], at: usize) -> u64 {
    let (mut start, mut index) = (0, 0);
    loop {
        let length = usize::from(u16::from_be_bytes([bundle[start], bundle[start + 1]])) + 2;
        if at < start + length {
            return index;
        }
        (start, index) = (start + length, index + 1);
    }
}

/// First entry that the auditor must name for a flip at `at` of file `name`, if the file says.
fn expected(name: &str, bytes: &[u8], at: usize) -> Option<u64> {
    let tile = |prefix: &str| name.strip_prefix(prefix).and_then(|rest| rest.get(..3)).and_then(|n| n.parse::<u64>().ok());
    if let Some(n) = tile("tile/entries/") {
        return Some(n * 256 + owner(bytes, at));
    }
    if let Some(n) = tile("tile/0/") {
        return Some(n * 256 + at as u64 / 32);
    }
    tile("tile/1/").map(|_| at as u64 / 32 * 256)
}

fn flip_every(stride: usize) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let key = LogKey::generate();
    let entries: Vec<Entry> = (0..1000).map(|i| entry_at(i, None, Event::Refused("P2".into()))).collect();
    let mut log = TileLog::create(&path, logkit::ORIGIN).unwrap();
    // Two checkpoints, so that older partial tiles lie about as they do in life.
    for size in [900, 1000] {
        log.append(log.size(), &encoded(&entries)[log.size() as usize..size]).unwrap();
        log.publish(&key.sign(&log)).unwrap();
    }
    drop(log);
    assert!(run(&path, &key.public, &Yardstick::default()).is_clean());
    let (mut flips, mut files_flipped) = (0, 0);
    for (name, bytes) in files(&path) {
        let small = bytes.len() < 400;
        files_flipped += u64::from(!bytes.is_empty());
        for at in (0..bytes.len()).step_by(if small { 1 } else { stride }) {
            let mut bad = bytes.clone();
            bad[at] ^= 1 << (at % 8);
            std::fs::write(path.join(&name), &bad).unwrap();
            let report = run(&path, &key.public, &Yardstick::default());
            assert!(!report.is_clean(), "{name} byte {at}");
            if let Some(index) = expected(&name, &bytes, at) {
                assert_eq!(report.first_index(), Some(index), "{name} byte {at}: {:?}", &report.findings()[..1]);
            }
            flips += 1;
        }
        std::fs::write(path.join(&name), &bytes).unwrap();
    }
    eprintln!("{flips} flips in {files_flipped} files, all reported");
}

#[test]
fn flipped_bytes_are_reported_with_the_index_of_their_entry() {
    flip_every(307);
}

/// Every byte of a 1,000-entry log directory; minutes, so on request.
#[test]
#[ignore = "exhaustive form of the test above: some 140,000 audits"]
fn every_flipped_byte_is_reported_with_the_index_of_its_entry() {
    flip_every(1);
}

#[test]
fn a_missing_or_foreign_file_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let key = LogKey::generate();
    let entries: Vec<Entry> = (0..600).map(|i| entry_at(i, None, Event::Refused("P2".into()))).collect();
    publish_log(&path, &key, &encoded(&entries));
    for (name, bytes) in files(&path).iter().filter(|(name, _)| *name != "lock" && *name != "state") {
        std::fs::remove_file(path.join(name)).unwrap();
        let report = run(&path, &key.public, &Yardstick::default());
        assert!(!report.is_clean(), "{name}");
        assert_eq!(report.first_index(), expected(name, bytes, 0), "{name}");
        std::fs::write(path.join(name), bytes).unwrap();
    }
    std::fs::write(path.join("tile/0/x000"), b"").unwrap();
    assert_eq!(run(&path, &key.public, &Yardstick::default()).findings()[0].rule, "stray");
}

/// The operator holds the log key and writes a whole, consistent, false log.
fn false_log(change: impl FnOnce(&TestCa, &mut Vec<Entry>)) -> (Option<u64>, Vec<&'static str>) {
    let dir = tempfile::tempdir().unwrap();
    let (key, ca) = (LogKey::generate(), TestCa::new("root"));
    let mut entries = day(&ca, 300);
    change(&ca, &mut entries);
    publish_log(&dir.path().join("log"), &key, &encoded(&entries));
    let yardstick = Yardstick { issuers: vec![Issuer::from_certificate(&ca.root_der).unwrap()], ..Yardstick::default() };
    let report = run(&dir.path().join("log"), &key.public, &yardstick);
    (report.first_index(), report.findings().iter().map(|f| f.rule).collect())
}

#[test]
fn lies_that_keep_the_tree_whole_are_found_in_what_the_entries_say() {
    let issued = |i: u64, der: Vec<u8>| entry_at(i, Some(POLICY), Event::Issued(der));
    let crl = |i: u64, number: u64, this_update: u64| {
        let issuer = Fingerprint::of_spki(b"issuer");
        entry_at(
            i,
            Some(POLICY),
            Event::CrlSigned(CrlFacts { issuer, number, this_update, next_update: 9000, entries: 1, digest: [0; 32] }),
        )
    };
    assert_eq!(false_log(|_, _| ()), (None, vec![]));
    assert_eq!(false_log(|ca, e| e[200] = issued(200, ca.leaf(199))), (Some(200), vec!["serial"]));
    assert_eq!(false_log(|_, e| e[70] = issued(70, TestCa::new("other").leaf(70))), (Some(70), vec!["issuer"]));
    assert_eq!(false_log(|_, e| e[70] = issued(70, TestCa::new("root").leaf(70))), (Some(70), vec!["signature"]));
    assert_eq!(false_log(|_, e| e[70] = issued(70, TestCa::new("root").root_der)), (Some(70), vec!["signature"]));
    assert_eq!(false_log(|_, e| e[70] = issued(70, vec![0x30, 0])), (Some(70), vec!["certificate"]));
    assert_eq!(false_log(|_, e| e[110] = entry_at(5, None, Event::Stopped("x".into()))), (Some(110), vec!["time"]));
    assert_eq!(false_log(|_, e| e[110] = entry_at(5, None, Event::ClockStepped("back".into()))), (None, vec![]));
    assert_eq!(false_log(|ca, e| e[80] = entry_at(80, Some([3; 32]), Event::Issued(ca.leaf(80)))), (Some(80), vec!["policy"]));
    assert_eq!(false_log(|_, e| e[90] = entry_at(90, Some([3; 32]), Event::PolicyActivated("b".into()))).0, Some(91));
    assert_eq!(false_log(|_, e| e[151] = crl(151, 51, 151)), (Some(151), vec!["crl"]));
    assert_eq!(false_log(|_, e| e[151] = crl(151, 151, 1)), (Some(151), vec!["crl"]));
}

#[test]
fn a_garbled_entry_under_a_good_root_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let key = LogKey::generate();
    let mut leaves = encoded(&day(&TestCa::new("root"), 20));
    leaves[7] = b"no entry".to_vec();
    publish_log(&dir.path().join("log"), &key, &leaves);
    let report = run(&dir.path().join("log"), &key.public, &Yardstick::default());
    assert_eq!((report.first_index(), report.findings()[0].rule), (Some(7), "entry"));
}

#[test]
fn truncation_rollback_and_fork_show_against_the_kept_checkpoint_and_not_without_it() {
    let dir = tempfile::tempdir().unwrap();
    let (key, ca) = (LogKey::generate(), TestCa::new("root"));
    let entries = day(&ca, 400);
    let kept = publish_log(&dir.path().join("a"), &key, &encoded(&entries[..300]));
    publish_log(&dir.path().join("longer"), &key, &encoded(&entries));
    publish_log(&dir.path().join("shorter"), &key, &encoded(&entries[..200]));
    let mut forked = entries.clone();
    forked[150] = entry_at(150, Some(POLICY), Event::Refused("nothing to see".into()));
    publish_log(&dir.path().join("fork"), &key, &encoded(&forked));
    let with = Yardstick { since: Some(kept), ..Yardstick::default() };
    let rules = |name: &str, yardstick: &Yardstick| -> Vec<&'static str> {
        run(&dir.path().join(name), &key.public, yardstick).findings().iter().map(|f| f.rule).collect()
    };
    assert!(rules("a", &with).is_empty() && rules("longer", &with).is_empty());
    assert_eq!((rules("shorter", &with), rules("fork", &with)), (vec!["since"], vec!["since"]));
    // Honest about the limit: with nothing kept, an older or forked log is as good as any.
    assert!(rules("shorter", &Yardstick::default()).is_empty() && rules("fork", &Yardstick::default()).is_empty());
}

#[test]
fn a_signature_that_the_log_does_not_know_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let (key, ca) = (LogKey::generate(), TestCa::new("root"));
    publish_log(&dir.path().join("log"), &key, &encoded(&day(&ca, 30)));
    let digest = |der: &[u8]| -> [u8; 32] {
        let cert = <x509_cert::Certificate as der::Decode>::from_der(der).unwrap();
        <sha2::Sha256 as sha2::Digest>::digest(der::Encode::to_der(cert.tbs_certificate()).unwrap()).into()
    };
    let known = Yardstick { signed_digests: Some(vec![digest(&ca.leaf(20))]), ..Yardstick::default() };
    assert!(run(&dir.path().join("log"), &key.public, &known).is_clean());
    let secret = Yardstick { signed_digests: Some(vec![digest(&ca.leaf(20)), digest(&ca.leaf(9999))]), ..Yardstick::default() };
    assert_eq!(run(&dir.path().join("log"), &key.public, &secret).findings()[0].rule, "unlogged");
}

#[test]
fn the_commands_show_prove_mirror_and_judge() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let (key, ca) = (LogKey::generate(), TestCa::new("root"));
    let entries = encoded(&day(&ca, 300));
    let kept = publish_log(&dir.path().join("log"), &key, &entries[..200]);
    std::fs::write(at("kept"), kept.note().to_string()).unwrap();
    std::fs::write(at("root.pem"), &ca.root_pem).unwrap();
    let vkey = key.public.to_string();
    std::fs::write(at("log.vkey"), format!("{vkey}\n")).unwrap();
    let first = sealwright(&["log", "mirror", &at("log"), &at("usb"), "--log-key", &vkey, "--json"]);
    assert_eq!(String::from_utf8_lossy(&first.stdout), "{\"before\":0,\"size\":200}\n", "{first:?}");
    let mut log = TileLog::load(&dir.path().join("log")).unwrap();
    log.append(200, &entries[200..]).unwrap();
    log.publish(&key.sign(&log)).unwrap();
    drop(log);
    let again = sealwright(&["log", "mirror", &at("log"), &at("usb"), "--log-key", &at("log.vkey")]);
    assert_eq!(again.status.code(), Some(0), "{again:?}");
    let tiles = |name: &str| -> BTreeMap<_, _> {
        files(&dir.path().join(name)).into_iter().filter(|(n, _)| !n.contains(".p/") && n != "lock").collect()
    };
    assert!(tiles("log") == tiles("usb"));

    let usb = at("usb");
    let base = ["audit", "verify", &usb, "--log-key", &vkey];
    let judged =
        sealwright(&[&base[..], &["--since", &at("kept"), "--issuer", &at("root.pem"), "--html", &at("page.html"), "--json"]].concat());
    let json: serde_json::Value = serde_json::from_slice(&judged.stdout).unwrap();
    assert_eq!((judged.status.code(), &json["clean"], &json["size"]), (Some(0), &true.into(), &300.into()), "{json}");
    let page = std::fs::read_to_string(at("page.html")).unwrap();
    assert!(page.contains("Good. Nothing to report.") && page.contains(&"02".repeat(32)) && !page.contains("<script"), "{page}");
    let shown = sealwright(&["log", "show", &at("usb"), "3", "--log-key", &vkey, "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!((&json["kind"], &json["text"]), (&"refuse".into(), &"P2".into()));
    let proved = sealwright(&["log", "prove", &at("usb"), "299", "--log-key", &vkey, "--out", &at("p.tlog-proof")]);
    assert_eq!(proved.status.code(), Some(0), "{proved:?}");
    assert_eq!(Proof::parse(&std::fs::read(at("p.tlog-proof")).unwrap()).unwrap().index(), 299);
    let unknown = sealwright(&["log", "prove", &at("usb"), "--serial", &"41".repeat(20), "--log-key", &vkey]);
    assert_eq!(unknown.status.code(), Some(2));

    // A rolled-back source leaves the mirror alone; a damaged mirror is judged bad, by index.
    publish_log(&dir.path().join("old"), &key, &entries[..100]);
    let before = files(&dir.path().join("usb"));
    let refused = sealwright(&["log", "mirror", &at("old"), &at("usb"), "--log-key", &vkey]);
    assert!(refused.status.code() == Some(2) && String::from_utf8_lossy(&refused.stderr).contains("rolled back"), "{refused:?}");
    let mut fork = entries.clone();
    fork.swap(20, 21);
    fork.push(entries[5].clone());
    publish_log(&dir.path().join("fork"), &key, &fork);
    let refused = sealwright(&["log", "mirror", &at("fork"), &at("usb"), "--log-key", &vkey]);
    assert!(refused.status.code() == Some(2) && String::from_utf8_lossy(&refused.stderr).contains("a fork"), "{refused:?}");
    assert!(files(&dir.path().join("usb")) == before);
    let bundle = dir.path().join("usb/tile/entries/000");
    let mut bytes = std::fs::read(&bundle).unwrap();
    let end = bytes.len() - 1;
    bytes[end] ^= 1;
    std::fs::write(&bundle, bytes).unwrap();
    let judged = sealwright(&[&base[..], &["--html", &at("bad.html")]].concat());
    assert!(std::fs::read_to_string(at("bad.html")).unwrap().contains("The first discrepancy is at entry 255"));
    assert_eq!(judged.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&judged.stdout).contains("first discrepancy is at entry 255"), "{judged:?}");
    SignedCheckpoint::open(&std::fs::read(at("kept")).unwrap(), &key.public).unwrap();
}
