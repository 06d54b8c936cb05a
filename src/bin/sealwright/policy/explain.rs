//! `sealwright policy explain`: a profile in words, and a decision rule by rule, without signing.

use crate::{Failure, Verdict};
use sealwright::policy::cases::read_identity;
use sealwright::policy::decide::{Caller, IssuerContext};
use sealwright::policy::describe::describe;
use sealwright::policy::explain::{Explanation, explain};
use sealwright::policy::profile::Profile;
use sealwright::policy::sample;
use sealwright::policy::validity::parse_instant;
use sealwright::types::{ProfileName, Serial, unix_now};
use sealwright::x509::csr::VerifiedCsr;
use sealwright::x509::facts;
use sealwright::x509::lint::lint_for;
use sealwright::x509::pem;
use sealwright::x509::tbs::{Issuer, Tbs};
use serde_json::json;
use std::path::PathBuf;

/// Explain a profile, or what it says to a request.
#[derive(clap::Args)]
pub struct Args {
    /// Name of the profile.
    profile: String,
    /// Directory of profiles.
    #[arg(long, default_value = "policies")]
    policies: PathBuf,
    /// Device identity as kind:text, e.g. mac:00-1A-2B-3C-4D-5E; without it, only the profile is shown.
    #[arg(long)]
    identity: Option<String>,
    /// Device type.
    #[arg(long)]
    device_type: Option<String>,
    /// Hardware revision.
    #[arg(long)]
    hardware_revision: Option<String>,
    /// Firmware version.
    #[arg(long)]
    firmware_version: Option<String>,
    /// PKCS#10 request, PEM or DER; without it, a request with a fresh key of the profile's first algorithm.
    #[arg(long)]
    csr: Option<PathBuf>,
    /// Role of the caller; without it, the profile's first role.
    #[arg(long)]
    role: Option<String>,
    /// Certificate of the issuer; without it, a sample issuer.
    #[arg(long)]
    issuer: Option<PathBuf>,
    /// Decide as if the issuer's key were in a soft token.
    #[arg(long)]
    soft_token: bool,
    /// Time of the decision, YYYY-MM-DDThh:mm:ssZ; without it, now.
    #[arg(long)]
    at: Option<String>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<Verdict, Failure> {
    let set = super::load(&args.policies)?;
    let profile = set.require(&ProfileName::parse(&args.profile)?)?;
    let Some(identity) = &args.identity else {
        show_profile(profile, args.json);
        return Ok(Verdict::Good);
    };
    let read = |path: &PathBuf| std::fs::read(path).map_err(|e| format!("cannot read {}: {e}", path.display()));
    let identity =
        read_identity(identity, args.device_type.as_deref(), args.hardware_revision.as_deref(), args.firmware_version.as_deref())?;
    let now = match &args.at {
        None => unix_now(),
        Some(text) => parse_instant(text).ok_or("--at is YYYY-MM-DD or YYYY-MM-DDThh:mm:ssZ")?,
    };
    let csr = match &args.csr {
        Some(path) => VerifiedCsr::from_bytes(&read(path)?)?,
        None => sample::request(*profile.algorithms().first().ok_or("the profile accepts no key")?)?,
    };
    let issuer = match &args.issuer {
        None => sample::issuer(sample::SAMPLE_NAME, sample::SAMPLE_END)?,
        Some(path) => Issuer::from_certificate(pem::certificates(&read(path)?)?.first().ok_or("no certificate")?)?,
    };
    let role = args.role.as_deref().or(profile.roles().first().map(String::as_str)).unwrap_or("nobody");
    let context = IssuerContext { issuer: &issuer, soft_token: args.soft_token };
    let explanation = explain(profile, &Caller::new(role, rustix::process::getuid().as_raw())?, &csr, &identity, &context, now);
    let certificate = would_be(&explanation, &issuer)?;
    show_decision(profile, &explanation, certificate.as_deref(), args.json);
    Ok(if explanation.outcome.is_ok() { Verdict::Good } else { Verdict::Bad })
}

/// The certificate in words, built and linted but never signed.
fn would_be(explanation: &Explanation, issuer: &Issuer) -> Result<Option<String>, Failure> {
    let Ok(approved) = &explanation.outcome else { return Ok(None) };
    let tbs = Tbs::build(approved.plan(), issuer, &Serial::generate()?)?;
    let shown = facts::certificate(tbs.parsed());
    lint_for(tbs, issuer, approved.standards()).map_err(|f| f.iter().map(|f| format!("lint: {f}")).collect::<Vec<_>>().join("\n"))?;
    Ok(Some(shown))
}

fn show_profile(profile: &Profile, as_json: bool) {
    let rules = describe(profile);
    if as_json {
        let map: serde_json::Map<String, serde_json::Value> = rules.into_iter().map(|(k, v)| (k, v.into())).collect();
        println!("{}", json!({ "profile": profile.name().as_str(), "description": profile.description(), "rules": map }));
        return;
    }
    println!("{}: {}", profile.name(), profile.description());
    rules.iter().for_each(|(key, value)| println!("  {key:<34} {value}"));
}

fn show_decision(profile: &Profile, explanation: &Explanation, certificate: Option<&str>, as_json: bool) {
    if as_json {
        let lines: Vec<_> = explanation.lines.iter().map(|l| json!({ "rule": l.rule, "kept": l.kept, "why": l.why })).collect();
        let approved = explanation.outcome.is_ok();
        println!("{}", json!({ "profile": profile.name().as_str(), "approved": approved, "rules": lines, "certificate": certificate }));
        return;
    }
    for line in &explanation.lines {
        println!("{} {:<18} {}", if line.kept { "ok     " } else { "REFUSED" }, line.rule, line.why);
    }
    match certificate {
        Some(text) => println!("\nThe certificate would say (nothing was signed):\n{text}"),
        None => println!("\nNothing would be signed."),
    }
}
