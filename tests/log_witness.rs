//! Witnesses: they catch what a log key alone can hide, by file and over HTTP; policies count them.

mod logkit;

use logkit::{LogKey, ORIGIN, TestCa, day, encoded, entry_at, publish_log};
use sealwright::log::LogError;
use sealwright::log::checkpoint::SignedCheckpoint;
use sealwright::log::entry::{Entry, Event};
use sealwright::log::note::{Note, NoteSignature};
use sealwright::log::reader::TileReader;
use sealwright::log::tiles::TileLog;
use sealwright::log::trust::TrustPolicy;
use sealwright::log::witness::{AddCheckpoint, Refusal, Witness, origin_hash};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

fn refusals(count: u64, text: &str) -> Vec<Vec<u8>> {
    (0..count).map(|i| entry_at(i, None, Event::Refused(if i < 10 { "P1".into() } else { text.into() })).encode()).collect()
}

fn request(dir: &Path, old: u64, signed: &SignedCheckpoint) -> Vec<u8> {
    AddCheckpoint::make(&TileReader::new(dir), old, signed).unwrap().to_string().into_bytes()
}

#[test]
fn a_witness_cosigns_growth_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let key = LogKey::generate();
    let witness = Witness::create(&at("w"), "witness.example/w1").unwrap();
    assert!(matches!(Witness::create(&at("w"), "witness.example/w1"), Err(LogError::Exists(_))));
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(at("w/key")).unwrap().permissions()) & 0o777, 0o600);
    let first = publish_log(&at("a"), &key, &refusals(300, "P2"));
    let status = |body: &[u8]| witness.add_checkpoint(body, 1_700_000_000).map_err(|r| r.status());
    assert_eq!(status(&request(&at("a"), 0, &first)), Err(404));
    witness.trust(&key.public).unwrap();
    assert_eq!(status(b"old 1\n\nx\n"), Err(400));

    let line = status(&request(&at("a"), 0, &first)).unwrap();
    let mut cosigned = first.clone();
    assert_eq!(cosigned.add_cosignature(NoteSignature::parse(line.trim_end()).unwrap(), witness.public()).unwrap(), 1_700_000_000);
    // The same again is fine, an older starting point is answered with the size.
    assert!(status(&request(&at("a"), 300, &first)).is_ok());
    assert!(matches!(witness.add_checkpoint(&request(&at("a"), 0, &first), 0), Err(Refusal::Stale { size: 300 })));

    let mut log = TileLog::load(&at("a")).unwrap();
    log.append(300, &refusals(700, "P2")[300..]).unwrap();
    let grown = key.sign(&log);
    log.publish(&grown).unwrap();
    assert!(status(&request(&at("a"), 300, &grown)).is_ok());

    // Rolled back, truncated, forked: signed by the log's own key, and yet.
    let old = publish_log(&at("old"), &key, &refusals(300, "P2"));
    assert_eq!(status(&request(&at("old"), 0, &old)), Err(409));
    let fork = publish_log(&at("fork"), &key, &refusals(800, "P9"));
    assert_eq!(status(&request(&at("fork"), 700, &fork)), Err(422));
    let fork = publish_log(&at("fork2"), &key, &refusals(700, "P9"));
    assert_eq!(status(&request(&at("fork2"), 700, &fork)), Err(422));
    // Another's signature under the log's name.
    let forged = publish_log(&at("forged"), &LogKey::generate(), &refusals(800, "P2"));
    assert_eq!(status(&request(&at("forged"), 700, &forged)), Err(403));
    // What it said last survives in its directory.
    let again = Witness::load(&at("w")).unwrap();
    assert_eq!(again.last(&key.public).unwrap().unwrap().checkpoint(), grown.checkpoint());
    assert_eq!(again.public(), witness.public());
}

/// openssl judges the cosignature over the message that the specification spells out.
#[test]
fn openssl_verifies_the_cosignature() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let key = LogKey::generate();
    let witness = Witness::create(&at("w"), "witness.example/w1").unwrap();
    witness.trust(&key.public).unwrap();
    let signed = publish_log(&at("log"), &key, &refusals(5, "P2"));
    let line = witness.add_checkpoint(&request(&at("log"), 0, &signed), 1_679_315_147).unwrap();
    let line = NoteSignature::parse(line.trim_end()).unwrap();
    let (time, signature) = line.signature().split_at(8);
    assert_eq!(time, 1_679_315_147u64.to_be_bytes());
    std::fs::write(at("m"), format!("cosignature/v1\ntime 1679315147\n{}", signed.checkpoint().text())).unwrap();
    std::fs::write(at("s"), signature).unwrap();
    std::fs::write(at("k"), witness.public().spki_der()).unwrap();
    let mut command = Command::new("openssl");
    command.args(["pkeyutl", "-verify", "-rawin", "-pubin", "-keyform", "DER", "-inkey"]).arg(at("k"));
    let out = command.arg("-in").arg(at("m")).arg("-sigfile").arg(at("s")).output().unwrap();
    assert!(out.status.success(), "{out:?}");
}

