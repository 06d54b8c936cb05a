//! Public keys and signatures: classify a SubjectPublicKeyInfo, verify with aws-lc.

use crate::types::{KeyAlgorithm, SignatureAlgorithm};
use aws_lc_rs::signature as rs;
use const_oid::ObjectIdentifier;
use der::asn1::{AnyRef, UintRef};
use der::{Decode, Encode, Reader, SliceReader};
use spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoRef};

/// id-ecPublicKey (RFC 5480).
pub const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const ECDSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const ECDSA_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3");
const RSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11");

/// Why a key or signature is not acceptable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not a DER SubjectPublicKeyInfo.
    #[error("the public key is not a DER SubjectPublicKeyInfo: {0}")]
    Der(String),
    /// Algorithm, curve or size that sealwright does not handle.
    #[error("unsupported public key: {0}; use P-256, P-384, RSA of 2048 to 8192 bits or Ed25519")]
    Unsupported(String),
    /// Signature algorithm that sealwright does not handle or that does not fit the key.
    #[error("unsupported signature algorithm {0}")]
    Signature(String),
    /// The signature does not verify.
    #[error("the signature does not verify with the public key")]
    Mismatch,
}

/// Algorithm of a DER SubjectPublicKeyInfo; refuses what is not supported, and points of
/// ECDSA keys that are not on the curve.
pub fn classify(spki_der: &[u8]) -> Result<KeyAlgorithm, KeyError> {
    let spki = SubjectPublicKeyInfoRef::from_der(spki_der).map_err(|e| KeyError::Der(e.to_string()))?;
    let key = spki.subject_public_key.as_bytes().ok_or_else(|| KeyError::Der("unused bits in key".into()))?;
    match spki.algorithm.oid {
        EC_PUBLIC_KEY => {
            let curve = spki.algorithm.parameters_oid().map_err(|e| KeyError::Der(e.to_string()))?;
            match (curve, key.len()) {
                (P256, 65) if on_curve(&rs::ECDSA_P256_SHA256_ASN1, key) => Ok(KeyAlgorithm::P256),
                (P384, 97) if on_curve(&rs::ECDSA_P384_SHA384_ASN1, key) => Ok(KeyAlgorithm::P384),
                (P256 | P384, _) => Err(KeyError::Unsupported("the EC point is not uncompressed or not on its curve".into())),
                (other, _) => Err(KeyError::Unsupported(format!("curve {other}"))),
            }
        }
        RSA => classify_rsa(key),
        ED25519 if key.len() == 32 && spki.algorithm.parameters.is_none() => Ok(KeyAlgorithm::Ed25519),
        other => Err(KeyError::Unsupported(format!("algorithm {other}"))),
    }
}

fn on_curve(method: &'static rs::EcdsaVerificationAlgorithm, point: &[u8]) -> bool {
    rs::ParsedPublicKey::new(method, point).is_ok()
}

fn classify_rsa(key: &[u8]) -> Result<KeyAlgorithm, KeyError> {
    let mut reader = SliceReader::new(key).map_err(|e| KeyError::Der(e.to_string()))?;
    let (modulus, exponent) = reader
        .sequence(|r| Ok::<_, der::Error>((UintRef::decode(r)?, UintRef::decode(r)?)))
        .and_then(|pair| reader.finish().map(|()| pair))
        .map_err(|e| KeyError::Der(e.to_string()))?;
    let modulus = modulus.as_bytes();
    let bits = modulus.len() as u32 * 8 - modulus.first().map_or(0, |b| b.leading_zeros());
    let e = exponent.as_bytes().iter().try_fold(0u64, |n, b| n.checked_mul(256).map(|n| n + u64::from(*b)));
    match (bits, e) {
        (2048..=8192, Some(e)) if e >= 65537 && e % 2 == 1 && modulus.last().is_some_and(|b| b & 1 == 1) => Ok(KeyAlgorithm::Rsa(bits)),
        _ => Err(KeyError::Unsupported(format!("RSA key of {bits} bits (odd exponent of at least 65537 needed)"))),
    }
}

/// The AlgorithmIdentifier of a signature algorithm.
pub fn algorithm_identifier(algorithm: SignatureAlgorithm) -> AlgorithmIdentifierOwned {
    let (oid, parameters) = match algorithm {
        SignatureAlgorithm::EcdsaSha256 => (ECDSA_SHA256, None),
        SignatureAlgorithm::EcdsaSha384 => (ECDSA_SHA384, None),
        // RFC 4055 §5: parameters MUST be NULL.
        SignatureAlgorithm::RsaSha256 => (RSA_SHA256, Some(der::Any::from(AnyRef::NULL))),
        SignatureAlgorithm::Ed25519 => (ED25519, None),
    };
    AlgorithmIdentifierOwned { oid, parameters }
}

