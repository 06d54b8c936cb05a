//! The log on disk: C2SP tlog-tiles, written so that a crash at any point leaves a log that
//! loads and to which the same entries can be appended again.
//!
//! Order of every append: entries → hash tiles → `state`, each durable before the next; then the
//! token signs [`TileLog::checkpoint`] and [`TileLog::publish`] makes the result visible.

use super::LogError;
use super::checkpoint::{Checkpoint, SignedCheckpoint};
use super::edge::Edge;
use super::merkle::{Hash, leaf_hash};
use super::note::Note;
use super::reader::{TileReader, read_bounded};
use super::tile::{self, Kind, MAX_ENTRY, TileId, WIDTH};
use crate::durable;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// First line of the state file; the rest is the text of a checkpoint.
const STATE_HEADER: &str = "sealwright log state v1\n";
/// The log is public to whoever may enter its directory.
const MODE: u32 = 0o644;

/// The writer of one log directory. Holds its lock; only one exists at a time.
#[derive(Debug)]
pub struct TileLog {
    origin: String,
    reader: TileReader,
    edge: Edge,
    bundle: Vec<u8>,
    failed: bool,
    _lock: File,
}

impl TileLog {
    /// Creates an empty log named `origin` in `dir`, which must not exist or be empty (K4).
    pub fn create(dir: &Path, origin: &str) -> Result<Self, LogError> {
        let state = Checkpoint::new(origin, 0, Edge::default().root())?;
        durable::create_directories(dir).map_err(|e| LogError::io(dir, e))?;
        let lock = lock(dir, true)?;
        let mut others = std::fs::read_dir(dir).map_err(|e| LogError::io(dir, e))?;
        if others.any(|entry| entry.map_or(true, |e| e.file_name() != "lock")) {
            return Err(LogError::Exists(dir.to_owned()));
        }
        write_state(dir, &state)?;
        Self::load_locked(dir, lock)
    }

    /// Loads the log in `dir` and checks its state against tiles and checkpoint; never creates (K4).
    pub fn load(dir: &Path) -> Result<Self, LogError> {
        if !dir.join("state").exists() {
            return Err(LogError::Absent(dir.to_owned()));
        }
        let lock = lock(dir, false)?;
        Self::load_locked(dir, lock)
    }

    fn load_locked(dir: &Path, lock: File) -> Result<Self, LogError> {
        let path = dir.join("state");
        let bytes = read_bounded(&path, 1024)?.ok_or_else(|| LogError::Absent(dir.to_owned()))?;
        let state = parse_state(&path, bytes)?;
        let reader = TileReader::new(dir);
        let edge = Edge::load(state.size(), |id| reader.hashes(id))?;
        if edge.root() != state.root() {
            return Err(LogError::corrupt(&path, "the tiles on the edge of the tree give another root"));
        }
        let bundle = load_bundle(&reader, &edge)?;
        sweep(dir)?;
        let log = Self { origin: state.origin().to_owned(), reader, edge, bundle, failed: false, _lock: lock };
        log.check_published()?;
        Ok(log)
    }

    /// The published checkpoint must be an earlier, or this, state of the same tree.
    fn check_published(&self) -> Result<(), LogError> {
        let path = self.reader.checkpoint_path();
        let bytes = match self.reader.checkpoint_bytes() {
            Err(LogError::Absent(_)) => return Ok(()),
            other => other?,
        };
        let note = Note::parse(&bytes).map_err(|e| LogError::corrupt(&path, e.to_string()))?;
        let published = Checkpoint::parse(note.text()).map_err(|e| LogError::corrupt(&path, e.to_string()))?;
        if published.origin() != self.origin || published.size() > self.size() {
            let (size, mine) = (published.size(), self.size());
            return Err(LogError::corrupt(
                &path,
                format!("it is of log '{}' and size {size}, the state of '{}' and size {mine}", published.origin(), self.origin),
            ));
        }
        if self.reader.root(published.size())? != published.root() {
            return Err(LogError::corrupt(&path, "it is not a checkpoint of this tree"));
        }
        Ok(())
    }

