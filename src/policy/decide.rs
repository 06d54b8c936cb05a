//! The decision: a request either becomes an [`Approved`] plan or names every rule that it breaks.

use super::extensions::alt_names;
use super::names::{Rdn, Unfit, name_of};
use super::profile::{Profile, TestMark, is_role};
use crate::types::{DeviceIdentity, Invalid, ProfileName, Validity};
use crate::x509::csr::VerifiedCsr;
use crate::x509::lint::Standard;
use crate::x509::plan::Plan;
use crate::x509::tbs::Issuer;
use std::fmt;
use x509_cert::ext::Extension;
use x509_cert::name::Name;

/// Who asks, as the operating system says (SO_PEERCRED) and the configuration maps it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Caller {
    role: String,
    uid: u32,
}

impl Caller {
    /// A caller with a role of 1 to 32 lower-case letters, digits and hyphens.
    pub fn new(role: &str, uid: u32) -> Result<Self, Invalid> {
        if !is_role(role) {
            return Err(Invalid::new("role", "must be 1 to 32 lower-case letters, digits and hyphens, starting with a letter"));
        }
        Ok(Self { role: role.to_owned(), uid })
    }

    /// Role.
    pub fn role(&self) -> &str {
        &self.role
    }

    /// Unix user id.
    pub fn uid(&self) -> u32 {
        self.uid
    }
}

/// Under whom a certificate is issued.
#[derive(Clone, Copy, Debug)]
pub struct IssuerContext<'a> {
    /// The issuing CA.
    pub issuer: &'a Issuer,
    /// Whether its key lives in a soft token (T1).
    pub soft_token: bool,
}

/// One rule that a request breaks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// Stable id of the rule, e.g. `key-algorithm`.
    pub rule: &'static str,
    /// What was refused and why.
    pub reason: String,
    /// What would be accepted.
    pub remedy: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.rule, self.reason, self.remedy)
    }
}

/// Every rule that a request breaks: never empty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusals(Vec<Refusal>);

impl Refusals {
    /// A refusal by one rule that policy alone cannot decide (quota, uniqueness, unknown profile).
    pub fn one(rule: &'static str, reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self(vec![Refusal { rule, reason: reason.into(), remedy: remedy.into() }])
    }

    /// Several refusals at once; an empty list becomes one that says so, since a refusal without
    /// a rule must not exist (I6).
    pub fn from_findings(findings: impl IntoIterator<Item = Refusal>) -> Self {
        let list: Vec<Refusal> = findings.into_iter().collect();
        if list.is_empty() { Self::one("unnamed", "refused without a finding", "report this as a defect") } else { Self(list) }
    }

    /// The refusals, at least one.
    pub fn as_slice(&self) -> &[Refusal] {
        &self.0
    }
}

impl fmt::Display for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().enumerate().try_for_each(|(i, refusal)| {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{refusal}")
        })
    }
}

impl std::error::Error for Refusals {}

/// A plan that policy approved. Only [`decide`] makes one.
#[derive(Clone, Debug)]
pub struct Approved {
    plan: Plan,
    profile: ProfileName,
    policy_hash: [u8; 32],
    standards: Vec<Standard>,
}

impl Approved {
    /// What the certificate will say.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The profile that approved it.
    pub fn profile(&self) -> &ProfileName {
        &self.profile
    }

    /// Standards by which the certificate must be linted, beyond RFC 5280.
    pub fn standards(&self) -> &[Standard] {
        &self.standards
    }

    /// Hash of the policy set under which it was approved.
    pub fn policy_hash(&self) -> &[u8; 32] {
        &self.policy_hash
    }
}

/// Applies every rule of `profile` at Unix time `now`. Nothing of the request but its public key
/// goes into the plan (P1, P2).
pub fn decide(
    profile: &Profile,
    caller: &Caller,
    csr: &VerifiedCsr,
    identity: &DeviceIdentity,
    context: &IssuerContext<'_>,
    now: i64,
) -> Result<Approved, Refusals> {
    let mut broken = Broken(Vec::new());
    check_caller(profile, caller, &mut broken);
    check_key(profile, csr, context, &mut broken);
    for (rule, reason, remedy) in profile.identity.broken(identity) {
        broken.add(rule, reason, remedy);
    }
    check_issuer(profile, context, now, &mut broken);
    let validity = plan_validity(profile, context, now, &mut broken);
    let subject = plan_subject(profile, identity, context.soft_token, &mut broken);
    let extensions = plan_extensions(profile, identity, context.soft_token, &mut broken);
    match (validity, subject, extensions) {
        (Some(validity), Some(subject), Some(extensions)) if broken.0.is_empty() => Ok(Approved {
            plan: Plan {
                subject,
                spki_der: csr.spki_der().to_vec(),
                validity,
                extensions,
                subject_key_identifier: profile.extensions.subject_key_identifier(),
                may_outlive_issuer: profile.validity.outlive_issuer(),
            },
            profile: profile.name.clone(),
            policy_hash: profile.policy_hash,
            standards: profile.standards.clone(),
        }),
        _ => Err(Refusals(broken.0)),
    }
}

