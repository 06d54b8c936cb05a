//! Revocation by CRLs at hand (RFC 5280 §5, §6.3): full, delta, and partitioned by distribution
//! point. A CRL counts only when the certificate's own issuer signed it; indirect CRLs, CRLs for
//! some reasons and CRLs of attribute certificates are refused when they are read.

use super::certificate::{ReadCertificate, decode};
use super::names;
use super::path::show_time;
use super::refusal::{Broken, Rule, require};
use super::{At, StatusDemand};
use crate::types::SignatureAlgorithm;
use crate::x509::{keys, tbs};
use const_oid::{AssociatedOid, ObjectIdentifier};
use der::{Decode, Encode};
use std::collections::BTreeMap;
use x509_cert::crl::{CertificateList, RevokedCert, TbsCertList};
use x509_cert::ext::pkix::crl::dp::IssuingDistributionPoint;
use x509_cert::ext::pkix::crl::{BaseCrlNumber, CrlNumber, CrlReason, FreshestCrl};
use x509_cert::ext::pkix::name::DistributionPointName;
use x509_cert::ext::pkix::{AuthorityKeyIdentifier, IssuerAltName};
use x509_cert::name::Name;

/// Largest CRL, in bytes of DER: about 200 000 entries.
pub const MAX_CRL: usize = 8 * 1024 * 1024;

const ISSUING_DISTRIBUTION_POINT: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.28");
const CRL_REASON: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.21");
const INVALIDITY_DATE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.24");

/// A CRL that is canonical DER and keeps the rules of RFC 5280 §5; its signature is checked when
/// it is used, with the issuer found in the path.
#[derive(Clone, Debug)]
pub struct ReadCrl {
    issuer: Name,
    tbs_der: Vec<u8>,
    algorithm: SignatureAlgorithm,
    signature: Vec<u8>,
    this_update: i64,
    next_update: i64,
    place: Place,
    revoked: BTreeMap<Vec<u8>, CrlReason>,
}

/// Where a CRL stands among the CRLs of its issuer; numbers are big endian without leading zeros.
#[derive(Clone, Debug)]
struct Place {
    number: Vec<u8>,
    /// For a delta, the number of the CRL that it was made for.
    base: Option<Vec<u8>>,
    scope: Scope,
}

/// Which certificates a CRL speaks about.
#[derive(Clone, Debug, Default, PartialEq)]
struct Scope {
    users_only: bool,
    authorities_only: bool,
    point: Option<DistributionPointName>,
}

impl ReadCrl {
    /// Reads DER.
    pub fn from_der(der: &[u8]) -> Result<Self, Broken> {
        let reason = format!("the CRL has {} bytes; at most {MAX_CRL} are read", der.len());
        require(der.len() <= MAX_CRL, Rule::Bounds, "verifier limit", &reason)?;
        let encoding = |e: der::Error| Broken::new(Rule::Encoding, "RFC 5280 §5.1", format!("not a DER CRL: {e}"));
        let list = CertificateList::from_der(der).map_err(encoding)?;
        require(list.to_der().map_err(encoding)? == der, Rule::Encoding, "X.690 §10", "the CRL is not canonical DER")?;
        let body = &list.tbs_cert_list;
        let agree = body.signature == list.signature_algorithm;
        require(agree, Rule::Algorithm, "RFC 5280 §5.1.1.2", "the algorithm inside the CRL differs from the one outside")?;
        let algorithm =
            keys::signature_algorithm(&body.signature).map_err(|e| Broken::new(Rule::Algorithm, "RFC 5280 §5.1.1.2", e.to_string()))?;
        let signature = list.signature.as_bytes().unwrap_or_default().to_vec();
        let next = body.next_update.ok_or_else(|| Broken::new(Rule::Encoding, "RFC 5280 §5.1.2.5", "the CRL has no nextUpdate"))?;
        let (this_update, next_update) = (tbs::seconds(&body.this_update), tbs::seconds(&next));
        require(this_update < next_update, Rule::Encoding, "RFC 5280 §5.1.2.5", "nextUpdate is not later than thisUpdate")?;
        let place = read_extensions(body)?;
        let mut revoked = BTreeMap::new();
        for entry in body.revoked_certificates.iter().flatten() {
            let fresh = revoked.insert(entry.serial_number.as_bytes().to_vec(), read_entry(entry)?).is_none();
            require(fresh, Rule::Encoding, "RFC 5280 §5.1.2.6", "a serial number is listed twice")?;
        }
        let tbs_der = body.to_der().map_err(encoding)?;
        Ok(Self { issuer: body.issuer.clone(), tbs_der, algorithm, signature, this_update, next_update, place, revoked })
    }

    /// Whether this CRL speaks about `certificate`: same issuer name, and within its scope.
    fn covers(&self, certificate: &ReadCertificate) -> bool {
        let kind = if certificate.is_authority() { !self.place.scope.users_only } else { !self.place.scope.authorities_only };
        let point = self.place.scope.point.as_ref().is_none_or(|own| {
            let points = certificate.extensions.crl_points.iter().filter_map(|p| p.distribution_point.as_ref());
            points.into_iter().any(|theirs| points_meet(own, theirs))
        });
        names::same(&self.issuer, &certificate.issuer) && kind && point
    }

    /// Whether `issuer`, which may sign CRLs, signed this one.
    fn signed_by(&self, issuer: &ReadCertificate) -> bool {
        let may = issuer.extensions.usage.is_some_and(|u| u.crl_sign());
        may && keys::verify(&issuer.spki_der, self.algorithm, &self.tbs_der, &self.signature).is_ok()
    }

    fn is_current(&self, at: At) -> bool {
        match at {
            At::Time(time) => (self.this_update..=self.next_update).contains(&time),
            At::Unknown => true,
        }
    }

