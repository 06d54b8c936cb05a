//! The daemon as the provisioning line's certificate authority.

use super::client::{Client, ClientError};
use super::wire::{CertificateRequest, Device};
use crate::ca::provision::{Ask, Certified, Certify, NotCertified};
use crate::types::{DeviceId, DeviceIdentity};
use crate::x509::pem;
use std::path::Path;
use std::time::Duration;
use tokio::runtime::Runtime;

/// Pauses before asking again after an answer that may pass: 3 s in all.
const AGAIN: [Duration; 4] =
    [Duration::from_millis(100), Duration::from_millis(400), Duration::from_millis(1000), Duration::from_millis(1500)];

/// One connection to the daemon; a station has its own.
pub struct DaemonAuthority {
    runtime: Runtime,
    client: Client,
    profile: String,
}

impl DaemonAuthority {
    /// Asks at `socket`, for certificates of `profile`.
    pub fn new(socket: &Path, profile: &str) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { runtime, client: Client::new(socket), profile: profile.to_owned() })
    }

    async fn ask(&self, request: &CertificateRequest) -> Result<super::wire::Certificate, ClientError> {
        for pause in AGAIN {
            match self.client.enroll(request).await {
                // The request id makes asking again safe.
                Err(error) if error.is_transient() => tokio::time::sleep(pause).await,
                settled => return settled,
            }
        }
        self.client.enroll(request).await
    }
}

impl Certify for DaemonAuthority {
    fn certify(&self, ask: &Ask) -> Result<Certified, NotCertified> {
        let request = CertificateRequest {
            request_id: ask.request_id.clone(),
            profile: self.profile.clone(),
            device: Device::from(&ask.identity),
            csr: pem::encode(pem::REQUEST, &ask.csr),
        };
        let answer =
            self.runtime.block_on(self.ask(&request)).map_err(|e| NotCertified { reason: e.to_string(), transient: e.is_transient() })?;
        let malformed = |reason: String| NotCertified { reason: format!("the daemon's answer is malformed: {reason}"), transient: false };
        let one = |text: &str| pem::certificates(text.as_bytes()).map_err(malformed)?.pop().ok_or_else(|| malformed("empty".into()));
        Ok(Certified {
            certificate: one(&answer.certificate)?,
            chain: answer.chain.iter().map(|c| one(c)).collect::<Result<_, _>>()?,
            log_index: answer.log_index,
        })
    }
}

impl From<&DeviceIdentity> for Device {
    fn from(identity: &DeviceIdentity) -> Self {
        let kind = match identity.id() {
            DeviceId::Free(_) => "free",
            DeviceId::Mac48(_) | DeviceId::Mac64(_) => "mac",
            DeviceId::Uuid(_) => "uuid",
        };
        Self {
            kind: kind.to_owned(),
            id: identity.id().to_string(),
            device_type: identity.field("device_type"),
            hardware_revision: identity.field("hardware_revision"),
            firmware_version: identity.field("firmware_version"),
        }
    }
}
