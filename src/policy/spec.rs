//! A profile as written in TOML. Nothing here is trusted; `profile` makes the domain type.
//!
//! Every value that can be wrong carries its span, so that a message can point at it.

use super::problem::{Problem, Source};
use serde::Deserialize;
use std::collections::BTreeMap;
use toml::Spanned;

pub(super) type Text = Spanned<String>;
pub(super) type List = Spanned<Vec<Text>>;

/// One profile file.
#[derive(Deserialize, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct Spec {
    pub version: Spanned<i64>,
    pub name: Text,
    pub description: Text,
    pub extends: Option<Text>,
    pub roles: Option<List>,
    pub production: Option<bool>,
    pub test_mark: Option<Text>,
    pub standards: Option<List>,
    pub identity: Option<Spanned<IdentitySpec>>,
    pub key: Option<Spanned<KeySpec>>,
    pub uniqueness: Option<Spanned<UniquenessSpec>>,
    pub quota: Option<Spanned<QuotaSpec>>,
    pub validity: Option<Spanned<ValiditySpec>>,
    pub subject: Option<Spanned<SubjectSpec>>,
    pub san: Option<Spanned<SanSpec>>,
    pub extensions: Option<Spanned<ExtensionsSpec>>,
}

impl Spec {
    /// Reads the TOML; the problem is of syntax, type, unknown or missing key.
    pub fn read(source: &Source) -> Result<Self, Problem> {
        toml::from_str(&source.text).map_err(|e| Problem::from_toml(source, &e))
    }

    /// Takes over every section that this profile does not write itself; gives their names.
    pub fn inherit(&mut self, parent: &Self) -> Vec<&'static str> {
        let mut inherited = Vec::new();
        macro_rules! take {
            ($($field:ident),*) => {$(
                if self.$field.is_none() && parent.$field.is_some() {
                    self.$field.clone_from(&parent.$field);
                    inherited.push(stringify!($field));
                }
            )*};
        }
        take!(roles, production, test_mark, standards, identity, key, uniqueness, quota, validity, subject, san, extensions);
        inherited
    }
}

#[derive(Deserialize, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct IdentitySpec {
    pub kinds: List,
    pub pattern: Option<Text>,
    pub min_length: Option<Spanned<i64>>,
    pub max_length: Option<Spanned<i64>>,
}

#[derive(Deserialize, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct KeySpec {
    pub algorithms: List,
}

#[derive(Deserialize, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct UniquenessSpec {
    pub device: Option<Text>,
    pub key: Option<Text>,
}

#[derive(Deserialize, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct QuotaSpec {
    pub total: Option<Spanned<i64>>,
    pub per_device: Option<Spanned<i64>>,
}

#[derive(Deserialize, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct ValiditySpec {
    pub duration: Option<Text>,
    pub until: Option<Text>,
    pub minimum: Option<Text>,
    pub backdate: Option<Text>,
    pub outlive_issuer: Option<Spanned<bool>>,
}

#[derive(Deserialize, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct SubjectSpec {
    pub encoding: Option<Text>,
    pub rdns: Spanned<Vec<Spanned<BTreeMap<String, Text>>>>,
}

#[derive(Deserialize, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct SanSpec {
    pub critical: Option<bool>,
    pub names: Spanned<Vec<Spanned<NameSpec>>>,
}

/// One subjectAltName; exactly one key is set (externally tagged).
#[derive(Deserialize, Clone, Debug)]
#[serde(rename_all = "snake_case")]
pub(super) enum NameSpec {
    Dns(Text),
    Uri(Text),
    Ip(Text),
    Email(Text),
    RegisteredId(Text),
    HardwareModule(HardwareModuleSpec),
    PermanentIdentifier(PermanentIdentifierSpec),
}

#[derive(Deserialize, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct HardwareModuleSpec {
    pub r#type: Text,
    pub serial: Text,
}

#[derive(Deserialize, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct PermanentIdentifierSpec {
    pub value: Text,
    pub assigner: Option<Text>,
}

#[derive(Deserialize, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct ExtensionsSpec {
    pub key_usage: List,
    pub extended_key_usage: Option<List>,
    pub basic_constraints: Option<bool>,
    pub ca: Option<Spanned<CaSpec>>,
    pub subject_key_identifier: bool,
    pub certificate_policies: Option<List>,
    pub cps_uri: Option<Text>,
    pub ca_issuers: Option<Text>,
    pub ocsp: Option<Text>,
    pub crl: Option<Text>,
    pub masa_url: Option<Text>,
    pub critical: Option<List>,
    #[serde(default)]
    pub custom: Vec<Spanned<CustomSpec>>,
}

/// A CA certificate, made in a ceremony.
#[derive(Deserialize, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct CaSpec {
    pub path_length: Option<Spanned<i64>>,
}

/// A custom extension: OID, criticality and exactly one typed value.
#[derive(Deserialize, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct CustomSpec {
    pub oid: Text,
    #[serde(default)]
    pub critical: bool,
    pub utf8: Option<Text>,
    pub ia5: Option<Text>,
    pub printable: Option<Text>,
    pub octets: Option<Text>,
    pub object_id: Option<Text>,
    pub integer: Option<Spanned<i64>>,
    pub boolean: Option<Spanned<bool>>,
}
