//! The guard file: TOML as written, checked into one [`Guard`] per key.

use super::counter::Counter;
use super::guard::{Allowed, CertificateRules, Guard};
use crate::token::TokenError;
use crate::types::Fingerprint;
use crate::x509::pem;
use crate::x509::tbs::Issuer;
use const_oid::ObjectIdentifier;
use const_oid::db::rfc5280;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const MAX_FILE: u64 = 64 * 1024;
const MAX_DAYS: i64 = 365 * 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    version: u32,
    counters: PathBuf,
    #[serde(default)]
    certificates: Vec<RawCertificates>,
    #[serde(default)]
    checkpoints: Vec<RawCheckpoints>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCertificates {
    issuer: PathBuf,
    max_days: i64,
    #[serde(default)]
    no_expiration: bool,
    extended_key_usage: Vec<String>,
    #[serde(default)]
    any_usage: bool,
    organization: Option<String>,
    per_hour: u64,
    total: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCheckpoints {
    key: String,
    origin: String,
    per_hour: u64,
    total: u64,
}

/// The guards of every key that a signer uses, by fingerprint.
#[derive(Debug)]
pub struct GuardFile(BTreeMap<Fingerprint, Guard>);

impl GuardFile {
    /// Reads the file and the counters that it names. Refused when others may write it: whoever
    /// changes a guard decides what the key signs.
    pub fn load(path: &Path) -> Result<Self, TokenError> {
        let refuse = |reason: String| TokenError::Environment(format!("guard file {}: {reason}", path.display()));
        let meta = std::fs::metadata(path).map_err(|e| refuse(e.to_string()))?;
        if meta.len() > MAX_FILE || meta.mode() & 0o022 != 0 {
            return Err(refuse("is too large, or writable by group or others; chmod go-w".into()));
        }
        let text = std::fs::read_to_string(path).map_err(|e| refuse(e.to_string()))?;
        let raw: RawFile = toml::from_str(&text).map_err(|e| refuse(e.to_string()))?;
        if raw.version != 1 {
            return Err(refuse(format!("version {} is not 1, the only one known", raw.version)));
        }
        let base = path.parent().unwrap_or(Path::new(""));
        let counters = base.join(&raw.counters);
        let mut guards = BTreeMap::new();
        for table in raw.certificates {
            let rules = certificates(&table, base).map_err(refuse)?;
            let fingerprint = Fingerprint::of_spki(rules.issuer.spki_der());
            let counter = Counter::open(&counters.join(fingerprint.to_string()))?;
            let guard = Guard::new(Allowed::Certificates(Box::new(rules)), table.per_hour, table.total, counter);
            if guards.insert(fingerprint, guard).is_some() {
                return Err(refuse(format!("two tables for the key {fingerprint}")));
            }
        }
        for table in raw.checkpoints {
            let fingerprint = Fingerprint::parse(&table.key).map_err(|e| refuse(e.to_string()))?;
            if table.origin.is_empty() || table.origin.starts_with('0') || table.origin.chars().any(char::is_control) {
                return Err(refuse("an origin is one line of text that does not start with 0".into()));
            }
            let counter = Counter::open(&counters.join(fingerprint.to_string()))?;
            let guard = Guard::new(Allowed::Checkpoints(table.origin), table.per_hour, table.total, counter);
            if guards.insert(fingerprint, guard).is_some() {
                return Err(refuse(format!("two tables for the key {fingerprint}")));
            }
        }
        Ok(Self(guards))
    }

    /// The keys that have a guard: the only ones that a signer loads.
    pub fn fingerprints(&self) -> Vec<Fingerprint> {
        self.0.keys().copied().collect()
    }

    pub(super) fn guard(&mut self, fingerprint: &Fingerprint) -> Option<&mut Guard> {
        self.0.get_mut(fingerprint)
    }
}

fn certificates(table: &RawCertificates, base: &Path) -> Result<CertificateRules, String> {
    let file = base.join(&table.issuer);
    let bytes = std::fs::read(&file).map_err(|e| format!("{}: {e}", file.display()))?;
    let der = pem::certificates(&bytes).map_err(|e| format!("{}: {e}", file.display()))?;
    let own = der.first().ok_or("the issuer file is empty")?;
    let issuer = Issuer::from_certificate(own).map_err(|e| format!("{}: {e}", file.display()))?;
    if !(1..=MAX_DAYS).contains(&table.max_days) {
        return Err(format!("max_days is 1 to {MAX_DAYS}"));
    }
    let mut usages = Vec::new();
    for name in &table.extended_key_usage {
        usages.push(match name.as_str() {
            "client-auth" => rfc5280::ID_KP_CLIENT_AUTH,
            "server-auth" => rfc5280::ID_KP_SERVER_AUTH,
            other => {
                ObjectIdentifier::new(other).map_err(|_| format!("'{other}' is not client-auth, server-auth or an object identifier"))?
            }
        });
    }
    let (max_days, no_expiration, any_usage) = (table.max_days, table.no_expiration, table.any_usage);
    Ok(CertificateRules { issuer, max_days, no_expiration, usages, any_usage, organization: table.organization.clone() })
}
