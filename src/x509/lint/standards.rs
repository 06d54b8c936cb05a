//! Rules of device standards. Each applies only where the profile or the user names the standard.
//!
//! Sources: IEEE 802.1AR-2018 clause 8, RFC 8995 §2.3.1, IEEE 2030.5-2018 clause 6.11, and the
//! device attestation chapter (6.2.2) of the Matter core specification 1.x.

use super::base::period;
use super::view::View;
use super::{Rule, Severity, Standard, when};
use crate::types::{KeyAlgorithm, NO_EXPIRATION, SignatureAlgorithm};
use crate::x509::keys;
use const_oid::ObjectIdentifier;
use const_oid::db::rfc4519;
use x509_cert::ext::pkix::{KeyUsage, KeyUsages};
use x509_cert::name::Name;

const DEVID: &[Standard] = &[Standard::IdevId, Standard::LdevId];
const ENERGY: &[Standard] = &[Standard::Ieee20305];
const MATTER: &[Standard] = &[Standard::MatterDac, Standard::MatterPai, Standard::MatterPaa];
const MATTER_CA: &[Standard] = &[Standard::MatterPai, Standard::MatterPaa];
const DAC: &[Standard] = &[Standard::MatterDac];
const PAI: &[Standard] = &[Standard::MatterPai];
const PAA: &[Standard] = &[Standard::MatterPaa];

const VENDOR_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.37244.2.1");
const PRODUCT_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.37244.2.2");
/// Largest DAC, PAI or PAA in DER bytes (Matter core §6.2.2).
const MATTER_MAX: usize = 600;
/// What signature and outer framing add to a P-256 TBS at most: 2 × SEQUENCE header (4),
/// AlgorithmIdentifier (12), BIT STRING header (3) and ECDSA-Sig-Value (72).
const MATTER_FRAME: usize = 95;

const fn must(standards: &'static [Standard], id: &'static str, clause: &'static str, broken: fn(&View<'_>) -> Option<String>) -> Rule {
    Rule { id, clause, severity: Severity::Error, standards, broken }
}

const fn should(standards: &'static [Standard], id: &'static str, clause: &'static str, broken: fn(&View<'_>) -> Option<String>) -> Rule {
    Rule { id, clause, severity: Severity::Warning, standards, broken }
}

