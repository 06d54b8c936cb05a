//! Incremental, verified copies: a directory on a USB stick is a mirror.

use super::LogError;
use super::edge::Edge;
use super::merkle::leaf_hash;
use super::reader::TileReader;
use super::tile::{self, Kind, TileId, WIDTH};
use super::tiles::TileLog;
use super::vkey::VerifierKey;
use std::path::Path;

/// What a mirror run did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mirrored {
    /// Entries that the mirror had.
    pub before: u64,
    /// Entries that it has now.
    pub size: u64,
}

/// Brings the mirror in `target` up to the published checkpoint of `source`; creates it when
/// `target` is absent or empty. Nothing is written before every new entry was read and the root
/// that the mirror would have is the signed one, so a source that was truncated, rolled back or
/// forked leaves the mirror as it was. `progress` is told the index reached.
pub fn mirror(source: &TileReader, key: &VerifierKey, target: &Path, progress: &mut dyn FnMut(u64)) -> Result<Mirrored, LogError> {
    let signed = source.checkpoint(key)?;
    let (size, root) = (signed.checkpoint().size(), signed.checkpoint().root());
    let mut log = match TileLog::load(target) {
        Err(LogError::Absent(_)) => TileLog::create(target, key.name())?,
        other => other?,
    };
    let before = log.size();
    if log.origin() != key.name() {
        return Err(LogError::Conflict { index: 0, reason: format!("the mirror is of log '{}'", log.origin()) });
    }
    if before > size {
        let reason = format!("the mirror has {before} entries and the source only {size}: the source was truncated or rolled back");
        return Err(LogError::Conflict { index: size, reason });
    }
    let mut edge: Edge = log.edge().clone();
    each_bundle(source, before, size, &mut |_, entries| {
        entries.iter().for_each(|e| edge.push(leaf_hash(e), &mut |_, _| ()));
        Ok(())
    })?;
    if edge.root() != root {
        return Err(LogError::Conflict {
            index: before,
            reason: "the entries of mirror and source do not give the signed root: a fork".into(),
        });
    }
    each_bundle(source, before, size, &mut |first, entries| {
        log.append(first, &entries)?;
        progress(first + entries.len() as u64);
        Ok(())
    })?;
    log.publish(&signed)?;
    Ok(Mirrored { before, size })
}

/// Entries `from` to `size`, bundle by bundle, with the index of the first.
fn each_bundle(
    source: &TileReader,
    from: u64,
    size: u64,
    each: &mut dyn FnMut(u64, Vec<Vec<u8>>) -> Result<(), LogError>,
) -> Result<(), LogError> {
    let mut index = from;
    while let Some(id) = TileId::in_tree(Kind::Entries, index / WIDTH, size).filter(|_| index < size) {
        let bytes = source.tile(id)?;
        let entries =
            tile::decode_entries(&bytes, id.width).map_err(|e| LogError::corrupt(&source.dir().join(id.path()), e.to_string()))?;
        let known = (index % WIDTH) as usize;
        each(index, entries.iter().skip(known).map(|e| e.to_vec()).collect())?;
        index = id.index * WIDTH + u64::from(id.width);
    }
    Ok(())
}
