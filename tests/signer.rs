//! The signer process: its guard against a hostile daemon, and its client against a signer that
//! hangs, crashes, loses its token or meets a wrong PIN.

mod common;

use common::{Fixture, SOFTHSM, SPY, kill, private_file};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, DnValue, ExtendedKeyUsagePurpose as Eku, IsCa, Issuer, KeyPair,
    KeyUsagePurpose as Ku, SerialNumber, date_time_ymd,
};
use rustix::process::Signal;
use sealwright::token::TokenError;
use sealwright::token::signer::{Health, RemoteSigner, SignerOptions};
use sealwright::types::{Fingerprint, Serial, SignatureAlgorithm};
use sealwright::x509::sign::ToSign;
use sealwright::x509::{keys, pem};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

const ORIGIN: &str = "log.example/test";

/// A hierarchy whose issuing key is also (against good practice, but enough here) guarded for
/// device certificates, with a log key beside it.
struct Rig {
    fixture: Fixture,
    serial: String,
    issuer: Fingerprint,
    log: Fingerprint,
}

fn rig(certificates: &str) -> Rig {
    let fixture = Fixture::new();
    let (serial, issuer) = fixture.hierarchy();
    // Any second key will do for the log: a root ceremony in the same token makes one.
    fixture.root_file(&serial, |t| t.replace("\"p384\"", "\"p256\"").replace("Root R1", "Log").replace("\"root.", "\"log."));
    let log = fixture.ceremony("root.toml");
    std::fs::create_dir(fixture.path("counters")).unwrap();
    let guard = format!(
        "version = 1\ncounters = \"counters\"\n\n[[certificates]]\nissuer = \"factory.pem\"\nmax_days = 3660\n\
         extended_key_usage = [\"client-auth\"]\norganization = \"Example Devices\"\n{certificates}\n\n\
         [[checkpoints]]\nkey = \"{log}\"\norigin = \"{ORIGIN}\"\nper_hour = 100000\ntotal = 100000\n"
    );
    private_file(&fixture.path("guard.toml"), &guard);
    Rig { fixture, serial, issuer: Fingerprint::parse(&issuer).unwrap(), log: Fingerprint::parse(&log).unwrap() }
}

impl Rig {
    fn arguments(&self, module: &str) -> Vec<String> {
        let path = |name: &str| self.fixture.path(name).display().to_string();
        [
            &format!("SOFTHSM2_CONF={}", path("softhsm2.conf")),
            &format!("PKCS11SPY={SOFTHSM}"),
            &format!("PKCS11SPY_OUTPUT={}", path("spy")),
            env!("CARGO_BIN_EXE_sealwrightd"),
            "signer",
            "--module",
            module,
            "--token",
            &format!("pkcs11:serial={}", self.serial),
            "--pin-file",
            &path("pin"),
            "--guard",
            &path("guard.toml"),
        ]
        .map(|s: &str| s.to_owned())
        .to_vec()
    }

    fn start(&self, module: &str) -> Result<RemoteSigner, TokenError> {
        let options = SignerOptions { program: "/usr/bin/env".into(), arguments: self.arguments(module), deadline: Duration::from_secs(3) };
        RemoteSigner::start(options)
    }

    /// Process id of this rig's signer.
    fn pid(&self) -> Option<String> {
        let marker = self.fixture.path("guard.toml").display().to_string();
        let all = std::fs::read_dir("/proc").unwrap().flatten().map(|e| e.file_name().to_string_lossy().into_owned());
        all.filter(|n| n.bytes().all(|b| b.is_ascii_digit())).find(|n| {
            std::fs::read_to_string(format!("/proc/{n}/cmdline")).is_ok_and(|c| c.contains(&marker) && !c.starts_with("/usr/bin/env"))
        })
    }

    fn signal(&self, signal: Signal) {
        kill(&self.pid().expect("the signer runs"), signal);
    }
}

