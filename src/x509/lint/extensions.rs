//! Rules about extensions.

use super::view::{Ext, View};
use super::{Rule, must, should, when};
use const_oid::ObjectIdentifier;
use const_oid::db::{rfc5280, rfc5912};
use x509_cert::ext::pkix::name::{DistributionPointName, GeneralName};

/// Critical extensions whose meaning is known here (RFC 5280 §4.2: an unknown one must be rejected).
const UNDERSTOOD: [ObjectIdentifier; 11] = [
    rfc5280::ID_CE_BASIC_CONSTRAINTS,
    rfc5280::ID_CE_KEY_USAGE,
    rfc5280::ID_CE_EXT_KEY_USAGE,
    rfc5280::ID_CE_SUBJECT_ALT_NAME,
    rfc5912::ID_CE_CERTIFICATE_POLICIES,
    rfc5280::ID_CE_NAME_CONSTRAINTS,
    rfc5280::ID_CE_POLICY_CONSTRAINTS,
    rfc5280::ID_CE_INHIBIT_ANY_POLICY,
    rfc5280::ID_CE_POLICY_MAPPINGS,
    rfc5280::ID_CE_CRL_DISTRIBUTION_POINTS,
    rfc5280::ID_CE_SUBJECT_KEY_IDENTIFIER,
];

