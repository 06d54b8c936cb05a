//! A decision in words: every rule, what it says, what the request has, and the verdict.

use super::decide::{Approved, Caller, IssuerContext, Refusals, decide};
use super::describe::date;
use super::identity::IdKind;
use super::profile::Profile;
use crate::types::DeviceIdentity;
use crate::x509::csr::VerifiedCsr;

/// One rule of the decision.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    /// Rule id, as refusals name it.
    pub rule: &'static str,
    /// Whether the request keeps it.
    pub kept: bool,
    /// What the request has and what the profile allows, or why it is refused and the remedy.
    pub why: String,
}

/// A decision and how it came about.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// Every rule in the order of the decision.
    pub lines: Vec<Line>,
    /// The decision itself, the same that issuance would make.
    pub outcome: Result<Approved, Refusals>,
}

/// Decides exactly as issuance does and says which rule decided what.
pub fn explain(
    profile: &Profile,
    caller: &Caller,
    csr: &VerifiedCsr,
    identity: &DeviceIdentity,
    context: &IssuerContext<'_>,
    now: i64,
) -> Explanation {
    let outcome = decide(profile, caller, csr, identity, context, now);
    let refusals = outcome.as_ref().err().map(Refusals::as_slice).unwrap_or_default();
    let mut lines = Vec::new();
    for (rule, why) in statements(profile, caller, csr, identity, context, now) {
        let broken: Vec<&super::decide::Refusal> = refusals.iter().filter(|r| r.rule == rule).collect();
        if broken.is_empty() {
            lines.push(Line { rule, kept: true, why });
        }
        lines.extend(broken.iter().map(|r| Line { rule, kept: false, why: format!("{}; {}", r.reason, r.remedy) }));
    }
    // A rule without a statement of its own must not vanish from the explanation.
    let unsaid: Vec<Line> = refusals
        .iter()
        .filter(|r| !lines.iter().any(|l| l.rule == r.rule))
        .map(|r| Line { rule: r.rule, kept: false, why: format!("{}; {}", r.reason, r.remedy) })
        .collect();
    lines.extend(unsaid);
    Explanation { lines, outcome }
}

fn statements(
    profile: &Profile,
    caller: &Caller,
    csr: &VerifiedCsr,
    identity: &DeviceIdentity,
    context: &IssuerContext<'_>,
    now: i64,
) -> Vec<(&'static str, String)> {
    let algorithms: Vec<String> = profile.algorithms().iter().map(ToString::to_string).collect();
    let kinds: Vec<&str> = profile.identity().kinds().iter().map(|k| k.name()).collect();
    let (least, most) = profile.identity().length();
    let id = identity.id().to_string();
    let issuer = context.issuer.validity();
    let period = profile.validity().period(issuer, now);
    let period = period.map_or_else(|reason| reason, |v| format!("{} to {}", date(v.not_before()), date(v.not_after())));
    let token = match (context.soft_token, profile.production()) {
        (true, _) => "the issuer is in a soft token: the certificate is marked TEST",
        (false, true) => "the issuer is in a hardware token, as production needs",
        (false, false) => "the issuer is in a hardware token",
    };
    let subject: Vec<String> = profile.subject().iter().map(|r| format!("{}={}", r.label(), r.template())).collect();
    let san: Vec<String> = profile.san().map_or(Vec::new(), |(_, names)| names.iter().map(ToString::to_string).collect());
    let none = |list: &[String]| if list.is_empty() { "none".to_owned() } else { list.join(", ") };
    vec![
        ("role", format!("'{}' (uid {}) is among {}", caller.role(), caller.uid(), profile.roles().join(", "))),
        ("key-algorithm", format!("{} is among {}", csr.algorithm(), algorithms.join(", "))),
        ("key-of-issuer", format!("key {} is not the issuer's", csr.fingerprint())),
        ("identity-kind", format!("{} is among {}", IdKind::of(identity.id()).name(), kinds.join(", "))),
        ("identity-length", format!("'{id}' has {} characters, {least} to {most} allowed", id.len())),
        ("identity-pattern", format!("'{id}' matches {}", profile.identity().pattern().unwrap_or("any id"))),
        ("production-token", token.to_owned()),
        ("issuer-validity", format!("{} lies in {} to {}", date(now), date(issuer.not_before()), date(issuer.not_after()))),
        ("validity", period),
        ("identity-field", "every field that the names use is there".to_owned()),
        ("subject", format!("from the profile: {}; the request's own subject '{}' is not used", none(&subject), csr.subject())),
        ("subject-alt-name", format!("from the profile: {}", none(&san))),
    ]
}
