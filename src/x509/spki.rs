//! Building a DER SubjectPublicKeyInfo from the parts that tokens report.

use super::keys::{self, EC_PUBLIC_KEY, KeyError};
use crate::types::KeyAlgorithm;
use const_oid::ObjectIdentifier;
use der::asn1::{AnyRef, BitStringRef, UintRef};
use der::{Encode, Sequence};
use spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef};

const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// RFC 8017 A.1.1 RSAPublicKey.
#[derive(Sequence)]
struct RsaPublicKey<'a> {
    modulus: UintRef<'a>,
    public_exponent: UintRef<'a>,
}

/// EC key from its uncompressed point (RFC 5480 §2.2); P-256 and P-384 only.
pub fn ec(algorithm: KeyAlgorithm, point: &[u8]) -> Result<Vec<u8>, KeyError> {
    let curve = match algorithm {
        KeyAlgorithm::P256 => &P256,
        KeyAlgorithm::P384 => &P384,
        other => return Err(KeyError::Unsupported(format!("{other} is not an EC curve"))),
    };
    encode(EC_PUBLIC_KEY, Some(AnyRef::from(curve)), point)
}

/// RSA key from unsigned big-endian modulus and public exponent (RFC 3279 §2.3.1).
pub fn rsa(modulus: &[u8], exponent: &[u8]) -> Result<Vec<u8>, KeyError> {
    let bad = |e: der::Error| KeyError::Der(e.to_string());
    let key = RsaPublicKey { modulus: UintRef::new(modulus).map_err(bad)?, public_exponent: UintRef::new(exponent).map_err(bad)? };
    encode(RSA, Some(AnyRef::NULL), &key.to_der().map_err(bad)?)
}

/// Ed25519 key from its 32 octets (RFC 8410 §4).
pub fn ed25519(key: &[u8]) -> Result<Vec<u8>, KeyError> {
    encode(ED25519, None, key)
}

fn encode(oid: ObjectIdentifier, parameters: Option<AnyRef<'_>>, key: &[u8]) -> Result<Vec<u8>, KeyError> {
    let bad = |e: der::Error| KeyError::Der(e.to_string());
    let subject_public_key = BitStringRef::from_bytes(key).map_err(bad)?;
    let der =
        SubjectPublicKeyInfoRef { algorithm: AlgorithmIdentifierRef { oid, parameters }, subject_public_key }.to_der().map_err(bad)?;
    keys::classify(&der).map(|_| der)
}
