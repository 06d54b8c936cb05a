//! The extensions of a profile. What no identity field touches is encoded once, at load.

use super::custom::{Custom, check_custom};
use super::names::{AltName, Unfit, is_uri, oid};
use super::problem::Findings;
use super::spec::{ExtensionsSpec, List, Text};
use super::template::Template;
use crate::types::DeviceIdentity;
use const_oid::db::{rfc5280, rfc5912};
use const_oid::{AssociatedOid, ObjectIdentifier};
use der::Encode;
use der::asn1::{Any, Ia5String, OctetString};
use der::flagset::FlagSet;
use toml::Spanned;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::certpolicy::{PolicyInformation, PolicyQualifierInfo};
use x509_cert::ext::pkix::crl::dp::DistributionPoint;
use x509_cert::ext::pkix::name::{DistributionPointName, GeneralName};
use x509_cert::ext::pkix::{
    AccessDescription, AuthorityInfoAccessSyntax, BasicConstraints, CertificatePolicies, CrlDistributionPoints, ExtendedKeyUsage, KeyUsage,
    KeyUsages, SubjectAltName,
};

/// Most custom extensions, purposes or policies in one profile.
pub(super) const MAX_LIST: usize = 16;
/// id-pe-masa-url (RFC 8995 §2.3.2).
const MASA_URL: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.1.32");

const KEY_USAGES: [(&str, KeyUsages); 9] = [
    ("digitalSignature", KeyUsages::DigitalSignature),
    ("nonRepudiation", KeyUsages::NonRepudiation),
    ("keyEncipherment", KeyUsages::KeyEncipherment),
    ("dataEncipherment", KeyUsages::DataEncipherment),
    ("keyAgreement", KeyUsages::KeyAgreement),
    ("keyCertSign", KeyUsages::KeyCertSign),
    ("cRLSign", KeyUsages::CRLSign),
    ("encipherOnly", KeyUsages::EncipherOnly),
    ("decipherOnly", KeyUsages::DecipherOnly),
];

/// Purposes by name (RFC 5280 §4.2.1.12); anything else is written as an OID.
const PURPOSES: [(&str, &str); 6] = [
    ("serverAuth", "1.3.6.1.5.5.7.3.1"),
    ("clientAuth", "1.3.6.1.5.5.7.3.2"),
    ("codeSigning", "1.3.6.1.5.5.7.3.3"),
    ("emailProtection", "1.3.6.1.5.5.7.3.4"),
    ("timeStamping", "1.3.6.1.5.5.7.3.8"),
    ("OCSPSigning", "1.3.6.1.5.5.7.3.9"),
];

const CRITICAL: [&str; 4] = ["key_usage", "extended_key_usage", "basic_constraints", "certificate_policies"];

/// The `[extensions]` section: what stands in every certificate of the profile.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExtensionRule {
    head: Vec<Extension>,
    policies: Vec<PolicyInformation>,
    policies_critical: bool,
    tail: Vec<Extension>,
    custom: Vec<Custom>,
    subject_key_identifier: bool,
    ca: bool,
}

/// An extension with its value in DER.
pub(super) fn encoded<T: Encode>(oid: ObjectIdentifier, critical: bool, value: &T) -> Result<Extension, Unfit> {
    let broken = |e: der::Error| Unfit::Value(format!("does not encode: {e}"));
    let extn_value = value.to_der().and_then(OctetString::new).map_err(broken)?;
    Ok(Extension { extn_id: oid, critical, extn_value })
}

impl ExtensionRule {
    /// Whether a subjectKeyIdentifier is added.
    pub fn subject_key_identifier(&self) -> bool {
        self.subject_key_identifier
    }

    /// Whether it makes CA certificates.
    pub fn is_ca(&self) -> bool {
        self.ca
    }

