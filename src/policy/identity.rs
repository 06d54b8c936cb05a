//! Which device identities a profile accepts: kinds, length, pattern.

use super::problem::Findings;
use super::spec::IdentitySpec;
use crate::types::{DeviceId, DeviceIdentity};
use regex_lite::Regex;
use toml::Spanned;

/// Longest identity pattern, in bytes.
const MAX_PATTERN: usize = 256;

/// Kinds of device id (see [`DeviceId`]).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IdKind {
    /// Free text.
    Free,
    /// EUI-48.
    Mac48,
    /// EUI-64.
    Mac64,
    /// UUID.
    Uuid,
}

impl IdKind {
    const ALL: [(&'static str, Self); 4] = [("free", Self::Free), ("mac48", Self::Mac48), ("mac64", Self::Mac64), ("uuid", Self::Uuid)];

    /// Kind of an id.
    pub fn of(id: &DeviceId) -> Self {
        match id {
            DeviceId::Free(_) => Self::Free,
            DeviceId::Mac48(_) => Self::Mac48,
            DeviceId::Mac64(_) => Self::Mac64,
            DeviceId::Uuid(_) => Self::Uuid,
        }
    }

    /// Name in profiles.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }
}

/// Which identities a profile accepts.
#[derive(Clone, Debug)]
pub struct IdentityRule {
    kinds: Vec<IdKind>,
    pattern: Option<Regex>,
    shown: String,
    length: (usize, usize),
}

impl IdentityRule {
    /// Every rule that the identity breaks, as (rule id, reason, remedy).
    pub(super) fn broken(&self, identity: &DeviceIdentity) -> Vec<(&'static str, String, String)> {
        let mut out = Vec::new();
        let (kind, text) = (IdKind::of(identity.id()), identity.id().to_string());
        if !self.kinds.contains(&kind) {
            let kinds: Vec<&str> = self.kinds.iter().map(|k| k.name()).collect();
            out.push(("identity-kind", format!("the id is of kind {}", kind.name()), format!("use an id of kind {}", kinds.join(" or "))));
        }
        let (least, most) = self.length;
        if !(least..=most).contains(&text.len()) {
            out.push(("identity-length", format!("the id has {} characters", text.len()), format!("use {least} to {most} characters")));
        }
        if self.pattern.as_ref().is_some_and(|p| !p.is_match(&text)) {
            out.push((
                "identity-pattern",
                format!("the id '{text}' does not match the pattern"),
                format!("use an id that matches {}", self.shown),
            ));
        }
        out
    }

    /// Accepted kinds.
    pub fn kinds(&self) -> &[IdKind] {
        &self.kinds
    }

    /// Shortest and longest canonical id, in characters.
    pub fn length(&self) -> (usize, usize) {
        self.length
    }

    /// The pattern as written, if any.
    pub fn pattern(&self) -> Option<&str> {
        self.pattern.as_ref().map(|_| self.shown.as_str())
    }
}

impl IdentityRule {
    pub(super) fn check(spec: &Spanned<IdentitySpec>, out: &mut Findings<'_>) -> Option<Self> {
        let spec = spec.get_ref();
        let mut kinds = Vec::new();
        let mut good = true;
        for text in spec.kinds.get_ref() {
            match IdKind::ALL.iter().find(|(name, _)| name == text.get_ref()) {
                Some((_, kind)) => kinds.push(*kind),
                None => {
                    out.add(text.span(), format!("'{}' is not a kind of device id", text.get_ref()), "use free, mac48, mac64 or uuid");
                    good = false;
                }
            }
        }
        if good && kinds.is_empty() {
            out.add(spec.kinds.span(), "no kind of device id is accepted", "list at least one of free, mac48, mac64, uuid");
            good = false;
        }
        let pattern = match &spec.pattern {
            None => None,
            Some(text) => match Regex::new(&format!("^(?:{})$", text.get_ref())) {
                Ok(regex) if text.get_ref().len() <= MAX_PATTERN => Some(regex),
                Ok(_) => {
                    out.add(text.span(), "the pattern is too long", format!("use at most {MAX_PATTERN} characters"));
                    return None;
                }
                Err(e) => {
                    out.add(text.span(), format!("not a regular expression: {e}"), "correct the pattern; it always matches the whole id");
                    return None;
                }
            },
        };
        let bound = |value: &Option<Spanned<i64>>, default: i64, out: &mut Findings<'_>| match value {
            Some(n) if !(1..=64).contains(n.get_ref()) => {
                out.add(n.span(), format!("{} is not a length of an id", n.get_ref()), "use 1 to 64");
                None
            }
            other => usize::try_from(other.as_ref().map_or(default, |n| *n.get_ref())).ok(),
        };
        let (least, most) = (bound(&spec.min_length, 1, out)?, bound(&spec.max_length, 64, out)?);
        if least > most {
            let span = spec.min_length.as_ref().map_or(0..0, Spanned::span);
            out.add(span, format!("min_length {least} is over max_length {most}"), "exchange them");
            return None;
        }
        let shown = spec.pattern.as_ref().map(|p| p.get_ref().clone()).unwrap_or_default();
        good.then_some(Self { kinds, pattern, shown, length: (least, most) })
    }
}
