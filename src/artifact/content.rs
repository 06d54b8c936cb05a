//! The digest of an artifact, read once in constant memory.

use aws_lc_rs::digest;
use std::fmt;
use std::io::Read;

/// Bytes read at once: large enough that the digest, not the system call, costs the time.
const BLOCK: usize = 256 * 1024;

/// Digests of artifacts (FIPS 180-4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DigestAlgorithm {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl DigestAlgorithm {
    /// Digest length in octets.
    pub fn length(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    fn implementation(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        }
    }

    /// Digest of bytes at hand.
    pub(super) fn of(self, bytes: &[u8]) -> Vec<u8> {
        digest::digest(self.implementation(), bytes).as_ref().to_vec()
    }
}

impl fmt::Display for DigestAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sha256 => "SHA-256",
            Self::Sha384 => "SHA-384",
            Self::Sha512 => "SHA-512",
        })
    }
}

/// Digest of a whole artifact.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ContentDigest {
    algorithm: DigestAlgorithm,
    bytes: Vec<u8>,
}

impl ContentDigest {
    /// Reads to the end; `progress` is told the bytes of each block.
    pub fn read(algorithm: DigestAlgorithm, mut reader: impl Read, mut progress: impl FnMut(u64)) -> std::io::Result<Self> {
        let mut context = digest::Context::new(algorithm.implementation());
        let mut block = vec![0u8; BLOCK];
        loop {
            let count = match reader.read(&mut block) {
                Ok(0) => break,
                Ok(count) => count,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            };
            context.update(block.get(..count).unwrap_or_default());
            progress(count as u64);
        }
        Ok(Self { algorithm, bytes: context.finish().as_ref().to_vec() })
    }

    /// A digest from an envelope; `None` when its length is not the algorithm's.
    pub(super) fn claimed(algorithm: DigestAlgorithm, bytes: &[u8]) -> Option<Self> {
        (bytes.len() == algorithm.length()).then(|| Self { algorithm, bytes: bytes.to_vec() })
    }

    /// The algorithm.
    pub fn algorithm(&self) -> DigestAlgorithm {
        self.algorithm
    }

    /// The octets.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}
