//! The daemon's side: starts the signer, gives it work, kills it at the deadline, starts another.

use super::wire::{self, Hello, Kind};
use crate::token::{TokenError, TokenInfo};
use crate::types::{Fingerprint, KeyAlgorithm};
use crate::x509::keys;
use crate::x509::sign::ToSign;
use crossbeam_channel::{Receiver, Sender, unbounded};
use std::collections::HashMap;
use std::io::{BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// How often the deadline is looked at.
const TICK: Duration = Duration::from_millis(20);
/// First and longest pause between two starts of a signer that keeps failing.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A signer that has lived this long has recovered.
const STEADY: Duration = Duration::from_secs(60);
/// Most waiting signatures.
const MAX_PENDING: usize = 4096;
/// Requests written by one system call.
const BATCH: usize = 64;

/// How to start a signer.
#[derive(Clone, Debug)]
pub struct SignerOptions {
    /// The program, e.g. `sealwrightd`, and the arguments that make it a signer.
    pub program: PathBuf,
    /// Its arguments. No secret stands among them.
    pub arguments: Vec<String>,
    /// Longest wait for one signature, and for the start.
    pub deadline: Duration,
}

/// How the signer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It answers.
    Up,
    /// It does not, for this reason; another start is made after a growing pause.
    Down(String),
    /// The token refused the PIN: no further start is made until an operator restarts the daemon (K5).
    Latched(String),
}

struct Pending {
    since: Instant,
    reply: oneshot::Sender<Result<Vec<u8>, TokenError>>,
}

struct State {
    health: Health,
    link: Option<Sender<Vec<u8>>>,
    pending: HashMap<u64, Pending>,
    next: u64,
    stopping: bool,
}

type Shared = Arc<Mutex<State>>;

fn lock(shared: &Shared) -> MutexGuard<'_, State> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Signs through a signer process. The same calls as a pool in this process.
#[derive(Debug)]
pub struct RemoteSigner {
    shared: Shared,
    info: TokenInfo,
    keys: Vec<(Fingerprint, Vec<u8>, KeyAlgorithm)>,
    supervisor: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("health", &self.health).field("pending", &self.pending.len()).finish_non_exhaustive()
    }
}

impl RemoteSigner {
    /// Starts the first signer and waits until it has logged in and found its keys.
    pub fn start(options: SignerOptions) -> Result<Self, TokenError> {
        let state = State { health: Health::Up, link: None, pending: HashMap::new(), next: 1, stopping: false };
        let shared = Arc::new(Mutex::new(state));
        let first = Connection::open(&options, &shared)?;
        let hello = first.hello.clone();
        let keys = hello.keys.iter().map(|spki| {
            let spki = hex::decode(spki).map_err(|e| TokenError::Environment(e.to_string()))?;
            let algorithm = keys::classify(&spki).map_err(|e| TokenError::Environment(e.to_string()))?;
            Ok((Fingerprint::of_spki(&spki), spki, algorithm))
        });
        let keys = keys.collect::<Result<Vec<_>, TokenError>>()?;
        let info = TokenInfo::told(&hello.manufacturer, &hello.model, &hello.serial, &hello.label, &hello.firmware, hello.soft);
        let supervised = Arc::clone(&shared);
        let supervisor = std::thread::Builder::new().name("signer-supervisor".into());
        let supervisor = supervisor.spawn(move || supervise(&options, &supervised, first));
        let supervisor = Some(supervisor.map_err(|e| TokenError::Environment(e.to_string()))?);
        Ok(Self { shared, info, keys, supervisor })
    }

    /// Signs the whole message of `what`; X.509 form, not yet verified. After
    /// [`TokenError::DeviceFailed`] it is unknown whether the token signed: the caller must treat
    /// the message as perhaps signed and never send it again.
    pub async fn sign(&self, fingerprint: &Fingerprint, what: ToSign<'_>) -> Result<Vec<u8>, TokenError> {
        let (reply, answer) = oneshot::channel();
        {
            let mut state = lock(&self.shared);
            let link = match (&state.health, &state.link) {
                (Health::Up, Some(link)) => link.clone(),
                (Health::Latched(words), _) => return Err(TokenError::PinRefused(words.clone())),
                (Health::Down(words), _) => return Err(TokenError::Unavailable(format!("HSM down: {words}"))),
                (Health::Up, None) => return Err(TokenError::Unavailable("the signer is starting".into())),
            };
            if state.pending.len() >= MAX_PENDING {
                return Err(TokenError::Unavailable("too many signatures are waiting; try again later".into()));
            }
            let id = state.next;
            state.next += 1;
            let frame = wire::request(id, Kind::of(&what), fingerprint, what.message())?;
            state.pending.insert(id, Pending { since: Instant::now(), reply });
            if link.send(frame).is_err() {
                state.pending.remove(&id);
                return Err(TokenError::Unavailable("the signer has just ended".into()));
            }
        }
        let dropped = || TokenError::DeviceFailed { call: "C_Sign".into(), code: "no answer before the signer was stopped".into() };
        answer.await.unwrap_or_else(|_| Err(dropped()))
    }

