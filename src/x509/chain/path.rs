//! Path building and validation (RFC 5280 §6.1): a bounded depth-first search from the leaf to a
//! root, each complete path judged from the root down.

use super::certificate::ReadCertificate;
use super::refusal::{Broken, Refusal, Role, Rule, require};
use super::{At, OfflineVerifier, VerifiedChain, constraints, names, revocation};
use crate::types::Validity;
use crate::x509::keys::{self, KeyError};
use const_oid::db::rfc5912::ANY_EXTENDED_KEY_USAGE;
use der::DateTime;
use std::time::Duration;
use x509_cert::ext::pkix::NameConstraints;

/// Signatures checked for one verdict at most, whatever certificates are supplied.
const MAX_SIGNATURES: usize = 32;

/// How far a refused path came; the refusal of the one that came farthest is reported.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    NoIssuer,
    Signature,
    Rules,
}

/// One search for a path.
pub(super) struct Search<'v> {
    verifier: &'v OfflineVerifier,
    pool: Vec<&'v ReadCertificate>,
    at: At,
    signatures: usize,
    best: Option<(Stage, Refusal)>,
}

impl<'v> Search<'v> {
    pub(super) fn new(verifier: &'v OfflineVerifier, extra: &'v [ReadCertificate], at: At) -> Self {
        let pool = extra.iter().chain(&verifier.intermediates).collect();
        Self { verifier, pool, at, signatures: MAX_SIGNATURES, best: None }
    }

    /// The first acceptable path from `leaf`, or the refusal of the best one.
    pub(super) fn run(mut self, leaf: &'v ReadCertificate) -> Result<VerifiedChain, Refusal> {
        let mut path = vec![leaf];
        match self.extend(&mut path) {
            Some(chain) => Ok(chain),
            None => Err(self.best.map_or_else(|| refuse(&path, bounds("no path was tried")), |(_, refusal)| refusal)),
        }
    }

    fn extend(&mut self, path: &mut Vec<&'v ReadCertificate>) -> Option<VerifiedChain> {
        let child = *path.last()?;
        let mut found = false;
        let roots = self.verifier.roots.iter().map(|c| (c, true));
        let others: Vec<_> = self.pool.iter().map(|c| (*c, false)).collect();
        for (issuer, is_root) in roots.chain(others) {
            if !names::same(&issuer.subject, &child.issuer) || !identifiers_agree(child, issuer) {
                continue;
            }
            let repeated = path.iter().any(|c| c.spki_der == issuer.spki_der && c.subject == issuer.subject);
            if !is_root && repeated {
                continue;
            }
            found = true;
            if let Err(broken) = self.check_signature(child, issuer) {
                self.note(Stage::Signature, refuse(path, broken));
                continue;
            }
            path.push(issuer);
            let outcome = if is_root {
                self.judge(path)
            } else if path.len() > self.verifier.max_intermediates + 1 {
                let reason = format!("over {} intermediates", self.verifier.max_intermediates);
                self.note(Stage::Rules, refuse(path, bounds(&reason)));
                None
            } else {
                self.extend(path)
            };
            if outcome.is_some() {
                return outcome;
            }
            path.pop();
        }
        if !found {
            let reason = format!("its issuer '{}' is not among the roots and intermediates", child.issuer.to_string().escape_debug());
            self.note(Stage::NoIssuer, refuse(path, Broken::new(Rule::Issuer, "RFC 5280 §6.1.3 (a)(4)", reason)));
        }
        None
    }

    fn check_signature(&mut self, child: &ReadCertificate, issuer: &ReadCertificate) -> Result<(), Broken> {
        self.signatures = self.signatures.checked_sub(1).ok_or_else(|| bounds(&format!("over {MAX_SIGNATURES} signatures to check")))?;
        verify_signature(child, issuer)
    }

    fn note(&mut self, stage: Stage, refusal: Refusal) {
        if self.best.as_ref().is_none_or(|(best, _)| stage > *best) {
            self.best = Some((stage, refusal));
        }
    }

    fn judge(&mut self, path: &[&ReadCertificate]) -> Option<VerifiedChain> {
        match judge(self.verifier, path, self.at) {
            Ok(chain) => Some(chain),
            Err(refusal) => {
                self.note(Stage::Rules, refusal);
                None
            }
        }
    }
}

