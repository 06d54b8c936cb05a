//! RFC 6962 Merkle trees: hashes, inclusion and consistency proofs, made and verified.

use super::LogError;
use sha2::{Digest, Sha256};

/// A SHA-256 Merkle tree hash.
pub type Hash = [u8; 32];

/// Longest proof of a tree with 2^63 leaves, in hashes.
pub const MAX_PROOF: usize = 64;

/// Hash of the empty tree: SHA-256 of nothing (RFC 6962 §2.1).
pub fn empty_root() -> Hash {
    Sha256::digest([]).into()
}

/// Hash of a leaf: SHA-256(0x00 ‖ entry) (RFC 6962 §2.1).
pub fn leaf_hash(entry: &[u8]) -> Hash {
    Sha256::new().chain_update([0]).chain_update(entry).finalize().into()
}

/// Hash of an inner node: SHA-256(0x01 ‖ left ‖ right) (RFC 6962 §2.1).
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut buffer = [1u8; 65];
    buffer[1..33].copy_from_slice(left);
    buffer[33..].copy_from_slice(right);
    Sha256::digest(buffer).into()
}

/// Access to the perfect subtrees of a tree.
pub trait Nodes {
    /// MTH(D\[index·2^height : (index+1)·2^height\]), a subtree that lies wholly within the tree.
    fn node(&self, height: u8, index: u64) -> Result<Hash, LogError>;
}

/// Leaf hashes held in memory; every node is computed afresh.
impl Nodes for [Hash] {
    fn node(&self, height: u8, index: u64) -> Result<Hash, LogError> {
        if height == 0 {
            let size = self.len() as u64;
            return self.get(index as usize).copied().ok_or(LogError::OutOfRange { what: "index", value: index, size });
        }
        Ok(node_hash(&self.node(height - 1, index * 2)?, &self.node(height - 1, index * 2 + 1)?))
    }
}

/// Largest power of two below `n`, as an exponent; `n` is at least 2 (RFC 6962 §2.1, k).
fn split(n: u64) -> u8 {
    (63 - (n - 1).leading_zeros()) as u8
}

/// MTH(D\[start:end\]) where `start` is a multiple of the largest power of two not above `end-start`,
/// which holds for every subtree that the RFC's recursion meets.
fn range_root<N: Nodes + ?Sized>(nodes: &N, start: u64, end: u64) -> Result<Hash, LogError> {
    let mut peaks = Vec::new();
    let mut at = start;
    while at < end {
        let height = (63 - (end - at).leading_zeros()) as u8;
        peaks.push(nodes.node(height, at >> height)?);
        at += 1 << height;
    }
    Ok(peaks.into_iter().rev().reduce(|right, left| node_hash(&left, &right)).unwrap_or_else(empty_root))
}

/// Root of the first `size` leaves.
pub fn root<N: Nodes + ?Sized>(nodes: &N, size: u64) -> Result<Hash, LogError> {
    range_root(nodes, 0, size)
}

/// Inclusion proof of leaf `index` in the tree of `size` leaves, leaf's sibling first
/// (RFC 6962 §2.1.1 PATH).
pub fn prove_inclusion<N: Nodes + ?Sized>(nodes: &N, index: u64, size: u64) -> Result<Vec<Hash>, LogError> {
    if index >= size {
        return Err(LogError::OutOfRange { what: "index", value: index, size });
    }
    let (mut start, mut end) = (0, size);
    let mut proof = Vec::new();
    while end - start > 1 {
        let middle = start + (1 << split(end - start));
        if index < middle {
            proof.push(range_root(nodes, middle, end)?);
            end = middle;
        } else {
            proof.push(range_root(nodes, start, middle)?);
            start = middle;
        }
    }
    proof.reverse();
    Ok(proof)
}

/// Consistency proof from the tree of `old` leaves to that of `new` leaves (RFC 6962 §2.1.2
/// PROOF); empty when the sizes are equal or `old` is 0.
pub fn prove_consistency<N: Nodes + ?Sized>(nodes: &N, old: u64, new: u64) -> Result<Vec<Hash>, LogError> {
    if old > new {
        return Err(LogError::OutOfRange { what: "size", value: old, size: new });
    }
    if old == 0 || old == new {
        return Ok(Vec::new());
    }
    let (mut start, mut end) = (0, new);
    let mut proof = Vec::new();
    while end > old {
        let middle = start + (1 << split(end - start));
        if old <= middle {
            proof.push(range_root(nodes, middle, end)?);
            end = middle;
        } else {
            proof.push(range_root(nodes, start, middle)?);
            start = middle;
        }
    }
    if start > 0 {
        // The verifier does not know this subtree; with start 0 it is the old root itself.
        proof.push(range_root(nodes, start, end)?);
    }
    proof.reverse();
    Ok(proof)
}

/// Verifies an inclusion proof (RFC 9162 §2.1.3.2).
pub fn verify_inclusion(index: u64, size: u64, leaf: &Hash, proof: &[Hash], root: &Hash) -> Result<(), LogError> {
    if index >= size {
        return Err(LogError::OutOfRange { what: "index", value: index, size });
    }
    let (mut f, mut s) = (index, size - 1);
    let mut r = *leaf;
    for p in proof {
        if s == 0 {
            return Err(LogError::Disproved("inclusion"));
        }
        if f & 1 == 1 || f == s {
            r = node_hash(p, &r);
            while f & 1 == 0 && f != 0 {
                f >>= 1;
                s >>= 1;
            }
        } else {
            r = node_hash(&r, p);
        }
        f >>= 1;
        s >>= 1;
    }
    if s == 0 && r == *root { Ok(()) } else { Err(LogError::Disproved("inclusion")) }
}

