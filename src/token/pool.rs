//! Signing from asynchronous code: sessions on their own threads behind one bounded queue.

use super::key::Key;
use super::module::{Module, Token, TokenInfo};
use super::{Pin, TokenError, TokenUri};
use crate::types::{Fingerprint, KeyAlgorithm};
use crate::x509::sign::ToSign;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// Waiting signatures per session: at 42 µs each (SoftHSM, P-256) under 11 ms of work.
const QUEUE_PER_SESSION: usize = 256;
/// Most sessions of one pool.
const MAX_SESSIONS: usize = 64;

/// Who gets the signature: an asynchronous caller, or the signer process's writer.
pub(super) trait Reply: Send + 'static {
    /// Whether nobody waits any more.
    fn gone(&self) -> bool;
    fn give(self: Box<Self>, signed: Result<Vec<u8>, TokenError>);
}

struct Job {
    key: usize,
    message: Vec<u8>,
    reply: Box<dyn Reply>,
}

impl Reply for oneshot::Sender<Result<Vec<u8>, TokenError>> {
    fn gone(&self) -> bool {
        self.is_closed()
    }

    fn give(self: Box<Self>, signed: Result<Vec<u8>, TokenError>) {
        let _ = self.send(signed);
    }
}

/// Signs with one or more keys of one token through several sessions. Dropping it finishes what
/// is queued, joins every thread and only then lets the module finalise.
pub struct SignerPool {
    jobs: Option<Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
    keys: Vec<Key>,
    info: TokenInfo,
    // Dropped last: keeps the login and the module while threads end. The lock makes it Sync.
    first: Mutex<Token>,
}

impl std::fmt::Debug for SignerPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SignerPool").field("token", &self.info.serial).field("sessions", &self.threads.len()).finish_non_exhaustive()
    }
}

impl SignerPool {
    /// Logs in once, loads the keys (attributes checked, K2) and starts `sessions` (1 to 64) signers.
    pub fn start(module: &Module, token: &TokenUri, pin: &Pin, fingerprints: &[Fingerprint], sessions: usize) -> Result<Self, TokenError> {
        let first = Token::open(module, token, pin)?;
        let keys = load(&first, fingerprints)?;
        let sessions = sessions.clamp(1, MAX_SESSIONS);
        let (jobs, queue) = bounded(sessions * QUEUE_PER_SESSION);
        let info = first.info().clone();
        let mut pool = Self { jobs: Some(jobs), threads: Vec::new(), keys, info, first: Mutex::new(first) };
        for n in 0..sessions {
            pool.add_signer(n, fingerprints, queue.clone())?;
        }
        Ok(pool)
    }

    fn add_signer(&mut self, n: usize, fingerprints: &[Fingerprint], queue: Receiver<Job>) -> Result<(), TokenError> {
        let token = self.first.get_mut().unwrap_or_else(PoisonError::into_inner).another_session()?;
        // Object handles belong to the session that found them, so each finds its own.
        let keys = load(&token, fingerprints)?;
        let thread = std::thread::Builder::new().name(format!("signer-{n}")).spawn(move || serve(&token, &keys, &queue));
        self.threads.push(thread.map_err(|e| TokenError::Unavailable(format!("no thread for a signer: {e}")))?);
        Ok(())
    }

    /// Signs the whole message of `what`; X.509 form, not yet verified. [`TokenError::Unavailable`]
    /// at once when the queue is full: the caller's client can wait better than we can.
    pub async fn sign(&self, fingerprint: &Fingerprint, what: ToSign<'_>) -> Result<Vec<u8>, TokenError> {
        let (reply, answer) = oneshot::channel();
        self.submit(fingerprint, what.message().to_vec(), Box::new(reply))?;
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Queues one message for signing.
    pub(super) fn submit(&self, fingerprint: &Fingerprint, message: Vec<u8>, reply: Box<dyn Reply>) -> Result<(), TokenError> {
        let job = Job { key: self.position(fingerprint)?, message, reply };
        match self.jobs.as_ref().ok_or_else(stopped)?.try_send(job) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_)) => Err(TokenError::Unavailable("too many signatures are waiting; try again later".into())),
            Err(TrySendError::Disconnected(_)) => Err(stopped()),
        }
    }

    /// Signatures that may wait or be made at a time before [`Self::sign`] refuses.
    pub fn capacity(&self) -> usize {
        self.threads.len() * QUEUE_PER_SESSION
    }

    /// DER SubjectPublicKeyInfo of one of the pool's keys.
    pub fn spki_der(&self, fingerprint: &Fingerprint) -> Result<&[u8], TokenError> {
        self.key(fingerprint).map(Key::spki_der)
    }

    /// Algorithm of one of the pool's keys.
    pub fn algorithm(&self, fingerprint: &Fingerprint) -> Result<KeyAlgorithm, TokenError> {
        self.key(fingerprint).map(Key::algorithm)
    }

    /// The pool's keys, in the order asked for.
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// The token, as read at start.
    pub fn info(&self) -> &TokenInfo {
        &self.info
    }

    fn position(&self, fingerprint: &Fingerprint) -> Result<usize, TokenError> {
        let missing = || TokenError::NoSuchKey(format!("{fingerprint} is not one of this pool's keys"));
        self.keys.iter().position(|k| k.fingerprint() == *fingerprint).ok_or_else(missing)
    }

    fn key(&self, fingerprint: &Fingerprint) -> Result<&Key, TokenError> {
        let position = self.position(fingerprint)?;
        self.keys.get(position).ok_or_else(|| TokenError::NoSuchKey(fingerprint.to_string()))
    }
}

impl Drop for SignerPool {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a signer thread panicked");
            }
        }
    }
}

fn stopped() -> TokenError {
    TokenError::Unavailable("the signers have stopped".into())
}

fn load(token: &Token, fingerprints: &[Fingerprint]) -> Result<Vec<Key>, TokenError> {
    fingerprints.iter().map(|f| token.find_key(f)).collect()
}

fn serve(token: &Token, keys: &[Key], queue: &Receiver<Job>) {
    while let Ok(job) = queue.recv() {
        // A caller that went away (timeout, disconnect) has no use for a signature.
        if job.reply.gone() {
            continue;
        }
        let missing = || TokenError::NoSuchKey("not one of this pool's keys".into());
        let signed = keys.get(job.key).ok_or_else(missing).and_then(|key| token.sign_message(key, &job.message));
        job.reply.give(signed);
    }
}
