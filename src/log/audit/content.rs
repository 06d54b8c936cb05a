//! What the entries say, held against each other and against the issuers.

use super::{Report, Yardstick};
use crate::log::entry::{CrlFacts, Entry, Event};
use crate::types::Fingerprint;
use crate::x509::keys;
use crate::x509::tbs::{Issuer, seconds};
use der::{Decode, Encode, Reader, SliceReader};
use sha2::{Digest, Sha256};
use std::collections::{HashMap, HashSet};
use x509_cert::Certificate;

/// Entries given to one thread at a time.
const SHARE: usize = 64;

/// How far entries may stand out of order, in milliseconds: entries are timed when they are made
/// and numbered when they are committed, many at a time.
const SLACK_MS: u64 = 10_000;

/// What is remembered from entry to entry.
pub(super) struct Content<'a> {
    yardstick: &'a Yardstick,
    latest: u64,
    policy: Option<[u8; 32]>,
    serials: HashSet<[u8; 32]>,
    crls: HashMap<Fingerprint, CrlFacts>,
    signed: HashSet<[u8; 32]>,
}

/// What one entry shows by itself; computed on any thread.
struct Examined {
    entry: Option<Entry>,
    certificate: Option<Facts>,
    findings: Vec<(&'static str, String)>,
}

/// What the auditor keeps of a certificate.
struct Facts {
    /// SHA-256 of issuer name and serial number: unique for ever (RFC 5280 §4.1.2.2).
    identity: [u8; 32],
    tbs_digest: [u8; 32],
    verified: bool,
}

impl<'a> Content<'a> {
    pub(super) fn new(yardstick: &'a Yardstick) -> Self {
        Self { yardstick, latest: 0, policy: None, serials: HashSet::new(), crls: HashMap::new(), signed: HashSet::new() }
    }

    /// SHA-256 of the to-be-signed parts of all certificates and CRLs seen.
    pub(super) fn signed(&self) -> &HashSet<[u8; 32]> {
        &self.signed
    }

    /// Checks consecutive entries, the first of which has index `first`.
    pub(super) fn check(&mut self, first: u64, entries: &[Vec<u8>], report: &mut Report) {
        let issuers = &self.yardstick.issuers;
        let each = |share: &[Vec<u8>]| share.iter().map(|e| examine(e, issuers)).collect::<Vec<_>>();
        // Signatures are the cost; without issuers there are none and threads would only add to it.
        let examined = if issuers.is_empty() {
            each(entries)
        } else {
            std::thread::scope(|scope| {
                let threads: Vec<_> = entries.chunks(SHARE).map(|share| scope.spawn(move || each(share))).collect();
                threads.into_iter().flat_map(|t| t.join().unwrap_or_default()).collect()
            })
        };
        if examined.len() != entries.len() {
            report.find(Some(first), "entry", "the entries could not be examined");
        }
        for (index, one) in (first..).zip(examined) {
            for (rule, reason) in one.findings {
                report.find(Some(index), rule, reason);
            }
            let Some(entry) = one.entry else { continue };
            for (rule, reason) in self.follow(&entry, one.certificate.as_ref()) {
                report.find(Some(index), rule, reason);
            }
            *report.kinds.entry(entry.event().name()).or_default() += 1;
            if let (Event::Issued(_), Some(policy)) = (entry.event(), entry.policy()) {
                *report.policies.entry(*policy).or_default() += 1;
            }
            report.signatures_verified += u64::from(one.certificate.is_some_and(|c| c.verified));
            report.times = Some((report.times.map_or(entry.time_ms(), |t| t.0), entry.time_ms()));
        }
    }

