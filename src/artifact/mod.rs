//! Artifacts (firmware, WASM modules, any file) signed with a device key, verified offline.
//!
//! Every format signs the SHA-2 digest of the *whole* artifact and carries the signer's chain:
//! - [`cms`]: detached CMS (RFC 5652) with ESS signingCertificateV2; `openssl cms -verify` reads it;
//! - [`cose`]: COSE_Sign1 (RFC 9052) with a protected x5chain (RFC 9360) over a hash envelope (RFC 9995);
//! - [`wasm`]: a last custom section that holds any of these and covers every other byte of the module.
//!
//! Nothing in a signature is left unaccounted for: encodings are canonical, unknown unsigned
//! content is refused, and every certificate inside must be part of the verified path. So no
//! change of artifact or signature, however small, leaves a good verdict.
//!
//! Signing is two steps, so that gigabytes stream in constant memory and hardware signs a message
//! of some hundred bytes: [`ContentDigest::read`], then [`sign`]. Verifying is three:
//! [`Envelope::parse`], [`ContentDigest::read`], [`Envelope::verify`].

pub mod cms;
mod content;
pub mod cose;
mod rules;
pub mod wasm;

pub use content::{ContentDigest, DigestAlgorithm};
pub use rules::{SignerRules, TooFew};

use crate::types::SignatureAlgorithm;
use crate::x509::chain::{At, Broken, OfflineVerifier, ReadCertificate, Refusal, VerifiedChain};
use crate::x509::keys;
use crate::x509::sign::ArtifactStatement;
use std::fmt;

/// Largest envelope that is read, in bytes: a chain of five RSA certificates fits.
pub const MAX_ENVELOPE: usize = 64 * 1024;

/// Why an artifact is not signed, or a signature on it refused.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// The envelope does not follow its format.
    #[error("not a valid {0} signature: {1}; sign the artifact again")]
    Malformed(Format, String),
    /// A format or algorithm that is not handled.
    #[error("unsupported in {0}: {1}")]
    Unsupported(Format, String),
    /// The artifact is not the one that was signed.
    #[error("the artifact was changed after it was signed, or the signature belongs to another artifact: its digest differs")]
    Changed,
    /// The signature does not verify with the signer's certificate.
    #[error("the signature does not verify with the signer's key; do not use this artifact")]
    Signature,
    /// The signed part does not say which certificate it was made with.
    #[error("the {0} signature is not bound to its certificate, so another certificate of the same key could be put in; sign with {1}")]
    Unbound(Format, &'static str),
    /// A certificate in the envelope that is not part of the verified chain.
    #[error("the envelope carries a certificate that is no part of the signer's chain: {0}")]
    Stray(String),
    /// The timestamp cannot be relied on.
    #[error("the timestamp does not count: {0}")]
    Timestamp(String),
    /// The signer's chain is refused.
    #[error("the signer's chain is refused: {0}")]
    Chain(#[from] Refusal),
    /// A certificate given for signing is unusable.
    #[error("the signer's certificate cannot be used: {0}")]
    Certificate(String),
    /// The module is not a WebAssembly binary, or its sections are not in order.
    #[error("not a signable WebAssembly module: {0}")]
    Module(String),
    /// Reading or writing.
    #[error("cannot read or write the artifact: {0}")]
    Io(#[from] std::io::Error),
    /// The key refused or failed.
    #[error("the signing key failed: {0}")]
    Key(String),
}

/// The two envelope formats.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// Detached CMS SignedData.
    Cms,
    /// COSE_Sign1 over a hash envelope.
    Cose,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cms => "CMS",
            Self::Cose => "COSE",
        })
    }
}

/// A key that signs artifacts: an element, a token, a plugin.
pub trait ArtifactSigner {
    /// Algorithm of its signatures.
    fn algorithm(&self) -> SignatureAlgorithm;

    /// Signs the whole statement, a few hundred bytes that hold the artifact's digest; the
    /// signature is in X.509 form (DER for ECDSA). `Err` says what failed.
    fn sign(&mut self, statement: &ArtifactStatement) -> Result<Vec<u8>, String>;
}

/// Who signs: leaf first, then intermediates; the root stays with the verifier.
#[derive(Clone, Debug)]
pub struct SignerChain {
    certificates: Vec<ReadCertificate>,
}

