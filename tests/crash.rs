//! The daemon killed, and its disk failing, at system call after system call of one issuance.
//!
//! Rig: strace injects SIGKILL, EIO or ENOSPC at the n-th call of a kind in each thread (it counts
//! by thread); the injected call is not executed. pkcs11-spy records every digest that the token
//! signs. After each fault the daemon is started again, the caller repeats its request, and a
//! judge that shares no code with the program reads store, log and record (I1 to I4, I6).
//!
//! A kill is not a power cut: what was written but not synced survives here. What a lost sync would
//! do is seen only through the failing ones.
//!
//! By default a sample of the points is tried; `SEALWRIGHT_CRASH=all` tries every one.

mod common;

use common::factory::Factory;
use common::{SOFTHSM, SPY, text};
use sealwright::api::client::{Client, ClientError};
use sealwright::api::wire::{Certificate, CertificateRequest, Device};
use sealwright::x509::pem;
use serde_json::{Value, json};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

/// The calls that make things durable, and the one that answers, with the count that one thread
/// makes of each from start to stop of a daemon that issues one certificate.
const CALLS: [(&str, usize); 5] = [("fdatasync", 7), ("fsync", 16), ("pwrite64", 44), ("rename", 8), ("writev,sendto,sendmsg", 4)];

/// A factory whose daemon's token calls are recorded, and what its callers were told.
struct Trial {
    factory: Factory,
    runtime: tokio::runtime::Runtime,
    told: Vec<Value>,
    refused: usize,
    number: usize,
}

impl Trial {
    fn new() -> Self {
        let factory = Factory::new();
        factory.reconfigure(SOFTHSM, SPY);
        // One session: the spy's records of two would interleave.
        factory.reconfigure("pin_file = \"pin\"", "pin_file = \"pin\"\nsessions = 1");
        std::fs::create_dir(factory.path("older")).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { factory, runtime, told: Vec::new(), refused: 0, number: 0 }
    }

    fn spied(&self, mut command: Command) -> Child {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.factory.path("daemon.log")).unwrap();
        command.env("PKCS11SPY", SOFTHSM).env("PKCS11SPY_OUTPUT", self.factory.path("spy.log"));
        command.stdin(Stdio::null()).stderr(log).spawn().unwrap()
    }

    /// The daemon under strace; `-D` makes the daemon our child and strace its own.
    fn start_with(&self, calls: &str, fault: &str) -> Child {
        let mut command = self.factory.fixture.command("strace");
        command.args(["-D", "-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={calls}"), "-e", &format!("inject={calls}:{fault}")]);
        command.args([env!("CARGO_BIN_EXE_sealwrightd"), "--config", "daemon.toml"]);
        self.spied(command)
    }

    /// Whether the daemon came up; `false` when it ended before.
    fn is_up(&self, child: &mut Child) -> bool {
        let until = Instant::now() + Duration::from_secs(60);
        while std::os::unix::net::UnixStream::connect(self.factory.path("sealwright.sock")).is_err() {
            if child.try_wait().unwrap().is_some() {
                return false;
            }
            assert!(Instant::now() < until, "the daemon does not start: {}", self.factory.log());
            std::thread::sleep(Duration::from_millis(5));
        }
        true
    }

    fn next_request(&mut self) -> CertificateRequest {
        self.number += 1;
        let key = rcgen::KeyPair::generate().unwrap();
        let csr = rcgen::CertificateParams::default().serialize_request(&key).unwrap();
        let id = format!("unit-{}", self.number);
        let device = Device { kind: "free".into(), id, device_type: None, hardware_revision: None, firmware_version: None };
        let csr = pem::encode(pem::REQUEST, csr.der());
        CertificateRequest { request_id: format!("r-{}", self.number), profile: "generic-device".into(), device, csr }
    }

    fn enroll(&self, request: &CertificateRequest) -> Result<Certificate, ClientError> {
        self.runtime.block_on(Client::new(&self.factory.path("sealwright.sock")).enroll(request))
    }

    /// One request, and one that must be refused; what callers were told is remembered.
    fn ask(&mut self, request: &CertificateRequest) -> Option<Certificate> {
        let answer = self.enroll(request).ok()?;
        self.remember(request, &answer);
        let other = CertificateRequest { csr: self.next_request().csr, ..request.clone() };
        match self.enroll(&other) {
            Err(ClientError::Problem(problem)) if problem.status == 409 => self.refused += 1,
            Ok(_) => panic!("one request id answered two requests"),
            Err(_) => {}
        }
        Some(answer)
    }

    fn remember(&mut self, request: &CertificateRequest, answer: &Certificate) {
        let der = pem::certificates(answer.certificate.as_bytes()).unwrap().remove(0);
        self.told.push(json!({
            "request": request.request_id, "serial": answer.serial, "der": hex::encode(der), "leaf": answer.log_index,
        }));
    }

    /// Starts without faults, repeats `request`, compares with what was told, and judges.
    fn resume(&mut self, request: &CertificateRequest, told: Option<&Certificate>) {
        let mut child = self.spied(self.factory.daemon_command());
        assert!(self.is_up(&mut child), "no restart after a fault: {}", self.factory.log());
        let again = self.enroll(request).unwrap_or_else(|e| panic!("{e}: {}", self.factory.log()));
        if let Some(first) = told {
            assert_eq!((&again.certificate, again.replayed), (&first.certificate, true));
        }
        self.remember(request, &again);
        self.end(child, self.number.is_multiple_of(2));
        self.judge();
    }

    fn end(&self, mut child: Child, gently: bool) -> ExitStatus {
        let signal = if gently { rustix::process::Signal::TERM } else { rustix::process::Signal::KILL };
        // It may have ended by itself; then there is nothing to signal.
        let _ = rustix::process::kill_process(rustix::process::Pid::from_child(&child), signal);
        child.wait().unwrap()
    }

    fn judge(&self) -> Value {
        let path = |name: &str| self.factory.path(name);
        if path("log/checkpoint").exists() {
            std::fs::copy(path("log/checkpoint"), path("older").join(self.number.to_string())).unwrap();
        }
        let out = self.verdict(&self.told, self.refused);
        assert!(out.status.success(), "{}\n{}", text(&out), self.factory.log());
        serde_json::from_slice(&out.stdout).unwrap()
    }

    fn verdict(&self, told: &[Value], refused: usize) -> Output {
        let told = json!({ "certificates": told, "refused": refused });
        std::fs::write(self.factory.path("told.json"), told.to_string()).unwrap();
        let judge = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/judges/store.py");
        let mut command = self.factory.fixture.command("python3");
        command.arg(judge).args(["store", "log", "spy.log", "told.json", "older"]).output().unwrap()
    }

    /// The judge must be able to say no: to a certificate that was never stored, to a refusal
    /// that was never logged, to a digest that no intent announced.
    fn judge_the_judge(&self) {
        let expect = |out: Output, words: &str| assert!(!out.status.success() && text(&out).contains(words), "{}", text(&out));
        let mut lie = self.told[0].clone();
        lie["serial"] = json!("40".repeat(20));
        expect(self.verdict(&[lie], 0), "I3");
        expect(self.verdict(&self.told, 1000), "I6");
        let spy = std::fs::read_to_string(self.factory.path("spy.log")).unwrap();
        let forged = format!(
            "\n9: C_Sign\n\n[in] hSession = 0x6\n[in] pData[ulDataLen] 0 / 16\n    00000000  {} .\n[out] pSignature[*pulSignatureLen] 1 / 64\n",
            "AA ".repeat(16)
        );
        std::fs::write(self.factory.path("spy.log"), spy + &forged).unwrap();
        expect(self.verdict(&self.told, self.refused), "I1");
    }
}

