//! Coordinates, paths and contents of C2SP tlog-tiles: 256 hashes or entries per tile.

use super::LogError;
use super::merkle::{Hash, Nodes, node_hash};

/// Hashes of a full tile, entries of a full bundle.
pub const WIDTH: u64 = 256;
/// Largest entry in bytes: bundles carry uint16 lengths.
pub const MAX_ENTRY: usize = u16::MAX as usize;

/// What a tile holds.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// Merkle tree hashes of this level, 0 being leaf hashes.
    Hashes(u8),
    /// The entries themselves.
    Entries,
}

/// Name of one tile: kind, position and width (1 to 256).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct TileId {
    /// What it holds.
    pub kind: Kind,
    /// Position within its level.
    pub index: u64,
    /// Hashes or entries in it, 256 when full.
    pub width: u16,
}

impl TileId {
    /// The tile that a tree of `size` leaves has at this place, or `None` when it would be empty.
    pub fn in_tree(kind: Kind, index: u64, size: u64) -> Option<Self> {
        let level = if let Kind::Hashes(level) = kind { u32::from(level) } else { 0 };
        let hashes = size.checked_shr(8 * level).unwrap_or(0);
        let width = hashes.saturating_sub(index.checked_mul(WIDTH)?).min(WIDTH);
        (width > 0).then_some(Self { kind, index, width: width as u16 })
    }

    /// Whether it has its 256 hashes or entries and will never change.
    pub fn is_full(&self) -> bool {
        u64::from(self.width) == WIDTH
    }

    /// The full tile at the same place.
    pub fn full(self) -> Self {
        Self { width: WIDTH as u16, ..self }
    }

    /// Path below the log's prefix: `tile/<L>/<N>[.p/<W>]`.
    pub fn path(&self) -> String {
        let suffix = if self.is_full() { String::new() } else { format!(".p/{}", self.width) };
        format!("tile/{}/{}{suffix}", self.level_name(), index_path(self.index))
    }

    /// Directory that holds the partial forms of this tile: `tile/<L>/<N>.p`.
    pub fn partial_directory(&self) -> String {
        format!("tile/{}/{}.p", self.level_name(), index_path(self.index))
    }

    fn level_name(&self) -> String {
        match self.kind {
            Kind::Hashes(level) => level.to_string(),
            Kind::Entries => "entries".into(),
        }
    }
}

/// Tile index in zero-padded 3-digit elements, all but the last with an `x`: `x001/x234/067`.
fn index_path(index: u64) -> String {
    let mut path = format!("{:03}", index % 1000);
    let mut rest = index / 1000;
    while rest > 0 {
        path = format!("x{:03}/{path}", rest % 1000);
        rest /= 1000;
    }
    path
}

/// Every tile of a tree of `size` leaves, entry bundles first, then levels upwards.
pub fn all(size: u64) -> impl Iterator<Item = TileId> {
    let kinds = std::iter::once(Kind::Entries).chain((0..8).map(Kind::Hashes));
    kinds.flat_map(move |kind| (0..).map_while(move |index| TileId::in_tree(kind, index, size)))
}

/// Serialises a tile of hashes.
pub fn encode_hashes(hashes: &[Hash]) -> Vec<u8> {
    hashes.concat()
}

/// Reads a tile of exactly `width` hashes.
pub fn decode_hashes(bytes: &[u8], width: u16) -> Result<Vec<Hash>, LogError> {
    let (hashes, rest) = bytes.as_chunks::<32>();
    if hashes.len() != usize::from(width) || !rest.is_empty() {
        return Err(LogError::malformed("tile", format!("it has {} bytes where {width} hashes of 32 bytes belong", bytes.len())));
    }
    Ok(hashes.to_vec())
}

/// Appends one entry to a bundle: big-endian uint16 length, then the bytes.
pub fn push_entry(bundle: &mut Vec<u8>, entry: &[u8]) -> Result<(), LogError> {
    let length = u16::try_from(entry.len())
        .map_err(|_| LogError::malformed("entry", format!("it has {} bytes; at most {MAX_ENTRY} fit", entry.len())))?;
    bundle.extend_from_slice(&length.to_be_bytes());
    bundle.extend_from_slice(entry);
    Ok(())
}

/// Reads a bundle of exactly `width` entries, nothing after them.
pub fn decode_entries(bytes: &[u8], width: u16) -> Result<Vec<&[u8]>, LogError> {
    let mut rest = bytes;
    let mut entries = Vec::with_capacity(usize::from(width));
    while let Some((length, tail)) = rest.split_first_chunk::<2>() {
        let (entry, tail) = tail
            .split_at_checked(usize::from(u16::from_be_bytes(*length)))
            .ok_or_else(|| LogError::malformed("entry bundle", format!("entry {} is cut short", entries.len())))?;
        entries.push(entry);
        rest = tail;
    }
    if !rest.is_empty() || entries.len() != usize::from(width) {
        return Err(LogError::malformed("entry bundle", format!("it holds {} entries where {width} belong", entries.len())));
    }
    Ok(entries)
}

