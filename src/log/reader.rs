//! Reads any directory of C2SP tiles: the log itself or a mirror of it.

use super::LogError;
use super::checkpoint::SignedCheckpoint;
use super::merkle::{self, Hash};
use super::note::MAX_NOTE;
use super::tile::{self, Expanded, Kind, MAX_ENTRY, TileId, TileNodes, WIDTH};
use super::vkey::VerifierKey;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Tiles kept in memory, about 16 KiB each.
const CACHED_TILES: usize = 1024;
/// Largest bundle: 256 entries of the largest size.
const MAX_BUNDLE: usize = WIDTH as usize * (MAX_ENTRY + 2);

/// A directory with `checkpoint` and `tile/`. Never writes; may be shared between threads and
/// used while another process appends, because tiles never change.
#[derive(Debug)]
pub struct TileReader {
    dir: PathBuf,
    cache: Mutex<HashMap<(u8, u64), Arc<Expanded>>>,
}

impl TileReader {
    /// A reader of `dir`; nothing is read yet.
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), cache: Mutex::default() }
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Path of the checkpoint.
    pub fn checkpoint_path(&self) -> PathBuf {
        self.dir.join("checkpoint")
    }

    /// The signed checkpoint's bytes, unverified; [`LogError::Absent`] when none was published.
    pub fn checkpoint_bytes(&self) -> Result<Vec<u8>, LogError> {
        let path = self.checkpoint_path();
        read_bounded(&path, MAX_NOTE)?.ok_or(LogError::Absent(path))
    }

    /// The published checkpoint, verified with the log's key.
    pub fn checkpoint(&self, key: &VerifierKey) -> Result<SignedCheckpoint, LogError> {
        SignedCheckpoint::open(&self.checkpoint_bytes()?, key)
    }

    /// Bytes of a tile or bundle, cut to its width when only the full one is there.
    pub fn tile(&self, id: TileId) -> Result<Vec<u8>, LogError> {
        let limit = if id.kind == Kind::Entries { MAX_BUNDLE } else { 8192 };
        let path = self.dir.join(id.path());
        if let Some(bytes) = read_bounded(&path, limit)? {
            return Ok(bytes);
        }
        let full = self.dir.join(id.full().path());
        let mut bytes =
            read_bounded(&full, limit)?.ok_or_else(|| LogError::corrupt(&path, "the tree needs this file and it is missing"))?;
        let keep = match id.kind {
            Kind::Hashes(_) => usize::from(id.width) * 32,
            Kind::Entries => {
                let entries = tile::decode_entries(&bytes, WIDTH as u16).map_err(|e| LogError::corrupt(&full, e.to_string()))?;
                entries.iter().take(usize::from(id.width)).map(|e| e.len() + 2).sum()
            }
        };
        bytes.truncate(keep);
        Ok(bytes)
    }

    /// Hashes of a tile.
    pub fn hashes(&self, id: TileId) -> Result<Vec<Hash>, LogError> {
        let bytes = self.tile(id)?;
        tile::decode_hashes(&bytes, id.width).map_err(|e| LogError::corrupt(&self.dir.join(id.path()), e.to_string()))
    }

    /// Root of the tree of `size` entries as the tiles give it.
    pub fn root(&self, size: u64) -> Result<Hash, LogError> {
        merkle::root(&self.nodes(size), size)
    }

    /// Entry `index` of the tree of `size` entries, checked against its leaf hash.
    pub fn entry(&self, index: u64, size: u64) -> Result<Vec<u8>, LogError> {
        let out = || LogError::OutOfRange { what: "index", value: index, size };
        if index >= size {
            return Err(out());
        }
        let id = TileId::in_tree(Kind::Entries, index / WIDTH, size).ok_or_else(out)?;
        let bytes = self.tile(id)?;
        let corrupt = |reason: String| LogError::corrupt(&self.dir.join(id.path()), reason);
        let entries = tile::decode_entries(&bytes, id.width).map_err(|e| corrupt(e.to_string()))?;
        let entry = entries.get((index % WIDTH) as usize).ok_or_else(out)?;
        if merkle::leaf_hash(entry) != merkle::Nodes::node(&self.nodes(size), 0, index)? {
            return Err(corrupt(format!("entry {index} does not hash to its leaf")));
        }
        Ok(entry.to_vec())
    }

    /// Inclusion proof of entry `index` in the tree of `size` entries.
    pub fn inclusion_proof(&self, index: u64, size: u64) -> Result<Vec<Hash>, LogError> {
        merkle::prove_inclusion(&self.nodes(size), index, size)
    }

    /// Consistency proof between the trees of `old` and `new` entries.
    pub fn consistency_proof(&self, old: u64, new: u64) -> Result<Vec<Hash>, LogError> {
        merkle::prove_consistency(&self.nodes(new), old, new)
    }

    fn nodes(&self, size: u64) -> TileNodes<impl Fn(u8, u64) -> Result<Arc<Expanded>, LogError>> {
        TileNodes(move |level, index| self.expanded(level, index, size))
    }

    fn expanded(&self, level: u8, index: u64, size: u64) -> Result<Arc<Expanded>, LogError> {
        let id = TileId::in_tree(Kind::Hashes(level), index, size).ok_or(LogError::OutOfRange { what: "index", value: index, size })?;
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        // A wider form of the same tile has the same nodes and more.
        if let Some(tile) = cache.get(&(level, index)).filter(|t| t.width() >= usize::from(id.width)) {
            return Ok(Arc::clone(tile));
        }
        let tile = Arc::new(Expanded::new(self.hashes(id)?));
        if cache.len() >= CACHED_TILES {
            cache.retain(|(level, _), _| *level > 0);
        }
        if cache.len() < CACHED_TILES {
            cache.insert((level, index), Arc::clone(&tile));
        }
        Ok(tile)
    }
}

/// Reads a file of at most `limit` bytes; `None` when there is none.
pub(super) fn read_bounded(path: &Path, limit: usize) -> Result<Option<Vec<u8>>, LogError> {
    let file = match File::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|e| LogError::io(path, e))?,
    };
    let mut bytes = Vec::new();
    file.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(|e| LogError::io(path, e))?;
    if bytes.len() > limit {
        return Err(LogError::corrupt(path, format!("it has more than {limit} bytes")));
    }
    Ok(Some(bytes))
}
