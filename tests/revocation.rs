//! CRLs in the chain verifier: full, delta and partitioned, beside `openssl verify -crl_check`.

mod pki;

use pki::{DEVICE, LONG, Pki, sealwright};
use sealwright::types::unix_now;
use sealwright::x509::chain::{At, OfflineVerifier, Rule, StatusDemand};

const OLD: (&str, &str) = ("20210101000000Z", "20210201000000Z");

fn verdict(pki: &Pki, crls: &[Vec<u8>], demand: StatusDemand, leaf: &str) -> Result<(), Rule> {
    let mut builder = OfflineVerifier::builder().root(pki.der("root")).intermediate(pki.der("sub")).status(demand);
    for crl in crls {
        builder = builder.crl(crl.clone());
    }
    let verifier = builder.build().map_err(|r| r.rule())?;
    verifier.verify_device_certificate(&pki.der(leaf), At::Time(unix_now())).map(drop).map_err(|r| r.rule())
}

#[test]
fn a_listed_device_is_refused_and_a_missing_status_only_on_demand() {
    let pki = Pki::three_tiers();
    pki.device("lost", "sub", DEVICE);
    let before = pki.crl("sub", "", LONG);
    pki.revoke("lost", "keyCompromise");
    let (old, sub, root) = (pki.crl("sub", "", OLD), pki.crl("sub", "", LONG), pki.crl("root", "", LONG));
    use StatusDemand::{Chain, Leaf, Optional};
    let revoked = Err(Rule::Revocation);
    for (crls, demand, device, lost) in [
        (vec![], Optional, Ok(()), Ok(())),
        (vec![], Leaf, revoked, revoked),
        (vec![before.clone()], Leaf, Ok(()), Ok(())),
        (vec![sub.clone()], Optional, Ok(()), revoked),
        (vec![sub.clone()], Leaf, Ok(()), revoked),
        (vec![before, sub.clone()], Leaf, Ok(()), revoked),
        // Out of date: what it lists counts, what it does not list proves nothing.
        (vec![old.clone()], Optional, Ok(()), revoked),
        (vec![old], Leaf, revoked, revoked),
        (vec![root.clone()], Optional, Ok(()), Ok(())),
        (vec![root.clone()], Leaf, revoked, revoked),
        (vec![sub.clone()], Chain, revoked, revoked),
        (vec![sub.clone(), root], Chain, Ok(()), revoked),
    ] {
        assert_eq!(verdict(&pki, &crls, demand, "device"), device, "{demand:?} with {}", crls.len());
        assert_eq!(verdict(&pki, &crls, demand, "lost"), lost, "{demand:?} with {}", crls.len());
    }
    // openssl and the command agree.
    pki.write("sub.crl", sealwright::x509::pem::encode("X509 CRL", &sub));
    for (leaf, good) in [("device", true), ("lost", false)] {
        let file = format!("{leaf}.pem");
        let args = ["verify", "-CAfile", "root.pem", "-untrusted", "sub.pem", "-crl_check", "-CRLfile", "sub.crl", &file];
        assert_eq!(pki.try_openssl(&args).status.success(), good, "{leaf}");
        let mut command = sealwright();
        command.args(["verify", "--status", "leaf", "--anchor"]).arg(pki.path("root.pem")).arg("--intermediates").arg(pki.path("sub.pem"));
        let out = pki::run(command.arg("--crl").arg(pki.path("sub.crl")).arg(pki.path(&file)));
        assert_eq!(out.status.code(), Some(if good { 0 } else { 1 }), "{leaf}");
    }
}

