//! The offline verifier: path validation (RFC 5280 §6) for device certificates, with reasons.
//!
//! A verdict either is a [`VerifiedChain`] or a [`Refusal`] that names the certificate, the rule,
//! the clause and the remedy. Nothing is fetched, nothing is cached, and every cost is bounded.
//!
//! Why not rustls-webpki alone: it judges servers and clients of TLS. It accepts an issuer
//! without keyUsage keyCertSign or subjectKeyIdentifier, does not compare authorityKeyIdentifier,
//! ignores the encoding of what it does not use, needs a clock, cannot say which certificate
//! broke which rule, and treats directory names byte for byte. The tests use it as a second
//! judge: whatever this verifier accepts, webpki accepts.
//!
//! Stricter than RFC 5280 on purpose: the root is judged like any other authority (validity, path
//! length, name constraints), certificates must be canonical DER, and the MUSTs for issuers
//! (authorityKeyIdentifier, subjectKeyIdentifier, critical nameConstraints) are enforced.
//! Certificate policies are read but none is required; policyConstraints, policyMappings and
//! inhibitAnyPolicy are refused, because they are not processed.

mod certificate;
mod constraints;
mod names;
mod path;
mod refusal;
mod revocation;

pub use certificate::{MAX_CERTIFICATE, ReadCertificate};
pub use refusal::{Broken, Refusal, Role, Rule};
pub use revocation::{MAX_CRL, ReadCrl};

use super::pem::MAX_BLOCKS;
use crate::types::{SignatureAlgorithm, Validity};
use const_oid::ObjectIdentifier;

/// Roots, or intermediates, that one verifier holds at most.
pub const MAX_HELD: usize = 256;

/// The time a verdict is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum At {
    /// Unix seconds.
    Time(i64),
    /// The verifier has no clock: validity periods must overlap, and the verdict tells the window
    /// in which it holds ([`VerifiedChain::window`]).
    Unknown,
}

/// Whose revocation status must be known from a current CRL.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum StatusDemand {
    /// Nobody's: CRLs that were supplied are honoured, missing or outdated ones are passed over.
    #[default]
    Optional,
    /// The leaf's.
    Leaf,
    /// That of every certificate below the root.
    Chain,
}

/// Collects what a verifier trusts and demands.
#[derive(Clone, Debug)]
pub struct OfflineVerifierBuilder {
    roots: Vec<Vec<u8>>,
    intermediates: Vec<Vec<u8>>,
    extended_usage: Option<ObjectIdentifier>,
    algorithms: Vec<SignatureAlgorithm>,
    max_intermediates: usize,
    authority_leaf: bool,
    crls: Vec<Vec<u8>>,
    status: StatusDemand,
}

impl OfflineVerifierBuilder {
    /// Trusts a root, DER. An intermediate may be pinned as a root: nothing above it is looked at.
    pub fn root(mut self, der: impl Into<Vec<u8>>) -> Self {
        self.roots.push(der.into());
        self
    }

    /// Knows an intermediate, DER; it is not trusted but may complete paths.
    pub fn intermediate(mut self, der: impl Into<Vec<u8>>) -> Self {
        self.intermediates.push(der.into());
        self
    }

    /// Demands that the leaf lists this extendedKeyUsage, and that no issuer excludes it.
    pub fn extended_key_usage(mut self, usage: ObjectIdentifier) -> Self {
        self.extended_usage = Some(usage);
        self
    }

    /// Limits the signature algorithms below the root; all that sealwright knows by default.
    pub fn algorithms(mut self, allowed: &[SignatureAlgorithm]) -> Self {
        self.algorithms = allowed.to_vec();
        self
    }

    /// Intermediates in a path at most; 4 by default.
    pub fn max_intermediates(mut self, count: usize) -> Self {
        self.max_intermediates = count;
        self
    }

    /// Asks for the verdict about an authority instead of a device.
    pub fn authority(mut self) -> Self {
        self.authority_leaf = true;
        self
    }

    /// Knows a CRL, DER: full or delta, of the whole authority or of one partition.
    pub fn crl(mut self, der: impl Into<Vec<u8>>) -> Self {
        self.crls.push(der.into());
        self
    }

    /// Demands that the status is known; optional by default.
    pub fn status(mut self, demand: StatusDemand) -> Self {
        self.status = demand;
        self
    }

    /// Reads and checks the roots (self-signatures included) and intermediates.
    pub fn build(self) -> Result<OfflineVerifier, Refusal> {
        let refuse = |role, subject: &str, broken| Refusal::new(role, subject, broken);
        if self.roots.is_empty() {
            return Err(refuse(Role::Root, "(none)", Broken::new(Rule::Issuer, "RFC 5280 §6.1.1 (d)", "no root to trust was given")));
        }
        if self.roots.len().max(self.intermediates.len()).max(self.crls.len()) > MAX_HELD {
            let broken = Broken::new(Rule::Bounds, "verifier limit", format!("over {MAX_HELD} roots, intermediates or CRLs"));
            return Err(refuse(Role::Root, "(all)", broken));
        }
        let read = |list: &[Vec<u8>], role| {
            let one = |der: &Vec<u8>| ReadCertificate::from_der(der).map_err(|b| refuse(role, "(unreadable)", b));
            list.iter().map(one).collect::<Result<Vec<_>, _>>()
        };
        let roots = read(&self.roots, Role::Root)?;
        for root in &roots {
            let broken = if !root.is_authority() {
                Err(Broken::new(Rule::Authority, "RFC 5280 §4.2.1.9", "it is no authority (basicConstraints)"))
            } else if root.self_issued() {
                path::verify_signature(root, root)
            } else {
                Ok(())
            };
            broken.map_err(|b| refuse(Role::Root, &root.label(), b))?;
        }
        let crl = |der: &Vec<u8>| ReadCrl::from_der(der).map_err(|b| refuse(Role::Crl, "(unreadable)", b));
        Ok(OfflineVerifier {
            crls: self.crls.iter().map(crl).collect::<Result<_, _>>()?,
            status: self.status,
            intermediates: read(&self.intermediates, Role::Intermediate)?,
            roots,
            extended_usage: self.extended_usage,
            algorithms: self.algorithms,
            max_intermediates: self.max_intermediates,
            authority_leaf: self.authority_leaf,
        })
    }
}

