//! `sealwright audit`: check a log on a machine that trusts nobody.

use crate::log::{open_checkpoint, progress, verifier_key};
use crate::{Failure, Verdict};
use clap::Subcommand;
use sealwright::durable;
use sealwright::log::audit::{Report, Yardstick, audit, page};
use sealwright::log::reader::TileReader;
use sealwright::x509::pem;
use sealwright::x509::tbs::Issuer;
use serde_json::json;
use std::path::{Path, PathBuf};

/// Audit a log directory or mirror.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Recompute the tree and check everything that the entries say.
    Verify {
        /// Log or mirror directory.
        dir: PathBuf,
        /// The log's verifier key (name+id+base64), or a file that holds it.
        #[arg(long)]
        log_key: String,
        /// Checkpoint kept from the last audit; the log must extend it.
        #[arg(long)]
        since: Option<PathBuf>,
        /// PEM file with the issuers of the logged certificates; without it their signatures are not checked.
        #[arg(long)]
        issuer: Option<PathBuf>,
        /// File with the SHA-256 of every message that the issuing keys signed, one hexadecimal line each, from the token's own record.
        #[arg(long)]
        signed_digests: Option<PathBuf>,
        /// Write the report as a page to print, too; the file must not exist.
        #[arg(long)]
        html: Option<PathBuf>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Runs the command.
pub fn run(args: Args) -> Result<Verdict, Failure> {
    let Command::Verify { dir, log_key, since, issuer, signed_digests, html, json } = args.command;
    let key = verifier_key(&log_key)?;
    let yardstick = Yardstick {
        issuers: issuer.as_deref().map_or(Ok(Vec::new()), read_issuers)?,
        since: since.map(|path| open_checkpoint(&path, &key)).transpose()?,
        signed_digests: signed_digests.as_deref().map(read_digests).transpose()?,
    };
    let reader = TileReader::new(&dir);
    let bar = progress(reader.checkpoint(&key).map_or(0, |c| c.checkpoint().size()));
    let report = audit(&reader, &key, &yardstick, &mut |index| bar.set_position(index));
    bar.finish_and_clear();
    let report = report?;
    if let Some(path) = html {
        durable::create_new(&path, page(&report, &yardstick).as_bytes(), 0o644).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    if json {
        println!("{}", as_json(&report))
    } else {
        print(&report, &yardstick)
    }
    Ok(if report.is_clean() { Verdict::Good } else { Verdict::Bad })
}

fn as_json(report: &Report) -> serde_json::Value {
    let findings: Vec<_> = report.findings().iter().map(|f| json!({"index": f.index, "rule": f.rule, "reason": f.reason})).collect();
    json!({
        "origin": report.origin,
        "size": report.size,
        "root": hex::encode(report.root),
        "kinds": report.kinds,
        "policies": report.policies.iter().map(|(policy, count)| (hex::encode(policy), json!(count))).collect::<serde_json::Map<_, _>>(),
        "signatures_verified": report.signatures_verified,
        "first_time_ms": report.times.map(|t| t.0),
        "last_time_ms": report.times.map(|t| t.1),
        "clean": report.is_clean(),
        "first_index": report.first_index(),
        "findings": findings,
    })
}

fn print(report: &Report, yardstick: &Yardstick) {
    println!("{}: {} entries, root {}", report.origin, report.size, hex::encode(report.root));
    for (kind, count) in &report.kinds {
        println!("  {kind}: {count}");
    }
    match yardstick.issuers.len() {
        0 => println!("signatures of certificates: not checked (give --issuer)"),
        _ => println!("signatures of certificates: {} verified", report.signatures_verified),
    }
    for finding in report.findings() {
        let at = finding.index.map_or("log".to_owned(), |i| format!("entry {i}"));
        println!("{at}: {}: {}", finding.rule, finding.reason);
    }
    match (report.is_clean(), report.first_index()) {
        (true, _) => println!("good: nothing to report"),
        (false, Some(index)) => println!("BAD: the first discrepancy is at entry {index}"),
        (false, None) => println!("BAD: see above"),
    }
}

fn read_issuers(path: &Path) -> Result<Vec<Issuer>, Failure> {
    let bytes = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let blocks = pem::certificates(&bytes).map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(blocks.iter().map(|der| Issuer::from_certificate(der)).collect::<Result<_, _>>()?)
}

fn read_digests(path: &Path) -> Result<Vec<[u8; 32]>, Failure> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let digest = |(n, line): (usize, &str)| {
        let bytes = hex::decode(line.trim()).ok().and_then(|b| b.try_into().ok());
        bytes.ok_or_else(|| format!("{}: line {}: not 64 hexadecimal digits", path.display(), n + 1).into())
    };
    text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()).map(digest).collect()
}
