//! Verdicts about the public x509-limbo suite: ours beside webpki's and openssl's.
//!
//! `cargo run --example limbo -- limbo.json` prints one line for each case in which ours differs
//! from the suite's expectation, and totals. Cases about what a device verifier is not asked
//! (names of TLS peers, rules of the Web PKI) are judged all the same.

use rustls_pki_types::{CertificateDer, UnixTime};
use sealwright::types::unix_now;
use sealwright::x509::chain::{At, OfflineVerifier};
use sealwright::x509::pem;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::process::Command;
use std::str::FromStr;
use std::time::Duration;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

#[derive(Deserialize)]
struct Suite {
    testcases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    id: String,
    features: Vec<String>,
    validation_kind: String,
    trusted_certs: Vec<String>,
    untrusted_intermediates: Vec<String>,
    peer_certificate: String,
    validation_time: Option<String>,
    expected_result: String,
    max_chain_depth: Option<usize>,
    extended_key_usage: Vec<String>,
    #[serde(default)]
    crls: Vec<String>,
}

fn one(text: &str) -> Result<Vec<u8>, String> {
    pem::decode_all(pem::CERTIFICATE, text)?.pop().ok_or_else(|| "no certificate".into())
}

fn many(texts: &[String]) -> Result<Vec<Vec<u8>>, String> {
    texts.iter().map(|t| one(t)).collect()
}

impl Case {
    fn time(&self) -> i64 {
        let text = self.validation_time.as_deref().map(|t| t.get(..19).unwrap_or(t).to_owned() + "Z");
        text.map_or_else(unix_now, |t| der::DateTime::from_str(&t).unwrap().unix_duration().as_secs() as i64)
    }

    fn ours(&self) -> Result<(), String> {
        let mut builder = OfflineVerifier::builder();
        for root in many(&self.trusted_certs)? {
            builder = builder.root(root);
        }
        if let Some(depth) = self.max_chain_depth {
            builder = builder.max_intermediates(depth);
        }
        if self.extended_key_usage.iter().any(|u| u == "serverAuth") {
            builder = builder.extended_key_usage(const_oid::db::rfc5280::ID_KP_SERVER_AUTH);
        }
        let verifier = builder.build().map_err(|r| r.to_string())?;
        let chain = verifier.verify_chain(&one(&self.peer_certificate)?, &many(&self.untrusted_intermediates)?, At::Time(self.time()));
        chain.map(drop).map_err(|r| r.to_string())
    }

    fn webpki(&self) -> Result<(), String> {
        let roots: Vec<_> = many(&self.trusted_certs)?.into_iter().map(CertificateDer::from).collect();
        let anchors: Vec<_> = roots.iter().map(anchor_from_trusted_cert).collect::<Result<_, _>>().map_err(|e| e.to_string())?;
        let others: Vec<_> = many(&self.untrusted_intermediates)?.into_iter().map(CertificateDer::from).collect();
        let leaf = CertificateDer::from(one(&self.peer_certificate)?);
        let leaf = EndEntityCert::try_from(&leaf).map_err(|e| e.to_string())?;
        let time = UnixTime::since_unix_epoch(Duration::from_secs(self.time() as u64));
        let usage = if self.validation_kind == "SERVER" { KeyUsage::server_auth() } else { KeyUsage::client_auth() };
        let verdict = leaf.verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &anchors, &others, time, usage, None, None);
        verdict.map(drop).map_err(|e| e.to_string())
    }

    fn openssl(&self, dir: &std::path::Path) -> bool {
        let file = |name: &str, text: String| {
            std::fs::write(dir.join(name), text).unwrap();
            dir.join(name)
        };
        let mut command = Command::new("openssl");
        command.args(["verify", "-x509_strict", "-partial_chain", "-attime"]).arg(self.time().to_string());
        command.arg("-CAfile").arg(file("roots.pem", self.trusted_certs.join("\n")));
        if !self.untrusted_intermediates.is_empty() {
            command.arg("-untrusted").arg(file("others.pem", self.untrusted_intermediates.join("\n")));
        }
        command.arg(file("leaf.pem", self.peer_certificate.clone())).output().is_ok_and(|o| o.status.success())
    }
}

fn main() {
    let path = std::env::args().nth(1).expect("usage: limbo limbo.json");
    let suite: Suite = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut totals: BTreeMap<&str, usize> = BTreeMap::new();
    for case in suite.testcases.iter().filter(|c| c.crls.is_empty()) {
        let expected = case.expected_result == "SUCCESS";
        let ours = case.ours();
        let kind = match (expected, ours.is_ok()) {
            (true, true) => "good accepted",
            (false, false) => "bad refused",
            (false, true) => "BAD ACCEPTED",
            (true, false) => "good refused",
        };
        *totals.entry(kind).or_default() += 1;
        if expected != ours.is_ok() {
            let sign = |good: bool| if good { '+' } else { '-' };
            let features = case.features.join(" ");
            let others = format!("webpki {} openssl {}", sign(case.webpki().is_ok()), sign(case.openssl(dir.path())));
            println!("{kind} | {} | {others} | {features} | {}", case.id, ours.err().unwrap_or_default());
        }
    }
    println!("{totals:?}");
}
