//! The extensions of a profile. What no identity field touches is encoded once, at load.

use super::names::{AltName, Unfit, is_uri, oid, template};
use super::problem::Findings;
use super::spec::{CustomSpec, ExtensionsSpec, List, Text};
use super::template::Template;
use crate::types::DeviceIdentity;
use const_oid::db::{rfc5280, rfc5912};
use const_oid::{AssociatedOid, ObjectIdentifier};
use der::Encode;
use der::asn1::{Any, Ia5String, Ia5StringRef, OctetString, PrintableStringRef, Utf8StringRef};
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
const MAX_LIST: usize = 16;
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

/// A custom extension with a value from a template.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Custom {
    Fixed(Extension),
    Filled(ObjectIdentifier, bool, TextKind, Template),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum TextKind {
    Utf8,
    Ia5,
    Printable,
}

/// The `[extensions]` section: what stands in every certificate of the profile.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExtensionRule {
    head: Vec<Extension>,
    policies: Vec<PolicyInformation>,
    policies_critical: bool,
    tail: Vec<Extension>,
    custom: Vec<Custom>,
    subject_key_identifier: bool,
}

fn encoded<T: Encode>(oid: ObjectIdentifier, critical: bool, value: &T) -> Result<Extension, Unfit> {
    let broken = |e: der::Error| Unfit::Value(format!("does not encode: {e}"));
    let extn_value = value.to_der().and_then(OctetString::new).map_err(broken)?;
    Ok(Extension { extn_id: oid, critical, extn_value })
}

impl ExtensionRule {
    /// Whether a subjectKeyIdentifier is added.
    pub fn subject_key_identifier(&self) -> bool {
        self.subject_key_identifier
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
        let usage = check_usage(&spec.key_usage, out);
        let purposes = spec.extended_key_usage.as_ref().map(|list| check_purposes(list, out));
        let policies = check_policies(spec, out);
        let tail = check_addresses(spec, out);
        let custom = check_custom(&spec.custom, out);
        let (critical, usage, policies, tail, custom) = (critical?, usage?, policies?, tail?, custom?);
        let is = |name: &str| critical.contains(&name);
        // RFC 5280 §4.2.1.3: keyUsage SHOULD be critical, so it always is.
        let mut head = vec![encoded(KeyUsage::OID, true, &KeyUsage(usage)).ok()?];
        if let Some(purposes) = purposes {
            head.push(encoded(ExtendedKeyUsage::OID, is("extended_key_usage"), &ExtendedKeyUsage(purposes?)).ok()?);
        }
        if spec.basic_constraints == Some(true) {
            let leaf = BasicConstraints { ca: false, path_len_constraint: None };
            head.push(encoded(BasicConstraints::OID, is("basic_constraints"), &leaf).ok()?);
        }
        Some(Self {
            head,
            policies,
            policies_critical: is("certificate_policies"),
            tail,
            custom,
            subject_key_identifier: spec.subject_key_identifier,
        })
    }
}

