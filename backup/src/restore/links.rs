//! Files with several names: which was the first that is restored.
//!
//! The others become names of it. A file whose content differs from the first one's (it was changed while it was
//! saved) is restored by itself, so that no name ever leads to another file's content.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::id::ObjectId;
use crate::tree::{Node, NodeKind};

/// So many files are remembered, some 200 bytes of memory each; further ones are restored as files of their own.
pub(super) const LINKS_MAX: usize = 1 << 20;

/// The name under which a file with several names was restored first.
#[derive(Debug)]
pub(super) struct FirstName {
    pub(super) folder: Arc<Path>,
    pub(super) name: OsString,
    is_right: AtomicBool,
}

impl FirstName {
    /// The file is there, as it should be.
    pub(super) fn set_right(&self) {
        self.is_right.store(true, Ordering::Release);
    }

    pub(super) fn is_right(&self) -> bool {
        self.is_right.load(Ordering::Acquire)
    }

    pub(super) fn path(&self) -> PathBuf {
        self.folder.join(&self.name)
    }
}

/// How a file is to be restored.
#[derive(Debug)]
pub(super) enum Names {
    /// It has no other name.
    One,
    /// It is the first of several.
    First(Arc<FirstName>),
    /// It is a further name of this one.
    Further(Arc<FirstName>),
    /// It has several names, but too many such files are there.
    Forgotten,
}

#[derive(Debug)]
struct Known {
    first: Arc<FirstName>,
    content: ObjectId,
    left: u64,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Links {
    known: HashMap<(u64, u64), Known>,
}

impl Links {
    /// How `node` in `folder` is to be restored.
    pub(super) fn names(&mut self, folder: &Arc<Path>, node: &Node) -> Names {
        if node.links < 2 || node.kind != NodeKind::File || node.inode == 0 {
            return Names::One;
        }
        let key = (node.device_id, node.inode);
        let content = content_of(node);
        if let Some(known) = self.known.get_mut(&key) {
            if known.content != content {
                return Names::One;
            }
            known.left = known.left.saturating_sub(1);
            let first = known.first.clone();
            if known.left == 0 {
                self.known.remove(&key);
            }
            return Names::Further(first);
        }
        if self.known.len() >= LINKS_MAX {
            return Names::Forgotten;
        }
        let first = Arc::new(FirstName {
            folder: folder.clone(),
            name: node.name.clone(),
            is_right: AtomicBool::new(false),
        });
        self.known.insert(key, Known { first: first.clone(), content, left: node.links - 1 });
        Names::First(first)
    }
}

fn content_of(node: &Node) -> ObjectId {
    let ids = node.content.iter().flatten();
    ObjectId::of(&ids.flat_map(|id| id.0).collect::<Vec<u8>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, inode: u64, links: u64, content: u8) -> Node {
        let mut node = Node::bare(name.into(), NodeKind::File);
        (node.inode, node.links) = (inode, links);
        node.content = Some(vec![ObjectId([content; 32])]);
        node
    }

    #[test]
    fn the_first_name_that_is_met_is_the_file_and_it_is_forgotten_after_the_last() {
        let folder: Arc<Path> = Path::new("a").into();
        let mut links = Links::default();
        assert!(matches!(links.names(&folder, &node("alone", 1, 1, 0)), Names::One));
        let Names::First(first) = links.names(&folder, &node("x", 7, 3, 0)) else { panic!("not the first") };
        assert_eq!(first.path(), Path::new("a/x"));
        for name in ["y", "z"] {
            let Names::Further(of) = links.names(&folder, &node(name, 7, 3, 0)) else { panic!("{name}") };
            assert!(Arc::ptr_eq(&of, &first));
        }
        assert!(links.known.is_empty());
    }

    #[test]
    fn a_name_with_another_content_is_a_file_of_its_own() {
        let folder: Arc<Path> = Path::new("a").into();
        let mut links = Links::default();
        assert!(matches!(links.names(&folder, &node("x", 7, 2, 0)), Names::First(_)));
        assert!(matches!(links.names(&folder, &node("y", 7, 2, 1)), Names::One));
    }
}
