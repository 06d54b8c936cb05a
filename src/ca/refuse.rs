//! From the small errors below to the refusals and failures of the issuance line.

use super::issue::IssueError;
use crate::policy::decide::{Refusal, Refusals};
use crate::store::{Conflict, StoreError};
use crate::x509::csr::CsrError;
use crate::x509::lint::Finding;
use crate::x509::tbs::TbsError;

impl From<StoreError> for IssueError {
    fn from(e: StoreError) -> Self {
        Self::Unavailable(e.to_string())
    }
}

impl From<Refusals> for IssueError {
    fn from(refusals: Refusals) -> Self {
        Self::Refused(refusals)
    }
}

impl From<TbsError> for IssueError {
    fn from(e: TbsError) -> Self {
        Self::Internal(e.to_string())
    }
}

impl From<CsrError> for IssueError {
    fn from(e: CsrError) -> Self {
        let rule = if e == CsrError::ProofOfPossession { "proof-of-possession" } else { "csr" };
        refusal(rule, e.to_string(), "send a fresh request signed by the device's own key")
    }
}

/// One refusal.
pub(super) fn refusal(rule: &'static str, reason: impl Into<String>, remedy: impl Into<String>) -> IssueError {
    IssueError::Refused(Refusals::one(rule, reason, remedy))
}

pub(super) fn lint_refusal(findings: &[Finding]) -> IssueError {
    let refuse = |f: &Finding| Refusal {
        rule: "lint",
        reason: f.to_string(),
        remedy: "change the profile so that its certificates satisfy this clause; 'sealwright policy check' finds most of them".into(),
    };
    IssueError::Refused(Refusals::from_findings(findings.iter().map(refuse)))
}

pub(super) fn conflict_refusal(conflict: &Conflict) -> IssueError {
    match conflict {
        Conflict::RequestReused => refusal(
            "request-id",
            "this request id was used with another request or by another role",
            "use a fresh request id for a new request, and the old one only with the same bytes",
        ),
        Conflict::InProgress => {
            refusal("request-id", "this request is being worked on", "repeat it when the first answer has come or timed out")
        }
        Conflict::DeviceKnown(serial) => refusal(
            "device-unique",
            format!("the device has certificate {serial} already"),
            "use the certificate that it has, or a profile that allows renewal",
        ),
        Conflict::KeyKnown(serial, device) => refusal(
            "key-unique",
            format!("the public key has certificate {serial} as device {device}"),
            "two devices must not share a key: look for a cloned or double-tested element",
        ),
        Conflict::QuotaExhausted(limit) => refusal(
            "quota",
            format!("the profile's quota of {limit} certificates is used up"),
            "have the policy owner raise the quota of the profile",
        ),
        Conflict::DeviceQuotaExhausted(limit) => refusal(
            "device-quota",
            format!("the device has had the {limit} certificates that the profile gives to one device"),
            "use the certificate that it has, or have the policy owner raise per_device",
        ),
    }
}
