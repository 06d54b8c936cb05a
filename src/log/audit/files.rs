//! What else lies in the directory: older partial tiles must be beginnings of the present ones,
//! the state must be that of the tree, and nothing may be there that nobody accounts for.

use super::{LogError, Report};
use crate::log::checkpoint::{Checkpoint, SignedCheckpoint};
use crate::log::reader::TileReader;
use crate::log::tile::{self, Kind, TileId, WIDTH};
use crate::log::tiles::parse_state;
use std::path::Path;

/// Checks every file below the directory that the tree of the checkpoint does not itself name.
pub(super) fn check(reader: &TileReader, signed: &SignedCheckpoint, report: &mut Report) -> Result<(), LogError> {
    let mut open = vec![reader.dir().to_owned()];
    while let Some(dir) = open.pop() {
        let mut names: Vec<_> =
            std::fs::read_dir(&dir).map_err(|e| LogError::io(&dir, e))?.collect::<Result<_, _>>().map_err(|e| LogError::io(&dir, e))?;
        names.sort_by_key(std::fs::DirEntry::file_name);
        for entry in names {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else {
                check_file(reader, &path, signed.checkpoint(), report)?;
            }
        }
    }
    Ok(())
}

fn check_file(reader: &TileReader, path: &Path, checkpoint: &Checkpoint, report: &mut Report) -> Result<(), LogError> {
    let relative = path.strip_prefix(reader.dir()).unwrap_or(path).to_string_lossy().into_owned();
    if ["checkpoint", "lock"].contains(&relative.as_str()) || relative.ends_with(".new") || relative.contains(".new.") {
        // Names in `tile/` are digits, so what ends so is what a crash left half-written.
        return Ok(());
    }
    if relative == "state" {
        return check_state(path, checkpoint, report);
    }
    let Some(id) = parse_path(&relative) else {
        report.find(None, "stray", format!("{relative} does not belong to a log"));
        return Ok(());
    };
    let level = if let Kind::Hashes(level) = id.kind { u32::from(level) } else { 0 };
    let first = id.index.checked_mul(WIDTH).and_then(|n| n.checked_shl(8 * level));
    let now = TileId::in_tree(id.kind, id.index, checkpoint.size()).filter(|now| now.width >= id.width);
    let Some(now) = now else {
        // Appended but not yet under a signed checkpoint: no promise was made about it.
        return Ok(());
    };
    if now.width == id.width {
        return Ok(());
    }
    let (older, newer) = (std::fs::read(path).map_err(|e| LogError::io(path, e))?, reader.tile(now));
    // What is wrong with the present tile itself has been reported already.
    let Ok(newer) = newer else { return Ok(()) };
    let begins = match id.kind {
        Kind::Hashes(_) => older.len() == usize::from(id.width) * 32 && newer.starts_with(&older),
        Kind::Entries => newer.starts_with(&older) && tile::decode_entries(&older, id.width).is_ok(),
    };
    if !begins {
        let leaf = first.map(|first| first + (position(id.kind, &older, &newer) << (8 * level)));
        report.find(leaf, "tree", format!("{relative} is not the beginning of {}", now.path()));
    }
    Ok(())
}

/// Number of the hash or entry of `newer` in which the first byte that differs from `older` lies.
fn position(kind: Kind, older: &[u8], newer: &[u8]) -> u64 {
    let same = older.iter().zip(newer).take_while(|(a, b)| a == b).count();
    if let Kind::Hashes(_) = kind {
        return same as u64 / 32;
    }
    let (mut end, mut n) = (0, 0);
    while let Some([high, low]) = newer.get(end..end + 2).and_then(|l| <[u8; 2]>::try_from(l).ok()) {
        end += 2 + usize::from(u16::from_be_bytes([high, low]));
        if same < end {
            break;
        }
        n += 1;
    }
    n
}

fn check_state(path: &Path, checkpoint: &Checkpoint, report: &mut Report) -> Result<(), LogError> {
    let bytes = std::fs::read(path).map_err(|e| LogError::io(path, e))?;
    match parse_state(path, bytes) {
        Err(e) => report.find(None, "state", e.to_string()),
        Ok(state) if state.origin() != checkpoint.origin() || state.size() < checkpoint.size() => {
            report.find(Some(state.size()), "state", "the state is older than the signed checkpoint, or of another log");
        }
        Ok(state) if state.size() == checkpoint.size() && state != *checkpoint => {
            report.find(None, "state", "the state has another root than the signed checkpoint");
        }
        Ok(_) => {}
    }
    Ok(())
}

/// Reads `tile/<L>/<N>[.p/<W>]`, accepting only the spelling that [`TileId::path`] gives.
fn parse_path(relative: &str) -> Option<TileId> {
    let rest = relative.strip_prefix("tile/")?;
    let (kind, rest) = rest.split_once('/')?;
    let kind = if kind == "entries" { Kind::Entries } else { Kind::Hashes(kind.parse().ok().filter(|l| *l < 64)?) };
    let (number, width) = match rest.split_once(".p/") {
        Some((number, width)) => (number, width.parse().ok().filter(|w| (1..WIDTH as u16).contains(w))?),
        None => (rest, WIDTH as u16),
    };
    let digits: String = number.chars().filter(char::is_ascii_digit).collect();
    let id = TileId { kind, index: digits.parse().ok()?, width };
    (id.path() == relative).then_some(id)
}
