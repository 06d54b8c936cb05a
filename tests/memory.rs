//! No private scalar and no PIN outside the token: a byte scan of memory, disk and logs.
//!
//! The scalar of the *issuing key itself* is known to the test, although the key was generated in
//! the token as ever: SoftHSM's object files are encrypted under the user PIN, and the test, which
//! knows the PIN, decrypts them (format as in SoftHSM 2.6.1: `File.cpp`, `SecureDataManager.cpp`,
//! `RFC4880.cpp`). That it is the right number is proved by multiplying it with the curve's base
//! point, which must give the public key in the issuing certificate.
//!
//! What is shown: with the token's library in a process of its own (`p11-kit server`; the daemon
//! loads `p11-kit-client.so`), no readable mapping of the daemon, during and after issuance, holds
//! the scalar as big-endian or little-endian bytes or as hexadecimal text; neither does any file of
//! the factory (the token's own files included: there it is encrypted) nor the daemon's log at
//! level `trace`; and the PIN is in no file but the PIN file.
//!
//! What is not shown: with SoftHSM loaded in the daemon's process, as a soft token usually is, its
//! heap holds the scalar whenever it signs. That is the exception of soft tokens, and why what they
//! sign is for tests only (T1). Other encodings of the scalar (blinded, split) are not searched.
//!
//! That the scan is not blind is shown on a process that does hold the scalar: this test.

mod common;

use common::factory::Factory;
use common::{PIN, SOFTHSM, text};
use sealwright::x509::{keys, pem};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Debian's p11-kit-modules package.
const CLIENT: &str = "/usr/lib/x86_64-linux-gnu/pkcs11/p11-kit-client.so";
/// SoftHSM's CKA_OS_USERPIN: salt, IV and encrypted token key.
const USER_PIN: u64 = 0x8000_534d;
/// CKA_VALUE.
const VALUE: u64 = 0x11;

/// Byte-string attributes of a SoftHSM object file.
fn attributes(file: &Path) -> Vec<(u64, Vec<u8>)> {
    let bytes = std::fs::read(file).unwrap();
    let number = |at: usize| bytes.get(at..at + 8).map(|b| u64::from_be_bytes(b.try_into().unwrap()));
    let (mut at, mut out) = (8, Vec::new());
    while let (Some(kind), Some(form)) = (number(at), number(at + 8)) {
        at += 16;
        at += match form {
            1 => 1,
            2 => 8,
            _ => {
                let length = number(at).unwrap() as usize;
                if form == 3 {
                    out.push((kind, bytes[at + 8..at + 8 + length].to_vec()));
                }
                8 + length
            }
        };
    }
    out
}

/// AES-256-CBC with PKCS#7 padding, by openssl; `None` when the padding is wrong.
fn decrypt(factory: &Factory, key: &[u8], iv_and_data: &[u8]) -> Option<Vec<u8>> {
    let (iv, data) = iv_and_data.split_at_checked(16)?;
    let mut command = factory.fixture.command("openssl");
    command.args(["enc", "-d", "-aes-256-cbc", "-K", &hex::encode(key), "-iv", &hex::encode(iv)]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(data).unwrap();
    let out = child.wait_with_output().unwrap();
    out.status.success().then_some(out.stdout)
}

/// Every file below `directory`.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|e| e.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).filter(|p| p.is_file()).collect()
}

/// The scalar of the key in the first certificate of `chain`, out of SoftHSM's files.
fn scalar(factory: &Factory, chain: &str) -> [u8; 32] {
    let certificate = pem::certificates(&std::fs::read(factory.path(chain)).unwrap()).unwrap().remove(0);
    let wanted = keys::of_certificate(&certificate).unwrap();
    for token in std::fs::read_dir(factory.path("tokens")).unwrap().map(|e| e.unwrap().path()) {
        let pin = attributes(&token.join("token.object")).into_iter().find(|(kind, _)| *kind == USER_PIN).unwrap().1;
        let (salt, sealed) = pin.split_at(8);
        let mut key: [u8; 32] = Sha256::new().chain_update(salt).chain_update(PIN).finalize().into();
        for _ in 1..1500 + u32::from(salt[7]) {
            key = Sha256::digest(key).into();
        }
        let token_key = decrypt(factory, &key, sealed).unwrap();
        assert_eq!(&token_key[..3], b"RJR", "SoftHSM's mark of a right PIN");
        for object in files(&token).iter().filter(|f| f.extension().is_some_and(|e| e == "object")) {
            for (_, value) in attributes(object).into_iter().filter(|(kind, _)| *kind == VALUE) {
                let plain = decrypt(factory, &token_key[3..], &value).unwrap_or_default();
                let Ok(secret) = p256::ecdsa::SigningKey::from_slice(&plain) else { continue };
                let point = secret.verifying_key().to_sec1_point(false);
                if wanted.ends_with(point.as_bytes()) {
                    return plain.try_into().unwrap();
                }
            }
        }
    }
    panic!("the issuing key is in no token");
}

