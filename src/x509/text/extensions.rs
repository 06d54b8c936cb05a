//! Extensions as openssl prints them; an unknown or undecodable one as printable bytes.

use super::colons;
use super::names::general;
use const_oid::ObjectIdentifier;
use const_oid::db::rfc5280 as oid;
use const_oid::db::rfc5912;
use der::Decode;
use std::fmt::Write;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::name::DistributionPointName;
use x509_cert::ext::pkix::{self, KeyUsage, KeyUsages};

/// One extension: its title, whether critical, and its indented content.
pub(super) fn lines(out: &mut String, extension: &Extension) {
    let bytes = extension.extn_value.as_bytes();
    let (title, content) = match known(&extension.extn_id, bytes) {
        Some((title, Ok(content))) => (title.to_owned(), content),
        _ => (extension.extn_id.to_string(), vec![printable(bytes)]),
    };
    let _ = writeln!(out, "            {title}: {}", if extension.critical { "critical" } else { "" });
    for line in content {
        let _ = writeln!(out, "                {line}");
    }
}

type Lines = der::Result<Vec<String>>;

fn known(id: &ObjectIdentifier, bytes: &[u8]) -> Option<(&'static str, Lines)> {
    Some(match *id {
        oid::ID_CE_BASIC_CONSTRAINTS => ("X509v3 Basic Constraints", basic_constraints(bytes)),
        oid::ID_CE_KEY_USAGE => ("X509v3 Key Usage", KeyUsage::from_der(bytes).map(|ku| vec![key_usage(&ku)])),
        oid::ID_CE_EXT_KEY_USAGE => ("X509v3 Extended Key Usage", extended(bytes)),
        oid::ID_CE_SUBJECT_KEY_IDENTIFIER => {
            ("X509v3 Subject Key Identifier", pkix::SubjectKeyIdentifier::from_der(bytes).map(|ski| vec![colons(ski.0.as_bytes(), true)]))
        }
        oid::ID_CE_AUTHORITY_KEY_IDENTIFIER => ("X509v3 Authority Key Identifier", authority_key(bytes)),
        oid::ID_CE_SUBJECT_ALT_NAME => (
            "X509v3 Subject Alternative Name",
            pkix::SubjectAltName::from_der(bytes).map(|san| vec![san.0.iter().map(general).collect::<Vec<_>>().join(", ")]),
        ),
        oid::ID_CE_CRL_DISTRIBUTION_POINTS => ("X509v3 CRL Distribution Points", distribution_points(bytes)),
        oid::ID_PE_AUTHORITY_INFO_ACCESS => ("Authority Information Access", information_access(bytes)),
        rfc5912::ID_CE_CERTIFICATE_POLICIES => ("X509v3 Certificate Policies", policies(bytes)),
        oid::ID_CE_NAME_CONSTRAINTS => ("X509v3 Name Constraints", name_constraints(bytes)),
        _ => return None,
    })
}

fn basic_constraints(bytes: &[u8]) -> Lines {
    let bc = pkix::BasicConstraints::from_der(bytes)?;
    let ca = if bc.ca { "CA:TRUE" } else { "CA:FALSE" };
    Ok(vec![bc.path_len_constraint.map_or_else(|| ca.to_owned(), |n| format!("{ca}, pathlen:{n}"))])
}

fn key_usage(usage: &KeyUsage) -> String {
    let names = [
        (KeyUsages::DigitalSignature, "Digital Signature"),
        (KeyUsages::NonRepudiation, "Non Repudiation"),
        (KeyUsages::KeyEncipherment, "Key Encipherment"),
        (KeyUsages::DataEncipherment, "Data Encipherment"),
        (KeyUsages::KeyAgreement, "Key Agreement"),
        (KeyUsages::KeyCertSign, "Certificate Sign"),
        (KeyUsages::CRLSign, "CRL Sign"),
        (KeyUsages::EncipherOnly, "Encipher Only"),
        (KeyUsages::DecipherOnly, "Decipher Only"),
    ];
    names.iter().filter(|(flag, _)| usage.0.contains(*flag)).map(|(_, text)| *text).collect::<Vec<_>>().join(", ")
}

