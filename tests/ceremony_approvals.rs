//! M-of-N approvals of a plan, made and verified with stock ssh-keygen.

mod common;

use common::{Fixture, expect_good, text};

const TABLE: &str = "\n[approvals]\nroster = \"operators\"\nrequired = 2\nsignatures = [\"alice.sig\", \"bob.sig\", \"carol.sig\"]\n";

/// A fixture with a root ceremony that two of alice, bob and carol must approve.
fn fixture(kinds: [&str; 3]) -> Fixture {
    let fixture = Fixture::new();
    let serial = fixture.token("root");
    fixture.root_file(&serial, |t| t + TABLE);
    let mut roster = String::new();
    for (name, kind) in ["alice", "bob", "carol"].iter().zip(kinds) {
        let made = fixture.command("ssh-keygen").args(["-q", "-t", kind, "-N", "", "-C", name, "-f", name]).output().unwrap();
        assert!(made.status.success(), "{}", text(&made));
        let public = std::fs::read_to_string(fixture.path(&format!("{name}.pub"))).unwrap();
        roster.push_str(&format!("{name}@example.com namespaces=\"ceremony@sealwright\" {public}"));
    }
    std::fs::write(fixture.path("operators"), roster).unwrap();
    save_plan(&fixture);
    fixture
}

fn save_plan(fixture: &Fixture) {
    std::fs::write(fixture.path("plan.txt"), expect_good(fixture.sealwright(&["ceremony", "root.toml", "--dry-run"]))).unwrap();
}

fn sign(fixture: &Fixture, name: &str, namespace: &str, file: &str) {
    let _ = std::fs::remove_file(fixture.path("plan.txt.sig"));
    let made = fixture.command("ssh-keygen").args(["-q", "-Y", "sign", "-n", namespace, "-f", name, "plan.txt"]).output().unwrap();
    assert!(made.status.success(), "{}", text(&made));
    std::fs::rename(fixture.path("plan.txt.sig"), fixture.path(file)).unwrap();
}

fn refused(fixture: &Fixture, words: &str) {
    let out = fixture.sealwright(&["ceremony", "root.toml"]);
    assert_eq!(out.status.code(), Some(2), "{}", text(&out));
    assert!(text(&out).contains(words), "{words}: {}", text(&out));
    assert!(!fixture.path("root.journal").exists());
}

const APPROVE: &str = "ceremony@sealwright";

#[test]
fn two_of_three_approve_and_ssh_keygen_agrees() {
    let fixture = fixture(["ed25519", "ecdsa", "ed25519"]);
    sign(&fixture, "alice", APPROVE, "alice.sig");
    refused(&fixture, "1 of 2 required approvals; missing: bob.sig, carol.sig");
    sign(&fixture, "bob", APPROVE, "bob.sig");
    for name in ["alice", "bob"] {
        let command = format!("ssh-keygen -Y verify -f operators -I {name}@example.com -n {APPROVE} -s {name}.sig < plan.txt");
        let verified = fixture.command("sh").args(["-c", &command]).output().unwrap();
        assert!(text(&verified).contains("Good"), "{}", text(&verified));
    }
    fixture.ceremony("root.toml");
    let transcript = std::fs::read_to_string(fixture.path("root.html")).unwrap();
    assert!(transcript.contains("alice@example.com") && transcript.contains("bob@example.com"));
    assert!(!transcript.contains("carol@example.com"));
}

#[test]
fn what_does_not_count_is_refused_by_name() {
    let fixture = fixture(["ed25519", "ed25519", "ed25519"]);
    sign(&fixture, "alice", APPROVE, "alice.sig");
    sign(&fixture, "alice", APPROVE, "bob.sig");
    refused(&fixture, "bob.sig: alice@example.com approved twice");
    sign(&fixture, "bob", "file", "bob.sig");
    refused(&fixture, "bob.sig: bob@example.com signed for the namespace 'file'");
    std::fs::write(fixture.path("bob.sig"), "hello").unwrap();
    refused(&fixture, "bob.sig: not an armoured SSH signature");
    let made = fixture.command("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f", "mallory"]).output().unwrap();
    assert!(made.status.success());
    sign(&fixture, "mallory", APPROVE, "bob.sig");
    refused(&fixture, "which is not in the roster");
}

#[test]
fn an_approval_of_another_plan_is_refused() {
    let fixture = fixture(["ed25519", "ed25519", "ed25519"]);
    sign(&fixture, "alice", APPROVE, "alice.sig");
    sign(&fixture, "bob", APPROVE, "bob.sig");
    let good = std::fs::read_to_string(fixture.path("root.toml")).unwrap();
    std::fs::write(fixture.path("root.toml"), good.replace("2050-12-31", "2049-12-31")).unwrap();
    refused(&fixture, "alice.sig: alice@example.com signed something else than this text");
    std::fs::write(fixture.path("root.toml"), &good).unwrap();
    fixture.ceremony("root.toml");
}

#[test]
fn an_expired_key_does_not_count() {
    let fixture = fixture(["ed25519", "ed25519", "ed25519"]);
    let roster = std::fs::read_to_string(fixture.path("operators")).unwrap();
    let roster = roster.replacen("namespaces=", "valid-before=\"20200101Z\",namespaces=", 1);
    std::fs::write(fixture.path("operators"), roster).unwrap();
    save_plan(&fixture);
    sign(&fixture, "alice", APPROVE, "alice.sig");
    sign(&fixture, "bob", APPROVE, "bob.sig");
    refused(&fixture, "alice.sig: alice@example.com's key has expired");
}