    /// The extensions that are the same in every certificate.
    pub fn fixed(&self) -> Vec<Extension> {
        let policies = (!self.policies.is_empty())
            .then(|| encoded(CertificatePolicies::OID, self.policies_critical, &CertificatePolicies(self.policies.clone())).ok())
            .flatten();
        let custom = self.custom.iter().filter_map(|c| match c {
            Custom::Fixed(extension) => Some(extension),
            Custom::Filled(..) => None,
        });
        self.head.iter().chain(&policies).chain(&self.tail).chain(custom).cloned().collect()
    }

    /// The extensions with a value from a template: OID, criticality, template.
    pub fn filled(&self) -> impl Iterator<Item = (ObjectIdentifier, bool, &Template)> {
        self.custom.iter().filter_map(|c| match c {
            Custom::Filled(oid, critical, _, value) => Some((*oid, *critical, value)),
            Custom::Fixed(_) => None,
        })
    }

    /// The extensions for a device, with the alternative names and, for a soft token whose
    /// mark is a policy, that policy (T1).
    pub(super) fn render(
        &self,
        identity: &DeviceIdentity,
        san: Option<(bool, Vec<GeneralName>)>,
        mark: Option<ObjectIdentifier>,
    ) -> Result<Vec<Extension>, Unfit> {
        let mut list = self.head.clone();
        if let Some((critical, names)) = san {
            list.push(encoded(SubjectAltName::OID, critical, &SubjectAltName(names))?);
        }
        let mut policies = self.policies.clone();
        policies.extend(mark.map(|policy_identifier| PolicyInformation { policy_identifier, policy_qualifiers: None }));
        if !policies.is_empty() {
            list.push(encoded(CertificatePolicies::OID, self.policies_critical, &CertificatePolicies(policies))?);
        }
        list.extend_from_slice(&self.tail);
        for custom in &self.custom {
            list.push(match custom {
                Custom::Fixed(extension) => extension.clone(),
                Custom::Filled(oid, critical, kind, value) => encoded(*oid, *critical, &kind.value(&value.render(identity)?)?)?,
            });
        }
        Ok(list)
    }

    pub(super) fn check(spec: &Spanned<ExtensionsSpec>, out: &mut Findings<'_>) -> Option<Self> {
        let spec = spec.get_ref();
        let critical = check_critical(spec, out);
        let usage = check_usage(&spec.key_usage, spec.ca.is_some(), out);
        let basic = check_basic(spec, out);
        let purposes = spec.extended_key_usage.as_ref().map(|list| check_purposes(list, out));
        let policies = check_policies(spec, out);
        let tail = check_addresses(spec, out);
        let custom = check_custom(&spec.custom, out);
        let (critical, usage, basic, policies, tail, custom) = (critical?, usage?, basic?, policies?, tail?, custom?);
        let is = |name: &str| critical.contains(&name);
        // RFC 5280 §4.2.1.3: keyUsage SHOULD be critical, so it always is.
        let mut head = vec![encoded(KeyUsage::OID, true, &KeyUsage(usage)).ok()?];
        if let Some(purposes) = purposes {
            head.push(encoded(ExtendedKeyUsage::OID, is("extended_key_usage"), &ExtendedKeyUsage(purposes?)).ok()?);
        }
        if let Some(basic) = basic {
            // RFC 5280 §4.2.1.9: critical in a CA certificate.
            head.push(encoded(BasicConstraints::OID, basic.ca || is("basic_constraints"), &basic).ok()?);
        }
        Some(Self {
            head,
            policies,
            policies_critical: is("certificate_policies"),
            tail,
            custom,
            subject_key_identifier: spec.subject_key_identifier,
            ca: spec.ca.is_some(),
        })
    }
}

