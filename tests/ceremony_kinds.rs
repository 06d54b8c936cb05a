//! Cross, rotate, crl, restore-drill and destroy-key ceremonies, judged by openssl.

mod common;

use common::{Fixture, SOFTHSM, text};

fn head(kind: &str) -> String {
    format!("version = 1\nkind = \"{kind}\"\npurpose = \"test\"\ntitle = \"A TEST {kind}\"\n\n")
}

fn table(name: &str, serial: &str, certificate: &str, fingerprint: &str) -> String {
    format!(
        "[{name}]\ntoken = \"pkcs11:serial={serial}?module-path={SOFTHSM}\"\npin_file = \"pin\"\n\
         certificate = \"{certificate}\"\nfingerprint = \"{fingerprint}\"\n\n"
    )
}

fn outputs(name: &str, more: &str) -> String {
    format!("[outputs]\njournal = \"{name}.journal\"\ntranscript = \"{name}.html\"\n{more}\n")
}

/// SHA-256 of the SubjectPublicKeyInfo of a certificate, by openssl.
fn fingerprint(fixture: &Fixture, certificate: &str) -> String {
    let command = format!("openssl x509 -in {certificate} -noout -pubkey | openssl pkey -pubin -outform DER | sha256sum | cut -d' ' -f1");
    text(&fixture.command("sh").args(["-c", &command]).output().unwrap()).trim().to_owned()
}

#[test]
fn a_cross_certificate_lets_the_old_root_vouch_for_the_new_one() {
    let fixture = Fixture::new();
    let (old, new, factory) = (fixture.token("old"), fixture.token("new"), fixture.token("factory"));
    fixture.root_file(&old, |t| t);
    let old_key = fixture.ceremony("root.toml");
    fixture.root_file(&new, |t| t.replace("Root R1", "Root R2").replace("\"root.", "\"new."));
    let new_key = fixture.ceremony("root.toml");
    fixture.intermediate_file(&factory, &new, &new_key, |t| t.replace("\"root.pem\"", "\"new.pem\""));
    fixture.ceremony("intermediate.toml");

    let certificate =
        "[subject]\ncertificate = \"new.pem\"\n\n[certificate]\nnot_before = 2026-01-01T00:00:00Z\nnot_after = 2035-12-31T23:59:59Z\n\n";
    let file =
        head("cross") + &table("issuer", &old, "root.pem", &old_key) + certificate + &outputs("cross", "certificate = \"cross.pem\"");
    std::fs::write(fixture.path("cross.toml"), file).unwrap();
    assert_eq!(fixture.ceremony("cross.toml"), new_key);
    assert_eq!(fingerprint(&fixture, "cross.pem"), new_key);
    // A device that knows only the old root accepts what the new one issued.
    fixture.openssl(&["verify", "-x509_strict", "-CAfile", "root.pem", "-untrusted", "cross.pem", "factory.pem"]);
    fixture.openssl(&["verify", "-x509_strict", "-CAfile", "new.pem", "factory.pem"]);
    let transcript = std::fs::read_to_string(fixture.path("cross.html")).unwrap();
    assert!(transcript.contains("Example Devices TEST Root R2"));
}

#[test]
fn a_rotation_needs_an_overlap_and_a_name_of_its_own() {
    let fixture = Fixture::new();
    let (factory, _) = fixture.hierarchy();
    let root = fixture.serial("root");
    let root_key = fingerprint(&fixture, "root.pem");
    let second = fixture.token("second");
    let rotate = |change: &dyn Fn(String) -> String| {
        fixture.intermediate_file(&second, &root, &root_key, |t| {
            let t = t.replace("\"intermediate\"", "\"rotate\"").replace("Factory CA 1", "Factory CA 2").replace("\"factory", "\"second");
            change(
                t.replace("[issuer]", "[previous]\ncertificate = \"factory.pem\"\n\n[issuer]")
                    .replace("2026-01", "2029-01")
                    .replace("2030-12", "2033-12"),
            )
        });
        std::fs::rename(fixture.path("intermediate.toml"), fixture.path("rotate.toml")).unwrap();
        fixture.sealwright(&["ceremony", "rotate.toml", "--dry-run"])
    };
    let late = rotate(&|t| t.replace("2029-01", "2031-01").replace("2033-12", "2035-12"));
    assert!(text(&late).contains("a rotation needs an overlap"), "{}", text(&late));
    let same = rotate(&|t| t.replace("TEST Factory CA 2\" }", "TEST Factory CA 1\" }"));
    assert!(text(&same).contains("has the same subject"), "{}", text(&same));
    let good = rotate(&|t| t);
    assert!(text(&good).contains("stays valid beside this one until 2030-12-31T23:59:59Z"), "{}", text(&good));
    fixture.ceremony("rotate.toml");
    for file in ["factory.pem", "second.pem"] {
        fixture.openssl(&["verify", "-x509_strict", "-attime", "1900000000", "-CAfile", "root.pem", file]);
    }
    assert_ne!(factory, second);
}

