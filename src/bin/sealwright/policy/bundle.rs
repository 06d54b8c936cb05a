//! `sealwright policy seal` and `verify`: signed bundles.

use crate::{Failure, Verdict};
use sealwright::approval::Roster;
use sealwright::durable;
use sealwright::policy::bundle::{Bundle, BundleError, Manifest, NAMESPACE};
use sealwright::types::unix_now;
use serde_json::json;
use std::path::{Path, PathBuf};

/// Write the MANIFEST of a directory of profiles, ready to be approved.
#[derive(clap::Args)]
pub struct Seal {
    /// Directory of profiles.
    dir: PathBuf,
    /// MANIFEST of the bundle that this one follows; without it, this is version 1.
    #[arg(long)]
    previous: Option<PathBuf>,
}

/// Verify a bundle: files, manifest, and the approvals of M people.
#[derive(clap::Args)]
pub struct Verify {
    /// Directory of the bundle.
    dir: PathBuf,
    /// People whose approvals count, as an allowed signers file of ssh-keygen(1).
    #[arg(long)]
    roster: PathBuf,
    /// How many of them must have signed.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..))]
    approvals: u8,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

fn text(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|e| format!("cannot read {}: {e}", path.display()).into())
}

/// Runs `seal`.
pub fn seal(args: &Seal) -> Result<Verdict, Failure> {
    let previous = args.previous.as_deref().map(|path| text(path).and_then(|t| Ok(Manifest::parse(&t)?))).transpose()?;
    let manifest = match Manifest::seal(&super::sources(&args.dir)?, previous.as_ref()) {
        Ok(manifest) => manifest,
        Err(problems) => {
            super::report(&problems, false);
            return Ok(Verdict::Bad);
        }
    };
    let path = args.dir.join("MANIFEST");
    durable::create_new(&path, manifest.text().as_bytes(), 0o644)
        .map_err(|e| format!("cannot create {}: {e}; keep the old bundle and seal a copy of its profiles", path.display()))?;
    println!("{} is version {}, sha256:{}", path.display(), manifest.version(), hex::encode(manifest.hash()));
    println!(
        "approve: ssh-keygen -Y sign -n {NAMESPACE} -f KEY {0} && mv {0}.sig {1}/approvals/NAME.sig",
        path.display(),
        args.dir.display()
    );
    Ok(Verdict::Good)
}

/// Runs `verify`.
pub fn verify(args: &Verify) -> Result<Verdict, Failure> {
    let roster = Roster::parse(&text(&args.roster)?)?;
    match Bundle::open(&args.dir, &roster, usize::from(args.approvals), unix_now()) {
        Ok(bundle) => {
            let (version, manifest) = (bundle.manifest().version(), hex::encode(bundle.manifest().hash()));
            if args.json {
                let policy = hex::encode(bundle.set().hash());
                println!(
                    "{}",
                    json!({ "ok": true, "version": version, "manifest": manifest, "policy": policy, "approved_by": bundle.approved_by() })
                );
            } else {
                println!("good: version {version}, sha256:{manifest}, approved by {}", bundle.approved_by().join(", "));
            }
            Ok(Verdict::Good)
        }
        Err(e @ BundleError::File { .. }) => Err(e.into()),
        Err(e) => {
            if args.json {
                println!("{}", json!({ "ok": false, "reason": e.to_string() }));
            } else {
                println!("bad: {e}");
            }
            Ok(Verdict::Bad)
        }
    }
}
