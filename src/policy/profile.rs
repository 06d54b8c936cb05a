//! A profile that is valid by construction: every rule of one device class.

use super::extensions::ExtensionRule;
use super::identity::IdentityRule;
use super::names::{AltName, Rdn, check_san, check_subject, oid};
use super::problem::{Findings, Problem, Source};
use super::spec::{List, Spec, Text};
use super::validity::ValidityRule;
use crate::types::{KeyAlgorithm, ProfileName};
use crate::x509::lint::Standard;
use const_oid::ObjectIdentifier;
use toml::Spanned;

/// Longest description, in bytes.
const MAX_DESCRIPTION: usize = 500;
/// The only role that may use profiles of CA certificates; no daemon may be given it.
pub const CEREMONY: &str = "ceremony";

/// What happens when a device or key that already has a certificate of the profile asks again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reuse {
    /// Refused.
    Refuse,
    /// Allowed to the same device (for `device`: with any key; for `key`: only to that device),
    /// and the new certificate supersedes the old one.
    Renew,
    /// No rule.
    Allow,
}

/// How many certificates a profile issues; the store counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Quota {
    /// In total, over the profile's life.
    pub total: Option<u64>,
    /// For one device, over its life.
    pub per_device: Option<u64>,
}

/// How certificates of a soft token are marked (T1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TestMark {
    /// `OU=TEST` is added to the subject.
    Subject,
    /// This policy OID is added to certificatePolicies.
    Policy(ObjectIdentifier),
}

/// One device class: who may ask, for what, and what the certificate says.
#[derive(Clone, Debug)]
pub struct Profile {
    pub(super) name: ProfileName,
    pub(super) description: String,
    pub(super) roles: Vec<String>,
    pub(super) production: bool,
    pub(super) test_mark: TestMark,
    pub(super) standards: Vec<Standard>,
    pub(super) identity: IdentityRule,
    pub(super) algorithms: Vec<KeyAlgorithm>,
    pub(super) device_reuse: Reuse,
    pub(super) key_reuse: Reuse,
    pub(super) quota: Quota,
    pub(super) validity: ValidityRule,
    pub(super) subject: Vec<Rdn>,
    pub(super) san: Option<(bool, Vec<AltName>)>,
    pub(super) extensions: ExtensionRule,
    pub(super) policy_hash: [u8; 32],
}

impl Profile {
    /// Reads one profile that extends no other; gives every problem, not the first (TOML errors excepted).
    pub fn parse(source: &Source) -> Result<Self, Vec<Problem>> {
        let spec = Spec::read(source).map_err(|p| vec![p])?;
        if let Some(parent) = &spec.extends {
            let message = format!("profile '{}', which this one extends, is not among the files", parent.get_ref());
            return Err(vec![Problem::at(source, parent.span(), message, "name a profile of the same set, or check the whole directory")]);
        }
        Self::build(&spec, source, Vec::new())
    }

    /// Builds the profile of a flattened spec.
    pub(super) fn build(spec: &Spec, source: &Source, inherited: Vec<&'static str>) -> Result<Self, Vec<Problem>> {
        let mut out = Findings::new(source, inherited);
        let profile = Self::check(spec, &mut out);
        match (profile, out.into_problems()) {
            (Some(profile), problems) if problems.is_empty() => Ok(profile),
            (_, problems) => Err(problems),
        }
    }

