//! The journal of one element: a line of JSON for each thing begun and each thing done,
//! durable before the line moves on.

use super::Step;
use crate::device::ElementSerial;
use crate::durable;
use crate::types::unix_millis;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Largest journal read, in bytes: hundreds of interrupted runs.
const MAX_FILE: u64 = 4 * 1024 * 1024;

/// Why the journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The disk.
    #[error("{path}: {reason}; free or repair the disk and run again")]
    Io {
        /// File.
        path: String,
        /// Cause.
        reason: String,
    },
    /// Lines that this program did not write.
    #[error("{path}: line {line} is not a journal line: {reason}; set the element aside and look at the file")]
    Malformed {
        /// File.
        path: String,
        /// Counted from 1.
        line: usize,
        /// Cause.
        reason: String,
    },
    /// Another station works on the same serial number.
    #[error("element {0} is being provisioned by another station: the same chip twice, or two chips with one serial number")]
    Busy(ElementSerial),
}

/// A line as written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    v: u8,
    ms: i64,
    entry: Event,
}

/// What the journal remembers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Event {
    /// A step that changes the element is about to begin.
    Begin { step: String },
    /// It is done and read back.
    Done { step: String },
    /// The key that the element made, x‖y in hexadecimal.
    Key { public: String },
    /// The request that goes to the authority, DER in hexadecimal; sent only after this line.
    Request { id: String, csr: String, device: String },
    /// The authority's answer, DER in hexadecimal.
    Certificate { der: String, chain: Vec<String>, log_index: u64 },
    /// The device is finished.
    Shipped,
    /// The element can never be finished.
    Scrap { step: String, reason: String },
}

/// What earlier runs have come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Whether any line exists.
    pub known: bool,
    /// x‖y of the last key that the element reported.
    pub key: Option<[u8; 64]>,
    /// Request id, DER request and canonical device id.
    pub request: Option<(String, Vec<u8>, String)>,
    /// DER certificate, chain and log index.
    pub certificate: Option<(Vec<u8>, Vec<Vec<u8>>, u64)>,
    /// Finished.
    pub shipped: bool,
    /// Never to be finished: where and why.
    pub scrap: Option<(String, String)>,
}

/// The journal of one element, held by one station.
pub struct Journal {
    path: PathBuf,
    progress: Progress,
    _lock: File,
}

impl Journal {
    /// Opens or begins the journal of `serial` in `directory`, alone.
    pub fn open(directory: &Path, serial: &ElementSerial) -> Result<Self, JournalError> {
        let path = directory.join(format!("{serial}.journal"));
        let io = |e: std::io::Error| JournalError::Io { path: path.display().to_string(), reason: e.to_string() };
        durable::create_directories(directory).map_err(io)?;
        let lock_path = directory.join(format!("{serial}.lock"));
        let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(lock_path).map_err(io)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| JournalError::Busy(*serial))?;
        let progress = read(&path)?;
        Ok(Self { path, progress, _lock: lock })
    }

    /// What earlier runs have come to.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    pub(super) fn begin(&mut self, step: Step) -> Result<(), JournalError> {
        self.write(Event::Begin { step: step.name().into() })
    }

    pub(super) fn done(&mut self, step: Step) -> Result<(), JournalError> {
        self.write(Event::Done { step: step.name().into() })
    }

    /// Appends durably; on `Ok` the line survives a power cut.
    pub(super) fn write(&mut self, event: Event) -> Result<(), JournalError> {
        let io = |e: std::io::Error| JournalError::Io { path: self.path.display().to_string(), reason: e.to_string() };
        let line = Line { v: 1, ms: unix_millis(), entry: event };
        let mut text = serde_json::to_vec(&line).map_err(|e| io(e.into()))?;
        text.push(b'\n');
        durable::append(&self.path, &text).map_err(io)?;
        self.progress.apply(line.entry).map_err(|reason| JournalError::Malformed { path: self.path.display().to_string(), line: 0, reason })
    }
}

