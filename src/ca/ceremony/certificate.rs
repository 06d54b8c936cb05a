//! The certificate that a ceremony makes: from the file's `[certificate]` table to a plan.

use super::fault::Checks;
use super::parts::refuse;
use super::spec::{RawCertificate, RawSubject};
use crate::types::Validity;
use crate::x509::plan::Plan;
use crate::x509::tbs::{TbsError, extension};
use const_oid::db::{rfc4519, rfc5280};
use const_oid::{AssociatedOid, ObjectIdentifier};
use der::asn1::{Ia5String, PrintableString, SetOfVec, Utf8StringRef};
use der::{Any, DateTime, Decode, Encode};
use toml::Spanned;
use toml::value::{Datetime, Offset};
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::certpolicy::PolicyInformation;
use x509_cert::ext::pkix::crl::dp::DistributionPoint;
use x509_cert::ext::pkix::name::{DistributionPointName, GeneralName};
use x509_cert::ext::pkix::{
    AccessDescription, AuthorityInfoAccessSyntax, BasicConstraints, CertificatePolicies, CrlDistributionPoints, ExtendedKeyUsage, KeyUsage,
    KeyUsages,
};
use x509_cert::name::Name;

/// Longest URL, bytes.
const MAX_URL: usize = 1024;
const DAY: i64 = 86_400;

/// What a kind of CA certificate must keep to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Shortest validity in days.
    pub min_days: i64,
    /// Longest validity in days.
    pub max_days: i64,
    /// How both are told to the operator.
    pub told: &'static str,
    /// The only path length allowed, when one is fixed.
    pub path_length: Option<u8>,
    /// Whether `extended_key_usage` must be stated, even as an empty list.
    pub usage_stated: bool,
}

/// Ten years with the fewest leap days have 3652 days; fifty with the most, 18263.
pub(super) const ROOT: Limits =
    Limits { min_days: 3652, max_days: 18_263, told: "a root is valid for 10 to 50 years", path_length: None, usage_stated: false };
/// Three years have at least 1095 days, five at most 1827.
pub(super) const INTERMEDIATE: Limits =
    Limits { min_days: 1095, max_days: 1827, told: "an intermediate is valid for 3 to 5 years", path_length: Some(0), usage_stated: true };

/// Subject, validity and extensions, all but the key and its identifiers.
#[derive(Clone, Debug)]
pub(super) struct CaProfile {
    pub subject: Name,
    pub validity: Validity,
    extensions: Vec<Extension>,
}

impl CaProfile {
    /// The plan of the certificate once its key is known.
    pub(super) fn plan(&self, spki_der: &[u8]) -> Plan {
        Plan {
            subject: self.subject.clone(),
            spki_der: spki_der.to_vec(),
            validity: self.validity,
            extensions: self.extensions.clone(),
            subject_key_identifier: true,
            may_outlive_issuer: false,
        }
    }

    /// Checks the table against the limits of its kind.
    /// A cross certificate takes its subject from the certificate of the other CA.
    pub(super) fn check(
        raw: &Spanned<RawCertificate>,
        limits: &Limits,
        other: Option<&Name>,
        test: bool,
        checks: &mut Checks<'_>,
    ) -> Option<Self> {
        let table = raw.get_ref();
        let subject = match (&table.subject, other) {
            (Some(written), None) => subject(written, test, checks),
            (None, Some(name)) => Some(name.clone()),
            (Some(written), Some(_)) => refuse(checks, written.span(), "a cross certificate has the other CA's subject: remove this one"),
            (None, None) => refuse(checks, raw.span(), "the certificate needs a subject"),
        };
        let validity = validity(table, limits, checks);
        let path_length = path_length(table, limits, checks);
        let usages = usages(table, limits, raw.span(), checks);
        let policies = all(&table.policies, checks, |p| ObjectIdentifier::new(p).map_err(|_| format!("'{p}' is not an object identifier")));
        let crls = all(&table.crl_urls, checks, url);
        let issuers = all(&table.issuer_urls, checks, url);
        let built = extensions(path_length?, usages?, policies?, crls?, issuers?);
        let extensions = checks.take(raw.span(), built)?;
        Some(Self { subject: subject?, validity: validity?, extensions })
    }
}

