//! `sealwright enroll`: ask the daemon for one certificate, or for many.

mod batch;

use crate::{Failure, Verdict};
use sealwright::api::client::{Client, ClientError};
use sealwright::api::wire::{CertificateRequest, Device};
use sealwright::durable;
use std::path::PathBuf;

/// Ask the daemon for a certificate for a PKCS#10 request, or for those of a file of requests.
#[derive(clap::Args)]
pub struct Args {
    /// The daemon's socket.
    #[arg(long, value_name = "PATH")]
    socket: PathBuf,
    /// File of requests, one JSON object a line as `POST /v1/certificates` takes it. Answers go to
    /// --out, one a line; what was answered before is answered with the same bytes.
    #[arg(long, value_name = "FILE", requires = "out", conflicts_with_all = ["profile", "id", "request_id", "csr"])]
    batch: Option<PathBuf>,
    /// Profile name.
    #[arg(long, required_unless_present = "batch")]
    profile: Option<String>,
    /// Kind of the device id: free, mac or uuid.
    #[arg(long, default_value = "free")]
    kind: String,
    /// Device id.
    #[arg(long, required_unless_present = "batch")]
    id: Option<String>,
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
    #[arg(long, value_name = "ID", required_unless_present = "batch")]
    request_id: Option<String>,
    /// PKCS#10 request, PEM or DER.
    #[arg(long, value_name = "FILE", required_unless_present = "batch")]
    csr: Option<PathBuf>,
    /// Where to write certificate and chain (PEM), or a batch's answers; must not exist. Standard
    /// output when absent.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print the daemon's whole answer as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command; a refusal by the daemon is a bad verdict.
pub fn run(args: Args) -> Result<Verdict, Failure> {
    if let (Some(file), Some(out)) = (&args.batch, &args.out) {
        return batch::run(&args.socket, file, out, args.json);
    }
    let (Some(profile), Some(id), Some(request_id), Some(csr)) = (args.profile, args.id, args.request_id, args.csr) else {
        return Err("give --profile, --id, --request-id and --csr, or --batch".into());
    };
    let csr = std::fs::read(&csr).map_err(|e| format!("{}: {e}", csr.display()))?;
    let csr = match String::from_utf8(csr) {
        Ok(text) => text,
        Err(der) => sealwright::x509::pem::encode(sealwright::x509::pem::REQUEST, der.as_bytes()),
    };
    let device = Device {
        kind: args.kind,
        id,
        device_type: args.device_type,
        hardware_revision: args.hardware_revision,
        firmware_version: args.firmware_version,
    };
    let request = CertificateRequest { request_id, profile, device, csr };
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
