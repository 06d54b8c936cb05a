//! Bad ceremony files: each is refused with file, line and remedy, and no token is written to.

mod common;

use common::{Fixture, SOFTHSM, SPY, text};

/// PKCS#11 calls that change a token or use a key.
const WRITES: [&str; 8] =
    ["C_GenerateKey", "C_CreateObject", "C_CopyObject", "C_DestroyObject", "C_SetAttributeValue", "C_Sign", "C_InitToken", "C_UnwrapKey"];

/// What is replaced by what in a good file, how the line starts that the message must name
/// (empty: not a fault of a line), and words of the message.
type Case = (&'static str, &'static str, &'static str, &'static str);

const INTERMEDIATE: [Case; 24] = [
    ("version = 1", "version = 2", "version", "version 2 is not 1"),
    ("kind = \"intermediate\"", "kind = \"intermidiate\"", "kind", "is not one of root, intermediate"),
    ("purpose = \"test\"", "purpose = \"prod\"", "purpose", "not test or production"),
    ("algorithm = ", "algoritm = ", "al", "unknown field `algoritm`"),
    ("\"p256\"", "\"p521\"", "al", "is not one of p256"),
    ("\"p256\"", "\"rsa1024\"", "al", "is not one of p256"),
    ("2026-01-01T00:00:00Z", "2031-01-01T00:00:00Z", "not_after", "not_after must be later"),
    ("2030-12-31T23:59:59Z", "2027-12-31T23:59:59Z", "not_after", "3 to 5 years"),
    ("2030-12-31T23:59:59Z", "2036-12-31T23:59:59Z", "not_after", "3 to 5 years"),
    ("2030-12-31T23:59:59Z", "2030-12-31T23:59:59", "not_after", "not a UTC time"),
    ("2030-12-31T23:59:59Z", "2030-02-31T23:59:59Z", "not_after", "expected"),
    ("2026-01-01T00:00:00Z", "2025-06-01T00:00:00Z", "[certificate]", "before the issuer's"),
    ("extended_key_usage = [\"client-auth\", \"server-auth\"]", "", "[certificate]", "extended_key_usage is missing"),
    ("\"client-auth\", ", "\"clientauth\", ", "extended_key_usage", "not client-auth"),
    ("[\"client-auth\", \"server-auth\"]", "\"client-auth\"", "extended_key_usage", "expected a sequence"),
    ("crl_urls = [", "policies = [\"1.2.x\"]\ncrl_urls = [", "policies", "not an object identifier"),
    ("http://pki.example.com/root-r1.crl", "https://pki.example.com/r.crl", "crl_urls", "not an http:// URL"),
    ("country = \"DE\"", "country = \"Germany\"", "subject", "1 to 2 characters"),
    ("common_name = \"Example Devices TEST Factory CA 1\"", "common_name = \"Example Devices Factory\"", "subject", "word TEST"),
    ("common_name = \"Example Devices TEST Factory CA 1\"", "common_name = \"Example Devices TEST Root R1\"", "subject", "issuer's name"),
    ("extended_key_usage", "path_length = 1\nextended_key_usage", "path_length", "path_length must be 0"),
    ("chain = \"factory-chain.pem\"", "chain = \"factory.pem\"", "chain", "same path"),
    ("request = \"factory.csr\"", "request = \"root.pem\"", "", "overwritten"),
    ("request = \"factory.csr\"", "request = \"absent/factory.csr\"", "", "create it first"),
];

