//! A folder whose entries are being saved: the text of its tree grows in the order of the names, while files are read
//! in any order by several threads.
//!
//! As long as all is as an earlier tree has it, the text is a part of that tree's text and is not copied. Memory: the
//! text, and that of entries that wait for one in front of them.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::known::KnownTree;
use crate::id::ObjectId;
use crate::tree::{Node, PREFIX, SUFFIX};

/// What becomes of an entry.
#[derive(Debug)]
pub(super) enum Text {
    /// It is in the earlier tree, there.
    Same(Range<usize>),
    /// It is this.
    Own(Vec<u8>),
    /// It cannot be saved.
    Gone,
}

/// Where an entry has its place.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) folder: Arc<Folder>,
    number: u64,
}

/// What the folder itself becomes in the folder that holds it.
#[derive(Debug)]
pub(super) enum Own {
    /// An entry that lacks the tree alone.
    Fresh(Box<Node>),
    /// The one that the holding folder's earlier tree has there, if this is the tree.
    Known(Range<usize>, ObjectId),
}

/// A folder that is being saved.
#[derive(Debug)]
pub(super) struct Folder {
    /// None for the root.
    pub(super) above: Option<(Place, Own)>,
    known: Option<Arc<KnownTree>>,
    /// Whether the earlier snapshot has a folder there.
    pub(super) was_known: bool,
    entries: Mutex<Entries>,
}

#[derive(Debug)]
struct Entries {
    /// So many bytes of the earlier tree's text are the text so far; none when there is a text of its own.
    same: Option<usize>,
    text: Vec<u8>,
    waiting: VecDeque<Option<Text>>,
    /// Number of the first that waits.
    first: u64,
    /// Entries without a text, and one for the walk that may bring more.
    open: u64,
}

/// The tree of a folder that is done.
#[derive(Debug)]
pub(super) enum Done {
    /// One that is in the repository.
    Same(ObjectId),
    /// This one.
    Text(Vec<u8>),
}

impl Folder {
    pub(super) fn new(above: Option<(Place, Own)>, known: Option<Arc<KnownTree>>, was_known: bool) -> Self {
        let is_usable = known.as_ref().is_some_and(|known| known.text.starts_with(PREFIX));
        let entries = Entries {
            same: is_usable.then_some(PREFIX.len()),
            text: if is_usable { Vec::new() } else { PREFIX.to_vec() },
            waiting: VecDeque::new(),
            first: 0,
            open: 1,
        };
        Self { above, known, was_known, entries: Mutex::new(entries) }
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next entry.
    pub(super) fn push(&self, text: Text) {
        let mut entries = self.entries();
        if entries.waiting.is_empty() {
            entries.first += 1;
            entries.append(self.known.as_deref(), text);
        } else {
            entries.waiting.push_back(Some(text));
        }
    }

    /// The next entry, whose text comes later.
    pub(super) fn reserve(self: &Arc<Self>) -> Place {
        let mut entries = self.entries();
        let number = entries.first + entries.waiting.len() as u64;
        entries.waiting.push_back(None);
        entries.open += 1;
        Place { folder: Arc::clone(self), number }
    }

    /// No more entries come. True when the folder is done.
    pub(super) fn close(&self) -> bool {
        let mut entries = self.entries();
        entries.open -= 1;
        entries.open == 0
    }

    /// The tree, once the folder is done.
    pub(super) fn take(&self) -> Done {
        let mut entries = self.entries();
        if let (Some(same), Some(known)) = (entries.same, &self.known)
            && known.text[same..] == *SUFFIX
        {
            return Done::Same(known.id);
        }
        entries.own(self.known.as_deref());
        let mut text = std::mem::take(&mut entries.text);
        text.extend_from_slice(SUFFIX);
        Done::Text(text)
    }

    /// What the folder becomes in the one above, with its tree.
    pub(super) fn entry(&self, own: &Own, above: &Self, tree: ObjectId) -> Text {
        let mut node = match own {
            Own::Known(range, subtree) if *subtree == tree => return Text::Same(range.clone()),
            Own::Known(range, _) => {
                let known = above.known.as_ref().expect("an entry is known by the tree that holds it");
                serde_json::from_slice::<Node>(&known.text[range.clone()]).expect("it was read before")
            }
            Own::Fresh(node) => (**node).clone(),
        };
        node.subtree = Some(tree);
        let mut text = Vec::new();
        node.append_json(&mut text);
        Text::Own(text)
    }
}

impl Place {
    /// Fills it. True when the folder is done.
    pub(super) fn fill(&self, text: Text) -> bool {
        let mut entries = self.folder.entries();
        let at = usize::try_from(self.number - entries.first).expect("a place waits until it is filled");
        entries.waiting[at] = Some(text);
        while let Some(Some(_)) = entries.waiting.front() {
            let text = entries.waiting.pop_front().flatten().expect("looked at");
            entries.first += 1;
            entries.append(self.folder.known.as_deref(), text);
        }
        entries.open -= 1;
        entries.open == 0
    }
}

impl Entries {
    fn append(&mut self, known: Option<&KnownTree>, text: Text) {
        let from_known = |range: Range<usize>| known.map_or(&[][..], |known| &known.text[range]);
        match text {
            Text::Gone => {}
            Text::Same(range) => match self.same {
                Some(same) if range.start == same + usize::from(same > PREFIX.len()) => {
                    self.same = Some(range.end);
                }
                _ => {
                    self.own(known);
                    self.add(from_known(range));
                }
            },
            Text::Own(text) => {
                self.own(known);
                self.add(&text);
            }
        }
    }

