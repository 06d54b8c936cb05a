//! One certificate, read strictly: everything that can be judged without its neighbours.

use super::refusal::{Broken, Rule, require};
use crate::types::{SignatureAlgorithm, Validity};
use crate::x509::{keys, tbs};
use const_oid::{AssociatedOid, ObjectIdentifier};
use der::{Decode, Encode};
use x509_cert::certificate::{Certificate, TbsCertificate, Version};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::crl::dp::DistributionPoint;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{
    AuthorityInfoAccessSyntax, AuthorityKeyIdentifier, BasicConstraints, CertificatePolicies, CrlDistributionPoints, ExtendedKeyUsage,
    InhibitAnyPolicy, KeyUsage, NameConstraints, PolicyConstraints, PolicyMappings, SubjectAltName, SubjectKeyIdentifier,
};
use x509_cert::name::Name;

/// Largest certificate, in bytes of DER. RSA-8192 with generous extensions stays below 8 KiB.
pub const MAX_CERTIFICATE: usize = 32 * 1024;

/// A certificate that is canonical DER and keeps every rule of RFC 5280 §4 that concerns it alone.
#[derive(Clone, Debug)]
pub struct ReadCertificate {
    pub(super) der: Vec<u8>,
    pub(super) tbs_der: Vec<u8>,
    pub(super) algorithm: SignatureAlgorithm,
    pub(super) signature: Vec<u8>,
    pub(super) serial: Vec<u8>,
    pub(super) subject: Name,
    pub(super) issuer: Name,
    pub(super) validity: Validity,
    pub(super) spki_der: Vec<u8>,
    pub(super) extensions: Extensions,
}

/// The extensions that path validation processes; every other critical one is refused.
#[derive(Clone, Debug, Default)]
pub(super) struct Extensions {
    pub basic: Option<BasicConstraints>,
    pub usage: Option<KeyUsage>,
    pub extended: Option<Vec<ObjectIdentifier>>,
    pub alternative: Vec<GeneralName>,
    pub constraints: Option<NameConstraints>,
    pub key_id: Option<Vec<u8>>,
    pub authority: Option<AuthorityKeyIdentifier>,
    pub crl_points: Vec<DistributionPoint>,
}

impl ReadCertificate {
    /// Reads DER. What does not encode back to the same bytes is not DER (X.690 §10, §11), so no
    /// two encodings of one certificate are ever accepted.
    pub fn from_der(der: &[u8]) -> Result<Self, Broken> {
        if der.len() > MAX_CERTIFICATE {
            let reason = format!("the certificate has {} bytes; at most {MAX_CERTIFICATE} are read", der.len());
            return Err(Broken::new(Rule::Bounds, "verifier limit", reason));
        }
        let certificate = Certificate::from_der(der).map_err(encoding)?;
        require(certificate.to_der().map_err(encoding)? == der, Rule::Encoding, "X.690 §10", "the encoding is not canonical DER")?;
        let body = certificate.tbs_certificate();
        require(
            body.signature() == certificate.signature_algorithm(),
            Rule::Algorithm,
            "RFC 5280 §4.1.1.2",
            "the algorithm inside the signed part differs from the one outside",
        )?;
        let algorithm = keys::signature_algorithm(body.signature())
            .map_err(|e| Broken::new(Rule::Algorithm, "RFC 5758, RFC 4055 §5, RFC 8410", e.to_string()))?;
        let signature = certificate
            .signature()
            .as_bytes()
            .ok_or_else(|| Broken::new(Rule::Encoding, "RFC 5280 §4.1.1.3", "the signature has unused bits"))?;
        require(body.version() == Version::V3, Rule::Encoding, "RFC 5280 §4.1.2.1", "not a version 3 certificate")?;
        let (from, to) = (tbs::seconds(&body.validity().not_before), tbs::seconds(&body.validity().not_after));
        let validity = Validity::new(from, to).map_err(|e| Broken::new(Rule::Validity, "RFC 5280 §4.1.2.5", e.reason))?;
        let spki_der = body.subject_public_key_info().to_der().map_err(encoding)?;
        keys::classify(&spki_der).map_err(|e| Broken::new(Rule::Algorithm, "RFC 5480, RFC 4055, RFC 8410", e.to_string()))?;
        check_fields(body)?;
        Ok(Self {
            tbs_der: body.to_der().map_err(encoding)?,
            algorithm,
            signature: signature.to_vec(),
            serial: body.serial_number().as_bytes().to_vec(),
            subject: body.subject().clone(),
            issuer: body.issuer().clone(),
            validity,
            spki_der,
            extensions: read_extensions(body)?,
            der: der.to_vec(),
        })
    }

    /// The bytes as read.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Subject distinguished name.
    pub fn subject(&self) -> &Name {
        &self.subject
    }

