//! Provisioning: the nine steps that turn a blank element into a device, journalled so that a
//! power cut at any point is followed by a resume or by an explained scrap.
//!
//! ```text
//! power-on ─ configure ─ lock-configuration ─ generate-key ─ lock-data ─ request ─ certify
//!     ─ store ─ lock-key ─ test-signature ─ quality-check ─ shipped
//!                    any ─(what cannot be undone went wrong)→ scrap
//! ```
//! The element answers for its own state ([`crate::device::SecureElement::status`]); the journal
//! answers for what the element cannot know: which key was certified, by which request. Nothing
//! is locked that was not read back and compared.

mod journal;
mod line;
mod machine;
mod statistics;

pub use journal::{Journal, JournalError, Progress};
pub use line::{Left, Line, Naming, Socket};
pub use machine::{Device, Provisioner, Shipped};
pub use statistics::Statistics;

use crate::device::DeviceError;
use crate::types::DeviceIdentity;

/// One step of the line, in order.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Step {
    /// Wake the element, read its serial number, check it against the journal.
    PowerOn,
    /// Write the configuration of the chip profile and read it back.
    Configure,
    /// Lock the configuration zone.
    LockConfiguration,
    /// Make the key inside the element.
    GenerateKey,
    /// Lock the data zone, without which the element does not sign.
    LockData,
    /// The element signs its own request.
    Request,
    /// The daemon answers it.
    Certify,
    /// Write certificate and chain, read back, compare.
    Store,
    /// Lock the key slot, read the lock back.
    LockKey,
    /// The element signs a random challenge; the certificate's key verifies it.
    TestSignature,
    /// Certificate, chain and identity are checked as a stranger would.
    QualityCheck,
}

impl Step {
    /// Whether the time of this step is the authority's rather than the element's.
    pub fn is_authority(self) -> bool {
        self == Self::Certify
    }

    /// All steps, in order.
    pub const ALL: [Self; 11] = [
        Self::PowerOn,
        Self::Configure,
        Self::LockConfiguration,
        Self::GenerateKey,
        Self::LockData,
        Self::Request,
        Self::Certify,
        Self::Store,
        Self::LockKey,
        Self::TestSignature,
        Self::QualityCheck,
    ];

    /// Name in journals and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::PowerOn => "power-on",
            Self::Configure => "configure",
            Self::LockConfiguration => "lock-configuration",
            Self::GenerateKey => "generate-key",
            Self::LockData => "lock-data",
            Self::Request => "request",
            Self::Certify => "certify",
            Self::Store => "store",
            Self::LockKey => "lock-key",
            Self::TestSignature => "test-signature",
            Self::QualityCheck => "quality-check",
        }
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// What the machine asks the certificate authority.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Idempotency key, the same after every interruption.
    pub request_id: String,
    /// Whom the certificate shall name.
    pub identity: DeviceIdentity,
    /// DER PKCS#10 signed by the element.
    pub csr: Vec<u8>,
}

/// What the certificate authority answers.
#[derive(Clone, Debug)]
pub struct Certified {
    /// DER certificate.
    pub certificate: Vec<u8>,
    /// DER issuers, intermediate first.
    pub chain: Vec<Vec<u8>>,
    /// Index in the transparency log.
    pub log_index: u64,
}

/// Why there is no certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotCertified {
    /// The authority's words.
    pub reason: String,
    /// Whether asking again can help.
    pub transient: bool,
}

/// A certificate authority as the line sees it. Durability: an answer is on the authority's
/// disk; the same request gives the same bytes again. Called from many threads.
pub trait Certify: Send + Sync {
    /// Asks, and waits for the answer.
    fn certify(&self, ask: &Ask) -> Result<Certified, NotCertified>;
}

/// Why a device is not shipped.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// The element or its bus; the run can be resumed.
    #[error("{step}: {source}; check the fixture and run again, the journal resumes it")]
    Element {
        /// Where.
        step: Step,
        /// What.
        source: DeviceError,
    },
    /// The authority refused or could not.
    #[error("certify: {reason}")]
    NotCertified {
        /// Its words.
        reason: String,
        /// Whether running again can help by itself.
        transient: bool,
    },
    /// The element can never become this device; now or in an earlier run.
    #[error("{step}: scrap: {reason}")]
    Scrap {
        /// Where.
        step: Step,
        /// Why.
        reason: String,
    },
    /// The element is not ours to provision; nothing was changed.
    #[error("power-on: element {serial} is refused: {reason}")]
    Foreign {
        /// Its serial number.
        serial: String,
        /// Why, and what to do.
        reason: String,
    },
    /// The journal or the output directory.
    #[error(transparent)]
    Journal(#[from] JournalError),
}
