//! Subject and subjectAltName rules: which names a profile writes, and their bounds.

use super::problem::Findings;
use super::spec::{NameSpec, SanSpec, SubjectSpec, Text};
use super::template::{Field, Template};
use crate::types::DeviceIdentity;
use const_oid::ObjectIdentifier;
use const_oid::db::rfc4519;
use der::asn1::{Any, Ia5String, Ia5StringRef, OctetString, PrintableStringRef, Utf8StringRef};
use der::{Decode, Encode, Sequence};
use std::net::IpAddr;
use toml::Spanned;
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::ext::pkix::name::{GeneralName, HardwareModuleName, OtherName};
use x509_cert::name::{Name, RdnSequence, RelativeDistinguishedName};

/// Most RDNs and most alternative names in one profile: certificates of devices stay small.
const MAX_NAMES: usize = 16;
/// id-on-permanentIdentifier (RFC 4043 §2).
const PERMANENT_IDENTIFIER: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.8.3");

/// String type of a subject attribute.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Encoding {
    /// UTF8String (RFC 5280 §4.1.2.4).
    Utf8,
    /// PrintableString.
    Printable,
    /// IA5String: domainComponent only (RFC 4519 §2.4).
    Ia5,
}

impl Encoding {
    /// Name of the ASN.1 type.
    pub fn name(self) -> &'static str {
        match self {
            Self::Utf8 => "UTF8String",
            Self::Printable => "PrintableString",
            Self::Ia5 => "IA5String",
        }
    }
}

/// Attribute names with their OID, upper bound (RFC 5280 A.1; RFC 4519 for UID) and, where
/// the attribute syntax leaves no choice, their string type.
const ATTRIBUTES: [(&str, ObjectIdentifier, usize, Option<Encoding>); 11] = [
    ("CN", rfc4519::CN, 64, None),
    ("O", rfc4519::O, 64, None),
    ("OU", rfc4519::OU, 64, None),
    ("C", rfc4519::C, 2, Some(Encoding::Printable)),
    ("ST", rfc4519::ST, 128, None),
    ("L", rfc4519::L, 128, None),
    ("serialNumber", rfc4519::SERIAL_NUMBER, 64, Some(Encoding::Printable)),
    ("dnQualifier", rfc4519::DN_QUALIFIER, 64, Some(Encoding::Printable)),
    ("title", rfc4519::TITLE, 64, None),
    ("UID", rfc4519::UID, 256, None),
    ("DC", rfc4519::DC, 63, Some(Encoding::Ia5)),
];

/// A value that cannot be written as its kind of name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Unfit {
    /// The identity lacks a field of the template.
    Missing(Field),
    /// The rendered text breaks the name's syntax or bound.
    Value(String),
}

impl From<Field> for Unfit {
    fn from(field: Field) -> Self {
        Self::Missing(field)
    }
}

fn unfit(e: &der::Error) -> Unfit {
    Unfit::Value(format!("does not encode: {e}"))
}

/// One attribute of the subject.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rdn {
    label: String,
    oid: ObjectIdentifier,
    max: usize,
    encoding: Encoding,
    value: Template,
}

impl Rdn {
    /// Name as the profile writes it: a short name or a dotted OID.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Attribute type.
    pub fn oid(&self) -> ObjectIdentifier {
        self.oid
    }

    /// String type.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Template of its value.
    pub fn template(&self) -> &Template {
        &self.value
    }

    pub(super) fn test_mark() -> Self {
        Self { label: "OU".into(), oid: rfc4519::OU, max: 64, encoding: Encoding::Utf8, value: Template::text("TEST") }
    }

    fn fits(&self, text: &str) -> Result<(), String> {
        let count = text.chars().count();
        if count == 0 || count > self.max {
            return Err(format!("has {count} characters; {} holds 1 to {}", self.label, self.max));
        }
        match self.encoding {
            _ if self.oid == rfc4519::C && (count != 2 || !text.bytes().all(|b| b.is_ascii_uppercase())) => {
                Err("is not an ISO 3166 two-letter code".into())
            }
            Encoding::Printable => PrintableStringRef::new(text).map(|_| ()).map_err(|_| printable_reason(text)),
            Encoding::Ia5 if !text.is_ascii() => Err("has characters outside ASCII".into()),
            _ => Ok(()),
        }
    }

