//! Rules about subject and alternative names.

use super::view::View;
use super::{Rule, must, should, when};
use const_oid::ObjectIdentifier;
use const_oid::db::rfc4519;
use der::{Tag, Tagged};
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::ext::pkix::name::GeneralName;

/// Upper bounds in characters (RFC 5280 A.1; RFC 4519 for UID).
const BOUNDS: [(ObjectIdentifier, usize); 10] = [
    (rfc4519::CN, 64),
    (rfc4519::O, 64),
    (rfc4519::OU, 64),
    (rfc4519::C, 2),
    (rfc4519::ST, 128),
    (rfc4519::L, 128),
    (rfc4519::SERIAL_NUMBER, 64),
    (rfc4519::TITLE, 64),
    (rfc4519::UID, 256),
    (rfc4519::DC, 63),
];

pub(super) const RULES: &[Rule] = &[
    must("name-empty-value", "RFC 5280 A.1", |v| {
        when(attributes(v).any(|a| a.value.value().is_empty()), "the subject or issuer has an empty attribute value")
    }),
    must("name-length", "RFC 5280 A.1", |v| {
        let long = attributes(v).find(|a| BOUNDS.iter().any(|(oid, max)| *oid == a.oid && characters(a) > *max))?;
        Some(format!("attribute {} has {} characters, which is over its upper bound", long.oid, characters(long)))
    }),
    must("name-string-type", "RFC 5280 §4.1.2.4 and A.1", |v| {
        let wrong = attributes(v).find(|a| !string_type_fits(a))?;
        Some(format!("attribute {} is encoded as {}", wrong.oid, wrong.value.tag()))
    }),
    must("name-country", "RFC 5280 A.1", |v| {
        let bad = |a: &AttributeTypeAndValue| a.oid == rfc4519::C && characters(a) != 2;
        when(attributes(v).any(bad), "countryName must be a two-letter code")
    }),
    must("name-duplicate", "X.501 §9.2", |v| {
        let rdns: Vec<_> = v.tbs.subject().iter_rdn().filter(|r| r.iter().any(|a| single(a.oid))).collect();
        let twice = rdns.iter().enumerate().find(|(i, r)| rdns.iter().take(*i).any(|other| kinds(other) == kinds(r)));
        when(twice.is_some(), "countryName or commonName occurs twice in the subject")
    }),
    must("subject-of-ca", "RFC 5280 §4.1.2.6", |v| when(v.is_ca() && v.tbs.subject().is_empty(), "a CA needs a subject name")),
    must("subject-empty", "RFC 5280 §4.2.1.6", |v| {
        when(v.tbs.subject().is_empty() && v.alt.critical() != Some(true), "an empty subject needs a critical subjectAltName")
    }),
    should("alt-name-critical", "RFC 5280 §4.2.1.6", |v| {
        let critical = v.alt.critical() == Some(true);
        when(critical && !v.tbs.subject().is_empty(), "subjectAltName should not be critical when there is a subject")
    }),
    must("alt-name-empty", "RFC 5280 §4.2.1.6", |v| when(v.alt.value().is_some_and(|a| a.0.is_empty()), "subjectAltName is empty")),
    must("alt-name-syntax", "RFC 5280 §4.2.1.6", |v| v.alt_names().iter().find_map(syntax)),
    must("alt-name-duplicate", "X.509 §9.3.2.1", |v| {
        let names = v.alt_names();
        when(names.iter().enumerate().any(|(i, n)| names.iter().take(i).any(|m| m == n)), "an alternative name occurs twice")
    }),
];

fn attributes<'v>(v: &'v View<'_>) -> impl Iterator<Item = &'v AttributeTypeAndValue> {
    v.tbs.subject().iter().chain(v.tbs.issuer().iter())
}

fn kinds(rdn: &x509_cert::name::RelativeDistinguishedName) -> Vec<ObjectIdentifier> {
    rdn.iter().map(|a| a.oid).collect()
}

/// Attributes of which a name has at most one.
fn single(oid: ObjectIdentifier) -> bool {
    [rfc4519::C, rfc4519::CN].contains(&oid)
}

fn characters(a: &AttributeTypeAndValue) -> usize {
    std::str::from_utf8(a.value.value()).map_or(a.value.value().len(), |s| s.chars().count())
}

fn string_type_fits(a: &AttributeTypeAndValue) -> bool {
    let tag = a.value.tag();
    match a.oid {
        rfc4519::C | rfc4519::SERIAL_NUMBER | rfc4519::DN_QUALIFIER => tag == Tag::PrintableString,
        rfc4519::DC | const_oid::db::rfc3280::EMAIL_ADDRESS => tag == Tag::Ia5String,
        oid if BOUNDS.iter().any(|(known, _)| *known == oid) => matches!(tag, Tag::PrintableString | Tag::Utf8String),
        _ => true,
    }
}

/// Labels of letters, digits and hyphens; a wildcard as the whole first label is let pass, since
/// whether it is wanted is the business of policy.
fn is_dns_name(text: &str) -> bool {
    let label = |l: &str| {
        (1..=63).contains(&l.len()) && !l.starts_with('-') && !l.ends_with('-') && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    text.len() <= 253 && text.strip_prefix("*.").unwrap_or(text).split('.').all(label)
}

fn syntax(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(n) => when(!is_dns_name(n.as_str()), &format!("'{n}' is not a DNS name")),
        GeneralName::UniformResourceIdentifier(n) => {
            let scheme = n.as_str().split_once(':').map(|(s, rest)| (s.to_owned(), rest.is_empty()));
            let plain = |s: &str| {
                s.starts_with(|c: char| c.is_ascii_alphabetic()) && s.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
            };
            when(!scheme.is_some_and(|(s, empty)| plain(&s) && !empty), &format!("'{n}' is not an absolute URI"))
        }
        GeneralName::IpAddress(n) => when(![4, 16].contains(&n.as_bytes().len()), "an iPAddress must have 4 or 16 octets"),
        GeneralName::Rfc822Name(n) => when(!n.as_str().contains('@'), &format!("'{n}' is not a mailbox")),
        GeneralName::DirectoryName(n) => when(n.is_empty(), "a directoryName is empty"),
        _ => None,
    }
}