impl Progress {
    /// Reads the journal of `serial` without taking it.
    pub fn load(directory: &Path, serial: &ElementSerial) -> Result<Self, JournalError> {
        read(&directory.join(format!("{serial}.journal")))
    }

    fn apply(&mut self, event: Event) -> Result<(), String> {
        let bytes = |h: &str| hex::decode(h).map_err(|e| e.to_string());
        self.known = true;
        match event {
            Event::Begin { .. } | Event::Done { .. } => {}
            Event::Key { public } => {
                self.key = Some(bytes(&public)?.try_into().map_err(|_| "a key has 64 octets".to_owned())?);
                // A new key makes what was asked for the old one void.
                (self.request, self.certificate) = (None, None);
            }
            Event::Request { id, csr, device } => self.request = Some((id, bytes(&csr)?, device)),
            Event::Certificate { der, chain, log_index } => {
                let chain = chain.iter().map(|c| bytes(c)).collect::<Result<_, _>>()?;
                self.certificate = Some((bytes(&der)?, chain, log_index));
            }
            Event::Shipped => self.shipped = true,
            Event::Scrap { step, reason } => self.scrap = Some((step, reason)),
        }
        Ok(())
    }
}

/// Reads every whole line. A last line without its newline was never acknowledged: a power cut
/// fell into its write, and it is cut off so that the next line stands alone.
fn read(path: &Path) -> Result<Progress, JournalError> {
    let name = path.display().to_string();
    let io = |e: std::io::Error| JournalError::Io { path: name.clone(), reason: e.to_string() };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Progress::default()),
        Err(e) => return Err(io(e)),
    };
    let mut text = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut text).map_err(io)?;
    if text.len() as u64 > MAX_FILE {
        return Err(JournalError::Malformed { path: name, line: 0, reason: format!("has more than {MAX_FILE} bytes") });
    }
    let whole = text.iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1);
    if whole < text.len() {
        durable::truncate(path, whole as u64).map_err(io)?;
    }
    let mut progress = Progress::default();
    let lines = text.get(..whole).unwrap_or_default().split(|b| *b == b'\n').filter(|l| !l.is_empty());
    for (index, line) in lines.enumerate() {
        let malformed = |reason: String| JournalError::Malformed { path: name.clone(), line: index + 1, reason };
        let parsed: Line = serde_json::from_slice(line).map_err(|e| malformed(e.to_string()))?;
        if parsed.v != 1 {
            return Err(malformed(format!("version {} is unknown; this program reads version 1", parsed.v)));
        }
        progress.apply(parsed.entry).map_err(malformed)?;
    }
    Ok(progress)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_line_is_as_if_never_written() {
        let dir = tempfile::tempdir().unwrap();
        let serial = ElementSerial::parse("0123000000000001EE").unwrap();
        let mut journal = Journal::open(dir.path(), &serial).unwrap();
        journal.begin(Step::GenerateKey).unwrap();
        journal.write(Event::Key { public: hex::encode([7; 64]) }).unwrap();
        let before = journal.progress().clone();
        assert!(matches!(Journal::open(dir.path(), &serial), Err(JournalError::Busy(_))));
        drop(journal);
        let path = dir.path().join(format!("{serial}.journal"));
        let whole = std::fs::read(&path).unwrap();
        for cut in 1..80 {
            let torn = [&whole[..], &br#"{"v":1,"ms":1,"entry":{"event":"scrap","step":"x","reason":"0123456789012345678901234"}}"#[..cut]]
                .concat();
            std::fs::write(&path, torn).unwrap();
            let mut journal = Journal::open(dir.path(), &serial).unwrap();
            assert_eq!(*journal.progress(), before);
            journal.write(Event::Shipped).unwrap();
            assert!(read(&path).unwrap().shipped);
        }
        std::fs::write(&path, b"{}\n").unwrap();
        assert!(matches!(Journal::open(dir.path(), &serial), Err(JournalError::Malformed { line: 1, .. })));
    }
}