fn all<T>(values: &[Spanned<String>], checks: &mut Checks<'_>, read: impl Fn(&str) -> Result<T, String>) -> Option<Vec<T>> {
    let read: Vec<Option<T>> = values.iter().map(|v| checks.take(v.span(), read(v.get_ref()))).collect();
    read.into_iter().collect()
}

/// One RDN each, in the order C, O, OU, CN; RFC 5280 A.1 bounds the lengths.
fn subject(raw: &Spanned<RawSubject>, test: bool, checks: &mut Checks<'_>) -> Option<Name> {
    let table = raw.get_ref();
    let cn = &table.common_name;
    checks.refuse_if(
        test && !cn.get_ref().contains("TEST"),
        cn.span(),
        "purpose is \"test\", so the common_name must contain the word TEST (nobody shall trust it by mistake)",
    );
    checks.refuse_if(!test && cn.get_ref().contains("TEST"), cn.span(), "purpose is \"production\", but the common_name says TEST");
    let fields = [
        (table.country.as_ref(), rfc4519::C, 2),
        (table.organization.as_ref(), rfc4519::O, 64),
        (table.organizational_unit.as_ref(), rfc4519::OU, 64),
        (Some(cn), rfc4519::CN, 64),
    ];
    let mut rdns = Vec::new();
    for (value, oid, max) in fields {
        let Some(value) = value else { continue };
        let built = attribute(oid, value.get_ref(), max);
        rdns.push(checks.take(value.span(), built));
    }
    let rdns: Vec<SetOfVec<AttributeTypeAndValue>> = rdns.into_iter().collect::<Option<_>>()?;
    checks.take(raw.span(), rdns.to_der().and_then(|der| Name::from_der(&der)))
}

fn attribute(oid: ObjectIdentifier, text: &str, max: usize) -> Result<SetOfVec<AttributeTypeAndValue>, String> {
    let length = text.chars().count();
    if length == 0 || length > max || text.chars().any(char::is_control) || text.trim() != text {
        return Err(format!("must have 1 to {max} characters, none of them control characters or blanks at the ends"));
    }
    let country = oid == rfc4519::C;
    if country && !(text.len() == 2 && text.bytes().all(|b| b.is_ascii_uppercase())) {
        return Err("country is two capital letters (ISO 3166)".into());
    }
    let value = if country {
        PrintableString::new(text).and_then(|s| Any::encode_from(&s))
    } else {
        Utf8StringRef::new(text).and_then(|s| Any::encode_from(&s))
    };
    let value = value.map_err(|e| e.to_string())?;
    SetOfVec::try_from(vec![AttributeTypeAndValue { oid, value }]).map_err(|e| e.to_string())
}

fn validity(raw: &RawCertificate, limits: &Limits, checks: &mut Checks<'_>) -> Option<Validity> {
    let from = checks.take(raw.not_before.span(), seconds(raw.not_before.get_ref()));
    let to = checks.take(raw.not_after.span(), seconds(raw.not_after.get_ref()));
    let validity = checks.take(raw.not_after.span(), Validity::new(from?, to?))?;
    let days = (validity.not_after() + 1 - validity.not_before()) / DAY;
    checks.refuse_if(
        !(limits.min_days..=limits.max_days).contains(&days),
        raw.not_after.span(),
        format!("the validity is {days} days; {}", limits.told),
    );
    Some(validity)
}

/// An absolute UTC time to the second, so that no clock or zone has a say.
pub(super) fn seconds(value: &Datetime) -> Result<i64, String> {
    let wanted = || format!("'{value}' is not a UTC time like 2026-01-01T00:00:00Z");
    let (Some(date), Some(time), Some(Offset::Z | Offset::Custom { minutes: 0 })) = (value.date, value.time, value.offset) else {
        return Err(wanted());
    };
    if time.nanosecond.unwrap_or(0) != 0 {
        return Err(wanted());
    }
    let at = DateTime::new(date.year, date.month, date.day, time.hour, time.minute, time.second.unwrap_or(0)).map_err(|_| wanted())?;
    i64::try_from(at.unix_duration().as_secs()).map_err(|_| wanted())
}