    /// Appends entries, the first of which has index `first`. Entries that are there already must
    /// be the same ones and are skipped, so a publisher that crashed simply repeats itself; a gap
    /// or a difference is [`LogError::Conflict`]. When it returns, the entries are durable.
    ///
    /// After an input/output error the log refuses to go on until it is loaded afresh: what the
    /// kernel has dropped cannot be told from what it has written.
    pub fn append(&mut self, first: u64, entries: &[Vec<u8>]) -> Result<(), LogError> {
        if self.failed {
            let source = io::Error::other("an earlier write failed; load the log again");
            return Err(LogError::io(self.reader.dir(), source));
        }
        let size = self.size();
        if first > size {
            return Err(LogError::Conflict { index: size, reason: format!("it is missing; the next entry offered is {first}") });
        }
        if let Some(long) = entries.iter().find(|e| e.len() > MAX_ENTRY) {
            return Err(LogError::malformed("entry", format!("it has {} bytes; at most {MAX_ENTRY} fit", long.len())));
        }
        let (known, new) = entries.split_at(entries.len().min((size - first) as usize));
        for (index, entry) in (first..).zip(known) {
            if self.entry(index)? != *entry {
                return Err(LogError::Conflict { index, reason: "another entry is logged there already".into() });
            }
        }
        if new.is_empty() {
            return Ok(());
        }
        let result = self.append_new(new);
        self.failed = matches!(result, Err(LogError::Io { .. }));
        result
    }

    fn append_new(&mut self, new: &[Vec<u8>]) -> Result<(), LogError> {
        let (mut edge, mut bundle) = (self.edge.clone(), self.bundle.clone());
        let (mut bundles, mut tiles) = (Vec::new(), Vec::new());
        for entry in new {
            tile::push_entry(&mut bundle, entry)?;
            edge.push(leaf_hash(entry), &mut |id, hashes| tiles.push((id, tile::encode_hashes(&hashes))));
            if edge.size() % WIDTH == 0 {
                let id = TileId { kind: Kind::Entries, index: edge.size() / WIDTH - 1, width: WIDTH as u16 };
                bundles.push((id, std::mem::take(&mut bundle)));
            }
        }
        let completed: Vec<TileId> = bundles.iter().chain(&tiles).map(|(id, _)| *id).collect();
        let size = edge.size();
        bundles.extend(TileId::in_tree(Kind::Entries, size / WIDTH, size).map(|id| (id, bundle.clone())));
        for level in 0..edge.levels() {
            let edge_tile = |size: u64| TileId::in_tree(Kind::Hashes(level), size >> (8 * u32::from(level) + 8), size);
            if let Some(id) = edge_tile(size).filter(|id| edge_tile(self.edge.size()) != Some(*id)) {
                tiles.push((id, tile::encode_hashes(edge.partial(level))));
            }
        }
        self.write(&bundles)?;
        self.write(&tiles)?;
        // A full tile serves for its partial forms. Before the state, so that a crash repeats it.
        completed.iter().for_each(|id| drop(std::fs::remove_dir_all(self.reader.dir().join(id.partial_directory()))));
        write_state(self.reader.dir(), &Checkpoint::new(&self.origin, size, edge.root())?)?;
        (self.edge, self.bundle) = (edge, bundle);
        Ok(())
    }

    fn write(&self, files: &[(TileId, Vec<u8>)]) -> Result<(), LogError> {
        let files: Vec<(PathBuf, Vec<u8>)> = files.iter().map(|(id, bytes)| (self.reader.dir().join(id.path()), bytes.clone())).collect();
        durable::write_once(&files, MODE).map_err(|e| match e.kind() {
            io::ErrorKind::AlreadyExists => LogError::Conflict { index: self.size(), reason: e.to_string() },
            _ => LogError::io(self.reader.dir(), e),
        })
    }

