//! Fixtures for tests that need a token: a fresh SoftHSM directory each, gone afterwards.
#![allow(dead_code)] // each test file uses its own part

pub mod factory;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Debian's softhsm2 package.
pub const SOFTHSM: &str = "/usr/lib/softhsm/libsofthsm2.so";
/// Debian's opensc package: logs every PKCS#11 call and forwards it.
pub const SPY: &str = "/usr/lib/x86_64-linux-gnu/pkcs11-spy.so";
/// User PIN of every fixture token.
pub const PIN: &str = "2468-user";

/// A directory with its own softhsm2.conf, token store and PIN file.
pub struct Fixture {
    _guard: Option<tempfile::TempDir>,
    dir: PathBuf,
}

impl Fixture {
    /// Makes the directory; no token yet.
    pub fn new() -> Self {
        let guard = tempfile::tempdir().unwrap();
        let dir = guard.path().to_owned();
        std::fs::create_dir(dir.join("tokens")).unwrap();
        let conf = format!("directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n", dir.join("tokens").display());
        std::fs::write(dir.join("softhsm2.conf"), conf).unwrap();
        private_file(&dir.join("pin"), PIN);
        private_file(&dir.join("wrong-pin"), "1111-nobody");
        Self { _guard: Some(guard), dir }
    }

    /// Path of a file in the fixture's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Initialises a token and gives its serial number.
    pub fn token(&self, label: &str) -> String {
        self.init_token(label);
        self.serial(label)
    }

    /// Initialises a token; SoftHSM allows several of one label.
    pub fn init_token(&self, label: &str) {
        let out = self.softhsm_util(&["--init-token", "--free", "--label", label, "--so-pin", "8642-officer", "--pin", PIN]);
        assert!(out.status.success(), "{out:?}");
    }

    /// Serial number of the token with this label.
    pub fn serial(&self, label: &str) -> String {
        let out = self.softhsm_util(&["--show-slots"]);
        let text = String::from_utf8(out.stdout).unwrap();
        let mut serial = String::new();
        for line in text.lines() {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            match name.trim() {
                "Serial number" => serial = value.trim().to_owned(),
                "Label" if value.trim() == label => return serial,
                _ => {}
            }
        }
        panic!("no token '{label}' in {text}");
    }

    fn softhsm_util(&self, args: &[&str]) -> Output {
        self.command("softhsm2-util").args(args).output().unwrap()
    }

    /// A command that sees this fixture's tokens.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("SOFTHSM2_CONF", self.dir.join("softhsm2.conf")).current_dir(&self.dir);
        command
    }

    /// `sealwright` with these arguments in the fixture's directory.
    pub fn sealwright(&self, args: &[&str]) -> Output {
        self.command(env!("CARGO_BIN_EXE_sealwright")).args(args).output().unwrap()
    }

    /// `pkcs11-tool` on a token, logged in.
    pub fn pkcs11_tool(&self, token: &str, args: &[&str]) -> Output {
        let mut command = self.command("pkcs11-tool");
        command.args(["--module", SOFTHSM, "--token-label", token, "--login", "--pin", PIN]).args(args);
        command.output().unwrap()
    }

    /// `openssl` in the fixture's directory; its standard output when it succeeds.
    pub fn openssl(&self, args: &[&str]) -> String {
        let out = self.command("openssl").args(args).output().unwrap();
        assert!(out.status.success(), "openssl {args:?}: {}", text(&out));
        String::from_utf8(out.stdout).unwrap()
    }

    /// Runs the test `name` of this test program again as a child whose environment shows this
    /// fixture to SoftHSM: the library reads SOFTHSM2_CONF once per process.
    pub fn rerun(&self, name: &str) {
        let me = std::env::current_exe().unwrap();
        let mut command = self.command(me.to_str().unwrap());
        let out = command.args(["--exact", name, "--nocapture"]).env("FIXTURE", &self.dir).output().unwrap();
        assert!(out.status.success(), "{}", text(&out));
        assert!(text(&out).contains("1 passed"), "{}", text(&out));
    }

    /// The fixture of the parent process, inside a [`Fixture::rerun`].
    pub fn inherited() -> Option<Self> {
        std::env::var_os("FIXTURE").map(|dir| Self { _guard: None, dir: dir.into() })
    }
}

/// Writes a file that only its owner may read.
pub fn private_file(path: &Path, content: &str) {
    sealwright::durable::create_new(path, content.as_bytes(), 0o600).unwrap();
}

/// Sends a signal to a process named by its id.
pub fn kill(pid: &str, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

/// Standard output and error of a command, for messages.
pub fn text(out: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}

/// Exit code 0, or the command's words.
pub fn expect_good(out: Output) -> String {
    assert_eq!(out.status.code(), Some(0), "{}", text(&out));
    String::from_utf8(out.stdout).unwrap()
}

impl Fixture {
    /// Writes `root.toml` from the example for a token; `change` edits the text.
    pub fn root_file(&self, serial: &str, change: impl Fn(String) -> String) {
        let text = include_str!("../../config/ceremonies/root.toml").replace("0123456789abcdef", serial).replace("root.pin", "pin");
        std::fs::write(self.path("root.toml"), change(text)).unwrap();
    }

    /// Writes `intermediate.toml` from the example for two tokens and the root key's fingerprint.
    pub fn intermediate_file(&self, serial: &str, root_serial: &str, fingerprint: &str, change: impl Fn(String) -> String) {
        let text = include_str!("../../config/ceremonies/intermediate.toml")
            .replace("0123456789abcdef", root_serial)
            .replace("fedcba9876543210", serial)
            .replace(&"0".repeat(64), fingerprint)
            .replace("root.pin", "pin")
            .replace("factory.pin", "pin");
        std::fs::write(self.path("intermediate.toml"), change(text)).unwrap();
    }

    /// Runs a ceremony and gives the new key's fingerprint.
    pub fn ceremony(&self, file: &str) -> String {
        let out = expect_good(self.sealwright(&["ceremony", file, "--json"]));
        let out: serde_json::Value = serde_json::from_str(&out).unwrap();
        out["fingerprint"].as_str().unwrap().to_owned()
    }

    /// Root and intermediate in two tokens: `root.pem`, `factory-chain.pem`. Gives the serial
    /// number of the intermediate's token and its key's fingerprint.
    pub fn hierarchy(&self) -> (String, String) {
        let (root, factory) = (self.token("root"), self.token("factory"));
        self.root_file(&root, |t| t);
        let fingerprint = self.ceremony("root.toml");
        self.intermediate_file(&factory, &root, &fingerprint, |t| t);
        let fingerprint = self.ceremony("intermediate.toml");
        (factory, fingerprint)
    }
}
