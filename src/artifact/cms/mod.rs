//! Detached CMS signatures (RFC 5652) with signed attributes.
//!
//! The structures are written out here, strict and few, because no released CMS crate fits the
//! DER crates in use: one signer, no content, canonical DER throughout. The only unsigned
//! attribute is a timestamp token over the signature (RFC 3161, [`timestamp`]).

mod read;
pub mod timestamp;

pub use read::CmsSignature;

use super::{ArtifactError, Complete, ContentDigest, DigestAlgorithm, Format, SignerChain};
use crate::types::SignatureAlgorithm;
use crate::x509::keys;
use crate::x509::sign::ArtifactStatement;
use const_oid::ObjectIdentifier;
use der::asn1::{GeneralizedTime, OctetString, SetOfVec, UtcTime};
use der::{Any, DateTime, Decode, Encode, Sequence, ValueOrd};
use spki::AlgorithmIdentifierOwned;
use std::time::Duration;
use x509_cert::attr::Attribute;
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;

const DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.1");
const SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
const CONTENT_TYPE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.3");
const MESSAGE_DIGEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.4");
const SIGNING_TIME: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.5");
const SIGNING_CERTIFICATE_V2: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.2.47");
const SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
const SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2");
const SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.3");

/// RFC 5652 §3.
#[derive(Clone, Debug, Sequence)]
struct ContentInfo {
    content_type: ObjectIdentifier,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    content: SignedData,
}

/// RFC 5652 §5.1 with version 3 certificates.
#[derive(Clone, Debug, Sequence)]
struct SignedData {
    version: u8,
    digest_algorithms: SetOfVec<AlgorithmIdentifierOwned>,
    content: EncapsulatedContent,
    /// A SET OF that some timestamping authorities do not sort, so its order is judged by the reader.
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT")]
    certificates: Vec<Any>,
    signers: SetOfVec<SignerInfo>,
}

/// RFC 5652 §5.2; the content of a detached signature is elsewhere.
#[derive(Clone, Debug, Sequence)]
struct EncapsulatedContent {
    content_type: ObjectIdentifier,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    content: Option<OctetString>,
}

/// RFC 5652 §5.3 with issuerAndSerialNumber and signed attributes.
#[derive(Clone, Debug, PartialEq, Eq, Sequence, ValueOrd)]
struct SignerInfo {
    version: u8,
    signer: IssuerAndSerialNumber,
    digest_algorithm: AlgorithmIdentifierOwned,
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT")]
    signed_attributes: SetOfVec<Attribute>,
    signature_algorithm: AlgorithmIdentifierOwned,
    signature: OctetString,
    #[asn1(context_specific = "1", tag_mode = "IMPLICIT", optional = "true")]
    unsigned_attributes: Option<SetOfVec<Attribute>>,
}

/// RFC 5652 §10.2.4.
#[derive(Clone, Debug, PartialEq, Eq, Sequence, ValueOrd)]
struct IssuerAndSerialNumber {
    issuer: Name,
    serial: SerialNumber,
}

/// RFC 5035 §3.
#[derive(Clone, Debug, Sequence)]
struct SigningCertificateV2 {
    certificates: Vec<EssCertIdV2>,
    #[asn1(optional = "true")]
    policies: Option<Any>,
}

/// RFC 5035 §4; an absent algorithm is SHA-256.
#[derive(Clone, Debug, Sequence)]
struct EssCertIdV2 {
    #[asn1(optional = "true")]
    algorithm: Option<EssAlgorithm>,
    hash: OctetString,
    #[asn1(optional = "true")]
    issuer_serial: Option<Any>,
}

/// An AlgorithmIdentifier of a digest.
#[derive(Clone, Debug, Sequence)]
struct EssAlgorithm {
    oid: ObjectIdentifier,
    #[asn1(optional = "true")]
    parameters: Option<Any>,
}

/// Hash of a certificate inside the signed part.
#[derive(Clone, Debug)]
pub(super) struct CertificateHash {
    pub algorithm: DigestAlgorithm,
    pub hash: Vec<u8>,
}

impl CertificateHash {
    pub fn is_of(&self, der: &[u8]) -> bool {
        self.algorithm.of(der) == self.hash
    }
}