/// Decides, with nothing but the roots that it holds, whether a device certificate is good.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose};
/// # let mut params = CertificateParams::default();
/// # params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
/// # params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
/// # let root = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
/// # let key = KeyPair::generate()?;
/// # let mut params = CertificateParams::new(vec!["device-1".into()])?;
/// # params.use_authority_key_identifier_extension = true;
/// # let device = params.signed_by(&key, &root)?;
/// # let (root_der, device_der) = (root.der().to_vec(), device.der().to_vec());
/// use sealwright::x509::chain::{At, OfflineVerifier};
///
/// let verifier = OfflineVerifier::builder().root(root_der).build()?;
/// let chain = verifier.verify_device_certificate(&device_der, At::Time(1_800_000_000))?;
/// assert_eq!(chain.issuers().len(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct OfflineVerifier {
    roots: Vec<ReadCertificate>,
    intermediates: Vec<ReadCertificate>,
    extended_usage: Option<ObjectIdentifier>,
    algorithms: Vec<SignatureAlgorithm>,
    max_intermediates: usize,
    authority_leaf: bool,
    crls: Vec<ReadCrl>,
    status: StatusDemand,
}

impl OfflineVerifier {
    /// A builder that trusts nothing yet.
    pub fn builder() -> OfflineVerifierBuilder {
        OfflineVerifierBuilder {
            roots: Vec::new(),
            intermediates: Vec::new(),
            extended_usage: None,
            algorithms: vec![
                SignatureAlgorithm::EcdsaSha256,
                SignatureAlgorithm::EcdsaSha384,
                SignatureAlgorithm::RsaSha256,
                SignatureAlgorithm::Ed25519,
            ],
            max_intermediates: 4,
            authority_leaf: false,
            crls: Vec::new(),
            status: StatusDemand::Optional,
        }
    }

    /// Verifies a leaf, DER, with the intermediates that the verifier holds.
    pub fn verify_device_certificate(&self, leaf_der: &[u8], at: At) -> Result<VerifiedChain, Refusal> {
        self.verify_chain(leaf_der, &[], at)
    }

    /// Verifies a leaf, DER, with at most [`MAX_BLOCKS`] further untrusted intermediates in any order. An unreadable one
    /// is passed over; when no path is found without it, it is the reason.
    pub fn verify_chain(&self, leaf_der: &[u8], extra: &[Vec<u8>], at: At) -> Result<VerifiedChain, Refusal> {
        let leaf = ReadCertificate::from_der(leaf_der).map_err(|b| Refusal::new(Role::Leaf, "(unreadable)", b))?;
        if extra.len() > MAX_BLOCKS {
            let broken = Broken::new(Rule::Bounds, "verifier limit", format!("over {MAX_BLOCKS} intermediates supplied"));
            return Err(Refusal::new(Role::Leaf, &leaf.label(), broken));
        }
        let (mut pool, mut unreadable) = (Vec::new(), None);
        for der in extra {
            match ReadCertificate::from_der(der) {
                Ok(certificate) => pool.push(certificate),
                Err(broken) => unreadable = unreadable.or(Some(Refusal::new(Role::Intermediate, "(unreadable)", broken))),
            }
        }
        path::Search::new(self, &pool, at).run(&leaf).map_err(|refusal| match (refusal.rule(), unreadable) {
            (Rule::Issuer, Some(reason)) => reason,
            _ => refusal,
        })
    }
}

/// A chain that was verified; there is no other way to make one.
#[derive(Clone, Debug)]
pub struct VerifiedChain {
    leaf: ReadCertificate,
    issuers: Vec<ReadCertificate>,
    window: Validity,
    at: At,
}

impl VerifiedChain {
    /// The verified leaf.
    pub fn leaf(&self) -> &ReadCertificate {
        &self.leaf
    }

    /// Its issuers, nearest first, root last.
    pub fn issuers(&self) -> &[ReadCertificate] {
        &self.issuers
    }

    /// The period in which every certificate of the chain is valid, ends included.
    pub fn window(&self) -> Validity {
        self.window
    }

    /// The time that the verdict is about.
    pub fn at(&self) -> At {
        self.at
    }
}

/// RFC 3339 text of Unix seconds, e.g. `2026-01-31T00:00:00Z`.
pub fn show_time(unix: i64) -> String {
    path::show_time(unix)
}
