//! Compressed certificates: every certificate comes back octet for octet, or is refused with the reason.

use rcgen::{CertificateParams, DnType, IsCa, Issuer, KeyIdMethod, KeyPair, SerialNumber, date_time_ymd};
use sealwright::types::{NO_EXPIRATION, Validity};
use sealwright::x509::compressed::{CompressError, Dates, SerialSource, Template, Varies, serial_from_key};

struct Factory {
    key: KeyPair,
    params: CertificateParams,
}

impl Factory {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "Factory 1");
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
        params.not_before = date_time_ymd(2026, 3, 1);
        params.not_after = date_time_ymd(2031, 3, 1);
        params.key_identifier_method = KeyIdMethod::PreSpecified(vec![7; 20]);
        Self { key: KeyPair::generate().unwrap(), params }
    }

    fn own_certificate(&self) -> Vec<u8> {
        self.params.self_signed(&self.key).unwrap().der().to_vec()
    }

    /// A device certificate with its key x‖y.
    fn issue(&self, serial: impl Fn(&[u8; 64]) -> Vec<u8>, name: &str, change: impl Fn(&mut CertificateParams)) -> (Vec<u8>, [u8; 64]) {
        let device = KeyPair::generate().unwrap();
        let key: [u8; 64] = device.public_key_raw()[1..].try_into().unwrap();
        let mut params = CertificateParams::new(vec![format!("{name}.example")]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Acme");
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = date_time_ymd(2026, 11, 24) + std::time::Duration::from_secs(22 * 3600);
        params.not_after = date_time_ymd(2041, 11, 24) + std::time::Duration::from_secs(22 * 3600);
        params.serial_number = Some(SerialNumber::from(serial(&key)));
        params.use_authority_key_identifier_extension = true;
        let identifier = <sha1::Sha1 as sha1::Digest>::digest([[4].as_slice(), &key].concat());
        params.key_identifier_method = KeyIdMethod::PreSpecified(identifier.to_vec());
        params.is_ca = IsCa::ExplicitNoCa;
        change(&mut params);
        let issuer = Issuer::from_params(&self.params, &self.key);
        (params.signed_by(&device, &issuer).unwrap().der().to_vec(), key)
    }
}

fn random_serial(_: &[u8; 64]) -> Vec<u8> {
    sealwright::types::Serial::generate().unwrap().as_bytes().to_vec()
}

#[test]
fn a_hundred_certificates_come_back_with_stored_serials() {
    let factory = Factory::new();
    let (first, _) = factory.issue(random_serial, "device-000", |_| {});
    let template = Template::from_certificate(&first, Varies::Identity, 3, 1).unwrap();
    assert_eq!(template.serial_source(), SerialSource::Stored);
    assert_eq!(template.stored_size(), 20 + 4 + 10 + 2 + 2 + 18);
    let mut sizes = std::collections::BTreeSet::new();
    for n in 0..100 {
        let (der, key) = factory.issue(random_serial, &format!("device-{n:03}"), |_| {});
        let compressed = template.compress(&der, [0x12, 0x34]).unwrap();
        assert_eq!(template.rebuild(&compressed, &key).unwrap(), der);
        assert_eq!(compressed.octets[67..71], [0x12, 0x34, 0x31, 0x00]);
        sizes.insert(der.len());
        let mut other = compressed.clone();
        other.octets[66] ^= 1;
        assert_ne!(template.rebuild(&other, &key).unwrap_or_default(), der);
    }
    assert!(sizes.len() > 1, "signatures of several lengths were seen");
}

#[test]
fn a_serial_from_the_key_needs_no_storage() {
    let factory = Factory::new();
    let start = 1_795_557_600;
    let validity = Dates::starting(start, Some(15)).unwrap();
    let dates = Dates::from_validity(&validity).unwrap();
    let derived = |key: &[u8; 64]| serial_from_key(key, &dates, 20);
    let (der, key) = factory.issue(derived, "device-1", |_| {});
    let template = Template::from_certificate(&der, Varies::Identity, 0, 0).unwrap();
    assert_eq!(template.serial_source(), SerialSource::PublicKeyHash);
    let compressed = template.compress(&der, [0, 0]).unwrap();
    assert_eq!(compressed.octets[70] >> 4, 0xA);
    assert_eq!(template.rebuild(&compressed, &key).unwrap(), der);
    let (foreign, _) = factory.issue(random_serial, "device-1", |_| {});
    assert!(matches!(template.compress(&foreign, [0, 0]).unwrap_err(), CompressError::OtherTemplate(_)));
}

