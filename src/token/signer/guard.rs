//! The sealed guard: what a key may sign, whoever asks. It parses the bytes itself and believes
//! nothing that the daemon says about them.

use super::counter::Counter;
use super::wire::Kind;
use crate::token::TokenError;
use crate::types::{NO_EXPIRATION, Serial, unix_now};
use crate::x509::tbs::{Issuer, seconds};
use const_oid::ObjectIdentifier;
use der::{Decode, Encode};
use std::collections::BTreeSet;
use std::collections::VecDeque;
use x509_cert::certificate::TbsCertificate;
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage};

const DAY: i64 = 86_400;
/// notBefore may lie this far from the signer's clock, either way (GlobalSign 2018).
const CLOCK_SLACK: i64 = 366 * DAY;
const FUTURE_SLACK: i64 = DAY;
/// Serial numbers remembered, so that none is signed twice with different content.
const REMEMBERED: usize = 100_000;

/// Rules for device certificates.
#[derive(Clone, Debug)]
pub(super) struct CertificateRules {
    pub issuer: Issuer,
    pub max_days: i64,
    pub no_expiration: bool,
    /// Purposes that a certificate may have.
    pub usages: Vec<ObjectIdentifier>,
    /// Whether it may have no extendedKeyUsage, which makes it good for everything (802.1AR).
    pub any_usage: bool,
    /// Every organizationName must be this.
    pub organization: Option<String>,
}

/// What one key may sign.
#[derive(Clone, Debug)]
pub(super) enum Allowed {
    Certificates(Box<CertificateRules>),
    /// Log checkpoints of this origin.
    Checkpoints(String),
}

/// The guard of one key, with its counters.
#[derive(Debug)]
pub struct Guard {
    allowed: Allowed,
    per_hour: u64,
    total: u64,
    counter: Counter,
    /// Unix seconds of the signatures of the last hour, oldest first, and how many in each second.
    recent: VecDeque<(i64, u64)>,
    serials: BTreeSet<Serial>,
    order: VecDeque<Serial>,
    last_size: Option<(u64, String)>,
}

fn refused<T>(reason: impl Into<String>) -> Result<T, TokenError> {
    Err(TokenError::GuardRefused(reason.into()))
}

impl Guard {
    pub(super) fn new(allowed: Allowed, per_hour: u64, total: u64, counter: Counter) -> Self {
        Self {
            allowed,
            per_hour,
            total,
            counter,
            recent: VecDeque::new(),
            serials: BTreeSet::new(),
            order: VecDeque::new(),
            last_size: None,
        }
    }

    /// Whether `message` may be signed now; counts it when it may.
    pub(super) fn admit(&mut self, kind: Kind, message: &[u8]) -> Result<(), TokenError> {
        let now = unix_now();
        let serial = match (&self.allowed, kind) {
            (Allowed::Certificates(rules), Kind::Certificate) => Some(check_certificate(rules, message, now)?),
            (Allowed::Checkpoints(origin), Kind::Checkpoint) => {
                let checkpoint = check_checkpoint(origin, message)?;
                self.check_growth(&checkpoint)?;
                self.last_size = Some(checkpoint);
                None
            }
            (_, kind) => return refused(format!("this key does not sign a {kind:?}")),
        };
        if let Some(serial) = serial {
            if self.serials.contains(&serial) {
                return refused(format!("serial number {serial} was signed before"));
            }
            self.take(now)?;
            self.remember(serial);
            return Ok(());
        }
        self.take(now)
    }

    fn take(&mut self, now: i64) -> Result<(), TokenError> {
        while self.recent.front().is_some_and(|(at, _)| *at <= now - 3600 || *at > now) {
            self.recent.pop_front();
        }
        let hour: u64 = self.recent.iter().map(|(_, n)| n).sum();
        if hour >= self.per_hour {
            return refused(format!("{hour} signatures in the last hour; the guard allows {}", self.per_hour));
        }
        self.counter.take(self.total)?;
        match self.recent.back_mut() {
            Some((at, n)) if *at == now => *n += 1,
            _ => self.recent.push_back((now, 1)),
        }
        Ok(())
    }

