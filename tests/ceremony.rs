//! Root and intermediate ceremonies on SoftHSM, judged by openssl and by what is on disk.

mod common;

use common::{Fixture, SOFTHSM, SPY, expect_good, text};

#[test]
fn root_and_intermediate_make_a_chain_that_openssl_accepts_strictly() {
    let fixture = Fixture::new();
    let (_, fingerprint) = fixture.hierarchy();
    let verified = fixture.openssl(&["verify", "-x509_strict", "-CAfile", "root.pem", "factory.pem"]);
    assert!(verified.contains("factory.pem: OK"), "{verified}");
    fixture.openssl(&["verify", "-x509_strict", "-CAfile", "root.pem", "root.pem"]);
    fixture.openssl(&["req", "-in", "factory.csr", "-verify", "-noout"]);
    let shown = fixture.openssl(&["x509", "-in", "factory.pem", "-noout", "-text"]);
    for line in ["CA:TRUE, pathlen:0", "Not After : Dec 31 23:59:59 2030 GMT", "URI:http://pki.example.com/root-r1.crl"] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    let chain = std::fs::read_to_string(fixture.path("factory-chain.pem")).unwrap();
    let parts = ["factory.pem", "root.pem"].map(|f| std::fs::read_to_string(fixture.path(f)).unwrap());
    assert_eq!(chain, parts.concat());
    let transcript = std::fs::read_to_string(fixture.path("factory.html")).unwrap();
    let spaced: Vec<&str> = fingerprint.as_bytes().chunks(8).map(|c| std::str::from_utf8(c).unwrap()).collect();
    for words in [spaced.join(" ").as_str(), "CKA_NEVER_EXTRACTABLE", "TEST. Nothing made here", &parts[0]] {
        assert!(transcript.contains(words), "{words}");
    }
    assert!(!transcript.contains("<script") && !transcript.contains("http-equiv"));
}

#[test]
fn every_algorithm_makes_a_root() {
    for algorithm in ["p256", "rsa3072", "ed25519"] {
        let fixture = Fixture::new();
        let serial = fixture.token("root");
        fixture.root_file(&serial, |t| t.replace("\"p384\"", &format!("\"{algorithm}\"")));
        fixture.ceremony("root.toml");
        fixture.openssl(&["verify", "-x509_strict", "-check_ss_sig", "-CAfile", "root.pem", "root.pem"]);
    }
}

#[test]
fn the_plan_is_the_same_everywhere_and_its_hash_is_sha256sum() {
    let fixture = Fixture::new();
    fixture.root_file("0011223344556677", |t| t);
    let out = fixture.sealwright(&["ceremony", "root.toml", "--dry-run"]);
    let plan = expect_good(out.clone());
    std::fs::write(fixture.path("plan.txt"), &plan).unwrap();
    let sum = fixture.command("sha256sum").arg("plan.txt").output().unwrap();
    let sum = text(&sum).split(' ').next().unwrap().to_owned();
    assert!(String::from_utf8_lossy(&out.stderr).contains(&sum));
    for line in ["CN = Example Devices TEST Root R1", "CKA_EXTRACTABLE false", "NIST CURVE: P-384", "root.html"] {
        assert!(plan.contains(line), "{line}: {plan}");
    }
    let other = Fixture::new();
    other.root_file("0011223344556677", |t| t);
    assert_eq!(expect_good(other.sealwright(&["ceremony", "root.toml", "--dry-run"])), plan);
    assert_eq!(std::fs::read_dir(fixture.path("tokens")).unwrap().count(), 0);
}

#[test]
fn a_second_run_completes_nothing_and_changes_nothing() {
    let fixture = Fixture::new();
    let serial = fixture.token("root");
    fixture.root_file(&serial, |t| t);
    let first = fixture.ceremony("root.toml");
    let before = std::fs::read(fixture.path("root.pem")).unwrap();
    let transcript = std::fs::read(fixture.path("root.html")).unwrap();
    assert_eq!(fixture.ceremony("root.toml"), first);
    assert_eq!(std::fs::read(fixture.path("root.pem")).unwrap(), before);
    assert_eq!(std::fs::read(fixture.path("root.html")).unwrap(), transcript);
    fixture.root_file(&serial, |t| t.replace("2050", "2049"));
    let changed = fixture.sealwright(&["ceremony", "root.toml"]);
    assert_eq!(changed.status.code(), Some(2));
    assert!(text(&changed).contains("belongs to plan"), "{}", text(&changed));
}

#[test]
fn an_existing_label_or_output_stops_it_before_any_write() {
    let fixture = Fixture::new();
    let serial = fixture.token("root");
    fixture.root_file(&serial, |t| t);
    std::fs::write(fixture.path("root.pem"), "mine").unwrap();
    let out = fixture.sealwright(&["ceremony", "root.toml"]);
    assert_eq!(out.status.code(), Some(2));
    assert!(text(&out).contains("root.pem") && text(&out).contains("overwritten"), "{}", text(&out));
    assert_eq!(std::fs::read_to_string(fixture.path("root.pem")).unwrap(), "mine");
    std::fs::remove_file(fixture.path("root.pem")).unwrap();

    let made = fixture
        .pkcs11_tool("root", &["--keypairgen", "--key-type", "EC:prime256v1", "--label", "Example Devices TEST Root R1", "--id", "01"]);
    assert!(made.status.success(), "{}", text(&made));
    fixture.root_file(&serial, |t| t.replace(SOFTHSM, SPY));
    let out = fixture
        .command(env!("CARGO_BIN_EXE_sealwright"))
        .args(["ceremony", "root.toml"])
        .env("PKCS11SPY", SOFTHSM)
        .env("PKCS11SPY_OUTPUT", fixture.path("spy"))
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(2));
    assert!(text(&out).contains("key exists"), "{}", text(&out));
    let log = std::fs::read_to_string(fixture.path("spy")).unwrap();
    assert!(log.contains("C_Login") && !log.contains("C_GenerateKeyPair") && !log.contains("C_DestroyObject"), "{log}");
    assert!(!fixture.path("root.journal").exists());
}

#[test]
fn a_production_ceremony_needs_approvals_and_refuses_a_software_token() {
    let fixture = Fixture::new();
    let serial = fixture.token("root");
    let production = |t: String| t.replace("purpose = \"test\"", "purpose = \"production\"").replace("TEST ", "");
    fixture.root_file(&serial, production);
    let out = fixture.sealwright(&["ceremony", "root.toml", "--dry-run"]);
    assert!(text(&out).contains("needs an [approvals] table"), "{}", text(&out));
    fixture
        .root_file(&serial, |t| production(t) + "\n[approvals]\nroster = \"operators\"\nrequired = 1\nsignatures = [\"plan.txt.sig\"]\n");
    let approve = "ssh-keygen -q -t ed25519 -N '' -f alice && { printf 'alice '; cat alice.pub; } > operators \
                   && $SEALWRIGHT ceremony root.toml --dry-run > plan.txt && ssh-keygen -q -Y sign -n ceremony@sealwright -f alice plan.txt";
    let out = fixture.command("sh").args(["-c", approve]).env("SEALWRIGHT", env!("CARGO_BIN_EXE_sealwright")).output().unwrap();
    assert!(out.status.success(), "{}", text(&out));
    let out = fixture.sealwright(&["ceremony", "root.toml"]);
    assert_eq!(out.status.code(), Some(2));
    assert!(text(&out).contains("software token"), "{}", text(&out));
    assert!(!fixture.path("root.journal").exists());
}
