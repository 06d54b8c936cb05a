//! CRLs and OCSP answers against openssl, and against hostile input.

use p256::ecdsa::signature::Signer;
use p256::pkcs8::EncodePrivateKey;
use sealwright::types::{Serial, unix_now};
use sealwright::x509::status::crl::{Head, Revoked, Scope, SignedCrl, TbsCrl};
use sealwright::x509::status::ocsp::{CertId, Failure, Request, ResponseData, Status, Times};
use sealwright::x509::status::{Reason, StatusError};
use sealwright::x509::tbs::Issuer;
use std::path::PathBuf;
use std::process::{Command, Output};

/// An issuer with a key in memory, and files for openssl.
struct Authority {
    dir: tempfile::TempDir,
    key: p256::ecdsa::SigningKey,
    issuer: Issuer,
    rcgen: rcgen::CertifiedIssuer<'static, rcgen::KeyPair>,
}

fn fresh_key() -> (p256::ecdsa::SigningKey, rcgen::KeyPair) {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).unwrap();
    let key = p256::ecdsa::SigningKey::from_slice(&bytes).unwrap();
    let pair = rcgen::KeyPair::try_from(key.to_pkcs8_der().unwrap().as_bytes()).unwrap();
    (key, pair)
}

impl Authority {
    fn new() -> Self {
        let (key, pair) = fresh_key();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, "root");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign, rcgen::KeyUsagePurpose::CrlSign];
        let rcgen = rcgen::CertifiedIssuer::self_signed(params, pair).unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("root.pem"), rcgen.pem()).unwrap();
        Self { issuer: Issuer::from_certificate(rcgen.der()).unwrap(), rcgen, dir, key }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn leaf(&self, name: &str, serial: Serial, change: impl FnOnce(&mut rcgen::CertificateParams)) -> (p256::ecdsa::SigningKey, Vec<u8>) {
        let (key, pair) = fresh_key();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.serial_number = Some(rcgen::SerialNumber::from(serial.as_bytes().to_vec()));
        params.use_authority_key_identifier_extension = true;
        change(&mut params);
        let cert = params.signed_by(&pair, &self.rcgen).unwrap();
        std::fs::write(self.path(&format!("{name}.pem")), cert.pem()).unwrap();
        (key, cert.der().to_vec())
    }

    fn sign(&self, crl: &TbsCrl) -> Vec<u8> {
        let signature: p256::ecdsa::DerSignature = self.key.sign(crl.der());
        let mut out = Vec::new();
        crl.write_signed(&self.issuer, signature.as_bytes(), &mut out).unwrap();
        out
    }

    fn openssl(&self, args: &[&str]) -> String {
        let out: Output = Command::new("openssl").args(args).current_dir(self.dir.path()).output().unwrap();
        format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
    }
}

fn serials(count: usize) -> Vec<Serial> {
    let mut list: Vec<Serial> = (0..count).map(|_| Serial::generate().unwrap()).collect();
    list.sort();
    list
}

fn head(number: u64, scope: Scope) -> Head {
    Head::new(number, unix_now() - 60, unix_now() + 86_400, scope, None).unwrap()
}

#[test]
fn openssl_accepts_full_delta_and_partitioned_lists_and_the_revocations_in_them() {
    let ca = Authority::new();
    let list = serials(20);
    ca.leaf("bad", list[3], |_| ());
    ca.leaf("good", Serial::generate().unwrap(), |_| ());
    let reasons = [Reason::KeyCompromise, Reason::Unspecified, Reason::Superseded, Reason::CertificateHold];
    let revoked =
        |at: i64| list.iter().zip(reasons.into_iter().cycle()).map(move |(serial, reason)| Revoked { serial: *serial, at, reason });
    for (name, scope) in [("full", Scope::Full), ("delta", Scope::Delta(6)), ("part", Scope::Partition("http://crl.example/7.crl".into()))]
    {
        let crl = TbsCrl::build(&ca.issuer, &head(7, scope.clone()), revoked(unix_now() - 100)).unwrap();
        let der = ca.sign(&crl);
        std::fs::write(ca.path(name), &der).unwrap();
        let text = ca.openssl(&["crl", "-inform", "DER", "-in", name, "-noout", "-text", "-CAfile", "root.pem"]);
        assert!(text.contains("verify OK"), "{text}");
        assert_eq!(text.matches("Serial Number:").count(), 20, "{text}");
        assert_eq!(text.matches("CRL Reason Code").count(), 15);
        assert_eq!(text.contains("Delta CRL Indicator: critical"), name == "delta", "{text}");
        assert_eq!(text.contains("URI:http://crl.example/7.crl"), name == "part", "{text}");
        let read = SignedCrl::open(&der, &ca.issuer).unwrap();
        assert_eq!((read.number(), read.base(), read.entries().count()), (7, (name == "delta").then_some(6), 20));
        assert_eq!(read.find(list[3].as_bytes()).unwrap().unwrap().reason, Reason::CertificateHold);
        assert_eq!(read.find(&[1; 20]).unwrap(), None);
    }
    ca.openssl(&["crl", "-inform", "DER", "-in", "full", "-out", "full.pem"]);
    let verdict = |leaf: &str| ca.openssl(&["verify", "-crl_check", "-CAfile", "root.pem", "-CRLfile", "full.pem", leaf]);
    assert!(verdict("bad.pem").contains("certificate revoked"), "{}", verdict("bad.pem"));
    assert!(verdict("good.pem").contains("good.pem: OK"), "{}", verdict("good.pem"));
}