    pub(super) fn render(&self, identity: &DeviceIdentity) -> Result<RelativeDistinguishedName, Unfit> {
        let text = self.value.render(identity)?;
        self.fits(&text).map_err(|reason| Unfit::Value(format!("'{text}' {reason}")))?;
        let value = match self.encoding {
            Encoding::Utf8 => Utf8StringRef::new(&text).map(Any::from),
            Encoding::Printable => PrintableStringRef::new(&text).map(Any::from),
            Encoding::Ia5 => Ia5StringRef::new(&text).map(Any::from),
        };
        let value = value.map_err(|e| unfit(&e))?;
        RelativeDistinguishedName::try_from(vec![AttributeTypeAndValue { oid: self.oid, value }]).map_err(|e| unfit(&e))
    }
}

fn printable_reason(text: &str) -> String {
    let bad = text.chars().find(|c| !(c.is_ascii_alphanumeric() || " '()+,-./:=?".contains(*c)));
    bad.map_or_else(|| "is not a PrintableString".into(), |c| format!("has '{c}', which a PrintableString cannot hold"))
}

/// The name of a list of RDNs; x509-cert makes names by parsing only.
pub(super) fn name_of(rdns: Vec<RelativeDistinguishedName>) -> Result<Name, Unfit> {
    let mut sequence = RdnSequence::default();
    rdns.into_iter().for_each(|rdn| sequence.push(rdn));
    sequence.to_der().and_then(|der| Name::from_der(&der)).map_err(|e| unfit(&e))
}

/// Reads the `[subject]` section.
pub(super) fn check_subject(spec: &Spanned<SubjectSpec>, out: &mut Findings<'_>) -> Option<Vec<Rdn>> {
    let spec = spec.get_ref();
    let encoding = match spec.encoding.as_ref().map(|t| (t.get_ref().as_str(), t.span())) {
        None | Some(("utf8", _)) => Encoding::Utf8,
        Some(("printable", _)) => Encoding::Printable,
        Some((other, span)) => {
            out.add(span, format!("'{other}' is not an encoding of names"), "use \"utf8\" or \"printable\"");
            return None;
        }
    };
    let list = spec.rdns.get_ref();
    if list.len() > MAX_NAMES {
        out.add(spec.rdns.span(), format!("{} RDNs", list.len()), format!("use at most {MAX_NAMES}"));
        return None;
    }
    let rdns: Vec<Option<Rdn>> = list
        .iter()
        .map(|entry| {
            let map = entry.get_ref();
            let Some((label, value)) = map.iter().next().filter(|_| map.len() == 1) else {
                out.add(entry.span(), "an RDN has exactly one attribute", "write one table per attribute, e.g. { CN = \"{id}\" }");
                return None;
            };
            check_rdn(label, value, encoding, out)
        })
        .collect();
    rdns.into_iter().collect()
}

fn check_rdn(label: &str, value: &Text, encoding: Encoding, out: &mut Findings<'_>) -> Option<Rdn> {
    let known = ATTRIBUTES.iter().find(|(name, ..)| *name == label);
    let (oid, max, fixed) = match (known, ObjectIdentifier::new(label)) {
        (Some((_, oid, max, fixed)), _) => (*oid, *max, *fixed),
        (None, Ok(oid)) => (oid, 64, None),
        (None, Err(_)) => {
            let names: Vec<&str> = ATTRIBUTES.iter().map(|a| a.0).collect();
            out.add(value.span(), format!("'{label}' is not a subject attribute"), format!("use {} or a dotted OID", names.join(", ")));
            return None;
        }
    };
    let value_template = template(value, out)?;
    let rdn = Rdn { label: label.to_owned(), oid, max, encoding: fixed.unwrap_or(encoding), value: value_template };
    if let Some(Err(reason)) = rdn.value.literal().map(|text| rdn.fits(text)) {
        out.add(value.span(), format!("{label} '{}' {reason}", value.get_ref()), "correct the value");
        return None;
    }
    Some(rdn)
}

