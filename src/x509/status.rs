//! Certificate revocation lists (RFC 5280 §5): built, linted, completed with a verified signature.

use super::keys;
use super::lint::{Finding, Severity};
use super::tbs::{Issuer, TbsError, extension, time};
use crate::types::Serial;
use der::asn1::{AnyRef, BitString, OctetString, Uint};
use der::{Decode, Encode, Enumerated, Sequence};
use spki::AlgorithmIdentifierOwned;
use std::collections::BTreeSet;
use x509_cert::crl::{CertificateList, RevokedCert};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::{AuthorityKeyIdentifier, CrlNumber};
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::time::Time;

/// Most entries of one list.
pub const MAX_REVOKED: usize = 1_000_000;

/// Why a certificate is revoked (RFC 5280 §5.3.1), without those that cannot apply to a device factory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Enumerated)]
#[asn1(type = "ENUMERATED")]
#[repr(u8)]
pub enum Reason {
    /// No reason is given; encoded by leaving the extension out, as §5.3.1 asks.
    Unspecified = 0,
    /// The private key is or may be known to others.
    KeyCompromise = 1,
    /// The CA's private key is or may be known to others.
    CaCompromise = 2,
    /// The name no longer fits.
    AffiliationChanged = 3,
    /// Replaced by another certificate.
    Superseded = 4,
    /// No longer needed.
    CessationOfOperation = 5,
    /// What the certificate grants was withdrawn.
    PrivilegeWithdrawn = 9,
}

impl Reason {
    /// Reads `unspecified`, `key-compromise`, `ca-compromise`, `affiliation-changed`,
    /// `superseded`, `cessation-of-operation`, `privilege-withdrawn`.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "unspecified" => Self::Unspecified,
            "key-compromise" => Self::KeyCompromise,
            "ca-compromise" => Self::CaCompromise,
            "affiliation-changed" => Self::AffiliationChanged,
            "superseded" => Self::Superseded,
            "cessation-of-operation" => Self::CessationOfOperation,
            "privilege-withdrawn" => Self::PrivilegeWithdrawn,
            _ => return None,
        })
    }
}

/// One revoked certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// Serial number.
    pub serial: Serial,
    /// Since when, Unix seconds.
    pub at: i64,
    /// Why.
    pub reason: Reason,
}

/// The content of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrlPlan {
    /// CRL number (§5.2.3), rising from list to list (I5).
    pub number: u64,
    /// Unix seconds.
    pub this_update: i64,
    /// Unix seconds.
    pub next_update: i64,
    /// Entries in the order in which they are listed.
    pub revoked: Vec<Revoked>,
}

#[derive(Sequence)]
struct CrlFields {
    /// v2 (§5.1.2.1).
    version: u8,
    signature: AlgorithmIdentifierOwned,
    issuer: Name,
    this_update: Time,
    next_update: Time,
    revoked: Option<Vec<RevokedCert>>,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    extensions: Vec<Extension>,
}

#[derive(Sequence)]
struct SignedFields<'a> {
    tbs: AnyRef<'a>,
    algorithm: AlgorithmIdentifierOwned,
    signature: BitString,
}

/// A TBSCertList that passed every lint: the only list that is ever given to a token.
#[derive(Clone, Debug)]
pub struct LintedCrl(Vec<u8>);

impl LintedCrl {
    /// Builds and lints a list. Same inputs, same bytes. `Err` holds every finding.
    pub fn build(plan: &CrlPlan, issuer: &Issuer) -> Result<Self, Vec<Finding>> {
        let findings = lint(plan);
        if !findings.is_empty() {
            return Err(findings);
        }
        let broken = |e: TbsError| vec![finding("crl-encoding", "RFC 5280 §5.1", e.to_string())];
        encode(plan, issuer).map(Self).map_err(broken)
    }

    /// The bytes to sign.
    pub fn der(&self) -> &[u8] {
        &self.0
    }

    /// Completes the list after verifying the signature with the issuer's public key.
    pub fn attach(&self, issuer: &Issuer, signature: &[u8]) -> Result<Vec<u8>, TbsError> {
        keys::verify(issuer.spki_der(), issuer.algorithm(), &self.0, signature)?;
        let der = SignedFields {
            tbs: AnyRef::from_der(&self.0)?,
            algorithm: keys::algorithm_identifier(issuer.algorithm()),
            signature: BitString::from_bytes(signature)?,
        }
        .to_der()?;
        // Another decoder must read it back.
        CertificateList::<x509_cert::certificate::Rfc5280>::from_der(&der)?;
        Ok(der)
    }
}

