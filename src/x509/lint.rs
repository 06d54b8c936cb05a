//! Lint: the only door from [`Tbs`] to [`Linted`]. Every rule names its clause.

use super::tbs::{Issuer, Linted, Tbs, seconds};
use const_oid::ObjectIdentifier;
use der::Decode;
use x509_cert::certificate::TbsCertificate;
use x509_cert::ext::pkix::{AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAltName, SubjectKeyIdentifier};

/// One broken rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Clause, e.g. `RFC 5280 §4.2.1.9`.
    pub clause: &'static str,
    /// What is wrong.
    pub reason: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.reason, self.clause)
    }
}

/// Checks every rule; gives all findings, not the first.
pub fn lint(tbs: Tbs, issuer: &Issuer) -> Result<Linted, Vec<Finding>> {
    let mut findings = Vec::new();
    check_base(&tbs, issuer, &mut findings);
    check_extensions(&tbs.parsed, issuer, &mut findings);
    if findings.is_empty() { Ok(Linted { tbs }) } else { Err(findings) }
}

fn check_base(tbs: &Tbs, issuer: &Issuer, out: &mut Vec<Finding>) {
    let mut add = |bad: bool, clause, reason: &str| {
        if bad {
            out.push(Finding { clause, reason: reason.to_owned() });
        }
    };
    let cert = &tbs.parsed;
    let serial = cert.serial_number().as_bytes();
    add(serial.len() > 20 || serial.iter().all(|b| *b == 0), "RFC 5280 §4.1.2.2", "serial number must be positive and at most 20 octets");
    add(serial.len() < 8, "CA/B BR 7.1", "serial number must carry at least 64 random bits");
    add(cert.issuer().is_empty(), "RFC 5280 §4.1.2.4", "issuer name is empty");
    let (from, to) = (seconds(&cert.validity().not_before), seconds(&cert.validity().not_after));
    add(to <= from, "RFC 5280 §4.1.2.5", "notAfter is not later than notBefore");
    let own = issuer.validity();
    add(from < own.not_before(), "P3", "notBefore lies before the issuer's");
    add(to > own.not_after() && !tbs.may_outlive_issuer, "P3", "the certificate would outlive its issuer");
    add(Tbs::reparse(tbs).as_ref() != Some(cert), "X.690 §11", "the encoding does not read back as planned");
    for rdn in cert.subject().iter_rdn() {
        for atv in rdn.iter() {
            let length = std::str::from_utf8(atv.value.value()).map_or(usize::MAX, |s| s.chars().count());
            add(atv.value.value().is_empty(), "RFC 5280 A.1", "empty attribute value in subject");
            add(atv.oid == const_oid::db::rfc4519::CN && length > 64, "RFC 5280 A.1 ub-common-name", "commonName has over 64 characters");
        }
    }
}

fn check_extensions(cert: &TbsCertificate, issuer: &Issuer, out: &mut Vec<Finding>) {
    let mut add = |bad: bool, clause, reason: &str| {
        if bad {
            out.push(Finding { clause, reason: reason.to_owned() });
        }
    };
    let list = cert.extensions().map(Vec::as_slice).unwrap_or_default();
    let mut oids: Vec<ObjectIdentifier> = list.iter().map(|e| e.extn_id).collect();
    oids.sort();
    oids.dedup();
    add(oids.len() != list.len(), "RFC 5280 §4.2", "an extension occurs twice");
    let constraints = cert.get_extension::<BasicConstraints>();
    let usage = cert.get_extension::<KeyUsage>();
    let malformed = constraints.is_err()
        || usage.is_err()
        || cert.get_extension::<ExtendedKeyUsage>().is_err()
        || cert.get_extension::<SubjectAltName>().is_err();
    add(malformed, "RFC 5280 §4.2", "an extension does not decode");
    let ca = matches!(&constraints, Ok(Some((_, bc))) if bc.ca);
    let signs_certificates = matches!(&usage, Ok(Some((_, ku))) if ku.key_cert_sign());
    add(ca != signs_certificates, "RFC 5280 §4.2.1.3", "keyCertSign and basicConstraints CA must go together");
    add(ca && matches!(&constraints, Ok(Some((false, _)))), "RFC 5280 §4.2.1.9", "basicConstraints of a CA must be critical");
    add(
        !ca && matches!(&constraints, Ok(Some((_, bc))) if bc.path_len_constraint.is_some()),
        "RFC 5280 §4.2.1.9",
        "pathLenConstraint without CA",
    );
    add(!matches!(&usage, Ok(Some((true, _)))), "RFC 5280 §4.2.1.3", "keyUsage must be present and critical");
    let ski = matches!(cert.get_extension::<SubjectKeyIdentifier>(), Ok(Some(_)));
    add(ca && !ski, "RFC 5280 §4.2.1.2", "a CA certificate needs a subjectKeyIdentifier");
    let aki = cert.get_extension::<AuthorityKeyIdentifier>().ok().flatten().and_then(|(_, a)| a.key_identifier);
    add(
        aki.is_none_or(|a| a.as_bytes() != issuer.key_identifier()),
        "RFC 5280 §4.2.1.1",
        "authorityKeyIdentifier must be the issuer's key identifier",
    );
    let san = cert.get_extension::<SubjectAltName>().ok().flatten();
    add(san.as_ref().is_some_and(|(_, s)| s.0.is_empty()), "RFC 5280 §4.2.1.6", "subjectAltName is empty");
    let nameless = cert.subject().is_empty();
    add(nameless && !san.is_some_and(|(critical, _)| critical), "RFC 5280 §4.2.1.6", "an empty subject needs a critical subjectAltName");
    add(nameless && ca, "RFC 5280 §4.1.2.6", "a CA needs a subject name");
}

impl Tbs {
    fn reparse(tbs: &Tbs) -> Option<TbsCertificate> {
        TbsCertificate::from_der(&tbs.der).ok()
    }
}