    fn remember(&mut self, serial: Serial) {
        self.serials.insert(serial);
        self.order.push_back(serial);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.serials.remove(&oldest);
        }
    }

    /// A log never shrinks, and one size has one root.
    fn check_growth(&self, (size, root): &(u64, String)) -> Result<(), TokenError> {
        match &self.last_size {
            Some((last, _)) if size < last => refused(format!("checkpoint of size {size} after one of {last}: the log would shrink")),
            Some((last, known)) if size == last && root != known => {
                refused(format!("a second checkpoint of size {size} with another root"))
            }
            _ => Ok(()),
        }
    }
}

/// Parses the bytes as a TBSCertificate of a device under the rules; gives its serial number.
fn check_certificate(rules: &CertificateRules, message: &[u8], now: i64) -> Result<Serial, TokenError> {
    let Ok(tbs) = TbsCertificate::from_der(message) else { return refused("not a TBSCertificate") };
    if tbs.to_der().ok().as_deref() != Some(message) {
        return refused("not canonical DER");
    }
    if tbs.issuer() != rules.issuer.name() {
        return refused("the issuer name is not this key's");
    }
    let spki = tbs.subject_public_key_info().to_der().unwrap_or_default();
    if spki == rules.issuer.spki_der() {
        return refused("the subject's key is the CA's own");
    }
    check_powers(&tbs)?;
    check_usages(rules, &tbs)?;
    let (from, to) = (seconds(&tbs.validity().not_before), seconds(&tbs.validity().not_after));
    let unlimited = to == NO_EXPIRATION && rules.no_expiration;
    if to < from || (!unlimited && (to + 1 - from > rules.max_days * DAY || to > rules.issuer.validity().not_after())) {
        return refused(format!("the validity is over {} days or ends after the issuer's", rules.max_days));
    }
    if from > now + FUTURE_SLACK || from < now - CLOCK_SLACK {
        return refused("notBefore is not near the signer's clock");
    }
    if let Some(organization) = &rules.organization {
        let attributes = tbs.subject().iter_rdn().flat_map(|rdn| rdn.iter());
        let mut names = attributes.filter(|a| a.oid == const_oid::db::rfc4519::O);
        if names.any(|a| a.value.value() != organization.as_bytes()) {
            return refused(format!("the subject's organization is not '{organization}'"));
        }
    }
    Serial::parse(&hex::encode(tbs.serial_number().as_bytes())).or_else(|_| refused("the serial number is not 20 positive octets"))
}

fn check_powers(tbs: &TbsCertificate) -> Result<(), TokenError> {
    match tbs.get_extension::<BasicConstraints>() {
        Ok(None) => {}
        Ok(Some((_, constraints))) if !constraints.ca && constraints.path_len_constraint.is_none() => {}
        _ => return refused("it would be a CA certificate"),
    }
    match tbs.get_extension::<KeyUsage>() {
        Ok(Some((_, usage))) if !usage.key_cert_sign() && !usage.crl_sign() => Ok(()),
        _ => refused("keyUsage is missing or allows signing certificates or lists"),
    }
}

fn check_usages(rules: &CertificateRules, tbs: &TbsCertificate) -> Result<(), TokenError> {
    let usages = match tbs.get_extension::<ExtendedKeyUsage>() {
        Ok(None) => Vec::new(),
        Ok(Some((_, usages))) => usages.0,
        Err(_) => return refused("extendedKeyUsage does not decode"),
    };
    if usages.is_empty() && !rules.any_usage {
        return refused("extendedKeyUsage is missing");
    }
    match usages.iter().find(|u| !rules.usages.contains(u)) {
        Some(other) => refused(format!("purpose {other} is not allowed")),
        None => Ok(()),
    }
}

/// C2SP tlog-checkpoint: origin, decimal size, base64 root, each a line. Text that begins with the
/// configured origin can be neither DER nor another log's checkpoint.
fn check_checkpoint(origin: &str, message: &[u8]) -> Result<(u64, String), TokenError> {
    let text = std::str::from_utf8(message).ok().and_then(|t| t.strip_suffix('\n'));
    let lines: Vec<&str> = text.map(|t| t.split('\n').collect()).unwrap_or_default();
    let [first, size, root] = lines.as_slice() else { return refused("not a checkpoint of three lines") };
    if *first != origin {
        return refused(format!("the origin is not '{origin}'"));
    }
    match size.parse::<u64>() {
        Ok(number) if number.to_string() == *size => Ok((number, (*root).to_owned())),
        _ => refused("the size of the checkpoint is not a plain decimal number"),
    }
}
