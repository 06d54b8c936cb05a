//! `sealwright lint`: the rules that issuance applies, on any certificate.

use crate::{Failure, Verdict};
use sealwright::x509::lint::{Finding, Severity, Standard, lint_certificate, rules};
use sealwright::x509::pem;
use sealwright::x509::tbs::Issuer;
use serde_json::json;
use std::path::PathBuf;

/// Judge certificates by RFC 5280 and, when named, by device standards.
#[derive(clap::Args)]
pub struct Args {
    /// Certificates, PEM or DER.
    #[arg(required_unless_present = "rules")]
    files: Vec<PathBuf>,
    /// Certificate of the issuer, for the rules between the two.
    #[arg(long)]
    issuer: Option<PathBuf>,
    /// Standard to follow (may be repeated); 'sealwright lint --rules' names them.
    #[arg(long = "standard", value_parser = standard)]
    standards: Vec<Standard>,
    /// List every rule with its clause instead.
    #[arg(long)]
    rules: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

fn standard(text: &str) -> Result<Standard, String> {
    let names: Vec<&str> = Standard::ALL.iter().map(|(name, _)| *name).collect();
    Standard::parse(text).ok_or_else(|| format!("use one of {}", names.join(", ")))
}

/// Runs the command.
pub fn run(args: Args) -> Result<Verdict, Failure> {
    if args.rules {
        show_rules(args.json);
        return Ok(Verdict::Good);
    }
    let read = |path: &PathBuf| std::fs::read(path).map_err(|e| format!("cannot read {}: {e}", path.display()));
    let certificates = |path: &PathBuf| -> Result<Vec<Vec<u8>>, Failure> {
        pem::certificates(&read(path)?).map_err(|e| format!("{}: {e}; give a certificate in PEM or DER", path.display()).into())
    };
    let issuer = match &args.issuer {
        None => None,
        Some(path) => certificates(path)?.first().map(|der| Issuer::from_certificate(der)).transpose()?,
    };
    let mut judged: Vec<(String, Vec<Finding>)> = Vec::new();
    for path in &args.files {
        for (i, der) in certificates(path)?.iter().enumerate() {
            let name = if i == 0 { path.display().to_string() } else { format!("{}#{}", path.display(), i + 1) };
            let findings = lint_certificate(der, issuer.as_ref(), &args.standards).map_err(|e| format!("{name}: {e}"))?;
            judged.push((name, findings));
        }
    }
    show(&judged, args.json);
    let bad = judged.iter().flat_map(|(_, f)| f).any(|f| f.severity == Severity::Error);
    Ok(if bad { Verdict::Bad } else { Verdict::Good })
}

fn show(judged: &[(String, Vec<Finding>)], as_json: bool) {
    if as_json {
        let one = |f: &Finding| json!({ "rule": f.rule, "clause": f.clause, "severity": f.severity.name(), "reason": f.reason });
        let list: Vec<_> = judged.iter().map(|(n, f)| json!({ "file": n, "findings": f.iter().map(one).collect::<Vec<_>>() })).collect();
        println!("{}", json!({ "certificates": list }));
        return;
    }
    for (name, findings) in judged {
        println!("{name}: {}", if findings.is_empty() { "clean".to_owned() } else { format!("{} findings", findings.len()) });
        findings.iter().for_each(|f| println!("  {:<8} {}: {f}", f.severity.name(), f.rule));
    }
}

fn show_rules(as_json: bool) {
    let all = rules();
    if as_json {
        let one = |r: &(&str, &str, Severity, Vec<&str>)| json!({ "rule": r.0, "clause": r.1, "severity": r.2.name(), "standards": r.3 });
        println!("{}", json!({ "rules": all.iter().map(one).collect::<Vec<_>>() }));
        return;
    }
    for (id, clause, severity, standards) in &all {
        let limited = if standards.is_empty() { "every certificate".to_owned() } else { standards.join(", ") };
        println!("{id:<28} {:<8} {clause:<48} {limited}", severity.name());
    }
}