pub(super) const RULES: &[Rule] = &[
    must(DEVID, "devid-subject", "IEEE 802.1AR-2018 §8.6", |v| when(v.tbs.subject().is_empty(), "a DevID needs a subject")),
    should(&[Standard::IdevId], "idevid-serial-number", "IEEE 802.1AR-2018 §8.6, RFC 8995 §2.3.1", |v| {
        when(
            !v.tbs.subject().iter().any(|a| a.oid == rfc4519::SERIAL_NUMBER),
            "an IDevID should carry serialNumber in its subject; BRSKI needs it",
        )
    }),
    should(DEVID, "devid-no-ski", "IEEE 802.1AR-2018 §8.10.2", |v| {
        when(v.own_key.value().is_some(), "subjectKeyIdentifier is not recommended in a DevID")
    }),
    must(DEVID, "devid-aki", "IEEE 802.1AR-2018 §8.10.1", |v| {
        when(v.issuer_key.value().is_none(), "a DevID needs an authorityKeyIdentifier")
    }),
    must(DEVID, "devid-hardware-name", "IEEE 802.1AR-2018 §8.10.4", |v| {
        let bare = v.alt.value().is_some() && v.hardware_names().next().is_none();
        when(bare, "the subjectAltName of a DevID must hold a HardwareModuleName")
    }),
    must(DEVID, "devid-usage", "IEEE 802.1AR-2018 §8.10.3", |v| {
        when(v.usage.value().is_some_and(|u| !u.digital_signature()), "the key usage of a DevID must hold digitalSignature")
    }),
    must(DEVID, "devid-not-ca", "IEEE 802.1AR-2018 §8", |v| when(v.is_ca(), "a DevID is not a CA")),
    must(DEVID, "devid-key", "IEEE 802.1AR-2018 §9", |v| {
        let good = matches!(v.key, Some(KeyAlgorithm::P256 | KeyAlgorithm::P384 | KeyAlgorithm::Rsa(2048)));
        when(!good, "a DevID key is P-256, P-384 or RSA-2048")
    }),
    should(&[Standard::IdevId], "idevid-no-expiration", "IEEE 802.1AR-2018 §8.7", |v| {
        when(period(v).1 != NO_EXPIRATION, "an IDevID should end at 99991231235959Z")
    }),
    must(ENERGY, "energy-subject", "IEEE 2030.5-2018 §6.11.8", |v| {
        when(!v.tbs.subject().is_empty(), "the subject of a device certificate must be empty")
    }),
    must(ENERGY, "energy-hardware-name", "IEEE 2030.5-2018 §6.11.7.4", |v| {
        let one = v.hardware_names().count() == 1 && v.alt_names().len() == 1;
        when(!one || v.alt.critical() != Some(true), "subjectAltName must be critical with one HardwareModuleName and nothing else")
    }),
    must(ENERGY, "energy-usage", "IEEE 2030.5-2018 §6.11.8", |v| {
        let exact = KeyUsages::DigitalSignature | KeyUsages::KeyAgreement;
        when(v.usage.value() != Some(&KeyUsage(exact)), "the key usage must be digitalSignature and keyAgreement")
    }),
    must(ENERGY, "energy-policies", "IEEE 2030.5-2018 §6.11.7.2", |v| {
        let types = (1..=3).filter_map(|n| ObjectIdentifier::new(&format!("1.3.6.1.4.1.40732.1.{n}")).ok()).collect::<Vec<_>>();
        let found = v.policies.value().is_some_and(|p| p.0.iter().any(|i| types.contains(&i.policy_identifier)));
        when(
            !found || v.policies.critical() != Some(true),
            "certificatePolicies must be critical and name a device type 1.3.6.1.4.1.40732.1.{1,2,3}",
        )
    }),
    must(ENERGY, "energy-key", "IEEE 2030.5-2018 §6.11.8", |v| {
        let signature = keys::signature_algorithm(v.tbs.signature()).ok();
        let good = v.key == Some(KeyAlgorithm::P256) && signature == Some(SignatureAlgorithm::EcdsaSha256);
        when(!good, "key and signature must be P-256 with SHA-256")
    }),
    must(ENERGY, "energy-no-expiration", "IEEE 2030.5-2018 §6.11.8", |v| {
        when(period(v).1 != NO_EXPIRATION, "a device certificate must end at 99991231235959Z")
    }),
    must(MATTER, "matter-key", "Matter §6.2.2", |v| when(v.key != Some(KeyAlgorithm::P256), "the key must be P-256")),
    must(MATTER, "matter-signature", "Matter §6.2.2", |v| {
        let signature = keys::signature_algorithm(v.tbs.signature()).ok();
        when(signature != Some(SignatureAlgorithm::EcdsaSha256), "the signature must be ecdsa-with-SHA256")
    }),
    must(MATTER, "matter-size", "Matter §6.2.2", |v| {
        when(v.der.len() + MATTER_FRAME > MATTER_MAX, "the certificate would have over 600 bytes")
    }),
    must(MATTER, "matter-ski", "Matter §6.2.2", |v| {
        let good = v.own_key.value().is_some_and(|k| k.0.as_bytes().len() == 20);
        when(!good, "subjectKeyIdentifier with 20 octets is missing")
    }),
    must(&[Standard::MatterDac, Standard::MatterPai], "matter-aki", "Matter §6.2.2", |v| {
        let id = v.issuer_key.value().and_then(|a| a.key_identifier.as_ref());
        when(id.is_none_or(|k| k.as_bytes().len() != 20), "authorityKeyIdentifier with 20 octets is missing")
    }),
    must(MATTER, "matter-ids", "Matter §6.2.2.2", |v| match_ids(v.tbs.subject()).err()),
    must(DAC, "matter-dac-ids", "Matter §6.2.2.3", |v| {
        let (vendor, product) = match_ids(v.tbs.subject()).ok()?;
        when(vendor.is_none() || product.is_none(), "a DAC names one vendor id and one product id")
    }),
    must(PAI, "matter-pai-ids", "Matter §6.2.2.4", |v| when(match_ids(v.tbs.subject()).ok()?.0.is_none(), "a PAI names one vendor id")),
    must(PAA, "matter-paa-ids", "Matter §6.2.2.5", |v| when(match_ids(v.tbs.subject()).ok()?.1.is_some(), "a PAA names no product id")),
    must(DAC, "matter-issuer-vendor", "Matter §6.2.2.4", |v| {
        when(match_ids(v.tbs.issuer()).ok()?.0.is_none(), "the issuer of a DAC is a PAI, which names a vendor id")
    }),
    must(&[Standard::MatterDac, Standard::MatterPai], "matter-ids-of-issuer", "Matter §6.2.2", |v| {
        let (own, above) = (match_ids(v.tbs.subject()).ok()?, match_ids(v.tbs.issuer()).ok()?);
        let differs = |a: &Option<String>, b: &Option<String>| b.is_some() && a != b;
        when(differs(&own.0, &above.0) || differs(&own.1, &above.1), "vendor or product id differs from the issuer's")
    }),
    must(DAC, "matter-dac-basic-constraints", "Matter §6.2.2.3", |v| {
        when(v.basic.critical() != Some(true) || v.is_ca(), "a DAC needs critical basicConstraints that say 'not a CA'")
    }),
    must(PAI, "matter-pai-basic-constraints", "Matter §6.2.2.4", |v| {
        let good = v.is_ca() && v.basic.value().is_some_and(|b| b.path_len_constraint == Some(0));
        when(!good, "a PAI is a CA with path length 0")
    }),
    must(PAA, "matter-paa-basic-constraints", "Matter §6.2.2.5", |v| {
        let good = v.is_ca() && v.basic.value().is_some_and(|b| matches!(b.path_len_constraint, None | Some(1)));
        when(!good, "a PAA is a CA with path length 1 or none")
    }),
    must(DAC, "matter-dac-usage", "Matter §6.2.2.3", |v| {
        let exact = KeyUsage(KeyUsages::DigitalSignature.into());
        when(v.usage.value() != Some(&exact), "the key usage of a DAC is digitalSignature alone")
    }),
    must(MATTER_CA, "matter-ca-usage", "Matter §6.2.2.4", |v| {
        let exact = KeyUsages::KeyCertSign | KeyUsages::CRLSign;
        let with_signature = exact | KeyUsages::DigitalSignature;
        let usage = v.usage.value().map(|u| u.0);
        when(
            usage != Some(exact) && usage != Some(with_signature),
            "the key usage is keyCertSign and cRLSign, with or without digitalSignature",
        )
    }),
    must(PAA, "matter-paa-self-signed", "Matter §6.2.2.5", |v| when(!v.self_issued(), "a PAA is self-signed")),
];