#[test]
fn policies_count_witnesses_k_of_n() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let key = LogKey::generate();
    let signed = publish_log(&at("log"), &key, &refusals(5, "P2"));
    let witnesses: Vec<Witness> = (0..3).map(|i| Witness::create(&at(&format!("w{i}")), &format!("w.example/{i}")).unwrap()).collect();
    let lines: String = witnesses.iter().enumerate().map(|(i, w)| format!("witness w{i} {}\n", w.public())).collect();
    let text = format!("# two of three\nlog {}\n\n{lines}group two 2 w0 w1 w2\nquorum two\n", key.public);
    let policy = TrustPolicy::parse(&text).unwrap();
    let mut note = signed.note().clone();
    assert!(matches!(policy.accept(&note), Err(LogError::Unsigned { .. })));
    for (i, witness) in witnesses.iter().take(2).enumerate() {
        witness.trust(&key.public).unwrap();
        let line = witness.add_checkpoint(&request(&at("log"), 0, &signed), 100 + i as u64).unwrap();
        note.add(NoteSignature::parse(line.trim_end()).unwrap()).unwrap();
        assert_eq!(policy.accept(&note).is_ok(), i == 1);
    }
    assert_eq!(policy.accept(&note).unwrap().witnesses, [("w0".to_owned(), 100), ("w1".to_owned(), 101)]);
    // A known witness's bad line spoils the note, an unknown one's is passed over.
    let text = note.to_string();
    let last = text.trim_end().rfind('\n').unwrap() + 1;
    let mut bad = text.clone().into_bytes();
    let flip = last + "\u{2014} w.example/1 ".len() + 20;
    bad[flip] = if bad[flip] == b'A' { b'B' } else { b'A' };
    assert!(policy.accept(&Note::parse(&bad).unwrap()).is_err());
    let stranger = text.clone() + "\u{2014} stranger.example AAAAAAAAAAAAAAAAAAAA\n";
    assert!(policy.accept(&Note::parse(stranger.as_bytes()).unwrap()).is_ok());

    let vkey = &key.public;
    let w0 = witnesses[0].public();
    for bad in [
        String::new(),
        format!("log {vkey}\n"),
        "quorum none\n".into(),
        format!("log {vkey}\nquorum w0\n"),
        format!("log {vkey}\nlog {vkey}\nquorum none\n"),
        format!("log {w0}\nquorum none\n"),
        format!("log {vkey}\nwitness a {w0}\nwitness b {w0}\nquorum a\n"),
        format!("log {vkey}\nwitness a {w0}\ngroup g 2 a\nquorum g\n"),
        format!("log {vkey}\nwitness a {w0}\ngroup g all a\ngroup h any a\nquorum g\n"),
        format!("log {vkey}\nwitness none {w0}\nquorum none\n"),
        format!("log {vkey}\nquorum none\nquorum none\n"),
        format!("log {vkey}\nquorum none\nsomething else\n"),
    ] {
        assert!(TrustPolicy::parse(&bad).is_err(), "{bad}");
    }
    assert!(TrustPolicy::parse(&format!("log {vkey} https://log.example\nwitness a {w0} \ngroup g any a\n\tquorum g")).is_ok());
}

struct Server(Child, String);

