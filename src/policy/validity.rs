//! How long a certificate lasts: duration or absolute end, backdating, and the issuer's own end.

use super::problem::Findings;
use super::spec::{Text, ValiditySpec};
use crate::types::{NO_EXPIRATION, Validity};
use der::DateTime;
use toml::Spanned;

/// Longest duration accepted: longer lives are said with `until`.
const MAX_DURATION: i64 = 100 * 365 * DAY;
/// Most backdating accepted: clocks that are further off need repair, not tolerance.
const MAX_BACKDATE: i64 = 7 * DAY;
const DAY: i64 = 86_400;

/// Where the validity ends when nothing shortens it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// Whole length in seconds, backdating included.
    After(i64),
    /// Absolute last second.
    At(i64),
}

/// The validity rule of a profile.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ValidityRule {
    end: End,
    minimum: Option<i64>,
    backdate: i64,
    outlive_issuer: bool,
}

impl ValidityRule {
    pub(super) fn check(spec: &Spanned<ValiditySpec>, out: &mut Findings<'_>) -> Option<Self> {
        let whole = spec.span();
        let spec = spec.get_ref();
        let end = match (&spec.duration, &spec.until) {
            (Some(text), None) => End::After(duration(text, DAY / 24, MAX_DURATION, out)?),
            (None, Some(text)) => End::At(instant(text, out)?),
            _ => {
                out.add(whole, "a validity has either 'duration' or 'until'", "write one of them, e.g. duration = \"2y\"");
                return None;
            }
        };
        let minimum = match (&spec.minimum, end) {
            (None, _) => None,
            (Some(text), End::After(full)) => Some(duration(text, DAY / 24, full, out)?),
            (Some(text), End::At(_)) => {
                out.add(text.span(), "'minimum' needs 'duration'", "remove it: a certificate with an absolute end is never shortened");
                return None;
            }
        };
        let backdate = match &spec.backdate {
            None => 0,
            Some(text) => duration(text, 0, MAX_BACKDATE, out)?,
        };
        let outlive_issuer = spec.outlive_issuer.as_ref().is_some_and(|b| *b.get_ref());
        if outlive_issuer && end != End::At(NO_EXPIRATION) {
            let span = spec.outlive_issuer.as_ref().map_or(whole, Spanned::span);
            out.add(span, "'outlive_issuer' is only for certificates without expiration", "remove it, or write until = \"9999-12-31\"");
            return None;
        }
        Some(Self { end, minimum, backdate, outlive_issuer })
    }

    /// Whether the leaf may outlive its issuer (P3).
    pub fn outlive_issuer(&self) -> bool {
        self.outlive_issuer
    }

    /// Where the validity ends when nothing shortens it.
    pub fn end(&self) -> End {
        self.end
    }

    /// Shortest length in seconds that is still issued when the issuer ends early.
    pub fn minimum(&self) -> Option<i64> {
        self.minimum
    }

    /// Seconds before now at which the validity starts, for devices whose clock is behind.
    pub fn backdate(&self) -> i64 {
        self.backdate
    }

    /// The validity for a certificate issued at `now`; never starts before the issuer's, and is
    /// shortened to the issuer's end only down to `minimum`.
    pub fn period(&self, issuer: Validity, now: i64) -> Result<Validity, String> {
        let from = now.saturating_sub(self.backdate).max(issuer.not_before());
        let full = match self.end {
            End::After(length) => from.saturating_add(length - 1),
            End::At(last) => last,
        };
        let last = if full <= issuer.not_after() || self.outlive_issuer {
            full
        } else {
            match self.minimum {
                Some(minimum) if issuer.not_after() >= from.saturating_add(minimum - 1) => issuer.not_after(),
                _ => return Err(format!("it would end {} days after its issuer does", (full - issuer.not_after()) / DAY + 1)),
            }
        };
        Validity::new(from, last).map_err(|e| e.reason)
    }
}

/// Seconds as `2y`, `730d`, `12h`, `30m` or `45s`; a year is 365 days exactly.
fn duration(text: &Text, least: i64, most: i64, out: &mut Findings<'_>) -> Option<i64> {
    let raw = text.get_ref();
    let (digits, unit) = raw.split_at_checked(raw.len().saturating_sub(1)).unwrap_or((raw, ""));
    let factor = match unit {
        "y" => 365 * DAY,
        "d" => DAY,
        "h" => 3600,
        "m" => 60,
        "s" => 1,
        _ => 0,
    };
    let plain = !digits.is_empty() && digits.len() <= 10 && digits.bytes().all(|b| b.is_ascii_digit());
    let seconds = if plain { digits.parse::<i64>().ok().and_then(|n| n.checked_mul(factor)) } else { None };
    match seconds {
        Some(s) if factor > 0 && (least..=most).contains(&s) => Some(s),
        Some(_) if factor > 0 => {
            out.add(text.span(), format!("'{raw}' is out of bounds"), format!("use {} to {}", words(least), words(most)));
            None
        }
        _ => {
            out.add(text.span(), format!("'{raw}' is not a duration"), "write a whole number and y, d, h, m or s, e.g. \"2y\" or \"730d\"");
            None
        }
    }
}

/// A length of time in its largest whole unit, as the policy file writes it.
pub fn words(seconds: i64) -> String {
    [(365 * DAY, "y"), (DAY, "d"), (3600, "h"), (60, "m")]
        .into_iter()
        .find(|(size, _)| seconds >= *size && seconds % size == 0)
        .map_or_else(|| format!("{seconds}s"), |(size, unit)| format!("{}{unit}", seconds / size))
}

fn instant(text: &Text, out: &mut Findings<'_>) -> Option<i64> {
    let parsed = parse_instant(text.get_ref());
    if parsed.is_none() {
        let message = format!("'{}' is not a date", text.get_ref());
        out.add(text.span(), message, "write \"YYYY-MM-DD\" or \"YYYY-MM-DDThh:mm:ssZ\", e.g. \"9999-12-31\"");
    }
    parsed
}

/// Unix seconds of `YYYY-MM-DD` (its last second) or `YYYY-MM-DDThh:mm:ssZ`.
pub fn parse_instant(text: &str) -> Option<i64> {
    let full = if text.len() == 10 { format!("{text}T23:59:59Z") } else { text.to_owned() };
    full.parse::<DateTime>().ok().and_then(|d| i64::try_from(d.unix_duration().as_secs()).ok())
}
