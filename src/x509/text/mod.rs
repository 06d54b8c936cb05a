//! Certificates and requests as text, laid out as `openssl x509 -text` does, so that what a
//! ceremony shows can be compared line by line with a tool that everyone has.

mod extensions;
mod names;

use super::keys;
use der::asn1::{AnyRef, UintRef};
use der::{Decode, Encode, Reader, SliceReader};
use spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};
use std::fmt::Write;
use x509_cert::certificate::{Certificate, TbsCertificate};
use x509_cert::request::CertReq;
use x509_cert::time::Time;

pub use names::name;

/// The bytes are not the structure that was asked to be shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a DER {what}: {reason}")]
pub struct TextError {
    what: &'static str,
    reason: String,
}

fn malformed(what: &'static str) -> impl Fn(der::Error) -> TextError {
    move |e| TextError { what, reason: e.to_string() }
}

/// A DER certificate, signature included.
pub fn certificate(der: &[u8]) -> Result<String, TextError> {
    let cert = Certificate::from_der(der).map_err(malformed("certificate"))?;
    let mut out = String::from("Certificate:\n");
    tbs_lines(&mut out, cert.tbs_certificate());
    signature(&mut out, cert.signature_algorithm(), cert.signature().raw_bytes());
    Ok(out)
}

/// A DER TBSCertificate: what is about to be signed.
pub fn tbs(der: &[u8]) -> Result<String, TextError> {
    let tbs = TbsCertificate::from_der(der).map_err(malformed("TBSCertificate"))?;
    let mut out = String::from("Certificate:\n");
    tbs_lines(&mut out, &tbs);
    Ok(out)
}

/// A DER PKCS#10 request.
pub fn request(der: &[u8]) -> Result<String, TextError> {
    let request = CertReq::from_der(der).map_err(malformed("PKCS#10 request"))?;
    let mut out = String::from("Certificate Request:\n    Data:\n        Version: 1 (0x0)\n");
    let _ = writeln!(out, "        Subject: {}", name(&request.info.subject));
    public_key(&mut out, &request.info.public_key);
    out.push_str("        Attributes:\n");
    if request.info.attributes.is_empty() {
        out.push_str("            (none)\n");
    }
    for attribute in request.info.attributes.iter() {
        let _ = writeln!(out, "            {}: {} value(s)", attribute.oid, attribute.values.len());
    }
    signature(&mut out, &request.algorithm, request.signature.raw_bytes());
    Ok(out)
}

fn tbs_lines(out: &mut String, tbs: &TbsCertificate) {
    out.push_str("    Data:\n        Version: 3 (0x2)\n        Serial Number:\n");
    let serial = tbs.serial_number().as_bytes();
    let _ = writeln!(out, "            {}", colons(serial, false));
    let _ = writeln!(out, "        Signature Algorithm: {}", algorithm(tbs.signature()));
    let _ = writeln!(out, "        Issuer: {}", name(tbs.issuer()));
    let _ = writeln!(out, "        Validity\n            Not Before: {}", time(&tbs.validity().not_before));
    let _ = writeln!(out, "            Not After : {}", time(&tbs.validity().not_after));
    let _ = writeln!(out, "        Subject: {}", name(tbs.subject()));
    public_key(out, tbs.subject_public_key_info());
    if let Some(list) = tbs.extensions() {
        out.push_str("        X509v3 extensions:\n");
        for extension in list {
            extensions::lines(out, extension);
        }
    }
}

fn algorithm(id: &AlgorithmIdentifierOwned) -> String {
    use crate::types::SignatureAlgorithm as S;
    let known = match keys::signature_algorithm(id) {
        Ok(S::EcdsaSha256) => "ecdsa-with-SHA256",
        Ok(S::EcdsaSha384) => "ecdsa-with-SHA384",
        Ok(S::RsaSha256) => "sha256WithRSAEncryption",
        Ok(S::Ed25519) => "ED25519",
        Err(_) => return id.oid.to_string(),
    };
    known.to_owned()
}

fn signature(out: &mut String, id: &AlgorithmIdentifierOwned, bytes: &[u8]) {
    let _ = writeln!(out, "    Signature Algorithm: {}\n    Signature Value:", algorithm(id));
    octets(out, bytes, 8, 18);
}

/// `Jan  1 00:00:00 2026 GMT`.
fn time(time: &Time) -> String {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let at = time.to_date_time();
    let month = usize::from(at.month()).checked_sub(1).and_then(|m| MONTHS.get(m)).unwrap_or(&"???");
    format!("{month} {:2} {:02}:{:02}:{:02} {} GMT", at.day(), at.hour(), at.minutes(), at.seconds(), at.year())
}

fn public_key(out: &mut String, spki: &SubjectPublicKeyInfoOwned) {
    out.push_str("        Subject Public Key Info:\n");
    let key = spki.subject_public_key.raw_bytes();
    let kind = spki.to_der().map_err(|e| e.to_string()).and_then(|der| keys::classify(&der).map_err(|e| e.to_string()));
    match kind {
        Ok(crate::types::KeyAlgorithm::P256) => ec_key(out, key, 256, "prime256v1"),
        Ok(crate::types::KeyAlgorithm::P384) => ec_key(out, key, 384, "secp384r1"),
        Ok(crate::types::KeyAlgorithm::Rsa(bits)) => rsa_key(out, key, bits),
        Ok(crate::types::KeyAlgorithm::Ed25519) => {
            out.push_str("            Public Key Algorithm: ED25519\n                ED25519 Public-Key:\n                pub:\n");
            octets(out, key, 20, 15);
        }
        Err(_) => {
            let _ = writeln!(out, "            Public Key Algorithm: {}", spki.algorithm.oid);
            octets(out, key, 20, 15);
        }
    }
}

fn ec_key(out: &mut String, point: &[u8], bits: u32, curve: &str) {
    let _ =
        write!(out, "            Public Key Algorithm: id-ecPublicKey\n                Public-Key: ({bits} bit)\n                pub:\n");
    octets(out, point, 20, 15);
    let _ = writeln!(out, "                ASN1 OID: {curve}\n                NIST CURVE: P-{bits}");
}

fn rsa_key(out: &mut String, key: &[u8], bits: u32) {
    let _ = write!(out, "            Public Key Algorithm: rsaEncryption\n                Public-Key: ({bits} bit)\n");
    let pair = SliceReader::new(key)
        .and_then(|mut reader| reader.sequence(|r| Ok::<_, der::Error>((AnyRef::decode(r)?.value().to_vec(), UintRef::decode(r)?))));
    let Ok((modulus, exponent)) = pair else { return octets(out, key, 20, 15) };
    out.push_str("                Modulus:\n");
    octets(out, &modulus, 20, 15);
    let exponent = exponent.as_bytes().iter().fold(0u64, |n, b| (n << 8) | u64::from(*b));
    let _ = writeln!(out, "                Exponent: {exponent} (0x{exponent:x})");
}

/// Colon-separated octets, `width` to a line, each line but the last with a trailing colon.
fn octets(out: &mut String, bytes: &[u8], indent: usize, width: usize) {
    let lines = bytes.chunks(width).map(|line| format!("{:indent$}{}", "", colons(line, false)));
    let _ = writeln!(out, "{}", lines.collect::<Vec<_>>().join(":\n"));
}

fn colons(bytes: &[u8], upper: bool) -> String {
    let digits = |b: &u8| if upper { format!("{b:02X}") } else { format!("{b:02x}") };
    bytes.iter().map(digits).collect::<Vec<_>>().join(":")
}