/// Checks the signature of `child` with the key of `issuer`.
pub(super) fn verify_signature(child: &ReadCertificate, issuer: &ReadCertificate) -> Result<(), Broken> {
    let agree = identifiers_agree(child, issuer);
    require(agree, Rule::Extension, "RFC 5280 §4.2.1.1", "authorityKeyIdentifier names another key")?;
    keys::verify(&issuer.spki_der, child.algorithm, &child.tbs_der, &child.signature).map_err(|e| match e {
        KeyError::Mismatch => Broken::new(
            Rule::Signature,
            "RFC 5280 §6.1.3 (a)(1)",
            format!("its signature does not verify with the key of {}", issuer.label()),
        ),
        other => Broken::new(Rule::Algorithm, "RFC 5280 §6.1.3 (a)(1)", other.to_string()),
    })
}

/// RFC 5280 §4.2.1.1: an authorityKeyIdentifier that names another key or certificate rules the issuer out.
fn identifiers_agree(child: &ReadCertificate, issuer: &ReadCertificate) -> bool {
    let Some(authority) = &child.extensions.authority else { return true };
    let key = match (&authority.key_identifier, &issuer.extensions.key_id) {
        (Some(wanted), Some(own)) => wanted.as_bytes() == own.as_slice(),
        _ => true,
    };
    key && authority.authority_cert_serial_number.as_ref().is_none_or(|n| n.as_bytes() == issuer.serial)
}

fn bounds(reason: &str) -> Broken {
    Broken::new(Rule::Bounds, "verifier limit", reason)
}

/// Refusal of the last certificate of an incomplete path.
fn refuse(path: &[&ReadCertificate], broken: Broken) -> Refusal {
    let role = if path.len() == 1 { Role::Leaf } else { Role::Intermediate };
    Refusal::new(role, &path.last().map_or_else(String::new, |c| c.label()), broken)
}

/// What the certificates above have fixed for those below (RFC 5280 §6.1.2 state).
struct State<'p> {
    remaining: Option<usize>,
    constraints: Vec<&'p NameConstraints>,
    window: Validity,
}

/// Judges a path (leaf first, root last) whose names and signatures already chain.
fn judge(verifier: &OfflineVerifier, path: &[&ReadCertificate], at: At) -> Result<VerifiedChain, Refusal> {
    let Some(((leaf, issuers), top)) = path.split_first().zip(path.last()) else {
        return Err(refuse(path, bounds("an empty path")));
    };
    let mut state = State { remaining: None, constraints: Vec::new(), window: top.validity };
    for (above, issuer) in issuers.iter().rev().enumerate() {
        let role = if above == 0 { Role::Root } else { Role::Intermediate };
        check_any(verifier, issuer, role, at, &mut state)
            .and_then(|()| check_authority(verifier, issuer, role, &mut state))
            .map_err(|broken| Refusal::new(role, &issuer.label(), broken))?;
    }
    check_any(verifier, leaf, Role::Leaf, at, &mut state)
        .and_then(|()| check_leaf(verifier, leaf))
        .map_err(|broken| Refusal::new(Role::Leaf, &leaf.label(), broken))?;
    for (below, (child, issuer)) in path.iter().zip(issuers).enumerate().rev() {
        let role = if below == 0 { Role::Leaf } else { Role::Intermediate };
        revocation::check(&verifier.crls, verifier.status, child, issuer, below == 0, at)
            .map_err(|broken| Refusal::new(role, &child.label(), broken))?;
    }
    let issuers = issuers.iter().map(|c| (*c).clone()).collect();
    Ok(VerifiedChain { leaf: (*leaf).clone(), issuers, window: state.window, at })
}

/// What holds for every certificate of the path, wherever it stands.
fn check_any(verifier: &OfflineVerifier, certificate: &ReadCertificate, role: Role, at: At, state: &mut State) -> Result<(), Broken> {
    check_validity(certificate, at, &mut state.window)?;
    if role != Role::Root {
        let allowed = verifier.algorithms.contains(&certificate.algorithm);
        let reason = format!("signature algorithm {:?} is not among the allowed", certificate.algorithm);
        require(allowed, Rule::Algorithm, "verifier policy", &reason)?;
    }
    // RFC 5280 §4.2.1.1: only a self-signed certificate may omit it; readers ensure the key identifier.
    let named = certificate.extensions.authority.is_some() || (role == Role::Root && certificate.self_issued());
    require(named, Rule::Extension, "RFC 5280 §4.2.1.1", "authorityKeyIdentifier is missing")?;
    // RFC 5280 §6.1.3 (b): a self-issued intermediate is exempt from name constraints.
    if role == Role::Intermediate && certificate.self_issued() {
        return Ok(());
    }
    state.constraints.iter().try_for_each(|above| constraints::apply(above, certificate))
}

