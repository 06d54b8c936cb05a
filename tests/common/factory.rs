//! A whole small factory: root and intermediate from real ceremonies, a log key, a daemon.

use super::{Fixture, PIN, SOFTHSM, expect_good, private_file, text};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The factory's directory and its daemon.
pub struct Factory {
    /// Tokens and files.
    pub fixture: Fixture,
    /// The daemon, when it runs.
    pub daemon: Option<Child>,
    /// Serial number of the issuing token.
    pub serial: String,
}

impl Factory {
    /// Everything but a running daemon.
    pub fn new() -> Self {
        let fixture = Fixture::new();
        let root = fixture.token("root");
        let serial = fixture.token("factory");
        std::fs::write(fixture.path("root.toml"), ceremony_root(&root)).unwrap();
        expect_good(fixture.sealwright(&["ceremony", "root.toml"]));
        let keys = token_args(&root);
        let list: Value =
            serde_json::from_str(&expect_good(fixture.sealwright(&[&["keys", "list", "--json"][..], &strs(&keys)].concat()))).unwrap();
        let fingerprint = list["keys"][0]["fingerprint"].as_str().unwrap();
        std::fs::write(fixture.path("factory.toml"), ceremony_intermediate(&root, &serial, fingerprint)).unwrap();
        expect_good(fixture.sealwright(&["ceremony", "factory.toml"]));
        let keys = token_args(&serial);
        let log = [&["keys", "generate", "--label", "log", "--json"][..], &strs(&keys)].concat();
        let log: Value = serde_json::from_str(&expect_good(fixture.sealwright(&log))).unwrap();
        let log = log["fingerprint"].as_str().unwrap();
        std::fs::create_dir(fixture.path("policies")).unwrap();
        for profile in ["generic-device.toml", "ieee-802.1ar-idevid.toml"] {
            let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies").join(profile);
            std::fs::copy(from, fixture.path("policies").join(profile)).unwrap();
        }
        let factory = Self { fixture, daemon: None, serial };
        factory.configure(log, &[rustix::process::getuid().as_raw()], SOFTHSM);
        expect_good(factory.daemon_command().arg("--init").output().unwrap());
        factory
    }

    /// A factory with its daemon running.
    pub fn running() -> Self {
        let mut factory = Self::new();
        factory.start();
        factory
    }

    /// Writes the daemon's configuration.
    pub fn configure(&self, log: &str, uids: &[u32], module: &str) {
        let serial = &self.serial;
        let text = format!(
            r#"version = 1
[token]
module = "{module}"
uri = "pkcs11:serial={serial}"
pin_file = "pin"
[issuer]
chain = "factory-chain.pem"
[log]
directory = "log"
origin = "factory.example/log"
key = "{log}"
[store]
directory = "store"
[policy]
directory = "policies"
[socket]
path = "sealwright.sock"
[[role]]
name = "station"
uids = {uids:?}
profiles = ["generic-device", "ieee-802.1ar-idevid"]
"#
        );
        std::fs::write(self.path("daemon.toml"), text).unwrap();
    }