impl SignerChain {
    /// Reads 1 to 8 DER certificates and checks that each names the next as its issuer.
    pub fn new(ders: &[Vec<u8>]) -> Result<Self, ArtifactError> {
        if ders.is_empty() || ders.len() > 8 {
            return Err(ArtifactError::Certificate(format!("{} certificates given; 1 to 8 are needed, leaf first", ders.len())));
        }
        let read = |der: &Vec<u8>| ReadCertificate::from_der(der).map_err(|b: Broken| ArtifactError::Certificate(b.to_string()));
        let certificates = ders.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        for pair in certificates.windows(2) {
            if let [child, issuer] = pair
                && child.issuer() != issuer.subject()
            {
                let reason = format!("{} is not the issuer of {}; give the leaf first", issuer.label(), child.label());
                return Err(ArtifactError::Certificate(reason));
            }
        }
        Ok(Self { certificates })
    }

    /// DER SubjectPublicKeyInfo of the signer.
    pub fn leaf_spki_der(&self) -> &[u8] {
        self.certificates.first().map_or(&[], |leaf| leaf.spki_der())
    }

    fn leaf(&self) -> Result<&ReadCertificate, ArtifactError> {
        self.certificates.first().ok_or_else(|| ArtifactError::Certificate("none was given".into()))
    }
}

/// The digest that a key of this algorithm signs artifacts with.
pub fn digest_for(algorithm: SignatureAlgorithm) -> DigestAlgorithm {
    match algorithm {
        SignatureAlgorithm::EcdsaSha256 | SignatureAlgorithm::RsaSha256 => DigestAlgorithm::Sha256,
        SignatureAlgorithm::EcdsaSha384 => DigestAlgorithm::Sha384,
        // RFC 8419 §3.1: Ed25519 with signed attributes goes with SHA-512.
        SignatureAlgorithm::Ed25519 => DigestAlgorithm::Sha512,
    }
}

/// Signs a digest made with [`digest_for`] the signer's algorithm; returns the envelope's bytes.
/// The signature is verified with the leaf's key before it is returned. `time` is the signer's
/// claim in Unix seconds, or nothing for a device without a clock.
pub fn sign(
    format: Format,
    signer: &mut dyn ArtifactSigner,
    chain: &SignerChain,
    digest: &ContentDigest,
    time: Option<i64>,
) -> Result<Vec<u8>, ArtifactError> {
    let algorithm = signer.algorithm();
    if digest.algorithm() != digest_for(algorithm) {
        return Err(ArtifactError::Unsupported(format, format!("{:?} with a {} digest", algorithm, digest.algorithm())));
    }
    let leaf = chain.leaf()?;
    if !leaf.may_sign_data() {
        return Err(ArtifactError::Certificate(format!("{} has no keyUsage digitalSignature", leaf.label())));
    }
    let mut complete = |statement: ArtifactStatement| {
        let signature = signer.sign(&statement).map_err(ArtifactError::Key)?;
        let checked = keys::verify(leaf.spki_der(), algorithm, statement.bytes(), &signature);
        checked.map_err(|e| ArtifactError::Key(format!("its signature does not fit the certificate {}: {e}", leaf.label())))?;
        Ok(signature)
    };
    match format {
        Format::Cms => cms::sign(algorithm, chain, digest, time, &mut complete),
        Format::Cose => cose::sign(algorithm, chain, digest, time, &mut complete),
    }
}

/// Asks for a signature over a statement and gives it back verified.
type Complete<'a> = &'a mut dyn FnMut(ArtifactStatement) -> Result<Vec<u8>, ArtifactError>;

/// A parsed signature of either format, not yet verified.
#[derive(Clone, Debug)]
pub enum Envelope {
    /// Detached CMS.
    Cms(Box<cms::CmsSignature>),
    /// COSE_Sign1.
    Cose(Box<cose::CoseSignature>),
}

impl Envelope {
    /// Reads CMS (DER or PEM `CMS`/`PKCS7`) or COSE_Sign1 (tagged CBOR), told apart by the first byte.
    pub fn parse(bytes: &[u8]) -> Result<Self, ArtifactError> {
        if bytes.len() > MAX_ENVELOPE {
            return Err(ArtifactError::Malformed(Format::Cms, format!("over {MAX_ENVELOPE} bytes")));
        }
        match bytes.first() {
            Some(0xd2) => cose::CoseSignature::parse(bytes).map(|s| Self::Cose(Box::new(s))),
            _ => cms::CmsSignature::parse(bytes).map(|s| Self::Cms(Box::new(s))),
        }
    }

    /// The format.
    pub fn format(&self) -> Format {
        match self {
            Self::Cms(_) => Format::Cms,
            Self::Cose(_) => Format::Cose,
        }
    }