#[test]
fn an_empty_list_has_no_list_in_it() {
    let ca = Authority::new();
    let der = ca.sign(&TbsCrl::build(&ca.issuer, &head(1, Scope::Full), []).unwrap());
    std::fs::write(ca.path("crl"), &der).unwrap();
    let text = ca.openssl(&["crl", "-inform", "DER", "-in", "crl", "-noout", "-text", "-CAfile", "root.pem"]);
    assert!(text.contains("verify OK") && text.contains("No Revoked Certificates"), "{text}");
    assert_eq!(SignedCrl::open(&der, &ca.issuer).unwrap().entries().count(), 0);
}

#[test]
fn no_flipped_or_cut_list_is_read() {
    let ca = Authority::new();
    let entries = serials(3).into_iter().map(|serial| Revoked { serial, at: 1_700_000_000, reason: Reason::KeyCompromise });
    let der = ca.sign(&TbsCrl::build(&ca.issuer, &head(1, Scope::Full), entries).unwrap());
    for at in 0..der.len() {
        let mut bad = der.clone();
        bad[at] ^= 0x10;
        assert!(SignedCrl::open(&bad, &ca.issuer).is_err(), "byte {at}");
        assert!(SignedCrl::open(&der[..at], &ca.issuer).is_err(), "cut at {at}");
    }
    assert!(SignedCrl::open(&der, &Authority::new().issuer).is_err());
}

#[test]
fn rules_of_lists_are_enforced() {
    let ca = Authority::new();
    let clause = |r: Result<Head, StatusError>| match r {
        Err(StatusError::Rule { clause, .. }) => clause,
        other => panic!("{other:?}"),
    };
    let before = Head::new(5, 1000, 2000, Scope::Full, None).unwrap();
    assert_eq!(clause(Head::new(5, 1000, 2000, Scope::Full, Some(&before))), "RFC 5280 §5.2.3");
    assert_eq!(clause(Head::new(6, 999, 2000, Scope::Full, Some(&before))), "I5");
    assert_eq!(clause(Head::new(6, 1000, 1000, Scope::Full, Some(&before))), "RFC 5280 §5.1.2.5");
    assert_eq!(clause(Head::new(6, 1000, 2000, Scope::Delta(6), Some(&before))), "RFC 5280 §5.2.4");
    assert!(Head::new(6, 1000, 2000, Scope::Delta(5), Some(&before)).is_ok());
    let list = serials(2);
    let entry = |i: usize, reason| Revoked { serial: list[i], at: 1_700_000_000, reason };
    let build = |scope, entries: Vec<Revoked>| TbsCrl::build(&ca.issuer, &head(7, scope), entries);
    assert!(build(Scope::Full, vec![entry(0, Reason::KeyCompromise), entry(0, Reason::KeyCompromise)]).is_err());
    assert!(build(Scope::Full, vec![entry(1, Reason::KeyCompromise), entry(0, Reason::KeyCompromise)]).is_err());
    assert!(build(Scope::Full, vec![entry(0, Reason::RemoveFromCrl)]).is_err());
    assert!(build(Scope::Delta(6), vec![entry(0, Reason::RemoveFromCrl)]).is_ok());
    let crl = build(Scope::Full, vec![entry(0, Reason::KeyCompromise)]).unwrap();
    assert!(crl.write_signed(&ca.issuer, &[0x30, 6, 2, 1, 1, 2, 1, 1], &mut Vec::new()).is_err());
}

/// A delegated responder: EKU OCSPSigning and id-pkix-ocsp-nocheck (RFC 6960 §4.2.2.2).
fn responder(ca: &Authority) -> (p256::ecdsa::SigningKey, Vec<u8>, Issuer) {
    let (key, der) = ca.leaf("responder", Serial::generate().unwrap(), |params| {
        params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::OcspSigning];
        params.custom_extensions = vec![rcgen::CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 48, 1, 5], vec![5, 0])];
    });
    let issuer = Issuer::from_certificate(&der).unwrap();
    (key, der, issuer)
}

