//! Certificates as short facts, one a line: what `policy explain` shows and policy cases compare.

use super::keys;
use const_oid::ObjectIdentifier;
use const_oid::db::{DB, rfc5911};
use der::asn1::{Any, Ia5StringRef, OctetString, PrintableStringRef, Utf8StringRef};
use der::{Decode, Encode, Tag, Tagged};
use x509_cert::certificate::TbsCertificate;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::name::{DistributionPointName, GeneralName, HardwareModuleName};
use x509_cert::ext::pkix::{
    AuthorityInfoAccessSyntax, AuthorityKeyIdentifier, BasicConstraints, CertificatePolicies, CrlDistributionPoints, ExtendedKeyUsage,
    KeyUsage, KeyUsages, SubjectAltName, SubjectKeyIdentifier,
};

/// Names that the OID database lacks or spells in its own way.
const NAMES: [(&str, &str); 24] = [
    ("2.5.29.14", "subjectKeyIdentifier"),
    ("2.5.29.15", "keyUsage"),
    ("2.5.29.17", "subjectAltName"),
    ("2.5.29.19", "basicConstraints"),
    ("2.5.29.30", "nameConstraints"),
    ("2.5.29.31", "cRLDistributionPoints"),
    ("2.5.29.32", "certificatePolicies"),
    ("2.5.29.35", "authorityKeyIdentifier"),
    ("2.5.29.37", "extKeyUsage"),
    ("1.3.6.1.5.5.7.1.1", "authorityInfoAccess"),
    ("1.3.6.1.5.5.7.1.32", "masaURL"),
    ("1.3.6.1.5.5.7.3.1", "serverAuth"),
    ("1.3.6.1.5.5.7.3.2", "clientAuth"),
    ("1.3.6.1.5.5.7.3.3", "codeSigning"),
    ("1.3.6.1.5.5.7.3.4", "emailProtection"),
    ("1.3.6.1.5.5.7.3.8", "timeStamping"),
    ("1.3.6.1.5.5.7.3.9", "OCSPSigning"),
    ("1.3.6.1.5.5.7.48.1", "OCSP"),
    ("1.3.6.1.5.5.7.48.2", "caIssuers"),
    ("1.3.6.1.5.5.7.8.4", "hardwareModuleName"),
    ("1.3.6.1.5.5.7.8.3", "permanentIdentifier"),
    ("1.3.6.1.5.5.7.3.28", "cmcRA"),
    ("1.3.6.1.4.1.37244.2.1", "matterVendorId"),
    ("1.3.6.1.4.1.37244.2.2", "matterProductId"),
];

/// Name of an OID, or its dotted form.
pub fn oid_name(oid: &ObjectIdentifier) -> String {
    let dotted = oid.to_string();
    let known = NAMES.iter().find(|(number, _)| *number == dotted).map(|(_, name)| *name);
    known.or_else(|| DB.by_oid(oid)).map_or(dotted, str::to_owned)
}

/// A TBSCertificate in words, one fact a line.
pub fn certificate(tbs: &TbsCertificate) -> String {
    let key = tbs.subject_public_key_info().to_der().ok();
    let key = key.and_then(|der| keys::classify(&der).ok()).map_or_else(|| "unsupported".to_owned(), |k| k.to_string());
    let mut lines = vec![
        format!("serial      {}", hex::encode(tbs.serial_number().as_bytes())),
        format!("signature   {}", oid_name(&tbs.signature().oid)),
        format!("issuer      {}", tbs.issuer()),
        format!("not before  {}", tbs.validity().not_before),
        format!("not after   {}", tbs.validity().not_after),
        format!("subject     {}", if tbs.subject().is_empty() { "(empty)".to_owned() } else { tbs.subject().to_string() }),
        format!("key         {key}"),
    ];
    for extension in tbs.extensions().map(Vec::as_slice).unwrap_or_default() {
        let critical = if extension.critical { " (critical)" } else { "" };
        lines.push(format!("{}{critical}: {}", oid_name(&extension.extn_id), extension_value(extension)));
    }
    lines.join("\n")
}

/// The value of an extension in words, or its octets when it does not decode.
pub fn extension_value(extension: &Extension) -> String {
    let der = extension.extn_value.as_bytes();
    known(&extension.extn_id.to_string(), der)
        .unwrap_or_else(|| Any::from_der(der).map_or_else(|_| hex::encode(der), |any| any_value(&any)))
}

