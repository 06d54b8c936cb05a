//! Recomputes the tree from the entries and compares every tile, the root and the kept checkpoint.

use super::content::Content;
use super::{LogError, Report};
use crate::log::checkpoint::SignedCheckpoint;
use crate::log::edge::Edge;
use crate::log::merkle::leaf_hash;
use crate::log::reader::TileReader;
use crate::log::tile::{self, Kind, TileId, WIDTH};

/// Walks every entry once: tiles against recomputed hashes, entries to `content`.
pub(super) fn check(
    reader: &TileReader,
    signed: &SignedCheckpoint,
    since: Option<&SignedCheckpoint>,
    content: &mut Content<'_>,
    report: &mut Report,
    progress: &mut dyn FnMut(u64),
) -> Result<(), LogError> {
    let size = signed.checkpoint().size();
    let mut edge = Edge::default();
    let mut index = 0;
    check_since(&edge, since, report);
    while let Some(id) = TileId::in_tree(Kind::Entries, index / WIDTH, size).filter(|_| index < size) {
        let Some(entries) = read_bundle(reader, id, report)? else { return Ok(()) };
        let hashes = stored(reader, TileId { kind: Kind::Hashes(0), ..id }, report)?;
        let mut completed = Vec::new();
        for (n, entry) in entries.iter().enumerate() {
            let leaf = leaf_hash(entry);
            if hashes.as_ref().is_some_and(|h| h.get(n) != Some(&leaf)) {
                report.find(Some(index + n as u64), "tree", "the entry does not hash to its leaf in tile level 0");
            }
            edge.push(leaf, &mut |id, hashes| completed.push((id, hashes)));
            check_since(&edge, since, report);
            report.bytes += entry.len() as u64;
        }
        for (id, hashes) in completed.iter().filter(|(id, _)| id.kind != Kind::Hashes(0)) {
            compare_inner(reader, *id, hashes, report)?;
        }
        content.check(index, &entries, report);
        index += u64::from(id.width);
        progress(index);
    }
    for level in 1..edge.levels() {
        if let Some(id) = TileId::in_tree(Kind::Hashes(level), size >> (8 * u32::from(level) + 8), size) {
            compare_inner(reader, id, edge.partial(level), report)?;
        }
    }
    if edge.root() != signed.checkpoint().root() {
        report.find(report.first_index(), "root", "the entries do not give the signed root: entries were changed, or the log forked");
    }
    if let Some(old) = since.filter(|old| old.checkpoint().size() > size) {
        let reason =
            format!("the log has {size} entries; it had {} at the kept checkpoint: truncated or rolled back", old.checkpoint().size());
        report.find(Some(size), "since", reason);
    }
    Ok(())
}

/// At the size of the kept checkpoint the recomputed root must be the kept one.
fn check_since(edge: &Edge, since: Option<&SignedCheckpoint>, report: &mut Report) {
    let Some(old) = since.map(SignedCheckpoint::checkpoint).filter(|old| old.size() == edge.size()) else { return };
    if edge.root() != old.root() {
        let reason = format!("the first {} entries are not those of the kept checkpoint: the log was rewritten or forked", old.size());
        report.find(report.first_index(), "since", reason);
    }
}

fn read_bundle(reader: &TileReader, id: TileId, report: &mut Report) -> Result<Option<Vec<Vec<u8>>>, LogError> {
    let first = Some(id.index * WIDTH);
    let bytes = match reader.tile(id) {
        Err(e @ LogError::Io { .. }) => return Err(e),
        Err(e) => {
            report.find(first, "tree", format!("{e}; nothing after it can be checked"));
            return Ok(None);
        }
        Ok(bytes) => bytes,
    };
    match tile::decode_entries(&bytes, id.width) {
        Ok(entries) => Ok(Some(entries.into_iter().map(<[u8]>::to_vec).collect())),
        Err(e) => {
            let index = first_difference(reader, id, &bytes).or(first);
            report.find(index, "tree", format!("{}: {e}; nothing after it can be checked", id.path()));
            Ok(None)
        }
    }
}

/// Where a bundle that does not decode departs from its leaf hashes.
fn first_difference(reader: &TileReader, id: TileId, bytes: &[u8]) -> Option<u64> {
    let hashes = reader.hashes(TileId { kind: Kind::Hashes(0), ..id }).ok()?;
    let mut rest = bytes;
    for (n, hash) in hashes.iter().enumerate() {
        let index = Some(id.index * WIDTH + n as u64);
        let Some((length, tail)) = rest.split_first_chunk::<2>() else { return index };
        let Some((entry, tail)) = tail.split_at_checked(usize::from(u16::from_be_bytes(*length))) else { return index };
        if leaf_hash(entry) != *hash {
            return index;
        }
        rest = tail;
    }
    None
}

fn stored(reader: &TileReader, id: TileId, report: &mut Report) -> Result<Option<Vec<[u8; 32]>>, LogError> {
    match reader.hashes(id) {
        Ok(hashes) => Ok(Some(hashes)),
        Err(e @ LogError::Io { .. }) => Err(e),
        Err(e) => {
            let Kind::Hashes(level) = id.kind else { return Ok(None) };
            report.find(Some(first_leaf(level, id.index)), "tree", e.to_string());
            Ok(None)
        }
    }
}

/// Compares a tile above level 0; names the first leaf below the first hash that differs.
fn compare_inner(reader: &TileReader, id: TileId, want: &[[u8; 32]], report: &mut Report) -> Result<(), LogError> {
    let Kind::Hashes(level) = id.kind else { return Ok(()) };
    let Some(hashes) = stored(reader, id, report)? else { return Ok(()) };
    if let Some(n) = hashes.iter().zip(want).position(|(a, b)| a != b) {
        let leaf = first_leaf(level - 1, id.index * WIDTH + n as u64);
        let below = leaf..leaf.saturating_add(first_leaf(level - 1, 1));
        if report.findings.iter().any(|f| f.index.is_some_and(|i| below.contains(&i))) {
            // A changed entry changes every hash above it; it was named exactly.
            return Ok(());
        }
        report.find(Some(leaf), "tree", format!("{}: hash {n} is not that of the tiles below", id.path()));
    }
    Ok(())
}

/// First leaf below tile `index` of `level`.
fn first_leaf(level: u8, index: u64) -> u64 {
    index.checked_shl(8 * u32::from(level) + 8).unwrap_or(u64::MAX)
}
