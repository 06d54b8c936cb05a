//! The callers: threads with a connection each, requests prepared as bytes beforehand, answers
//! timed whole and checked afterwards, so that the measuring program costs as little as it can.

use super::plant::{Daemon, Plant, Usage, usage};
use crate::Failure;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use p256::ecdsa::signature::Signer;
use sealwright::api::wire::{CertificateRequest, Device};
use sealwright::types::SignatureAlgorithm;
use sealwright::x509::csr::{RequestInfo, VerifiedCsr};
use sealwright::x509::{keys, pem};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Answers kept of a run to be verified as chains.
const SAMPLE: usize = 1000;
/// Largest answer expected.
const MAX_ANSWER: usize = 64 * 1024;

/// One device's request.
pub struct Prepared {
    /// PKCS#10, DER.
    pub csr: Vec<u8>,
    spki: Vec<u8>,
    http: Vec<u8>,
}

/// What one run did.
pub struct Run {
    /// Callers at a time.
    pub callers: usize,
    /// Certificates.
    pub count: usize,
    /// First request to last answer.
    pub elapsed: Duration,
    /// Each request's time, sorted.
    pub latencies: Vec<Duration>,
    /// The daemon before and after.
    pub daemon: (Usage, Usage),
    /// Processor time of the callers.
    pub callers_cpu: Duration,
    /// Some answers with the key that each must hold.
    pub sample: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Makes distinct keys and requests, on all cores. The keys are forgotten at once.
pub fn prepare(count: usize) -> Result<Vec<Prepared>, Failure> {
    let threads = std::thread::available_parallelism()?.get();
    let share = count.div_ceil(threads);
    let made: Result<Vec<Vec<Prepared>>, String> = std::thread::scope(|scope| {
        let one = |from: usize| move || (from..count.min(from + share)).map(prepare_one).collect::<Result<Vec<_>, _>>();
        let running: Vec<_> = (0..count).step_by(share).map(|from| scope.spawn(one(from))).collect();
        running.into_iter().map(|t| t.join().unwrap_or_else(|_| Err("a thread panicked".into()))).collect()
    });
    Ok(made?.into_iter().flatten().collect())
}

fn prepare_one(number: usize) -> Result<Prepared, String> {
    let text = |e: &dyn std::fmt::Display| e.to_string();
    let key = loop {
        let mut scalar = [0u8; 32];
        getrandom::fill(&mut scalar).map_err(|e| text(&e))?;
        if let Ok(key) = p256::ecdsa::SigningKey::from_slice(&scalar) {
            break key;
        }
    };
    let point = key.verifying_key().to_sec1_point(false);
    let xy: &[u8; 64] = point.as_bytes().get(1..).and_then(|b| b.try_into().ok()).ok_or("a point of another length")?;
    let spki = keys::p256_spki(xy).map_err(|e| text(&e))?;
    let info = RequestInfo::new(&Default::default(), &spki).map_err(|e| text(&e))?;
    let signature: p256::ecdsa::Signature = key.try_sign(info.der()).map_err(|e| text(&e))?;
    let csr: VerifiedCsr = info.assemble(SignatureAlgorithm::EcdsaSha256, signature.to_der().as_bytes()).map_err(|e| text(&e))?;
    let request = CertificateRequest {
        request_id: format!("bench-{number}"),
        profile: "generic-device".into(),
        device: Device {
            kind: "free".into(),
            id: format!("unit-{number:08}"),
            device_type: None,
            hardware_revision: None,
            firmware_version: None,
        },
        csr: pem::encode(pem::REQUEST, csr.der()),
    };
    let body = serde_json::to_string(&request).map_err(|e| text(&e))?;
    let head = format!(
        "POST /v1/certificates HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    Ok(Prepared { csr: csr.der().to_vec(), spki, http: (head + &body).into_bytes() })
}

/// Sends every request once, with `callers` connections.
pub fn run(plant: &Plant, daemon: &Daemon, requests: &[Prepared], callers: usize, show: bool) -> Result<Run, Failure> {
    let bar = ProgressBar::new(requests.len() as u64);
    bar.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len}  {per_sec}  eta {eta}")?);
    if !show {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    let (next, socket) = (AtomicUsize::new(0), plant.path("daemon.sock"));
    let (before, mine) = (daemon.usage()?, usage("self")?);
    let started = Instant::now();
    let results: Result<Vec<Vec<Answer>>, String> = std::thread::scope(|scope| {
        let call = || call(&socket, requests, &next, &bar).map_err(|e| e.to_string());
        let running: Vec<_> = (0..callers).map(|_| scope.spawn(call)).collect();
        running.into_iter().map(|t| t.join().unwrap_or_else(|_| Err("a caller panicked".into()))).collect()
    });
    let elapsed = started.elapsed();
    bar.finish_and_clear();
    let answers: Vec<Answer> = results?.into_iter().flatten().collect();
    let mut latencies: Vec<Duration> = answers.iter().map(|a| a.took).collect();
    latencies.sort_unstable();
    let stride = (answers.len() / SAMPLE).max(1);
    let sampled = answers.into_iter().filter(|a| a.number.is_multiple_of(stride));
    let key = |number: usize| requests.get(number).map(|r| r.spki.clone()).unwrap_or_default();
    Ok(Run {
        callers,
        count: latencies.len(),
        elapsed,
        latencies,
        daemon: (before, daemon.usage()?),
        callers_cpu: usage("self")?.cpu - mine.cpu,
        sample: sampled.map(|a| (a.body, key(a.number))).collect(),
    })
}

struct Answer {
    number: usize,
    took: Duration,
    body: Vec<u8>,
}

/// One caller: takes the next request until there is none.
fn call(socket: &Path, requests: &[Prepared], next: &AtomicUsize, bar: &ProgressBar) -> std::io::Result<Vec<Answer>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut answers = Vec::new();
    let mut buffer = Vec::with_capacity(MAX_ANSWER);
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let Some(request) = requests.get(number) else { return Ok(answers) };
        let started = Instant::now();
        stream.write_all(&request.http)?;
        let body = read_answer(&mut stream, &mut buffer)?;
        let took = started.elapsed();
        if !buffer.starts_with(b"HTTP/1.1 201") {
            return Err(std::io::Error::other(format!("request {number} was answered {}", String::from_utf8_lossy(&buffer))));
        }
        let kept = if number.is_multiple_of((requests.len() / SAMPLE).max(1)) { buffer[body..].to_vec() } else { Vec::new() };
        answers.push(Answer { number, took, body: kept });
        bar.inc(1);
    }
}

/// Reads one answer whole into `buffer`; gives where its body begins.
fn read_answer(stream: &mut UnixStream, buffer: &mut Vec<u8>) -> std::io::Result<usize> {
    buffer.clear();
    let mut chunk = [0u8; 8192];
    let (mut body, mut whole) = (0, usize::MAX);
    while buffer.len() < whole {
        let read = stream.read(&mut chunk)?;
        if read == 0 || buffer.len() + read > MAX_ANSWER {
            return Err(std::io::Error::other("the answer ended early or is too long"));
        }
        buffer.extend_from_slice(&chunk[..read]);
        if body == 0
            && let Some(end) = buffer.windows(4).position(|w| w == b"\r\n\r\n")
        {
            body = end + 4;
            let head = String::from_utf8_lossy(&buffer[..end]).to_ascii_lowercase();
            let length = head.lines().find_map(|l| l.strip_prefix("content-length:")).and_then(|v| v.trim().parse::<usize>().ok());
            whole = body + length.ok_or_else(|| std::io::Error::other("an answer without content-length"))?;
        }
    }
    Ok(body)
}