fn known(oid: &str, der: &[u8]) -> Option<String> {
    Some(match oid {
        "2.5.29.14" => hex::encode(SubjectKeyIdentifier::from_der(der).ok()?.0.as_bytes()),
        "2.5.29.15" => key_usage(&KeyUsage::from_der(der).ok()?),
        "2.5.29.17" => general_names(&SubjectAltName::from_der(der).ok()?.0),
        "2.5.29.19" => {
            let bc = BasicConstraints::from_der(der).ok()?;
            let path = bc.path_len_constraint.map_or(String::new(), |n| format!(", path length {n}"));
            format!("{}{path}", if bc.ca { "CA" } else { "not a CA" })
        }
        "2.5.29.31" => {
            let points = CrlDistributionPoints::from_der(der).ok()?.0;
            let full = points.iter().filter_map(|p| match &p.distribution_point {
                Some(DistributionPointName::FullName(names)) => Some(general_names(names)),
                _ => None,
            });
            full.collect::<Vec<_>>().join(", ")
        }
        "2.5.29.32" => {
            let list = CertificatePolicies::from_der(der).ok()?.0;
            let cps = |i: &x509_cert::ext::pkix::certpolicy::PolicyInformation| {
                let qualifiers = i.policy_qualifiers.iter().flatten().filter_map(|q| q.qualifier.as_ref());
                qualifiers.map(|q| format!(" ({})", any_value(q))).collect::<String>()
            };
            list.iter().map(|p| format!("{}{}", oid_name(&p.policy_identifier), cps(p))).collect::<Vec<_>>().join(", ")
        }
        "2.5.29.35" => {
            let key = AuthorityKeyIdentifier::from_der(der).ok()?.key_identifier?;
            hex::encode(key.as_bytes())
        }
        "2.5.29.37" => ExtendedKeyUsage::from_der(der).ok()?.0.iter().map(oid_name).collect::<Vec<_>>().join(", "),
        "1.3.6.1.5.5.7.1.1" => {
            let list = AuthorityInfoAccessSyntax::from_der(der).ok()?.0;
            let shown = |a: &x509_cert::ext::pkix::AccessDescription| {
                format!("{} {}", oid_name(&a.access_method), general_names(std::slice::from_ref(&a.access_location)))
            };
            list.iter().map(shown).collect::<Vec<_>>().join(", ")
        }
        _ => return None,
    })
}

/// The usages by their RFC 5280 names.
pub fn key_usage(usage: &KeyUsage) -> String {
    let names = usage.0.into_iter().map(|flag| match flag {
        KeyUsages::DigitalSignature => "digitalSignature",
        KeyUsages::NonRepudiation => "nonRepudiation",
        KeyUsages::KeyEncipherment => "keyEncipherment",
        KeyUsages::DataEncipherment => "dataEncipherment",
        KeyUsages::KeyAgreement => "keyAgreement",
        KeyUsages::KeyCertSign => "keyCertSign",
        KeyUsages::CRLSign => "cRLSign",
        KeyUsages::EncipherOnly => "encipherOnly",
        KeyUsages::DecipherOnly => "decipherOnly",
    });
    names.collect::<Vec<_>>().join(", ")
}

fn general_names(names: &[GeneralName]) -> String {
    names.iter().map(general_name).collect::<Vec<_>>().join(", ")
}

/// A general name as `kind:value`.
pub fn general_name(name: &GeneralName) -> String {
    match name {
        GeneralName::DnsName(n) => format!("dns:{n}"),
        GeneralName::UniformResourceIdentifier(n) => format!("uri:{n}"),
        GeneralName::Rfc822Name(n) => format!("email:{n}"),
        GeneralName::DirectoryName(n) => format!("directory:{n}"),
        GeneralName::RegisteredId(n) => format!("registered_id:{n}"),
        GeneralName::IpAddress(n) => format!("ip:{}", address(n)),
        GeneralName::EdiPartyName(_) => "edi_party_name".to_owned(),
        GeneralName::OtherName(other) if other.type_id == rfc5911::ID_ON_HARDWARE_MODULE_NAME => {
            match other.value.decode_as::<HardwareModuleName>() {
                Ok(h) => format!("hardware_module:{} {}", h.hw_type, octets(h.hw_serial_num.as_bytes())),
                Err(_) => "hardware_module:malformed".to_owned(),
            }
        }
        GeneralName::OtherName(other) => format!("{}:{}", oid_name(&other.type_id), any_value(&other.value)),
    }
}

fn address(octets: &OctetString) -> String {
    let bytes = octets.as_bytes();
    let v4 = <[u8; 4]>::try_from(bytes).map(|b| std::net::IpAddr::from(b).to_string());
    let v6 = <[u8; 16]>::try_from(bytes).map(|b| std::net::IpAddr::from(b).to_string());
    v4.or(v6).unwrap_or_else(|_| hex::encode(bytes))
}

/// Printable ASCII as text, anything else as hexadecimal.
fn octets(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if text.bytes().all(|b| (0x20..0x7f).contains(&b)) => text.to_owned(),
        _ => hex::encode(bytes),
    }
}

fn any_value(any: &Any) -> String {
    let text = match any.tag() {
        Tag::Utf8String => Utf8StringRef::try_from(any).ok().map(|s| s.as_str().to_owned()),
        Tag::Ia5String => Ia5StringRef::try_from(any).ok().map(|s| s.as_str().to_owned()),
        Tag::PrintableString => PrintableStringRef::try_from(any).ok().map(|s| s.as_str().to_owned()),
        Tag::ObjectIdentifier => any.decode_as::<ObjectIdentifier>().ok().map(|o| o.to_string()),
        Tag::Boolean => any.decode_as::<bool>().ok().map(|b| b.to_string()),
        Tag::Integer => any.decode_as::<i64>().ok().map(|n| n.to_string()),
        _ => None,
    };
    // Control characters could rewrite a terminal.
    text.filter(|t| !t.chars().any(char::is_control)).unwrap_or_else(|| any.to_der().map_or_else(|_| String::new(), hex::encode))
}