/// A TBSCertificate under the rig's issuer name, signed by nobody: what a hostile daemon would send.
fn tbs(change: impl Fn(&mut CertificateParams)) -> Vec<u8> {
    let name = |common: &str| {
        let mut dn = DistinguishedName::new();
        dn.push(DnType::CountryName, DnValue::PrintableString("DE".try_into().unwrap()));
        dn.push(DnType::OrganizationName, "Example Devices");
        dn.push(DnType::CommonName, common);
        dn
    };
    let mut ca = CertificateParams::default();
    ca.distinguished_name = name("Example Devices TEST Factory CA 1");
    let issuer = Issuer::new(ca, KeyPair::generate().unwrap());
    let mut params = CertificateParams::default();
    params.distinguished_name = name("device");
    params.key_usages = vec![Ku::DigitalSignature];
    params.extended_key_usages = vec![Eku::ClientAuth];
    params.serial_number = Some(SerialNumber::from_slice(Serial::generate().unwrap().as_bytes()));
    let year = 2026;
    (params.not_before, params.not_after) = (date_time_ymd(year, 11, 1), date_time_ymd(year + 3, 11, 1));
    change(&mut params);
    let der = params.signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap().der().to_vec();
    use der::{Decode, Encode};
    x509_cert::Certificate::from_der(&der).unwrap().tbs_certificate().to_der().unwrap()
}

/// The daemon's end of the protocol in the hands of an attacker.
struct Hostile {
    child: Child,
    socket: UnixStream,
}

impl Hostile {
    fn new(rig: &Rig) -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut command = std::process::Command::new("/usr/bin/env");
        let child = command.args(rig.arguments(SOFTHSM)).stdin(Stdio::from(OwnedFd::from(theirs))).spawn().unwrap();
        drop(command);
        ours.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut hostile = Self { child, socket: ours };
        assert_eq!(hostile.read().unwrap()[8], 0, "the signer greets");
        hostile
    }

    fn send(&mut self, kind: u8, key: &Fingerprint, message: &[u8]) {
        let mut frame = ((41 + message.len()) as u32).to_be_bytes().to_vec();
        frame.extend(7u64.to_be_bytes());
        frame.push(kind);
        frame.extend(key.as_bytes());
        frame.extend(message);
        self.socket.write_all(&frame).unwrap();
    }

    fn read(&mut self) -> Option<Vec<u8>> {
        let mut length = [0; 4];
        self.socket.read_exact(&mut length).ok()?;
        let mut body = vec![0; u32::from_be_bytes(length) as usize];
        self.socket.read_exact(&mut body).ok()?;
        Some(body)
    }

    /// The signature, or the words of the refusal.
    fn ask(&mut self, kind: u8, key: &Fingerprint, message: &[u8]) -> Result<Vec<u8>, String> {
        self.send(kind, key, message);
        let body = self.read().expect("an answer");
        if body[8] == 0 { Ok(body[9..].to_vec()) } else { Err(String::from_utf8_lossy(&body[9..]).into_owned()) }
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
        assert!(self.child.wait().is_ok());
    }
}

