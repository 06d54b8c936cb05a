//! The token layer against SoftHSM, judged by pkcs11-tool, pkcs11-spy and aws-lc.

mod common;

use common::{Fixture, SOFTHSM, SPY, expect_good, text};
use sealwright::token::{Module, Pin, SignerPool, Token, TokenError, TokenUri};
use sealwright::types::{Fingerprint, KeyAlgorithm};
use sealwright::x509::keys;
use sealwright::x509::sign::ToSign;
use std::path::Path;

fn open(fixture: &Fixture, label: &str) -> Result<Token, TokenError> {
    let pin = Pin::from_file(&fixture.path("pin"))?;
    Token::open(&Module::load(Path::new(SOFTHSM))?, &TokenUri::token(None, Some(label))?, &pin)
}

/// Runs `body` in a process of its own that sees a fresh fixture with the token `T`.
fn in_fixture(name: &str, body: fn(&Fixture)) {
    match Fixture::inherited() {
        Some(fixture) => body(&fixture),
        None => {
            let fixture = Fixture::new();
            fixture.token("T");
            fixture.rerun(name);
        }
    }
}

#[test]
fn every_algorithm_generates_reads_back_and_signs() {
    in_fixture("every_algorithm_generates_reads_back_and_signs", |fixture| {
        let token = open(fixture, "T").unwrap();
        assert!(token.info().soft);
        let all = [KeyAlgorithm::P256, KeyAlgorithm::P384, KeyAlgorithm::Rsa(2048), KeyAlgorithm::Rsa(3072), KeyAlgorithm::Ed25519];
        for algorithm in all {
            let label = format!("key {algorithm}");
            let key = token.generate_key(algorithm, &label).unwrap();
            assert_eq!(key.algorithm(), algorithm);
            assert!(key.attributes().offences().is_empty());
            assert_eq!(key.attributes().iter().find(|(n, _)| *n == "CKA_LOCAL").unwrap().1, Some(true));
            let again = token.find_key(&key.fingerprint()).unwrap();
            assert_eq!(again.spki_der(), key.spki_der());
            let by_uri = token.find_key_by_uri(&token.key_uri(&key).unwrap()).unwrap();
            assert_eq!(by_uri.fingerprint(), key.fingerprint());
            let text = "a checkpoint\n1\nAAAA\n";
            let signature = token.sign(&again, ToSign::Checkpoint(text)).unwrap();
            keys::verify(key.spki_der(), algorithm.signature_algorithm(), text.as_bytes(), &signature).unwrap();
            assert!(matches!(token.generate_key(algorithm, &label), Err(TokenError::KeyExists(l)) if l == label));
        }
        assert_eq!(token.keys().unwrap().len(), all.len());
        assert!(matches!(token.find_key(&Fingerprint::of_spki(b"nothing")), Err(TokenError::NoSuchKey(_))));
    });
}

#[test]
fn a_pool_signs_with_several_keys_at_once_and_stops_cleanly() {
    in_fixture("a_pool_signs_with_several_keys_at_once_and_stops_cleanly", |fixture| {
        let token = open(fixture, "T").unwrap();
        let first = token.generate_key(KeyAlgorithm::P256, "issuer").unwrap();
        let second = token.generate_key(KeyAlgorithm::P384, "log").unwrap();
        drop(token);
        let module = Module::load(Path::new(SOFTHSM)).unwrap();
        let uri = TokenUri::token(None, Some("T")).unwrap();
        let pin = Pin::from_file(&fixture.path("pin")).unwrap();
        let names = [first.fingerprint(), second.fingerprint()];
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        // Twice: a pool that was dropped leaves the module fit for another.
        for _ in 0..2 {
            let pool = std::sync::Arc::new(SignerPool::start(&module, &uri, &pin, &names, 2).unwrap());
            let tasks: Vec<_> = (0..200)
                .map(|n: usize| {
                    let pool = pool.clone();
                    runtime.spawn(async move {
                        let name = names[n % 2];
                        let message = format!("message {n}");
                        let signature = pool.sign(&name, ToSign::Checkpoint(&message)).await.unwrap();
                        let algorithm = pool.algorithm(&name).unwrap().signature_algorithm();
                        keys::verify(pool.spki_der(&name).unwrap(), algorithm, message.as_bytes(), &signature).unwrap();
                    })
                })
                .collect();
            for task in tasks {
                runtime.block_on(task).unwrap();
            }
            let unknown = runtime.block_on(pool.sign(&Fingerprint::of_spki(b"x"), ToSign::Checkpoint("x")));
            assert!(matches!(unknown, Err(TokenError::NoSuchKey(_))));
        }
        let missing = SignerPool::start(&module, &uri, &pin, &[Fingerprint::of_spki(b"x")], 1);
        assert!(matches!(missing, Err(TokenError::NoSuchKey(_))));
    });
}

#[test]
fn a_full_queue_is_refused_at_once() {
    in_fixture("a_full_queue_is_refused_at_once", |fixture| {
        let token = open(fixture, "T").unwrap();
        let key = token.generate_key(KeyAlgorithm::Rsa(4096), "slow").unwrap();
        drop(token);
        let module = Module::load(Path::new(SOFTHSM)).unwrap();
        let pin = Pin::from_file(&fixture.path("pin")).unwrap();
        let name = key.fingerprint();
        let pool = SignerPool::start(&module, &TokenUri::token(None, Some("T")).unwrap(), &pin, &[name], 1).unwrap();
        let pool = std::sync::Arc::new(pool);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let results = runtime.block_on(async {
            let tasks: Vec<_> = (0..400)
                .map(|_| {
                    let pool = pool.clone();
                    tokio::spawn(async move { pool.sign(&name, ToSign::Checkpoint("m")).await })
                })
                .collect();
            let mut results = Vec::new();
            for task in tasks {
                results.push(task.await.unwrap());
            }
            results
        });
        let good = results.iter().filter(|r| r.is_ok()).count();
        let refused = results.iter().filter(|r| matches!(r, Err(TokenError::Unavailable(_)))).count();
        assert!(good >= 256 && refused > 0 && good + refused == 400, "{good} good, {refused} refused");
    });
}

