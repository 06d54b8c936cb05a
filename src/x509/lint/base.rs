//! Rules about the fields before the extensions.

use super::view::View;
use super::{Rule, must, should, when};
use crate::types::KeyAlgorithm;
use crate::x509::tbs::seconds;
use crate::x509::{keys, lint::view::Ext};
use der::Decode;
use x509_cert::certificate::{TbsCertificate, Version};
use x509_cert::time::Time;

/// 2050-01-01T00:00:00Z: from here on times are GeneralizedTime.
const Y2050: i64 = 2_524_608_000;

pub(super) const RULES: &[Rule] = &[
    must("version", "RFC 5280 §4.1.2.1", |v| {
        when(!v.extensions.is_empty() && v.tbs.version() != Version::V3, "a certificate with extensions must be version 3")
    }),
    must("serial-positive", "RFC 5280 §4.1.2.2", |v| {
        let serial = v.tbs.serial_number().as_bytes();
        let negative = serial.first().is_some_and(|b| b & 0x80 != 0);
        when(negative || serial.iter().all(|b| *b == 0), "the serial number must be positive")
    }),
    must("serial-length", "RFC 5280 §4.1.2.2", |v| {
        when(v.tbs.serial_number().as_bytes().len() > 20, "the serial number has over 20 octets")
    }),
    should("serial-entropy", "CA/B BR §7.1", |v| {
        when(v.tbs.serial_number().as_bytes().len() < 8, "the serial number is too short for 64 random bits")
    }),
    must("signature-algorithm", "RFC 5280 §4.1.1.2", |v| {
        when(keys::signature_algorithm(v.tbs.signature()).is_err(), "the signature algorithm or its parameters are not supported")
    }),
    must("signature-fits-issuer", "RFC 5280 §4.1.1.2", |v| {
        let algorithm = keys::signature_algorithm(v.tbs.signature()).ok()?;
        when(v.issuer?.algorithm() != algorithm, "the signature algorithm is not the one of the issuer's key")
    }),
    must("issuer-name", "RFC 5280 §4.1.2.4", |v| when(v.tbs.issuer().is_empty(), "the issuer name is empty")),
    must("issuer-agrees", "RFC 5280 §4.1.2.4", |v| {
        when(v.issuer?.name() != v.tbs.issuer(), "the issuer name is not the subject of the issuer")
    }),
    must("validity-order", "RFC 5280 §4.1.2.5", |v| {
        let (from, to) = period(v);
        when(to <= from, "notAfter is not later than notBefore")
    }),
    must("validity-encoding", "RFC 5280 §4.1.2.5", |v| {
        let wrong = |t: &Time| matches!(t, Time::GeneralTime(_)) != (seconds(t) >= Y2050);
        let validity = v.tbs.validity();
        when(wrong(&validity.not_before) || wrong(&validity.not_after), "times are UTCTime through 2049 and GeneralizedTime from 2050")
    }),
    must("validity-nested", "P3", |v| {
        let (from, to) = period(v);
        let own = v.issuer?.validity();
        match (from < own.not_before(), to > own.not_after() && !v.may_outlive_issuer) {
            (true, _) => Some("notBefore lies before the issuer's".into()),
            (_, true) => Some("the certificate would outlive its issuer".into()),
            _ => None,
        }
    }),
    must("key-supported", "RFC 5480 §2, RFC 8410 §3, RFC 8017", |v| {
        when(v.key.is_none(), "the public key is unsupported, off its curve, or RSA below 2048 bits or with an exponent below 65537")
    }),
    must("key-not-issuers", "P1", |v| when(!v.self_issued() && v.issuer?.spki_der() == v.spki_der, "the public key is the issuer's own")),
    must("unique-ids", "RFC 5280 §4.1.2.8", |v| {
        let present = v.tbs.issuer_unique_id().is_some() || v.tbs.subject_unique_id().is_some();
        when(present, "issuerUniqueID and subjectUniqueID must not be used")
    }),
    must("der", "X.690 §11", |v| {
        when(TbsCertificate::from_der(v.der).ok().as_ref() != Some(v.tbs), "the encoding does not read back as planned")
    }),
    must("usage-fits-key", "RFC 5480 §3, RFC 8410 §5", |v| {
        let Ext::Present { value: usage, .. } = &v.usage else { return None };
        let enciphers = usage.key_encipherment() || usage.data_encipherment();
        match v.key? {
            KeyAlgorithm::P256 | KeyAlgorithm::P384 => when(enciphers, "an elliptic-curve key cannot encipher keys or data"),
            KeyAlgorithm::Ed25519 => when(enciphers || usage.key_agreement(), "an Ed25519 key can only sign"),
            KeyAlgorithm::Rsa(_) => when(usage.key_agreement(), "an RSA key cannot agree on keys (RFC 4055 §1.2)"),
        }
    }),
];

/// First and last valid second.
pub(super) fn period(v: &View<'_>) -> (i64, i64) {
    (seconds(&v.tbs.validity().not_before), seconds(&v.tbs.validity().not_after))
}
