//! OCSP bodies (RFC 6960): requests read strictly and bounded, answers built, nonces by RFC 9654.

use super::{Reason, StatusError};
use crate::x509::keys;
use crate::x509::tbs::{self, Issuer};
use const_oid::ObjectIdentifier;
use const_oid::db::rfc5912::{ID_SHA_1, ID_SHA_256};
use der::asn1::{AnyRef, BitString, ContextSpecific, GeneralizedTime, OctetString};
use der::{Decode, Encode, Sequence, TagMode, TagNumber};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoRef};
use std::time::Duration;
use x509_cert::ext::Extension;
use x509_cert::serial_number::SerialNumber;

/// Largest request in bytes; one question with a nonce takes about 120.
pub const MAX_REQUEST: usize = 4096;
/// Most questions in a request.
pub const MAX_QUESTIONS: usize = 16;
/// id-pkix-ocsp-basic (RFC 6960 §4.2.1).
const BASIC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.1");
/// id-pkix-ocsp-nonce (RFC 9654 §2.1).
const NONCE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.2");

/// Which certificate is asked about (RFC 6960 §4.1.1).
#[derive(Clone, PartialEq, Eq, Debug, Sequence)]
pub struct CertId {
    hash_algorithm: AlgorithmIdentifierOwned,
    issuer_name_hash: OctetString,
    issuer_key_hash: OctetString,
    serial_number: SerialNumber,
}

impl CertId {
    /// The question about a serial number (big endian) of an issuer, hashed with SHA-1 as every
    /// client understands it, or SHA-256.
    pub fn new(issuer: &Issuer, serial: &[u8], sha256: bool) -> Result<Self, StatusError> {
        let oid = if sha256 { ID_SHA_256 } else { ID_SHA_1 };
        let [name, key] = hashes(oid, issuer)?;
        Ok(Self {
            hash_algorithm: AlgorithmIdentifierOwned { oid, parameters: Some(AnyRef::NULL.into()) },
            issuer_name_hash: OctetString::new(name).map_err(invalid)?,
            issuer_key_hash: OctetString::new(key).map_err(invalid)?,
            serial_number: SerialNumber::new(serial).map_err(invalid)?,
        })
    }

    /// Whether it asks about a certificate of this issuer.
    pub fn is_of(&self, issuer: &Issuer) -> bool {
        let (name, key) = (self.issuer_name_hash.as_bytes(), self.issuer_key_hash.as_bytes());
        hashes(self.hash_algorithm.oid, issuer).is_ok_and(|[n, k]| n == name && k == key)
    }

    /// Serial number, big endian.
    pub fn serial(&self) -> &[u8] {
        self.serial_number.as_bytes()
    }
}

/// Hashes of the issuer's name and key bits, by SHA-1 or SHA-256.
fn hashes(oid: ObjectIdentifier, issuer: &Issuer) -> Result<[Vec<u8>; 2], StatusError> {
    let name = issuer.name().to_der().map_err(invalid)?;
    let spki = SubjectPublicKeyInfoRef::from_der(issuer.spki_der()).map_err(invalid)?;
    let both = [&name[..], spki.subject_public_key.raw_bytes()];
    match oid {
        ID_SHA_1 => Ok(both.map(|b| Sha1::digest(b).to_vec())),
        ID_SHA_256 => Ok(both.map(|b| Sha256::digest(b).to_vec())),
        other => Err(invalid(format!("hash algorithm {other} is neither SHA-1 nor SHA-256"))),
    }
}

/// RFC 6960 §4.1.1.
#[derive(Sequence)]
struct RawRequest {
    tbs: RawTbsRequest,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    signature: Option<der::Any>,
}

#[derive(Sequence)]
struct RawTbsRequest {
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", default = "u8::default")]
    version: u8,
    #[asn1(context_specific = "1", tag_mode = "EXPLICIT", optional = "true")]
    requestor: Option<der::Any>,
    questions: Vec<RawQuestion>,
    #[asn1(context_specific = "2", tag_mode = "EXPLICIT", optional = "true")]
    extensions: Option<Vec<Extension>>,
}

#[derive(Sequence)]
struct RawQuestion {
    id: CertId,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    extensions: Option<Vec<Extension>>,
}

