//! `sealwright log`: look into a log, prove an entry, copy the log.

use crate::{Failure, Verdict};
use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};
use sealwright::durable;
use sealwright::log::checkpoint::SignedCheckpoint;
use sealwright::log::entry::{Entry, Event};
use sealwright::log::mirror::mirror;
use sealwright::log::proof::Proof;
use sealwright::log::reader::TileReader;
use sealwright::log::vkey::VerifierKey;
use sealwright::types::Serial;
use serde_json::json;
use std::path::{Path, PathBuf};

/// Look into the transparency log, prove an entry, mirror the log.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show the signed checkpoint and entries.
    Show {
        /// Log or mirror directory.
        dir: PathBuf,
        /// First entry to show; the checkpoint alone without it.
        index: Option<u64>,
        /// How many entries to show.
        #[arg(long, default_value_t = 1)]
        count: u64,
        #[command(flatten)]
        common: Common,
    },
    /// Write the proof that an entry is in the log, as a .tlog-proof file or to standard output.
    Prove {
        /// Log or mirror directory.
        dir: PathBuf,
        /// Index of the entry.
        #[arg(required_unless_present = "serial")]
        index: Option<u64>,
        /// Serial number of the certificate instead of an index; reads the whole log.
        #[arg(long, conflicts_with = "index")]
        serial: Option<String>,
        /// Checkpoint to prove against, e.g. one with cosignatures; the published one without it.
        #[arg(long)]
        checkpoint: Option<PathBuf>,
        /// File to create.
        #[arg(long)]
        out: Option<PathBuf>,
        #[command(flatten)]
        common: Common,
    },
    /// Bring a mirror, e.g. a USB directory, up to date; refuses a log that was rewritten.
    Mirror {
        /// Log or mirror directory to copy from.
        source: PathBuf,
        /// Mirror directory; created when absent.
        target: PathBuf,
        #[command(flatten)]
        common: Common,
    },
}

#[derive(clap::Args)]
struct Common {
    /// The log's verifier key (name+id+base64), or a file that holds it.
    #[arg(long)]
    log_key: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: Args) -> Result<Verdict, Failure> {
    match args.command {
        Command::Show { dir, index, count, common } => show(&dir, index, count, &common),
        Command::Prove { dir, index, serial, checkpoint, out, common } => {
            let key = verifier_key(&common.log_key)?;
            let reader = TileReader::new(&dir);
            let signed = match checkpoint {
                Some(path) => open_checkpoint(&path, &key)?,
                None => reader.checkpoint(&key)?,
            };
            let index = match (index, serial) {
                (Some(index), _) => index,
                (None, serial) => find_serial(&reader, signed.checkpoint().size(), &serial.unwrap_or_default())?,
            };
            let proof = Proof::make(&reader, index, &signed)?;
            if let Some(out) = out {
                durable::create_new(&out, proof.to_string().as_bytes(), 0o644).map_err(|e| format!("{}: {e}", out.display()))?;
                let size = signed.checkpoint().size();
                println!(
                    "{}",
                    if common.json {
                        json!({"index": index, "size": size}).to_string()
                    } else {
                        format!("entry {index} of {size}: {}", out.display())
                    }
                );
            } else {
                print!("{proof}");
            }
            Ok(Verdict::Good)
        }
        Command::Mirror { source, target, common } => {
            let key = verifier_key(&common.log_key)?;
            let reader = TileReader::new(&source);
            let bar = progress(reader.checkpoint(&key)?.checkpoint().size());
            let done = mirror(&reader, &key, &target, &mut |index| bar.set_position(index));
            bar.finish_and_clear();
            let done = done?;
            if common.json {
                println!("{}", json!({"before": done.before, "size": done.size}));
            } else {
                println!("{}: {} entries, {} of them new", target.display(), done.size, done.size - done.before);
            }
            Ok(Verdict::Good)
        }
    }
}

