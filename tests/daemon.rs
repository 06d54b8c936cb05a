//! The real daemon on a real token: issue, replay, refuse, restart.

mod common;

use common::factory::Factory;
use common::{expect_good, text};
use serde_json::{Value, json};

fn body(id: &str, profile: &str, device: &str, csr: &str) -> String {
    json!({ "request_id": id, "profile": profile, "device": { "kind": "free", "id": device }, "csr": csr }).to_string()
}

fn post(factory: &Factory, body: &str) -> (u16, Value) {
    std::fs::write(factory.path("body.json"), body).unwrap();
    let (code, answer) = factory.curl(&["--data-binary", "@body.json", "http://localhost/v1/certificates"]);
    (code, serde_json::from_str(&answer).unwrap_or(Value::String(answer)))
}

#[test]
fn curl_gets_a_certificate_that_openssl_accepts_and_a_restart_issues_again() {
    let mut factory = Factory::running();
    let csr = std::fs::read_to_string(factory.request("a")).unwrap();
    let (code, answer) = post(&factory, &body("r-1", "generic-device", "unit-1", &csr));
    assert_eq!(code, 201, "{answer}");
    std::fs::write(factory.path("unit.pem"), answer["certificate"].as_str().unwrap()).unwrap();
    std::fs::write(factory.path("chain.pem"), answer["chain"][0].as_str().unwrap()).unwrap();
    let verify = ["verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", "root.pem", "-untrusted", "chain.pem", "unit.pem"];
    assert!(factory.fixture.openssl(&verify).contains("unit.pem: OK"));
    let certified = factory.fixture.openssl(&["x509", "-in", "unit.pem", "-pubkey", "-noout"]);
    assert_eq!(certified, factory.fixture.openssl(&["req", "-in", "a.csr", "-pubkey", "-noout"]), "the key is the requester's");

    let serial = answer["serial"].as_str().unwrap();
    let (code, again) =
        factory.curl(&["-H", "Accept: application/pem-certificate-chain", &format!("http://localhost/v1/certificates/{serial}")]);
    assert_eq!((code, again.trim_end()), (200, answer["certificate"].as_str().unwrap().trim_end()));
    let (code, chain) = factory.curl(&["http://localhost/v1/chain"]);
    assert_eq!((code, chain.matches("BEGIN CERTIFICATE").count()), (200, answer["chain"].as_array().unwrap().len()));

    factory.stop();
    factory.start();
    let (code, replay) = post(&factory, &body("r-1", "generic-device", "unit-1", &csr));
    assert_eq!((code, &replay["certificate"], &replay["replayed"]), (200, &answer["certificate"], &json!(true)));
    let b = factory.request("b");
    assert_ne!(factory.enrolled("r-2", "unit-2", &b)["serial"], answer["serial"]);
    assert_eq!(factory.status()["certificates"], 2);
}

#[test]
fn every_bad_request_names_its_rule_and_the_daemon_lives() {
    let factory = Factory::running();
    let csr = std::fs::read_to_string(factory.request("a")).unwrap();
    let other = std::fs::read_to_string(factory.request("b")).unwrap();
    assert_eq!(post(&factory, &body("r-1", "generic-device", "unit-1", &csr)).0, 201);

    let der = sealwright::x509::pem::decode_all("CERTIFICATE REQUEST", &csr).unwrap().remove(0);
    let pem = |der: &[u8]| sealwright::x509::pem::encode("CERTIFICATE REQUEST", der);
    let mut unproven = der.clone();
    let last = unproven.len() - 1;
    unproven[last] ^= 1;
    let deep: Vec<u8> = std::iter::repeat_n([0x30u8, 0x80], 10_000).flatten().collect();
    let cases: Vec<(String, u16, &str)> = vec![
        (body("r-2", "generic-device", "u", "garbage"), 400, "PEM text or DER"),
        (body("r-2", "generic-device", "u", &pem(&der[..100])), 400, "csr"),
        (body("r-2", "generic-device", "u", &pem(&deep)), 400, "csr"),
        (body("r-2", "generic-device", "u", &pem(&vec![0x30; 20_000])), 400, "csr"),
        (body("r-2", "generic-device", "u", &pem(&unproven)), 400, "proof"),
        (body("r-2", "no-such-profile", "u", &csr), 403, "no-such-profile"),
        (body("r-1", "generic-device", "unit-1", &other), 409, "request id"),
        (body("r-2", "generic-device", "two words", &csr), 400, "id:"),
        (body("r-2", "generic-device", "unit-2", &csr), 422, "key-unique"),
        (body("", "generic-device", "unit-2", &csr), 400, "request_id"),
        (body("r-2", "generic-device", "u", &csr).replace("\"profile\"", "\"profil\""), 400, "unknown field `profil`"),
        ("{".to_owned(), 400, "not a certificate request"),
        (body("r-2", "generic-device", "u", &"A".repeat(70_000)), 413, "more than 65536 bytes"),
    ];
    let refusals = cases.len();
    for (request, want, words) in cases {
        let (code, answer) = post(&factory, &request);
        let shown = answer.to_string();
        assert_eq!(code, want, "{shown}");
        assert!(shown.contains(words), "{words} is not in {shown}");
        assert!(shown.contains("urn:sealwright:problem:"), "{shown}");
    }
    let (code, _) = factory.curl(&["http://localhost/v2/nothing"]);
    assert_eq!(code, 404);
    let health = factory.status();
    assert_eq!(health["status"], "ok");
    // One entry for the start, one for the certificate, one for each refusal (I6).
    assert_eq!(health["log_size"], 2 + refusals as u64);
}

