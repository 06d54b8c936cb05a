//! kill -9 at every write and sync of a ceremony, then the same command again: one key, one
//! chain, one transcript.

mod common;

use common::{Fixture, text};

/// Runs a ceremony and kills it on entry to its n-th call `call` on one of its own files. (Inside
/// SoftHSM a kill can cost the whole token: it rewrites its files in place.) False when the
/// ceremony ended before that.
fn killed_at(fixture: &Fixture, file: &str, files: &[&str], call: &str, n: u32) -> bool {
    let mut command = fixture.command("strace");
    command.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}")]);
    command.args(["-e", &format!("inject={call}:signal=KILL:when={n}")]);
    for file in files {
        command.arg("-P").arg(fixture.path(file));
    }
    let out = command.args([env!("CARGO_BIN_EXE_sealwright"), "ceremony", file]).output().unwrap();
    !out.status.success()
}

/// The one private key of a token, as `keys list` names it, and that it is good.
fn only_key(fixture: &Fixture, serial: &str) -> String {
    let uri = format!("pkcs11:serial={serial}");
    let out = fixture.sealwright(&["keys", "check", "--module", common::SOFTHSM, "--token", &uri, "--pin-file", "pin", "--json"]);
    let value: serde_json::Value = serde_json::from_str(&common::expect_good(out)).unwrap();
    let keys = value["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 1, "{value}");
    keys[0]["fingerprint"].as_str().unwrap().to_owned()
}

fn same_key(fixture: &Fixture, certificate: &str, fingerprint: &str) {
    let command = format!("openssl x509 -in {certificate} -noout -pubkey | openssl pkey -pubin -outform DER | sha256sum");
    let out = fixture.command("sh").args(["-c", &command]).output().unwrap();
    assert!(text(&out).starts_with(fingerprint), "{certificate}: {}", text(&out));
}

/// Kills a ceremony at its 1st, 2nd, … change until it ends by itself; `prepare` makes the fixture
/// and names the new key's token, `judge` looks at the result of the second run.
fn kill_everywhere(file: &str, files: &[&str], least: u32, prepare: fn() -> (Fixture, String), judge: fn(&Fixture)) {
    let mut rounds = 0;
    for call in ["write", "fsync", "fdatasync"] {
        for n in 1.. {
            let (fixture, serial) = prepare();
            let killed = killed_at(&fixture, file, files, call, n);
            let fingerprint = fixture.ceremony(file);
            assert_eq!(only_key(&fixture, &serial), fingerprint, "killed at {call} {n}");
            same_key(&fixture, files[2], &fingerprint);
            judge(&fixture);
            assert!(std::fs::read_to_string(fixture.path(files[1])).unwrap().ends_with("</html>"), "killed at {call} {n}");
            if !killed {
                break;
            }
            rounds += 1;
        }
    }
    assert!(rounds >= least, "only {rounds} kills: they are not injected");
}

#[test]
fn a_root_ceremony_survives_a_kill_at_every_change_of_its_files() {
    let prepare = || {
        let fixture = Fixture::new();
        let serial = fixture.token("root");
        fixture.root_file(&serial, |t| t.replace("\"p384\"", "\"p256\""));
        (fixture, serial)
    };
    kill_everywhere("root.toml", &["root.journal", "root.html", "root.pem"], 18, prepare, |fixture| {
        fixture.openssl(&["verify", "-x509_strict", "-check_ss_sig", "-CAfile", "root.pem", "root.pem"]);
    });
}

#[test]
fn an_intermediate_ceremony_survives_a_kill_at_every_change_of_its_files() {
    let prepare = || {
        let fixture = Fixture::new();
        let (root, factory) = (fixture.token("root"), fixture.token("factory"));
        fixture.root_file(&root, |t| t.replace("\"p384\"", "\"p256\""));
        let fingerprint = fixture.ceremony("root.toml");
        fixture.intermediate_file(&factory, &root, &fingerprint, |t| t);
        (fixture, factory)
    };
    let files = ["factory.journal", "factory.html", "factory.pem", "factory.csr", "factory-chain.pem"];
    kill_everywhere("intermediate.toml", &files, 26, prepare, |fixture| {
        fixture.openssl(&["verify", "-x509_strict", "-CAfile", "root.pem", "factory.pem"]);
        fixture.openssl(&["req", "-in", "factory.csr", "-verify", "-noout"]);
    });
}
