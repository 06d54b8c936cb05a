//! A C2SP witness: cosigns checkpoints of logs that it knows, and only ones that extend what it
//! cosigned before. Its key is its own and has nothing to do with the authority's token.

use super::LogError;
use super::checkpoint::{SignedCheckpoint, parse_decimal, parse_hash};
use super::merkle::{self, Hash};
use super::note::{MAX_NOTE, Note, NoteSignature, check_name};
use super::reader::{TileReader, read_bounded};
use super::vkey::{VerifierKey, cosigned_message};
use crate::durable;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Most hashes of a consistency proof in a request.
const MAX_HASHES: usize = 63;
/// Largest request in bytes.
pub const MAX_REQUEST: usize = MAX_NOTE + 4096;
/// First line of the file that names the witness.
const NAME_HEADER: &str = "sealwright witness v1\n";

/// The body of `add-checkpoint`: a checkpoint and the proof that it extends an older one. As a
/// file it can be carried by hand.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AddCheckpoint {
    old: u64,
    proof: Vec<Hash>,
    note: Note,
}

impl AddCheckpoint {
    /// A request that extends the tree of `old` entries, the last that the witness cosigned.
    pub fn make(reader: &TileReader, old: u64, signed: &SignedCheckpoint) -> Result<Self, LogError> {
        let proof = reader.consistency_proof(old, signed.checkpoint().size())?;
        Ok(Self { old, proof, note: signed.note().clone() })
    }

    /// Reads `old N`, hashes, an empty line and a checkpoint.
    pub fn parse(bytes: &[u8]) -> Result<Self, LogError> {
        let bad = |reason: &str| LogError::malformed("add-checkpoint request", reason);
        if bytes.len() > MAX_REQUEST {
            return Err(bad("longer than 132 KiB"));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| bad("not UTF-8"))?;
        let (head, note) = text.split_once("\n\n").ok_or_else(|| bad("no empty line before the checkpoint"))?;
        let mut lines = head.split('\n');
        let old = lines.next().and_then(|l| l.strip_prefix("old ")).and_then(parse_decimal).ok_or_else(|| bad("no 'old' line"))?;
        let proof = lines.map(parse_hash).collect::<Result<Vec<_>, _>>()?;
        if proof.len() > MAX_HASHES {
            return Err(bad("more than 63 hashes"));
        }
        Ok(Self { old, proof, note: Note::parse(note.as_bytes())? })
    }
}

impl AddCheckpoint {
    /// The checkpoint that is to be cosigned, its log signature verified.
    pub fn open(&self, log: &VerifierKey) -> Result<SignedCheckpoint, LogError> {
        SignedCheckpoint::from_note(self.note.clone(), log)
    }
}

impl std::fmt::Display for AddCheckpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "old {}", self.old)?;
        self.proof.iter().try_for_each(|h| writeln!(f, "{}", BASE64.encode(h)))?;
        write!(f, "\n{}", self.note)
    }
}

/// Why a witness does not cosign; each has its HTTP status in the specification.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// 400: not a request.
    #[error("{0}")]
    Malformed(LogError),
    /// 404: the witness does not know the log.
    #[error("log '{0}' is not known here; its key must be added first")]
    UnknownLog(String),
    /// 403: no good signature by the log.
    #[error("{0}")]
    Unsigned(LogError),
    /// 409: the request does not start from the size last cosigned.
    #[error("this witness last cosigned size {size}; ask again with 'old {size}'")]
    Stale {
        /// Size last cosigned, 0 for none.
        size: u64,
    },
    /// 422: the log contradicts what was cosigned before. Keep the request: it proves misbehaviour.
    #[error(
        "the checkpoint does not extend what was cosigned before ({0}): the log was rewritten, forked or rolled back; keep this request as evidence"
    )]
    Inconsistent(LogError),
    /// 500: this witness's own disk.
    #[error(transparent)]
    Broken(LogError),
}

