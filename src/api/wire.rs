//! JSON as it travels; raw types only, turned into domain types here and nowhere else (A2).

use crate::ca::issue::{Issued, Request};
use crate::types::{DeviceId, DeviceIdentity, Invalid, ProfileName, RequestId};
use crate::x509::pem;
use base64::Engine;
use serde::{Deserialize, Serialize};

/// Body of `POST /v1/certificates`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateRequest {
    /// Idempotency key, 1 to 128 characters.
    pub request_id: String,
    /// Profile name.
    pub profile: String,
    /// Device identity.
    pub device: Device,
    /// PKCS#10 as PEM text, or DER in standard base64.
    pub csr: String,
}

/// Device identity on the wire.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// `free`, `mac` or `uuid`.
    pub kind: String,
    /// The identifier in any usual spelling.
    pub id: String,
    /// Device type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_type: Option<String>,
    /// Hardware revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hardware_revision: Option<String>,
    /// Firmware version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware_version: Option<String>,
}

impl TryFrom<&Device> for DeviceIdentity {
    type Error = Invalid;

    fn try_from(raw: &Device) -> Result<Self, Invalid> {
        let Device { kind, id, device_type, hardware_revision, firmware_version } = raw;
        let mut identity = Self::new(DeviceId::parse(kind, id)?);
        if let Some(value) = device_type {
            identity = identity.with_device_type(value)?;
        }
        if let Some(value) = hardware_revision {
            identity = identity.with_hardware_revision(value)?;
        }
        if let Some(value) = firmware_version {
            identity = identity.with_firmware_version(value)?;
        }
        Ok(identity)
    }
}

impl TryFrom<CertificateRequest> for Request {
    type Error = Invalid;

    fn try_from(raw: CertificateRequest) -> Result<Self, Invalid> {
        let CertificateRequest { request_id, profile, device, csr } = raw;
        let csr = if csr.contains("-----BEGIN") {
            csr.into_bytes()
        } else {
            let decoded = base64::engine::general_purpose::STANDARD.decode(csr.trim());
            decoded.map_err(|_| Invalid::new("csr", "must be PEM text or DER in standard base64"))?
        };
        Ok(Self {
            id: RequestId::parse(&request_id)?,
            profile: ProfileName::parse(&profile)?,
            identity: DeviceIdentity::try_from(&device)?,
            csr,
        })
    }
}

/// Answer to an issued certificate.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// 40 hexadecimal digits.
    pub serial: String,
    /// Profile it was issued under.
    pub profile: String,
    /// Canonical device identity.
    pub device: String,
    /// PEM certificate.
    pub certificate: String,
    /// PEM issuer certificates, intermediate first.
    pub chain: Vec<String>,
    /// Index in the transparency log.
    pub log_index: u64,
    /// Whether the same request was answered before with these very bytes.
    pub replayed: bool,
}

impl Certificate {
    /// The stored record with the chain of its issuer (PEM, intermediate first).
    pub fn new(issued: &Issued, chain: &[String]) -> Self {
        let record = &issued.record;
        Self {
            serial: record.serial.to_string(),
            profile: record.profile.clone(),
            device: record.device.clone(),
            certificate: pem::encode(pem::CERTIFICATE, &record.certificate),
            chain: chain.to_vec(),
            log_index: record.leaf,
            replayed: issued.replayed,
        }
    }
}

/// One line of the answer to `POST /v1/certificates:batch`: a certificate or a problem.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchAnswer {
    /// Number of the request's line, from 1, blank lines not counted.
    pub line: u64,
    /// Its idempotency key, when the line could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The certificate, without its chain: that of all is at `GET /v1/chain`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Certificate>,
    /// Why there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<ProblemDetails>,
}

/// RFC 9457 problem details.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProblemDetails {
    /// Stable name of the kind of problem.
    pub r#type: String,
    /// HTTP status.
    pub status: u16,
    /// One line for humans.
    pub title: String,
    /// Every broken rule.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<BrokenRule>,
}

/// One broken rule.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BrokenRule {
    /// Stable name of the rule.
    pub rule: String,
    /// What was refused.
    pub reason: String,
    /// What to do.
    pub remedy: String,
}

/// Answer of `GET /v1/health`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// `ok` or `degraded`.
    pub status: String,
    /// Version of the daemon.
    pub version: String,
    /// Why it is degraded.
    pub problems: Vec<String>,
    /// Certificates in the store.
    pub certificates: u64,
    /// Log entries appended.
    pub log_size: u64,
    /// Serials of intents without a certificate (at most 100).
    pub unresolved: Vec<String>,
    /// SHA-256 of the policy in force.
    pub policy: String,
    /// Whether the keys live in a soft token and what they sign is for tests only (T1).
    pub test_only: bool,
    /// Verifier key of the transparency log; keep a copy where the log cannot reach it.
    pub log_key: String,
}
