//! The to-be-signed certificate: built from a plan, linted, completed with a verified signature.

use super::keys::{self, KeyError};
use super::plan::Plan;
use crate::types::{Serial, SignatureAlgorithm, Validity};
use der::asn1::{AnyRef, BitString, GeneralizedTime, OctetString, UtcTime};
use der::{DateTime, Decode, Encode, Sequence};
use sha1::{Digest, Sha1};
use spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};
use std::time::Duration;
use x509_cert::certificate::{Certificate, TbsCertificate, Version};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::{AuthorityKeyIdentifier, SubjectKeyIdentifier};
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::time::Time;

/// Why a certificate cannot be built or completed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TbsError {
    /// A value does not encode.
    #[error("cannot encode the certificate: {0}")]
    Der(String),
    /// Issuer key or signature.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl From<der::Error> for TbsError {
    fn from(e: der::Error) -> Self {
        Self::Der(e.to_string())
    }
}

/// What must be known of the issuer to issue under it.
#[derive(Clone, Debug)]
pub struct Issuer {
    name: Name,
    spki_der: Vec<u8>,
    key_identifier: Vec<u8>,
    algorithm: SignatureAlgorithm,
    validity: Validity,
}

impl Issuer {
    /// An issuer from its DER certificate.
    pub fn from_certificate(der: &[u8]) -> Result<Self, TbsError> {
        let cert = Certificate::from_der(der)?;
        let tbs = cert.tbs_certificate();
        let spki_der = tbs.subject_public_key_info().to_der()?;
        let validity = Validity::new(seconds(&tbs.validity().not_before), seconds(&tbs.validity().not_after))
            .map_err(|e| TbsError::Der(e.to_string()))?;
        let mut issuer = Self::self_signed(tbs.subject().clone(), spki_der, validity)?;
        // RFC 5280 §4.2.1.1: the AKI of what it issues is the issuer's own SKI, however made.
        if let Some((_, ski)) = tbs.get_extension::<SubjectKeyIdentifier>()? {
            issuer.key_identifier = ski.0.as_bytes().to_vec();
        }
        Ok(issuer)
    }

    /// A root about to sign itself.
    pub fn self_signed(name: Name, spki_der: Vec<u8>, validity: Validity) -> Result<Self, TbsError> {
        let algorithm = keys::classify(&spki_der)?.signature_algorithm();
        let key_identifier = key_identifier(&spki_der)?;
        Ok(Self { name, spki_der, key_identifier, algorithm, validity })
    }

    /// Distinguished name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// DER SubjectPublicKeyInfo.
    pub fn spki_der(&self) -> &[u8] {
        &self.spki_der
    }

    /// Algorithm of the signatures that it makes.
    pub fn algorithm(&self) -> SignatureAlgorithm {
        self.algorithm
    }

    /// The issuer's own validity.
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// subjectKeyIdentifier octets.
    pub fn key_identifier(&self) -> &[u8] {
        &self.key_identifier
    }
}

/// RFC 5280 §4.1 TBSCertificate for writing; x509-cert reads it back, so one encoder and
/// another decoder must agree before anything is linted.
#[derive(Sequence)]
struct TbsFields {
    #[asn1(context_specific = "0")]
    version: Version,
    serial_number: SerialNumber,
    signature: AlgorithmIdentifierOwned,
    issuer: Name,
    validity: x509_cert::time::Validity,
    subject: Name,
    subject_public_key_info: SubjectPublicKeyInfoOwned,
    #[asn1(context_specific = "3", tag_mode = "EXPLICIT")]
    extensions: Vec<Extension>,
}

/// RFC 5280 §4.1 Certificate around bytes that are already encoded.
#[derive(Sequence)]
struct SignedFields<'a> {
    tbs: AnyRef<'a>,
    algorithm: AlgorithmIdentifierOwned,
    signature: BitString,
}

/// A built, not yet linted, TBSCertificate.
#[derive(Clone, Debug)]
pub struct Tbs {
    pub(super) parsed: TbsCertificate,
    pub(super) der: Vec<u8>,
    pub(super) may_outlive_issuer: bool,
}