struct Broken(Vec<Refusal>);

impl Broken {
    fn add(&mut self, rule: &'static str, reason: impl Into<String>, remedy: impl Into<String>) {
        let refusal = Refusal { rule, reason: reason.into(), remedy: remedy.into() };
        // One missing field may break several names: say it once.
        if !self.0.contains(&refusal) {
            self.0.push(refusal);
        }
    }

    fn unfit(&mut self, rule: &'static str, what: &str, unfit: Unfit) {
        match unfit {
            Unfit::Missing(field) => self.add(
                "identity-field",
                format!("the identity has no {}, which the profile needs", field.name()),
                format!("send {}", field.name()),
            ),
            Unfit::Value(reason) => self.add(rule, format!("{what}: {reason}"), "send an identity whose names fit"),
        }
    }
}

fn check_caller(profile: &Profile, caller: &Caller, broken: &mut Broken) {
    if !profile.roles.iter().any(|r| r == &caller.role) {
        let allowed = if profile.roles.is_empty() { "no role".to_owned() } else { profile.roles.join(", ") };
        broken.add(
            "role",
            format!("role '{}' (uid {}) may not use profile '{}'", caller.role, caller.uid, profile.name),
            format!("allowed: {allowed}; the policy officer can add a role"),
        );
    }
}

fn check_key(profile: &Profile, csr: &VerifiedCsr, context: &IssuerContext<'_>, broken: &mut Broken) {
    if !profile.algorithms.contains(&csr.algorithm()) {
        let allowed: Vec<String> = profile.algorithms.iter().map(ToString::to_string).collect();
        broken.add("key-algorithm", format!("the key is {}", csr.algorithm()), format!("use {}", allowed.join(" or ")));
    }
    // A root is its own issuer.
    if csr.spki_der() == context.issuer.spki_der() && !profile.extensions.is_ca() {
        broken.add("key-of-issuer", "the key is the issuing CA's own", "generate a key in the device");
    }
}

fn check_issuer(profile: &Profile, context: &IssuerContext<'_>, now: i64, broken: &mut Broken) {
    if profile.production && context.soft_token {
        broken.add("production-token", "a production profile refuses an issuer in a soft token", "use a hardware token, or a test profile");
    }
    if !context.issuer.validity().contains(now) {
        broken.add("issuer-validity", "the issuer's certificate is not valid now", "check the clock, or install a valid issuer");
    }
}

fn plan_validity(profile: &Profile, context: &IssuerContext<'_>, now: i64, broken: &mut Broken) -> Option<Validity> {
    match profile.validity.period(context.issuer.validity(), now) {
        Ok(validity) => Some(validity),
        Err(reason) => {
            broken.add("validity", reason, "renew the issuer, or shorten the profile's duration or minimum");
            None
        }
    }
}

fn plan_subject(profile: &Profile, identity: &DeviceIdentity, soft: bool, broken: &mut Broken) -> Option<Name> {
    let mark = (soft && profile.test_mark == TestMark::Subject).then(Rdn::test_mark);
    let mut rdns = Vec::new();
    for rdn in profile.subject.iter().chain(mark.as_ref()) {
        match rdn.render(identity) {
            Ok(rdn) => rdns.push(rdn),
            Err(e) => broken.unfit("subject", rdn.label(), e),
        }
    }
    name_of(rdns).map_err(|e| broken.unfit("subject", "subject", e)).ok()
}

fn plan_extensions(profile: &Profile, identity: &DeviceIdentity, soft: bool, broken: &mut Broken) -> Option<Vec<Extension>> {
    let san = profile.san.as_ref().map(|(critical, names)| {
        let mut good = Vec::new();
        for name in alt_names(names, identity) {
            match name {
                Ok(name) => good.push(name),
                Err((kind, e)) => broken.unfit("subject-alt-name", kind, e),
            }
        }
        (*critical, good)
    });
    let mark = match profile.test_mark {
        TestMark::Policy(oid) if soft => Some(oid),
        _ => None,
    };
    profile.extensions.render(identity, san, mark).map_err(|e| broken.unfit("extension", "custom extension", e)).ok()
}