/// A request that is well formed: 1 to 16 questions and perhaps a nonce.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    questions: Vec<CertId>,
    nonce: Option<Vec<u8>>,
}

impl Request {
    /// Reads a DER OCSPRequest. A signature on it is passed over: answers are public.
    pub fn from_der(bytes: &[u8]) -> Result<Self, StatusError> {
        let rule = |clause, reason: &str| Err(StatusError::Rule { clause, reason: reason.to_owned() });
        if bytes.len() > MAX_REQUEST {
            return rule("bound", "the request has more than 4096 bytes");
        }
        let raw = RawRequest::from_der(bytes).map_err(|e| StatusError::Der { what: "OCSP request", reason: e.to_string() })?;
        let (mut nonce, mut extensions) = (None, raw.tbs.extensions.unwrap_or_default());
        extensions.extend(raw.tbs.questions.iter().flat_map(|q| q.extensions.iter().flatten()).filter(|e| e.critical).cloned());
        for extension in extensions {
            if extension.extn_id == NONCE && nonce.is_none() {
                let value = OctetString::from_der(extension.extn_value.as_bytes()).map_err(invalid)?;
                if value.as_bytes().is_empty() || value.as_bytes().len() > 128 {
                    return rule("RFC 9654 §2.1", "a nonce has 1 to 128 octets");
                }
                nonce = Some(value.into_bytes().into_vec());
            } else if extension.critical {
                return rule("RFC 6960 §4.4", "an unknown critical extension");
            }
        }
        if raw.tbs.version != 0 || raw.tbs.questions.is_empty() || raw.tbs.questions.len() > MAX_QUESTIONS {
            return rule("RFC 6960 §4.1.1", "version 1 with 1 to 16 questions is answered");
        }
        Ok(Self { questions: raw.tbs.questions.into_iter().map(|q| q.id).collect(), nonce })
    }

    /// What is asked.
    pub fn questions(&self) -> &[CertId] {
        &self.questions
    }

    /// The nonce to give back.
    pub fn nonce(&self) -> Option<&[u8]> {
        self.nonce.as_deref()
    }
}

/// What is known of a certificate (RFC 6960 §2.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// Issued and not revoked.
    Good,
    /// Revoked or on hold.
    Revoked {
        /// Unix seconds.
        at: i64,
        /// Why.
        reason: Reason,
    },
    /// Not issued here.
    Unknown,
}

/// Answers without a signature (RFC 6960 §4.2.1); the bytes never change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure {
    /// The request is not understood.
    MalformedRequest = 1,
    /// Something is wrong here.
    InternalError = 2,
    /// Ask again later.
    TryLater = 3,
    /// The question is about another issuer, or nobody here may answer.
    Unauthorized = 6,
}

impl Failure {
    /// DER OCSPResponse.
    pub fn der(self) -> [u8; 5] {
        [0x30, 0x03, 0x0a, 0x01, self as u8]
    }
}

#[derive(Sequence)]
struct RevokedInfo {
    time: GeneralizedTime,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    reason: Option<Reason>,
}

#[derive(Sequence)]
struct Single<'a> {
    id: CertId,
    status: AnyRef<'a>,
    this_update: GeneralizedTime,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    next_update: GeneralizedTime,
}

#[derive(Sequence)]
struct RawData<'a> {
    #[asn1(context_specific = "2", tag_mode = "EXPLICIT")]
    responder: OctetString,
    produced_at: GeneralizedTime,
    answers: Vec<Single<'a>>,
    #[asn1(context_specific = "1", tag_mode = "EXPLICIT", optional = "true")]
    extensions: Option<Vec<Extension>>,
}

#[derive(Sequence)]
struct BasicResponse<'a> {
    data: AnyRef<'a>,
    algorithm: AlgorithmIdentifierOwned,
    signature: BitString,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    certificates: Vec<AnyRef<'a>>,
}

#[derive(Sequence)]
struct ResponseBytes {
    kind: ObjectIdentifier,
    response: OctetString,
}

/// Times of an answer in Unix seconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Times {
    /// When it was signed.
    pub produced_at: i64,
    /// When the status was known to be so.
    pub this_update: i64,
    /// When newer information will be there.
    pub next_update: i64,
}

