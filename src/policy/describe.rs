//! A profile as flat `key = value` facts: for `explain`, for `diff`, and for reading aloud.

use super::names::AltName;
use super::profile::{Profile, Reuse, TestMark};
use super::set::PolicySet;
use super::validity::{End, words};
use crate::types::NO_EXPIRATION;
use crate::x509::facts::{extension_value, oid_name};
use std::collections::BTreeMap;
use std::fmt;

/// Every rule of a profile, flattened, in the order of the file.
pub fn describe(profile: &Profile) -> Vec<(String, String)> {
    let mut out: Vec<(String, String)> = Vec::new();
    let mut add = |key: &str, value: String| out.push((key.to_owned(), value));
    let list = |items: &[String]| if items.is_empty() { "none".to_owned() } else { items.join(", ") };
    add("roles", list(profile.roles()));
    add("production", profile.production().to_string());
    add(
        "test_mark",
        match profile.test_mark() {
            TestMark::Subject => "OU=TEST".to_owned(),
            TestMark::Policy(oid) => format!("policy {oid}"),
        },
    );
    let standards: Vec<String> = profile.standards().iter().map(|s| s.name().to_owned()).collect();
    add("standards", list(&standards));
    let kinds: Vec<String> = profile.identity().kinds().iter().map(|k| k.name().to_owned()).collect();
    add("identity.kinds", list(&kinds));
    let (least, most) = profile.identity().length();
    add("identity.length", format!("{least} to {most}"));
    add("identity.pattern", profile.identity().pattern().unwrap_or("any").to_owned());
    let algorithms: Vec<String> = profile.algorithms().iter().map(ToString::to_string).collect();
    add("key.algorithms", list(&algorithms));
    add("uniqueness.device", reuse(profile.device_reuse()).to_owned());
    add("uniqueness.key", reuse(profile.key_reuse()).to_owned());
    let limit = |n: Option<u64>| n.map_or_else(|| "unlimited".to_owned(), |n| n.to_string());
    add("quota.total", limit(profile.quota().total));
    add("quota.per_device", limit(profile.quota().per_device));
    let rule = profile.validity();
    add(
        "validity.end",
        match rule.end() {
            End::After(seconds) => format!("after {}", words(seconds)),
            End::At(NO_EXPIRATION) => "9999-12-31T23:59:59Z (no expiration)".to_owned(),
            End::At(last) => date(last),
        },
    );
    add("validity.minimum", rule.minimum().map_or_else(|| "never shortened".to_owned(), words));
    add("validity.backdate", words(rule.backdate()));
    add("validity.outlive_issuer", rule.outlive_issuer().to_string());
    let rdns: Vec<String> = profile.subject().iter().map(|r| format!("{}={} ({})", r.label(), r.template(), r.encoding().name())).collect();
    add("subject", list(&rdns));
    let (critical, names) = profile.san().unwrap_or((false, &[]));
    let names: Vec<String> = names.iter().map(AltName::to_string).collect();
    add("san", list(&names));
    add("san.critical", critical.to_string());
    add("extensions.subject_key_identifier", profile.extensions().subject_key_identifier().to_string());
    for extension in profile.extensions().fixed() {
        let critical = if extension.critical { " (critical)" } else { "" };
        add(&format!("extensions.{}", oid_name(&extension.extn_id)), format!("{}{critical}", extension_value(&extension)));
    }
    for (oid, critical, value) in profile.extensions().filled() {
        add(&format!("extensions.{oid}"), format!("{value}{}", if critical { " (critical)" } else { "" }));
    }
    out
}

fn reuse(rule: Reuse) -> &'static str {
    match rule {
        Reuse::Refuse => "refuse",
        Reuse::Renew => "renew",
        Reuse::Allow => "allow",
    }
}

/// Unix seconds as RFC 3339 in UTC.
pub fn date(unix: i64) -> String {
    let seconds = std::time::Duration::from_secs(u64::try_from(unix).unwrap_or(0));
    der::DateTime::from_unix_duration(seconds).map_or_else(|_| unix.to_string(), |d| d.to_string())
}

/// One difference between two policy sets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// The profile exists only in the new set.
    Added(String),
    /// The profile exists only in the old set.
    Removed(String),
    /// A rule of the profile differs.
    Rule {
        /// Profile.
        profile: String,
        /// Key as [`describe`] names it.
        key: String,
        /// Value in the old set; `None` when absent.
        old: Option<String>,
        /// Value in the new set; `None` when absent.
        new: Option<String>,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Added(name) => write!(f, "+ profile {name}"),
            Self::Removed(name) => write!(f, "- profile {name}"),
            Self::Rule { profile, key, old, new } => {
                let line = |f: &mut fmt::Formatter<'_>, sign, value: &str| write!(f, "{sign} {profile}: {key} = {value}");
                if let Some(old) = old {
                    line(f, '-', old)?;
                }
                if old.is_some() && new.is_some() {
                    f.write_str("\n")?;
                }
                new.as_ref().map_or(Ok(()), |new| line(f, '+', new))
            }
        }
    }
}

/// What changes in meaning from `old` to `new`; comments and order of keys do not.
pub fn diff(old: &PolicySet, new: &PolicySet) -> Vec<Change> {
    let by_name = |set: &PolicySet| -> BTreeMap<String, BTreeMap<String, String>> {
        set.iter().map(|p| (p.name().to_string(), describe(p).into_iter().collect())).collect()
    };
    let (old, new) = (by_name(old), by_name(new));
    let mut changes: Vec<Change> = old.keys().filter(|n| !new.contains_key(*n)).cloned().map(Change::Removed).collect();
    for (name, rules) in &new {
        let Some(before) = old.get(name) else {
            changes.push(Change::Added(name.clone()));
            continue;
        };
        let mut keys: Vec<&String> = before.keys().chain(rules.keys()).collect();
        keys.sort();
        keys.dedup();
        for key in keys {
            let (a, b) = (before.get(key), rules.get(key));
            if a != b {
                changes.push(Change::Rule { profile: name.clone(), key: key.clone(), old: a.cloned(), new: b.cloned() });
            }
        }
    }
    changes
}
