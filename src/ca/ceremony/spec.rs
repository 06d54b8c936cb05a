//! The ceremony file as written: TOML to raw values with their places, unknown keys refused.

use serde::Deserialize;
use toml::Spanned;
use toml::value::Datetime;

/// Version of the file format.
pub(super) const VERSION: i64 = 1;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCeremony {
    pub version: Spanned<i64>,
    pub kind: Spanned<String>,
    pub purpose: Spanned<String>,
    pub title: Spanned<String>,
    pub key: Option<Spanned<RawKey>>,
    pub issuer: Option<Spanned<RawIssuer>>,
    pub certificate: Option<Spanned<RawCertificate>>,
    pub previous: Option<Spanned<RawFile>>,
    pub subject: Option<Spanned<RawFile>>,
    pub existing: Option<Spanned<RawExisting>>,
    pub crl: Option<Spanned<RawCrl>>,
    pub outputs: Spanned<RawOutputs>,
    pub approvals: Option<Spanned<RawApprovals>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawApprovals {
    pub roster: Spanned<String>,
    pub required: Spanned<i64>,
    pub signatures: Spanned<Vec<Spanned<String>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawKey {
    pub token: Spanned<String>,
    pub pin_file: Option<Spanned<String>>,
    pub algorithm: Spanned<String>,
    pub label: Spanned<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawIssuer {
    pub token: Spanned<String>,
    pub pin_file: Option<Spanned<String>>,
    pub certificate: Spanned<String>,
    pub fingerprint: Spanned<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCertificate {
    pub subject: Option<Spanned<RawSubject>>,
    pub not_before: Spanned<Datetime>,
    pub not_after: Spanned<Datetime>,
    pub path_length: Option<Spanned<i64>>,
    pub extended_key_usage: Option<Spanned<Vec<Spanned<String>>>>,
    #[serde(default)]
    pub policies: Vec<Spanned<String>>,
    #[serde(default)]
    pub crl_urls: Vec<Spanned<String>>,
    #[serde(default)]
    pub issuer_urls: Vec<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSubject {
    pub country: Option<Spanned<String>>,
    pub organization: Option<Spanned<String>>,
    pub organizational_unit: Option<Spanned<String>>,
    pub common_name: Spanned<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawOutputs {
    pub journal: Spanned<String>,
    pub transcript: Spanned<String>,
    pub certificate: Option<Spanned<String>>,
    pub request: Option<Spanned<String>>,
    pub chain: Option<Spanned<String>>,
    pub crl: Option<Spanned<String>>,
}

/// A certificate that exists, as a file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFile {
    pub certificate: Spanned<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawExisting {
    pub token: Spanned<String>,
    pub pin_file: Option<Spanned<String>>,
    pub certificate: Spanned<String>,
    pub fingerprint: Spanned<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCrl {
    pub number: Spanned<i64>,
    pub this_update: Spanned<Datetime>,
    pub next_update: Spanned<Datetime>,
    pub previous: Option<Spanned<String>>,
    #[serde(default)]
    pub revoked: Vec<Spanned<RawRevoked>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRevoked {
    pub serial: Spanned<String>,
    pub at: Spanned<Datetime>,
    pub reason: Spanned<String>,
}