impl Refusal {
    /// HTTP status code.
    pub fn status(&self) -> u16 {
        match self {
            Self::Malformed(_) => 400,
            Self::UnknownLog(_) => 404,
            Self::Unsigned(_) => 403,
            Self::Stale { .. } => 409,
            Self::Inconsistent(_) => 422,
            Self::Broken(_) => 500,
        }
    }
}

/// A witness and its directory: `key` (PKCS#8, owner only), `name`, `logs` (one verifier key a
/// line) and the checkpoint last cosigned of each log.
pub struct Witness {
    dir: PathBuf,
    key: Ed25519KeyPair,
    public: VerifierKey,
}

impl Witness {
    /// Creates a witness with a fresh key (K4: never overwrites one).
    pub fn create(dir: &Path, name: &str) -> Result<Self, LogError> {
        check_name(name)?;
        durable::create_directories(dir).map_err(|e| LogError::io(dir, e))?;
        let key = Ed25519KeyPair::generate().map_err(|_| LogError::malformed("witness key", "the random generator failed"))?;
        let document = key.to_pkcs8v1().map_err(|_| LogError::malformed("witness key", "it cannot be encoded"))?;
        let write = |file: &str, bytes: &[u8], mode| {
            let path = dir.join(file);
            durable::create_new(&path, bytes, mode).map_err(|e| match e.kind() {
                std::io::ErrorKind::AlreadyExists => LogError::Exists(dir.to_owned()),
                _ => LogError::io(&path, e),
            })
        };
        write("key", document.as_ref(), 0o600)?;
        write("name", format!("{NAME_HEADER}{name}\n").as_bytes(), 0o644)?;
        write("logs", b"", 0o644)?;
        Self::load(dir)
    }

    /// Loads a witness; never creates one.
    pub fn load(dir: &Path) -> Result<Self, LogError> {
        let read = |file: &str, limit| read_bounded(&dir.join(file), limit)?.ok_or_else(|| LogError::Absent(dir.to_owned()));
        let secret = Zeroizing::new(read("key", 1024)?);
        let key = Ed25519KeyPair::from_pkcs8(&secret).map_err(|_| LogError::corrupt(&dir.join("key"), "not an Ed25519 key in PKCS#8"))?;
        let text = String::from_utf8(read("name", 1024)?).unwrap_or_default();
        let name = text.strip_prefix(NAME_HEADER).and_then(|rest| rest.strip_suffix('\n'));
        let name = name.ok_or_else(|| LogError::corrupt(&dir.join("name"), "it is not a witness's name of version 1"))?;
        let public = key
            .public_key()
            .as_ref()
            .try_into()
            .map_err(|_| LogError::corrupt(&dir.join("key"), "its public key is not 32 octets long"))?;
        Ok(Self { dir: dir.to_owned(), public: VerifierKey::cosignature(name, public)?, key })
    }

    /// The witness's public key.
    pub fn public(&self) -> &VerifierKey {
        &self.public
    }

    /// Adds a log that shall be cosigned.
    pub fn trust(&self, log: &VerifierKey) -> Result<(), LogError> {
        let _lock = self.lock()?;
        let logs = self.logs()?;
        if logs.iter().any(|known| known.name() == log.name()) {
            return Err(LogError::Exists(self.dir.join("logs")));
        }
        let text: String = logs.iter().chain([log]).map(|key| format!("{key}\n")).collect();
        let path = self.dir.join("logs");
        durable::replace(&path, text.as_bytes(), 0o644).map_err(|e| LogError::io(&path, e))
    }

    /// Logs that are cosigned.
    pub fn logs(&self) -> Result<Vec<VerifierKey>, LogError> {
        let path = self.dir.join("logs");
        let bytes = read_bounded(&path, 1024 * 1024)?.ok_or_else(|| LogError::Absent(self.dir.clone()))?;
        let text = String::from_utf8(bytes).map_err(|_| LogError::corrupt(&path, "not UTF-8"))?;
        text.lines().map(VerifierKey::parse).collect()
    }