#[test]
fn lists_are_accepted_by_openssl_and_never_shrink_or_go_back() {
    let fixture = Fixture::new();
    fixture.hierarchy();
    let (root, root_key) = (fixture.serial("root"), fingerprint(&fixture, "root.pem"));
    let serial = fixture.openssl(&["x509", "-in", "factory.pem", "-noout", "-serial"]).trim().replace("serial=", "").to_lowercase();
    let list = |n: u32, month: u32, more: &str| {
        let body = format!(
            "[crl]\nnumber = {n}\nthis_update = 2026-{month:02}-01T00:00:00Z\nnext_update = 2027-{month:02}-01T00:00:00Z\n{more}\n\n"
        );
        let file = head("crl")
            + &table("issuer", &root, "root.pem", &root_key)
            + &body
            + &outputs(&format!("crl{n}"), &format!("crl = \"{n}.crl\""));
        std::fs::write(fixture.path("crl.toml"), file).unwrap();
        fixture.sealwright(&["ceremony", "crl.toml"])
    };
    let entry = format!("revoked = [{{ serial = \"{serial}\", at = 2026-02-01T00:00:00Z, reason = \"ca-compromise\" }}]");
    let first = list(1, 1, "");
    assert_eq!(first.status.code(), Some(0), "{}", text(&first));
    let no_history = list(2, 3, &entry);
    assert!(text(&no_history).contains("has a predecessor"), "{}", text(&no_history));
    let second = list(2, 3, &format!("previous = \"1.crl\"\n{entry}"));
    assert_eq!(second.status.code(), Some(0), "{}", text(&second));
    let back = list(2, 4, &format!("previous = \"2.crl\"\n{entry}"));
    assert!(text(&back).contains("number must be over 2"), "{}", text(&back));
    let shrunk = list(3, 4, "previous = \"2.crl\"");
    assert!(text(&shrunk).contains("must stay on this one"), "{}", text(&shrunk));
    let early = list(3, 3, &format!("previous = \"2.crl\"\n{entry}"));
    assert!(text(&early).contains("this_update must be later"), "{}", text(&early));
    let future = list(3, 4, &format!("previous = \"2.crl\"\n{}", entry.replace("2026-02", "2026-05")));
    assert!(text(&future).contains("lies after thisUpdate"), "{}", text(&future));

    for n in [1, 2] {
        let out = fixture
            .command("openssl")
            .args(["crl", "-in", &format!("{n}.crl"), "-CAfile", "root.pem", "-noout", "-text"])
            .output()
            .unwrap();
        assert!(text(&out).contains("verify OK"), "{}", text(&out));
        assert!(text(&out).contains(&format!("X509v3 CRL Number: \n                {n}")), "{}", text(&out));
    }
    let check = |list: &str| {
        let args =
            ["verify", "-x509_strict", "-crl_check", "-attime", "1780000000", "-CAfile", "root.pem", "-CRLfile", list, "factory.pem"];
        text(&fixture.command("openssl").args(args).output().unwrap())
    };
    assert!(check("1.crl").contains("OK"), "{}", check("1.crl"));
    assert!(check("2.crl").contains("certificate revoked"), "{}", check("2.crl"));
}

#[test]
fn a_restored_token_proves_itself_and_a_destroyed_key_is_gone() {
    let fixture = Fixture::new();
    let (factory, key) = fixture.hierarchy();
    // Backup and restore of a software token: its directory.
    let copy = |from: &str, to: &str| {
        let from = fixture.path(from);
        assert!(fixture.command("cp").arg("-a").arg(from).arg(fixture.path(to)).status().unwrap().success());
    };
    copy("tokens", "backup");
    let drill = |name: &str| {
        let file = head("restore-drill")
            + &table("existing", &factory, "factory.pem", &key)
            + &outputs(name, &format!("request = \"{name}.csr\""));
        std::fs::write(fixture.path("drill.toml"), file).unwrap();
        fixture.sealwright(&["ceremony", "drill.toml"])
    };
    let roster = "ssh-keygen -q -t ed25519 -N '' -f alice && { printf 'alice '; cat alice.pub; } > operators";
    assert!(fixture.command("sh").args(["-c", roster]).status().unwrap().success());
    let destroy = head("destroy-key") + &table("existing", &factory, "factory.pem", &key) + &outputs("destroy", "");
    std::fs::write(fixture.path("destroy.toml"), &destroy).unwrap();
    let alone = fixture.sealwright(&["ceremony", "destroy.toml"]);
    assert!(text(&alone).contains("needs an [approvals] table"), "{}", text(&alone));
    let approvals = "\n[approvals]\nroster = \"operators\"\nrequired = 1\nsignatures = [\"plan.txt.sig\"]\n";
    std::fs::write(fixture.path("destroy.toml"), destroy + approvals).unwrap();
    let approve =
        "$SEALWRIGHT ceremony destroy.toml --dry-run > plan.txt && ssh-keygen -q -Y sign -n ceremony@sealwright -f alice plan.txt";
    let out = fixture.command("sh").args(["-c", approve]).env("SEALWRIGHT", env!("CARGO_BIN_EXE_sealwright")).output().unwrap();
    assert!(out.status.success(), "{}", text(&out));
    assert_eq!(fixture.ceremony("destroy.toml"), key);
    // Its journal knows that it is done; a second run asks nothing of the token.
    assert_eq!(fixture.ceremony("destroy.toml"), key);

    let gone = drill("gone");
    assert_eq!(gone.status.code(), Some(2));
    assert!(text(&gone).contains("no such key"), "{}", text(&gone));
    std::fs::remove_dir_all(fixture.path("tokens")).unwrap();
    copy("backup", "tokens");
    let back = drill("back");
    assert_eq!(back.status.code(), Some(0), "{}", text(&back));
    fixture.openssl(&["req", "-in", "back.csr", "-verify", "-noout"]);
    let shown = fixture.openssl(&["req", "-in", "back.csr", "-noout", "-subject", "-pubkey"]);
    assert!(shown.contains("restore drill") && shown.contains(&fixture.openssl(&["x509", "-in", "factory.pem", "-noout", "-pubkey"])));
}
