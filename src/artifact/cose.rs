//! COSE_Sign1 (RFC 9052) over a hash envelope (RFC 9995), the signer's chain in the protected
//! x5chain (RFC 9360).
//!
//! The payload is the artifact's digest, so constrained verifiers check the signature without the
//! artifact, and hardware signs a short message. Everything is in the protected header: an
//! unprotected header could be changed by anyone, and must be empty.

use super::cms::CertificateHash;
use super::{ArtifactError, Complete, ContentDigest, DigestAlgorithm, Evidence, Format, SignerChain, digest_for};
use crate::types::SignatureAlgorithm;
use crate::x509::keys;
use crate::x509::sign::ArtifactStatement;
use coset::cbor::value::Value;
use coset::iana::{self, EnumI64};
use coset::{CoseSign1, CoseSign1Builder, Header, HeaderBuilder, Label, RegisteredLabelWithPrivate, TaggedCborSerializable};
use der::asn1::UintRef;
use der::{Decode, Reader, SliceReader};

/// x5chain (RFC 9360 §2).
const X5CHAIN: i64 = 33;
/// CWT claims in the header (RFC 9597), of which `iat` is the signer's time.
const CWT_CLAIMS: i64 = 15;
const ISSUED_AT: i64 = 6;
/// Payload hash algorithm (RFC 9995).
const PAYLOAD_HASH: i64 = 258;

/// A COSE_Sign1 signature, not yet verified.
#[derive(Clone, Debug)]
pub struct CoseSignature {
    digest: ContentDigest,
    algorithm: SignatureAlgorithm,
    statement: Vec<u8>,
    signature: Vec<u8>,
    leaf: Vec<u8>,
    others: Vec<Vec<u8>>,
    bound: Vec<CertificateHash>,
    claimed_time: Option<i64>,
}

fn malformed(reason: impl Into<String>) -> ArtifactError {
    ArtifactError::Malformed(Format::Cose, reason.into())
}

/// RFC 9053 §2: algorithm, half of the signature's octets for ECDSA, and RFC 9054 hash.
fn registered(algorithm: SignatureAlgorithm) -> Option<(iana::Algorithm, Option<usize>)> {
    match algorithm {
        SignatureAlgorithm::EcdsaSha256 => Some((iana::Algorithm::ES256, Some(32))),
        SignatureAlgorithm::EcdsaSha384 => Some((iana::Algorithm::ES384, Some(48))),
        SignatureAlgorithm::Ed25519 => Some((iana::Algorithm::EdDSA, None)),
        SignatureAlgorithm::RsaSha256 => None,
    }
}

fn hash_label(digest: DigestAlgorithm) -> i64 {
    match digest {
        DigestAlgorithm::Sha256 => iana::Algorithm::SHA_256.to_i64(),
        DigestAlgorithm::Sha384 => iana::Algorithm::SHA_384.to_i64(),
        DigestAlgorithm::Sha512 => iana::Algorithm::SHA_512.to_i64(),
    }
}

/// Builds the signature.
pub(super) fn sign(
    algorithm: SignatureAlgorithm,
    chain: &SignerChain,
    digest: &ContentDigest,
    time: Option<i64>,
    complete: Complete<'_>,
) -> Result<Vec<u8>, ArtifactError> {
    let unsupported = || ArtifactError::Unsupported(Format::Cose, "RSA keys; use CMS".into());
    let (registered, half) = registered(algorithm).ok_or_else(unsupported)?;
    let mut chain: Vec<Value> = chain.certificates.iter().map(|c| Value::Bytes(c.der().to_vec())).collect();
    let x5chain = if chain.len() == 1 { chain.remove(0) } else { Value::Array(chain) };
    let mut header = HeaderBuilder::new().algorithm(registered);
    if let Some(time) = time {
        header = header.value(CWT_CLAIMS, Value::Map(vec![(Value::from(ISSUED_AT), Value::from(time))]));
    }
    let header = header.value(X5CHAIN, x5chain).value(PAYLOAD_HASH, Value::from(hash_label(digest.algorithm()))).build();
    let message = CoseSign1Builder::new()
        .protected(header)
        .payload(digest.as_bytes().to_vec())
        .try_create_signature(&[], |statement| {
            let statement = ArtifactStatement::new(statement.to_vec()).map_err(|e| ArtifactError::Key(e.to_string()))?;
            let signature = complete(statement)?;
            half.map_or(Ok(signature.clone()), |half| to_raw(&signature, half))
        })?
        .build();
    message.to_tagged_vec().map_err(|e| malformed(e.to_string()))
}

/// DER ECDSA-Sig-Value to r‖s (RFC 9053 §2.1).
fn to_raw(der: &[u8], half: usize) -> Result<Vec<u8>, ArtifactError> {
    let bad = |_| ArtifactError::Key("its ECDSA signature is not DER".into());
    let mut reader = SliceReader::new(der).map_err(bad)?;
    let (r, s) = reader.sequence(|r| Ok::<_, der::Error>((UintRef::decode(r)?, UintRef::decode(r)?))).map_err(bad)?;
    let mut raw = Vec::with_capacity(2 * half);
    for part in [r.as_bytes(), s.as_bytes()] {
        let padding = half.checked_sub(part.len()).ok_or_else(|| ArtifactError::Key("its ECDSA signature is too long".into()))?;
        raw.resize(raw.len() + padding, 0);
        raw.extend_from_slice(part);
    }
    Ok(raw)
}

