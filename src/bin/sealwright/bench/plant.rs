//! The throw-away factory: tokens, ceremonies, configuration, daemon.

use crate::Failure;
use sealwright::durable;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The profile that is measured, as shipped.
const PROFILE: &str = include_str!("../../../../policies/generic-device.toml");

/// A directory of its own.
pub struct Plant {
    directory: PathBuf,
}

impl Plant {
    /// Makes the directory under `base`, with SoftHSM's configuration and a random PIN.
    pub fn create(base: PathBuf) -> Result<Self, Failure> {
        let mut random = [0u8; 16];
        getrandom::fill(&mut random).map_err(|e| e.to_string())?;
        let (name, pin) = random.split_at(8);
        let plant = Self { directory: base.join(format!("sealwright-bench-{}", hex::encode(name))) };
        let named = |e: std::io::Error| format!("{}: {e}", plant.directory.display());
        std::fs::create_dir(&plant.directory).map_err(named)?;
        std::fs::create_dir(plant.path("tokens")).map_err(named)?;
        std::fs::create_dir(plant.path("policies")).map_err(named)?;
        std::fs::write(plant.path("policies/generic-device.toml"), PROFILE)?;
        let tokens = plant.path("tokens");
        let conf = format!("directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n", tokens.display());
        std::fs::write(plant.softhsm_conf(), conf)?;
        durable::create_new(&plant.path("pin"), hex::encode(pin).as_bytes(), 0o600)?;
        Ok(plant)
    }

