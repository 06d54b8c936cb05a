//! From the store to the public log: entries → tiles → state → signed checkpoint, then prune.
//!
//! The store is the log's write-ahead journal: an entry is durable there, in the transaction of
//! what it tells of (A1), before anybody can see its effect. Publishing repeats itself after a
//! crash, and the log refuses anything that differs from what it holds.

use crate::log::LogError;
use crate::log::checkpoint::SignedCheckpoint;
use crate::log::tiles::TileLog;
use crate::log::vkey::VerifierKey;
use crate::store::{Store, StoreError};
use crate::token::{Signer, TokenError};
use crate::types::Fingerprint;
use crate::x509::sign::ToSign;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::runtime::Handle;

/// Time between checkpoints while there is something to publish.
const PERIOD: Duration = Duration::from_secs(1);
/// Entries moved at a time.
const BATCH: u32 = 1024;

/// Why the log is not up to date; the next round tries again.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The log directory.
    #[error("the log cannot be written: {0}")]
    Log(#[from] LogError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The log key.
    #[error("the checkpoint cannot be signed: {0}")]
    Token(#[from] TokenError),
    /// The store begins after the log ends: one of them was restored from an old copy.
    #[error("the store's entries begin at {store}, the log ends at {log}; one of them is an old copy: restore both from the same moment")]
    Gap {
        /// First entry that the store still has.
        store: u64,
        /// Size of the log.
        log: u64,
    },
    /// The thread.
    #[error("the publisher stopped: {0}")]
    Stopped(String),
}

/// Moves entries until told to stop.
pub struct Publisher {
    log: Option<TileLog>,
    directory: PathBuf,
    published: u64,
    store: Store,
    signer: Arc<Signer>,
    key: Fingerprint,
    vkey: VerifierKey,
    trouble: Trouble,
}

/// What keeps the log from being up to date, for the health report.
#[derive(Clone, Default)]
pub struct Trouble(Arc<Mutex<Option<String>>>);

impl Trouble {
    /// The present trouble.
    pub fn get(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, trouble: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }
}

/// A running publisher.
pub struct Publishing {
    stop: Sender<()>,
    thread: JoinHandle<Result<(), PublishError>>,
    trouble: Trouble,
    vkey: VerifierKey,
}

impl Publishing {
    /// What keeps the log from being up to date.
    pub fn trouble(&self) -> &Trouble {
        &self.trouble
    }

    /// The key that verifies the log's checkpoints.
    pub fn vkey(&self) -> &VerifierKey {
        &self.vkey
    }

    /// Publishes what is left and ends. Blocks.
    pub fn finish(self) -> Result<(), PublishError> {
        drop(self.stop);
        self.thread.join().map_err(|_| PublishError::Stopped("panicked".into()))?
    }
}

impl Publisher {
    /// Loads the log, checks that store and log belong together, and publishes what is waiting.
    pub async fn start(directory: PathBuf, store: Store, signer: Arc<Signer>, key: Fingerprint) -> Result<Publishing, PublishError> {
        let log = TileLog::load(&directory)?;
        let vkey = VerifierKey::ecdsa(log.origin(), signer.spki_der(&key)?)?;
        let trouble = Trouble::default();
        let shown = vkey.clone();
        let mut publisher = Self { log: Some(log), directory, published: 0, store, signer, key, vkey, trouble: trouble.clone() };
        let runtime = Handle::current();
        let (stop, stopped) = channel();
        let first = tokio::task::spawn_blocking(move || publisher.round(&runtime).map(|()| (publisher, runtime)));
        let (publisher, runtime) = first.await.map_err(|e| PublishError::Stopped(e.to_string()))??;
        let thread = std::thread::Builder::new()
            .name("publisher".into())
            .spawn(move || publisher.run(&runtime, &stopped))
            .map_err(|e| PublishError::Stopped(e.to_string()))?;
        Ok(Publishing { stop, thread, trouble, vkey: shown })
    }

    fn run(mut self, runtime: &Handle, stopped: &Receiver<()>) -> Result<(), PublishError> {
        loop {
            let stop = !matches!(stopped.recv_timeout(PERIOD), Err(RecvTimeoutError::Timeout));
            let result = self.round(runtime);
            self.trouble.set(result.as_ref().err().map(ToString::to_string));
            if let Err(error) = &result {
                tracing::error!(%error, "the log is not up to date");
                // What the kernel dropped cannot be told from what it wrote: load from disk.
                self.log = None;
            }
            if stop {
                return result;
            }
        }
    }

    /// One round: everything that waits, one checkpoint.
    fn round(&mut self, runtime: &Handle) -> Result<(), PublishError> {
        let log = match self.log.as_mut() {
            Some(log) => log,
            None => self.log.insert(TileLog::load(&self.directory)?),
        };
        loop {
            let waiting = self.store.reader().log_entries(log.size(), BATCH)?;
            let Some((first, _)) = waiting.first() else { break };
            if *first != log.size() {
                return Err(PublishError::Gap { store: *first, log: log.size() });
            }
            let first = *first;
            let entries: Vec<Vec<u8>> = waiting.into_iter().map(|(_, entry)| entry).collect();
            log.append(first, &entries)?;
        }
        let size = log.size();
        if self.store.reader().log_size()? < size {
            return Err(PublishError::Gap { store: self.store.reader().log_size()?, log: size });
        }
        if size == self.published {
            return Ok(());
        }
        let checkpoint = log.checkpoint()?;
        let text = checkpoint.text();
        let signature = runtime.block_on(self.signer.sign(&self.key, ToSign::Checkpoint(&text)))?;
        log.publish(&SignedCheckpoint::assemble(&checkpoint, &self.vkey, signature)?)?;
        runtime.block_on(self.store.prune(size))?;
        self.published = size;
        Ok(())
    }
}
