//! Which snapshots and paths a fault hurts: a walk over all trees, each read once.
//!
//! Memory: some 50 bytes for each tree, and for each tree that is hurt the list of what hurts it, which its folder
//! shares when it is the same; a list has at most [`FINDINGS_MAX`](super::FINDINGS_MAX) numbers.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::path::PathBuf;
use std::rc::Rc;

use super::finding::{Fault, Findings, Subject};
use crate::id::ObjectId;
use crate::index::{IdMap, Index};
use crate::pack::{Blob, BlobKind};
use crate::repository::{Repository, RepositoryError};
use crate::tree::{Node, NodeKind};

/// Numbers of findings.
type Hurt = Rc<BTreeSet<u32>>;

/// A walk over the trees of several snapshots.
pub(super) struct Walk<'a> {
    repository: &'a Repository,
    index: &'a Index,
    /// Blobs that are known to be lost, and the finding that says so.
    lost: &'a IdMap<Blob, u32>,
    /// The finding that explains blobs which no index names: a damaged index.
    unnamed: Option<u32>,
    findings: &'a mut Findings,
    /// Trees that were read; without a value when nothing hurts them.
    trees: IdMap<ObjectId, Option<Hurt>>,
    lists: HashMap<BTreeSet<u32>, Hurt>,
}

/// A folder that the walk is in.
struct Folder {
    id: ObjectId,
    /// Folders in it that are still to be visited.
    folders: std::vec::IntoIter<(OsString, ObjectId)>,
    hurt: BTreeSet<u32>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        repository: &'a Repository,
        index: &'a Index,
        lost: &'a IdMap<Blob, u32>,
        unnamed: Option<u32>,
        findings: &'a mut Findings,
    ) -> Self {
        Self { repository, index, lost, unnamed, findings, trees: IdMap::default(), lists: HashMap::new() }
    }

    /// Walks the tree of a snapshot, and notes the snapshot with all that hurts it.
    pub(super) fn snapshot(&mut self, snapshot: ObjectId, root: ObjectId) -> Result<(), RepositoryError> {
        let mut path = PathBuf::from("/");
        let mut stack = Vec::new();
        if !self.trees.contains_key(&root) {
            stack.push(self.enter(root, &path)?);
        }
        while let Some(folder) = stack.last_mut() {
            let Some((name, id)) = folder.folders.next() else {
                self.leave(&mut stack);
                path.pop();
                continue;
            };
            match self.trees.get(&id) {
                Some(Some(hurt)) => folder.hurt.extend(hurt.iter()),
                Some(None) => {}
                None => {
                    path.push(name);
                    stack.push(self.enter(id, &path)?);
                }
            }
        }
        if let Some(Some(hurt)) = self.trees.get(&root).cloned() {
            hurt.iter().for_each(|number| self.findings.affects_snapshot(*number, snapshot));
        }
        Ok(())
    }

    fn leave(&mut self, stack: &mut Vec<Folder>) {
        let Some(Folder { id, hurt, .. }) = stack.pop() else { return };
        if let Some(above) = stack.last_mut() {
            above.hurt.extend(&hurt);
        }
        let shared = (!hurt.is_empty())
            .then(|| Rc::clone(self.lists.entry(hurt).or_insert_with_key(|hurt| Rc::new(hurt.clone()))));
        self.trees.insert(id, shared);
    }

    fn enter(&mut self, id: ObjectId, path: &std::path::Path) -> Result<Folder, RepositoryError> {
        let mut hurt = BTreeSet::new();
        let mut folders = Vec::new();
        let blob = Blob { kind: BlobKind::Tree, id };
        self.blob(blob, path, &mut hurt);
        if self.index.has(blob) {
            match self.repository.read_tree(self.index, id) {
                Ok(tree) => {
                    for node in tree.nodes {
                        self.node(id, &node, path, &mut hurt);
                        folders.extend(node.subtree.map(|subtree| (node.name, subtree)));
                    }
                }
                Err(error) => {
                    if let Some(number) = self.findings.note_error(error)? {
                        self.findings.affects_path(number, path);
                        hurt.insert(number);
                    }
                }
            }
        }
        Ok(Folder { id, folders: folders.into_iter(), hurt })
    }

    fn node(&mut self, tree: ObjectId, node: &Node, folder: &std::path::Path, hurt: &mut BTreeSet<u32>) {
        let lacks = match node.kind {
            NodeKind::File if node.content.is_none() => Some("a file without a list of chunks"),
            NodeKind::Directory if node.subtree.is_none() => Some("a folder without a tree"),
            _ => None,
        };
        let subject = Subject::Blob(Blob { kind: BlobKind::Tree, id: tree });
        if let Some(number) = lacks.and_then(|lacks| self.findings.note(subject, Fault::Entry(lacks))) {
            self.findings.affects_path(number, &folder.join(&node.name));
            hurt.insert(number);
        }
        for id in node.content.iter().flatten() {
            let blob = Blob { kind: BlobKind::Data, id: *id };
            if self.lost.contains_key(&blob) || !self.index.has(blob) {
                self.blob(blob, &folder.join(&node.name), hurt);
            }
        }
    }

    /// Notes that `path` needs `blob`, when that is lost.
    fn blob(&mut self, blob: Blob, path: &std::path::Path, hurt: &mut BTreeSet<u32>) {
        let number = match self.lost.get(&blob) {
            Some(number) => Some(*number),
            None if self.index.has(blob) => return,
            None => self.unnamed.or_else(|| self.findings.note(Subject::Blob(blob), Fault::NotIndexed)),
        };
        if let Some(number) = number {
            self.findings.affects_path(number, path);
            hurt.insert(number);
        }
    }
}