    /// Issuer distinguished name.
    pub fn issuer(&self) -> &Name {
        &self.issuer
    }

    /// Serial number octets, big endian.
    pub fn serial(&self) -> &[u8] {
        &self.serial
    }

    /// Validity period.
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// DER SubjectPublicKeyInfo.
    pub fn spki_der(&self) -> &[u8] {
        &self.spki_der
    }

    /// Algorithm of the issuer's signature.
    pub fn algorithm(&self) -> SignatureAlgorithm {
        self.algorithm
    }

    /// subjectAltName entries, empty when absent.
    pub fn alternative_names(&self) -> &[GeneralName] {
        &self.extensions.alternative
    }

    /// The purposes in extendedKeyUsage, `None` when it is absent.
    pub fn extended_key_usages(&self) -> Option<&[ObjectIdentifier]> {
        self.extensions.extended.as_deref()
    }

    /// Whether keyUsage is absent or allows digital signatures.
    pub fn may_sign_data(&self) -> bool {
        self.extensions.usage.is_none_or(|u| u.digital_signature() || u.non_repudiation())
    }

    /// The subject for people: quoted, bounded, free of control characters; the alternative
    /// name's existence is told when the subject is empty.
    pub fn label(&self) -> String {
        let text = self.subject.to_string();
        if text.is_empty() {
            return "(empty subject)".into();
        }
        let clean: String =
            text.chars().take(200).flat_map(|c| if c.is_control() { c.escape_unicode().collect() } else { vec![c] }).collect();
        format!("'{clean}'")
    }

    /// Self-issued: same name as issuer and subject (RFC 5280 §6.1).
    pub(super) fn self_issued(&self) -> bool {
        super::names::same(&self.subject, &self.issuer)
    }

    pub(super) fn is_authority(&self) -> bool {
        self.extensions.basic.as_ref().is_some_and(|b| b.ca)
    }
}

fn encoding(error: der::Error) -> Broken {
    Broken::new(Rule::Encoding, "X.690 §10, RFC 5280 §4.1", format!("not a DER certificate: {error}"))
}

/// Serial, names and their extensions' companions (RFC 5280 §4.1.2).
fn check_fields(body: &TbsCertificate) -> Result<(), Broken> {
    let serial = body.serial_number().as_bytes();
    let positive = serial.first().is_some_and(|b| b & 0x80 == 0) && serial.iter().any(|b| *b != 0);
    require(
        positive && serial.len() <= 20,
        Rule::Encoding,
        "RFC 5280 §4.1.2.2",
        "the serial number is not positive and of at most 20 octets",
    )?;
    require(!body.issuer().is_empty(), Rule::Name, "RFC 5280 §4.1.2.4", "the issuer name is empty")?;
    let unique = body.issuer_unique_id().is_some() || body.subject_unique_id().is_some();
    require(!unique, Rule::Encoding, "RFC 5280 §4.1.2.8", "unique identifiers must not be used")
}

fn read_extensions(body: &TbsCertificate) -> Result<Extensions, Broken> {
    let list = body.extensions().map(Vec::as_slice).unwrap_or_default();
    require(body.extensions().is_none() || !list.is_empty(), Rule::Encoding, "RFC 5280 §4.1.2.9", "the list of extensions is empty")?;
    let mut seen = std::collections::BTreeSet::new();
    let mut out = Extensions::default();
    for extension in list {
        let id = extension.extn_id;
        if !seen.insert(id) {
            return Err(Broken::new(Rule::Extension, "RFC 5280 §4.2", format!("extension {id} occurs twice")));
        }
        read_extension(extension, &mut out)?;
    }
    let nameless = body.subject().is_empty();
    let critical_names = list.iter().any(|e| e.extn_id == SubjectAltName::OID && e.critical);
    require(!nameless || critical_names, Rule::Name, "RFC 5280 §4.2.1.6", "an empty subject needs a critical subjectAltName")?;
    let authority = out.basic.as_ref().is_some_and(|b| b.ca);
    require(!(nameless && authority), Rule::Name, "RFC 5280 §4.1.2.6", "an authority needs a subject name")?;
    let path_length = out.basic.as_ref().is_some_and(|b| b.path_len_constraint.is_some());
    require(authority || !path_length, Rule::Extension, "RFC 5280 §4.2.1.9", "pathLenConstraint without CA")?;
    let signs = out.usage.is_some_and(|u| u.key_cert_sign());
    require(authority || !signs, Rule::Extension, "RFC 5280 §4.2.1.9", "keyCertSign without CA")?;
    require(
        authority || out.constraints.is_none(),
        Rule::Extension,
        "RFC 5280 §4.2.1.10",
        "nameConstraints in a certificate of no authority",
    )?;
    Ok(out)
}