    /// RFC 5280 §5.2.4: a delta completes a base of the same scope that is at least as new as the
    /// one it was made for, and older than itself.
    fn completes(&self, base: &ReadCrl) -> bool {
        let made_for = self.place.base.as_ref().is_some_and(|own| compare(own, &base.place.number).is_le());
        made_for && self.place.scope == base.place.scope && compare(&self.place.number, &base.place.number).is_ge()
    }
}

/// Unsigned big-endian numbers without leading zeros.
fn compare(a: &[u8], b: &[u8]) -> std::cmp::Ordering {
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

/// RFC 5280 §6.3.3 (b)(2)(i): one name in common.
fn points_meet(a: &DistributionPointName, b: &DistributionPointName) -> bool {
    match (a, b) {
        (DistributionPointName::FullName(a), DistributionPointName::FullName(b)) => a.iter().any(|name| b.contains(name)),
        (a, b) => a == b,
    }
}

fn read_extensions(body: &TbsCertList) -> Result<Place, Broken> {
    let (mut number, mut base, mut scope) = (None, None, Scope::default());
    let mut seen = std::collections::BTreeSet::new();
    for extension in body.crl_extensions.iter().flatten() {
        let id = extension.extn_id;
        require(seen.insert(id), Rule::Extension, "RFC 5280 §5.2", "an extension of the CRL occurs twice")?;
        match id {
            CrlNumber::OID => number = Some(decode::<CrlNumber>(extension)?.0.as_bytes().to_vec()),
            BaseCrlNumber::OID => base = Some(decode::<BaseCrlNumber>(extension)?.0.as_bytes().to_vec()),
            ISSUING_DISTRIBUTION_POINT => scope = read_scope(decode(extension)?)?,
            AuthorityKeyIdentifier::OID | FreshestCrl::OID | IssuerAltName::OID => {}
            _ if extension.critical => {
                return Err(Broken::new(Rule::Extension, "RFC 5280 §5.2", format!("critical CRL extension {id} is not understood")));
            }
            _ => {}
        }
    }
    let number = number.ok_or_else(|| Broken::new(Rule::Extension, "RFC 5280 §5.2.3", "the CRL has no number"))?;
    Ok(Place { number, base, scope })
}

fn read_scope(point: IssuingDistributionPoint) -> Result<Scope, Broken> {
    let handled = !point.indirect_crl && point.only_some_reasons.is_none() && !point.only_contains_attribute_certs;
    require(
        handled,
        Rule::Extension,
        "RFC 5280 §5.2.5",
        "indirect CRLs, CRLs for some reasons or for attribute certificates are not processed",
    )?;
    let both = point.only_contains_user_certs && point.only_contains_ca_certs;
    require(!both, Rule::Extension, "RFC 5280 §5.2.5", "the CRL contains neither device nor authority certificates")?;
    Ok(Scope {
        users_only: point.only_contains_user_certs,
        authorities_only: point.only_contains_ca_certs,
        point: point.distribution_point,
    })
}

fn read_entry(entry: &RevokedCert) -> Result<CrlReason, Broken> {
    let mut reason = CrlReason::Unspecified;
    for extension in entry.crl_entry_extensions.iter().flatten() {
        match extension.extn_id {
            CRL_REASON => reason = decode(extension)?,
            INVALIDITY_DATE => {}
            other if extension.critical => {
                return Err(Broken::new(
                    Rule::Extension,
                    "RFC 5280 §5.3",
                    format!("critical CRL entry extension {other} is not understood"),
                ));
            }
            _ => {}
        }
    }
    Ok(reason)
}

/// Judges one certificate by the CRLs of its issuer. A listed certificate is refused whatever is
/// demanded, even by a CRL that is no longer current; being absent counts only in a current one.
pub(super) fn check(
    crls: &[ReadCrl],
    demand: StatusDemand,
    certificate: &ReadCertificate,
    issuer: &ReadCertificate,
    is_leaf: bool,
    at: At,
) -> Result<(), Broken> {
    let applicable: Vec<&ReadCrl> = crls.iter().filter(|c| c.covers(certificate) && c.signed_by(issuer)).collect();
    let bases = || applicable.iter().filter(|c| c.place.base.is_none());
    let mut known = false;
    for base in bases() {
        let deltas = applicable.iter().filter(|c| c.completes(base));
        let newest = deltas.max_by(|a, b| compare(&a.place.number, &b.place.number));
        let listed = newest.and_then(|delta| delta.revoked.get(&certificate.serial)).or_else(|| base.revoked.get(&certificate.serial));
        // A newer CRL of the same scope has the last word, e.g. after a hold was lifted.
        let outdated =
            bases().any(|other| other.place.scope == base.place.scope && compare(&other.place.number, &base.place.number).is_gt());
        if let Some(reason) = listed.filter(|r| !outdated && **r != CrlReason::RemoveFromCRL) {
            let text = format!("revoked ({reason:?}) by the CRL of {}", show_time(newest.map_or(base.this_update, |d| d.this_update)));
            return Err(Broken::new(Rule::Revocation, "RFC 5280 §6.3.3", text));
        }
        known |= base.is_current(at) || newest.is_some_and(|delta| delta.is_current(at));
    }
    let demanded = match demand {
        StatusDemand::Optional => false,
        StatusDemand::Leaf => is_leaf,
        StatusDemand::Chain => true,
    };
    let latest = applicable.iter().map(|c| c.next_update).max();
    let reason = match latest {
        Some(until) => format!("its status is not known: the latest CRL of its issuer covers times up to {}", show_time(until)),
        None => "its status is not known: no CRL of its issuer was supplied".to_owned(),
    };
    require(known || !demanded, Rule::Revocation, "RFC 5280 §6.3.3", &reason)
}
