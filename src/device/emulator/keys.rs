//! P-256 inside the emulated chip.

use p256::ecdsa::signature::hazmat::{PrehashSigner, PrehashVerifier};
use p256::ecdsa::{Signature, SigningKey, VerifyingKey};
use zeroize::Zeroizing;

/// A random private scalar; `None` when the kernel gives no randomness.
pub fn generate() -> Option<Zeroizing<[u8; 32]>> {
    let mut scalar = Zeroizing::new([0u8; 32]);
    // A random string is not a valid scalar with probability 2^-32: a few attempts are ample.
    for _ in 0..8 {
        getrandom::fill(scalar.as_mut()).ok()?;
        if SigningKey::from_slice(scalar.as_ref()).is_ok() {
            return Some(scalar);
        }
    }
    None
}

/// Public key x‖y of a scalar.
pub fn public(scalar: &[u8]) -> Option<[u8; 64]> {
    let key = SigningKey::from_slice(scalar).ok()?;
    let point = key.verifying_key().to_sec1_point(false);
    point.as_bytes().get(1..)?.try_into().ok()
}

/// Signature r‖s of a digest.
pub fn sign(scalar: &[u8], digest: &[u8; 32]) -> Option<[u8; 64]> {
    let signature: Signature = SigningKey::from_slice(scalar).ok()?.sign_prehash(digest).ok()?;
    signature.to_bytes().as_slice().try_into().ok()
}

/// Whether `signature` is `key`'s over `digest`; `None` when the key is not a point of the curve.
pub fn verify(key: &[u8], digest: &[u8; 32], signature: &[u8]) -> Option<bool> {
    let key = VerifyingKey::from_sec1_bytes(&[[0x04].as_slice(), key].concat()).ok()?;
    let holds = Signature::from_slice(signature).is_ok_and(|s| key.verify_prehash(digest, &s).is_ok());
    Some(holds)
}