    /// Goes on with a text of its own.
    fn own(&mut self, known: Option<&KnownTree>) {
        if let (Some(same), Some(known)) = (self.same.take(), known) {
            // Most of a folder stays as it was.
            self.text.reserve(known.text.len());
            self.text.extend_from_slice(&known.text[..same]);
        }
    }

    fn add(&mut self, entry: &[u8]) {
        if self.text.len() > PREFIX.len() {
            self.text.push(b',');
        }
        self.text.extend_from_slice(entry);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::save::known::Cursor;
    use crate::tree::{NodeKind, Tree};

    fn node(name: &str, size: u64) -> Node {
        let mut node = Node::bare(name.into(), NodeKind::File);
        node.size = size;
        node
    }

    fn text(node: &Node) -> Vec<u8> {
        let mut text = Vec::new();
        node.append_json(&mut text);
        text
    }

    #[test]
    fn a_folder_with_nothing_in_it_is_done_when_the_walk_has_left() {
        let folder = Folder::new(None, None, false);
        assert!(folder.close());
        assert!(matches!(folder.take(), Done::Text(text) if text == b"{\"nodes\":[]}\n"));
    }

    proptest! {
        /// Each of 12 names is in the earlier tree, in the folder, or in both; alike or changed; and its text comes at
        /// once or later, in any order.
        #[test]
        fn the_text_is_that_of_the_tree_whatever_comes_when(
            fates in proptest::collection::vec((0_u8..5, any::<bool>(), any::<u32>()), 0..12),
        ) {
            let name = |number: usize| format!("{number:02}");
            let earlier = fates.iter().enumerate().filter(|(_, (fate, ..))| *fate != 0);
            let earlier = Tree { nodes: earlier.map(|(number, _)| node(&name(number), 1)).collect() }.to_json();
            let known = Arc::new(KnownTree { id: ObjectId::of(&earlier), text: earlier });
            let mut cursor = Cursor::new(known.clone());
            let folder = Arc::new(Folder::new(None, Some(known.clone()), true));
            let mut expected = Tree::default();
            let mut later = Vec::new();
            for (number, (fate, is_later, order)) in fates.iter().enumerate() {
                let found = cursor.find(name(number).as_ref());
                let text = match (fate, found) {
                    (1, _) => continue,
                    (2, _) => Text::Gone,
                    (3, Some(found)) => {
                        expected.nodes.push(node(&name(number), 1));
                        Text::Same(found.range)
                    }
                    _ => {
                        expected.nodes.push(node(&name(number), 2));
                        Text::Own(text(&node(&name(number), 2)))
                    }
                };
                if *is_later {
                    later.push((*order, folder.reserve(), text));
                } else {
                    folder.push(text);
                }
            }
            later.sort_by_key(|(order, ..)| *order);
            let mut is_done = folder.close();
            for (_, place, text) in later {
                prop_assert!(!is_done);
                is_done = place.fill(text);
            }
            prop_assert!(is_done);
            let id = match folder.take() {
                Done::Same(id) => id,
                Done::Text(text) => {
                    prop_assert_eq!(&text, &expected.to_json());
                    ObjectId::of(&text)
                }
            };
            prop_assert_eq!(id, ObjectId::of(&expected.to_json()));
        }
    }
}
