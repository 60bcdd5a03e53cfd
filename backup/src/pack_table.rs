//! Packs and what is in them, as all index objects together name them.
//!
//! [`Index`] answers where a blob lies; this answers what lies in a pack, and knows a blob in each pack that has it.
//! Memory: some 60 bytes for each blob.

use std::collections::BTreeMap;

use crate::backend::{Object, ObjectKind};
use crate::id::ObjectId;
use crate::index::{Index, IndexFile};
use crate::pack::Entry;
use crate::repository::{Repository, RepositoryError};

/// All packs that are named.
#[derive(Debug, Clone, Default)]
pub struct PackTable {
    packs: BTreeMap<ObjectId, Vec<Entry>>,
    indexes: BTreeMap<ObjectId, Vec<ObjectId>>,
}

impl PackTable {
    /// Reads all index objects.
    ///
    /// # Errors
    /// When any is damaged or unreadable.
    pub fn load(repository: &Repository) -> Result<Self, RepositoryError> {
        let mut table = Self::default();
        for listed in repository.backend().list(ObjectKind::Index)? {
            let object = Object::new(ObjectKind::Index, listed.id);
            table.add_file(listed.id, &repository.read_document::<IndexFile>(object, "index")?);
        }
        Ok(table)
    }

    /// Adds all that the index object `id` names.
    pub fn add_file(&mut self, id: ObjectId, file: &IndexFile) {
        self.indexes.insert(id, file.packs.iter().map(|pack| pack.id).collect());
        for pack in &file.packs {
            self.add(pack.id, pack.entries().collect());
        }
    }

    /// Adds what is in a pack. What another index said of it already counts once.
    pub fn add(&mut self, pack: ObjectId, mut entries: Vec<Entry>) {
        entries.sort_by_key(|entry| entry.offset);
        entries.shrink_to_fit();
        let known = self.packs.entry(pack).or_default();
        if known.is_empty() {
            *known = entries;
        } else if *known != entries {
            known.extend(entries);
            known.sort_by_key(|entry| (entry.offset, entry.blob, entry.length, entry.uncompressed));
            known.dedup();
        }
    }

    /// Packs and what is in them by offset; both in order.
    pub fn packs(&self) -> impl Iterator<Item = (ObjectId, &[Entry])> {
        self.packs.iter().map(|(pack, entries)| (*pack, entries.as_slice()))
    }

    /// What is in a pack; none when no index names it.
    pub fn entries(&self, pack: ObjectId) -> Option<&[Entry]> {
        self.packs.get(&pack).map(Vec::as_slice)
    }

    /// Index objects and the packs that each names.
    pub fn indexes(&self) -> impl Iterator<Item = (ObjectId, &[ObjectId])> {
        self.indexes.iter().map(|(index, packs)| (*index, packs.as_slice()))
    }

    /// The same by blob, with the places that [`Repository::load_index`] gives as well.
    pub fn to_index(&self) -> Index {
        let mut index = Index::default();
        for (_, packs) in self.indexes() {
            for pack in packs {
                index.add(*pack, self.entries(*pack).into_iter().flatten().copied());
            }
        }
        index
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::IndexPack;
    use crate::pack::{Blob, BlobKind};

    fn entry(text: &str, offset: u32) -> Entry {
        let blob = Blob { kind: BlobKind::Data, id: ObjectId::of(text.as_bytes()) };
        Entry { blob, offset, length: 40, uncompressed: None }
    }

    #[test]
    fn a_pack_that_two_indexes_name_has_each_blob_once() {
        let pack = ObjectId::of(b"pack");
        let (first, second) = (ObjectId::of(b"first"), ObjectId::of(b"second"));
        let mut table = PackTable::default();
        for (id, entries) in
            [(first, vec![entry("b", 40), entry("a", 0)]), (second, vec![entry("a", 0), entry("c", 80)])]
        {
            let packs = vec![IndexPack::new(pack, &entries)];
            table.add_file(id, &IndexFile { supersedes: Vec::new(), packs });
        }
        let expected = [entry("a", 0), entry("b", 40), entry("c", 80)];
        assert_eq!(table.entries(pack), Some(&expected[..]));
        assert_eq!(table.indexes().count(), 2);
        assert_eq!(table.to_index().len(), 3);
    }
}
