//! The journal: each step durable before it is done (I1), each result durable before the next.
//!
//! One JSON object a line. A torn last line (the machine died while it was written) is dropped.

use super::error::CeremonyError;
use crate::durable;
use crate::token::{Key, TokenInfo};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

const VERSION: u32 = 1;
/// Largest journal accepted, bytes; a ceremony writes about 20 KiB.
const MAX_JOURNAL: u64 = 4 * 1024 * 1024;

/// One line as written.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Line {
    /// The plan was checked; nothing is done yet. `program` is the SHA-256 of the executable.
    Begin { version: u32, plan: String, software: String, program: String, started: i64 },
    /// Enough people have approved the plan.
    Approved { by: Vec<ApprovalLine> },
    /// A key with this CKA_ID is about to be generated.
    KeyIntended { id: String },
    /// The key exists and reads back as wanted.
    KeyMade { key: KeyLine },
    /// The issuer's key was found and reads back as wanted.
    IssuerFound { key: KeyLine },
    /// The key to look at was found and reads back as wanted.
    ExistingFound { key: KeyLine },
    /// The request was signed by the new key, or by the restored one.
    RequestSigned { der: String },
    /// This TBSCertificate is about to be signed.
    CertificateIntended { serial: String, tbs: String },
    /// The certificate is signed and its signature verified.
    CertificateSigned { der: String },
    /// The list is signed and its signature verified; the plan held every byte of it.
    CrlSigned { der: String },
    /// The key pair is gone from the token.
    KeyDestroyed,
    /// Every output but the transcript is written.
    OutputsWritten,
    /// The ceremony is over; only the transcript is left to be rendered.
    End { finished: i64 },
}

/// One person's approval of the plan.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ApprovalLine {
    pub name: String,
    pub key: String,
    pub file: String,
    pub sha256: String,
}

/// A key and its token, as read back.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyLine {
    pub label: String,
    pub id: String,
    pub spki: String,
    pub attributes: Vec<(String, Option<bool>)>,
    pub manufacturer: String,
    pub model: String,
    pub serial: String,
    pub token: String,
    pub firmware: String,
    pub soft: bool,
}

impl KeyLine {
    pub(super) fn new(key: &Key, info: &TokenInfo) -> Self {
        Self {
            label: key.label().to_owned(),
            id: hex::encode(key.id()),
            spki: hex::encode(key.spki_der()),
            attributes: key.attributes().iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            manufacturer: info.manufacturer.clone(),
            model: info.model.clone(),
            serial: info.serial.clone(),
            token: info.label.clone(),
            firmware: info.firmware.clone(),
            soft: info.soft,
        }
    }
}

/// What the journal says has happened so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Record {
    pub plan: String,
    pub software: String,
    pub program: String,
    pub started: i64,
    pub approved: Option<Vec<ApprovalLine>>,
    pub key_id: Option<Vec<u8>>,
    pub key: Option<KeyLine>,
    pub issuer: Option<KeyLine>,
    pub existing: Option<KeyLine>,
    pub request: Option<Vec<u8>>,
    pub intended: Option<(String, Vec<u8>)>,
    pub certificate: Option<Vec<u8>>,
    pub crl: Option<Vec<u8>>,
    pub destroyed: bool,
    pub outputs_written: bool,
    pub finished: Option<i64>,
}