#[test]
fn the_guard_refuses_a_hostile_daemon_itself() {
    let rig = rig("per_hour = 5\ntotal = 100");
    let mut hostile = Hostile::new(&rig);
    let good = tbs(|_| {});
    let signature = hostile.ask(1, &rig.issuer, &good).unwrap();
    let factory = pem::certificates(&std::fs::read(rig.fixture.path("factory.pem")).unwrap()).unwrap().remove(0);
    let issuer = sealwright::x509::tbs::Issuer::from_certificate(&factory).unwrap();
    keys::verify(issuer.spki_der(), SignatureAlgorithm::EcdsaSha256, &good, &signature).unwrap();

    let cases: [(Vec<u8>, &str); 12] = [
        (good.clone(), "was signed before"),
        (tbs(|p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)), "CA certificate"),
        (tbs(|p| p.key_usages.push(Ku::KeyCertSign)), "keyUsage"),
        (tbs(|p| p.key_usages.clear()), "keyUsage"),
        (tbs(|p| p.not_after = date_time_ymd(2126, 1, 1)), "validity"),
        (tbs(|p| p.not_before = date_time_ymd(2028, 1, 1)), "notBefore"),
        (tbs(|p| p.extended_key_usages.push(Eku::ServerAuth)), "purpose"),
        (tbs(|p| p.extended_key_usages = vec![Eku::Any]), "purpose"),
        (tbs(|p| p.extended_key_usages.clear()), "extendedKeyUsage is missing"),
        (tbs(|p| p.distinguished_name.push(DnType::OrganizationName, "Somebody")), "organization"),
        (b"0 is not a certificate".to_vec(), "not a TBSCertificate"),
        ([good.as_slice(), b"x"].concat(), "not a TBSCertificate"),
    ];
    for (message, words) in cases {
        let refusal = hostile.ask(1, &rig.issuer, &message).unwrap_err();
        assert!(refusal.contains(words), "{words}: {refusal}");
    }
    // The right bytes under a wrong kind or a wrong key are refused as well.
    for (kind, key) in [(2, rig.issuer), (3, rig.issuer), (4, rig.issuer), (5, rig.issuer), (9, rig.issuer), (1, rig.log)] {
        hostile.ask(kind, &key, &tbs(|_| {})).unwrap_err();
    }
    assert!(hostile.ask(1, &Fingerprint::of_spki(b"x"), &good).unwrap_err().contains("unknown key"));
    // Quota: one is used, five an hour are allowed.
    (0..4).for_each(|_| assert!(hostile.ask(1, &rig.issuer, &tbs(|_| {})).is_ok()));
    let over = hostile.ask(1, &rig.issuer, &tbs(|_| {})).unwrap_err();
    assert!(over.contains("5 signatures in the last hour"), "{over}");
}

#[test]
fn the_guard_of_a_log_key_signs_one_growing_log_only() {
    let rig = rig("per_hour = 5\ntotal = 100");
    let mut hostile = Hostile::new(&rig);
    let text = |origin: &str, size: &str, root: &str| format!("{origin}\n{size}\n{root}\n").into_bytes();
    hostile.ask(3, &rig.log, &text(ORIGIN, "10", "AAAA")).unwrap();
    hostile.ask(3, &rig.log, &text(ORIGIN, "10", "AAAA")).unwrap();
    hostile.ask(3, &rig.log, &text(ORIGIN, "11", "BBBB")).unwrap();
    for (message, words) in [
        (text(ORIGIN, "10", "AAAA"), "shrink"),
        (text(ORIGIN, "11", "CCCC"), "another root"),
        (text("other.example", "12", "CCCC"), "origin"),
        (text(ORIGIN, "012", "CCCC"), "decimal"),
        (b"hello".to_vec(), "three lines"),
    ] {
        let refusal = hostile.ask(3, &rig.log, &message).unwrap_err();
        assert!(refusal.contains(words), "{words}: {refusal}");
    }
}

#[test]
fn malformed_frames_end_the_signer_and_nothing_else() {
    let rig = rig("per_hour = 5\ntotal = 100");
    for bytes in [&[0xff, 0xff, 0xff, 0xff][..], &[0, 0, 0, 3, 1, 2, 3], &[0, 0, 0, 50, 1]] {
        let mut hostile = Hostile::new(&rig);
        hostile.socket.write_all(bytes).unwrap();
        hostile.socket.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(hostile.read().is_none());
    }
    Hostile::new(&rig).ask(1, &rig.issuer, &tbs(|_| {})).unwrap();
}

#[test]
fn the_total_survives_restarts() {
    let rig = rig("per_hour = 100\ntotal = 3");
    (0..1).for_each(|_| assert!(Hostile::new(&rig).ask(1, &rig.issuer, &tbs(|_| {})).is_ok()));
    // The block reserved before the restart counts as used: never more than three, perhaps fewer.
    let refusal = Hostile::new(&rig).ask(1, &rig.issuer, &tbs(|_| {})).unwrap_err();
    assert!(refusal.contains("operator must raise 'total'"), "{refusal}");
}

