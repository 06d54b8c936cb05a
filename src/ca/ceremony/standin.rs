//! Public keys that stand in for the one that does not exist yet, so that the exact certificate
//! but for its key can be built, linted and shown before a token is written to.

use crate::types::KeyAlgorithm;
use crate::x509::keys::KeyError;
use crate::x509::spki;

/// Base point of P-256 (SP 800-186 §3.2.1.3), uncompressed.
const P256_G: &str = "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296\
                      4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5";
/// Base point of P-384 (SP 800-186 §3.2.1.4), uncompressed.
const P384_G: &str = "04aa87ca22be8b05378eb1c71ef320ad746e1d3b628ba79b9859f741e082542a385502f25dbf55296c3a545e3872760ab7\
                      3617de4a96262c6f5d9e98bf9292dc29f8f41dbd289a147ce9da3113b5f0b8c00a60b1ce1d7e819d7a431d7c90ea0e5f";

/// DER SubjectPublicKeyInfo of a fixed, publicly known key of this algorithm.
pub(super) fn spki(algorithm: KeyAlgorithm) -> Result<Vec<u8>, KeyError> {
    let point = |digits: &str| hex::decode(digits).map_err(|e| KeyError::Der(e.to_string()));
    match algorithm {
        KeyAlgorithm::P256 => spki::ec(algorithm, &point(P256_G)?),
        KeyAlgorithm::P384 => spki::ec(algorithm, &point(P384_G)?),
        KeyAlgorithm::Ed25519 => spki::ed25519(&[0x42; 32]),
        // All ones: odd, of full length, and nobody's key.
        KeyAlgorithm::Rsa(bits) => spki::rsa(&vec![0xff; bits as usize / 8], &[1, 0, 1]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::x509::keys::classify;

    #[test]
    fn every_algorithm_has_a_valid_stand_in() {
        let all = ["p256", "p384", "rsa2048", "rsa3072", "rsa4096", "ed25519"];
        for algorithm in all.map(|a| KeyAlgorithm::parse(a).unwrap()) {
            assert_eq!(classify(&spki(algorithm).unwrap()).unwrap(), algorithm);
        }
    }
}
