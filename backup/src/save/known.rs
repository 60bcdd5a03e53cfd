//! What an earlier snapshot knows of a folder: its tree, read entry by entry beside the folder's own names, so that a
//! folder of any size costs the text of its tree and one entry.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;

use rustix::fs::Stat;
use serde::Deserialize;

use super::details;
use super::owner::Owners;
use crate::id::ObjectId;
use crate::name;
use crate::tree::{FileTime, GoMode, NodeKind, PREFIX};

/// The text of a tree that is in the repository.
#[derive(Debug)]
pub(super) struct KnownTree {
    pub(super) id: ObjectId,
    pub(super) text: Vec<u8>,
}

/// An entry of it.
#[derive(Debug)]
pub(super) struct KnownEntry {
    name: OsString,
    /// Where in the text it stands.
    pub(super) range: Range<usize>,
    pub(super) kind: NodeKind,
    pub(super) content: Vec<ObjectId>,
    pub(super) subtree: Option<ObjectId>,
    pub(super) size: u64,
    times: (FileTime, FileTime),
    place: (u64, u64),
    owner: (u32, u32),
    owner_names: (String, String),
    mode: GoMode,
    is_whole: bool,
}

/// As it is written; what is not compared is not kept.
#[derive(Deserialize)]
struct Written<'t> {
    #[serde(borrow)]
    name: Cow<'t, str>,
    #[serde(rename = "type")]
    kind: NodeKind,
    #[serde(default)]
    mode: GoMode,
    mtime: FileTime,
    ctime: FileTime,
    #[serde(default)]
    uid: u32,
    #[serde(default)]
    gid: u32,
    #[serde(default)]
    user: String,
    #[serde(default)]
    group: String,
    #[serde(default)]
    inode: u64,
    #[serde(default)]
    device_id: u64,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    content: Option<Vec<ObjectId>>,
    #[serde(default)]
    subtree: Option<ObjectId>,
    #[serde(default)]
    error: String,
}

impl KnownEntry {
    /// Whether nothing was changed since: the same file on the same file system, with the same times and size. A change
    /// of anything else (mode, owner, attributes, links) sets the time of the last change of details, `ctime`.
    pub(super) fn is_same(&self, stat: &Stat, owners: &Owners) -> bool {
        let is_file = self.kind == NodeKind::File;
        self.is_whole
            && self.kind == details::kind(stat)
            && self.times == (details::mtime(stat), details::ctime(stat))
            && self.place == (stat.st_dev, stat.st_ino)
            && (!is_file || self.size == details::size(stat))
            && self.owner == (stat.st_uid, stat.st_gid)
            && self.mode == details::mode(stat)
            && self.owner_names.0 == owners.user(stat.st_uid)
            && self.owner_names.1 == owners.group(stat.st_gid)
    }
}

/// Reads the entries of a tree in their order.
#[derive(Debug)]
pub(super) struct Cursor {
    pub(super) tree: Arc<KnownTree>,
    at: usize,
    ahead: Option<KnownEntry>,
}

impl Cursor {
    /// At the first entry. A text that does not begin as trees do has none.
    pub(super) fn new(tree: Arc<KnownTree>) -> Self {
        let at = if tree.text.starts_with(PREFIX) { PREFIX.len() } else { tree.text.len() };
        Self { tree, at, ahead: None }
    }

    /// The entry of a name, when the tree has it. Names are asked for in the order of their bytes.
    pub(super) fn find(&mut self, name: &OsStr) -> Option<KnownEntry> {
        loop {
            let entry = match self.ahead.take() {
                Some(entry) => entry,
                None => self.read()?,
            };
            match entry.name.as_bytes().cmp(name.as_bytes()) {
                std::cmp::Ordering::Less => {}
                std::cmp::Ordering::Equal => return Some(entry),
                std::cmp::Ordering::Greater => {
                    self.ahead = Some(entry);
                    return None;
                }
            }
        }
    }

    /// None at the end, and where the text is not that of an entry: nothing behind it is known then.
    fn read(&mut self) -> Option<KnownEntry> {
        let rest = self.tree.text.get(self.at..)?;
        let mut entries = serde_json::Deserializer::from_slice(rest).into_iter::<Written<'_>>();
        let Some(Ok(written)) = entries.next() else {
            self.at = self.tree.text.len();
            return None;
        };
        let range = self.at..self.at + entries.byte_offset();
        let name = name::unquote(&written.name);
        self.at =
            if self.tree.text.get(range.end) == Some(&b',') { range.end + 1 } else { self.tree.text.len() };
        Some(KnownEntry {
            name: name?,
            range,
            kind: written.kind,
            content: written.content.unwrap_or_default(),
            subtree: written.subtree,
            size: written.size,
            times: (written.mtime, written.ctime),
            place: (written.device_id, written.inode),
            owner: (written.uid, written.gid),
            owner_names: (written.user, written.group),
            mode: written.mode,
            is_whole: written.error.is_empty(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Node, Tree};

    fn cursor(text: Vec<u8>) -> Cursor {
        Cursor::new(Arc::new(KnownTree { id: ObjectId::of(&text), text }))
    }

    #[test]
    fn entries_are_found_beside_a_folder_that_gained_and_lost_some() {
        let node = |name: &&str| Node::bare(OsString::from(name), NodeKind::Fifo);
        let tree = Tree { nodes: ["a", "b<\"\\", "d", "f"].iter().map(node).collect() };
        let mut cursor = cursor(tree.to_json());
        let found: Vec<_> =
            ["0", "b<\"\\", "c", "d", "g"].iter().map(|name| cursor.find(name.as_ref())).collect();
        let is_there: Vec<_> = found.iter().map(Option::is_some).collect();
        assert_eq!(is_there, [false, true, false, true, false]);
        for entry in found.into_iter().flatten() {
            let text = &cursor.tree.text[entry.range];
            assert_eq!(serde_json::from_slice::<Node>(text).unwrap().name, entry.name);
        }
    }

    #[test]
    fn text_that_is_no_tree_knows_nothing() {
        for text in
            ["", "{}", "{\"nodes\":null}", "{\"nodes\":[", "{\"nodes\":[{]}", "{\"nodes\":[1,2]}", "[1]"]
        {
            assert!(cursor(text.as_bytes().to_vec()).find("a".as_ref()).is_none(), "{text}");
        }
    }
}