/// A ResponseData ready to be signed by the responder.
#[derive(Clone, Debug)]
pub struct ResponseData {
    der: Vec<u8>,
}

impl ResponseData {
    /// Builds the answers. `responder` is the delegated responder's certificate, or the issuer's;
    /// it is named by its key (RFC 6960 §4.2.1 byKey).
    pub fn build(responder: &Issuer, answers: &[(CertId, Status)], times: Times, nonce: Option<&[u8]>) -> Result<Self, StatusError> {
        if times.next_update <= times.this_update {
            return Err(StatusError::Rule { clause: "RFC 6960 §4.2.2.1", reason: "nextUpdate must be later than thisUpdate".into() });
        }
        let encoded = answers.iter().map(|(_, status)| encode_status(*status)).collect::<Result<Vec<_>, _>>()?;
        let mut singles = Vec::with_capacity(answers.len());
        for ((id, _), status) in answers.iter().zip(&encoded) {
            let (this_update, next_update) = (generalized(times.this_update)?, generalized(times.next_update)?);
            singles.push(Single { id: id.clone(), status: AnyRef::from_der(status).map_err(invalid)?, this_update, next_update });
        }
        let nonce = nonce.map(|n| OctetString::new(n).and_then(|n| n.to_der()).and_then(OctetString::new)).transpose().map_err(invalid)?;
        let data = RawData {
            responder: OctetString::new(tbs::key_identifier(responder.spki_der())?).map_err(invalid)?,
            produced_at: generalized(times.produced_at)?,
            answers: singles,
            extensions: nonce.map(|extn_value| vec![Extension { extn_id: NONCE, critical: false, extn_value }]),
        };
        Ok(Self { der: data.to_der().map_err(invalid)? })
    }

    /// The bytes to sign.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Completes the DER OCSPResponse after verifying the responder's signature. `certificate` is
    /// the responder's own, sent along.
    pub fn attach(&self, responder: &Issuer, certificate: &[u8], signature: &[u8]) -> Result<Vec<u8>, StatusError> {
        keys::verify(responder.spki_der(), responder.algorithm(), &self.der, signature)?;
        let basic = BasicResponse {
            data: AnyRef::from_der(&self.der).map_err(invalid)?,
            algorithm: keys::algorithm_identifier(responder.algorithm()),
            signature: BitString::from_bytes(signature).map_err(invalid)?,
            certificates: vec![AnyRef::from_der(certificate).map_err(invalid)?],
        };
        let response = OctetString::new(basic.to_der().map_err(invalid)?).map_err(invalid)?;
        let bytes = ResponseBytes { kind: BASIC, response };
        let wrapped = ContextSpecific { tag_number: TagNumber(0), tag_mode: TagMode::Explicit, value: bytes };
        // responseStatus successful (0).
        let body = [&[0x0a, 0x01, 0x00][..], &wrapped.to_der().map_err(invalid)?].concat();
        AnyRef::new(der::Tag::Sequence, &body).and_then(|any| any.to_der()).map_err(invalid)
    }
}

/// CertStatus: good \[0\] NULL, revoked \[1\] RevokedInfo, unknown \[2\] NULL, all IMPLICIT.
fn encode_status(status: Status) -> Result<Vec<u8>, StatusError> {
    match status {
        Status::Good => Ok(vec![0x80, 0x00]),
        Status::Unknown => Ok(vec![0x82, 0x00]),
        Status::Revoked { at, reason } => {
            let reason = Some(reason).filter(|r| *r != Reason::Unspecified);
            let mut der = RevokedInfo { time: generalized(at)?, reason }.to_der().map_err(invalid)?;
            if let Some(tag) = der.first_mut() {
                *tag = 0xa1;
            }
            Ok(der)
        }
    }
}

fn generalized(unix: i64) -> Result<GeneralizedTime, StatusError> {
    let seconds = u64::try_from(unix).map_err(invalid)?;
    GeneralizedTime::from_unix_duration(Duration::from_secs(seconds)).map_err(invalid)
}

fn invalid(e: impl ToString) -> StatusError {
    StatusError::Der { what: "OCSP response", reason: e.to_string() }
}
