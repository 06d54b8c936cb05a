//! Cost of one chain verdict beside the raw signature verifications in it, same run.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use sealwright::types::SignatureAlgorithm;
use sealwright::x509::chain::{At, OfflineVerifier};
use sealwright::x509::keys;
use std::sync::LazyLock;

struct Material {
    root: Vec<u8>,
    sub: Vec<u8>,
    device: Vec<u8>,
    signatures: [Signed; 3],
}

struct Signed {
    spki: Vec<u8>,
    algorithm: SignatureAlgorithm,
    message: Vec<u8>,
    signature: Vec<u8>,
}

static MATERIAL: LazyLock<Material> = LazyLock::new(make);
static VERIFIER: LazyLock<OfflineVerifier> =
    LazyLock::new(|| OfflineVerifier::builder().root(MATERIAL.root.clone()).intermediate(MATERIAL.sub.clone()).build().unwrap());

fn params(name: &str, authority: Option<BasicConstraints>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    if let Some(constraints) = authority {
        params.is_ca = IsCa::Ca(constraints);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    }
    params
}

fn make() -> Material {
    let p384 = || KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let root = CertifiedIssuer::self_signed(params("Root", Some(BasicConstraints::Unconstrained)), p384()).unwrap();
    let sub = params("Sub", Some(BasicConstraints::Constrained(0)));
    let sub = CertifiedIssuer::signed_by(sub, KeyPair::generate().unwrap(), &root).unwrap();
    let device = params("device", None).signed_by(&KeyPair::generate().unwrap(), &sub).unwrap();
    let (root, sub, device) = (root.der().to_vec(), sub.der().to_vec(), device.der().to_vec());
    let signatures = [signed(&device, &sub), signed(&sub, &root), signed(&root, &root)];
    Material { root, sub, device, signatures }
}

fn signed(child: &[u8], issuer: &[u8]) -> Signed {
    use der::{Decode, Encode};
    use x509_cert::Certificate;
    let (child, issuer) = (Certificate::from_der(child).unwrap(), Certificate::from_der(issuer).unwrap());
    Signed {
        spki: issuer.tbs_certificate().subject_public_key_info().to_der().unwrap(),
        algorithm: keys::signature_algorithm(child.signature_algorithm()).unwrap(),
        message: child.tbs_certificate().to_der().unwrap(),
        signature: child.signature().raw_bytes().to_vec(),
    }
}

fn verify(signed: &Signed) {
    keys::verify(&signed.spki, signed.algorithm, &signed.message, &signed.signature).unwrap();
}

/// Device on P-256, intermediate on P-256, root on P-384, as a field verifier sees them.
#[divan::bench]
fn chain_of_three() {
    VERIFIER.verify_device_certificate(&MATERIAL.device, At::Time(1_800_000_000)).unwrap();
}

/// The two signatures that such a verdict must check.
#[divan::bench]
fn two_raw_signatures() {
    MATERIAL.signatures[..2].iter().for_each(verify);
}

/// With the root's own signature, which the verifier checks once, when it is built.
#[divan::bench]
fn three_raw_signatures() {
    MATERIAL.signatures.iter().for_each(verify);
}

fn main() {
    LazyLock::force(&VERIFIER);
    divan::main();
}