#[test]
fn an_issuer_certificate_has_nothing_to_store() {
    let der = Factory::new().own_certificate();
    let template = Template::from_certificate(&der, Varies::Nothing, 1, 0).unwrap();
    let compressed = template.compress(&der, [0, 1]).unwrap();
    assert!(compressed.stored.is_empty());
    let key = der[template.layout().public_key.clone()].try_into().unwrap();
    assert_eq!(template.rebuild(&compressed, &key).unwrap(), der);
}

#[test]
fn no_expiration_and_late_years_use_what_the_format_has() {
    let factory = Factory::new();
    let forever = |p: &mut CertificateParams| p.not_after = date_time_ymd(9999, 12, 31) + std::time::Duration::from_secs(86_399);
    let late = |p: &mut CertificateParams| {
        p.not_before = date_time_ymd(2051, 1, 1);
        p.not_after = date_time_ymd(2151, 1, 1);
    };
    for (change, format) in [(&forever as &dyn Fn(&mut CertificateParams), 0), (&late, 1)] {
        let (der, key) = factory.issue(random_serial, "d", change);
        let template = Template::from_certificate(&der, Varies::Identity, 0, 0).unwrap();
        let compressed = template.compress(&der, [0, 0]).unwrap();
        assert_eq!(compressed.octets[70] & 0x0f, format);
        assert_eq!(template.rebuild(&compressed, &key).unwrap(), der);
    }
}

#[test]
fn what_does_not_fit_is_refused_before_anything_is_written() {
    let factory = Factory::new();
    let (der, _) = factory.issue(random_serial, "device-1", |_| {});
    let template = Template::from_certificate(&der, Varies::Identity, 0, 0).unwrap();
    let (longer, _) = factory.issue(random_serial, "device-10", |_| {});
    assert!(template.compress(&longer, [0, 0]).is_err());
    let (minutes, _) = factory.issue(random_serial, "device-1", |p| p.not_before += std::time::Duration::from_secs(61));
    assert!(template.compress(&minutes, [0, 0]).unwrap_err().to_string().contains("whole hour"));
    let other_issuer = Factory::new();
    let (other, _) = other_issuer.issue(random_serial, "device-1", |p| p.is_ca = IsCa::NoCa);
    assert!(template.compress(&other, [0, 0]).is_err());
    let limit = Validity::new(1_795_557_600, NO_EXPIRATION).unwrap();
    assert_eq!(Dates::from_validity(&limit).unwrap().validity().unwrap(), limit);
    for cut in 0..der.len() {
        assert!(template.compress(&der[..cut], [0, 0]).is_err());
    }
}

/// Certificates that the vendor's library compressed and rebuilt on a chip; origin in the file.
#[test]
fn the_vendors_vectors_agree() {
    #[derive(serde::Deserialize)]
    struct Vectors {
        signer_id: String,
        vectors: Vec<Vector>,
    }
    #[derive(serde::Deserialize)]
    struct Vector {
        certificate: String,
        compressed: String,
        stored: String,
        years: u8,
    }
    let file: Vectors = serde_json::from_str(include_str!("vectors/compressed-certificates.json")).unwrap();
    let signer_id = hex::decode(&file.signer_id).unwrap().try_into().unwrap();
    assert_eq!(file.vectors.len(), 10);
    for vector in &file.vectors {
        let der = hex::decode(&vector.certificate).unwrap();
        let template = Template::from_certificate(&der, Varies::Identity, 3, 1).unwrap();
        assert_eq!(template.years().unwrap(), vector.years);
        let compressed = template.compress(&der, signer_id).unwrap();
        assert_eq!(hex::encode(compressed.octets), vector.compressed);
        assert_eq!(hex::encode(&compressed.stored), vector.stored);
        assert_eq!(compressed.octets[70] & 0x0f, u8::from(vector.years > 31));
        assert_eq!(Template::parse(&template.to_text()).unwrap(), template);
    }
}