    /// Signatures that may wait or be made at a time before [`Self::sign`] refuses.
    pub fn capacity(&self) -> usize {
        MAX_PENDING
    }

    /// How the signer is now.
    pub fn health(&self) -> Health {
        lock(&self.shared).health.clone()
    }

    /// The token, as the first signer found it.
    pub fn info(&self) -> &TokenInfo {
        &self.info
    }

    /// Fingerprint and DER SubjectPublicKeyInfo of every key that has a guard.
    pub fn keys(&self) -> impl Iterator<Item = (&Fingerprint, &[u8])> {
        self.keys.iter().map(|(fingerprint, spki, _)| (fingerprint, spki.as_slice()))
    }

    /// DER SubjectPublicKeyInfo of one of the keys.
    pub fn spki_der(&self, fingerprint: &Fingerprint) -> Result<&[u8], TokenError> {
        self.key(fingerprint).map(|(_, spki, _)| spki.as_slice())
    }

    /// Algorithm of one of the keys.
    pub fn algorithm(&self, fingerprint: &Fingerprint) -> Result<KeyAlgorithm, TokenError> {
        self.key(fingerprint).map(|(_, _, algorithm)| *algorithm)
    }

    fn key(&self, fingerprint: &Fingerprint) -> Result<&(Fingerprint, Vec<u8>, KeyAlgorithm), TokenError> {
        let missing = || TokenError::NoSuchKey(format!("{fingerprint} has no guard in the signer"));
        self.keys.iter().find(|(f, _, _)| f == fingerprint).ok_or_else(missing)
    }
}

impl Drop for RemoteSigner {
    fn drop(&mut self) {
        lock(&self.shared).stopping = true;
        if let Some(supervisor) = self.supervisor.take() {
            let _ = supervisor.join();
        }
    }
}

/// One signer process and the threads that talk to it.
struct Connection {
    child: Child,
    hello: Hello,
    reader: JoinHandle<()>,
    writer: JoinHandle<()>,
    socket: UnixStream,
}