    /// The checkpoint of a log last cosigned, verified again with both keys.
    pub fn last(&self, log: &VerifierKey) -> Result<Option<SignedCheckpoint>, LogError> {
        let Some(bytes) = read_bounded(&self.state_path(log), MAX_NOTE)? else { return Ok(None) };
        let signed = SignedCheckpoint::open(&bytes, log)?;
        signed.note().verify(&self.public)?;
        Ok(Some(signed))
    }

    /// Where a log's last checkpoint lies: the origin's SHA-256, as the monitoring prefix has it.
    fn state_path(&self, log: &VerifierKey) -> PathBuf {
        self.dir.join(origin_hash(log.name()))
    }

    /// Answers an `add-checkpoint` request at Unix time `now`: the checks in the order of the
    /// specification, then the new state durable, then the signature line (with its newline).
    pub fn add_checkpoint(&self, request: &[u8], now: u64) -> Result<String, Refusal> {
        let request = AddCheckpoint::parse(request).map_err(Refusal::Malformed)?;
        let origin = request.note.text().split('\n').next().unwrap_or_default().to_owned();
        let logs = self.logs().map_err(Refusal::Broken)?;
        let log = logs.iter().find(|key| key.name() == origin).ok_or(Refusal::UnknownLog(origin))?;
        let unsigned = |e| if matches!(e, LogError::Unsigned { .. }) { Refusal::Unsigned(e) } else { Refusal::Malformed(e) };
        let mut signed = SignedCheckpoint::from_note(only_by(&request.note, log), log).map_err(unsigned)?;
        let (size, root) = (signed.checkpoint().size(), signed.checkpoint().root());
        if request.old > size {
            return Err(Refusal::Malformed(LogError::OutOfRange { what: "size", value: request.old, size }));
        }
        let _lock = self.lock().map_err(Refusal::Broken)?;
        let last = self.last(log).map_err(Refusal::Broken)?;
        let (known, known_root) = last.map_or((0, merkle::empty_root()), |l| (l.checkpoint().size(), l.checkpoint().root()));
        if request.old != known {
            return Err(Refusal::Stale { size: known });
        }
        merkle::verify_consistency(known, size, &request.proof, &known_root, &root).map_err(Refusal::Inconsistent)?;
        let line = self.sign(signed.checkpoint().text(), now);
        signed.add_cosignature(line.clone(), &self.public).map_err(Refusal::Broken)?;
        let path = self.state_path(log);
        durable::replace(&path, signed.note().to_string().as_bytes(), 0o644).map_err(|e| Refusal::Broken(LogError::io(&path, e)))?;
        Ok(format!("{line}\n"))
    }

    fn sign(&self, text: String, now: u64) -> NoteSignature {
        let signature = self.key.sign(cosigned_message(now, &text).as_bytes());
        NoteSignature::new(&self.public, [&now.to_be_bytes(), signature.as_ref()].concat())
    }

    /// One request at a time, whichever process answers it: comparing and storing must not interleave.
    fn lock(&self) -> Result<File, LogError> {
        let path = self.dir.join("lock");
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path).map_err(|e| LogError::io(&path, e))?;
        rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).map_err(|e| LogError::io(&path, e.into()))?;
        Ok(file)
    }
}

/// Name of a log in a witness's monitoring prefix: SHA-256 of the origin, lowercase hexadecimal.
pub fn origin_hash(origin: &str) -> String {
    hex::encode(Sha256::digest(origin))
}

/// The note with the log's own signatures alone: others are nothing that the witness can vouch for.
fn only_by(note: &Note, key: &VerifierKey) -> Note {
    let lines = note.signatures().iter().filter(|s| s.is_by(key)).cloned().collect();
    Note::new(note.text(), lines).unwrap_or_else(|_| note.clone())
}