fn read_extension(extension: &Extension, out: &mut Extensions) -> Result<(), Broken> {
    match extension.extn_id {
        BasicConstraints::OID => {
            let basic: BasicConstraints = decode(extension)?;
            require(
                !basic.ca || extension.critical,
                Rule::Extension,
                "RFC 5280 §4.2.1.9",
                "basicConstraints of an authority must be critical",
            )?;
            out.basic = Some(basic);
        }
        KeyUsage::OID => {
            let usage: KeyUsage = decode(extension)?;
            require(!usage.0.is_empty(), Rule::Extension, "RFC 5280 §4.2.1.3", "keyUsage sets no bit")?;
            out.usage = Some(usage);
        }
        ExtendedKeyUsage::OID => {
            let usage: ExtendedKeyUsage = decode(extension)?;
            require(!usage.0.is_empty(), Rule::Extension, "RFC 5280 §4.2.1.12", "extendedKeyUsage is empty")?;
            out.extended = Some(usage.0);
        }
        SubjectAltName::OID => {
            let names: SubjectAltName = decode(extension)?;
            require(!names.0.is_empty(), Rule::Name, "RFC 5280 §4.2.1.6", "subjectAltName is empty")?;
            super::constraints::check_forms(&names.0)?;
            out.alternative = names.0;
        }
        NameConstraints::OID => {
            let constraints: NameConstraints = decode(extension)?;
            require(extension.critical, Rule::Extension, "RFC 5280 §4.2.1.10", "nameConstraints must be critical")?;
            super::constraints::check(&constraints)?;
            out.constraints = Some(constraints);
        }
        SubjectKeyIdentifier::OID => {
            require(!extension.critical, Rule::Extension, "RFC 5280 §4.2.1.2", "subjectKeyIdentifier must not be critical")?;
            out.key_id = Some(decode::<SubjectKeyIdentifier>(extension)?.0.as_bytes().to_vec());
        }
        AuthorityKeyIdentifier::OID => {
            require(!extension.critical, Rule::Extension, "RFC 5280 §4.2.1.1", "authorityKeyIdentifier must not be critical")?;
            let authority: AuthorityKeyIdentifier = decode(extension)?;
            let paired = authority.authority_cert_issuer.is_some() == authority.authority_cert_serial_number.is_some();
            require(paired, Rule::Extension, "RFC 5280 §4.2.1.1", "authorityCertIssuer and authorityCertSerialNumber must go together")?;
            let named = authority.key_identifier.is_some();
            require(named, Rule::Extension, "RFC 5280 §4.2.1.1", "authorityKeyIdentifier has no key identifier")?;
            out.authority = Some(authority);
        }
        // Recognised, read for its encoding; no policy is required of devices (RFC 5280 §6.1.1 (c): any-policy).
        CertificatePolicies::OID => {
            let policies: CertificatePolicies = decode(extension)?;
            let ids: std::collections::BTreeSet<_> = policies.0.iter().map(|p| p.policy_identifier).collect();
            let good = !ids.is_empty() && ids.len() == policies.0.len();
            require(good, Rule::Extension, "RFC 5280 §4.2.1.4", "certificatePolicies is empty or repeats a policy")?;
        }
        // Not processed, and never to be passed over: each can only narrow what is valid.
        PolicyConstraints::OID | PolicyMappings::OID | InhibitAnyPolicy::OID => {
            let reason = format!("policy extension {} is not processed", extension.extn_id);
            return Err(Broken::new(Rule::Extension, "RFC 5280 §4.2.1.5, §4.2.1.11, §4.2.1.14", reason));
        }
        CrlDistributionPoints::OID => out.crl_points = decode::<CrlDistributionPoints>(extension)?.0,
        // Says where to fetch, which is never done here; what is recognised must decode all the same.
        AuthorityInfoAccessSyntax::OID if !extension.critical => drop(decode::<AuthorityInfoAccessSyntax>(extension)?),
        other if extension.critical => {
            return Err(Broken::new(Rule::Extension, "RFC 5280 §4.2", format!("critical extension {other} is not understood")));
        }
        _ => {}
    }
    Ok(())
}

/// Decodes an extension value; it, too, must be canonical DER.
pub(super) fn decode<T: for<'a> Decode<'a, Error = der::Error> + Encode>(extension: &Extension) -> Result<T, Broken> {
    let bytes = extension.extn_value.as_bytes();
    let bad = |what: String| Broken::new(Rule::Encoding, "RFC 5280 §4.2", format!("extension {}: {what}", extension.extn_id));
    let value = T::from_der(bytes).map_err(|e| bad(e.to_string()))?;
    let again = value.to_der().map_err(|e| bad(e.to_string()))?;
    if again == bytes { Ok(value) } else { Err(bad("not canonical DER".into())) }
}
