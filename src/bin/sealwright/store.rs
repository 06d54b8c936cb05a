//! `sealwright store`: check, export and backup of a store directory.

use crate::{Failure, Verdict};
use indicatif::{ProgressBar, ProgressStyle};
use sealwright::store::{Filter, Found, Inspection};
use sealwright::types::{Fingerprint, ProfileName, Serial};
use sealwright::x509::pem;
use std::io::Write;
use std::path::PathBuf;

/// Check, search and back up a store; the daemon need not stop.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Read everything and compare every certificate with what was intended; exit code 1 when unsound.
    Check {
        /// Directory of the store.
        store: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Write what a search selects as JSON, one object a line, oldest first.
    Export(Export),
    /// Copy the store as it is at this moment into a new file.
    Backup {
        /// Directory of the store.
        store: PathBuf,
        /// Directory for the copy; must not hold a store.
        target: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(clap::Args)]
struct Export {
    /// Directory of the store.
    store: PathBuf,
    /// Canonical device identity, as certificates answers give it.
    #[arg(long)]
    device: Option<String>,
    /// Fingerprint of the public key: SHA-256 of its SubjectPublicKeyInfo, hexadecimal.
    #[arg(long)]
    key: Option<String>,
    /// Serial number, 40 hexadecimal digits.
    #[arg(long)]
    serial: Option<String>,
    /// Profile name.
    #[arg(long)]
    profile: Option<String>,
    /// Unix seconds; asked for at or after.
    #[arg(long, value_name = "SECONDS")]
    since: Option<i64>,
    /// Unix seconds; asked for before.
    #[arg(long, value_name = "SECONDS")]
    until: Option<i64>,
}

/// Runs the command.
pub fn run(args: Args) -> Result<Verdict, Failure> {
    match args.command {
        Command::Check { store, json } => check(&Inspection::open(&store)?, json),
        Command::Export(export) => self::export(export),
        Command::Backup { store, target, json } => {
            let bytes = Inspection::open(&store)?.backup(&target)?;
            if json {
                println!("{}", serde_json::json!({ "directory": target, "bytes": bytes }));
            } else {
                println!("{bytes} bytes in {}; check the copy with 'sealwright store check {0}'", target.display());
            }
            Ok(Verdict::Good)
        }
    }
}

fn check(store: &Inspection, json: bool) -> Result<Verdict, Failure> {
    let bar = ProgressBar::new(store.intents()?);
    bar.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len} intents  {per_sec}  eta {eta}")?);
    let checked = store.check(|| bar.inc(1))?;
    bar.finish_and_clear();
    let sound = checked.complaints.is_empty();
    if json {
        let value = serde_json::json!({
            "sound": sound, "certificates": checked.certificates, "intents": checked.intents, "complaints": checked.complaints,
        });
        println!("{value}");
    } else {
        println!(
            "{} certificates of {} intents read: {}",
            checked.certificates,
            checked.intents,
            if sound { "sound" } else { "NOT SOUND" }
        );
        checked.complaints.iter().for_each(|c| println!("  {c}"));
        if !sound {
            println!("restore store and log from a backup of the same moment");
        }
    }
    Ok(if sound { Verdict::Good } else { Verdict::Bad })
}

fn export(args: Export) -> Result<Verdict, Failure> {
    let seconds = |s: Option<i64>| s.map(|s| s.saturating_mul(1000));
    let filter = Filter {
        device: args.device,
        key: args.key.map(|k| Fingerprint::parse(&k)).transpose()?,
        serial: args.serial.map(|s| Serial::parse(&s)).transpose()?,
        profile: args.profile.map(|p| ProfileName::parse(&p)).transpose()?,
        since_ms: seconds(args.since),
        until_ms: seconds(args.until),
    };
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    Inspection::open(&args.store)?.each(&filter, |found| writeln!(out, "{}", line(&found)))?;
    out.flush()?;
    Ok(Verdict::Good)
}

fn line(found: &Found) -> serde_json::Value {
    let Found { serial, request, device, profile, key, role, uid, created_ms, state, certificate, leaf } = found;
    serde_json::json!({
        "version": 1, "serial": serial.to_string(), "request_id": request, "device": device, "profile": profile, "key": key,
        "role": role, "uid": uid, "created_ms": created_ms, "state": state, "log_index": leaf,
        "certificate": certificate.as_ref().map(|der| pem::encode(pem::CERTIFICATE, der)),
    })
}
