//! Keys that are well formed and still must not be certified: their private half is known or cheap.

use crate::types::KeyAlgorithm;
use der::asn1::{BitStringRef, UintRef};
use der::{Decode, Reader, SliceReader};
use p256::elliptic_curve::sec1::ToSec1Point;
use p256::{AffinePoint, ProjectivePoint};
use spki::SubjectPublicKeyInfoRef;
use std::collections::HashSet;
use std::sync::LazyLock;

/// Private scalars from 1 to this (and their negatives) are counters or zeroed memory, not keys.
const SMALL_SCALARS: usize = 1024;

/// Encodings of points whose order divides 8, sign bit cleared. With such a key the signature
/// (identity, 0) verifies over any message, so it proves no possession.
const LOW_ORDER: [[u8; 32]; 7] = [
    [0; 32],
    first(1),
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6,
        0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39,
        0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ],
    near_prime(0xec),
    near_prime(0xed),
    near_prime(0xee),
];

const fn first(byte: u8) -> [u8; 32] {
    let mut out = [0; 32];
    out[0] = byte;
    out
}

/// The prime 2^255 − 19 ends in 0xed.
const fn near_prime(low: u8) -> [u8; 32] {
    let mut out = [0xff; 32];
    out[0] = low;
    out[31] = 0x7f;
    out
}

/// Public keys whose private keys are printed in standards: RFC 6979 A.2.5 (P-256, x coordinate),
/// RFC 8032 §7.1 tests 1 to 3 (Ed25519).
const PUBLISHED: [&str; 4] = [
    "60fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6",
    "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
    "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
    "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
];

/// Primes of the ROCA fingerprint (CVE-2017-15361): a vulnerable modulus is a power of 65537
/// modulo each of them; a random one is so with probability below 2^-27.
const ROCA_PRIMES: [u32; 17] = [11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157];

/// CA/Browser Forum BR §6.1.6 and SP 800-89 §5.3.3: no factor below 752.
const SMALL_FACTORS: u32 = 752;

static SMALL_MULTIPLES: LazyLock<HashSet<[u8; 32]>> = LazyLock::new(|| {
    let mut point = ProjectivePoint::GENERATOR;
    let mut set = HashSet::new();
    for _ in 0..SMALL_SCALARS {
        if let Some(x) = AffinePoint::from(point).to_sec1_point(false).x() {
            set.insert((*x).into());
        }
        point += ProjectivePoint::GENERATOR;
    }
    set
});

/// Why the key must not be certified, if so. The key was classified before as `algorithm`.
pub fn weakness(spki_der: &[u8], algorithm: KeyAlgorithm) -> Option<&'static str> {
    let spki = SubjectPublicKeyInfoRef::from_der(spki_der).ok()?;
    let key = BitStringRef::as_bytes(&spki.subject_public_key)?;
    match algorithm {
        KeyAlgorithm::P256 => weak_p256(key.get(1..33)?),
        KeyAlgorithm::P384 => None,
        KeyAlgorithm::Ed25519 => weak_ed25519(key),
        KeyAlgorithm::Rsa(_) => weak_rsa(key),
    }
}

fn published(bytes: &[u8]) -> bool {
    let text = hex::encode(bytes);
    PUBLISHED.iter().any(|p| *p == text)
}

fn weak_p256(x: &[u8]) -> Option<&'static str> {
    let x: [u8; 32] = x.try_into().ok()?;
    if SMALL_MULTIPLES.contains(&x) {
        return Some("its private key is a small number: the generator has no entropy");
    }
    published(&x).then_some("its private key is printed in a standard")
}

fn weak_ed25519(key: &[u8]) -> Option<&'static str> {
    let mut bytes: [u8; 32] = key.try_into().ok()?;
    bytes[31] &= 0x7f;
    if LOW_ORDER.contains(&bytes) {
        return Some("it is a point of low order, with which anyone can sign");
    }
    published(key).then_some("its private key is printed in a standard")
}

fn weak_rsa(key: &[u8]) -> Option<&'static str> {
    let mut reader = SliceReader::new(key).ok()?;
    let modulus = reader.sequence(|r| Ok::<_, der::Error>((UintRef::decode(r)?, UintRef::decode(r)?))).ok()?.0.as_bytes();
    let residue = |p: u32| modulus.iter().fold(0u32, |n, b| (n * 256 + u32::from(*b)) % p);
    if (3..SMALL_FACTORS).any(|p| residue(p) == 0) {
        return Some("its modulus has a small factor");
    }
    let power_of_65537 = |p: u32| {
        let wanted = residue(p);
        let mut power = 1;
        (0..p).any(|_| {
            power = power * (65537 % p) % p;
            power == wanted
        })
    };
    ROCA_PRIMES.iter().all(|p| power_of_65537(*p)).then_some("it was made by a library with the ROCA weakness (CVE-2017-15361)")
}

#[cfg(test)]
mod tests {
    use super::*;
    use der::Encode;
    use der::asn1::Uint;

    fn rsa(modulus: &[u8]) -> Vec<u8> {
        let pair = vec![Uint::new(modulus).unwrap(), Uint::new(&[1, 0, 1]).unwrap()];
        pair.to_der().unwrap()
    }

    #[test]
    fn a_modulus_with_a_small_factor_or_the_roca_mark_is_weak() {
        assert_eq!(weak_rsa(&rsa(&[0xff; 256])), Some("its modulus has a small factor"));
        // 65537^16: a power of 65537 modulo everything, and without small factors.
        let mut power = vec![1u32];
        for _ in 0..128 {
            let mut carry = 0u64;
            for limb in &mut power {
                let n = u64::from(*limb) * 65537 + carry;
                *limb = n as u32;
                carry = n >> 32;
            }
            if carry > 0 {
                power.push(carry as u32);
            }
        }
        let bytes: Vec<u8> = power.iter().rev().flat_map(|l| l.to_be_bytes()).skip_while(|b| *b == 0).collect();
        assert!(weak_rsa(&rsa(&bytes)).unwrap().contains("ROCA"));
    }

    #[test]
    fn counters_published_keys_and_low_order_points_are_weak() {
        let x = |k: u64| {
            let point = AffinePoint::from(ProjectivePoint::GENERATOR * p256::Scalar::from(k)).to_sec1_point(false);
            <[u8; 32]>::from(*point.x().unwrap())
        };
        assert!(weak_p256(&x(1)).is_some() && weak_p256(&x(1024)).is_some() && weak_p256(&x(1025)).is_none());
        assert!(weak_p256(&hex::decode(PUBLISHED[0]).unwrap()).unwrap().contains("printed"));
        assert!(weak_ed25519(&hex::decode(PUBLISHED[1]).unwrap()).unwrap().contains("printed"));
        for mut point in LOW_ORDER {
            assert!(weak_ed25519(&point).is_some());
            point[31] |= 0x80;
            assert!(weak_ed25519(&point).is_some());
        }
    }
}
