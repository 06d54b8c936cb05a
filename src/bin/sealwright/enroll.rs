//! `sealwright enroll`: ask the daemon for one certificate.

use crate::{Failure, Verdict};
use sealwright::api::client::{Client, ClientError};
use sealwright::api::wire::{CertificateRequest, Device};
use sealwright::durable;
use std::path::PathBuf;

/// Ask the daemon for a certificate for a PKCS#10 request.
#[derive(clap::Args)]
pub struct Args {
    /// The daemon's socket.
    #[arg(long, value_name = "PATH")]
    socket: PathBuf,
    /// Profile name.
    #[arg(long)]
    profile: String,
    /// Kind of the device id: free, mac or uuid.
    #[arg(long, default_value = "free")]
    kind: String,
    /// Device id.
    #[arg(long)]
    id: String,
    /// Device type.
    #[arg(long)]
    device_type: Option<String>,
    /// Hardware revision.
    #[arg(long)]
    hardware_revision: Option<String>,
    /// Firmware version.
    #[arg(long)]
    firmware_version: Option<String>,
    /// Idempotency key; the same key with the same request gives the same certificate.
    #[arg(long, value_name = "ID")]
    request_id: String,
    /// PKCS#10 request, PEM or DER.
    #[arg(long, value_name = "FILE")]
    csr: PathBuf,
    /// Where to write certificate and chain (PEM); must not exist. Standard output when absent.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print the daemon's whole answer as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command; a refusal by the daemon is a bad verdict.
pub fn run(args: Args) -> Result<Verdict, Failure> {
    let csr = std::fs::read(&args.csr).map_err(|e| format!("{}: {e}", args.csr.display()))?;
    let csr = match String::from_utf8(csr) {
        Ok(text) => text,
        Err(der) => sealwright::x509::pem::encode(sealwright::x509::pem::REQUEST, der.as_bytes()),
    };
    let device = Device {
        kind: args.kind,
        id: args.id,
        device_type: args.device_type,
        hardware_revision: args.hardware_revision,
        firmware_version: args.firmware_version,
    };
    let request = CertificateRequest { request_id: args.request_id, profile: args.profile, device, csr };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answer = match runtime.block_on(Client::new(&args.socket).enroll(&request)) {
        Ok(answer) => answer,
        Err(ClientError::Problem(details)) => {
            if args.json {
                println!("{}", serde_json::to_string(&details)?);
            } else {
                eprintln!("sealwright: {}", ClientError::Problem(details));
            }
            return Ok(Verdict::Bad);
        }
        Err(error) => return Err(error.into()),
    };
    let pem = answer.certificate.clone() + &answer.chain.concat();
    if let Some(path) = &args.out {
        durable::create_new(path, pem.as_bytes(), 0o644).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    match (args.json, args.out.is_some()) {
        (true, _) => println!("{}", serde_json::to_string(&answer)?),
        (false, false) => print!("{pem}"),
        (false, true) => println!("serial {} for {}, log entry {}", answer.serial, answer.device, answer.log_index),
    }
    Ok(Verdict::Good)
}
