//! Table-driven cases beside the profiles: what must be issued and what must be refused.
//!
//! A case runs the same decision, build and lint as issuance, under the sample issuer.

use super::decide::{Caller, IssuerContext, decide};
use super::problem::{Problem, Source};
use super::sample;
use super::set::PolicySet;
use super::validity::parse_instant;
use crate::types::{DeviceId, DeviceIdentity, Invalid, KeyAlgorithm, ProfileName, Serial};
use crate::x509::facts;
use crate::x509::lint::lint_for;
use crate::x509::tbs::Tbs;
use serde::Deserialize;
use toml::Spanned;

/// Most cases in one file.
const MAX_CASES: usize = 1000;
/// Serial of the certificates that cases look at: they are never signed.
const SERIAL: &str = "4000000000000000000000000000000000000001";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileSpec {
    version: Spanned<i64>,
    profile: Spanned<String>,
    #[serde(rename = "case")]
    cases: Spanned<Vec<Spanned<CaseSpec>>>,
}

#[derive(Deserialize, Clone)]
#[serde(deny_unknown_fields)]
struct CaseSpec {
    name: String,
    role: String,
    key: String,
    id: String,
    device_type: Option<String>,
    hardware_revision: Option<String>,
    firmware_version: Option<String>,
    #[serde(default)]
    soft_token: bool,
    at: Option<String>,
    issuer: Option<String>,
    issuer_until: Option<String>,
    refused: Option<Vec<String>>,
    subject: Option<String>,
    not_after: Option<String>,
    #[serde(default)]
    says: Vec<String>,
    #[serde(default)]
    lacks: Vec<String>,
}

/// What a case expects.
#[derive(Clone, Debug)]
enum Expected {
    /// Refused by exactly these rules.
    Refused(Vec<String>),
    /// Issued, with these lines of the certificate's text, and none that starts with those.
    Issued { says: Vec<String>, lacks: Vec<String> },
}

/// One case, ready to run.
#[derive(Clone, Debug)]
pub struct Case {
    name: String,
    caller: Caller,
    key: KeyAlgorithm,
    identity: DeviceIdentity,
    soft_token: bool,
    at: i64,
    issuer: String,
    issuer_end: i64,
    expected: Expected,
}

/// The cases of one profile.
#[derive(Clone, Debug)]
pub struct CaseFile {
    profile: ProfileName,
    cases: Vec<Case>,
}

/// How a case ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CaseResult {
    /// Name of the case.
    pub name: String,
    /// `None` when it passed, else what differs.
    pub difference: Option<String>,
}

impl CaseFile {
    /// Reads a file of cases.
    pub fn parse(source: &Source) -> Result<Self, Vec<Problem>> {
        let spec: FileSpec = toml::from_str(&source.text).map_err(|e| vec![Problem::from_toml(source, &e)])?;
        let problem = |span, message: String, remedy: &str| Problem::at(source, span, message, remedy);
        if *spec.version.get_ref() != 1 {
            return Err(vec![problem(spec.version.span(), "this version of cases is not known".into(), "write version = 1")]);
        }
        let profile = ProfileName::parse(spec.profile.get_ref())
            .map_err(|e| vec![problem(spec.profile.span(), e.to_string(), "correct the name of the profile")])?;
        let list = spec.cases.get_ref();
        if list.is_empty() || list.len() > MAX_CASES {
            return Err(vec![problem(spec.cases.span(), format!("{} cases", list.len()), "write 1 to 1000 cases")]);
        }
        let mut cases = Vec::new();
        let mut problems = Vec::new();
        for case in list {
            match Case::new(case.get_ref()) {
                Ok(case) => cases.push(case),
                Err(e) => problems.push(problem(case.span(), e.to_string(), "correct the case")),
            }
        }
        if problems.is_empty() { Ok(Self { profile, cases }) } else { Err(problems) }
    }

    /// Name of the profile that the cases are about.
    pub fn profile(&self) -> &ProfileName {
        &self.profile
    }

    /// Runs every case.
    pub fn run(&self, set: &PolicySet) -> Vec<CaseResult> {
        let run = |case: &Case| CaseResult { name: case.name.clone(), difference: case.difference(set, &self.profile).err() };
        self.cases.iter().map(run).collect()
    }
}