    /// The digest that [`Envelope::verify`] wants of the artifact.
    pub fn digest_algorithm(&self) -> DigestAlgorithm {
        match self {
            Self::Cms(signature) => signature.digest_algorithm(),
            Self::Cose(signature) => signature.digest_algorithm(),
        }
    }

    /// Verifies digest, signature, binding and chain; a timestamp first, whose time then is the
    /// time of the verdict.
    pub fn verify(&self, digest: &ContentDigest, judge: &Judge<'_>) -> Result<Signed, ArtifactError> {
        match self {
            Self::Cose(signature) => signature.evidence().judge(digest, judge.verifier, judge.at),
            Self::Cms(signature) => {
                let attested = signature.token().map(|token| token.verify(signature, judge.authority)).transpose()?;
                let signed = signature.evidence().judge(digest, judge.verifier, attested.map_or(judge.at, At::Time))?;
                Ok(Signed { attested_time: attested, ..signed })
            }
        }
    }
}

/// What a verdict rests on.
#[derive(Clone, Copy, Debug)]
pub struct Judge<'a> {
    /// Judges the signer's chain.
    pub verifier: &'a OfflineVerifier,
    /// The time of the verdict where no timestamp attests one.
    pub at: At,
    /// Judges the chain of a timestamping authority; without it, timestamped signatures are refused.
    pub authority: Option<&'a OfflineVerifier>,
}

/// A verified signature.
#[derive(Clone, Debug)]
pub struct Signed {
    chain: VerifiedChain,
    claimed_time: Option<i64>,
    attested_time: Option<i64>,
    format: Format,
}

impl Signed {
    /// The signer's chain, verified for the time asked about.
    pub fn chain(&self) -> &VerifiedChain {
        &self.chain
    }

    /// When the signer says that it signed, Unix seconds. No third party attests it.
    pub fn claimed_time(&self) -> Option<i64> {
        self.claimed_time
    }

    /// When a timestamping authority saw the signature, Unix seconds: the chain was verified for it.
    pub fn attested_time(&self) -> Option<i64> {
        self.attested_time
    }

    /// Format of the envelope.
    pub fn format(&self) -> Format {
        self.format
    }
}

/// What an envelope of any format puts before the judge.
struct Evidence<'a> {
    format: Format,
    algorithm: SignatureAlgorithm,
    digest: &'a ContentDigest,
    statement: &'a [u8],
    signature: &'a [u8],
    leaf: &'a [u8],
    others: &'a [Vec<u8>],
    bound: &'a [cms::CertificateHash],
    claimed_time: Option<i64>,
}

impl Evidence<'_> {
    fn judge(&self, digest: &ContentDigest, verifier: &OfflineVerifier, at: At) -> Result<Signed, ArtifactError> {
        if digest != self.digest {
            return Err(ArtifactError::Changed);
        }
        let leaf = ReadCertificate::from_der(self.leaf).map_err(|b| ArtifactError::Certificate(b.to_string()))?;
        keys::verify(leaf.spki_der(), self.algorithm, self.statement, self.signature).map_err(|_| ArtifactError::Signature)?;
        let chain = verifier.verify_chain(self.leaf, self.others, at)?;
        if !leaf.may_sign_data() {
            return Err(ArtifactError::Certificate(format!("{} has no keyUsage digitalSignature", leaf.label())));
        }
        let path = || std::iter::once(chain.leaf()).chain(chain.issuers());
        if let Some(stray) = self.others.iter().find(|other| !path().any(|c| c.der() == other.as_slice())) {
            return Err(ArtifactError::Stray(ReadCertificate::from_der(stray).map_or_else(|b| b.to_string(), |c| c.label())));
        }
        self.check_binding(&chain)?;
        Ok(Signed { claimed_time: self.claimed_time, attested_time: None, format: self.format, chain })
    }

    /// RFC 5035 §3: the first hash names the signer's certificate; further ones limit the path,
    /// whose root is the verifier's own and need not be named.
    fn check_binding(&self, chain: &VerifiedChain) -> Result<(), ArtifactError> {
        let unbound = || ArtifactError::Unbound(self.format, "sealwright artifact sign, or openssl cms -sign -cades");
        let (first, further) = self.bound.split_first().ok_or_else(unbound)?;
        if !first.is_of(chain.leaf().der()) {
            return Err(unbound());
        }
        let below_root = chain.issuers().split_last().map_or(&[][..], |(_, below)| below);
        let unnamed = below_root.iter().find(|c| !further.iter().any(|hash| hash.is_of(c.der())));
        match unnamed {
            Some(other) if !further.is_empty() => Err(ArtifactError::Stray(other.label())),
            _ => Ok(()),
        }
    }
}