/// The forms of the scalar that are searched for.
fn forms(scalar: &[u8; 32]) -> Vec<Vec<u8>> {
    let reversed: Vec<u8> = scalar.iter().rev().copied().collect();
    let text = [hex::encode(scalar), hex::encode_upper(scalar)].map(String::into_bytes);
    [scalar.to_vec(), reversed].into_iter().chain(text).collect()
}

/// Scans a process; only root may read one that is not dumpable.
fn scan(pid: u32, needles: &[Vec<u8>]) -> Value {
    let judge = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/judges/memory.py");
    let root = rustix::process::geteuid().is_root();
    let mut command = Command::new(if root { "python3" } else { "sudo" });
    if !root {
        command.args(["-n", "python3"]);
    }
    let mut child = command.arg(judge).arg(pid.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let lines: String = needles.iter().map(|n| hex::encode(n) + "\n").collect();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success(), "{}", text(&out));
    serde_json::from_slice(&out.stdout).unwrap()
}

/// The token's library in a process of its own.
fn serve_token(factory: &Factory) -> Child {
    let mut command = factory.fixture.command("p11-kit");
    let socket = factory.path("p11.sock");
    command.args(["server", "-f", "--provider", SOFTHSM, "--name", socket.to_str().unwrap(), "pkcs11:"]);
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    while !socket.exists() {
        assert!(Instant::now() < until, "p11-kit server does not start");
        std::thread::sleep(Duration::from_millis(10));
    }
    child
}

#[test]
fn the_scalar_is_in_no_memory_file_or_log_and_the_pin_in_no_log() {
    let mut factory = Factory::new();
    let secret = scalar(&factory, "factory-chain.pem");
    let needles = forms(&secret);
    let mut server = serve_token(&factory);
    factory.reconfigure(SOFTHSM, CLIENT);
    let log = std::fs::File::create(factory.path("daemon.log")).unwrap();
    let mut command = factory.daemon_command();
    command.env("P11_KIT_SERVER_ADDRESS", format!("unix:path={}", factory.path("p11.sock").display()));
    let child = command.env("SEALWRIGHT_LOG", "trace").stdin(Stdio::null()).stderr(log).spawn().unwrap();
    let pid = child.id();
    factory.adopt(child);

    let csr = factory.request("a");
    let during = std::thread::scope(|scope| {
        let scanning = scope.spawn(|| scan(pid, &needles));
        for n in 0..12 {
            factory.enrolled(&format!("r-{n}"), "unit", &csr);
        }
        scanning.join().unwrap()
    });
    let after = scan(pid, &needles);
    for found in [&during, &after] {
        assert_eq!(found["found"], serde_json::json!([]), "the daemon holds the issuing key: {found}");
        assert!(found["bytes"].as_u64().unwrap() > 1 << 20, "{found}");
        let libraries = found["libraries"].to_string();
        assert!(libraries.contains("p11-kit-client") && !libraries.contains("softhsm"), "{libraries}");
    }
    let mine = scan(std::process::id(), &needles);
    assert_eq!(mine["found"], serde_json::json!([0, 1, 2, 3]), "the scan is blind: {mine}");
    factory.stop();
    server.kill().unwrap();
    server.wait().unwrap();

    assert!(!factory.log().is_empty());
    let all = files(&factory.path(""));
    assert!(all.len() > 20, "found only {} files", all.len());
    let occurs = |bytes: &[u8], needle: &[u8]| bytes.windows(needle.len()).any(|w| w == needle);
    for file in all {
        let bytes = std::fs::read(&file).unwrap();
        assert!(!needles.iter().any(|n| occurs(&bytes, n)), "{} holds the scalar", file.display());
        let is_pin = file.file_name().is_some_and(|n| n == "pin");
        assert_eq!(occurs(&bytes, PIN.as_bytes()), is_pin, "the PIN and {}", file.display());
    }
}