    /// The directory that another process made.
    pub fn at(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// A file in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// SoftHSM's configuration.
    pub fn softhsm_conf(&self) -> PathBuf {
        self.path("softhsm2.conf")
    }

    /// Removes everything.
    pub fn remove(self) -> std::io::Result<()> {
        std::fs::remove_dir_all(&self.directory)
    }

    /// Bytes of the store, its write-ahead log and the transparency log.
    pub fn disk_bytes(&self) -> std::io::Result<u64> {
        fn sum(directory: &Path) -> std::io::Result<u64> {
            let mut bytes = 0;
            for entry in std::fs::read_dir(directory)? {
                let entry = entry?;
                let kind = entry.metadata()?;
                bytes += if kind.is_dir() { sum(&entry.path())? } else { kind.len() };
            }
            Ok(bytes)
        }
        Ok(sum(&self.path("store"))? + sum(&self.path("log"))?)
    }

    /// Root and intermediate from real ceremonies, and a log key; gives the serial number of
    /// the issuing token.
    pub fn ceremonies(&self, softhsm: &Path) -> Result<String, Failure> {
        let root = self.token("root")?;
        let serial = self.token("factory")?;
        let module = softhsm.display().to_string();
        let head = |kind: &str, name: &str, token: &str, algorithm: &str| {
            format!(
                "version = 1\nkind = \"{kind}\"\npurpose = \"test\"\ntitle = \"{name}\"\n[key]\n\
                 token = \"pkcs11:serial={token}?module-path={module}\"\npin_file = \"pin\"\nalgorithm = \"{algorithm}\"\nlabel = \"{kind}\"\n"
            )
        };
        let body = |name: &str, until: &str| {
            format!("[certificate]\nsubject = {{ common_name = \"{name}\" }}\nnot_before = 2026-01-01T00:00:00Z\nnot_after = {until}\n")
        };
        let text = head("root", "Bench TEST Root", &root, "p384")
            + &body("Bench TEST Root", "2046-12-31T23:59:59Z")
            + "[outputs]\ncertificate = \"root.pem\"\ntranscript = \"root.html\"\njournal = \"root.journal\"\n";
        let fingerprint = self.ceremony("root.toml", &text)?;
        let text = head("intermediate", "Bench TEST Factory CA", &serial, "p256")
            + &format!(
                "[issuer]\ntoken = \"pkcs11:serial={root}?module-path={module}\"\npin_file = \"pin\"\n\
                 certificate = \"root.pem\"\nfingerprint = \"{fingerprint}\"\n"
            )
            + &body("Bench TEST Factory CA", "2030-12-31T23:59:59Z")
            + "extended_key_usage = [\"client-auth\"]\n[outputs]\nrequest = \"factory.csr\"\ncertificate = \"factory.pem\"\n\
               chain = \"chain.pem\"\ntranscript = \"factory.html\"\njournal = \"factory.journal\"\n";
        self.ceremony("factory.toml", &text)?;
        Ok(serial)
    }

    fn ceremony(&self, file: &str, text: &str) -> Result<String, Failure> {
        std::fs::write(self.path(file), text)?;
        let out = self.sealwright(&["ceremony", file, "--json"])?;
        let out: serde_json::Value = serde_json::from_slice(&out.stdout)?;
        Ok(out["fingerprint"].as_str().ok_or("the ceremony gave no fingerprint")?.to_owned())
    }

    fn token(&self, label: &str) -> Result<String, Failure> {
        // The tool takes PINs as arguments only; this one is random and guards nothing.
        let pin = std::fs::read_to_string(self.path("pin"))?;
        let init = ["--init-token", "--free", "--label", label, "--so-pin", &pin, "--pin", &pin];
        self.command("softhsm2-util", &init)?;
        let shown = String::from_utf8(self.command("softhsm2-util", &["--show-slots"])?.stdout)?;
        let mut serial = String::new();
        for line in shown.lines() {
            match line.split_once(':').map(|(name, value)| (name.trim(), value.trim())) {
                Some(("Serial number", value)) => serial = value.to_owned(),
                Some(("Label", value)) if value == label => return Ok(serial),
                _ => {}
            }
        }
        Err(format!("softhsm2-util made no token '{label}'").into())
    }

    /// Makes log key, store and configuration, and starts the daemon beside this program.
    pub fn start_daemon(&self, softhsm: &Path, serial: &str, sessions: usize) -> Result<Daemon, Failure> {
        let (module, token) = (softhsm.display().to_string(), format!("pkcs11:serial={serial}"));
        let generate = ["keys", "generate", "--label", "log", "--json", "--module", &module, "--token", &token, "--pin-file", "pin"];
        let key: serde_json::Value = serde_json::from_slice(&self.sealwright(&generate)?.stdout)?;
        let key = key["fingerprint"].as_str().ok_or("no fingerprint of the log key")?;
        let uid = rustix::process::getuid().as_raw();
        let text = format!(
            "version = 1\n[token]\nmodule = \"{module}\"\nuri = \"{token}\"\npin_file = \"pin\"\nsessions = {sessions}\n\
             [issuer]\nchain = \"chain.pem\"\n[log]\ndirectory = \"log\"\norigin = \"bench.example/log\"\nkey = \"{key}\"\n\
             [store]\ndirectory = \"store\"\n[policy]\ndirectory = \"policies\"\n\
             [socket]\npath = \"daemon.sock\"\nmax_connections = 2048\n\
             [[role]]\nname = \"station\"\nuids = [{uid}]\nprofiles = [\"generic-device\"]\n"
        );
        std::fs::write(self.path("daemon.toml"), text)?;
        let program = std::env::current_exe()?.with_file_name("sealwrightd");
        let program = program.to_str().ok_or("the path of this program is not UTF-8")?.to_owned();
        self.command(&program, &["--config", "daemon.toml", "--init"])?;
        let log = std::fs::File::create(self.path("daemon.log"))?;
        let mut command = Command::new(&program);
        command.args(["--config", "daemon.toml"]).current_dir(&self.directory).stdin(Stdio::null()).stderr(log);
        let mut daemon = Daemon { child: command.spawn().map_err(|e| format!("{program}: {e}"))? };
        let until = Instant::now() + Duration::from_secs(30);
        while std::os::unix::net::UnixStream::connect(self.path("daemon.sock")).is_err() {
            if daemon.child.try_wait()?.is_some() || Instant::now() > until {
                return Err(format!("the daemon did not start: {}", std::fs::read_to_string(self.path("daemon.log"))?).into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(daemon)
    }

    fn sealwright(&self, args: &[&str]) -> Result<Output, Failure> {
        let program = std::env::current_exe()?;
        self.command(program.to_str().ok_or("the path of this program is not UTF-8")?, args)
    }

    fn command(&self, program: &str, args: &[&str]) -> Result<Output, Failure> {
        let out = Command::new(program).args(args).current_dir(&self.directory).output().map_err(|e| format!("{program}: {e}"))?;
        if out.status.success() {
            return Ok(out);
        }
        Err(format!("{program} {}: {}", args.first().unwrap_or(&""), String::from_utf8_lossy(&out.stderr)).into())
    }
}

/// A running daemon; killed when dropped.
pub struct Daemon {
    child: Child,
}

/// What the kernel says of a process.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// User and system time.
    pub cpu: Duration,
    /// Resident memory in bytes.
    pub resident: u64,
    /// Most resident memory so far in bytes.
    pub peak: u64,
}

impl Daemon {
    /// Its processor time and memory so far.
    pub fn usage(&self) -> Result<Usage, Failure> {
        usage(&self.child.id().to_string())
    }

    /// SIGTERM, and waits for the end.
    pub fn stop(&mut self) -> Result<(), Failure> {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), rustix::process::Signal::TERM)?;
        let ended = self.child.wait()?;
        if ended.success() { Ok(()) } else { Err(format!("the daemon ended with {ended}").into()) }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads proc(5); `process` is a number or `self`.
pub fn usage(process: &str) -> Result<Usage, Failure> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // Fields 14 and 15 (utime, stime); the name in field 2 may hold blanks but ends with ')'.
    let (_, after) = stat.rsplit_once(')').ok_or("unexpected /proc/PID/stat")?;
    let mut ticks = 0u64;
    for field in after.split_whitespace().skip(11).take(2) {
        ticks += field.parse::<u64>()?;
    }
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let kibibytes = |name: &str| {
        let line = status.lines().find_map(|l| l.strip_prefix(name)).unwrap_or("0");
        line.trim_matches(|c: char| !c.is_ascii_digit()).parse::<u64>().map(|k| k * 1024)
    };
    Ok(Usage {
        cpu: Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64),
        resident: kibibytes("VmRSS:")?,
        peak: kibibytes("VmHWM:")?,
    })
}