fn extended(bytes: &[u8]) -> Lines {
    let list = pkix::ExtendedKeyUsage::from_der(bytes)?;
    let text = |id: &ObjectIdentifier| match *id {
        oid::ID_KP_SERVER_AUTH => "TLS Web Server Authentication".to_owned(),
        oid::ID_KP_CLIENT_AUTH => "TLS Web Client Authentication".to_owned(),
        oid::ID_KP_CODE_SIGNING => "Code Signing".to_owned(),
        oid::ID_KP_EMAIL_PROTECTION => "E-mail Protection".to_owned(),
        oid::ID_KP_TIME_STAMPING => "Time Stamping".to_owned(),
        oid::ID_KP_OCSP_SIGNING => "OCSP Signing".to_owned(),
        oid::ANY_EXTENDED_KEY_USAGE => "Any Extended Key Usage".to_owned(),
        other => other.to_string(),
    };
    Ok(vec![list.0.iter().map(text).collect::<Vec<_>>().join(", ")])
}

fn authority_key(bytes: &[u8]) -> Lines {
    let aki = pkix::AuthorityKeyIdentifier::from_der(bytes)?;
    let mut out = Vec::new();
    out.extend(aki.key_identifier.map(|id| colons(id.as_bytes(), true)));
    out.extend(aki.authority_cert_issuer.iter().flatten().map(general));
    out.extend(aki.authority_cert_serial_number.map(|n| format!("serial:{}", colons(n.as_bytes(), true))));
    Ok(out)
}

fn distribution_points(bytes: &[u8]) -> Lines {
    let mut out = Vec::new();
    for point in pkix::CrlDistributionPoints::from_der(bytes)?.0 {
        match point.distribution_point {
            Some(DistributionPointName::FullName(names)) => {
                out.push("Full Name:".to_owned());
                out.extend(names.iter().map(|n| format!("  {}", general(n))));
            }
            Some(DistributionPointName::NameRelativeToCRLIssuer(_)) => out.push("Relative Name".to_owned()),
            None => {}
        }
        out.extend(point.crl_issuer.iter().flatten().map(|n| format!("CRL Issuer: {}", general(n))));
    }
    Ok(out)
}

fn information_access(bytes: &[u8]) -> Lines {
    let list = pkix::AuthorityInfoAccessSyntax::from_der(bytes)?.0;
    let lines = list.iter().map(|d| {
        let method = match d.access_method {
            oid::ID_AD_CA_ISSUERS => "CA Issuers".to_owned(),
            oid::ID_AD_OCSP => "OCSP".to_owned(),
            other => other.to_string(),
        };
        format!("{method} - {}", general(&d.access_location))
    });
    Ok(lines.collect())
}

fn policies(bytes: &[u8]) -> Lines {
    let list = pkix::CertificatePolicies::from_der(bytes)?.0;
    let lines = list.iter().map(|p| match p.policy_identifier {
        oid::ANY_POLICY => "Policy: X509v3 Any Policy".to_owned(),
        other => format!("Policy: {other}"),
    });
    Ok(lines.collect())
}

fn name_constraints(bytes: &[u8]) -> Lines {
    let constraints = pkix::NameConstraints::from_der(bytes)?;
    let mut out = Vec::new();
    for (title, subtrees) in [("Permitted:", constraints.permitted_subtrees), ("Excluded:", constraints.excluded_subtrees)] {
        if let Some(subtrees) = subtrees {
            out.push(title.to_owned());
            out.extend(subtrees.iter().map(|s| format!("  {}", general(&s.base))));
        }
    }
    Ok(out)
}

fn printable(bytes: &[u8]) -> String {
    bytes.iter().map(|b| if (0x20..0x7f).contains(b) { char::from(*b) } else { '.' }).collect()
}