fn digest_oid(algorithm: DigestAlgorithm) -> ObjectIdentifier {
    match algorithm {
        DigestAlgorithm::Sha256 => SHA256,
        DigestAlgorithm::Sha384 => SHA384,
        DigestAlgorithm::Sha512 => SHA512,
    }
}

fn digest_algorithm(oid: ObjectIdentifier) -> Option<DigestAlgorithm> {
    [DigestAlgorithm::Sha256, DigestAlgorithm::Sha384, DigestAlgorithm::Sha512].into_iter().find(|a| digest_oid(*a) == oid)
}

fn der_error(error: der::Error) -> ArtifactError {
    ArtifactError::Malformed(Format::Cms, error.to_string())
}

/// Builds the signature.
pub(super) fn sign(
    algorithm: SignatureAlgorithm,
    chain: &SignerChain,
    digest: &ContentDigest,
    time: Option<i64>,
    complete: Complete<'_>,
) -> Result<Vec<u8>, ArtifactError> {
    let leaf = chain.leaf()?;
    let signed_attributes = attributes(chain, digest, time).map_err(der_error)?;
    let message = signed_attributes.to_der().map_err(der_error)?;
    let statement = ArtifactStatement::new(message).map_err(|e| ArtifactError::Key(e.to_string()))?;
    let signature = complete(statement)?;
    // RFC 5754 §2: digest parameters are absent.
    let digest_algorithm = AlgorithmIdentifierOwned { oid: digest_oid(digest.algorithm()), parameters: None };
    let build = || -> der::Result<Vec<u8>> {
        let signer = SignerInfo {
            version: 1,
            signer: IssuerAndSerialNumber { issuer: leaf.issuer().clone(), serial: SerialNumber::new(leaf.serial())? },
            digest_algorithm: digest_algorithm.clone(),
            signed_attributes,
            signature_algorithm: keys::algorithm_identifier(algorithm),
            signature: OctetString::new(signature)?,
            unsigned_attributes: None,
        };
        let certificates = chain.certificates.iter().map(|c| Any::from_der(c.der())).collect::<der::Result<Vec<_>>>()?;
        let content = SignedData {
            version: 1,
            digest_algorithms: SetOfVec::from_iter([digest_algorithm])?,
            content: EncapsulatedContent { content_type: DATA, content: None },
            certificates: SetOfVec::try_from(certificates)?.into_vec(),
            signers: SetOfVec::from_iter([signer])?,
        };
        ContentInfo { content_type: SIGNED_DATA, content }.to_der()
    };
    build().map_err(der_error)
}

fn attributes(chain: &SignerChain, digest: &ContentDigest, time: Option<i64>) -> der::Result<SetOfVec<Attribute>> {
    let attribute = |oid, value: Any| -> der::Result<Attribute> { Ok(Attribute { oid, values: SetOfVec::from_iter([value])? }) };
    let hash = |der: &[u8]| -> der::Result<EssCertIdV2> {
        Ok(EssCertIdV2 { algorithm: None, hash: OctetString::new(DigestAlgorithm::Sha256.of(der))?, issuer_serial: None })
    };
    let certificates = chain.certificates.iter().map(|c| hash(c.der())).collect::<der::Result<Vec<_>>>()?;
    let mut list = vec![
        attribute(CONTENT_TYPE, Any::encode_from(&DATA)?)?,
        attribute(MESSAGE_DIGEST, Any::encode_from(&OctetString::new(digest.as_bytes())?)?)?,
        attribute(SIGNING_CERTIFICATE_V2, Any::encode_from(&SigningCertificateV2 { certificates, policies: None })?)?,
    ];
    if let Some(unix) = time.and_then(|t| u64::try_from(t).ok()) {
        let date = DateTime::from_unix_duration(Duration::from_secs(unix))?;
        // RFC 5652 §11.3: UTCTime through 2049.
        let value = if date.year() < 2050 {
            Any::encode_from(&UtcTime::from_date_time(date)?)?
        } else {
            Any::encode_from(&GeneralizedTime::from_date_time(date))?
        };
        list.push(attribute(SIGNING_TIME, value)?);
    }
    SetOfVec::try_from(list)
}
