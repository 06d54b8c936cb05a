//! Durable record of intents, certificates and log entries.
//!
//! One writer thread owns the database connection and group-commits: it takes whatever is
//! queued (at most [`BATCH`]), applies it in one transaction, syncs once, then answers. Readers
//! have connections of their own and never wait for it. After any failed commit the connection
//! is dropped and the database opened anew from disk, through the same recovery as at start:
//! a sync that failed once is never trusted.

mod inspect;
mod schema;
mod sqlite;
#[cfg(test)]
mod tests;
mod writer;

pub use inspect::{Checked, Inspection};
pub use sqlite::Reader;

use crate::policy::profile::{Quota, Reuse};
use crate::types::{Fingerprint, ProfileName, RequestId, Serial};
use std::path::Path;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot;

/// Most operations in one transaction.
pub const BATCH: usize = 256;
/// Most operations waiting; beyond it callers are told to come back.
pub const QUEUE: usize = 4096;

/// Why the store did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The queue is full.
    #[error("the store is overloaded; try again shortly")]
    Busy,
    /// Another process owns the store.
    #[error("the store {0} is in use by another process; stop that daemon first")]
    Locked(String),
    /// The database is from another version of the program.
    #[error("the store has format {found}, this program reads format {expected}; use the program that wrote it")]
    Version {
        /// Format found on disk.
        found: i64,
        /// Format of this program.
        expected: i64,
    },
    /// The integrity check failed.
    #[error("the store is damaged: {0}; restore it from a backup and start again")]
    Corrupt(String),
    /// Disk or database failure; nothing of the request was acknowledged.
    #[error("the store cannot write: {0}; free disk space or repair the disk, it reopens by itself")]
    Failed(String),
    /// A completion for an intent that is not pending any more.
    #[error("the intent of serial {0} is not pending")]
    NotPending(String),
}

/// What shall be signed, recorded before it is (I1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    /// Serial of the certificate to be.
    pub serial: Serial,
    /// The caller's idempotency key.
    pub request: RequestId,
    /// SHA-256 of the DER request.
    pub csr_sha256: [u8; 32],
    /// Profile that decided.
    pub profile: ProfileName,
    /// SHA-256 of the policy in force.
    pub policy: [u8; 32],
    /// Canonical device identity.
    pub device: String,
    /// Public key of the device.
    pub key: Fingerprint,
    /// Role of the caller.
    pub role: String,
    /// Kernel-attested uid of the caller.
    pub uid: u32,
    /// SHA-256 of the TBSCertificate.
    pub tbs_sha256: [u8; 32],
    /// Unix milliseconds.
    pub created_ms: i64,
}

/// Uniqueness and quota rules of the profile, checked in the transaction that records the intent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The device has a certificate of the profile.
    pub device: Reuse,
    /// The public key was certified.
    pub key: Reuse,
    /// Most certificates.
    pub quota: Quota,
}

/// Answer to [`Store::begin`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun {
    /// The intent is durable; sign.
    New,
    /// The same request was answered before: these bytes again.
    Replay(Record),
    /// A rule forbids it; nothing was recorded.
    Conflict(Conflict),
}

/// A uniqueness or quota rule that forbids an intent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// Same request id, other request.
    RequestReused,
    /// The request is being worked on (by a caller that raced).
    InProgress,
    /// The device has this certificate.
    DeviceKnown(Serial),
    /// The key has this certificate, for this device.
    KeyKnown(Serial, String),
    /// The profile's quota is used up.
    QuotaExhausted(u64),
    /// The device's share of the profile's quota is used up.
    DeviceQuotaExhausted(u64),
}

/// A stored certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Serial number.
    pub serial: Serial,
    /// DER certificate.
    pub certificate: Vec<u8>,
    /// Index of its log entry.
    pub leaf: u64,
    /// Canonical device identity.
    pub device: String,
    /// Profile it was issued under.
    pub profile: String,
    /// SHA-256 of the request it answers.
    pub csr_sha256: [u8; 32],
    /// Role that asked.
    pub role: String,
}

/// An intent whose signature may or may not have been made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unresolved {
    /// Serial, revocable as it stands.
    pub serial: Serial,
    /// The request that asked.
    pub request: String,
    /// Canonical device identity.
    pub device: String,
    /// Unix milliseconds of the intent.
    pub created_ms: i64,
}

/// What [`Inspection::each`] selects; everything when empty.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Canonical device identity.
    pub device: Option<String>,
    /// Public key.
    pub key: Option<Fingerprint>,
    /// Serial number.
    pub serial: Option<Serial>,
    /// Profile.
    pub profile: Option<ProfileName>,
    /// Created at or after, Unix milliseconds.
    pub since_ms: Option<i64>,
    /// Created before, Unix milliseconds.
    pub until_ms: Option<i64>,
}