fn path_length(raw: &RawCertificate, limits: &Limits, checks: &mut Checks<'_>) -> Option<Option<u8>> {
    let Some(value) = &raw.path_length else { return Some(limits.path_length) };
    let length = checks.take(value.span(), u8::try_from(*value.get_ref()).map_err(|_| "path_length is 0 to 255"))?;
    match limits.path_length {
        Some(only) if only != length => {
            checks.fault(value.span(), format!("path_length must be {only} for this kind (leave it out)"));
            None
        }
        _ => Some(Some(length)),
    }
}

fn usages(raw: &RawCertificate, limits: &Limits, table: std::ops::Range<usize>, checks: &mut Checks<'_>) -> Option<Vec<ObjectIdentifier>> {
    let Some(list) = &raw.extended_key_usage else {
        checks.refuse_if(
            limits.usage_stated,
            table,
            "extended_key_usage is missing: list what its certificates may be used for, e.g. [\"client-auth\"], or [] for no restriction",
        );
        return Some(Vec::new());
    };
    all(list.get_ref(), checks, |name| {
        Ok(match name {
            "client-auth" => rfc5280::ID_KP_CLIENT_AUTH,
            "server-auth" => rfc5280::ID_KP_SERVER_AUTH,
            "code-signing" => rfc5280::ID_KP_CODE_SIGNING,
            "time-stamping" => rfc5280::ID_KP_TIME_STAMPING,
            "ocsp-signing" => rfc5280::ID_KP_OCSP_SIGNING,
            other => ObjectIdentifier::new(other).map_err(|_| {
                format!("'{other}' is not client-auth, server-auth, code-signing, time-stamping, ocsp-signing or an object identifier")
            })?,
        })
    })
}

fn url(text: &str) -> Result<GeneralName, String> {
    let plain = text.bytes().all(|b| b.is_ascii_graphic()) && text.len() <= MAX_URL;
    // RFC 5280 §8: https here would need the very certificates that it serves.
    if !plain || !text.strip_prefix("http://").is_some_and(|host| !host.is_empty() && !host.starts_with('/')) {
        return Err(format!("'{text}' is not an http:// URL of at most {MAX_URL} printable ASCII characters"));
    }
    Ia5String::new(text).map(GeneralName::UniformResourceIdentifier).map_err(|e| e.to_string())
}

fn extensions(
    path_len_constraint: Option<u8>,
    usages: Vec<ObjectIdentifier>,
    policies: Vec<ObjectIdentifier>,
    crls: Vec<GeneralName>,
    issuers: Vec<GeneralName>,
) -> Result<Vec<Extension>, TbsError> {
    fn some<T, E: Encode + AssociatedOid>(list: Vec<T>, wrap: impl Fn(Vec<T>) -> E) -> Result<Option<Extension>, TbsError> {
        if list.is_empty() { Ok(None) } else { extension(&wrap(list), false).map(Some) }
    }
    let point =
        |name| DistributionPoint { distribution_point: Some(DistributionPointName::FullName(vec![name])), reasons: None, crl_issuer: None };
    let access = |access_location| AccessDescription { access_method: rfc5280::ID_AD_CA_ISSUERS, access_location };
    let policy = |policy_identifier| PolicyInformation { policy_identifier, policy_qualifiers: None };
    let mut out = vec![
        extension(&BasicConstraints { ca: true, path_len_constraint }, true)?,
        extension(&KeyUsage(KeyUsages::KeyCertSign | KeyUsages::CRLSign), true)?,
    ];
    out.extend(some(usages, ExtendedKeyUsage)?);
    out.extend(some(policies, |l| CertificatePolicies(l.into_iter().map(policy).collect()))?);
    out.extend(some(crls, |l| CrlDistributionPoints(l.into_iter().map(point).collect()))?);
    out.extend(some(issuers, |l| AuthorityInfoAccessSyntax(l.into_iter().map(access).collect()))?);
    Ok(out)
}