/// Verifies a consistency proof (RFC 9162 §2.1.4.2). From size 0 the proof must be empty, and
/// between equal sizes the roots must be equal too.
pub fn verify_consistency(old: u64, new: u64, proof: &[Hash], old_root: &Hash, new_root: &Hash) -> Result<(), LogError> {
    let bad = || LogError::Disproved("consistency");
    if old > new {
        return Err(LogError::OutOfRange { what: "size", value: old, size: new });
    }
    if old == 0 || old == new {
        let roots = if old == new { old_root == new_root } else { *old_root == empty_root() };
        return if proof.is_empty() && roots { Ok(()) } else { Err(bad()) };
    }
    let seeded: Vec<Hash>;
    let path = if old.is_power_of_two() {
        seeded = std::iter::once(*old_root).chain(proof.iter().copied()).collect();
        &seeded[..]
    } else {
        proof
    };
    let (mut f, mut s) = (old - 1, new - 1);
    while f & 1 == 1 {
        f >>= 1;
        s >>= 1;
    }
    let (first, rest) = path.split_first().ok_or_else(bad)?;
    let (mut fr, mut sr) = (*first, *first);
    for c in rest {
        if s == 0 {
            return Err(bad());
        }
        if f & 1 == 1 || f == s {
            fr = node_hash(c, &fr);
            sr = node_hash(c, &sr);
            while f & 1 == 0 && f != 0 {
                f >>= 1;
                s >>= 1;
            }
        } else {
            sr = node_hash(&sr, c);
        }
        f >>= 1;
        s >>= 1;
    }
    if s == 0 && fr == *old_root && sr == *new_root { Ok(()) } else { Err(bad()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hashes(n: usize) -> Vec<Hash> {
        (0..n).map(|i| leaf_hash(&(i as u64).to_be_bytes())).collect()
    }

    fn h(text: &str) -> Hash {
        hex::decode(text).unwrap().try_into().unwrap()
    }

    /// The eight leaves and roots of the Certificate Transparency reference tests.
    #[test]
    fn roots_are_those_of_the_certificate_transparency_vectors() {
        let leaves = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
        let roots = [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        let d: Vec<Hash> = leaves.iter().map(|l| leaf_hash(&hex::decode(l).unwrap())).collect();
        assert_eq!(root(&d[..0], 0).unwrap(), h("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"));
        for (i, want) in roots.iter().enumerate() {
            assert_eq!(root(&d[..], i as u64 + 1).unwrap(), h(want), "{} leaves", i + 1);
        }
        let path = prove_inclusion(&d[..], 5, 8).unwrap();
        let want = [
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ];
        assert_eq!(path, want.map(h));
    }

    #[test]
    fn every_proof_of_every_small_tree_verifies_and_no_other() {
        let d = hashes(40);
        for size in 1..=40u64 {
            let r = root(&d[..], size).unwrap();
            for i in 0..size {
                let proof = prove_inclusion(&d[..], i, size).unwrap();
                verify_inclusion(i, size, &d[i as usize], &proof, &r).unwrap();
                assert!(verify_inclusion(i, size, &d[(i as usize + 1) % 40], &proof, &r).is_err());
                let mut longer = proof.clone();
                longer.push(r);
                assert!(verify_inclusion(i, size, &d[i as usize], &longer, &r).is_err());
                if !proof.is_empty() {
                    assert!(verify_inclusion(i, size, &d[i as usize], &proof[1..], &r).is_err());
                }
            }
            for old in 0..=size {
                let o = root(&d[..], old).unwrap();
                let proof = prove_consistency(&d[..], old, size).unwrap();
                verify_consistency(old, size, &proof, &o, &r).unwrap();
                let mut longer = proof.clone();
                longer.push(r);
                assert!(verify_consistency(old, size, &longer, &o, &r).is_err());
                assert!(verify_consistency(old, size, &proof, &[9; 32], &r).is_err());
                // Every tree is consistent with the empty one.
                assert_eq!(verify_consistency(old, size, &proof, &o, &[9; 32]).is_ok(), old == 0);
                for at in 0..proof.len() {
                    let mut bad = proof.clone();
                    bad[at][0] ^= 1;
                    assert!(verify_consistency(old, size, &bad, &o, &r).is_err());
                }
            }
        }
    }

    proptest! {
        #[test]
        fn no_forged_inclusion_is_accepted(size in 1u64..600, index in 0u64..600, claim in 0u64..600) {
            let d = hashes(size as usize);
            let (index, r) = (index % size, root(&d[..], size).unwrap());
            let proof = prove_inclusion(&d[..], index, size).unwrap();
            let verdict = verify_inclusion(claim, size, &d[index as usize], &proof, &r);
            prop_assert_eq!(verdict.is_ok(), claim == index);
        }

        #[test]
        fn hostile_proofs_do_not_panic(index: u64, size: u64, old: u64, proof in proptest::collection::vec(any::<[u8; 32]>(), 0..70)) {
            prop_assert!(verify_inclusion(index, size, &[0; 32], &proof, &[1; 32]).is_err());
            prop_assert!(verify_consistency(old, size, &proof, &[0; 32], &[1; 32]).is_err());
        }
    }
}
