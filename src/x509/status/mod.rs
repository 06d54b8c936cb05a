//! Revocation status: CRLs (RFC 5280 §5) and OCSP bodies (RFC 6960, nonces by RFC 9654).

pub mod crl;
pub mod ocsp;

use super::keys::KeyError;
use super::tbs::TbsError;

/// Why a status body cannot be built, read or completed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StatusError {
    /// Bytes that do not decode, or values that do not encode.
    #[error("not valid {what}: {reason}")]
    Der {
        /// `CRL`, `OCSP request` or `OCSP response`.
        what: &'static str,
        /// What does not fit.
        reason: String,
    },
    /// A rule of RFC 5280, 6960 or 9654.
    #[error("{clause}: {reason}")]
    Rule {
        /// The clause.
        clause: &'static str,
        /// What breaks it.
        reason: String,
    },
    /// Keys and signatures.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Name, time or algorithm of the issuer.
    #[error(transparent)]
    Tbs(#[from] TbsError),
    /// The result could not be written.
    #[error("cannot write: {0}")]
    Write(String),
}

/// CRLReason (RFC 5280 §5.3.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, der::Enumerated)]
#[repr(u8)]
pub enum Reason {
    /// No reason given; the extension is left out.
    Unspecified = 0,
    /// The subject's key leaked.
    KeyCompromise = 1,
    /// The issuer's key leaked.
    CaCompromise = 2,
    /// The subject's name changed.
    AffiliationChanged = 3,
    /// Replaced by another certificate.
    Superseded = 4,
    /// Not needed any more.
    CessationOfOperation = 5,
    /// On hold; may be released or revoked for good.
    CertificateHold = 6,
    /// Released from hold; in delta CRLs only.
    RemoveFromCrl = 8,
    /// A privilege in it was withdrawn.
    PrivilegeWithdrawn = 9,
    /// The attribute authority's key leaked.
    AaCompromise = 10,
}

impl Reason {
    /// Every reason with the name that commands use.
    const ALL: [(Self, &'static str); 10] = [
        (Self::Unspecified, "unspecified"),
        (Self::KeyCompromise, "key-compromise"),
        (Self::CaCompromise, "ca-compromise"),
        (Self::AffiliationChanged, "affiliation-changed"),
        (Self::Superseded, "superseded"),
        (Self::CessationOfOperation, "cessation-of-operation"),
        (Self::CertificateHold, "certificate-hold"),
        (Self::RemoveFromCrl, "remove-from-crl"),
        (Self::PrivilegeWithdrawn, "privilege-withdrawn"),
        (Self::AaCompromise, "aa-compromise"),
    ];

    /// The reason of a code; 7 is not used.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.iter().find(|(r, _)| r.code() == code).map(|(r, _)| *r)
    }

    /// Reads a name such as `key-compromise`.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, n)| *n == name).map(|(r, _)| *r)
    }

    /// Code in CRLs, OCSP responses and log entries.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// Name that commands use.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(r, _)| *r == self).map_or("unspecified", |(_, n)| n)
    }
}