/// An intent with its certificate, if it has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Serial number.
    pub serial: Serial,
    /// The caller's idempotency key.
    pub request: String,
    /// Canonical device identity.
    pub device: String,
    /// Profile.
    pub profile: String,
    /// Fingerprint of the public key, hexadecimal.
    pub key: String,
    /// Role that asked.
    pub role: String,
    /// Kernel-attested uid that asked.
    pub uid: u32,
    /// Unix milliseconds of the intent.
    pub created_ms: i64,
    /// `pending`, `issued`, `failed` or `unknown`.
    pub state: &'static str,
    /// DER certificate.
    pub certificate: Option<Vec<u8>>,
    /// Index of its log entry.
    pub leaf: Option<u64>,
}

/// A log entry to append, with the private metadata that it commits to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// The entry as the log publishes it.
    pub entry: Vec<u8>,
    /// Salt of the commitment.
    pub salt: [u8; 32],
    /// What is committed to; stays in the store.
    pub metadata: String,
}

/// How an intent ends.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The verified certificate.
    Issued(Vec<u8>),
    /// The token answered that it did not sign.
    Failed,
    /// Nobody knows whether the token signed.
    Unknown,
}

type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// One operation of the writer.
pub(crate) enum Operation {
    Begin(Box<Intent>, Rules, Reply<Begun>),
    End { serial: Serial, outcome: Outcome, leaf: Leaf, reply: Reply<u64> },
    Note { leaves: Vec<Leaf>, reply: Reply<u64> },
    Prune { below: u64, reply: Reply<u64> },
}

/// What [`Store::open`] gives.
pub struct Opened {
    /// The handle.
    pub store: Store,
    /// Ends when the last handle is gone; join it for a clean stop.
    pub writer: std::thread::JoinHandle<()>,
}

/// Serials of intents that were marked unknown and are not in the log yet.
type Recovered = Arc<Mutex<Vec<Serial>>>;

/// Handle on the store; cheap to clone, safe to share.
#[derive(Clone)]
pub struct Store {
    queue: SyncSender<Operation>,
    reader: Arc<Reader>,
    recovered: Recovered,
}

impl Store {
    /// Makes a new store in `directory`, which must not have one (K4).
    pub fn create(directory: &Path) -> Result<(), StoreError> {
        sqlite::create(directory)
    }

    /// Opens the store, alone: checks format and integrity, takes the lock, and marks every
    /// intent that a crash left pending as unknown.
    pub fn open(directory: &Path) -> Result<Opened, StoreError> {
        let recovered = Recovered::default();
        let backend = sqlite::Writer::open(directory, Arc::clone(&recovered))?;
        let reader = Arc::new(Reader::open(directory)?);
        let (queue, waiting) = sync_channel(QUEUE);
        let writer = std::thread::Builder::new()
            .name("store".into())
            .spawn(move || writer::run(backend, &waiting))
            .map_err(|e| StoreError::Failed(e.to_string()))?;
        Ok(Opened { store: Self { queue, reader, recovered }, writer })
    }

    /// Records an intent durably, or says why not. The check of request id, device, key and
    /// quota is part of the same transaction.
    pub async fn begin(&self, intent: Intent, rules: Rules) -> Result<Begun, StoreError> {
        self.ask(|reply| Operation::Begin(Box::new(intent), rules, reply)).await
    }

    /// Ends a pending intent and appends its log entry in one transaction (A1); gives the
    /// index of the entry.
    pub async fn end(&self, serial: Serial, outcome: Outcome, leaf: Leaf) -> Result<u64, StoreError> {
        self.ask(|reply| Operation::End { serial, outcome, leaf, reply }).await
    }

    /// Appends log entries; gives the index of the first.
    pub async fn note(&self, leaves: Vec<Leaf>) -> Result<u64, StoreError> {
        self.ask(|reply| Operation::Note { leaves, reply }).await
    }

    /// Drops log entries that are published durably elsewhere, up to and without `below`.
    pub async fn prune(&self, below: u64) -> Result<u64, StoreError> {
        self.ask(|reply| Operation::Prune { below, reply }).await
    }

    /// Serials of the intents that were marked unknown since the last call: at the start, and
    /// whenever the store had to be opened from disk again.
    pub fn take_recovered(&self) -> Vec<Serial> {
        std::mem::take(&mut *self.recovered.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns serials that could not be logged, for another try.
    pub fn put_back_recovered(&self, serials: Vec<Serial>) {
        self.recovered.lock().unwrap_or_else(PoisonError::into_inner).extend(serials);
    }

    /// Read side.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    async fn ask<T>(&self, operation: impl FnOnce(Reply<T>) -> Operation) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.queue.try_send(operation(reply)).map_err(|e| match e {
            TrySendError::Full(_) => StoreError::Busy,
            TrySendError::Disconnected(_) => StoreError::Failed("the store has stopped".into()),
        })?;
        answer.await.map_err(|_| StoreError::Failed("the store has stopped".into()))?
    }
}