fn wait_for(signer: &RemoteSigner, wanted: impl Fn(&Health) -> bool) -> Health {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let health = signer.health();
        if wanted(&health) {
            return health;
        }
        assert!(Instant::now() < until, "still {health:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn checkpoint(signer: &RemoteSigner, rig: &Rig, size: u32) -> Result<Vec<u8>, TokenError> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(signer.sign(&rig.log, ToSign::Checkpoint(&format!("{ORIGIN}\n{size}\nAAAA\n"))))
}

#[test]
fn a_hung_or_crashed_signer_is_replaced_and_what_it_held_is_reported() {
    let rig = rig("per_hour = 5\ntotal = 100");
    let signer = rig.start(SOFTHSM).unwrap();
    assert_eq!(signer.keys().count(), 2);
    assert!(signer.info().soft);
    let signature = checkpoint(&signer, &rig, 1).unwrap();
    let text = format!("{ORIGIN}\n1\nAAAA\n");
    keys::verify(signer.spki_der(&rig.log).unwrap(), SignatureAlgorithm::EcdsaSha256, text.as_bytes(), &signature).unwrap();

    // Hangs: the deadline passes, the caller is told that the outcome is unknown, a new one serves.
    let first = rig.pid().unwrap();
    rig.signal(Signal::STOP);
    let error = checkpoint(&signer, &rig, 2).unwrap_err();
    assert!(matches!(&error, TokenError::DeviceFailed { code, .. } if code.contains("no answer")), "{error}");
    wait_for(&signer, |h| *h == Health::Up);
    assert_ne!(rig.pid().unwrap(), first);
    checkpoint(&signer, &rig, 3).unwrap();

    // Crashes, as vendor modules do. (SIGSEGV from outside is swallowed by the Rust runtime.)
    rig.signal(Signal::ABORT);
    wait_for(&signer, |h| matches!(h, Health::Down(_)));
    assert!(matches!(checkpoint(&signer, &rig, 4), Err(TokenError::Unavailable(words)) if words.contains("HSM down")));
    wait_for(&signer, |h| *h == Health::Up);
    checkpoint(&signer, &rig, 5).unwrap();
    drop(signer);
    assert_eq!(rig.pid(), None, "the signer ends with its client");
}

#[test]
fn a_token_that_leaves_and_returns_is_found_again() {
    let rig = rig("per_hour = 5\ntotal = 100");
    let signer = rig.start(SOFTHSM).unwrap();
    let (here, away) = (rig.fixture.path("tokens"), rig.fixture.path("away"));
    std::fs::rename(&here, &away).unwrap();
    std::fs::create_dir(&here).unwrap();
    rig.signal(Signal::KILL);
    let health = wait_for(&signer, |h| matches!(h, Health::Down(words) if words.contains("no such token")));
    assert!(matches!(checkpoint(&signer, &rig, 1), Err(TokenError::Unavailable(_))), "{health:?}");
    // A different token of the same label is not taken for it.
    rig.fixture.init_token("factory");
    std::thread::sleep(Duration::from_millis(1500));
    assert!(matches!(signer.health(), Health::Down(_)));
    std::fs::remove_dir_all(&here).unwrap();
    std::fs::rename(&away, &here).unwrap();
    wait_for(&signer, |h| *h == Health::Up);
    checkpoint(&signer, &rig, 2).unwrap();
}

#[test]
fn a_wrong_pin_is_tried_once_and_latches() {
    let rig = rig("per_hour = 5\ntotal = 100");
    let pin = rig.fixture.path("pin");
    let logins = || std::fs::read_to_string(rig.fixture.path("spy")).unwrap().matches(": C_Login\n").count();
    let signer = rig.start(SPY).unwrap();
    assert_eq!(logins(), 1);
    std::fs::rename(&pin, rig.fixture.path("good-pin")).unwrap();
    private_file(&pin, "1111-nobody");
    rig.signal(Signal::KILL);
    wait_for(&signer, |h| matches!(h, Health::Latched(_)));
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(logins(), 2, "one good and one bad login");
    assert!(matches!(checkpoint(&signer, &rig, 1), Err(TokenError::PinRefused(_))));
    drop(signer);
    assert!(matches!(rig.start(SPY), Err(TokenError::PinRefused(_))));
    assert_eq!(logins(), 3);
}