impl Tbs {
    /// Builds the TBSCertificate. Same inputs, same bytes.
    pub fn build(plan: &Plan, issuer: &Issuer, serial: &Serial) -> Result<Self, TbsError> {
        let spki = SubjectPublicKeyInfoOwned::from_der(&plan.spki_der)?;
        let mut extensions = plan.extensions.clone();
        if plan.subject_key_identifier {
            extensions.push(extension(&SubjectKeyIdentifier(OctetString::new(key_identifier(&plan.spki_der)?)?), false)?);
        }
        let aki = AuthorityKeyIdentifier { key_identifier: Some(OctetString::new(issuer.key_identifier())?), ..Default::default() };
        extensions.push(extension(&aki, false)?);
        let der = TbsFields {
            version: Version::V3,
            serial_number: SerialNumber::new(serial.as_bytes())?,
            signature: keys::algorithm_identifier(issuer.algorithm),
            issuer: issuer.name.clone(),
            validity: x509_cert::time::Validity::new(time(plan.validity.not_before())?, time(plan.validity.not_after())?),
            subject: plan.subject.clone(),
            subject_public_key_info: spki,
            extensions,
        }
        .to_der()?;
        let parsed = TbsCertificate::from_der(&der)?;
        Ok(Self { parsed, der, may_outlive_issuer: plan.may_outlive_issuer })
    }
}

impl Tbs {
    /// The content as it reads back.
    pub fn parsed(&self) -> &TbsCertificate {
        &self.parsed
    }
}

/// A TBSCertificate that passed every lint: the only thing that is ever given to a token.
#[derive(Clone, Debug)]
pub struct Linted {
    pub(super) tbs: Tbs,
}

impl Linted {
    /// The bytes to sign.
    pub fn der(&self) -> &[u8] {
        &self.tbs.der
    }

    /// Completes the certificate after verifying the signature with the issuer's public key,
    /// and proves that the TBS inside the result is the linted one, byte for byte.
    pub fn attach(&self, issuer: &Issuer, signature: &[u8]) -> Result<Vec<u8>, TbsError> {
        keys::verify(&issuer.spki_der, issuer.algorithm, &self.tbs.der, signature)?;
        let der = SignedFields {
            tbs: AnyRef::from_der(&self.tbs.der)?,
            algorithm: keys::algorithm_identifier(issuer.algorithm),
            signature: BitString::from_bytes(signature)?,
        }
        .to_der()?;
        let inside = Certificate::from_der(&der)?.tbs_certificate().to_der()?;
        if inside != self.tbs.der {
            return Err(TbsError::Der("the completed certificate does not hold the linted bytes".into()));
        }
        Ok(der)
    }
}

/// Encodes an extension value with an explicit criticality.
pub fn extension<T: Encode + const_oid::AssociatedOid>(value: &T, critical: bool) -> Result<Extension, TbsError> {
    Ok(Extension { extn_id: T::OID, critical, extn_value: OctetString::new(value.to_der()?)? })
}

/// RFC 5280 §4.2.1.2 method 1: SHA-1 of the subjectPublicKey bits (a name, not a security claim).
pub fn key_identifier(spki_der: &[u8]) -> Result<Vec<u8>, TbsError> {
    let spki = SubjectPublicKeyInfoOwned::from_der(spki_der)?;
    Ok(Sha1::digest(spki.subject_public_key.raw_bytes()).to_vec())
}

/// UTCTime through 2049, GeneralizedTime from 2050 (RFC 5280 §4.1.2.5).
pub(super) fn time(unix: i64) -> Result<Time, TbsError> {
    let seconds = u64::try_from(unix).map_err(|_| TbsError::Der("time before 1970".into()))?;
    let date = DateTime::from_unix_duration(Duration::from_secs(seconds))?;
    Ok(if date.year() < 2050 {
        Time::UtcTime(UtcTime::from_date_time(date)?)
    } else {
        Time::GeneralTime(GeneralizedTime::from_date_time(date))
    })
}

/// Unix seconds of an X.509 time.
pub fn seconds(time: &Time) -> i64 {
    i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX)
}
