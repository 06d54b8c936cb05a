//! Batches over the real socket: NDJSON in and out, bad lines, cut connections, the command.

mod common;

use common::factory::Factory;
use common::{expect_good, text};
use sealwright::x509::pem;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

fn request(number: usize) -> Value {
    let key = rcgen::KeyPair::generate().unwrap();
    let csr = rcgen::CertificateParams::default().serialize_request(&key).unwrap();
    let csr = pem::encode(pem::REQUEST, csr.der());
    json!({ "request_id": format!("b-{number}"), "profile": "generic-device", "device": { "kind": "free", "id": format!("unit-{number}") }, "csr": csr })
}

fn lines(requests: &[Value]) -> String {
    requests.iter().map(|r| format!("{r}\n")).collect()
}

fn answers(text: &str) -> Vec<Value> {
    text.lines().map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e}: {l}"))).collect()
}

#[test]
fn good_lines_are_answered_whatever_stands_between_them() {
    let factory = Factory::running();
    let good: Vec<Value> = (0..5).map(request).collect();
    let mut body = lines(&good[..2]);
    body += "not json\n\n";
    body += &format!("{{\"request_id\":\"{}\"}}\n", "x".repeat(70_000));
    let mut unknown = good[2].clone();
    unknown["profile"] = json!("no-such-profile");
    body += &lines(&[unknown]);
    body += &lines(&good[3..]);
    std::fs::write(factory.path("batch.ndjson"), &body).unwrap();
    let url = "http://localhost/v1/certificates:batch";
    let (code, text) = factory.curl(&["--data-binary", "@batch.ndjson", url]);
    assert_eq!(code, 200, "{text}");
    let by_line: BTreeMap<u64, Value> = answers(&text).into_iter().map(|a| (a["line"].as_u64().unwrap(), a)).collect();
    let status = |line: u64| by_line[&line]["problem"]["status"].as_u64().unwrap_or(201);
    assert_eq!((1..=7).map(status).collect::<Vec<_>>(), [201, 201, 400, 413, 403, 201, 201]);
    assert_eq!(factory.status()["certificates"], 4);

    // Sent again, it is answered with the same bytes.
    let (_, again) = factory.curl(&["--data-binary", "@batch.ndjson", url]);
    for answer in answers(&again) {
        let first = &by_line[&answer["line"].as_u64().unwrap()];
        assert_eq!(answer["certificate"]["certificate"], first["certificate"]["certificate"]);
    }
    assert_eq!(factory.status()["certificates"], 4);
}

#[test]
fn a_connection_cut_in_the_middle_loses_nothing_that_was_begun() {
    let factory = Factory::running();
    let requests: Vec<Value> = (0..40).map(request).collect();
    let body = lines(&requests);
    let mut stream = UnixStream::connect(factory.path("sealwright.sock")).unwrap();
    let head = format!("POST /v1/certificates:batch HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
    // Half of the lines, the last one torn; then nobody listens any more.
    let half = lines(&requests[..20]).len() + 100;
    stream.write_all((head + &body[..half]).as_bytes()).unwrap();
    let mut some = [0u8; 64];
    stream.read_exact(&mut some).unwrap();
    assert!(some.starts_with(b"HTTP/1.1 200"));
    drop(stream);
    std::thread::sleep(Duration::from_millis(500));
    let begun = factory.status()["certificates"].as_u64().unwrap();
    assert!((1..=20).contains(&begun), "{begun}");

    std::fs::write(factory.path("all.ndjson"), &body).unwrap();
    let args = ["enroll", "--socket", "sealwright.sock", "--batch", "all.ndjson", "--out", "answers.ndjson", "--json"];
    let report: Value = serde_json::from_str(&expect_good(factory.fixture.sealwright(&args))).unwrap();
    assert_eq!((&report["replayed"], &report["issued"]), (&json!(begun), &json!(40 - begun)));
    assert_eq!(factory.status()["certificates"], 40);
    let written = answers(&std::fs::read_to_string(factory.path("answers.ndjson")).unwrap());
    assert_eq!(written.len(), 40);
    let over = factory.fixture.sealwright(&args);
    assert_eq!(over.status.code(), Some(2), "an existing file of answers must not be overwritten: {}", text(&over));
}

#[test]
fn the_command_reports_refusals_and_bad_files() {
    let factory = Factory::running();
    let mut requests: Vec<Value> = (0..3).map(request).collect();
    requests[1]["csr"] = requests[0]["csr"].clone();
    std::fs::write(factory.path("all.ndjson"), lines(&requests)).unwrap();
    let run = |file: &str, out: &str| factory.fixture.sealwright(&["enroll", "--socket", "sealwright.sock", "--batch", file, "--out", out]);
    let out = run("all.ndjson", "a.ndjson");
    assert_eq!(out.status.code(), Some(1), "{}", text(&out));
    assert!(text(&out).contains("2 issued, 0 answered as before, 1 refused"), "{}", text(&out));
    assert!(text(&out).contains("key-unique"), "{}", text(&out));

    std::fs::write(factory.path("twice.ndjson"), lines(&[requests[2].clone(), requests[2].clone()])).unwrap();
    let out = run("twice.ndjson", "b.ndjson");
    assert_eq!(out.status.code(), Some(2));
    assert!(text(&out).contains("twice.ndjson:2: request id 'b-2' occurs twice"), "{}", text(&out));
}