    /// Checks an entry against those before it.
    fn follow(&mut self, entry: &Entry, certificate: Option<&Facts>) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        if matches!(entry.event(), Event::ClockStepped(_)) {
            self.latest = entry.time_ms();
        } else if entry.time_ms().saturating_add(SLACK_MS) < self.latest {
            found.push(("time", format!("its time {} lies before {}, that of an earlier entry", entry.time_ms(), self.latest)));
        }
        self.latest = self.latest.max(entry.time_ms());
        if let Some(facts) = certificate {
            if !self.serials.insert(facts.identity) {
                found.push(("serial", "another certificate with the same issuer and serial number is logged".into()));
            }
            self.signed.insert(facts.tbs_digest);
        }
        match entry.event() {
            // A service that starts states the policy that it starts with.
            Event::PolicyActivated(_) | Event::Started(_) => self.policy = entry.policy().copied(),
            Event::Issued(_) if self.policy.is_none() || entry.policy() != self.policy.as_ref() => {
                found.push(("policy", "it was issued under a policy that was not the one in force".into()));
            }
            Event::CrlSigned(crl) => {
                found.extend(self.follow_crl(crl).map(|reason| ("crl", reason)));
                self.signed.insert(crl.digest);
            }
            _ => {}
        }
        found
    }

    /// I5: numbers and times of an issuer's CRLs only rise.
    fn follow_crl(&mut self, crl: &CrlFacts) -> Option<String> {
        let before = self.crls.insert(crl.issuer, *crl);
        if crl.next_update <= crl.this_update {
            return Some("nextUpdate is not later than thisUpdate".into());
        }
        let before = before?;
        if crl.number <= before.number {
            return Some(format!("CRL number {} follows {}", crl.number, before.number));
        }
        (crl.this_update < before.this_update).then(|| "thisUpdate lies before that of the CRL before it".into())
    }
}

fn examine(leaf: &[u8], issuers: &[Issuer]) -> Examined {
    let entry = match Entry::decode(leaf) {
        Ok(entry) => entry,
        Err(e) => return Examined { entry: None, certificate: None, findings: vec![("entry", e.to_string())] },
    };
    let mut findings = Vec::new();
    let certificate =
        entry.event().certificate().and_then(|der| match inspect(der, issuers, matches!(entry.event(), Event::CeremonyImported(_))) {
            Ok(facts) => Some(facts),
            Err((rule, reason)) => {
                findings.push((rule, reason));
                None
            }
        });
    Examined { entry: Some(entry), certificate, findings }
}

/// Reads a certificate and verifies it with an issuer of its issuer's name; only a root that a
/// ceremony brought may be its own issuer.
fn inspect(der: &[u8], issuers: &[Issuer], may_be_root: bool) -> Result<Facts, (&'static str, String)> {
    let malformed = |e: der::Error| ("certificate", format!("not a DER certificate: {e}"));
    let cert = Certificate::from_der(der).map_err(malformed)?;
    let mut reader = SliceReader::new(der).map_err(malformed)?;
    der::Header::decode(&mut reader).map_err(malformed)?;
    let tbs_der = reader.tlv_bytes().map_err(malformed)?;
    let tbs = cert.tbs_certificate();
    let name = tbs.issuer().to_der().map_err(malformed)?;
    let serial = tbs.serial_number().as_bytes();
    let identity = Sha256::new().chain_update((name.len() as u64).to_be_bytes()).chain_update(&name).chain_update(serial).finalize().into();
    let facts = Facts { identity, tbs_digest: Sha256::digest(tbs_der).into(), verified: !issuers.is_empty() };
    if issuers.is_empty() {
        return Ok(facts);
    }
    let own = Issuer::from_certificate(der).ok().filter(|_| may_be_root);
    let mut candidates = issuers.iter().chain(&own).filter(|i| i.name() == tbs.issuer()).peekable();
    if candidates.peek().is_none() {
        return Err(("issuer", format!("none of the given issuers is '{}'", tbs.issuer())));
    }
    let signature = cert.signature().as_bytes().unwrap_or_default();
    let algorithm = keys::signature_algorithm(cert.signature_algorithm()).map_err(|e| ("signature", e.to_string()))?;
    let good = candidates.find(|i| keys::verify(i.spki_der(), algorithm, tbs_der, signature).is_ok());
    let issuer = good.ok_or_else(|| ("signature", "the issuer's signature does not verify".to_owned()))?;
    let (from, own) = (seconds(&tbs.validity().not_before), issuer.validity());
    if from < own.not_before() || from > own.not_after() {
        return Err(("validity", "it begins outside the validity of its issuer".into()));
    }
    Ok(facts)
}