    fn check(spec: &Spec, out: &mut Findings<'_>) -> Option<Self> {
        if *spec.version.get_ref() != 1 {
            out.add(spec.version.span(), format!("version {} is not known", spec.version.get_ref()), "write version = 1");
            return None;
        }
        let name = ProfileName::parse(spec.name.get_ref()).map_err(|e| out.add(spec.name.span(), e.to_string(), "correct the name")).ok();
        let description = spec.description.get_ref().trim();
        if description.is_empty() || description.len() > MAX_DESCRIPTION {
            out.add(spec.description.span(), "a description has 1 to 500 characters", "say what devices the profile is for");
        }
        let roles = section(&spec.roles, "roles", "roles = [\"station\"]", spec, out).and_then(|r| check_roles(r, out));
        out.enter("test_mark");
        let test_mark = check_test_mark(spec.test_mark.as_ref(), out);
        out.enter("standards");
        let standards = check_standards(spec.standards.as_ref(), out);
        let identity = section(&spec.identity, "identity", "[identity]", spec, out).and_then(|s| IdentityRule::check(s, out));
        let algorithms = section(&spec.key, "key", "[key]", spec, out).and_then(|s| check_algorithms(&s.get_ref().algorithms, out));
        out.enter("uniqueness");
        let uniqueness = spec.uniqueness.as_ref().map(Spanned::get_ref);
        let device_reuse = check_reuse(uniqueness.and_then(|u| u.device.as_ref()), out);
        let key_reuse = check_reuse(uniqueness.and_then(|u| u.key.as_ref()), out);
        out.enter("quota");
        let quota = check_quota(spec, out);
        let validity = section(&spec.validity, "validity", "[validity]", spec, out).and_then(|s| ValidityRule::check(s, out));
        let subject = section(&spec.subject, "subject", "[subject]", spec, out).and_then(|s| check_subject(s, out));
        out.enter("san");
        let san = spec.san.as_ref().map(|s| check_san(s, spec.extends.is_some(), out));
        let extensions = section(&spec.extensions, "extensions", "[extensions]", spec, out).and_then(|s| ExtensionRule::check(s, out));
        out.enter("");
        let profile = Self {
            name: name?,
            description: description.to_owned(),
            roles: roles?,
            production: spec.production.unwrap_or(false),
            test_mark: test_mark?,
            standards: standards?,
            identity: identity?,
            algorithms: algorithms?,
            device_reuse: device_reuse?,
            key_reuse: key_reuse?,
            quota: quota?,
            validity: validity?,
            subject: subject?,
            san: san.unwrap_or(Some(None))?,
            extensions: extensions?,
            policy_hash: [0; 32],
        };
        profile.check_whole(spec, out);
        Some(profile)
    }

    /// Rules between sections.
    fn check_whole(&self, spec: &Spec, out: &mut Findings<'_>) {
        let span = out.place("subject", spec.subject.as_ref().map(Spanned::span), spec.name.span());
        if self.subject.is_empty() && !self.san.as_ref().is_some_and(|(critical, _)| *critical) {
            let remedy = "add an RDN, or [san] with critical = true (RFC 5280 §4.2.1.6)";
            out.add(span.clone(), "an empty subject needs a critical subjectAltName", remedy);
        }
        if self.subject.is_empty() && self.test_mark == TestMark::Subject && !self.production {
            let remedy = "write test_mark = \"<policy OID>\", or production = true";
            out.add(span.clone(), "OU=TEST of soft tokens would fill a subject that must be empty", remedy);
        }
        if self.extensions.is_ca() && self.roles != [CEREMONY] {
            let span = out.place("roles", spec.roles.as_ref().map(Spanned::span), spec.name.span());
            out.add(span, "CA certificates are made in a ceremony only", "write roles = [\"ceremony\"]");
        }
        let named = self.extensions.is_ca() || self.subject.iter().any(|r| r.template().literal().is_none()) || self.san.is_some();
        if !named {
            out.add(span, "no name depends on the device: all certificates would have one subject", "use {id} in an RDN or in [san]");
        }
    }

    /// Name.
    pub fn name(&self) -> &ProfileName {
        &self.name
    }

    /// What devices it is for.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// Roles that may ask; nobody else may (P2).
    pub fn roles(&self) -> &[String] {
        &self.roles
    }

    /// Whether issuers in a soft token are refused (T1).
    pub fn production(&self) -> bool {
        self.production
    }

    /// How certificates of soft tokens are marked.
    pub fn test_mark(&self) -> TestMark {
        self.test_mark
    }

    /// Standards by which its certificates are linted, beyond RFC 5280.
    pub fn standards(&self) -> &[Standard] {
        &self.standards
    }

    /// Accepted identities.
    pub fn identity(&self) -> &IdentityRule {
        &self.identity
    }

    /// Accepted key algorithms.
    pub fn algorithms(&self) -> &[KeyAlgorithm] {
        &self.algorithms
    }

    /// What happens when a device asks for a second certificate.
    pub fn device_reuse(&self) -> Reuse {
        self.device_reuse
    }

    /// What happens when a public key is presented a second time.
    pub fn key_reuse(&self) -> Reuse {
        self.key_reuse
    }

    /// Quota.
    pub fn quota(&self) -> Quota {
        self.quota
    }

    /// Validity rule.
    pub fn validity(&self) -> &ValidityRule {
        &self.validity
    }

    /// Subject RDNs.
    pub fn subject(&self) -> &[Rdn] {
        &self.subject
    }

    /// Criticality and alternative names.
    pub fn san(&self) -> Option<(bool, &[AltName])> {
        self.san.as_ref().map(|(critical, names)| (*critical, names.as_slice()))
    }

    /// Extensions.
    pub fn extensions(&self) -> &ExtensionRule {
        &self.extensions
    }