#[test]
fn twenty_four_bad_files_write_nothing_to_a_token() {
    let fixture = Fixture::new();
    let (root, factory) = (fixture.token("root"), fixture.token("factory"));
    fixture.root_file(&root, |t| t);
    let fingerprint = fixture.ceremony("root.toml");
    let try_with = |from: &str, to: &str| {
        fixture.intermediate_file(&factory, &root, &fingerprint, |t| {
            assert!(t.contains(from), "{from}");
            t.replacen(from, to, 1).replace(SOFTHSM, SPY)
        });
        let mut command = fixture.command(env!("CARGO_BIN_EXE_sealwright"));
        command.args(["ceremony", "intermediate.toml"]).env("PKCS11SPY", SOFTHSM).env("PKCS11SPY_OUTPUT", fixture.path("spy"));
        command.output().unwrap()
    };
    for (from, to, start, words) in INTERMEDIATE {
        let out = try_with(from, to);
        let message = text(&out);
        let file = std::fs::read_to_string(fixture.path("intermediate.toml")).unwrap();
        let line = file.lines().position(|l| !start.is_empty() && l.starts_with(start)).map(|n| n + 1);
        assert_eq!(out.status.code(), Some(if line.is_none() { 2 } else { 1 }), "{to}: {message}");
        assert!(message.contains(words), "{to}: {message}");
        assert!(line.is_none_or(|n| message.contains(&format!("intermediate.toml:{n}:"))), "{to}: {message}");
        assert!(!fixture.path("spy").exists(), "{to}: the module was loaded");
        assert!(!fixture.path("factory.journal").exists(), "{to}");
    }
    // What only the tokens can tell is refused after the login and before any write.
    let made = fixture.pkcs11_tool("factory", &["--keypairgen", "--key-type", "EC:prime256v1", "--label", "taken", "--id", "01"]);
    assert!(made.status.success(), "{}", text(&made));
    let at_the_token = [
        ("label = \"Example Devices TEST Factory CA 1\"", "label = \"taken\"", "key exists"),
        (factory.as_str(), "0000000000000000", "no such token"),
        ("pin_file = \"pin\"", "pin_file = \"wrong-pin\"", "wrong PIN"),
        ("pin_file = \"pin\"", "pin_file = \"absent\"", "no PIN"),
    ];
    for (from, to, words) in at_the_token {
        let out = try_with(from, to);
        assert_eq!(out.status.code(), Some(2), "{to}: {}", text(&out));
        assert!(text(&out).contains(words), "{to}: {}", text(&out));
        assert!(!fixture.path("factory.journal").exists(), "{to}");
    }
    let log = std::fs::read_to_string(fixture.path("spy")).unwrap();
    assert!(log.contains("C_Login"), "{log}");
    for call in WRITES {
        assert!(!log.contains(call), "{call}: {log}");
    }
    // The same spy sees the writes of the good file.
    let out = try_with("version = 1", "version = 1");
    assert_eq!(out.status.code(), Some(0), "{}", text(&out));
    let log = std::fs::read_to_string(fixture.path("spy")).unwrap();
    assert!(log.contains("C_GenerateKeyPair") && log.contains("C_Sign"), "{log}");
}

#[test]
fn every_fault_of_a_file_is_reported_at_once() {
    let fixture = Fixture::new();
    fixture.root_file("00", |t| t.replace("\"p384\"", "\"p224\"").replace("2050", "2030").replace("country = \"DE\"", "country = \"de\""));
    let out = fixture.sealwright(&["ceremony", "root.toml", "--dry-run"]);
    assert_eq!(out.status.code(), Some(1));
    let message = text(&out);
    for words in ["is not one of p256", "10 to 50 years", "two capital letters"] {
        assert!(message.contains(words), "{message}");
    }
    assert_eq!(message.matches("root.toml:").count(), 3, "{message}");
}

#[test]
fn an_issuer_that_may_not_issue_is_refused() {
    let fixture = Fixture::new();
    let (root, factory) = (fixture.token("root"), fixture.token("factory"));
    fixture.root_file(&root, |t| t.replace("not_before", "path_length = 0\nnot_before"));
    let fingerprint = fixture.ceremony("root.toml");
    fixture.intermediate_file(&factory, &root, &fingerprint, |t| t);
    let out = fixture.sealwright(&["ceremony", "intermediate.toml", "--dry-run"]);
    assert!(text(&out).contains("may not issue an intermediate"), "{}", text(&out));
    let other = Fixture::new();
    let root = other.token("root");
    other.root_file(&root, |t| t);
    let fingerprint = other.ceremony("root.toml");
    other.intermediate_file(&factory, &root, &"ab".repeat(32), |t| t);
    let out = other.sealwright(&["ceremony", "intermediate.toml", "--dry-run"]);
    assert!(text(&out).contains(&format!("holds the key {fingerprint}")), "{}", text(&out));
}
