//! Why a chain is refused: which certificate, which rule, which clause, what to do.

use std::fmt;

/// The family of rule that refused. Small on purpose: scripts branch on it, people read the reason.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Rule {
    /// Not a certificate in canonical DER.
    Encoding,
    /// Larger, longer or costlier than the verifier's bounds.
    Bounds,
    /// No issuer found among roots and intermediates.
    Issuer,
    /// A signature does not verify.
    Signature,
    /// Signature or key algorithm unknown, not allowed, or named differently inside and outside.
    Algorithm,
    /// The time lies outside a validity period.
    Validity,
    /// A certificate that issues is not allowed to, or a leaf is an authority.
    Authority,
    /// More intermediates than a path length constraint allows.
    PathLength,
    /// keyUsage or extendedKeyUsage does not allow the purpose.
    Usage,
    /// An extension is unknown and critical, repeated, or breaks its own rules.
    Extension,
    /// A name is missing, malformed or outside the name constraints.
    Name,
    /// Revoked, or its status cannot be known although it must.
    Revocation,
}

impl Rule {
    /// Stable lower-case name for scripts.
    pub fn name(self) -> &'static str {
        match self {
            Self::Encoding => "encoding",
            Self::Bounds => "bounds",
            Self::Issuer => "issuer",
            Self::Signature => "signature",
            Self::Algorithm => "algorithm",
            Self::Validity => "validity",
            Self::Authority => "authority",
            Self::PathLength => "path-length",
            Self::Usage => "usage",
            Self::Extension => "extension",
            Self::Name => "name",
            Self::Revocation => "revocation",
        }
    }

    /// What the person who sees the refusal can do.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Encoding => "fetch the certificate again from its source; it was damaged or is not DER/PEM X.509",
            Self::Bounds => "give fewer or smaller certificates, or raise the limit of the verifier",
            Self::Issuer => "add the missing intermediate, or check that the right root is embedded",
            Self::Signature => "do not trust this certificate: it was altered or is not from the issuer that it names",
            Self::Algorithm => "have the certificate issued with ECDSA P-256/P-384, RSA with SHA-256 or Ed25519, or widen the allowed set",
            Self::Validity => "check the clock or the time asked about; renew the certificate when it has expired",
            Self::Authority => "present a device certificate as the leaf, and issuers that carry basicConstraints CA and keyCertSign",
            Self::PathLength => "have the certificate issued by an authority whose path length allows it",
            Self::Usage => "use a certificate issued for this purpose, or ask for the purpose that it has",
            Self::Extension => "have the certificate reissued without the offending extension",
            Self::Name => "have the certificate issued under an authority whose name constraints allow its names",
            Self::Revocation => "do not trust this certificate; when only its status is missing, supply a current CRL of its issuer",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The place of a certificate in the chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// The certificate whose verdict was asked.
    Leaf,
    /// Between leaf and root.
    Intermediate,
    /// A root given to the builder.
    Root,
    /// A CRL given to the builder.
    Crl,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Leaf => "leaf",
            Self::Intermediate => "intermediate",
            Self::Root => "root",
            Self::Crl => "CRL",
        })
    }
}

/// One explained refusal.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{role} {subject}: {reason} [{rule}, {clause}]; {}", rule.remedy())]
pub struct Refusal {
    role: Role,
    subject: String,
    rule: Rule,
    clause: &'static str,
    reason: String,
}

impl Refusal {
    /// A refusal that names its certificate.
    pub fn new(role: Role, subject: &str, broken: Broken) -> Self {
        Self { role, subject: subject.to_owned(), rule: broken.rule, clause: broken.clause, reason: broken.reason }
    }

    /// Place of the refused certificate.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Its subject, quoted and free of control characters; `(unreadable)` when it did not decode.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The rule.
    pub fn rule(&self) -> Rule {
        self.rule
    }

    /// The clause of the standard behind the rule.
    pub fn clause(&self) -> &'static str {
        self.clause
    }

    /// What was found.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

/// A broken rule before it is known which certificate is meant.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{reason} [{rule}, {clause}]")]
pub struct Broken {
    pub(super) rule: Rule,
    pub(super) clause: &'static str,
    pub(super) reason: String,
}

impl Broken {
    /// A broken rule with its clause and finding.
    pub fn new(rule: Rule, clause: &'static str, reason: impl Into<String>) -> Self {
        Self { rule, clause, reason: reason.into() }
    }
}

/// `Err` unless `holds`.
pub(super) fn require(holds: bool, rule: Rule, clause: &'static str, reason: &str) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err(Broken::new(rule, clause, reason)) }
}
