//! Targets of an order as a Merkle tree, for more nodes than a list may hold.
//!
//! Leaves and inner nodes are hashed with different tags, and the number of leaves is part of what is signed, so that
//! neither an inner node nor a shorter tree can be passed off (the construction of RFC 6962, section 2.1, with our
//! tags; a level with an odd end passes its last hash up as it is).

use serde::{Deserialize, Serialize};

use super::sha256;
use crate::id::{Digest, FleetId, NodeId};

/// Most nodes that an order lists one by one; more make a tree.
pub const TARGETS_LISTED_MAX: usize = 1024;
/// Most hashes of a proof: enough for 2^32 leaves.
const PROOF_HASHES_MAX: usize = 32;

const LEAF_DOMAIN: &[u8] = b"campanile/target-leaf/v1\0";
const INNER_DOMAIN: &[u8] = b"campanile/target-inner/v1\0";

/// That a node is a leaf of a tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InclusionProof {
    /// Which leaf, from 0.
    pub index: u32,
    /// Hashes beside the way from the leaf to the root.
    pub path: Vec<Digest>,
}

/// The tree over a fleet's nodes.
#[derive(Debug, Clone)]
pub struct TargetTree {
    nodes: Vec<NodeId>,
    /// Leaves first, the root last.
    levels: Vec<Vec<Digest>>,
}

fn leaf(fleet: FleetId, node: NodeId) -> Digest {
    sha256(&[LEAF_DOMAIN, fleet.as_bytes(), node.as_bytes()])
}

fn inner(left: Digest, right: Digest) -> Digest {
    sha256(&[INNER_DOMAIN, left.as_bytes(), right.as_bytes()])
}

impl TargetTree {
    /// The tree over `nodes`, in ascending order and each once whatever order they come in. None for no nodes, or
    /// more than 2^32.
    pub fn new(fleet: FleetId, nodes: impl IntoIterator<Item = NodeId>) -> Option<Self> {
        let mut nodes: Vec<NodeId> = nodes.into_iter().collect();
        nodes.sort_unstable();
        nodes.dedup();
        u32::try_from(nodes.len()).ok().filter(|count| *count > 0)?;
        let mut levels = vec![nodes.iter().map(|node| leaf(fleet, *node)).collect::<Vec<_>>()];
        while levels.last().is_some_and(|level| level.len() > 1) {
            let below = levels.last().expect("begins with one");
            let level = below.chunks(2).map(|pair| match pair {
                [left, right] => inner(*left, *right),
                single => single[0],
            });
            levels.push(level.collect());
        }
        Some(Self { nodes, levels })
    }

    /// What an order carries.
    pub fn root(&self) -> Digest {
        self.levels.last().expect("a tree has a root")[0]
    }

    /// Its leaves, in ascending order.
    pub fn nodes(&self) -> &[NodeId] {
        &self.nodes
    }

    /// The proof for one node; none when it is no leaf.
    pub fn proof(&self, node: NodeId) -> Option<InclusionProof> {
        let index = self.nodes.binary_search(&node).ok()?;
        let mut path = Vec::new();
        let mut place = index;
        for level in &self.levels[..self.levels.len() - 1] {
            path.extend(level.get(place ^ 1));
            place /= 2;
        }
        Some(InclusionProof { index: u32::try_from(index).ok()?, path })
    }
}

impl InclusionProof {
    /// True when `node` is a leaf of the tree with this root and so many leaves.
    pub fn holds(&self, fleet: FleetId, node: NodeId, root: Digest, nodes: u32) -> bool {
        if self.index >= nodes || self.path.len() > PROOF_HASHES_MAX {
            return false;
        }
        let (mut hash, mut place, mut last) = (leaf(fleet, node), self.index, nodes - 1);
        let mut path = self.path.iter();
        while last > 0 {
            if place % 2 == 1 {
                let Some(left) = path.next() else { return false };
                hash = inner(*left, hash);
            } else if place < last {
                let Some(right) = path.next() else { return false };
                hash = inner(hash, *right);
            }
            place /= 2;
            last /= 2;
        }
        path.next().is_none() && hash == root
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FLEET: FleetId = FleetId::from_bytes([1; 16]);

    fn node(number: u32) -> NodeId {
        let mut bytes = [0; NodeId::BYTES];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        NodeId::from_bytes(bytes)
    }

    proptest! {
        #[test]
        fn every_leaf_has_a_proof_and_no_other_node_has(count in 1_u32..70, altered in 0_usize..8) {
            let tree = TargetTree::new(FLEET, (0..count).rev().map(node)).unwrap();
            for number in 0..count {
                let proof = tree.proof(node(number)).unwrap();
                prop_assert!(proof.holds(FLEET, node(number), tree.root(), count));
                prop_assert!(!proof.holds(FLEET, node(count + number), tree.root(), count));
                prop_assert!(!proof.holds(FleetId::from_bytes([2; 16]), node(number), tree.root(), count));
                let mut other = proof.clone();
                if let Some(hash) = other.path.get_mut(altered) {
                    *hash = Digest::from_bytes([9; 32]);
                    prop_assert!(!other.holds(FLEET, node(number), tree.root(), count));
                }
                other = proof.clone();
                other.path.push(tree.root());
                prop_assert!(!other.holds(FLEET, node(number), tree.root(), count));
            }
            prop_assert!(tree.proof(node(count)).is_none());
        }
    }

    #[test]
    fn no_nodes_make_no_tree() {
        assert!(TargetTree::new(FLEET, []).is_none());
    }
}