impl Server {
    fn start(dir: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sealwright"));
        let mut child = command.args(["witness", "serve", dir, "--listen", "127.0.0.1:0"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim_end().rsplit("http://").next().unwrap().to_owned();
        Self(child, address)
    }

    fn get(&self, path: &str) -> String {
        let mut stream = std::net::TcpStream::connect(&self.1).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: w\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn sealwright(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sealwright")).args(args).output().unwrap()
}

fn good(args: &[&str]) -> String {
    let out = sealwright(args);
    assert_eq!(out.status.code(), Some(0), "{args:?}: {}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn two_witnesses_by_http_and_by_hand_make_a_proof_that_a_policy_accepts() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let (key, ca) = (LogKey::generate(), TestCa::new("root"));
    let entries = encoded(&day(&ca, 300));
    publish_log(&dir.path().join("log"), &key, &entries[..100]);
    let vkey = key.public.to_string();
    let w1 = good(&["witness", "init", &at("w1"), "--name", "w.example/1"]);
    let w2 = good(&["witness", "init", &at("w2"), "--name", "w.example/2"]);
    let (w1, w2) = (w1.trim_end(), w2.trim_end());
    for w in ["w1", "w2"] {
        good(&["witness", "trust", &at(w), &vkey]);
    }
    let server = Server::start(&at("w1"));
    let ask = ["witness", "ask", &at("log"), "--log-key", &vkey, "--witness", w1, "--address", &server.1, "--out", &at("cosigned")];
    good(&ask);
    let mut log = TileLog::load(&dir.path().join("log")).unwrap();
    log.append(100, &entries[100..]).unwrap();
    log.publish(&key.sign(&log)).unwrap();
    drop(log);
    good(&ask);
    let served = server.get(&format!("/{}/checkpoint", origin_hash(ORIGIN)));
    assert!(served.starts_with("HTTP/1.1 200") && served.contains("\n300\n"), "{served}");
    assert!(server.get(&format!("/{}/checkpoint", origin_hash("other"))).starts_with("HTTP/1.1 404"));

    good(&["witness", "request", &at("log"), "--log-key", &vkey, "--out", &at("request")]);
    good(&["witness", "cosign", &at("w2"), &at("request"), "--out", &at("answer")]);
    good(&["witness", "join", &at("request"), &at("answer"), "--log-key", &vkey, "--witness", w2, "--out", &at("cosigned")]);
    good(&["log", "prove", &at("log"), "299", "--log-key", &vkey, "--checkpoint", &at("cosigned"), "--out", &at("proof")]);

    std::fs::write(at("root.pem"), &ca.root_pem).unwrap();
    for (name, index) in [("device.der", 299), ("other.der", 298)] {
        std::fs::write(at(name), Entry::decode(&entries[index]).unwrap().event().certificate().unwrap()).unwrap();
    }
    std::fs::write(at("policy"), format!("log {vkey}\nwitness a {w1}\nwitness b {w2}\ngroup both all a b\nquorum both\n")).unwrap();
    let verify = |proof: &str, device: &str, more: &[&str]| {
        let base = ["verify", "--anchor", &at("root.pem"), "--at", "2026-01-01", "--proof", &at(proof), "--json", &at(device)];
        sealwright(&[&base[..], more].concat())
    };
    let out = verify("proof", "device.der", &["--log-policy", &at("policy")]);
    let json: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(json["log"]["verdict"], "good", "{json}");
    assert_eq!(
        (out.status.code(), &json["log"]["index"], json["log"]["witnesses"].as_array().unwrap().len()),
        (Some(0), &299.into(), 2),
        "{json}"
    );
    assert_eq!(verify("proof", "device.der", &["--log-key", &vkey, "--policy-hash", &"02".repeat(32)]).status.code(), Some(0));
    assert_eq!(verify("proof", "device.der", &["--log-key", &vkey, "--policy-hash", &"03".repeat(32)]).status.code(), Some(1));
    assert_eq!(verify("proof", "other.der", &["--log-key", &vkey]).status.code(), Some(1));
    assert_eq!(verify("proof", "device.der", &[]).status.code(), Some(2));
    good(&["log", "prove", &at("log"), "299", "--log-key", &vkey, "--out", &at("bare")]);
    assert_eq!(verify("bare", "device.der", &["--log-policy", &at("policy")]).status.code(), Some(1));

    // An old copy of the log is told that it is one, by file and over HTTP.
    publish_log(&dir.path().join("old"), &key, &entries[..200]);
    let refused =
        sealwright(&["witness", "ask", &at("old"), "--log-key", &vkey, "--witness", w1, "--address", &server.1, "--out", &at("x")]);
    assert!(refused.status.code() == Some(2) && String::from_utf8_lossy(&refused.stderr).contains("old copy"), "{refused:?}");
    good(&["witness", "request", &at("old"), "--log-key", &vkey, "--out", &at("request2")]);
    assert_eq!(sealwright(&["witness", "cosign", &at("w2"), &at("request2")]).status.code(), Some(1));
}