impl TextKind {
    fn value(self, text: &str) -> Result<Any, Unfit> {
        match self {
            Self::Utf8 => Utf8StringRef::new(text).map(Any::from),
            Self::Ia5 => Ia5StringRef::new(text).map(Any::from),
            Self::Printable => PrintableStringRef::new(text).map(Any::from),
        }
        .map_err(|_| Unfit::Value(format!("'{text}' does not fit the string type of a custom extension")))
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

fn check_usage(list: &List, out: &mut Findings<'_>) -> Option<FlagSet<KeyUsages>> {
    let flags = each(list, out, |text, out| {
        let found = KEY_USAGES.iter().find(|(name, _)| name == text.get_ref()).map(|(_, flag)| *flag);
        match found {
            None => {
                let names: Vec<&str> = KEY_USAGES.iter().map(|k| k.0).collect();
                out.add(text.span(), format!("'{}' is not a key usage", text.get_ref()), format!("use {}", names.join(", ")));
                None
            }
            Some(KeyUsages::KeyCertSign | KeyUsages::CRLSign) => {
                out.add(
                    text.span(),
                    "a device certificate must not sign certificates or CRLs",
                    "CA certificates are made in a ceremony; remove this usage",
                );
                None
            }
            Some(flag) => Some(flag),
        }
    })?;
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

fn check_custom(list: &[Spanned<CustomSpec>], out: &mut Findings<'_>) -> Option<Vec<Custom>> {
    let customs: Vec<Option<Custom>> = list.iter().map(|entry| custom(entry, out)).collect();
    let customs = customs.into_iter().collect::<Option<Vec<_>>>()?;
    let mut oids: Vec<ObjectIdentifier> = Vec::new();
    for (entry, custom) in list.iter().zip(&customs) {
        let (Custom::Fixed(Extension { extn_id: oid, .. }) | Custom::Filled(oid, ..)) = custom;
        // The id-ce arc and id-pe arc are what the typed keys write.
        let standard = oid.parent().is_some_and(|p| [rfc5280::ID_CE, rfc5280::ID_PE].contains(&p));
        if standard || oids.contains(oid) {
            out.add(
                entry.get_ref().oid.span(),
                format!("extension {oid} is written elsewhere or has its own key"),
                "use the key of that extension, once",
            );
            return None;
        }
        oids.push(*oid);
    }
    if customs.len() > MAX_LIST {
        out.add(list.first().map_or(0..0, Spanned::span), "too many custom extensions", format!("use at most {MAX_LIST}"));
        return None;
    }
    Some(customs)
}

fn custom(entry: &Spanned<CustomSpec>, out: &mut Findings<'_>) -> Option<Custom> {
    let spec = entry.get_ref();
    let extension = oid(&spec.oid, out)?;
    let texts = [(TextKind::Utf8, &spec.utf8), (TextKind::Ia5, &spec.ia5), (TextKind::Printable, &spec.printable)];
    let written = texts.iter().filter(|(_, t)| t.is_some()).count()
        + [spec.octets.is_some(), spec.object_id.is_some(), spec.integer.is_some(), spec.boolean.is_some()].iter().filter(|b| **b).count();
    if written != 1 {
        out.add(
            entry.span(),
            "a custom extension has exactly one value",
            "write one of utf8, ia5, printable, octets, object_id, integer, boolean",
        );
        return None;
    }
    for (kind, text) in texts {
        let Some(text) = text else { continue };
        let value = template(text, out)?;
        if let Some(Err(Unfit::Value(reason))) = value.literal().map(|t| kind.value(t)) {
            out.add(text.span(), reason, "use utf8, or characters of the narrower type");
            return None;
        }
        return Some(Custom::Filled(extension, spec.critical, kind, value));
    }
    let fixed = if let Some(text) = &spec.octets {
        let bytes = hex::decode(text.get_ref()).ok().filter(|b| b.len() <= 1024);
        if bytes.is_none() {
            out.add(text.span(), "not an even number of hexadecimal digits, at most 2048", "write the octets as e.g. \"0a1b2c\"");
        }
        encoded(extension, spec.critical, &OctetString::new(bytes?).ok()?)
    } else if let Some(text) = &spec.object_id {
        encoded(extension, spec.critical, &oid(text, out)?)
    } else if let Some(number) = &spec.integer {
        encoded(extension, spec.critical, number.get_ref())
    } else {
        encoded(extension, spec.critical, spec.boolean.as_ref()?.get_ref())
    };
    fixed.ok().map(Custom::Fixed)
}

/// The alternative names for a device.
pub(super) fn alt_names(names: &[AltName], identity: &DeviceIdentity) -> Vec<Result<GeneralName, (&'static str, Unfit)>> {
    names.iter().map(|name| name.render(identity).map_err(|e| (name.kind(), e))).collect()
}