/// Reads a template, reporting what is wrong with it.
pub(super) fn template(text: &Text, out: &mut Findings<'_>) -> Option<Template> {
    Template::parse(text.get_ref()).map_err(|reason| out.add(text.span(), reason, "correct the template, e.g. \"{id|lower}.example\"")).ok()
}

/// Reads a dotted OID.
pub(super) fn oid(text: &Text, out: &mut Findings<'_>) -> Option<ObjectIdentifier> {
    let parsed = ObjectIdentifier::new(text.get_ref());
    parsed
        .map_err(|_| {
            out.add(text.span(), format!("'{}' is not an object identifier", text.get_ref()), "write it dotted, e.g. \"1.3.6.1.5.5.7.3.2\"")
        })
        .ok()
}

/// One subjectAltName of a profile.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AltName {
    /// dNSName.
    Dns(Template),
    /// uniformResourceIdentifier.
    Uri(Template),
    /// iPAddress.
    Ip(Template),
    /// rfc822Name.
    Email(Template),
    /// registeredID.
    RegisteredId(ObjectIdentifier),
    /// otherName HardwareModuleName (RFC 4108 §5): hwType and hwSerialNum.
    HardwareModule(ObjectIdentifier, Template),
    /// otherName PermanentIdentifier (RFC 4043 §2): identifierValue and assigner.
    PermanentIdentifier(Template, Option<ObjectIdentifier>),
}

/// RFC 4043 §2.
#[derive(Sequence)]
struct PermanentIdentifier {
    value: String,
    #[asn1(optional = "true")]
    assigner: Option<ObjectIdentifier>,
}

impl AltName {
    /// Kind as the profile writes it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Dns(_) => "dns",
            Self::Uri(_) => "uri",
            Self::Ip(_) => "ip",
            Self::Email(_) => "email",
            Self::RegisteredId(_) => "registered_id",
            Self::HardwareModule(..) => "hardware_module",
            Self::PermanentIdentifier(..) => "permanent_identifier",
        }
    }

    fn template(&self) -> Option<&Template> {
        match self {
            Self::Dns(t) | Self::Uri(t) | Self::Ip(t) | Self::Email(t) => Some(t),
            Self::HardwareModule(_, t) | Self::PermanentIdentifier(t, _) => Some(t),
            Self::RegisteredId(_) => None,
        }
    }

    fn of(&self, text: &str) -> Result<GeneralName, Unfit> {
        let bad = |reason: &str| Unfit::Value(format!("'{text}' {reason}"));
        let ia5 = || Ia5String::new(text).map_err(|_| bad("has characters outside ASCII"));
        Ok(match self {
            Self::Dns(_) if !is_dns_name(text) => return Err(bad("is not a DNS name (RFC 5280 §4.2.1.6: letters, digits, hyphens, dots)")),
            Self::Dns(_) => GeneralName::DnsName(ia5()?),
            Self::Uri(_) if !is_uri(text) => return Err(bad("is not a URI with a scheme (RFC 3986)")),
            Self::Uri(_) => GeneralName::UniformResourceIdentifier(ia5()?),
            Self::Ip(_) => GeneralName::from(text.parse::<IpAddr>().map_err(|_| bad("is not an IPv4 or IPv6 address"))?),
            Self::Email(_) if !is_mailbox(text) => return Err(bad("is not a mail address")),
            Self::Email(_) => GeneralName::Rfc822Name(ia5()?),
            Self::RegisteredId(oid) => GeneralName::RegisteredId(*oid),
            Self::HardwareModule(hw_type, _) => {
                let serial = OctetString::new(text.as_bytes()).map_err(|e| unfit(&e))?;
                let name = HardwareModuleName { hw_type: *hw_type, hw_serial_num: serial };
                GeneralName::OtherName(OtherName::try_from(&name).map_err(|e| unfit(&e))?)
            }
            Self::PermanentIdentifier(_, assigner) => {
                let value =
                    Any::encode_from(&PermanentIdentifier { value: text.to_owned(), assigner: *assigner }).map_err(|e| unfit(&e))?;
                GeneralName::OtherName(OtherName { type_id: PERMANENT_IDENTIFIER, value })
            }
        })
    }

    pub(super) fn render(&self, identity: &DeviceIdentity) -> Result<GeneralName, Unfit> {
        let text = self.template().map_or(Ok(String::new()), |t| t.render(identity))?;
        self.of(&text)
    }
}

