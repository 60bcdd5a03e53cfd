//! Small repositories for tests, written with the writer alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::backend::{Backend, Memory, ObjectKind};
use crate::fixture::noise;
use crate::id::ObjectId;
use crate::index::Index;
use crate::key::MasterKey;
use crate::pack::{Blob, BlobKind, Compressor};
use crate::repository::Repository;
use crate::snapshot::Snapshot;
use crate::tree::{FileTime, Node, NodeKind, Tree};
use crate::writer::Writer;

/// Of each file; one chunk.
const FILE_BYTES: usize = 2000;

/// A repository in memory.
#[derive(Debug)]
pub(crate) struct Fixture {
    pub(crate) memory: Arc<Memory>,
    pub(crate) repository: Repository,
    time: i64,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let memory = Arc::new(Memory::default());
        let repository = Repository::create(memory.clone(), MasterKey::generate()).unwrap();
        Self { memory, repository, time: 1_777_000_000 }
    }

    /// Saves files, each a path of one or two parts and the seed of its content, an hour after the one before.
    pub(crate) fn snapshot(&mut self, files: &[(&str, u64)]) -> ObjectId {
        self.time += 3600;
        save(&self.repository, files, FileTime { seconds: self.time, nanoseconds: 0 })
    }

    pub(crate) fn tree(&self, snapshot: ObjectId) -> ObjectId {
        self.repository.read_snapshot(snapshot).unwrap().tree
    }

    /// How many objects of a kind are there.
    pub(crate) fn count(&self, kind: ObjectKind) -> usize {
        self.memory.list(kind).unwrap().len()
    }
}

/// Saves files into any repository.
pub(crate) fn save(repository: &Repository, files: &[(&str, u64)], time: FileTime) -> ObjectId {
    let index = repository.load_index().unwrap();
    let writer = Writer::new(repository);
    let mut folders: BTreeMap<&str, BTreeMap<&str, u64>> = BTreeMap::new();
    for (path, seed) in files {
        let (folder, name) = path.split_once('/').unwrap_or(("", path));
        folders.entry(folder).or_default().insert(name, *seed);
    }
    let mut root: Vec<Node> = Vec::new();
    for (folder, files) in &folders {
        let nodes = files.iter().map(|(name, seed)| {
            let mut node = Node::bare(name.into(), NodeKind::File);
            let content = noise(FILE_BYTES, *seed);
            node.size = FILE_BYTES as u64;
            node.content = Some(vec![store(repository, &index, &writer, BlobKind::Data, &content)]);
            node
        });
        let nodes: Vec<Node> = nodes.collect();
        if folder.is_empty() {
            root.extend(nodes);
        } else {
            let json = Tree { nodes }.to_json();
            let mut node = Node::bare(folder.into(), NodeKind::Directory);
            node.subtree = Some(store(repository, &index, &writer, BlobKind::Tree, &json));
            root.push(node);
        }
    }
    root.sort_by(|left, right| left.name.cmp(&right.name));
    let tree = store(repository, &index, &writer, BlobKind::Tree, &Tree { nodes: root }.to_json());
    writer.finish().unwrap();
    let snapshot = Snapshot {
        time,
        parent: None,
        tree,
        paths: vec!["/srv".to_owned()],
        hostname: "web-1".to_owned(),
        username: "root".to_owned(),
        uid: 0,
        gid: 0,
        excludes: Vec::new(),
        tags: Vec::new(),
        original: None,
        program_version: String::new(),
        summary: None,
    };
    repository.write_document(ObjectKind::Snapshot, &snapshot).unwrap()
}

fn store(repository: &Repository, index: &Index, writer: &Writer, kind: BlobKind, bytes: &[u8]) -> ObjectId {
    let blob = Blob { kind, id: ObjectId::of(bytes) };
    if writer.claim(index, blob) {
        let sealed = Compressor::new().unwrap().seal(repository.key(), blob, bytes).unwrap();
        writer.add(&sealed, bytes.len()).unwrap();
    }
    blob.id
}