pub(super) const RULES: &[Rule] = &[
    must("extension-duplicate", "RFC 5280 §4.2", |v| {
        let oid = |i: usize| v.extensions.get(i).map(|e| e.extn_id);
        let twice = (0..v.extensions.len()).find(|i| (0..*i).any(|j| oid(j) == oid(*i)))?;
        Some(format!("extension {} occurs twice", oid(twice)?))
    }),
    must("extension-malformed", "RFC 5280 §4.2", |v| malformed(v).map(|name| format!("{name} does not decode"))),
    must("extension-critical-unknown", "RFC 5280 §4.2", |v| {
        let unknown = v.extensions.iter().find(|e| e.critical && !UNDERSTOOD.contains(&e.extn_id))?;
        Some(format!("extension {} is critical, and verifiers do not know it", unknown.extn_id))
    }),
    must("basic-constraints-critical", "RFC 5280 §4.2.1.9", |v| {
        when(v.is_ca() && v.basic.critical() != Some(true), "basicConstraints of a CA must be critical")
    }),
    must("basic-constraints-path", "RFC 5280 §4.2.1.9", |v| {
        let path = v.basic.value().is_some_and(|b| b.path_len_constraint.is_some());
        when(path && !v.is_ca(), "pathLenConstraint without CA")
    }),
    must("ca-signs", "RFC 5280 §4.2.1.3", |v| {
        let signs = v.usage.value().is_some_and(|u| u.key_cert_sign());
        when(v.is_ca() != signs, "keyCertSign and basicConstraints CA must go together")
    }),
    must("key-usage-present", "RFC 5280 §4.2.1.3", |v| when(v.usage.value().is_none(), "keyUsage is missing")),
    must("key-usage-critical", "RFC 5280 §4.2.1.3", |v| when(v.usage.critical() == Some(false), "keyUsage must be critical")),
    must("key-usage-empty", "RFC 5280 §4.2.1.3", |v| when(v.usage.value().is_some_and(|u| u.0.is_empty()), "keyUsage has no bit set")),
    must("key-usage-only", "RFC 5280 §4.2.1.3", |v| {
        let lone = v.usage.value().is_some_and(|u| (u.encipher_only() || u.decipher_only()) && !u.key_agreement());
        when(lone, "encipherOnly and decipherOnly need keyAgreement")
    }),
    must("purposes-empty", "RFC 5280 §4.2.1.12", |v| when(v.purposes.value().is_some_and(|p| p.0.is_empty()), "extKeyUsage is empty")),
    must("purposes-any-critical", "RFC 5280 §4.2.1.12", |v| {
        when(
            v.purposes.critical() == Some(true) && has_purpose(v, rfc5280::ANY_EXTENDED_KEY_USAGE),
            "a critical extKeyUsage must not hold anyExtendedKeyUsage",
        )
    }),
    must("purposes-duplicate", "X.509 §9.2.2.4", |v| {
        let list = v.purposes.value().map_or(&[][..], |p| p.0.as_slice());
        when(list.iter().enumerate().any(|(i, p)| list.iter().take(i).any(|q| q == p)), "a purpose occurs twice")
    }),
    must("purposes-fit-usage", "RFC 5280 §4.2.1.12", |v| {
        // In a CA certificate the purposes bound what it issues, not what its own key does.
        let usage = v.usage.value().filter(|_| !v.is_ca())?;
        let tls = has_purpose(v, rfc5280::ID_KP_SERVER_AUTH) || has_purpose(v, rfc5280::ID_KP_CLIENT_AUTH);
        let signing = has_purpose(v, rfc5280::ID_KP_CODE_SIGNING) || has_purpose(v, rfc5280::ID_KP_OCSP_SIGNING);
        match (tls, signing) {
            (true, _) if !(usage.digital_signature() || usage.key_agreement() || usage.key_encipherment()) => {
                Some("TLS needs digitalSignature, keyAgreement or keyEncipherment".into())
            }
            (_, true) if !(usage.digital_signature() || usage.non_repudiation()) => Some("signing needs digitalSignature".into()),
            _ => None,
        }
    }),
    must("purposes-time-stamping", "RFC 3161 §2.3", |v| {
        let alone = v.purposes.value().is_some_and(|p| p.0.len() == 1) && v.purposes.critical() == Some(true);
        when(has_purpose(v, rfc5280::ID_KP_TIME_STAMPING) && !alone, "timeStamping must be the only purpose and critical")
    }),
    must("ski-of-ca", "RFC 5280 §4.2.1.2", |v| {
        when(v.is_ca() && v.own_key.value().is_none(), "a CA certificate needs a subjectKeyIdentifier")
    }),
    must("ski-critical", "RFC 5280 §4.2.1.2", |v| when(v.own_key.critical() == Some(true), "subjectKeyIdentifier must not be critical")),
    must("ski-empty", "RFC 5280 §4.2.1.2", |v| {
        when(v.own_key.value().is_some_and(|k| k.0.as_bytes().is_empty()), "subjectKeyIdentifier is empty")
    }),
    must("aki-present", "RFC 5280 §4.2.1.1", |v| {
        let id = v.issuer_key.value().and_then(|a| a.key_identifier.as_ref());
        when(id.is_none() && !v.self_issued(), "authorityKeyIdentifier with a key identifier is missing")
    }),
    must("aki-critical", "RFC 5280 §4.2.1.1", |v| {
        when(v.issuer_key.critical() == Some(true), "authorityKeyIdentifier must not be critical")
    }),
    must("aki-agrees", "RFC 5280 §4.2.1.1", |v| {
        let id = v.issuer_key.value()?.key_identifier.as_ref()?;
        when(id.as_bytes() != v.issuer?.key_identifier(), "authorityKeyIdentifier must be the issuer's key identifier")
    }),
    must("policies-empty", "RFC 5280 §4.2.1.4", |v| {
        when(v.policies.value().is_some_and(|p| p.0.is_empty()), "certificatePolicies is empty")
    }),
    must("policies-duplicate", "RFC 5280 §4.2.1.4", |v| {
        let list = v.policies.value().map_or(&[][..], |p| p.0.as_slice());
        let twice = |i: usize, oid| list.iter().take(i).any(|q| q.policy_identifier == oid);
        when(list.iter().enumerate().any(|(i, p)| twice(i, p.policy_identifier)), "a certificate policy occurs twice")
    }),
    must("access-critical", "RFC 5280 §4.2.2.1", |v| when(v.access.critical() == Some(true), "authorityInfoAccess must not be critical")),
    must("access-empty", "RFC 5280 §4.2.2.1", |v| when(v.access.value().is_some_and(|a| a.0.is_empty()), "authorityInfoAccess is empty")),
    should("access-uri", "RFC 5280 §4.2.2.1", |v| {
        let bad = |n: &GeneralName| !matches!(n, GeneralName::UniformResourceIdentifier(u) if fetchable(u.as_str()));
        when(v.access.value()?.0.iter().any(|a| bad(&a.access_location)), "authorityInfoAccess should give an http or ldap URI")
    }),
    must("crl-empty", "RFC 5280 §4.2.1.13", |v| when(v.crl.value().is_some_and(|c| c.0.is_empty()), "cRLDistributionPoints is empty")),
    must("crl-point", "RFC 5280 §4.2.1.13", |v| {
        let bare = v.crl.value()?.0.iter().any(|p| p.distribution_point.is_none() && p.crl_issuer.is_none());
        when(bare, "a distribution point has neither a name nor a CRL issuer")
    }),
    should("crl-uri", "RFC 5280 §4.2.1.13", |v| {
        let uri = |n: &GeneralName| matches!(n, GeneralName::UniformResourceIdentifier(u) if fetchable(u.as_str()));
        let good = |p: &x509_cert::ext::pkix::crl::dp::DistributionPoint| match &p.distribution_point {
            Some(DistributionPointName::FullName(names)) => names.iter().any(uri),
            _ => false,
        };
        when(!v.crl.value()?.0.iter().all(good), "a distribution point should give an http or ldap URI")
    }),
    must("name-constraints", "RFC 5280 §4.2.1.10", |v| {
        let critical = v.constraints.critical()?;
        when(!critical || !v.is_ca(), "nameConstraints must be critical and only in a CA certificate")
    }),
];

pub(super) fn has_purpose(v: &View<'_>, oid: ObjectIdentifier) -> bool {
    v.purposes.value().is_some_and(|p| p.0.contains(&oid))
}

fn fetchable(uri: &str) -> bool {
    ["http://", "https://", "ldap://", "ldaps://"].iter().any(|s| uri.get(..s.len()).is_some_and(|p| p.eq_ignore_ascii_case(s)))
}

fn malformed(v: &View<'_>) -> Option<&'static str> {
    fn name<T>(ext: &Ext<T>, name: &'static str) -> Option<&'static str> {
        ext.is_malformed().then_some(name)
    }
    name(&v.basic, "basicConstraints")
        .or(name(&v.usage, "keyUsage"))
        .or(name(&v.purposes, "extKeyUsage"))
        .or(name(&v.alt, "subjectAltName"))
        .or(name(&v.own_key, "subjectKeyIdentifier"))
        .or(name(&v.issuer_key, "authorityKeyIdentifier"))
        .or(name(&v.policies, "certificatePolicies"))
        .or(name(&v.access, "authorityInfoAccess"))
        .or(name(&v.crl, "cRLDistributionPoints"))
        .or(name(&v.constraints, "nameConstraints"))
}