fn exhaustive() -> bool {
    std::env::var("SEALWRIGHT_CRASH").is_ok_and(|v| v == "all")
}

/// Numbers 1 to `last`; a sample of them unless every one is asked for.
fn points(last: usize) -> impl Iterator<Item = usize> {
    let stride = if exhaustive() { 1 } else { last.div_ceil(5) };
    // The sample is dense where one issuance lies: the later calls of the store's thread.
    (1..=last).rev().step_by(stride)
}

#[test]
fn a_kill_at_any_durable_step_loses_nothing_and_doubles_nothing() {
    let mut trial = Trial::new();
    let (mut killed, mut tried) = (0, 0);
    for (calls, last) in CALLS {
        for n in points(last) {
            tried += 1;
            let request = trial.next_request();
            let mut child = trial.start_with(calls, &format!("signal=SIGKILL:when={n}"));
            let told = if trial.is_up(&mut child) { trial.ask(&request) } else { None };
            // The publisher's round comes within a second; then a stop makes its own calls.
            let until = Instant::now() + Duration::from_millis(1300);
            while child.try_wait().unwrap().is_none() && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(10));
            }
            killed += usize::from(trial.end(child, true).signal() == Some(9));
            trial.resume(&request, told.as_ref());
        }
    }
    let found = trial.judge();
    println!("{killed} of {tried} points killed the daemon in its work: {found}");
    assert!(killed * 2 > tried, "only {killed} of {tried} faults hit");
    assert_eq!(found["certificates"], tried, "one certificate for each request");
    trial.judge_the_judge();
}

#[test]
fn a_failed_sync_or_a_full_disk_loses_nothing_and_service_resumes() {
    let mut trial = Trial::new();
    let mut faults: Vec<(&str, String)> = Vec::new();
    // The store's thread: its first note, a prune, the intent, the certificate, a prune.
    for n in [2, 3, 4, 5] {
        faults.push(("fdatasync", format!("error=EIO:when={n}")));
    }
    // The publisher: tiles and state of its first round.
    for n in [4, 9] {
        faults.push(("fsync", format!("error=EIO:when={n}")));
    }
    for n in [10, 17, 26, 35] {
        // A burst: the disk is full for a while, then somebody makes room.
        faults.push(("pwrite64", format!("error=ENOSPC:when={n}..{}", n + 6)));
    }
    let mut resumed = 0;
    for (calls, fault) in &faults {
        let request = trial.next_request();
        let mut child = trial.start_with(calls, fault);
        let mut told = None;
        if trial.is_up(&mut child) {
            // Without a restart: the caller repeats its request until the disk works again.
            let until = Instant::now() + Duration::from_secs(20);
            while told.is_none() {
                assert!(Instant::now() < until, "{calls} {fault}: no service: {}", trial.factory.log());
                told = trial.ask(&request);
            }
            resumed += 1;
        }
        trial.end(child, true);
        trial.resume(&request, told.as_ref());
    }
    let found = trial.judge();
    println!("{resumed} of {} faults met a daemon in service: {found}", faults.len());
    // Some faults fall into the start instead; half of them at least must meet the daemon at work.
    assert!(resumed * 2 >= faults.len());
    assert_eq!(found["certificates"], faults.len());
}
