//! Reading CMS strictly.

use super::timestamp::{TIMESTAMP_TOKEN, Token};
use super::{
    CONTENT_TYPE, CertificateHash, ContentInfo, DATA, MESSAGE_DIGEST, SHA256, SIGNED_DATA, SIGNING_CERTIFICATE_V2, SIGNING_TIME,
    SignedData, SignerInfo, SigningCertificateV2, der_error, digest_algorithm,
};
use crate::artifact::{ArtifactError, ContentDigest, DigestAlgorithm, Evidence, Format};
use crate::types::SignatureAlgorithm;
use crate::x509::{keys, pem, tbs};
use const_oid::ObjectIdentifier;
use der::asn1::{OctetString, SetOfVec};
use der::{Any, Decode, Encode, Tagged};
use spki::AlgorithmIdentifierOwned;
use x509_cert::Certificate;
use x509_cert::time::Time;

/// rsaEncryption, which RFC 3370 §3.2 lets CMS use for RSA signatures.
const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// A detached CMS signature by one signer, not yet verified.
#[derive(Clone, Debug)]
pub struct CmsSignature {
    signed: Signer,
    token: Option<Token>,
}

/// What one SignerInfo of one SignedData says.
#[derive(Clone, Debug)]
pub(super) struct Signer {
    pub digest: ContentDigest,
    pub algorithm: SignatureAlgorithm,
    pub statement: Vec<u8>,
    pub signature: Vec<u8>,
    pub leaf: Vec<u8>,
    pub others: Vec<Vec<u8>>,
    pub bound: Vec<CertificateHash>,
    pub claimed_time: Option<i64>,
}

pub(super) fn malformed(reason: &str) -> ArtifactError {
    ArtifactError::Malformed(Format::Cms, reason.to_owned())
}

pub(super) fn require(holds: bool, reason: &str) -> Result<(), ArtifactError> {
    if holds { Ok(()) } else { Err(malformed(reason)) }
}

impl CmsSignature {
    /// Reads DER, or PEM with label `CMS` or `PKCS7`.
    pub fn parse(bytes: &[u8]) -> Result<Self, ArtifactError> {
        if bytes.first() == Some(&0x30) {
            return Self::from_der(bytes);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| malformed("neither DER nor PEM"))?;
        for label in ["CMS", "PKCS7"] {
            if let [der] = pem::decode_all(label, text).map_err(|e| malformed(&e))?.as_slice() {
                return Self::from_der(der);
            }
        }
        Err(malformed("no single PEM block 'BEGIN CMS'"))
    }

    fn from_der(bytes: &[u8]) -> Result<Self, ArtifactError> {
        let data = signed_data(bytes)?;
        require(data.version == 1 && data.content.content_type == DATA, "version or content type is not that of signed data")?;
        require(data.content.content.is_none(), "the content is attached; sign detached")?;
        let sorted = SetOfVec::try_from(data.certificates.clone()).is_ok_and(|set| set.as_slice() == data.certificates);
        require(sorted, "the certificates are not in DER order")?;
        let [info] = data.signers.as_slice() else { return Err(malformed("not exactly one signer")) };
        let token = match info.unsigned_attributes.as_ref().map(SetOfVec::as_slice) {
            None => None,
            Some([only]) if only.oid == TIMESTAMP_TOKEN && only.values.len() == 1 => {
                let value = only.values.as_slice().first().ok_or_else(|| malformed("an empty attribute"))?;
                Some(Token::from_der(&value.to_der().map_err(der_error)?)?)
            }
            Some(_) => return Err(malformed("unsigned attributes other than one timestamp token")),
        };
        Ok(Self { signed: Signer::read(&data, DATA)?, token })
    }

    /// The timestamp token over the signature, when there is one.
    pub fn token(&self) -> Option<&Token> {
        self.token.as_ref()
    }

    /// Octets of the signature, which a timestamp attests.
    pub(super) fn signature(&self) -> &[u8] {
        &self.signed.signature
    }

    /// Digest that the artifact must be read with.
    pub fn digest_algorithm(&self) -> DigestAlgorithm {
        self.signed.digest.algorithm()
    }

    pub(in crate::artifact) fn evidence(&self) -> Evidence<'_> {
        self.signed.evidence()
    }
}

/// Reads a SignedData in canonical DER.
pub(super) fn signed_data(bytes: &[u8]) -> Result<SignedData, ArtifactError> {
    let advice = "one signer with signed attributes and certificates, DER: openssl cms -sign -binary -cades";
    let info = ContentInfo::from_der(bytes).map_err(|e| malformed(&format!("{e} ({advice})")))?;
    require(info.to_der().map_err(der_error)? == bytes, "not canonical DER")?;
    require(info.content_type == SIGNED_DATA, "not SignedData")?;
    Ok(info.content)
}

impl Signer {
    pub fn read(data: &SignedData, content_type: ObjectIdentifier) -> Result<Self, ArtifactError> {
        let [signer] = data.signers.as_slice() else { return Err(malformed("not exactly one signer")) };
        require(signer.version == 1, "the signer's version does not fit its identifier (RFC 5652 §5.3)")?;
        require(data.digest_algorithms.as_slice() == [signer.digest_algorithm.clone()], "the digest algorithms differ")?;
        let digest_algorithm = read_digest_algorithm(&signer.digest_algorithm)?;
        let (leaf, others) = split_certificates(&data.certificates, signer)?;
        let attributes = Attributes::read(signer, content_type)?;
        let digest =
            ContentDigest::claimed(digest_algorithm, &attributes.digest).ok_or_else(|| malformed("messageDigest has a wrong length"))?;
        Ok(Self {
            digest,
            algorithm: read_signature_algorithm(&signer.signature_algorithm, digest_algorithm)?,
            // RFC 5652 §5.4: what is signed is the DER SET OF, not the [0] of the message.
            statement: signer.signed_attributes.to_der().map_err(der_error)?,
            signature: signer.signature.as_bytes().to_vec(),
            leaf,
            others,
            bound: attributes.bound,
            claimed_time: attributes.time,
        })
    }