/// Reads an AlgorithmIdentifier strictly, parameters included.
pub fn signature_algorithm(id: &AlgorithmIdentifierOwned) -> Result<SignatureAlgorithm, KeyError> {
    [SignatureAlgorithm::EcdsaSha256, SignatureAlgorithm::EcdsaSha384, SignatureAlgorithm::RsaSha256, SignatureAlgorithm::Ed25519]
        .into_iter()
        .find(|a| algorithm_identifier(*a) == *id)
        .ok_or_else(|| KeyError::Signature(id.oid.to_string()))
}

/// Verifies `signature` (X.509 form: DER for ECDSA) over `message`.
pub fn verify(spki_der: &[u8], algorithm: SignatureAlgorithm, message: &[u8], signature: &[u8]) -> Result<(), KeyError> {
    let kind = classify(spki_der)?;
    let method: &'static dyn rs::VerificationAlgorithm = match (kind, algorithm) {
        (KeyAlgorithm::P256, SignatureAlgorithm::EcdsaSha256) => &rs::ECDSA_P256_SHA256_ASN1,
        (KeyAlgorithm::P256, SignatureAlgorithm::EcdsaSha384) => &rs::ECDSA_P256_SHA384_ASN1,
        (KeyAlgorithm::P384, SignatureAlgorithm::EcdsaSha256) => &rs::ECDSA_P384_SHA256_ASN1,
        (KeyAlgorithm::P384, SignatureAlgorithm::EcdsaSha384) => &rs::ECDSA_P384_SHA384_ASN1,
        (KeyAlgorithm::Rsa(_), SignatureAlgorithm::RsaSha256) => &rs::RSA_PKCS1_2048_8192_SHA256,
        (KeyAlgorithm::Ed25519, SignatureAlgorithm::Ed25519) => &rs::ED25519,
        _ => return Err(KeyError::Signature(format!("{algorithm:?} with a {kind} key"))),
    };
    let spki = SubjectPublicKeyInfoRef::from_der(spki_der).map_err(|e| KeyError::Der(e.to_string()))?;
    rs::UnparsedPublicKey::new(method, spki.subject_public_key.raw_bytes()).verify(message, signature).map_err(|_| KeyError::Mismatch)
}

/// DER SubjectPublicKeyInfo of a DER certificate.
pub fn of_certificate(der: &[u8]) -> Result<Vec<u8>, KeyError> {
    let malformed = |e: der::Error| KeyError::Der(e.to_string());
    let certificate = x509_cert::Certificate::from_der(der).map_err(malformed)?;
    certificate.tbs_certificate().subject_public_key_info().to_der().map_err(malformed)
}

/// Builds a P-256 SubjectPublicKeyInfo from the 64-byte x‖y that elements return.
pub fn p256_spki(xy: &[u8; 64]) -> Result<Vec<u8>, KeyError> {
    let mut point = vec![4u8];
    point.extend_from_slice(xy);
    let bits = der::asn1::BitStringRef::from_bytes(&point).map_err(|e| KeyError::Der(e.to_string()))?;
    let algorithm = spki::AlgorithmIdentifierRef { oid: EC_PUBLIC_KEY, parameters: Some(AnyRef::from(&P256)) };
    let spki = SubjectPublicKeyInfoRef { algorithm, subject_public_key: bits };
    let der = spki.to_der().map_err(|e| KeyError::Der(e.to_string()))?;
    classify(&der).map(|_| der)
}

/// Converts a raw r‖s signature (PKCS#11, elements) to the ECDSA-Sig-Value DER of X.509.
pub fn ecdsa_raw_to_der(raw: &[u8]) -> Result<Vec<u8>, KeyError> {
    if raw.is_empty() || !raw.len().is_multiple_of(2) || raw.len() > 132 {
        return Err(KeyError::Signature(format!("raw ECDSA signature of {} bytes", raw.len())));
    }
    let strip = |half: &[u8]| half.iter().skip_while(|b| **b == 0).copied().collect::<Vec<u8>>();
    let (r, s) = raw.split_at(raw.len() / 2);
    let (r, s) = (strip(r), strip(s));
    let parts = [UintRef::new(&r), UintRef::new(&s)];
    let [Ok(r), Ok(s)] = parts else { return Err(KeyError::Mismatch) };
    [r, s].as_slice().to_vec().to_der().map_err(|e| KeyError::Der(e.to_string()))
}