/// A list without repetition, each item mapped; reports items that are not known.
fn each<T: PartialEq>(list: &List, out: &mut Findings<'_>, mut read: impl FnMut(&Text, &mut Findings<'_>) -> Option<T>) -> Option<Vec<T>> {
    if list.get_ref().is_empty() || list.get_ref().len() > MAX_LIST {
        out.add(list.span(), format!("{} entries", list.get_ref().len()), format!("write 1 to {MAX_LIST}, or remove the key"));
        return None;
    }
    let mut seen = Vec::new();
    let mut good = true;
    for text in list.get_ref() {
        match read(text, out) {
            Some(item) if seen.contains(&item) => {
                out.add(text.span(), format!("'{}' is written twice", text.get_ref()), "remove one of them");
                good = false;
            }
            Some(item) => seen.push(item),
            None => good = false,
        }
    }
    good.then_some(seen)
}

fn check_critical(spec: &ExtensionsSpec, out: &mut Findings<'_>) -> Option<Vec<&'static str>> {
    let Some(list) = &spec.critical else { return Some(Vec::new()) };
    let present = |name: &str| match name {
        "extended_key_usage" => spec.extended_key_usage.is_some(),
        "basic_constraints" => spec.basic_constraints == Some(true),
        "certificate_policies" => spec.certificate_policies.is_some(),
        _ => true,
    };
    each(list, out, |text, out| {
        let name = CRITICAL.into_iter().find(|c| c == text.get_ref());
        if name.is_none_or(|n| !present(n)) {
            let remedy = format!(
                "list those of {} that the profile has; [san] and custom extensions have their own 'critical'",
                CRITICAL.join(", ")
            );
            out.add(text.span(), format!("'{}' cannot be made critical here", text.get_ref()), remedy);
            return None;
        }
        name
    })
}

/// The basicConstraints: of a CA, of a leaf, or none.
fn check_basic(spec: &ExtensionsSpec, out: &mut Findings<'_>) -> Option<Option<BasicConstraints>> {
    let Some(ca) = &spec.ca else {
        let leaf = BasicConstraints { ca: false, path_len_constraint: None };
        return Some((spec.basic_constraints == Some(true)).then_some(leaf));
    };
    if !spec.subject_key_identifier {
        out.add(ca.span(), "a CA certificate needs a subjectKeyIdentifier", "write subject_key_identifier = true (RFC 5280 §4.2.1.2)");
        return None;
    }
    let path_len_constraint = match &ca.get_ref().path_length {
        None => None,
        Some(n) => match u8::try_from(*n.get_ref()).ok().filter(|n| *n <= 8) {
            Some(n) => Some(n),
            None => {
                out.add(n.span(), format!("{} is not a path length", n.get_ref()), "use 0 to 8, or remove the key");
                return None;
            }
        },
    };
    Some(Some(BasicConstraints { ca: true, path_len_constraint }))
}

fn check_usage(list: &List, ca: bool, out: &mut Findings<'_>) -> Option<FlagSet<KeyUsages>> {
    let flags = each(list, out, |text, out| {
        let found = KEY_USAGES.iter().find(|(name, _)| name == text.get_ref()).map(|(_, flag)| *flag);
        match found {
            None => {
                let names: Vec<&str> = KEY_USAGES.iter().map(|k| k.0).collect();
                out.add(text.span(), format!("'{}' is not a key usage", text.get_ref()), format!("use {}", names.join(", ")));
                None
            }
            Some(KeyUsages::KeyCertSign | KeyUsages::CRLSign) if !ca => {
                out.add(
                    text.span(),
                    "a device certificate must not sign certificates or CRLs",
                    "remove this usage; profiles of CA certificates have [extensions.ca]",
                );
                None
            }
            Some(flag) => Some(flag),
        }
    })?;
    if ca && !flags.contains(&KeyUsages::KeyCertSign) {
        out.add(list.span(), "a CA that may not sign certificates", "add \"keyCertSign\"");
        return None;
    }
    Some(flags.into_iter().fold(FlagSet::default(), |set, flag| set | flag))
}

fn check_purposes(list: &List, out: &mut Findings<'_>) -> Option<Vec<ObjectIdentifier>> {
    each(list, out, |text, out| {
        let named = PURPOSES.iter().find(|(name, _)| name == text.get_ref()).map(|(_, oid)| *oid);
        let found = ObjectIdentifier::new(named.unwrap_or(text.get_ref())).ok();
        // RFC 5280 §4.2.1.12: anyExtendedKeyUsage says nothing and defeats every purpose check.
        if found == Some(rfc5280::ANY_EXTENDED_KEY_USAGE) {
            out.add(text.span(), "anyExtendedKeyUsage allows everything", "name the purposes that the device needs");
            return None;
        }
        if found.is_none() {
            let names: Vec<&str> = PURPOSES.iter().map(|p| p.0).collect();
            out.add(text.span(), format!("'{}' is not a purpose", text.get_ref()), format!("use {} or a dotted OID", names.join(", ")));
        }
        found
    })
}

fn check_policies(spec: &ExtensionsSpec, out: &mut Findings<'_>) -> Option<Vec<PolicyInformation>> {
    let Some(list) = &spec.certificate_policies else {
        if let Some(uri) = &spec.cps_uri {
            out.add(uri.span(), "'cps_uri' needs 'certificate_policies'", "name the policy that it documents, or remove it");
            return None;
        }
        return Some(Vec::new());
    };
    let qualifiers = match &spec.cps_uri {
        None => None,
        Some(text) => Some(vec![PolicyQualifierInfo {
            policy_qualifier_id: rfc5912::ID_QT_CPS,
            qualifier: Some(Any::encode_from(&Ia5String::new(uri(text, out)?).ok()?).ok()?),
        }]),
    };
    let oids = each(list, out, oid)?;
    Some(oids.into_iter().map(|policy_identifier| PolicyInformation { policy_identifier, policy_qualifiers: qualifiers.clone() }).collect())
}

fn uri<'t>(text: &'t Text, out: &mut Findings<'_>) -> Option<&'t str> {
    let raw = text.get_ref();
    if !is_uri(raw) || raw.len() > 256 {
        out.add(text.span(), format!("'{raw}' is not a URI"), "write scheme://host/path, at most 256 characters");
        return None;
    }
    Some(raw)
}

fn uri_name(text: &Text, out: &mut Findings<'_>) -> Option<GeneralName> {
    Ia5String::new(uri(text, out)?).ok().map(GeneralName::UniformResourceIdentifier)
}

fn check_addresses(spec: &ExtensionsSpec, out: &mut Findings<'_>) -> Option<Vec<Extension>> {
    let mut list = Vec::new();
    let mut access = Vec::new();
    for (method, text) in [(rfc5280::ID_AD_CA_ISSUERS, &spec.ca_issuers), (rfc5280::ID_AD_OCSP, &spec.ocsp)] {
        if let Some(text) = text {
            access.push(AccessDescription { access_method: method, access_location: uri_name(text, out)? });
        }
    }
    if !access.is_empty() {
        list.push(encoded(AuthorityInfoAccessSyntax::OID, false, &AuthorityInfoAccessSyntax(access)).ok()?);
    }
    if let Some(text) = &spec.crl {
        let point = DistributionPointName::FullName(vec![uri_name(text, out)?]);
        let point = DistributionPoint { distribution_point: Some(point), reasons: None, crl_issuer: None };
        list.push(encoded(CrlDistributionPoints::OID, false, &CrlDistributionPoints(vec![point])).ok()?);
    }
    if let Some(text) = &spec.masa_url {
        list.push(encoded(MASA_URL, false, &Ia5String::new(uri(text, out)?).ok()?).ok()?);
    }
    Some(list)
}

/// The alternative names for a device.
pub(super) fn alt_names(names: &[AltName], identity: &DeviceIdentity) -> Vec<Result<GeneralName, (&'static str, Unfit)>> {
    names.iter().map(|name| name.render(identity).map_err(|e| (name.kind(), e))).collect()
}
