//! The auditor: reads a log directory as if everyone who wrote it had lied.
//!
//! [`audit`] recomputes the whole tree from the entries, compares every file with it, and checks
//! what the entries say: certificates against their issuers, serial numbers, order of time,
//! policy in force, CRL numbers. Every discrepancy names the index of the entry concerned.

mod content;
mod files;
mod page;
mod tree;

pub use page::page;

use super::LogError;
use super::checkpoint::SignedCheckpoint;
use super::reader::TileReader;
use super::vkey::VerifierKey;
use crate::x509::tbs::Issuer;
use std::collections::{BTreeMap, HashSet};

/// Most findings kept; the first ones matter.
pub const MAX_FINDINGS: usize = 1000;

/// What an audit is held against, beside the log itself.
#[derive(Clone, Debug, Default)]
pub struct Yardstick {
    /// Issuers whose signatures on logged certificates are checked; none: signatures are not checked.
    pub issuers: Vec<Issuer>,
    /// A checkpoint that the auditor kept from last time; the log must extend it.
    pub since: Option<SignedCheckpoint>,
    /// SHA-256 of every message that the issuing keys signed, by the token's own record. Each one
    /// must be a logged certificate's or CRL's to-be-signed part.
    pub signed_digests: Option<Vec<[u8; 32]>>,
}

/// One discrepancy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// Index of the first entry concerned, when it can be told.
    pub index: Option<u64>,
    /// Name of the rule, e.g. `tree`, `serial`, `signature`.
    pub rule: &'static str,
    /// What is wrong.
    pub reason: String,
}

/// What an audit found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Name of the log.
    pub origin: String,
    /// Entries under the signed checkpoint.
    pub size: u64,
    /// Signed root.
    pub root: [u8; 32],
    /// Entries of each kind, by name.
    pub kinds: BTreeMap<&'static str, u64>,
    /// Certificates issued under each policy, by the policy's SHA-256.
    pub policies: BTreeMap<[u8; 32], u64>,
    /// Certificates whose signature was verified.
    pub signatures_verified: u64,
    /// Time of the first and the last entry, milliseconds since 1970.
    pub times: Option<(u64, u64)>,
    /// Bytes of entries read.
    pub bytes: u64,
    findings: Vec<Finding>,
}

impl Report {
    /// Discrepancies, lowest index first; those without an index come first of all.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Index of the first entry that anything is wrong with.
    pub fn first_index(&self) -> Option<u64> {
        self.findings.iter().filter_map(|f| f.index).min()
    }

    /// Whether nothing was found.
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }

    fn find(&mut self, index: Option<u64>, rule: &'static str, reason: impl Into<String>) {
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(Finding { index, rule, reason: reason.into() });
        }
    }
}

/// Audits the log that `reader` reads. `progress` is told how many entries are done. Fails only
/// when files cannot be read at all; whatever is wrong with the log is in the report.
pub fn audit(reader: &TileReader, key: &VerifierKey, yardstick: &Yardstick, progress: &mut dyn FnMut(u64)) -> Result<Report, LogError> {
    let mut report = Report { origin: key.name().to_owned(), ..Report::default() };
    let signed = match reader.checkpoint(key) {
        Ok(signed) => signed,
        Err(e @ LogError::Io { .. }) => return Err(e),
        Err(e) => {
            report.find(None, "checkpoint", e.to_string());
            return Ok(report);
        }
    };
    (report.size, report.root) = (signed.checkpoint().size(), signed.checkpoint().root());
    let mut content = content::Content::new(yardstick);
    tree::check(reader, &signed, yardstick.since.as_ref(), &mut content, &mut report, progress)?;
    if let Some(digests) = &yardstick.signed_digests {
        unlogged(digests, content.signed(), &mut report);
    }
    files::check(reader, &signed, &mut report)?;
    report.findings.sort_by_key(|f| f.index);
    Ok(report)
}

/// Signatures that the token made and the log does not know.
fn unlogged(digests: &[[u8; 32]], logged: &HashSet<[u8; 32]>, report: &mut Report) {
    for digest in digests.iter().filter(|d| !logged.contains(*d)) {
        report.find(None, "unlogged", format!("the token signed {} and no entry accounts for it", hex::encode(digest)));
    }
}