impl Record {
    fn apply(&mut self, line: Line) -> Result<(), String> {
        let bytes = |digits: &str| hex::decode(digits).map_err(|e| e.to_string());
        match line {
            Line::Begin { version: VERSION, plan, software, program, started } => {
                (self.plan, self.software, self.program, self.started) = (plan, software, program, started);
            }
            Line::Begin { version, .. } => return Err(format!("version {version} is not {VERSION}")),
            Line::Approved { by } => self.approved = Some(by),
            Line::KeyIntended { id } => self.key_id = Some(bytes(&id)?),
            Line::KeyMade { key } => self.key = Some(key),
            Line::IssuerFound { key } => self.issuer = Some(key),
            Line::ExistingFound { key } => self.existing = Some(key),
            Line::RequestSigned { der } => self.request = Some(bytes(&der)?),
            Line::CertificateIntended { serial, tbs } => self.intended = Some((serial, bytes(&tbs)?)),
            Line::CertificateSigned { der } => self.certificate = Some(bytes(&der)?),
            Line::CrlSigned { der } => self.crl = Some(bytes(&der)?),
            Line::KeyDestroyed => self.destroyed = true,
            Line::OutputsWritten => self.outputs_written = true,
            Line::End { finished } => self.finished = Some(finished),
        }
        Ok(())
    }
}

/// The journal file of one ceremony and what it records.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    pub record: Record,
    /// Whether an earlier run began it.
    pub resumed: bool,
}

impl Journal {
    /// Begins a journal; refuses an existing one.
    pub(super) fn create(path: &Path, plan: &str, program: String, now: i64) -> Result<Self, CeremonyError> {
        let software = format!("sealwright {}", env!("CARGO_PKG_VERSION"));
        let line = Line::Begin { version: VERSION, plan: plan.to_owned(), software, program, started: now };
        let text = encode(path, &line)?;
        durable::create_new(path, text.as_bytes(), 0o600).map_err(|e| broken(path, e.to_string()))?;
        let mut journal = Self { path: path.to_owned(), record: Record::default(), resumed: false };
        journal.record.apply(line).map_err(|e| broken(path, e))?;
        Ok(journal)
    }

    /// Opens the journal of an interrupted run of this very plan; `None` when there is none.
    pub(super) fn open(path: &Path, plan: &str) -> Result<Option<Self>, CeremonyError> {
        let size = match path.symlink_metadata() {
            Ok(meta) => meta.len(),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(broken(path, e.to_string())),
        };
        if size > MAX_JOURNAL {
            return Err(broken(path, "too large for a ceremony's journal"));
        }
        let text = std::fs::read_to_string(path).map_err(|e| broken(path, e.to_string()))?;
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        let lines = text.get(..whole).unwrap_or_default();
        if lines.is_empty() {
            // Died while the first line was written: nothing was done.
            std::fs::remove_file(path).map_err(|e| broken(path, e.to_string()))?;
            return Ok(None);
        }
        if whole < text.len() {
            durable::replace(path, lines.as_bytes(), 0o600).map_err(|e| broken(path, e.to_string()))?;
        }
        let mut record = Record::default();
        for (n, line) in lines.lines().enumerate() {
            let line: Line = serde_json::from_str(line).map_err(|e| broken(path, format!("line {}: {e}", n + 1)))?;
            let begins = matches!(line, Line::Begin { .. });
            if begins != (n == 0) {
                return Err(broken(path, format!("line {}: out of order", n + 1)));
            }
            record.apply(line).map_err(|e| broken(path, format!("line {}: {e}", n + 1)))?;
        }
        if record.plan != plan {
            let reason =
                format!("belongs to plan {}, not {plan}; undo the change to the ceremony file, or name another journal", record.plan);
            return Err(broken(path, reason));
        }
        Ok(Some(Self { path: path.to_owned(), record, resumed: true }))
    }

    /// Makes one step durable, then known.
    pub(super) fn write(&mut self, line: Line) -> Result<(), CeremonyError> {
        let text = encode(&self.path, &line)?;
        durable::append(&self.path, text.as_bytes()).map_err(|e| broken(&self.path, e.to_string()))?;
        self.record.apply(line).map_err(|e| broken(&self.path, e))
    }
}

fn encode(path: &Path, line: &Line) -> Result<String, CeremonyError> {
    serde_json::to_string(line).map(|text| text + "\n").map_err(|e| broken(path, e.to_string()))
}

fn broken(path: &Path, reason: impl Into<String>) -> CeremonyError {
    CeremonyError::Journal { path: path.display().to_string(), reason: reason.into() }
}