#[test]
fn openssl_accepts_answers_of_a_delegated_responder_with_its_nonce() {
    let ca = Authority::new();
    let (key, der, who) = responder(&ca);
    let serial = Serial::generate().unwrap();
    ca.leaf("device", serial, |_| ());
    let judge = ["ocsp", "-reqin", "req", "-no_nonce", "-respin", "resp", "-resp_text", "-CAfile", "root.pem"];
    for hash in ["-sha1", "-sha256"] {
        ca.openssl(&["ocsp", hash, "-issuer", "root.pem", "-cert", "device.pem", "-nonce", "-reqout", "req"]);
        let request = Request::from_der(&std::fs::read(ca.path("req")).unwrap()).unwrap();
        assert_eq!(request.questions().len(), 1);
        assert!(request.nonce().is_some_and(|n| n.len() >= 16));
        let id = request.questions()[0].clone();
        assert!(id.is_of(&ca.issuer) && !id.is_of(&who));
        assert_eq!(id.serial(), serial.as_bytes());
        assert_eq!(id, CertId::new(&ca.issuer, serial.as_bytes(), hash == "-sha256").unwrap());
        let now = unix_now();
        let times = Times { produced_at: now, this_update: now - 10, next_update: now + 3600 };
        let revoked = Status::Revoked { at: now - 1000, reason: Reason::KeyCompromise };
        for (status, words) in
            [(Status::Good, "Cert Status: good"), (revoked, "Revocation Reason: keyCompromise"), (Status::Unknown, "Cert Status: unknown")]
        {
            let data = ResponseData::build(&who, &[(id.clone(), status)], times, request.nonce()).unwrap();
            let signature: p256::ecdsa::DerSignature = key.sign(data.der());
            let response = data.attach(&who, &der, signature.as_bytes()).unwrap();
            std::fs::write(ca.path("resp"), &response).unwrap();
            let text = ca.openssl(&judge);
            assert!(text.contains("Response verify OK") && text.contains(words) && !text.contains("Nonce Verify error"), "{text}");
            assert!(data.attach(&who, &der, &[0x30, 6, 2, 1, 1, 2, 1, 1]).is_err());
        }
        let data = ResponseData::build(&who, &[(id, Status::Good)], times, Some(&[7; 16])).unwrap();
        let signature: p256::ecdsa::DerSignature = key.sign(data.der());
        std::fs::write(ca.path("resp"), data.attach(&who, &der, signature.as_bytes()).unwrap()).unwrap();
        let text = ca.openssl(&judge);
        assert!(text.contains("Nonce Verify error"), "{text}");
    }
    std::fs::write(ca.path("resp"), Failure::TryLater.der()).unwrap();
    assert!(ca.openssl(&["ocsp", "-respin", "resp", "-noverify"]).contains("trylater"));
}

#[test]
fn hostile_requests_are_refused() {
    let ca = Authority::new();
    ca.leaf("device", Serial::generate().unwrap(), |_| ());
    ca.openssl(&["ocsp", "-issuer", "root.pem", "-cert", "device.pem", "-nonce", "-reqout", "req"]);
    let good = std::fs::read(ca.path("req")).unwrap();
    for at in 0..good.len() {
        assert!(Request::from_der(&good[..at]).is_err(), "cut at {at}");
        let mut bad = good.clone();
        bad[at] ^= 0x80;
        let _ = Request::from_der(&bad);
    }
    assert!(Request::from_der(&[&good[..], &[0]].concat()).is_err());
    assert!(Request::from_der(&vec![0x30; 5000]).is_err());
    // RFC 9654 §2.1: a nonce of no octets, or over 128, is malformed.
    let request = |octets: usize| {
        let tlv = |tag: u8, body: Vec<u8>| match body.len() {
            n if n < 128 => [vec![tag, n as u8], body].concat(),
            n if n < 256 => [vec![tag, 0x81, n as u8], body].concat(),
            n => [vec![tag, 0x82, (n >> 8) as u8, n as u8], body].concat(),
        };
        let oid = vec![0x06, 9, 0x2b, 6, 1, 5, 5, 7, 48, 1, 2];
        let extension = tlv(0x30, [oid, tlv(0x04, tlv(0x04, vec![9; octets]))].concat());
        let question = {
            let id = CertId::new(&ca.issuer, &[0x41; 20], false).unwrap();
            tlv(0x30, tlv(0x30, der::Encode::to_der(&id).unwrap()))
        };
        tlv(0x30, tlv(0x30, [question, tlv(0xa2, tlv(0x30, extension))].concat()))
    };
    assert_eq!(Request::from_der(&request(16)).unwrap().nonce(), Some(&[9; 16][..]));
    assert!(Request::from_der(&request(128)).is_ok());
    assert!(Request::from_der(&request(0)).is_err());
    assert!(Request::from_der(&request(129)).is_err());
}
