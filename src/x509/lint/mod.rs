//! Lint: the only door from [`Tbs`] to [`Linted`], and the judge of any other certificate.
//!
//! Every rule is a row of a table: id, clause, severity, the standards to which it applies, and
//! a pure function of the decoded certificate.

mod base;
mod extensions;
mod names;
mod standards;
mod view;

use super::chain::MAX_CERTIFICATE;
use super::tbs::{Issuer, Linted, Tbs, TbsError};
use der::{Decode, Encode};
use view::View;
use x509_cert::certificate::Certificate;

/// How bad a broken rule is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Severity {
    /// A SHOULD: explained, never in the way.
    Warning,
    /// A MUST: nothing is signed that breaks it.
    Error,
}

impl Severity {
    /// `warning` or `error`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// A standard beyond RFC 5280 that a certificate is meant to follow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standard {
    /// IEEE 802.1AR-2018 initial device identifier.
    IdevId,
    /// IEEE 802.1AR-2018 local device identifier.
    LdevId,
    /// IEEE 2030.5-2018 device certificate.
    Ieee20305,
    /// Matter device attestation certificate.
    MatterDac,
    /// Matter product attestation intermediate.
    MatterPai,
    /// Matter product attestation authority.
    MatterPaa,
}

impl Standard {
    /// Every standard with its name in profiles and on the command line.
    pub const ALL: [(&'static str, Self); 6] = [
        ("ieee-802.1ar-idevid", Self::IdevId),
        ("ieee-802.1ar-ldevid", Self::LdevId),
        ("ieee-2030.5", Self::Ieee20305),
        ("matter-dac", Self::MatterDac),
        ("matter-pai", Self::MatterPai),
        ("matter-paa", Self::MatterPaa),
    ];

    /// Name in profiles and on the command line.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, s)| *s == self).map_or("", |(name, _)| name)
    }

    /// Reads the name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().find(|(name, _)| *name == text).map(|(_, s)| *s)
    }
}

/// One broken rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Stable id, e.g. `basic-constraints-critical`.
    pub rule: &'static str,
    /// Clause, e.g. `RFC 5280 §4.2.1.9`.
    pub clause: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong.
    pub reason: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.reason, self.clause)
    }
}

/// One row of a table.
struct Rule {
    id: &'static str,
    clause: &'static str,
    severity: Severity,
    /// Empty: applies to every certificate.
    standards: &'static [Standard],
    /// What is wrong, if anything.
    broken: fn(&View<'_>) -> Option<String>,
}

/// A MUST of every certificate.
const fn must(id: &'static str, clause: &'static str, broken: fn(&View<'_>) -> Option<String>) -> Rule {
    Rule { id, clause, severity: Severity::Error, standards: &[], broken }
}

/// A SHOULD of every certificate.
const fn should(id: &'static str, clause: &'static str, broken: fn(&View<'_>) -> Option<String>) -> Rule {
    Rule { id, clause, severity: Severity::Warning, standards: &[], broken }
}

/// Reports `reason` when `bad`.
fn when(bad: bool, reason: &str) -> Option<String> {
    bad.then(|| reason.to_owned())
}

/// Checks every rule of RFC 5280; gives all errors, not the first.
pub fn lint(tbs: Tbs, issuer: &Issuer) -> Result<Linted, Vec<Finding>> {
    lint_for(tbs, issuer, &[])
}

/// Checks every rule of RFC 5280 and of the standards that the certificate shall follow.
pub fn lint_for(tbs: Tbs, issuer: &Issuer, standards: &[Standard]) -> Result<Linted, Vec<Finding>> {
    let view = View::new(&tbs.parsed, &tbs.der, Some(issuer), tbs.may_outlive_issuer);
    let mut findings = run(&view, standards);
    findings.retain(|f| f.severity == Severity::Error);
    if findings.is_empty() { Ok(Linted { tbs }) } else { Err(findings) }
}

/// Judges a finished DER certificate of anyone. Without an issuer, the rules between issuer and
/// certificate are left out; a self-issued certificate is its own issuer.
pub fn lint_certificate(der: &[u8], issuer: Option<&Issuer>, standards: &[Standard]) -> Result<Vec<Finding>, TbsError> {
    if der.len() > MAX_CERTIFICATE {
        return Err(TbsError::Der(format!("the certificate has {} bytes; at most {MAX_CERTIFICATE} are read", der.len())));
    }
    let certificate = Certificate::from_der(der)?;
    let tbs = certificate.tbs_certificate();
    let own = (issuer.is_none() && tbs.subject() == tbs.issuer()).then(|| Issuer::from_certificate(der)).transpose()?;
    let encoded = tbs.to_der()?;
    let view = View::new(tbs, &encoded, issuer.or(own.as_ref()), true);
    let mut findings = run(&view, standards);
    if certificate.signature_algorithm() != tbs.signature() {
        findings.push(Finding {
            rule: "signature-algorithm-agrees",
            clause: "RFC 5280 §4.1.1.2",
            severity: Severity::Error,
            reason: "signatureAlgorithm differs from the signature field inside".into(),
        });
    }
    if certificate.to_der()? != der {
        findings.push(not_der());
    }
    Ok(findings)
}

fn not_der() -> Finding {
    let reason = "the encoding is not DER: it does not encode back to the same bytes".into();
    Finding { rule: "der", clause: "X.690 §11", severity: Severity::Error, reason }
}

fn run(view: &View<'_>, standards: &[Standard]) -> Vec<Finding> {
    let tables = [base::RULES, names::RULES, extensions::RULES, standards::RULES];
    let applies = |r: &&Rule| r.standards.is_empty() || r.standards.iter().any(|s| standards.contains(s));
    tables
        .into_iter()
        .flatten()
        .filter(applies)
        .filter_map(|r| (r.broken)(view).map(|reason| Finding { rule: r.id, clause: r.clause, severity: r.severity, reason }))
        .collect()
}

/// Every rule as (id, clause, severity, names of the standards to which it is limited).
pub fn rules() -> Vec<(&'static str, &'static str, Severity, Vec<&'static str>)> {
    let tables = [base::RULES, names::RULES, extensions::RULES, standards::RULES];
    tables.into_iter().flatten().map(|r| (r.id, r.clause, r.severity, r.standards.iter().map(|s| s.name()).collect())).collect()
}
