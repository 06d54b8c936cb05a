//! The daemon with its token in a signer process.

mod common;

use common::factory::Factory;
use common::{PIN, expect_good, kill, private_file, text};
use std::time::{Duration, Instant};

/// A factory whose daemon uses the example guard; `change` edits it.
fn guarded(change: impl Fn(String) -> String) -> Factory {
    let factory = Factory::new();
    let config = std::fs::read_to_string(factory.path("daemon.toml")).unwrap();
    let log = config.lines().find_map(|l| l.strip_prefix("key = \"")).unwrap().trim_end_matches('"');
    let guard = include_str!("../config/guard.toml").replace(&"0".repeat(64), log);
    private_file(&factory.path("guard.toml"), &change(guard));
    std::fs::create_dir(factory.path("counters")).unwrap();
    factory.reconfigure("pin_file = \"pin\"", "pin_file = \"pin\"\nguard = \"guard.toml\"");
    factory
}

/// Process id of the daemon's signer.
fn signer(factory: &Factory) -> Option<String> {
    let daemon = factory.daemon.as_ref().unwrap().id();
    let processes = std::fs::read_dir("/proc").unwrap().flatten().map(|e| e.file_name().to_string_lossy().into_owned());
    // proc(5): the parent is the second field after the command in parentheses.
    let parent = |pid: &str| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse::<u32>().ok()
    };
    processes.into_iter().find(|pid| parent(pid) == Some(daemon))
}

#[test]
fn the_daemon_issues_through_the_signer_and_survives_its_death() {
    let mut factory = guarded(|g| g);
    factory.start();
    let first = factory.enrolled("r-1", "unit-1", &factory.request("a"));
    std::fs::write(factory.path("unit.pem"), first["certificate"].as_str().unwrap()).unwrap();
    let verify = ["verify", "-x509_strict", "-CAfile", "root.pem", "-untrusted", "factory-chain.pem", "unit.pem"];
    assert!(factory.fixture.openssl(&verify).contains("unit.pem: OK"));

    // Neither the vendor's module nor the PIN is in the daemon.
    let daemon = factory.daemon.as_ref().unwrap().id();
    let maps = |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    assert!(!maps(&daemon.to_string()).contains("softhsm"));
    let pid = signer(&factory).unwrap();
    assert!(maps(&pid).contains("softhsm"));
    let command = format!("grep -c {PIN} /proc/{daemon}/environ /proc/{daemon}/cmdline /proc/{pid}/cmdline /proc/{pid}/environ");
    let found = text(&factory.fixture.command("sh").args(["-c", &command]).output().unwrap());
    assert!(found.lines().all(|l| l.ends_with(":0")), "{found}");

    kill(&pid, rustix::process::Signal::KILL);
    let csr = factory.request("b");
    let until = Instant::now() + Duration::from_secs(30);
    let second = loop {
        let out = factory.enroll("r-2", "unit-2", &csr);
        if out.status.success() {
            break out;
        }
        assert!(Instant::now() < until, "{}", text(&out));
        std::thread::sleep(Duration::from_millis(100));
    };
    expect_good(second);
    assert_ne!(signer(&factory).unwrap(), pid);
    // One request, one certificate: the first is still answered with the same bytes.
    let again = factory.enrolled("r-1", "unit-1", &factory.path("a.csr"));
    assert_eq!(again["certificate"], first["certificate"]);
    factory.stop();
}

#[test]
fn the_guard_holds_whatever_policy_the_daemon_has() {
    let mut factory = guarded(|g| g.replace("max_days = 3660", "max_days = 30"));
    factory.start();
    let out = factory.enroll("r-1", "unit-1", &factory.request("a"));
    assert!(!out.status.success());
    assert!(text(&out).contains("guard refuses") && text(&out).contains("30 days"), "{}", text(&out));
}

#[test]
fn a_key_without_a_guard_keeps_the_daemon_from_starting() {
    let factory = guarded(|g| g.split("[[checkpoints]]").next().unwrap().to_owned());
    let out = factory.daemon_command().output().unwrap();
    assert_eq!(out.status.code(), Some(2));
    assert!(text(&out).contains("has no guard"), "{}", text(&out));
}