type Ids = (Option<String>, Option<String>);

/// Vendor and product id of a name: attributes of their own, or `Mvid:XXXX` and `Mpid:XXXX`
/// inside a common name, never both, never twice.
fn match_ids(name: &Name) -> Result<Ids, String> {
    let (mut vendor, mut product) = (Vec::new(), Vec::new());
    let mut fallback: Ids = (None, None);
    for attribute in name.iter() {
        let text = std::str::from_utf8(attribute.value.value()).unwrap_or_default();
        match attribute.oid {
            VENDOR_ID => vendor.push(text.to_owned()),
            PRODUCT_ID => product.push(text.to_owned()),
            rfc4519::CN => fallback = (inside(text, "Mvid:")?, inside(text, "Mpid:")?),
            _ => {}
        }
    }
    let attributes = !vendor.is_empty() || !product.is_empty();
    if vendor.len() > 1 || product.len() > 1 {
        return Err("a vendor or product id occurs twice".into());
    }
    if let Some(bad) = vendor.iter().chain(&product).find(|id| !is_id(id)) {
        return Err(format!("'{bad}' is not an id of four upper-case hexadecimal digits"));
    }
    if attributes { Ok((vendor.pop(), product.pop())) } else { Ok(fallback) }
}

fn is_id(text: &str) -> bool {
    text.len() == 4 && text.bytes().all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b))
}

fn inside(text: &str, mark: &str) -> Result<Option<String>, String> {
    let Some((_, rest)) = text.split_once(mark) else { return Ok(None) };
    match rest.get(..4).filter(|id| is_id(id)) {
        Some(id) => Ok(Some(id.to_owned())),
        None => Err(format!("'{mark}' in the common name is not followed by four upper-case hexadecimal digits")),
    }
}