#[test]
fn no_flip_of_a_crl_frees_a_revoked_device() {
    let pki = Pki::three_tiers();
    pki.revoke("device", "superseded");
    let crl = pki.crl("sub", "", LONG);
    assert_eq!(verdict(&pki, std::slice::from_ref(&crl), StatusDemand::Leaf, "device"), Err(Rule::Revocation));
    let (root, sub, device) = (pki.der("root"), pki.der("sub"), pki.der("device"));
    let mut bad = crl.clone();
    for i in 0..crl.len() {
        bad[i] ^= 0x01;
        let builder = OfflineVerifier::builder().root(root.clone()).intermediate(sub.clone()).crl(bad.clone()).status(StatusDemand::Leaf);
        let verdict = builder.build().and_then(|v| v.verify_device_certificate(&device, At::Time(unix_now())));
        assert!(verdict.is_err(), "byte {i}");
        bad[i] = crl[i];
    }
    pki.root("stranger", "/O=Acme/CN=Test sub");
    let forged = pki.crl("stranger", "", LONG);
    assert_eq!(verdict(&pki, &[forged], StatusDemand::Optional, "device"), Ok(()), "not the issuer's key: as if absent");
}

#[test]
fn a_delta_adds_to_its_base_and_lifts_a_hold() {
    let pki = Pki::three_tiers();
    pki.device("held", "sub", DEVICE);
    pki.device("late", "sub", DEVICE);
    pki.revoke("held", "certificateHold");
    let base = pki.crl("sub", "", LONG);
    // Base number 0x1000; the delta carries 0x1001. openssl's database forgets the hold by hand.
    let index = std::fs::read_to_string(pki.path("index.txt")).unwrap().replace("certificateHold", "removeFromCRL");
    pki.write("index.txt", index);
    pki.revoke("late", "keyCompromise");
    let delta = pki.crl("sub", "2.5.29.27=critical,DER:02021000", LONG);
    let orphan = pki.crl("sub", "2.5.29.27=critical,DER:02021FFF", LONG);
    let revoked = Err(Rule::Revocation);
    let check = |crls: &[&Vec<u8>], name| verdict(&pki, &crls.iter().map(|c| (*c).clone()).collect::<Vec<_>>(), StatusDemand::Leaf, name);
    assert_eq!(check(&[&base], "held"), revoked);
    assert_eq!(check(&[&base], "late"), Ok(()));
    assert_eq!(check(&[&base, &delta], "held"), Ok(()));
    assert_eq!(check(&[&base, &delta], "late"), revoked);
    assert_eq!(check(&[&delta], "device"), revoked, "a delta alone says nothing about who is not in it");
    assert_eq!(check(&[&base, &orphan], "held"), revoked, "a delta for a later base does not apply");
}

#[test]
fn a_partition_speaks_only_for_its_own_devices() {
    let pki = Pki::three_tiers();
    let point = |n: u8| format!("crlDistributionPoints=URI:http://crl.example/{n}\n");
    pki.device("first", "sub", &format!("{DEVICE}{}", point(1)));
    pki.device("second", "sub", &format!("{DEVICE}{}", point(2)));
    let scope = |n: u8, more: &str| format!("issuingDistributionPoint=critical,@idp\n[idp]\nfullname=URI:http://crl.example/{n}\n{more}");
    let one = pki.crl("sub", &scope(1, ""), LONG);
    let check = |crl: &Vec<u8>, name| verdict(&pki, std::slice::from_ref(crl), StatusDemand::Leaf, name);
    assert_eq!(check(&one, "first"), Ok(()));
    assert_eq!(check(&one, "second"), Err(Rule::Revocation), "another partition's status is unknown");
    assert_eq!(check(&one, "device"), Err(Rule::Revocation), "no partition is named in it");
    let authorities = pki.crl("sub", &scope(1, "onlyCA=TRUE\n"), LONG);
    assert_eq!(check(&authorities, "first"), Err(Rule::Revocation), "a CRL of authorities");
    let users = pki.crl("sub", &scope(1, "onlyuser=TRUE\n"), LONG);
    assert_eq!(check(&users, "first"), Ok(()));
    for unhandled in ["indirectCRL=TRUE\n", "onlysomereasons=keyCompromise\n", "onlyAA=TRUE\n"] {
        assert_eq!(check(&pki.crl("sub", &scope(1, unhandled), LONG), "first"), Err(Rule::Extension), "{unhandled}");
    }
    let unknown = pki.crl("sub", "1.2.3.4=critical,DER:0500", LONG);
    assert_eq!(check(&unknown, "device"), Err(Rule::Extension));
}
