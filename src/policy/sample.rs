//! An issuer and requests for "what would happen": decisions without a token and without a device.
//!
//! The sample issuer's key is the P-256 base point, whose private key is 1: no one can mistake it
//! for a CA, and nothing here signs a certificate.

use crate::types::{Invalid, KeyAlgorithm, Validity};
use crate::x509::csr::{RequestInfo, VerifiedCsr};
use crate::x509::keys::p256_spki;
use crate::x509::tbs::Issuer;
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature as rs;
use x509_cert::name::Name;

/// 2025-01-01T00:00:00Z, the first second of the sample issuer.
pub const SAMPLE_START: i64 = 1_735_689_600;
/// 2026-01-01T00:00:00Z, the time of decisions that name none.
pub const SAMPLE_NOW: i64 = 1_767_225_600;
/// 2034-12-31T23:59:59Z, the last second of the sample issuer.
pub const SAMPLE_END: i64 = 2_051_222_399;

/// Coordinates of the P-256 base point (SP 800-186 §3.2.1.3).
const BASE_POINT: &str = "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296\
                          4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5";

fn failed(what: &str) -> Invalid {
    Invalid::new("sample", format!("cannot make {what}"))
}

/// Name of the sample issuer when none is given.
pub const SAMPLE_NAME: &str = "CN=Sample Issuer";

/// An issuer of that name (RFC 4514) valid from [`SAMPLE_START`] to `end`.
pub fn issuer(name: &str, end: i64) -> Result<Issuer, Invalid> {
    let point = hex::decode(BASE_POINT).ok().and_then(|p| <[u8; 64]>::try_from(p).ok()).ok_or_else(|| failed("the base point"))?;
    let spki = p256_spki(&point).map_err(|_| failed("the base point"))?;
    let name: Name = name.parse().map_err(|_| failed("the issuer's name; write it as RFC 4514 does, e.g. CN=Sample Issuer"))?;
    Issuer::self_signed(name, spki, Validity::new(SAMPLE_START, end)?).map_err(|_| failed("an issuer"))
}

/// A request with an ephemeral key of the algorithm, which is forgotten at once.
pub fn request(algorithm: KeyAlgorithm) -> Result<VerifiedCsr, Invalid> {
    let (spki, sign) = ephemeral(algorithm).ok_or_else(|| failed("a key"))?;
    let info = RequestInfo::new(&Name::default(), &spki).map_err(|_| failed("a request"))?;
    let signature = sign(info.der()).ok_or_else(|| failed("a signature"))?;
    info.assemble(algorithm.signature_algorithm(), &signature).map_err(|_| failed("a request"))
}

type Sign = Box<dyn Fn(&[u8]) -> Option<Vec<u8>>>;

fn ephemeral(algorithm: KeyAlgorithm) -> Option<(Vec<u8>, Sign)> {
    use rs::KeyPair;
    let spki = |key: &dyn AsDer<PublicKeyX509Der<'static>>| key.as_der().ok().map(|der| der.as_ref().to_vec());
    match algorithm {
        KeyAlgorithm::P256 | KeyAlgorithm::P384 => {
            let p256 = algorithm == KeyAlgorithm::P256;
            let method = if p256 { &rs::ECDSA_P256_SHA256_ASN1_SIGNING } else { &rs::ECDSA_P384_SHA384_ASN1_SIGNING };
            let key = rs::EcdsaKeyPair::generate(method).ok()?;
            let der = spki(key.public_key())?;
            Some((der, Box::new(move |m| key.sign(&SystemRandom::new(), m).ok().map(|s| s.as_ref().to_vec()))))
        }
        KeyAlgorithm::Ed25519 => {
            let key = rs::Ed25519KeyPair::generate().ok()?;
            let der = spki(key.public_key())?;
            Some((der, Box::new(move |m| Some(key.sign(m).as_ref().to_vec()))))
        }
        KeyAlgorithm::Rsa(bits) => {
            let size = match bits {
                2048 => KeySize::Rsa2048,
                3072 => KeySize::Rsa3072,
                4096 => KeySize::Rsa4096,
                _ => return None,
            };
            let key = aws_lc_rs::rsa::KeyPair::generate(size).ok()?;
            let der = spki(key.public_key())?;
            let sign = move |m: &[u8]| {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&rs::RSA_PKCS1_SHA256, &SystemRandom::new(), m, &mut signature).ok().map(|()| signature)
            };
            Some((der, Box::new(sign)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_every_algorithm_prove_possession() {
        for name in ["p256", "p384", "ed25519", "rsa2048"] {
            let algorithm = KeyAlgorithm::parse(name).unwrap();
            assert_eq!(request(algorithm).unwrap().algorithm(), algorithm);
        }
        assert_eq!(issuer(SAMPLE_NAME, SAMPLE_END).unwrap().validity().not_after(), SAMPLE_END);
    }
}
