//! `sealwright ceremony FILE`: show the plan, or carry it out.

use super::pin::PinArgs;
use super::{Failure, Verdict};
use sealwright::ca::ceremony::{Ceremony, CeremonyError, Pins, TokenRole};
use serde_json::json;
use std::path::PathBuf;

/// Carry out a key ceremony from one reviewed file, or resume an interrupted one.
///
/// The file is the only input; everything in it is checked and every certificate linted before
/// a token is touched. Running the same command again after an interruption goes on with it.
#[derive(clap::Args)]
pub struct Args {
    /// The ceremony file (TOML).
    file: PathBuf,
    /// Check everything and print the plan; its SHA-256 goes to standard error. Touches no token.
    #[arg(long)]
    dry_run: bool,
    /// PIN file of a token, as ROLE=PATH with ROLE `key`, `issuer` or `existing`; overrides the file's pin_file.
    #[arg(long, value_name = "ROLE=PATH")]
    pin_file: Vec<String>,
    /// Inherited descriptor with the PIN of a token, as ROLE=N.
    #[arg(long, value_name = "ROLE=N")]
    pin_fd: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs `sealwright ceremony`.
pub fn run(args: Args) -> Result<Verdict, Failure> {
    let ceremony = match Ceremony::read(&args.file) {
        Ok(ceremony) => ceremony,
        Err(refused @ CeremonyError::Faulty(_)) => {
            eprintln!("sealwright: {refused}");
            return Ok(Verdict::Bad);
        }
        Err(error) => return Err(error.into()),
    };
    if args.dry_run {
        let plan = ceremony.plan()?;
        if args.json {
            println!("{}", json!({ "plan": plan.as_str(), "sha256": plan.sha256() }));
        } else {
            print!("{}", plan.as_str());
            eprintln!("\nplan SHA-256: {}", plan.sha256());
        }
        return Ok(Verdict::Good);
    }
    let mut pins = Pins::new();
    for token in ceremony.tokens() {
        let pin = source(token, &args)?.read(&format!("the {} token, {}", token.role, token.uri))?;
        pins.insert(token.role, pin);
    }
    let quiet = args.json;
    let outcome = ceremony.run(&pins, &mut |step| {
        if !quiet {
            println!("· {step}");
        }
    })?;
    if args.json {
        let files: serde_json::Map<_, _> = outcome.files.iter().map(|(role, path)| ((*role).to_owned(), json!(path))).collect();
        let fingerprint = outcome.fingerprint.to_string();
        println!("{}", json!({ "fingerprint": fingerprint, "plan": outcome.plan, "resumed": outcome.resumed, "files": files }));
    } else {
        println!("key  sha256 {}", outcome.fingerprint);
        for (role, path) in outcome.files {
            println!("{role:<12} {path}");
        }
    }
    Ok(Verdict::Good)
}

/// The PIN source of one role: option before file before prompt.
fn source(token: &TokenRole, args: &Args) -> Result<PinArgs, Failure> {
    let of = |options: &[String]| -> Result<Option<String>, Failure> {
        for option in options {
            match option.split_once('=') {
                Some(("key" | "issuer" | "existing", _)) => {}
                _ => return Err(format!("'{option}' is not key=…, issuer=… or existing=…").into()),
            }
        }
        Ok(options.iter().filter_map(|o| o.split_once('=')).find(|(role, _)| *role == token.role).map(|(_, value)| value.to_owned()))
    };
    let (file, descriptor) = (of(&args.pin_file)?.map(PathBuf::from), of(&args.pin_fd)?);
    if file.is_some() && descriptor.is_some() {
        return Err(format!("both --pin-file and --pin-fd name the role '{}'", token.role).into());
    }
    let pin_fd = descriptor.map(|n| n.parse().map_err(|_| format!("'{n}' is not a descriptor number"))).transpose()?;
    let pin_file = if pin_fd.is_some() { None } else { file.or_else(|| token.pin_file.clone()) };
    Ok(PinArgs { pin_file, pin_fd })
}
