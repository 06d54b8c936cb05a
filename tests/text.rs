//! The text form of certificates is openssl's, character for character but for trailing blanks.

use rcgen::{
    BasicConstraints, CertificateParams, CrlDistributionPoint, CustomExtension, DnType, ExtendedKeyUsagePurpose as Eku, IsCa, KeyPair,
    KeyUsagePurpose as Ku, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, SanType,
};
use sealwright::x509::{pem, text};
use std::io::Write;
use std::process::{Command, Stdio};

fn openssl(kind: &str, pem: &str) -> String {
    let mut child = Command::new("openssl").args([kind, "-text", "-noout"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(pem.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success());
    String::from_utf8(out.stdout).unwrap()
}

fn lines(text: &str) -> Vec<&str> {
    text.lines().map(str::trim_end).collect()
}

fn rich() -> CertificateParams {
    let mut params = CertificateParams::new(vec!["a.example".into()]).unwrap();
    params.subject_alt_names.push(SanType::URI("urn:dev:mac:0011".try_into().unwrap()));
    params.subject_alt_names.push(SanType::IpAddress([10, 0, 0, 1].into()));
    params.distinguished_name.push(DnType::CountryName, "DE");
    params.distinguished_name.push(DnType::OrganizationName, "Acme, Inc");
    params.distinguished_name.push(DnType::CommonName, "Root \"R1\" Ä");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
    params.key_usages = vec![Ku::KeyCertSign, Ku::CrlSign, Ku::DigitalSignature];
    params.extended_key_usages = vec![Eku::ClientAuth, Eku::ServerAuth, Eku::Other(vec![1, 2, 3, 4])];
    params.crl_distribution_points = vec![CrlDistributionPoint { uris: vec!["http://crl.example/a.crl".into()] }];
    params.use_authority_key_identifier_extension = true;
    let policies = vec![0x30, 0x0d, 0x30, 0x05, 0x06, 0x03, 0x2a, 0x03, 0x04, 0x30, 0x04, 0x06, 0x02, 0x2a, 0x03];
    params.custom_extensions.push(CustomExtension::from_oid_content(&[2, 5, 29, 32], policies));
    params.custom_extensions.push(CustomExtension::from_oid_content(&[1, 2, 3, 4, 5], b"\x0c\x05hello".to_vec()));
    params
}

#[test]
fn certificates_read_as_openssl_shows_them() {
    for algorithm in [&PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384, &PKCS_ED25519] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let cert = rich().self_signed(&key).unwrap();
        assert_eq!(lines(&text::certificate(cert.der()).unwrap()), lines(&openssl("x509", &pem::encode(pem::CERTIFICATE, cert.der()))));
    }
}

#[test]
fn rsa_certificates_and_requests_too_and_garbage_is_an_error() {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "/dev/null", "-subj", "/CN=x", "-days", "99999"])
        .output()
        .unwrap();
    let pem_text = String::from_utf8(made.stdout).unwrap();
    let der = pem::certificates(pem_text.as_bytes()).unwrap().remove(0);
    assert_eq!(lines(&text::certificate(&der).unwrap()), lines(&openssl("x509", &pem_text)));
    assert!(text::certificate(&der[..der.len() - 1]).is_err());
    let args =
        ["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "/dev/null", "-subj", "/C=DE/CN=x"];
    let made = String::from_utf8(Command::new("openssl").args(args).output().unwrap().stdout).unwrap();
    let request = pem::decode_all(pem::REQUEST, &made).unwrap().remove(0);
    // openssl says both '(none)' and the title of an empty list.
    let shown = openssl("req", &made).replace("            Requested Extensions:\n", "");
    assert_eq!(lines(&text::request(&request).unwrap()), lines(&shown));
}
