//! C2SP tlog-proof files: entry, inclusion proof and checkpoint in one text that verifies offline.

use super::LogError;
use super::checkpoint::{SignedCheckpoint, parse_decimal, parse_hash};
use super::entry::{self, Entry, Event};
use super::merkle::{self, Hash, MAX_PROOF};
use super::note::{MAX_NOTE, Note};
use super::reader::TileReader;
use super::trust::{Accepted, TrustPolicy};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

/// First line of every proof.
const HEADER: &str = "c2sp.org/tlog-proof@v1";
/// Largest extra data in bytes: an entry's header is at most 75.
const MAX_EXTRA: usize = 1024;
/// Largest proof file in bytes.
pub const MAX_PROOF_FILE: usize = MAX_NOTE + 8 * 1024;

/// A proof as a file carries it; nothing in it is verified.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Proof {
    extra: Vec<u8>,
    index: u64,
    hashes: Vec<Hash>,
    note: Note,
}

/// What a verified proof says.
#[derive(Clone, Debug)]
pub struct Proved {
    /// Index of the entry.
    pub index: u64,
    /// The entry.
    pub entry: Entry,
    /// The checkpoint that covers it.
    pub checkpoint: SignedCheckpoint,
    /// Witnesses of the trust policy that cosigned it, with their time in Unix seconds.
    pub witnesses: Vec<(String, u64)>,
}

impl Proof {
    /// Makes the proof that entry `index` is in the tree of this checkpoint, and verifies it
    /// before it is handed out. The entry's header travels as extra data.
    pub fn make(reader: &TileReader, index: u64, signed: &SignedCheckpoint) -> Result<Self, LogError> {
        let (size, root) = (signed.checkpoint().size(), signed.checkpoint().root());
        let leaf = reader.entry(index, size)?;
        let hashes = reader.inclusion_proof(index, size)?;
        merkle::verify_inclusion(index, size, &merkle::leaf_hash(&leaf), &hashes, &root)?;
        Ok(Self { extra: Entry::decode(&leaf)?.header(), index, hashes, note: signed.note().clone() })
    }

    /// Reads a proof file.
    pub fn parse(bytes: &[u8]) -> Result<Self, LogError> {
        let bad = |reason: &str| LogError::malformed("tlog-proof", reason);
        if bytes.len() > MAX_PROOF_FILE {
            return Err(bad("longer than 136 KiB"));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| bad("not UTF-8"))?;
        let (head, note) = text.split_once("\n\n").ok_or_else(|| bad("no empty line before the checkpoint"))?;
        let mut lines = head.split('\n').peekable();
        if lines.next() != Some(HEADER) {
            return Err(bad("it does not start with c2sp.org/tlog-proof@v1"));
        }
        let extra = match lines.next_if(|l| l.starts_with("extra ")).and_then(|l| l.strip_prefix("extra ")) {
            None => Vec::new(),
            Some(encoded) => BASE64.decode(encoded).map_err(|e| bad(&e.to_string()))?,
        };
        let index = lines.next().and_then(|l| l.strip_prefix("index ")).and_then(parse_decimal).ok_or_else(|| bad("no index line"))?;
        let hashes = lines.map(parse_hash).collect::<Result<Vec<_>, _>>()?;
        if extra.is_empty() && head.contains("\nextra ") {
            return Err(bad("an empty extra line; it is left out when there is nothing to say"));
        }
        if hashes.len() >= MAX_PROOF || extra.len() > MAX_EXTRA {
            return Err(bad("more hashes or extra data than any entry needs"));
        }
        Ok(Self { extra, index, hashes, note: Note::parse(note.as_bytes())? })
    }

    /// Index of the entry.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Opaque data beside the proof: the entry's header.
    pub fn extra(&self) -> &[u8] {
        &self.extra
    }

    /// Verifies that `leaf` is in the log at this proof's index, under a checkpoint that `trust` accepts.
    pub fn verify(&self, leaf: &[u8], trust: &TrustPolicy) -> Result<Accepted, LogError> {
        let accepted = trust.accept(&self.note)?;
        let c = accepted.checkpoint.checkpoint();
        merkle::verify_inclusion(self.index, c.size(), &merkle::leaf_hash(leaf), &self.hashes, &c.root())?;
        Ok(accepted)
    }
}

impl std::fmt::Display for Proof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{HEADER}")?;
        if !self.extra.is_empty() {
            writeln!(f, "extra {}", BASE64.encode(&self.extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        self.hashes.iter().try_for_each(|h| writeln!(f, "{}", BASE64.encode(h)))?;
        write!(f, "\n{}", self.note)
    }
}

/// Verifies offline that a certificate (DER) was logged as issued: rebuilds the leaf from the
/// proof's extra data and the certificate, follows the inclusion proof to the root and checks
/// the signatures over it against `trust`. The result names time, policy, checkpoint and witnesses.
pub fn verify_certificate(certificate: &[u8], proof: &Proof, trust: &TrustPolicy) -> Result<Proved, LogError> {
    let wrong = |reason: &str| LogError::WrongCertificate(reason.to_owned());
    let entry = entry::from_header(&proof.extra, certificate)?;
    if !matches!(entry.event(), Event::Issued(_) | Event::CeremonyImported(_)) {
        return Err(wrong("the proof is of another kind of event"));
    }
    let Accepted { checkpoint, witnesses } = proof.verify(&entry.encode(), trust)?;
    Ok(Proved { index: proof.index, entry, checkpoint, witnesses })
}