fn finding(rule: &'static str, clause: &'static str, reason: String) -> Finding {
    Finding { rule, clause, severity: Severity::Error, reason }
}

fn lint(plan: &CrlPlan) -> Vec<Finding> {
    let distinct: BTreeSet<&Serial> = plan.revoked.iter().map(|r| &r.serial).collect();
    let rules = [
        (plan.next_update <= plan.this_update, "crl-updates", "RFC 5280 §5.1.2.5", "nextUpdate is not later than thisUpdate"),
        (plan.revoked.len() > MAX_REVOKED, "crl-size", "sealwright", "over a million entries"),
        (distinct.len() != plan.revoked.len(), "crl-duplicate", "RFC 5280 §5.1.2.6", "a serial number is listed twice"),
        (plan.revoked.iter().any(|r| r.at > plan.this_update), "crl-future", "RFC 5280 §5.1.2.6", "a revocation lies after thisUpdate"),
    ];
    let broken = rules.into_iter().filter(|(bad, ..)| *bad);
    broken.map(|(_, rule, clause, reason)| finding(rule, clause, reason.to_owned())).collect()
}

fn encode(plan: &CrlPlan, issuer: &Issuer) -> Result<Vec<u8>, TbsError> {
    let mut revoked = Vec::with_capacity(plan.revoked.len());
    for entry in &plan.revoked {
        let reason = match entry.reason {
            Reason::Unspecified => None,
            reason => Some(vec![Extension {
                extn_id: const_oid::db::rfc5280::ID_CE_CRL_REASONS,
                critical: false,
                extn_value: OctetString::new(reason.to_der()?)?,
            }]),
        };
        revoked.push(RevokedCert {
            serial_number: SerialNumber::new(entry.serial.as_bytes())?,
            revocation_date: time(entry.at)?,
            crl_entry_extensions: reason,
        });
    }
    let aki = AuthorityKeyIdentifier { key_identifier: Some(OctetString::new(issuer.key_identifier())?), ..Default::default() };
    let fields = CrlFields {
        version: 1,
        signature: keys::algorithm_identifier(issuer.algorithm()),
        issuer: issuer.name().clone(),
        this_update: time(plan.this_update)?,
        next_update: time(plan.next_update)?,
        // §5.1.2.6: absent when nothing is revoked.
        revoked: if revoked.is_empty() { None } else { Some(revoked) },
        extensions: vec![extension(&aki, false)?, extension(&CrlNumber(Uint::new(&plan.number.to_be_bytes())?), false)?],
    };
    Ok(fields.to_der()?)
}

/// A list read back: what must not shrink or go back from one list to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedCrl {
    /// CRL number.
    pub number: u64,
    /// Unix seconds.
    pub this_update: i64,
    /// Serial numbers listed, big endian.
    pub serials: Vec<Vec<u8>>,
}

impl PublishedCrl {
    /// Reads a DER list and verifies it with the issuer's key. `Err` says what is wrong.
    pub fn verify(der: &[u8], issuer: &Issuer) -> Result<Self, String> {
        let list = CertificateList::<x509_cert::certificate::Rfc5280>::from_der(der).map_err(|e| format!("not a DER CRL: {e}"))?;
        let tbs = list.tbs_cert_list.to_der().map_err(|e| e.to_string())?;
        let algorithm = keys::signature_algorithm(&list.signature_algorithm).map_err(|e| e.to_string())?;
        let signature = list.signature.as_bytes().unwrap_or_default();
        keys::verify(issuer.spki_der(), algorithm, &tbs, signature).map_err(|_| "not signed by this issuer".to_owned())?;
        let extensions = list.tbs_cert_list.crl_extensions.unwrap_or_default();
        let number = extensions.iter().find(|e| e.extn_id == const_oid::db::rfc5280::ID_CE_CRL_NUMBER);
        let number = number.and_then(|e| Uint::from_der(e.extn_value.as_bytes()).ok()).ok_or("has no CRL number")?;
        let number = number.as_bytes().iter().try_fold(0u64, |n, b| n.checked_mul(256)?.checked_add(u64::from(*b)));
        let revoked = list.tbs_cert_list.revoked_certificates.unwrap_or_default();
        Ok(Self {
            number: number.ok_or("CRL number over 2^64")?,
            this_update: super::tbs::seconds(&list.tbs_cert_list.this_update),
            serials: revoked.iter().map(|r| r.serial_number.as_bytes().to_vec()).collect(),
        })
    }
}
