//! `sealwright enroll --batch`: a file of requests in, a file of answers out.

use crate::{Failure, Verdict};
use indicatif::{ProgressBar, ProgressStyle};
use sealwright::api::client::Client;
use sealwright::api::wire::{BatchAnswer, CertificateRequest};
use std::collections::{BTreeMap, HashMap};
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::time::{Duration, Instant};

/// Most requests in one file.
const MAX_REQUESTS: usize = 1_000_000;
/// Rounds without a single answer after which the daemon is given up.
const PATIENCE: u32 = 5;
/// Refusals printed one by one.
const SHOWN: usize = 20;

/// What came of a batch.
#[derive(Default)]
struct Outcome {
    issued: u64,
    replayed: u64,
    refused: BTreeMap<String, u64>,
    reasons: Vec<String>,
}

/// Runs the batch; a refusal makes a bad verdict, an unanswered request a failure.
pub fn run(socket: &Path, file: &Path, out: &Path, json: bool) -> Result<Verdict, Failure> {
    let mut open = read(file)?;
    let total = open.len();
    let answers = OpenOptions::new().write(true).create_new(true).open(out).map_err(|e| format!("{}: {e}", out.display()))?;
    let mut answers = BufWriter::new(answers);
    let bar = ProgressBar::new(total as u64);
    bar.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len} certificates  {per_sec}  eta {eta}  {msg}")?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let client = Client::new(socket);
    let started = Instant::now();
    let (mut outcome, mut fruitless) = (Outcome::default(), 0);
    while !open.is_empty() {
        let before = open.len();
        let mut sent: Vec<CertificateRequest> = open.values().cloned().collect();
        sent.sort_by(|a, b| a.request_id.cmp(&b.request_id));
        let mut failed = Ok(());
        let ended = runtime.block_on(client.enroll_batch(sent.into_iter(), |answer| {
            if settled(&answer, &mut open, &mut outcome) {
                bar.inc(1);
                let written = serde_json::to_writer(&mut answers, &answer).map_err(std::io::Error::from);
                failed = written.and_then(|()| answers.write_all(b"\n"));
            }
        }));
        failed.map_err(|e| format!("{}: {e}", out.display()))?;
        fruitless = if open.len() < before { 0 } else { fruitless + 1 };
        match ended {
            Err(error) if !error.is_transient() || fruitless >= PATIENCE => return Err(error.into()),
            _ if fruitless >= PATIENCE => return Err(format!("{} requests are not answered; run the same batch again", open.len()).into()),
            _ if open.is_empty() => {}
            // Asking again is safe: the request ids see to that.
            _ => std::thread::sleep(Duration::from_millis(500)),
        }
    }
    answers.flush().map_err(|e| format!("{}: {e}", out.display()))?;
    bar.finish_and_clear();
    report(&outcome, total, started.elapsed(), json);
    Ok(if outcome.refused.is_empty() { Verdict::Good } else { Verdict::Bad })
}

/// Reads the requests; each id once.
fn read(file: &Path) -> Result<HashMap<String, CertificateRequest>, Failure> {
    let named = |number: usize, reason: String| format!("{}:{}: {reason}", file.display(), number + 1);
    let lines = BufReader::new(std::fs::File::open(file).map_err(|e| format!("{}: {e}", file.display()))?).lines();
    let mut requests = HashMap::new();
    for (number, line) in lines.enumerate() {
        let line = line.map_err(|e| named(number, e.to_string()))?;
        if line.trim().is_empty() {
            continue;
        }
        let request: CertificateRequest = serde_json::from_str(&line).map_err(|e| named(number, e.to_string()))?;
        if requests.len() == MAX_REQUESTS {
            return Err(named(number, format!("over {MAX_REQUESTS} requests; split the file")).into());
        }
        let id = request.request_id.clone();
        if requests.insert(id.clone(), request).is_some() {
            return Err(named(number, format!("request id '{id}' occurs twice")).into());
        }
    }
    Ok(requests)
}

/// Takes an answer into account; `false` when its request stays open.
fn settled(answer: &BatchAnswer, open: &mut HashMap<String, CertificateRequest>, outcome: &mut Outcome) -> bool {
    if answer.problem.as_ref().is_some_and(|p| matches!(p.status, 408 | 429 | 503)) {
        return false;
    }
    let Some(id) = answer.request_id.as_ref().filter(|id| open.remove(*id).is_some()) else { return false };
    match (&answer.certificate, &answer.problem) {
        (Some(certificate), _) if certificate.replayed => outcome.replayed += 1,
        (Some(_), _) => outcome.issued += 1,
        (None, problem) => {
            let title = problem.as_ref().map_or("no certificate and no problem", |p| p.title.as_str());
            *outcome.refused.entry(title.to_owned()).or_default() += 1;
            if outcome.reasons.len() < SHOWN {
                let rules = problem.iter().flat_map(|p| &p.rules).map(|r| format!("{}: {}", r.rule, r.reason));
                let rules: Vec<String> = rules.collect();
                outcome.reasons.push(format!("{id}: {}", if rules.is_empty() { title.to_owned() } else { rules.join("; ") }));
            }
        }
    }
    true
}

fn report(outcome: &Outcome, total: usize, elapsed: Duration, json: bool) {
    let Outcome { issued, replayed, refused, reasons } = outcome;
    let rate = total as f64 / elapsed.as_secs_f64().max(1e-9);
    if json {
        let value = serde_json::json!({
            "requests": total, "issued": issued, "replayed": replayed, "refused": refused, "seconds": elapsed.as_secs_f64(), "per_second": rate,
        });
        println!("{value}");
        return;
    }
    println!("{issued} issued, {replayed} answered as before, {} refused; {rate:.0} a second", refused.values().sum::<u64>());
    for (title, count) in refused {
        println!("  {count:>8}  {title}");
    }
    reasons.iter().for_each(|r| println!("  {r}"));
}
