//! RFC 3161 timestamps over the signature of a CMS envelope, exchanged as files: [`request`] goes
//! to an authority, its response is put in with [`attach`], and [`super::super::Envelope::verify`]
//! then judges the signer's chain for the attested time.

use super::read::{CmsSignature, Signer, malformed, read_digest_algorithm, require, signed_data};
use super::{SHA256, der_error};
use crate::artifact::{ArtifactError, ContentDigest, DigestAlgorithm};
use crate::x509::chain::{At, OfflineVerifier, ReadCertificate};
use const_oid::ObjectIdentifier;
use const_oid::db::rfc5280::ID_KP_TIME_STAMPING;
use der::asn1::{GeneralizedTime, Int, OctetString, SetOfVec};
use der::{Any, Decode, Encode, Sequence};
use spki::AlgorithmIdentifierOwned;
use x509_cert::attr::Attribute;

/// id-aa-timeStampToken (RFC 3161 appendix A).
pub(super) const TIMESTAMP_TOKEN: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.2.14");
/// id-ct-TSTInfo.
const TST_INFO: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.1.4");

/// RFC 3161 §2.4.1.
#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
struct MessageImprint {
    algorithm: AlgorithmIdentifierOwned,
    hash: OctetString,
}

/// RFC 3161 §2.4.1, with the authority's certificates asked for.
#[derive(Sequence)]
struct TimeStampReq {
    version: u8,
    imprint: MessageImprint,
    certificates: bool,
}

/// RFC 3161 §2.4.2.
#[derive(Sequence)]
struct TimeStampResp {
    status: Any,
    #[asn1(optional = "true")]
    token: Option<Any>,
}

/// RFC 3161 §2.4.2, up to the time; what follows is signed, and not used.
#[derive(Clone, Debug, Sequence)]
struct TstInfo {
    version: u8,
    policy: ObjectIdentifier,
    imprint: MessageImprint,
    serial: Int,
    time: GeneralizedTime,
    #[asn1(optional = "true")]
    accuracy: Option<Accuracy>,
    #[asn1(default = "Default::default")]
    ordering: bool,
    #[asn1(optional = "true")]
    nonce: Option<Int>,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    authority: Option<x509_cert::ext::pkix::name::GeneralName>,
}

/// RFC 3161 §2.4.2.
#[derive(Clone, Debug, Sequence)]
struct Accuracy {
    #[asn1(optional = "true")]
    seconds: Option<u64>,
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT", optional = "true")]
    millis: Option<u16>,
    #[asn1(context_specific = "1", tag_mode = "IMPLICIT", optional = "true")]
    micros: Option<u16>,
}

/// A timestamp token, not yet verified.
#[derive(Clone, Debug)]
pub struct Token {
    signed: Signer,
    content: Vec<u8>,
    info: TstInfo,
}

impl Token {
    pub(super) fn from_der(der: &[u8]) -> Result<Self, ArtifactError> {
        let data = signed_data(der)?;
        // RFC 5652 §5.1: version 3, because the content is not plain data.
        require(data.version == 3 && data.content.content_type == TST_INFO, "the timestamp token is none")?;
        let content = data.content.content.as_ref().ok_or_else(|| malformed("the timestamp token is empty"))?.as_bytes().to_vec();
        let info = TstInfo::from_der(&content).map_err(der_error)?;
        require(info.to_der().map_err(der_error)? == content && info.version == 1, "the timestamp is not canonical DER of version 1")?;
        let [signer] = data.signers.as_slice() else { return Err(malformed("the timestamp has not exactly one signer")) };
        require(signer.unsigned_attributes.is_none(), "the timestamp has unsigned attributes")?;
        Ok(Self { signed: Signer::read(&data, TST_INFO)?, content, info })
    }

    /// Verifies the token for `signature`; gives the attested time, Unix seconds.
    pub(in crate::artifact) fn verify(&self, signature: &CmsSignature, authority: Option<&OfflineVerifier>) -> Result<i64, ArtifactError> {
        let refuse = |why: String| ArtifactError::Timestamp(why);
        let authority = authority.ok_or_else(|| refuse("no root of a timestamping authority was given; give one".into()))?;
        let algorithm = read_digest_algorithm(&self.info.imprint.algorithm)?;
        if self.info.imprint.hash.as_bytes() != algorithm.of(signature.signature()) {
            return Err(refuse("it is for another signature".into()));
        }
        let time = i64::try_from(self.info.time.to_unix_duration().as_secs()).unwrap_or(i64::MAX);
        let digest = ContentDigest::read(self.signed.digest.algorithm(), self.content.as_slice(), |_| {})?;
        let judged = self.signed.evidence().judge(&digest, authority, At::Time(time)).map_err(|e| refuse(e.to_string()))?;
        // RFC 3161 §2.3: the key serves timestamps alone.
        let alone = judged.chain().leaf().extended_key_usages() == Some(&[ID_KP_TIME_STAMPING]);
        if alone { Ok(time) } else { Err(refuse("its certificate is not for timestamping alone (RFC 3161 §2.3)".into())) }
    }

    /// The certificate of the authority, as the token carries it.
    pub fn authority(&self) -> Option<ReadCertificate> {
        ReadCertificate::from_der(&self.signed.leaf).ok()
    }
}

fn imprint(signature: &CmsSignature) -> der::Result<MessageImprint> {
    let algorithm = AlgorithmIdentifierOwned { oid: SHA256, parameters: None };
    Ok(MessageImprint { algorithm, hash: OctetString::new(DigestAlgorithm::Sha256.of(signature.signature()))? })
}

/// The TimeStampReq (DER) for a CMS envelope: SHA-256, certificates wanted.
pub fn request(envelope: &[u8]) -> Result<Vec<u8>, ArtifactError> {
    let signature = CmsSignature::parse(envelope)?;
    let build = || TimeStampReq { version: 1, imprint: imprint(&signature)?, certificates: true }.to_der();
    build().map_err(der_error)
}

/// Puts the token of a TimeStampResp (DER) into a CMS envelope (DER) without one. Only its imprint
/// is compared here: who may attest time is for the verifier to say.
pub fn attach(envelope: &[u8], response: &[u8]) -> Result<Vec<u8>, ArtifactError> {
    let signature = CmsSignature::parse(envelope)?;
    if signature.token().is_some() {
        return Err(ArtifactError::Timestamp("the envelope carries one already".into()));
    }
    let token = TimeStampResp::from_der(response).map_err(der_error)?.token;
    let token = token.ok_or_else(|| ArtifactError::Timestamp("the authority refused: the response carries no token".into()))?;
    let read = Token::from_der(&token.to_der().map_err(der_error)?)?;
    let algorithm = read_digest_algorithm(&read.info.imprint.algorithm)?;
    if read.info.imprint.hash.as_bytes() != algorithm.of(signature.signature()) {
        return Err(ArtifactError::Timestamp("it is for another signature".into()));
    }
    let build = || -> der::Result<Vec<u8>> {
        let mut info = super::ContentInfo::from_der(envelope)?;
        let mut signers = info.content.signers.as_slice().to_vec();
        for signer in &mut signers {
            let attribute = Attribute { oid: TIMESTAMP_TOKEN, values: SetOfVec::from_iter([token.clone()])? };
            signer.unsigned_attributes = Some(SetOfVec::from_iter([attribute])?);
        }
        info.content.signers = SetOfVec::try_from(signers)?;
        info.to_der()
    };
    let bytes = build().map_err(der_error)?;
    CmsSignature::parse(&bytes).map(|_| bytes)
}
