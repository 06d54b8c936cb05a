//! The growing right edge of a tree: all the state that appending needs, at most 255 hashes a level.

use super::LogError;
use super::merkle::{self, Hash};
use super::tile::{Expanded, Kind, TileId, WIDTH};

/// The partial tiles of a tree, one per level. Level *l* holds ⌊size / 256^l⌋ mod 256 hashes.
#[derive(Clone, Debug, Default)]
pub struct Edge {
    size: u64,
    levels: Vec<Vec<Hash>>,
}

impl Edge {
    /// The edge of a tree of `size` leaves, its partial tiles supplied by `read`.
    pub fn load(size: u64, mut read: impl FnMut(TileId) -> Result<Vec<Hash>, LogError>) -> Result<Self, LogError> {
        let mut levels = Vec::new();
        let mut hashes = size;
        for level in 0..8 {
            if hashes == 0 {
                break;
            }
            let partial = TileId::in_tree(Kind::Hashes(level), hashes / WIDTH, size);
            levels.push(partial.map_or(Ok(Vec::new()), &mut read)?);
            hashes /= WIDTH;
        }
        Ok(Self { size, levels })
    }

    /// Number of leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The hashes of the partial tile of `level`.
    pub fn partial(&self, level: u8) -> &[Hash] {
        self.levels.get(usize::from(level)).map_or(&[], Vec::as_slice)
    }

    /// Levels that the tree has.
    pub fn levels(&self) -> u8 {
        self.levels.len() as u8
    }

    /// Adds a leaf; `full` receives each tile that it completes, lowest level first.
    pub fn push(&mut self, leaf: Hash, full: &mut impl FnMut(TileId, Vec<Hash>)) {
        self.size += 1;
        let (mut hash, mut index) = (leaf, self.size / WIDTH);
        for level in 0.. {
            if self.levels.len() == level {
                self.levels.push(Vec::new());
            }
            let Some(partial) = self.levels.get_mut(level) else { return };
            partial.push(hash);
            if (partial.len() as u64) < WIDTH {
                return;
            }
            let hashes = std::mem::take(partial);
            hash = Expanded::new(hashes.clone()).node(8, 0).unwrap_or_default();
            full(TileId { kind: Kind::Hashes(level as u8), index: index - 1, width: WIDTH as u16 }, hashes);
            index /= WIDTH;
        }
    }

    /// Root of the tree: the perfect subtrees on the edge, joined from right to left.
    pub fn root(&self) -> Hash {
        let mut root = None;
        for hashes in &self.levels {
            let tile = Expanded::new(hashes.clone());
            for row in (0..8).filter(|row| hashes.len() >> row & 1 == 1) {
                if let Some(left) = tile.node(row, (hashes.len() >> row) as u64 - 1) {
                    root = Some(root.map_or(left, |right| merkle::node_hash(&left, &right)));
                }
            }
        }
        root.unwrap_or_else(merkle::empty_root)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_edge_agrees_with_the_plain_tree_across_tile_boundaries() {
        let leaves: Vec<Hash> = (0u64..66_000).map(|i| merkle::leaf_hash(&i.to_be_bytes())).collect();
        let mut edge = Edge::default();
        let mut tiles = Vec::new();
        for (i, leaf) in leaves.iter().enumerate() {
            edge.push(*leaf, &mut |id, hashes| tiles.push((id, hashes)));
            let size = i as u64 + 1;
            if size < 600 || [65_535, 65_536, 65_537, 65_793, 66_000].contains(&size) {
                assert_eq!(edge.root(), merkle::root(&leaves[..], size).unwrap(), "{size}");
            }
        }
        assert_eq!(tiles.len(), 257 + 1);
        assert_eq!(tiles.iter().filter(|(id, _)| id.kind == Kind::Hashes(1)).map(|(id, _)| id.index).collect::<Vec<_>>(), [0]);
        let again = Edge::load(66_000, |id| {
            let Kind::Hashes(level) = id.kind else { unreachable!() };
            assert_eq!(edge.partial(level).len(), usize::from(id.width));
            Ok(edge.partial(level).to_vec())
        })
        .unwrap();
        assert_eq!(again.root(), edge.root());
    }
}