    pub fn evidence(&self) -> Evidence<'_> {
        Evidence {
            format: Format::Cms,
            algorithm: self.algorithm,
            digest: &self.digest,
            statement: &self.statement,
            signature: &self.signature,
            leaf: &self.leaf,
            others: &self.others,
            bound: &self.bound,
            claimed_time: self.claimed_time,
        }
    }
}

fn no_parameters(id: &AlgorithmIdentifierOwned) -> bool {
    id.parameters.as_ref().is_none_or(|p| p.is_null())
}

pub(super) fn read_digest_algorithm(id: &AlgorithmIdentifierOwned) -> Result<DigestAlgorithm, ArtifactError> {
    let known = digest_algorithm(id.oid).filter(|_| no_parameters(id));
    known.ok_or_else(|| ArtifactError::Unsupported(Format::Cms, format!("digest algorithm {}; use SHA-256 or SHA-384", id.oid)))
}

fn read_signature_algorithm(id: &AlgorithmIdentifierOwned, digest: DigestAlgorithm) -> Result<SignatureAlgorithm, ArtifactError> {
    let unsupported = || ArtifactError::Unsupported(Format::Cms, format!("signature algorithm {} with {digest}", id.oid));
    let algorithm = if id.oid == RSA_ENCRYPTION && no_parameters(id) && digest == DigestAlgorithm::Sha256 {
        SignatureAlgorithm::RsaSha256
    } else {
        keys::signature_algorithm(id).map_err(|_| unsupported())?
    };
    if crate::artifact::digest_for(algorithm) == digest { Ok(algorithm) } else { Err(unsupported()) }
}

/// The certificate that the signer names, and the rest.
fn split_certificates(all: &[Any], signer: &SignerInfo) -> Result<(Vec<u8>, Vec<Vec<u8>>), ArtifactError> {
    require(all.len() <= 8, "over 8 certificates")?;
    let (mut leaf, mut others) = (None, Vec::new());
    for any in all {
        let der = any.to_der().map_err(der_error)?;
        let certificate = Certificate::from_der(&der).map_err(der_error)?;
        let tbs = certificate.tbs_certificate();
        let named = tbs.issuer() == &signer.signer.issuer && tbs.serial_number() == &signer.signer.serial;
        match (named, &leaf) {
            (true, None) => leaf = Some(der),
            (true, Some(_)) => return Err(malformed("two certificates fit the signer's identifier")),
            (false, _) => others.push(der),
        }
    }
    leaf.map(|l| (l, others)).ok_or_else(|| malformed("the signer's certificate is not inside"))
}

struct Attributes {
    digest: Vec<u8>,
    bound: Vec<CertificateHash>,
    time: Option<i64>,
}

impl Attributes {
    /// RFC 5652 §11: contentType and messageDigest once each, one value each; others may follow,
    /// and are signed.
    fn read(signer: &SignerInfo, expected: ObjectIdentifier) -> Result<Self, ArtifactError> {
        let mut seen = std::collections::BTreeSet::new();
        let (mut content_type, mut digest, mut bound, mut time) = (None, None, Vec::new(), None);
        for attribute in signer.signed_attributes.iter() {
            require(seen.insert(attribute.oid), "a signed attribute occurs twice")?;
            let [value] = attribute.values.as_slice() else {
                return Err(malformed("a signed attribute has not exactly one value"));
            };
            match attribute.oid {
                CONTENT_TYPE => content_type = Some(value.decode_as::<ObjectIdentifier>().map_err(der_error)?),
                MESSAGE_DIGEST => digest = Some(value.decode_as::<OctetString>().map_err(der_error)?.as_bytes().to_vec()),
                SIGNING_CERTIFICATE_V2 => bound = certificate_hashes(value)?,
                SIGNING_TIME => {
                    require(matches!(value.tag(), der::Tag::UtcTime | der::Tag::GeneralizedTime), "signingTime is no time")?;
                    time = Some(tbs::seconds(&Time::from_der(&value.to_der().map_err(der_error)?).map_err(der_error)?));
                }
                _ => {}
            }
        }
        require(content_type == Some(expected), "the signed content type is another (RFC 5652 §11.1)")?;
        let digest = digest.ok_or_else(|| malformed("messageDigest is missing"))?;
        Ok(Self { digest, bound, time })
    }
}

fn certificate_hashes(value: &Any) -> Result<Vec<CertificateHash>, ArtifactError> {
    let signing: SigningCertificateV2 = value.decode_as().map_err(der_error)?;
    let one = |id: &super::EssCertIdV2| {
        let algorithm = digest_algorithm(id.algorithm.as_ref().map_or(SHA256, |a| a.oid));
        let algorithm = algorithm.ok_or_else(|| malformed("signingCertificateV2 uses an unknown digest"))?;
        Ok(CertificateHash { algorithm, hash: id.hash.as_bytes().to_vec() })
    };
    signing.certificates.iter().map(one).collect()
}
