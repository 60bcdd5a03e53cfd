//! Where blobs lie: read from the `index` objects of a repository, and written with every few packs.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use serde::{Deserialize, Serialize};

use crate::id::ObjectId;
use crate::pack::{Blob, BlobKind, Entry};

/// An index object is written when it names so many blobs, as restic does.
pub const INDEX_BLOBS_MAX: usize = 50_000;

/// The JSON of an index object.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct IndexFile {
    /// Index objects that this one replaces. Written by restic before 0.15; not followed by anyone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub supersedes: Vec<ObjectId>,
    /// Packs and what is in them.
    pub packs: Vec<IndexPack>,
}

/// A pack as an index names it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct IndexPack {
    /// Its name.
    pub id: ObjectId,
    /// What is in it.
    pub blobs: Vec<IndexBlob>,
}

/// A blob as an index names it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct IndexBlob {
    id: ObjectId,
    #[serde(rename = "type")]
    kind: BlobKind,
    offset: u32,
    length: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uncompressed_length: Option<u32>,
}

impl IndexPack {
    /// A pack with these entries.
    pub fn new(id: ObjectId, entries: &[Entry]) -> Self {
        let blobs = entries.iter().map(|entry| IndexBlob {
            id: entry.blob.id,
            kind: entry.blob.kind,
            offset: entry.offset,
            length: entry.length,
            uncompressed_length: entry.uncompressed,
        });
        Self { id, blobs: blobs.collect() }
    }

    /// What is in the pack.
    pub fn entries(&self) -> impl Iterator<Item = Entry> + '_ {
        self.blobs.iter().map(|blob| Entry {
            blob: Blob { kind: blob.kind, id: blob.id },
            offset: blob.offset,
            length: blob.length,
            // Written as zero by some versions of restic when a blob is not compressed.
            uncompressed: blob.uncompressed_length.filter(|length| *length > 0),
        })
    }
}

/// Where one blob lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Location {
    /// In which pack.
    pub pack: ObjectId,
    /// And where there.
    pub entry: Entry,
}

/// The identifiers are hashes already: eight of their bytes are as good as any hash of them. Only objects that were
/// sealed with the repository's key get here, so that nobody chooses identifiers to collide.
#[derive(Debug, Default)]
pub struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 ^= u64::from_le_bytes(*first);
        }
    }

    // The length of a slice and the variant of a kind tell nothing apart that matters.
    fn write_usize(&mut self, _: usize) {}
    fn write_isize(&mut self, _: isize) {}
    fn write_u64(&mut self, _: u64) {}
    fn write_i64(&mut self, _: i64) {}
}

/// A map by identifier.
pub type IdMap<K, V> = HashMap<K, V, BuildHasherDefault<IdHasher>>;

#[derive(Debug, Clone, Copy)]
struct Short {
    pack: u32,
    offset: u32,
    length: u32,
    /// Zero when it is not compressed.
    uncompressed: u32,
}

/// All blobs of a repository: some 70 bytes of memory each.
#[derive(Debug, Default)]
pub struct Index {
    packs: Vec<ObjectId>,
    numbers: IdMap<ObjectId, u32>,
    blobs: IdMap<Blob, Short>,
}

impl Index {
    /// Adds a pack with what is in it. Of a blob that lies in several packs, the first place counts.
    ///
    /// # Panics
    /// With more than 2^32 packs, which are 64 EiB.
    pub fn add(&mut self, pack: ObjectId, entries: impl IntoIterator<Item = Entry>) {
        let next = u32::try_from(self.packs.len()).expect("fewer than 2^32 packs");
        let number = *self.numbers.entry(pack).or_insert_with(|| {
            self.packs.push(pack);
            next
        });
        for entry in entries {
            self.blobs.entry(entry.blob).or_insert(Short {
                pack: number,
                offset: entry.offset,
                length: entry.length,
                uncompressed: entry.uncompressed.unwrap_or(0),
            });
        }
    }

    /// Adds all that an index object names.
    pub fn add_file(&mut self, file: &IndexFile) {
        for pack in &file.packs {
            self.add(pack.id, pack.entries());
        }
    }

    /// Where a blob lies; none when no pack is known to hold it.
    pub fn find(&self, blob: Blob) -> Option<Location> {
        self.blobs.get(&blob).map(|short| self.location(blob, *short))
    }

    /// Which of [`Index::packs`] a blob lies in; none when no pack is known to hold it.
    pub fn pack_of(&self, blob: Blob) -> Option<usize> {
        self.blobs.get(&blob).map(|short| place(short.pack))
    }

    /// Whether a blob is known.
    pub fn has(&self, blob: Blob) -> bool {
        self.blobs.contains_key(&blob)
    }

    /// All packs that are named.
    pub fn packs(&self) -> &[ObjectId] {
        &self.packs
    }

    /// All blobs and where they lie, in no order.
    pub fn blobs(&self) -> impl Iterator<Item = Location> + '_ {
        self.blobs.iter().map(|(blob, short)| self.location(*blob, *short))
    }

    /// How many blobs are known.
    pub fn len(&self) -> usize {
        self.blobs.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.blobs.is_empty()
    }

    fn location(&self, blob: Blob, short: Short) -> Location {
        let Short { pack, offset, length, uncompressed } = short;
        let pack = self.packs[place(pack)];
        let uncompressed = (uncompressed > 0).then_some(uncompressed);
        Location { pack, entry: Entry { blob, offset, length, uncompressed } }
    }
}

fn place(pack: u32) -> usize {
    usize::try_from(pack).expect("an index of the list")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(text: &str, offset: u32) -> Entry {
        let blob = Blob { kind: BlobKind::Data, id: ObjectId::of(text.as_bytes()) };
        Entry { blob, offset, length: 40, uncompressed: (offset > 0).then_some(100) }
    }

    #[test]
    fn blobs_are_found_where_a_file_says() {
        let pack = ObjectId::of(b"pack");
        let entries = [entry("a", 0), entry("b", 40)];
        let file = IndexFile { supersedes: Vec::new(), packs: vec![IndexPack::new(pack, &entries)] };
        let file: IndexFile = serde_json::from_slice(&serde_json::to_vec(&file).unwrap()).unwrap();
        let mut index = Index::default();
        index.add_file(&file);
        for entry in entries {
            assert_eq!(index.find(entry.blob), Some(Location { pack, entry }));
            assert_eq!(index.pack_of(entry.blob), Some(0));
        }
        let tree = Blob { kind: BlobKind::Tree, ..entries[0].blob };
        assert!(!index.has(tree) && index.len() == 2 && index.packs() == [pack]);
    }

    #[test]
    fn the_first_of_two_places_counts() {
        let mut index = Index::default();
        let (first, second) = (ObjectId::of(b"first"), ObjectId::of(b"second"));
        index.add(first, [entry("a", 0)]);
        index.add(second, [entry("a", 40), entry("b", 80)]);
        assert_eq!(index.find(entry("a", 0).blob).unwrap().pack, first);
        assert_eq!(index.find(entry("b", 0).blob).unwrap().pack, second);
    }
}