/// A tile with the inner nodes that its hashes imply: `rows[r][i]` has 2^r of them below it.
#[derive(Clone, Debug)]
pub struct Expanded {
    rows: Vec<Vec<Hash>>,
}

impl Expanded {
    /// Computes every perfect subtree within the tile.
    pub fn new(hashes: Vec<Hash>) -> Self {
        let mut rows = vec![hashes];
        while let Some(last) = rows.last().filter(|row| row.len() > 1) {
            let (pairs, _) = last.as_chunks::<2>();
            let next = pairs.iter().map(|[left, right]| node_hash(left, right)).collect();
            rows.push(next);
        }
        Self { rows }
    }

    /// Hashes in the tile.
    pub fn width(&self) -> usize {
        self.rows.first().map_or(0, Vec::len)
    }

    /// Node over the tile's hashes \[`index`·2^`row`, (`index`+1)·2^`row`).
    pub fn node(&self, row: u8, index: u64) -> Option<Hash> {
        self.rows.get(usize::from(row))?.get(usize::try_from(index).ok()?).copied()
    }
}

/// Where a perfect subtree lives: tile level, tile index, row and position within that tile.
pub fn locate(height: u8, index: u64) -> (u8, u64, u8, u64) {
    let row = height % 8;
    let per_tile = WIDTH >> row;
    (height / 8, index / per_tile, row, index % per_tile)
}

/// The tiles of one tree as [`Nodes`], whatever supplies them.
pub struct TileNodes<F>(pub F);

impl<F: Fn(u8, u64) -> Result<std::sync::Arc<Expanded>, LogError>> Nodes for TileNodes<F> {
    fn node(&self, height: u8, index: u64) -> Result<Hash, LogError> {
        let (level, tile, row, position) = locate(height, index);
        let expanded = (self.0)(level, tile)?;
        let size = expanded.width() as u64;
        expanded.node(row, position).ok_or(LogError::OutOfRange { what: "index", value: index, size })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_specification() {
        let tile = TileId { kind: Kind::Hashes(0), index: 1_234_067, width: 256 };
        assert_eq!(tile.path(), "tile/0/x001/x234/067");
        let tile = TileId { kind: Kind::Entries, index: 7, width: 5 };
        assert_eq!(tile.path(), "tile/entries/007.p/5");
    }

    /// "A tree of size 70,000 will be represented by 273 full level 0 tiles, one partial level 0
    /// tile of width 112, one full level 1 tile, one partial level 1 tile of width 17, and one
    /// partial level 2 tile of width 1."
    #[test]
    fn a_tree_of_70_000_has_the_tiles_that_the_specification_lists() {
        let count = |kind, full| all(70_000).filter(|t| t.kind == kind && t.is_full() == full).count();
        let partial = |kind| all(70_000).find(|t| t.kind == kind && !t.is_full()).unwrap().width;
        assert_eq!((count(Kind::Hashes(0), true), partial(Kind::Hashes(0))), (273, 112));
        assert_eq!((count(Kind::Hashes(1), true), partial(Kind::Hashes(1))), (1, 17));
        assert_eq!((count(Kind::Hashes(2), true), partial(Kind::Hashes(2))), (0, 1));
        assert_eq!((count(Kind::Entries, true), partial(Kind::Entries)), (273, 112));
        assert_eq!(all(70_000).count(), 274 * 2 + 2 + 1);
        assert_eq!(all(256).map(|t| t.path()).collect::<Vec<_>>(), ["tile/entries/000", "tile/0/000", "tile/1/000.p/1"]);
        assert_eq!(all(0).count(), 0);
    }

    #[test]
    fn bundles_read_back_and_refuse_every_cut() {
        let mut bundle = Vec::new();
        for entry in [&b"one"[..], b"", b"three"] {
            push_entry(&mut bundle, entry).unwrap();
        }
        assert_eq!(decode_entries(&bundle, 3).unwrap(), [&b"one"[..], b"", b"three"]);
        for n in 0..bundle.len() {
            assert!(decode_entries(&bundle[..n], 3).is_err(), "{n}");
        }
        assert!(decode_entries(&bundle, 2).is_err());
        assert!(push_entry(&mut bundle, &vec![0; MAX_ENTRY + 1]).is_err());
        assert!(decode_hashes(&[0; 63], 2).is_err());
    }
}