/// Reads a verifier key given as text or as the name of a file.
pub fn verifier_key(argument: &str) -> Result<VerifierKey, Failure> {
    if let Ok(key) = VerifierKey::parse(argument) {
        return Ok(key);
    }
    let text = std::fs::read_to_string(argument)
        .map_err(|e| format!("'{argument}' is neither a verifier key (name+id+base64) nor a readable file with one: {e}"))?;
    Ok(VerifierKey::parse(&text)?)
}

/// Reads and verifies a checkpoint file.
pub fn open_checkpoint(path: &Path, key: &VerifierKey) -> Result<SignedCheckpoint, Failure> {
    let bytes = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(SignedCheckpoint::open(&bytes, key)?)
}

/// A progress bar on a terminal, nothing elsewhere.
pub fn progress(length: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {human_pos}/{human_len} entries, {eta} left");
    let bar = ProgressBar::new(length);
    style.map_or(ProgressBar::hidden(), |style| bar.with_style(style))
}

fn show(dir: &Path, index: Option<u64>, count: u64, common: &Common) -> Result<Verdict, Failure> {
    let reader = TileReader::new(dir);
    let signed = reader.checkpoint(&verifier_key(&common.log_key)?)?;
    let checkpoint = signed.checkpoint();
    let Some(first) = index else {
        if common.json {
            let root = hex::encode(checkpoint.root());
            println!(
                "{}",
                json!({"origin": checkpoint.origin(), "size": checkpoint.size(), "root": root, "signatures": signed.note().signatures().len()})
            );
        } else {
            print!("{}", signed.note());
        }
        return Ok(Verdict::Good);
    };
    for index in first..first.saturating_add(count).min(checkpoint.size()).max(first + 1) {
        let entry = Entry::decode(&reader.entry(index, checkpoint.size())?)?;
        let value = describe(index, &entry);
        if common.json {
            println!("{value}");
        } else {
            let fields = value
                .as_object()
                .map(|o| o.iter().map(|(k, v)| format!("{k}={}", v.as_str().map_or(v.to_string(), str::to_owned))).collect::<Vec<_>>());
            println!("{}", fields.unwrap_or_default().join(" "));
        }
    }
    Ok(Verdict::Good)
}

fn describe(index: u64, entry: &Entry) -> serde_json::Value {
    let mut value = json!({
        "index": index,
        "kind": entry.event().name(),
        "time_ms": entry.time_ms(),
        "metadata": hex::encode(entry.metadata().as_bytes()),
        "policy": entry.policy().map(hex::encode),
    });
    match entry.event() {
        Event::Issued(der) | Event::CeremonyImported(der) => value["certificate"] = hex::encode(der).into(),
        Event::Revoked { issuer, serial, reason } => {
            value["issuer"] = issuer.to_string().into();
            value["serial"] = serial.to_string().into();
            value["reason"] = (*reason).into();
        }
        Event::CrlSigned(crl) => {
            value["issuer"] = crl.issuer.to_string().into();
            value["crl_number"] = crl.number.into();
            value["this_update"] = crl.this_update.into();
            value["next_update"] = crl.next_update.into();
            value["revoked"] = crl.entries.into();
        }
        event => value["text"] = event.text().unwrap_or_default().into(),
    }
    value
}

fn find_serial(reader: &TileReader, size: u64, text: &str) -> Result<u64, Failure> {
    let serial = Serial::parse(text)?;
    let bar = progress(size);
    for index in 0..size {
        bar.set_position(index);
        let entry = Entry::decode(&reader.entry(index, size)?)?;
        // A 20-octet serial number stands in the certificate as it is.
        let holds = |der: &[u8]| der.windows(20).any(|w| w == serial.as_bytes());
        if entry.event().certificate().is_some_and(|der| holds(der) && serial_of(der) == Some(serial.as_bytes().to_vec())) {
            bar.finish_and_clear();
            return Ok(index);
        }
    }
    bar.finish_and_clear();
    Err(format!("no certificate with serial number {serial} is in the log under this checkpoint").into())
}

fn serial_of(der: &[u8]) -> Option<Vec<u8>> {
    let cert = <x509_cert::Certificate as der::Decode>::from_der(der).ok()?;
    Some(cert.tbs_certificate().serial_number().as_bytes().to_vec())
}