    /// Replaces text of the configuration.
    pub fn reconfigure(&self, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.path("daemon.toml")).unwrap();
        assert!(text.contains(from), "{from} is not in {text}");
        std::fs::write(self.path("daemon.toml"), text.replace(from, to)).unwrap();
    }

    /// Path of a file in the factory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.fixture.path(name)
    }

    /// `sealwrightd` with this factory's configuration.
    pub fn daemon_command(&self) -> Command {
        let mut command = self.fixture.command(env!("CARGO_BIN_EXE_sealwrightd"));
        command.args(["--config", "daemon.toml"]);
        command
    }

    /// Starts the daemon and waits until it answers.
    pub fn start(&mut self) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.path("daemon.log")).unwrap();
        let command = self.daemon_command().stderr(Stdio::from(log)).stdin(Stdio::null()).spawn().unwrap();
        self.adopt(command);
    }

    /// Starts the daemon and waits for its socket only: this uid may not ask for its status.
    pub fn start_unanswered(&mut self) {
        let log = std::fs::File::create(self.path("daemon.log")).unwrap();
        self.daemon = Some(self.daemon_command().stderr(Stdio::from(log)).stdin(Stdio::null()).spawn().unwrap());
        let until = Instant::now() + Duration::from_secs(30);
        while !self.log().contains("ready") {
            assert!(Instant::now() < until, "{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Takes a daemon that was started otherwise and waits until it answers.
    pub fn adopt(&mut self, mut child: Child) {
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            if self.fixture.sealwright(&["status", "--socket", "sealwright.sock"]).status.code() != Some(2) {
                break;
            }
            let ended = child.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < until, "daemon {ended:?}: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        self.daemon = Some(child);
    }

    /// What the daemon has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("daemon.log")).unwrap_or_default()
    }

    /// SIGKILL, as a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.daemon.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// SIGTERM; expects a clean end.
    pub fn stop(&mut self) {
        let mut child = self.daemon.take().unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let ended = child.wait().unwrap();
        assert!(ended.success(), "{ended}: {}", self.log());
    }

    /// Makes a P-256 key (in a file of this directory, for this test only) and a request.
    pub fn request(&self, name: &str) -> PathBuf {
        let (key, csr) = (format!("{name}.key"), format!("{name}.csr"));
        self.fixture.openssl(&["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", &key]);
        self.fixture.openssl(&["req", "-new", "-key", &key, "-subj", "/CN=ignored", "-out", &csr]);
        self.path(&csr)
    }

    /// `sealwright enroll` for a free device id.
    pub fn enroll(&self, request_id: &str, device: &str, csr: &Path) -> Output {
        let csr = csr.to_str().unwrap();
        let base = ["enroll", "--socket", "sealwright.sock", "--profile", "generic-device", "--json"];
        self.fixture.sealwright(&[&base[..], &["--request-id", request_id, "--id", device, "--csr", csr]].concat())
    }

    /// An enrolment that must succeed; the daemon's answer.
    pub fn enrolled(&self, request_id: &str, device: &str, csr: &Path) -> Value {
        serde_json::from_str(&expect_good(self.enroll(request_id, device, csr))).unwrap()
    }

    /// `curl` on the daemon's socket: status code and body.
    pub fn curl(&self, args: &[&str]) -> (u16, String) {
        let socket = self.path("sealwright.sock");
        let base = ["-sS", "--max-time", "30", "-w", "\n%{http_code}", "--unix-socket", socket.to_str().unwrap()];
        let out = self.fixture.command("curl").args(base).args(args).output().unwrap();
        let all = text(&out);
        let (body, code) = all.trim_end().rsplit_once('\n').unwrap_or_else(|| panic!("curl: {all}"));
        (code.parse().unwrap_or_else(|_| panic!("curl: {all}")), body.to_owned())
    }

    /// The daemon's health.
    pub fn status(&self) -> Value {
        let out = self.fixture.sealwright(&["status", "--socket", "sealwright.sock", "--json"]);
        serde_json::from_slice(&out.stdout).unwrap_or_else(|_| panic!("{}", text(&out)))
    }
}

impl Drop for Factory {
    fn drop(&mut self) {
        self.kill();
    }
}

fn token_args(serial: &str) -> [String; 6] {
    ["--module".into(), SOFTHSM.into(), "--token".into(), format!("pkcs11:serial={serial}"), "--pin-file".into(), "pin".into()]
}

fn strs(args: &[String; 6]) -> [&str; 6] {
    args.each_ref().map(String::as_str)
}

fn ceremony_root(root: &str) -> String {
    format!(
        r#"version = 1
kind = "root"
purpose = "test"
title = "Example TEST Root"
[key]
token = "pkcs11:serial={root}?module-path={SOFTHSM}"
pin_file = "pin"
algorithm = "p384"
label = "root"
[certificate]
subject = {{ country = "DE", organization = "Example", common_name = "Example TEST Root" }}
not_before = 2026-01-01T00:00:00Z
not_after = 2046-12-31T23:59:59Z
[outputs]
certificate = "root.pem"
transcript = "root.html"
journal = "root.journal"
"#
    )
}

fn ceremony_intermediate(root: &str, serial: &str, fingerprint: &str) -> String {
    format!(
        r#"version = 1
kind = "intermediate"
purpose = "test"
title = "Example TEST Factory CA"
[key]
token = "pkcs11:serial={serial}?module-path={SOFTHSM}"
pin_file = "pin"
algorithm = "p256"
label = "factory"
[issuer]
token = "pkcs11:serial={root}?module-path={SOFTHSM}"
pin_file = "pin"
certificate = "root.pem"
fingerprint = "{fingerprint}"
[certificate]
subject = {{ country = "DE", organization = "Example", common_name = "Example TEST Factory CA" }}
not_before = 2026-01-01T00:00:00Z
not_after = 2030-12-31T23:59:59Z
extended_key_usage = ["client-auth"]
[outputs]
request = "factory.csr"
certificate = "factory.pem"
chain = "factory-chain.pem"
transcript = "factory.html"
journal = "factory.journal"
"#
    )
}

/// Keeps the PIN file's helper in use for tests that write another.
pub fn wrong_pin(factory: &Factory) {
    std::fs::remove_file(factory.path("pin")).unwrap();
    private_file(&factory.path("pin"), &format!("{PIN}-not"));
}