#[test]
fn racing_callers_with_one_request_get_one_certificate() {
    let factory = Factory::running();
    let csr = std::fs::read_to_string(factory.request("a")).unwrap();
    std::fs::write(factory.path("race.json"), body("same", "generic-device", "unit", &csr)).unwrap();
    let answers: Vec<(u16, String)> = std::thread::scope(|scope| {
        let call = || factory.curl(&["--data-binary", "@race.json", "http://localhost/v1/certificates"]);
        let threads: Vec<_> = (0..16).map(|_| scope.spawn(call)).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    let certificates: std::collections::HashSet<String> =
        answers.iter().map(|(_, body)| serde_json::from_str::<Value>(body).unwrap()["certificate"].as_str().unwrap().to_owned()).collect();
    assert_eq!(certificates.len(), 1);
    assert_eq!(answers.iter().filter(|(code, _)| *code == 201).count(), 1);
    assert_eq!(factory.status()["certificates"], 1);
}

#[test]
fn a_uid_without_a_role_is_refused_and_logged() {
    let mut factory = Factory::new();
    let me = rustix::process::getuid().as_raw();
    factory.reconfigure(&format!("uids = [{me}]"), &format!("uids = [{}]", me + 1));
    factory.start_unanswered();
    let csr = std::fs::read_to_string(factory.request("a")).unwrap();
    let (code, answer) = post(&factory, &body("r", "generic-device", "u", &csr));
    assert_eq!(code, 403, "{answer}");
    assert!(answer.to_string().contains(&format!("uid {me} has no role")), "{answer}");
    assert!(factory.log().contains("refused: no role"), "{}", factory.log());
}

#[test]
fn what_stops_a_start_names_the_remedy() {
    let factory = Factory::new();
    let expect = |words: &str| {
        let out = factory.daemon_command().output().unwrap();
        assert_eq!(out.status.code(), Some(2), "{}", text(&out));
        assert!(text(&out).contains(words), "{words} is not in {}", text(&out));
    };
    let again = factory.daemon_command().arg("--init").output().unwrap();
    assert_eq!(again.status.code(), Some(2), "an existing store must not be made anew: {}", text(&again));

    factory.reconfigure("[store]", "[stor]");
    expect("unknown field `stor`");
    factory.reconfigure("[stor]", "[store]");
    factory.reconfigure(&factory.serial, "00000000");
    expect("no such token");
    factory.reconfigure("00000000\"", &format!("{}\"", factory.serial));
    common::factory::wrong_pin(&factory);
    expect("wrong PIN");
}

#[test]
fn a_second_daemon_on_the_same_store_exits() {
    let factory = Factory::running();
    let out = factory.daemon_command().output().unwrap();
    assert_eq!(out.status.code(), Some(2));
    assert!(text(&out).contains("in use by another process"), "{}", text(&out));
    expect_good(factory.fixture.sealwright(&["status", "--socket", "sealwright.sock"]));
}

#[test]
fn sigterm_finishes_the_request_in_hand() {
    use std::io::{Read, Write};
    let mut factory = Factory::running();
    let csr = std::fs::read_to_string(factory.request("a")).unwrap();
    let body = body("r-1", "generic-device", "unit-1", &csr);
    let mut stream = std::os::unix::net::UnixStream::connect(factory.path("sealwright.sock")).unwrap();
    let (first, rest) = body.split_at(body.len() / 2);
    write!(stream, "POST /v1/certificates HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{first}", body.len()).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    let finishing = std::thread::spawn(move || {
        factory.stop();
        factory
    });
    std::thread::sleep(std::time::Duration::from_millis(300));
    stream.write_all(rest.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    let mut factory = finishing.join().unwrap();
    assert!(!factory.path("sealwright.sock").exists());
    factory.start();
    assert_eq!(factory.status()["certificates"], 1);
}