    /// Publishes a signed checkpoint of the present state, or the same one with more cosignatures.
    pub fn publish(&self, signed: &SignedCheckpoint) -> Result<(), LogError> {
        let (theirs, ours) = (signed.checkpoint(), self.checkpoint()?);
        if *theirs != ours {
            let reason = format!("a checkpoint of size {} is offered where the log has size {}", theirs.size(), ours.size());
            return Err(LogError::Conflict { index: theirs.size(), reason });
        }
        let path = self.reader.checkpoint_path();
        durable::replace(&path, signed.note().to_string().as_bytes(), MODE).map_err(|e| LogError::io(&path, e))
    }

    /// The checkpoint to sign: always the durable state, so no two can be inconsistent.
    pub fn checkpoint(&self) -> Result<Checkpoint, LogError> {
        Checkpoint::new(&self.origin, self.size(), self.root())
    }

    /// Name of the log.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Number of entries.
    pub fn size(&self) -> u64 {
        self.edge.size()
    }

    /// Root of the tree.
    pub fn root(&self) -> Hash {
        self.edge.root()
    }

    /// The growing edge of the tree.
    pub fn edge(&self) -> &Edge {
        &self.edge
    }

    /// The reading side.
    pub fn reader(&self) -> &TileReader {
        &self.reader
    }

    /// Entry `index`.
    pub fn entry(&self, index: u64) -> Result<Vec<u8>, LogError> {
        self.reader.entry(index, self.size())
    }
}

/// Reads the content of a state file.
pub(super) fn parse_state(path: &Path, bytes: Vec<u8>) -> Result<Checkpoint, LogError> {
    let text = String::from_utf8(bytes).map_err(|_| LogError::corrupt(path, "not UTF-8"))?;
    let body = text.strip_prefix(STATE_HEADER).ok_or_else(|| LogError::corrupt(path, "it is not a state of version 1"))?;
    Checkpoint::parse(body).map_err(|e| LogError::corrupt(path, e.to_string()))
}

fn write_state(dir: &Path, state: &Checkpoint) -> Result<(), LogError> {
    let path = dir.join("state");
    durable::replace(&path, format!("{STATE_HEADER}{}", state.text()).as_bytes(), MODE).map_err(|e| LogError::io(&path, e))
}

fn lock(dir: &Path, create: bool) -> Result<File, LogError> {
    let path = dir.join("lock");
    let file = OpenOptions::new().write(true).create(create).mode(MODE).open(&path).map_err(|e| LogError::io(&path, e))?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).map_err(|_| LogError::Locked(dir.to_owned()))?;
    Ok(file)
}

/// The partial bundle, which must hold the entries of the partial tile of leaf hashes.
fn load_bundle(reader: &TileReader, edge: &Edge) -> Result<Vec<u8>, LogError> {
    let Some(id) = TileId::in_tree(Kind::Entries, edge.size() / WIDTH, edge.size()) else { return Ok(Vec::new()) };
    let bytes = reader.tile(id)?;
    let corrupt = |reason: String| LogError::corrupt(&reader.dir().join(id.path()), reason);
    let entries = tile::decode_entries(&bytes, id.width).map_err(|e| corrupt(e.to_string()))?;
    let first = edge.size() / WIDTH * WIDTH;
    for ((index, entry), hash) in (first..).zip(&entries).zip(edge.partial(0)) {
        if leaf_hash(entry) != *hash {
            return Err(corrupt(format!("entry {index} does not hash to its leaf")));
        }
    }
    Ok(bytes)
}

/// Removes the temporary files of `state` and `checkpoint` that a crash may leave behind.
fn sweep(dir: &Path) -> Result<(), LogError> {
    for entry in std::fs::read_dir(dir).map_err(|e| LogError::io(dir, e))?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("state.new.") || name.starts_with("checkpoint.new.") {
            let _ = std::fs::remove_file(entry.path());
        }
    }
    Ok(())
}