#[test]
fn a_key_with_pkcs11_tool_defaults_is_refused_and_every_offence_is_named() {
    let fixture = Fixture::new();
    let serial = fixture.token("T");
    let made = fixture.pkcs11_tool("T", &["--keypairgen", "--key-type", "EC:prime256v1", "--label", "lax", "--id", "01"]);
    assert!(made.status.success(), "{}", text(&made));
    let uri = format!("pkcs11:serial={serial}");
    let args = |action| ["keys", action, "--module", SOFTHSM, "--token", uri.as_str(), "--pin-file", "pin"];
    let check = fixture.sealwright(&args("check"));
    assert_eq!(check.status.code(), Some(1));
    let words = text(&check);
    for attribute in ["CKA_MODIFIABLE", "CKA_COPYABLE", "CKA_SIGN_RECOVER", "CKA_DECRYPT", "CKA_UNWRAP", "CKA_DERIVE"] {
        assert!(words.contains(&format!("{attribute} must be false and is true")), "{attribute}: {words}");
    }
    assert!(words.contains("remedy: generate a new key"), "{words}");
    assert!(expect_good(fixture.sealwright(&args("list"))).contains("refused"));
}

#[test]
fn loading_such_a_key_names_the_offences_too() {
    in_fixture("loading_such_a_key_names_the_offences_too", |fixture| {
        let made = fixture.pkcs11_tool("T", &["--keypairgen", "--key-type", "EC:prime256v1", "--label", "lax", "--id", "01"]);
        assert!(made.status.success(), "{}", text(&made));
        let error = open(fixture, "T").unwrap().find_key_by_label("lax").unwrap_err();
        let TokenError::WrongKey { label, offences } = &error else { panic!("{error}") };
        assert_eq!(label, "lax");
        assert!(offences.len() >= 6, "{error}");
        assert!(error.to_string().contains("sealwright ceremony"), "{error}");
    });
}

#[test]
fn a_wrong_pin_costs_exactly_one_login() {
    let fixture = Fixture::new();
    let serial = fixture.token("T");
    let uri = format!("pkcs11:serial={serial}");
    let out = fixture
        .command(env!("CARGO_BIN_EXE_sealwright"))
        .args(["keys", "list", "--module", SPY, "--token", &uri, "--pin-file", "wrong-pin"])
        .env("PKCS11SPY", SOFTHSM)
        .env("PKCS11SPY_OUTPUT", fixture.path("spy"))
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(2));
    assert!(text(&out).contains("wrong PIN"), "{}", text(&out));
    let log = std::fs::read_to_string(fixture.path("spy")).unwrap();
    assert_eq!(log.matches(": C_Login\n").count(), 1, "{log}");
}

#[test]
fn a_refused_pin_latches_the_token_for_this_process() {
    in_fixture("a_refused_pin_latches_the_token_for_this_process", |fixture| {
        let module = Module::load(Path::new(SOFTHSM)).unwrap();
        let uri = TokenUri::token(None, Some("T")).unwrap();
        let wrong = Pin::from_file(&fixture.path("wrong-pin")).unwrap();
        let first = Token::open(&module, &uri, &wrong).unwrap_err();
        assert!(matches!(&first, TokenError::PinRefused(m) if m.contains("C_Login")), "{first}");
        let right = Pin::from_file(&fixture.path("pin")).unwrap();
        let second = Token::open(&module, &uri, &right).unwrap_err();
        assert!(matches!(&second, TokenError::PinRefused(m) if m.contains("restart")), "{second}");
    });
}

#[test]
fn tokens_are_named_by_serial_and_exactly_one_must_match() {
    let fixture = Fixture::new();
    let (first, second) = (fixture.token("same"), fixture.token("other"));
    // SoftHSM accepts two tokens of one label; make the second one such.
    fixture.init_token("same");
    let list = |uri: &str| fixture.sealwright(&["keys", "list", "--module", SOFTHSM, "--token", uri, "--pin-file", "pin"]);
    expect_good(list(&format!("pkcs11:serial={first}")));
    expect_good(list(&format!("pkcs11:serial={second};token=other")));
    for (uri, words) in [("pkcs11:token=same", "more than one"), ("pkcs11:serial=0000", "is not in"), ("pkcs11:slot-id=0", "serial")] {
        let out = list(uri);
        assert_eq!(out.status.code(), Some(2));
        assert!(text(&out).contains(words), "{}", text(&out));
    }
    let tokens = expect_good(fixture.sealwright(&["keys", "tokens", "--module", SOFTHSM, "--json"]));
    let tokens: serde_json::Value = serde_json::from_str(&tokens).unwrap();
    assert_eq!(tokens["tokens"].as_array().unwrap().len(), 3);
    let absent = fixture.sealwright(&["keys", "tokens", "--module", "/nowhere/lib.so"]);
    assert_eq!(absent.status.code(), Some(2));
    assert!(text(&absent).contains("vendor's PKCS#11 library"), "{}", text(&absent));
}
