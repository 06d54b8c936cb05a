//! Public key objects to SubjectPublicKeyInfo.

use super::TokenError;
use crate::types::KeyAlgorithm;
use crate::x509::spki;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectHandle};
use cryptoki::session::Session;
use der::Decode;
use der::asn1::OctetStringRef;

/// DER `namedCurve` secp256r1 (RFC 5480).
const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// DER `namedCurve` secp384r1 (RFC 5480).
const P384: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
/// PKCS#11 3.1 §6.3.12 curveName `edwards25519`, the form that every module here takes.
const EDWARDS25519: &[u8] = b"\x13\x0cedwards25519";
/// id-Ed25519 as OID, which some modules report instead.
const ED25519_OID: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x70];

/// CKA_EC_PARAMS of an algorithm; `None` for RSA.
pub(super) fn ec_params(algorithm: KeyAlgorithm) -> Option<&'static [u8]> {
    match algorithm {
        KeyAlgorithm::P256 => Some(P256),
        KeyAlgorithm::P384 => Some(P384),
        KeyAlgorithm::Ed25519 => Some(EDWARDS25519),
        KeyAlgorithm::Rsa(_) => None,
    }
}

/// SubjectPublicKeyInfo of a public key object (or an RSA private key, which holds both numbers);
/// `None` for kinds that sealwright does not handle.
pub(super) fn spki_of(session: &Session, object: ObjectHandle) -> Result<Option<Vec<u8>>, TokenError> {
    let types = [AttributeType::EcParams, AttributeType::EcPoint, AttributeType::Modulus, AttributeType::PublicExponent];
    let mut kind = None;
    for attribute in session.get_attributes(object, &[AttributeType::KeyType])? {
        if let Attribute::KeyType(k) = attribute {
            kind = Some(k);
        }
    }
    let wanted = match kind {
        Some(KeyType::EC | KeyType::EC_EDWARDS) => &types[..2],
        Some(KeyType::RSA) => &types[2..],
        _ => return Ok(None),
    };
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for attribute in session.get_attributes(object, wanted)? {
        match attribute {
            Attribute::EcParams(v) | Attribute::Modulus(v) => first = v,
            Attribute::EcPoint(v) | Attribute::PublicExponent(v) => second = v,
            _ => {}
        }
    }
    let built = match (kind, first.as_slice()) {
        (Some(KeyType::RSA), modulus) => spki::rsa(modulus, &second),
        (_, P256) => spki::ec(KeyAlgorithm::P256, point(&second, 65)),
        (_, P384) => spki::ec(KeyAlgorithm::P384, point(&second, 97)),
        (_, EDWARDS25519 | ED25519_OID) => spki::ed25519(point(&second, 32)),
        _ => return Ok(None),
    };
    Ok(built.ok())
}

/// CKA_EC_POINT is a DER OCTET STRING (PKCS#11 §6.3.3), but some modules give the bare point.
fn point(value: &[u8], length: usize) -> &[u8] {
    match <&OctetStringRef>::from_der(value) {
        Ok(inner) if value.len() != length => inner.as_bytes(),
        _ => value,
    }
}