impl std::fmt::Display for AltName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:", self.kind())?;
        match self {
            Self::Dns(t) | Self::Uri(t) | Self::Ip(t) | Self::Email(t) | Self::PermanentIdentifier(t, None) => write!(f, "{t}"),
            Self::RegisteredId(oid) => write!(f, "{oid}"),
            Self::HardwareModule(oid, t) | Self::PermanentIdentifier(t, Some(oid)) => write!(f, "{oid} {t}"),
        }
    }
}

/// Reads the `[san]` section.
///
/// An empty list removes the names that a profile would inherit.
pub(super) fn check_san(spec: &Spanned<SanSpec>, may_remove: bool, out: &mut Findings<'_>) -> Option<Option<(bool, Vec<AltName>)>> {
    let spec = spec.get_ref();
    let list = spec.names.get_ref();
    if list.is_empty() && may_remove {
        return Some(None);
    }
    if list.is_empty() || list.len() > MAX_NAMES {
        out.add(spec.names.span(), format!("{} alternative names", list.len()), format!("use 1 to {MAX_NAMES}, or remove the section"));
        return None;
    }
    let names: Vec<Option<AltName>> = list.iter().map(|entry| check_name(entry, out)).collect();
    Some(Some((spec.critical.unwrap_or(false), names.into_iter().collect::<Option<_>>()?)))
}

fn check_name(entry: &Spanned<NameSpec>, out: &mut Findings<'_>) -> Option<AltName> {
    let name = match entry.get_ref() {
        NameSpec::Dns(t) => AltName::Dns(template(t, out)?),
        NameSpec::Uri(t) => AltName::Uri(template(t, out)?),
        NameSpec::Ip(t) => AltName::Ip(template(t, out)?),
        NameSpec::Email(t) => AltName::Email(template(t, out)?),
        NameSpec::RegisteredId(t) => AltName::RegisteredId(oid(t, out)?),
        NameSpec::HardwareModule(h) => {
            let (hw_type, serial) = (oid(&h.r#type, out), template(&h.serial, out));
            AltName::HardwareModule(hw_type?, serial?)
        }
        NameSpec::PermanentIdentifier(p) => {
            let value = template(&p.value, out);
            let assigner = match &p.assigner {
                Some(t) => Some(oid(t, out)?),
                None => None,
            };
            AltName::PermanentIdentifier(value?, assigner)
        }
    };
    if let Some(Err(Unfit::Value(reason))) = name.template().and_then(Template::literal).map(|text| name.of(text)) {
        out.add(entry.span(), reason, "correct the value");
        return None;
    }
    Some(name)
}

/// Preferred name syntax (RFC 1034 §3.5 as relaxed by RFC 1123): labels of letters, digits, hyphens.
pub(super) fn is_dns_name(text: &str) -> bool {
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

/// Scheme, colon and at least one more character, all from the URI alphabet.
pub(super) fn is_uri(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
        && !rest.is_empty()
        && rest.bytes().all(|b| b.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&b))
}

fn is_mailbox(text: &str) -> bool {
    text.split_once('@').is_some_and(|(local, host)| {
        (1..=64).contains(&local.len()) && is_dns_name(host) && local.bytes().all(|b| b.is_ascii_alphanumeric() || b"._+-".contains(&b))
    })
}
