//! The one place where errors meet the wire: RFC 9457 problem details.

use super::wire::{BrokenRule, ProblemDetails};
use crate::ca::issue::IssueError;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// An error on its way to a caller.
#[derive(Debug)]
pub enum Problem {
    /// The issuance line said no or could not.
    Issue(IssueError),
    /// The body is not what the route takes.
    Body(String),
    /// The kernel's uid has no role.
    Caller(u32),
    /// No such thing.
    NotFound(String),
    /// Too many requests in hand.
    Overloaded,
    /// The caller was too slow.
    Slow,
    /// The body is too large.
    TooLarge(usize),
}

impl Problem {
    /// Status, stable name, title.
    fn describe(&self) -> (StatusCode, &'static str, String) {
        use StatusCode as S;
        match self {
            Self::Issue(IssueError::Refused(refusals)) => {
                let rules: Vec<&str> = refusals.as_slice().iter().map(|r| r.rule).collect();
                let status = match rules.first().copied() {
                    Some("csr" | "proof-of-possession") => S::BAD_REQUEST,
                    Some("role" | "profile-role") => S::FORBIDDEN,
                    Some("request-id") => S::CONFLICT,
                    _ => S::UNPROCESSABLE_ENTITY,
                };
                (status, "refused", format!("refused by {}", rules.join(", ")))
            }
            Self::Issue(IssueError::Unavailable(reason)) => (S::SERVICE_UNAVAILABLE, "unavailable", reason.clone()),
            Self::Issue(IssueError::Interrupted { serial, reason }) => (
                S::SERVICE_UNAVAILABLE,
                "interrupted",
                format!("{reason}; serial {serial} is recorded as unknown and is never used; repeat the request for a new serial"),
            ),
            // The inside is for the daemon's own log.
            Self::Issue(IssueError::Internal(_)) => (S::INTERNAL_SERVER_ERROR, "internal", "internal error; see the daemon's log".into()),
            Self::Body(reason) => (S::BAD_REQUEST, "body", reason.clone()),
            Self::Caller(uid) => {
                (S::FORBIDDEN, "caller", format!("uid {uid} has no role here; add it to a [[role]] of the daemon's configuration"))
            }
            Self::NotFound(what) => (S::NOT_FOUND, "not-found", what.clone()),
            Self::Overloaded => {
                (S::TOO_MANY_REQUESTS, "overloaded", "too many requests in hand; try again after the time in Retry-After".into())
            }
            Self::Slow => (S::REQUEST_TIMEOUT, "slow", "the request did not arrive in time".into()),
            Self::TooLarge(limit) => (S::PAYLOAD_TOO_LARGE, "too-large", format!("the body has more than {limit} bytes")),
        }
    }
}

impl Problem {
    /// What the caller is told.
    pub(super) fn details(&self) -> ProblemDetails {
        let (status, name, title) = self.describe();
        let rules = match &self {
            Self::Issue(IssueError::Refused(refusals)) => refusals
                .as_slice()
                .iter()
                .map(|r| BrokenRule { rule: r.rule.to_owned(), reason: r.reason.clone(), remedy: r.remedy.clone() })
                .collect(),
            _ => Vec::new(),
        };
        if let Self::Issue(IssueError::Internal(reason)) = &self {
            tracing::error!(%reason, "internal error");
        }
        ProblemDetails { r#type: format!("urn:sealwright:problem:{name}"), status: status.as_u16(), title, rules }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let details = self.details();
        let status = StatusCode::from_u16(details.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(details)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