/// Reads `kind:text`, as [`DeviceIdentity::canonical`] writes it, and the optional fields.
pub fn read_identity(
    id: &str,
    device_type: Option<&str>,
    hardware: Option<&str>,
    firmware: Option<&str>,
) -> Result<DeviceIdentity, Invalid> {
    let (kind, rest) = id.split_once(':').ok_or_else(|| Invalid::new("id", "write kind:text, e.g. mac:00-1A-2B-3C-4D-5E or free:SN-1"))?;
    let mut identity = DeviceIdentity::new(DeviceId::parse(kind, rest)?);
    if let Some(value) = device_type {
        identity = identity.with_device_type(value)?;
    }
    if let Some(value) = hardware {
        identity = identity.with_hardware_revision(value)?;
    }
    firmware.map_or(Ok(identity.clone()), |value| identity.with_firmware_version(value))
}

impl Case {
    fn new(spec: &CaseSpec) -> Result<Self, Invalid> {
        let time = |text: &Option<String>, default: i64| match text {
            None => Ok(default),
            Some(t) => parse_instant(t).ok_or_else(|| Invalid::new("time", format!("'{t}' is not YYYY-MM-DD or YYYY-MM-DDThh:mm:ssZ"))),
        };
        let mut says = spec.says.clone();
        says.extend(spec.subject.iter().map(|s| format!("subject     {s}")));
        says.extend(spec.not_after.iter().map(|s| format!("not after   {s}")));
        let expected = match &spec.refused {
            None => Expected::Issued { says, lacks: spec.lacks.clone() },
            Some(rules) if says.is_empty() && spec.lacks.is_empty() && !rules.is_empty() => Expected::Refused(rules.clone()),
            Some(_) => {
                return Err(Invalid::new("refused", "names at least one rule and goes alone, without subject, not_after, says, lacks"));
            }
        };
        Ok(Self {
            name: spec.name.clone(),
            caller: Caller::new(&spec.role, 1000)?,
            key: KeyAlgorithm::parse(&spec.key)?,
            identity: read_identity(
                &spec.id,
                spec.device_type.as_deref(),
                spec.hardware_revision.as_deref(),
                spec.firmware_version.as_deref(),
            )?,
            soft_token: spec.soft_token,
            at: time(&spec.at, sample::SAMPLE_NOW)?,
            issuer: spec.issuer.clone().unwrap_or_else(|| sample::SAMPLE_NAME.to_owned()),
            issuer_end: time(&spec.issuer_until, sample::SAMPLE_END)?,
            expected,
        })
    }

    fn difference(&self, set: &PolicySet, profile: &ProfileName) -> Result<(), String> {
        let profile = set.require(profile).map_err(|r| r.to_string())?;
        let issuer = sample::issuer(&self.issuer, self.issuer_end).map_err(|e| e.to_string())?;
        let csr = sample::request(self.key).map_err(|e| e.to_string())?;
        let context = IssuerContext { issuer: &issuer, soft_token: self.soft_token };
        let outcome = decide(profile, &self.caller, &csr, &self.identity, &context, self.at);
        match (&self.expected, outcome) {
            (Expected::Refused(expected), Err(refusals)) => {
                let mut rules: Vec<&str> = refusals.as_slice().iter().map(|r| r.rule).collect();
                rules.sort_unstable();
                rules.dedup();
                let same = rules.len() == expected.len() && expected.iter().all(|e| rules.contains(&e.as_str()));
                if same { Ok(()) } else { Err(format!("expected refusal by {}, got:\n{refusals}", expected.join(", "))) }
            }
            (Expected::Refused(expected), Ok(_)) => Err(format!("expected refusal by {}, but it would be issued", expected.join(", "))),
            (Expected::Issued { .. }, Err(refusals)) => Err(format!("expected a certificate, got:\n{refusals}")),
            (Expected::Issued { says, lacks }, Ok(approved)) => {
                let serial = Serial::parse(SERIAL).map_err(|e| e.to_string())?;
                let tbs = Tbs::build(approved.plan(), &issuer, &serial).map_err(|e| e.to_string())?;
                let shown = facts::certificate(tbs.parsed());
                let findings = |f: Vec<crate::x509::lint::Finding>| f.iter().map(|f| format!("lint: {f}")).collect::<Vec<_>>().join("\n");
                lint_for(tbs, &issuer, approved.standards()).map_err(findings)?;
                compare(&shown, says, lacks)
            }
        }
    }
}

fn compare(shown: &str, says: &[String], lacks: &[String]) -> Result<(), String> {
    if let Some(line) = says.iter().find(|s| !shown.lines().any(|l| l == s.as_str())) {
        return Err(format!("the certificate does not say '{line}':\n{shown}"));
    }
    match lacks.iter().find_map(|p| shown.lines().find(|l| l.starts_with(p.as_str()))) {
        Some(line) => Err(format!("the certificate says '{line}'")),
        None => Ok(()),
    }
}