impl Connection {
    fn open(options: &SignerOptions, shared: &Shared) -> Result<Self, TokenError> {
        let refuse = |e: &dyn std::fmt::Display| TokenError::Environment(format!("signer {}: {e}", options.program.display()));
        let (ours, theirs) = UnixStream::pair().map_err(|e| refuse(&e))?;
        let mut command = Command::new(&options.program);
        command.args(&options.arguments).stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::null());
        let mut child = command.spawn().map_err(|e| refuse(&e))?;
        // The command holds the other end; while it lives, the end of the signer is not seen.
        drop(command);
        match greet(&ours, options.deadline) {
            Ok(hello) => Ok(Self::serve(child, hello, ours, shared).map_err(|e| refuse(&e))?),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    fn serve(child: Child, hello: Hello, socket: UnixStream, shared: &Shared) -> std::io::Result<Self> {
        socket.set_read_timeout(None)?;
        let (link, outgoing) = unbounded();
        let (input, output) = (socket.try_clone()?, socket.try_clone()?);
        let answered = Arc::clone(shared);
        let reader = std::thread::Builder::new().name("signer-reader".into()).spawn(move || read(input, &answered))?;
        let writer = std::thread::Builder::new().name("signer-writer".into()).spawn(move || write(output, &outgoing))?;
        let mut state = lock(shared);
        (state.link, state.health) = (Some(link), Health::Up);
        Ok(Self { child, hello, reader, writer, socket })
    }

    /// Ends the process, by asking or by force, and its threads; answers whoever still waits.
    fn close(mut self, shared: &Shared, gently: bool, words: &str) {
        lock(shared).link = None;
        if gently {
            let _ = self.writer.join();
            let _ = self.socket.shutdown(std::net::Shutdown::Write);
            let patience = Instant::now() + Duration::from_secs(5);
            while Instant::now() < patience && matches!(self.child.try_wait(), Ok(None)) {
                std::thread::sleep(TICK);
            }
            let _ = self.child.kill();
        } else {
            let _ = self.child.kill();
            let _ = self.socket.shutdown(std::net::Shutdown::Both);
            let _ = self.writer.join();
        }
        let _ = self.child.wait();
        let _ = self.reader.join();
        for (_, pending) in lock(shared).pending.drain() {
            let _ = pending.reply.send(Err(TokenError::DeviceFailed { call: "C_Sign".into(), code: words.to_owned() }));
        }
    }
}

fn greet(socket: &UnixStream, deadline: Duration) -> Result<Hello, TokenError> {
    let refuse = |e: &dyn std::fmt::Display| TokenError::Environment(format!("the signer did not start: {e}"));
    socket.set_read_timeout(Some(deadline)).map_err(|e| refuse(&e))?;
    let mut input = socket;
    let body = wire::read_frame(&mut input).map_err(|e| refuse(&e))?.ok_or_else(|| refuse(&"it ended at once"))?;
    let (_, first) = wire::parse_reply(&body).ok_or_else(|| refuse(&"short reply"))?;
    serde_json::from_slice(&first?).map_err(|e| refuse(&e))
}

fn read(socket: UnixStream, shared: &Shared) {
    let mut input = BufReader::new(socket);
    while let Ok(Some(body)) = wire::read_frame(&mut input) {
        let Some((id, result)) = wire::parse_reply(&body) else { return };
        let pending = lock(shared).pending.remove(&id);
        if let Some(pending) = pending {
            let _ = pending.reply.send(result);
        }
    }
}

fn write(mut socket: UnixStream, outgoing: &Receiver<Vec<u8>>) {
    while let Ok(mut frames) = outgoing.recv() {
        outgoing.try_iter().take(BATCH).for_each(|frame| frames.extend(frame));
        if socket.write_all(&frames).is_err() {
            return;
        }
    }
}

/// Watches one signer after the other until the client is dropped or the PIN was refused.
fn supervise(options: &SignerOptions, shared: &Shared, first: Connection) {
    let keys = (first.hello.serial.clone(), first.hello.keys.clone());
    let mut connection = Some(first);
    let mut pause = FIRST_PAUSE;
    loop {
        let began = Instant::now();
        let words = match connection.take() {
            Some(live) if (&live.hello.serial, &live.hello.keys) == (&keys.0, &keys.1) => match watch(options, shared, live) {
                Some(words) => words,
                None => return,
            },
            Some(other) => {
                other.close(shared, false, "the signer found another token");
                "the signer came back with another token or other keys".to_owned()
            }
            None => String::new(),
        };
        if !words.is_empty() {
            tracing::error!(reason = words, "the signer is down");
            lock(shared).health = Health::Down(words);
        }
        if began.elapsed() > STEADY {
            pause = FIRST_PAUSE;
        }
        if !rest(shared, pause) {
            return;
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
        match Connection::open(options, shared) {
            Ok(live) => connection = Some(live),
            Err(TokenError::PinRefused(words)) => {
                tracing::error!(reason = words, "the token refused the PIN; it will not be tried again");
                lock(shared).health = Health::Latched(words);
                return;
            }
            Err(error) => lock(shared).health = Health::Down(error.to_string()),
        }
    }
}

/// Watches one live signer; gives the reason of its end, or `None` when the client is dropped.
fn watch(options: &SignerOptions, shared: &Shared, connection: Connection) -> Option<String> {
    loop {
        std::thread::sleep(TICK);
        let (stopping, late) = {
            let state = lock(shared);
            (state.stopping, state.pending.values().any(|p| p.since.elapsed() > options.deadline))
        };
        let words = match (stopping, late, connection.reader.is_finished()) {
            (true, ..) => {
                connection.close(shared, true, "the signer was stopped");
                return None;
            }
            (_, true, _) => format!("no answer within {:?}; the signer was killed", options.deadline),
            (_, _, true) => "the signer ended unexpectedly".to_owned(),
            _ => continue,
        };
        connection.close(shared, false, &words);
        return Some(words);
    }
}

/// Waits; false when the client is dropped meanwhile.
fn rest(shared: &Shared, pause: Duration) -> bool {
    let until = Instant::now() + pause;
    while Instant::now() < until {
        if lock(shared).stopping {
            return false;
        }
        std::thread::sleep(TICK);
    }
    true
}
