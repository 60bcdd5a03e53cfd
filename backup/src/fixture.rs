//! Content for tests.

use std::sync::Arc;

use crate::backend::Memory;
use crate::id::ObjectId;
use crate::index::Index;
use crate::key::MasterKey;
use crate::pack::{Blob, BlobKind, Compressor};
use crate::repository::Repository;
use crate::tree::{FileTime, GoMode, Node, NodeKind, Tree};
use crate::writer::Writer;

/// So many bytes that do not compress, the same for the same `seed`: SplitMix64 (Steele, Lea, Flood 2014).
pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend_from_slice(&(word ^ word >> 31).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Bytes of the chunks that [`Made::file`] cuts.
pub(crate) const CHUNK_BYTES: usize = 1_000_000;

/// A repository in memory whose trees are made by hand.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) backend: Arc<Memory>,
    repository: Repository,
    writer: Writer,
    compressor: Compressor,
}

impl Made {
    pub(crate) fn new() -> Self {
        let backend = Arc::new(Memory::default());
        let repository = Repository::create(backend.clone(), MasterKey::generate()).unwrap();
        let writer = Writer::new(&repository);
        Self { backend, repository, writer, compressor: Compressor::new().unwrap() }
    }

    fn add(&mut self, kind: BlobKind, bytes: &[u8]) -> ObjectId {
        let blob = Blob { kind, id: ObjectId::of(bytes) };
        if self.writer.claim(&Index::default(), blob) {
            let sealed = self.compressor.seal(self.repository.key(), blob, bytes).unwrap();
            self.writer.add(&sealed, bytes.len()).unwrap();
        }
        blob.id
    }

    /// A file of this user with mode 0640.
    pub(crate) fn file(&mut self, name: &str, content: &[u8]) -> Node {
        let mut node = owned(Node::bare(name.into(), NodeKind::File));
        node.mode = GoMode::new(NodeKind::File, 0o640);
        node.content =
            Some(content.chunks(CHUNK_BYTES).map(|chunk| self.add(BlobKind::Data, chunk)).collect());
        node.size = content.len() as u64;
        node
    }

    /// A folder of this user with mode 0750.
    pub(crate) fn folder(&mut self, name: &str, nodes: Vec<Node>) -> Node {
        let mut node = owned(Node::bare(name.into(), NodeKind::Directory));
        node.mode = GoMode::new(NodeKind::Directory, 0o750);
        node.subtree = Some(self.tree(nodes));
        node
    }

    /// The tree of `nodes`, which are put in order.
    pub(crate) fn tree(&mut self, mut nodes: Vec<Node>) -> ObjectId {
        nodes.sort_by(|left, right| left.name.cmp(&right.name));
        self.add(BlobKind::Tree, &Tree { nodes }.to_json())
    }

    /// The repository, its index, and the tree of `nodes`.
    pub(crate) fn finish(mut self, nodes: Vec<Node>) -> ((Repository, Index), ObjectId) {
        let tree = self.tree(nodes);
        self.writer.finish().unwrap();
        let index = self.repository.load_index().unwrap();
        ((self.repository, index), tree)
    }
}

/// With this user's numbers and a time of its own.
pub(crate) fn owned(mut node: Node) -> Node {
    node.uid = rustix::process::geteuid().as_raw();
    node.gid = rustix::process::getegid().as_raw();
    node.mtime = FileTime { seconds: 1_777_803_240, nanoseconds: 123_456_789 };
    node.atime = FileTime { seconds: 1_777_803_241, nanoseconds: 987_654_321 };
    node
}