impl CoseSignature {
    /// Reads tagged CBOR (tag 18).
    pub fn parse(bytes: &[u8]) -> Result<Self, ArtifactError> {
        let message = CoseSign1::from_tagged_slice(bytes).map_err(|e| malformed(e.to_string()))?;
        // RFC 8949 §4.2.1: one encoding only. The protected header keeps its bytes: it is signed.
        if message.clone().to_tagged_vec().ok().as_deref() != Some(bytes) {
            return Err(malformed("not in deterministic encoding"));
        }
        if !message.unprotected.is_empty() {
            return Err(malformed("the unprotected header is not empty; put x5chain into the protected one"));
        }
        let header = &message.protected.header;
        check_critical(header)?;
        let algorithm = read_algorithm(header)?;
        let hash = get(header, PAYLOAD_HASH).and_then(integer).ok_or_else(|| malformed("payload-hash-alg (258, RFC 9995) is missing"))?;
        let digest_algorithm = digest_for(algorithm);
        if hash != i128::from(hash_label(digest_algorithm)) {
            return Err(ArtifactError::Unsupported(
                Format::Cose,
                format!("payload hash {hash} with {algorithm:?}; use {digest_algorithm}"),
            ));
        }
        let payload = message.payload.as_deref().ok_or_else(|| malformed("the payload, the artifact's digest, is missing"))?;
        let digest = ContentDigest::claimed(digest_algorithm, payload).ok_or_else(|| malformed("the payload is no digest"))?;
        let (leaf, others) = read_chain(header)?;
        let signature = match algorithm {
            SignatureAlgorithm::Ed25519 => message.signature.clone(),
            _ if message.signature.len() == registered(algorithm).and_then(|(_, half)| half).unwrap_or_default() * 2 => {
                keys::ecdsa_raw_to_der(&message.signature).map_err(|_| ArtifactError::Signature)?
            }
            _ => return Err(malformed("the signature has a wrong length")),
        };
        let bound = vec![CertificateHash { algorithm: DigestAlgorithm::Sha256, hash: DigestAlgorithm::Sha256.of(&leaf) }];
        let claimed_time = claimed_time(header);
        Ok(Self { digest, algorithm, statement: message.tbs_data(&[]), signature, leaf, others, bound, claimed_time })
    }

    /// Digest that the artifact must be read with.
    pub fn digest_algorithm(&self) -> DigestAlgorithm {
        self.digest.algorithm()
    }

    pub(super) fn evidence(&self) -> Evidence<'_> {
        Evidence {
            format: Format::Cose,
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

fn get(header: &Header, label: i64) -> Option<&Value> {
    header.rest.iter().find(|(l, _)| *l == Label::Int(label)).map(|(_, value)| value)
}

fn integer(value: &Value) -> Option<i128> {
    value.as_integer().map(i128::from)
}

/// RFC 9052 §3.1: a critical parameter that is not understood refuses the message.
fn check_critical(header: &Header) -> Result<(), ArtifactError> {
    let known = |label: &RegisteredLabelWithPrivate<iana::HeaderParameter>| match label {
        RegisteredLabelWithPrivate::Assigned(p) => [1, CWT_CLAIMS, X5CHAIN, PAYLOAD_HASH].contains(&p.to_i64()),
        RegisteredLabelWithPrivate::PrivateUse(n) => *n == PAYLOAD_HASH,
        RegisteredLabelWithPrivate::Text(_) => false,
    };
    match header.crit.iter().find(|label| !known(label)) {
        Some(label) => Err(ArtifactError::Unsupported(Format::Cose, format!("critical header parameter {label:?}"))),
        None => Ok(()),
    }
}

fn read_algorithm(header: &Header) -> Result<SignatureAlgorithm, ArtifactError> {
    let all = [SignatureAlgorithm::EcdsaSha256, SignatureAlgorithm::EcdsaSha384, SignatureAlgorithm::Ed25519];
    let named = |a: &SignatureAlgorithm| registered(*a).map(|(r, _)| RegisteredLabelWithPrivate::Assigned(r)) == header.alg;
    let unsupported = || ArtifactError::Unsupported(Format::Cose, "the signature algorithm; use ES256, ES384 or EdDSA".into());
    all.into_iter().find(named).ok_or_else(unsupported)
}

/// RFC 9360 §2: one certificate as a byte string, several as an array, leaf first.
fn read_chain(header: &Header) -> Result<(Vec<u8>, Vec<Vec<u8>>), ArtifactError> {
    let value = get(header, X5CHAIN).ok_or(ArtifactError::Unbound(Format::Cose, "x5chain in the protected header"))?;
    let list: Vec<Vec<u8>> = match value {
        Value::Bytes(one) => vec![one.clone()],
        Value::Array(many) if (2..=8).contains(&many.len()) => {
            let bytes = |v: &Value| v.as_bytes().cloned().ok_or_else(|| malformed("x5chain holds something else than certificates"));
            many.iter().map(bytes).collect::<Result<_, _>>()?
        }
        _ => return Err(malformed("x5chain is neither one certificate nor an array of 2 to 8")),
    };
    let mut list = list.into_iter();
    let leaf = list.next().ok_or_else(|| malformed("x5chain is empty"))?;
    Ok((leaf, list.collect()))
}

fn claimed_time(header: &Header) -> Option<i64> {
    let claims = get(header, CWT_CLAIMS)?.as_map()?;
    let issued = claims.iter().find(|(label, _)| integer(label) == Some(i128::from(ISSUED_AT)))?;
    integer(&issued.1).and_then(|t| i64::try_from(t).ok())
}
