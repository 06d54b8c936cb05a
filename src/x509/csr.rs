//! PKCS#10 (RFC 2986) requests: bytes in, proof of possession checked, [`VerifiedCsr`] out.

use super::keys::{self, KeyError};
use super::pem;
use super::weak;
use crate::types::{Fingerprint, KeyAlgorithm, SignatureAlgorithm};
use der::asn1::BitString;
use der::{Decode, Encode};
use x509_cert::name::Name;
use x509_cert::request::{CertReq, CertReqInfo, Version};

/// Largest request accepted, in bytes: an RSA-8192 request with attributes stays below 4 KiB.
pub const MAX_CSR: usize = 16 * 1024;

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CsrError {
    /// Over [`MAX_CSR`].
    #[error("the request has {0} bytes; at most {MAX_CSR} are accepted")]
    TooLarge(usize),
    /// Neither PEM nor DER PKCS#10.
    #[error("not a PKCS#10 request in DER or PEM: {0}; make one with 'openssl req -new -key …'")]
    Malformed(String),
    /// Key or signature algorithm.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A well-formed key whose private half is known or cheap.
    #[error("the key must not be certified: {0}; generate a new one with a sound random generator")]
    WeakKey(&'static str),
    /// Proof of possession failed (P1).
    #[error("proof of possession failed: the request is not signed by the key that it carries")]
    ProofOfPossession,
}

/// A request whose signature was verified with the key that it carries. There is no other way
/// to make one, so a certificate's key is always the requester's (P1).
#[derive(Clone, Debug)]
pub struct VerifiedCsr {
    der: Vec<u8>,
    spki_der: Vec<u8>,
    algorithm: KeyAlgorithm,
    subject: Name,
}

impl VerifiedCsr {
    /// Reads DER or PEM (`CERTIFICATE REQUEST` or `NEW CERTIFICATE REQUEST`, text around it allowed).
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CsrError> {
        if bytes.len() > MAX_CSR {
            return Err(CsrError::TooLarge(bytes.len()));
        }
        let der = if bytes.first() == Some(&0x30) { bytes.to_vec() } else { unwrap_pem(bytes)? };
        let malformed = |e: der::Error| CsrError::Malformed(e.to_string());
        let request = CertReq::from_der(&der).map_err(malformed)?;
        // DER is canonical: what does not encode back to the same bytes was not DER.
        if request.to_der().map_err(malformed)? != der {
            return Err(CsrError::Malformed("not canonical DER".into()));
        }
        let spki_der = request.info.public_key.to_der().map_err(malformed)?;
        let algorithm = keys::classify(&spki_der)?;
        if let Some(reason) = weak::weakness(&spki_der, algorithm) {
            return Err(CsrError::WeakKey(reason));
        }
        let signature_algorithm = keys::signature_algorithm(&request.algorithm)?;
        let info = request.info.to_der().map_err(malformed)?;
        let signature = request.signature.as_bytes().ok_or_else(|| CsrError::Malformed("the signature has unused bits".into()))?;
        match keys::verify(&spki_der, signature_algorithm, &info, signature) {
            Ok(()) => Ok(Self { der, spki_der, algorithm, subject: request.info.subject }),
            Err(KeyError::Mismatch) => Err(CsrError::ProofOfPossession),
            Err(e) => Err(e.into()),
        }
    }

    /// The request as received, DER.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// DER SubjectPublicKeyInfo.
    pub fn spki_der(&self) -> &[u8] {
        &self.spki_der
    }

    /// Name of the key (K3).
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of_spki(&self.spki_der)
    }

    /// Algorithm of the key.
    pub fn algorithm(&self) -> KeyAlgorithm {
        self.algorithm
    }

    /// Subject that the requester asks for; policy takes nothing from it unless told to.
    pub fn subject(&self) -> &Name {
        &self.subject
    }
}

fn unwrap_pem(bytes: &[u8]) -> Result<Vec<u8>, CsrError> {
    let missing = || CsrError::Malformed("no '-----BEGIN CERTIFICATE REQUEST-----' block found".into());
    let text = std::str::from_utf8(bytes).map_err(|_| missing())?;
    for label in [pem::REQUEST, "NEW CERTIFICATE REQUEST"] {
        if let Some(der) = pem::decode_all(label, text).map_err(CsrError::Malformed)?.into_iter().next() {
            return Ok(der);
        }
    }
    Err(missing())
}

/// The CertificationRequestInfo that an element or token signs to ask for a certificate.
#[derive(Clone, Debug)]
pub struct RequestInfo(Vec<u8>);

impl RequestInfo {
    /// A version 1 request info without attributes.
    pub fn new(subject: &Name, spki_der: &[u8]) -> Result<Self, CsrError> {
        let malformed = |e: der::Error| CsrError::Malformed(e.to_string());
        let public_key = spki::SubjectPublicKeyInfoOwned::from_der(spki_der).map_err(malformed)?;
        let info = CertReqInfo { version: Version::V1, subject: subject.clone(), public_key, attributes: Default::default() };
        info.to_der().map(Self).map_err(malformed)
    }

    /// The bytes to sign.
    pub fn der(&self) -> &[u8] {
        &self.0
    }

    /// Joins info and signature (X.509 form), checking the proof of possession at once.
    pub fn assemble(&self, algorithm: SignatureAlgorithm, signature: &[u8]) -> Result<VerifiedCsr, CsrError> {
        let malformed = |e: der::Error| CsrError::Malformed(e.to_string());
        let info = CertReqInfo::from_der(&self.0).map_err(malformed)?;
        let signature = BitString::from_bytes(signature).map_err(malformed)?;
        let request = CertReq { info, algorithm: keys::algorithm_identifier(algorithm), signature };
        VerifiedCsr::from_bytes(&request.to_der().map_err(malformed)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["a.example".into()]).unwrap();
        params.serialize_request(&key).unwrap().der().to_vec()
    }

    #[test]
    fn no_flipped_byte_survives_proof_of_possession() {
        let good = sample();
        VerifiedCsr::from_bytes(&good).unwrap();
        for i in 0..good.len() {
            let mut bad = good.clone();
            bad[i] ^= 0x01;
            assert!(VerifiedCsr::from_bytes(&bad).is_err(), "byte {i}");
        }
    }

    #[test]
    fn hostile_bytes_are_refused_with_a_remedy() {
        let deep: Vec<u8> = std::iter::repeat_n([0x30u8, 0x80], 5000).flatten().collect();
        for bad in [&b""[..], b"garbage", &sample()[..100], &vec![0x30; MAX_CSR], &deep] {
            let text = VerifiedCsr::from_bytes(bad).unwrap_err().to_string();
            assert!(text.contains("openssl req"), "{text}");
        }
        assert!(matches!(VerifiedCsr::from_bytes(&vec![0x30; MAX_CSR + 1]), Err(CsrError::TooLarge(_))));
    }
}