/// RFC 5280 §6.1.3 (a)(2), ends included. Without a clock the periods must at least overlap.
fn check_validity(certificate: &ReadCertificate, at: At, window: &mut Validity) -> Result<(), Broken> {
    let own = certificate.validity;
    let broken = |reason: String| Broken::new(Rule::Validity, "RFC 5280 §6.1.3 (a)(2)", reason);
    if let At::Time(time) = at {
        if time < own.not_before() {
            return Err(broken(format!("not valid before {}, asked for {}", show_time(own.not_before()), show_time(time))));
        }
        if time > own.not_after() {
            return Err(broken(format!("expired at {}, asked for {}", show_time(own.not_after()), show_time(time))));
        }
    }
    let (from, to) = (own.not_before().max(window.not_before()), own.not_after().min(window.not_after()));
    *window = Validity::new(from, to).map_err(|_| broken("there is no time at which it and its issuers are all valid".into()))?;
    Ok(())
}

/// RFC 3339 text of Unix seconds.
pub(super) fn show_time(unix: i64) -> String {
    let date = u64::try_from(unix).ok().and_then(|s| DateTime::from_unix_duration(Duration::from_secs(s)).ok());
    date.map_or_else(|| format!("{unix} s"), |d| d.to_string())
}

fn check_leaf(verifier: &OfflineVerifier, leaf: &ReadCertificate) -> Result<(), Broken> {
    if verifier.authority_leaf {
        require(leaf.is_authority(), Rule::Authority, "RFC 5280 §4.2.1.9", "it is no authority but one was asked for")?;
        let critical = leaf.extensions.usage.is_some_and(|u| u.key_cert_sign());
        return require(critical, Rule::Usage, "RFC 5280 §4.2.1.3", "an authority needs keyUsage keyCertSign");
    }
    require(!leaf.is_authority(), Rule::Authority, "RFC 5280 §4.2.1.9", "it is an authority, not a device")?;
    let Some(wanted) = verifier.extended_usage else { return Ok(()) };
    let listed = leaf.extensions.extended.as_ref().is_some_and(|list| list.contains(&wanted));
    require(listed, Rule::Usage, "RFC 5280 §4.2.1.12", &format!("extendedKeyUsage does not list {wanted}"))
}

/// RFC 5280 §6.1.4 (k)(l)(m)(n), and the issuing side of §4.2.1.2 and §4.2.1.12.
fn check_authority<'p>(verifier: &OfflineVerifier, issuer: &'p ReadCertificate, role: Role, state: &mut State<'p>) -> Result<(), Broken> {
    let own = &issuer.extensions;
    require(
        issuer.is_authority(),
        Rule::Authority,
        "RFC 5280 §6.1.4 (k)",
        "it issued a certificate but is no authority (basicConstraints)",
    )?;
    let signs = own.usage.is_some_and(|u| u.key_cert_sign());
    require(signs, Rule::Authority, "RFC 5280 §6.1.4 (n), §4.2.1.3", "it issued a certificate without keyUsage keyCertSign")?;
    require(own.key_id.is_some(), Rule::Extension, "RFC 5280 §4.2.1.2", "an authority needs a subjectKeyIdentifier")?;
    if role == Role::Intermediate && !issuer.self_issued() {
        state.remaining = match state.remaining {
            Some(0) => {
                return Err(Broken::new(
                    Rule::PathLength,
                    "RFC 5280 §6.1.4 (l)",
                    "a path length constraint above allows no further authority",
                ));
            }
            other => other.map(|n| n - 1),
        };
    }
    if let Some(limit) = own.basic.as_ref().and_then(|b| b.path_len_constraint) {
        let limit = usize::from(limit);
        state.remaining = Some(state.remaining.map_or(limit, |n| n.min(limit)));
    }
    state.constraints.extend(&own.constraints);
    if let (Some(wanted), Some(list)) = (verifier.extended_usage, &own.extended) {
        let allowed = list.contains(&wanted) || list.contains(&ANY_EXTENDED_KEY_USAGE);
        require(allowed, Rule::Usage, "RFC 5280 §4.2.1.12", &format!("an authority limited by extendedKeyUsage does not list {wanted}"))?;
    }
    Ok(())
}