    /// Hash of the set that the profile was loaded with; zero outside a set.
    pub fn policy_hash(&self) -> &[u8; 32] {
        &self.policy_hash
    }
}

fn section<'s, T>(part: &'s Option<Spanned<T>>, name: &str, example: &str, spec: &Spec, out: &mut Findings<'_>) -> Option<&'s Spanned<T>> {
    out.enter(name);
    if part.is_none() {
        out.add(spec.name.span(), format!("the profile has no '{name}'"), format!("add {example}; nothing is allowed by default"));
    }
    part.as_ref()
}

/// Role names: 1 to 32 lower-case letters, digits and hyphens, starting with a letter.
pub fn is_role(text: &str) -> bool {
    text.len() <= 32
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn check_roles(list: &List, out: &mut Findings<'_>) -> Option<Vec<String>> {
    let bad: Vec<&Text> = list.get_ref().iter().filter(|t| !is_role(t.get_ref())).collect();
    for text in &bad {
        let remedy = "use 1 to 32 lower-case letters, digits and hyphens, starting with a letter";
        out.add(text.span(), format!("'{}' is not a role name", text.get_ref()), remedy);
    }
    if list.get_ref().len() > 32 {
        out.add(list.span(), "more than 32 roles", "group callers under fewer roles");
        return None;
    }
    bad.is_empty().then(|| list.get_ref().iter().map(|t| t.get_ref().clone()).collect())
}

fn check_standards(list: Option<&List>, out: &mut Findings<'_>) -> Option<Vec<Standard>> {
    let mut found = Vec::new();
    let mut good = true;
    for text in list.map(|l| l.get_ref().as_slice()).unwrap_or_default() {
        match Standard::parse(text.get_ref()) {
            Some(standard) => found.push(standard),
            None => {
                let names: Vec<&str> = Standard::ALL.iter().map(|(name, _)| *name).collect();
                out.add(
                    text.span(),
                    format!("'{}' is not a standard that lint knows", text.get_ref()),
                    format!("use {}", names.join(", ")),
                );
                good = false;
            }
        }
    }
    good.then_some(found)
}

fn check_test_mark(text: Option<&Text>, out: &mut Findings<'_>) -> Option<TestMark> {
    match text {
        None => Some(TestMark::Subject),
        Some(t) if t.get_ref() == "subject" => Some(TestMark::Subject),
        Some(t) if ObjectIdentifier::new(t.get_ref()).is_err() => {
            out.add(t.span(), format!("'{}' is not a test mark", t.get_ref()), "write \"subject\" (OU=TEST) or a policy OID");
            None
        }
        Some(t) => oid(t, out).map(TestMark::Policy),
    }
}

fn check_algorithms(list: &List, out: &mut Findings<'_>) -> Option<Vec<KeyAlgorithm>> {
    let parsed: Vec<Option<KeyAlgorithm>> = list
        .get_ref()
        .iter()
        .map(|text| KeyAlgorithm::parse(text.get_ref()).map_err(|e| out.add(text.span(), e.reason, "correct the algorithm")).ok())
        .collect();
    if parsed.is_empty() {
        out.add(list.span(), "no key algorithm is accepted", "list at least one, e.g. \"p256\"");
        return None;
    }
    parsed.into_iter().collect()
}

fn check_reuse(text: Option<&Text>, out: &mut Findings<'_>) -> Option<Reuse> {
    match text.map(|t| t.get_ref().as_str()) {
        None | Some("refuse") => Some(Reuse::Refuse),
        Some("renew") => Some(Reuse::Renew),
        Some("allow") => Some(Reuse::Allow),
        Some(other) => {
            let span = text.map_or(0..0, Spanned::span);
            out.add(span, format!("'{other}' is not a uniqueness rule"), "use \"refuse\", \"renew\" or \"allow\"");
            None
        }
    }
}

fn check_quota(spec: &Spec, out: &mut Findings<'_>) -> Option<Quota> {
    let Some(quota) = spec.quota.as_ref().map(Spanned::get_ref) else { return Some(Quota::default()) };
    let read = |value: &Option<Spanned<i64>>, out: &mut Findings<'_>| match value {
        None => Some(None),
        Some(n) if *n.get_ref() >= 1 => Some(u64::try_from(*n.get_ref()).ok()),
        Some(n) => {
            out.add(n.span(), format!("a quota of {} issues nothing", n.get_ref()), "use 1 or more, or remove the key");
            None
        }
    };
    let (total, per_device) = (read(&quota.total, out), read(&quota.per_device, out));
    Some(Quota { total: total?, per_device: per_device? })
}
