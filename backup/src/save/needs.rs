//! The packs that a snapshot needs of those that were there before it, noted while it is made: nothing is read back for it.
//!
//! A run looks up every blob of the snapshot anyway, to know whether it is there. Memory: a bit for each pack of the
//! index, and 32 bytes for each that is needed once the run is over.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::id::ObjectId;
use crate::index::Index;
use crate::pack::Blob;

const BITS: usize = 64;

/// Noted by all threads of a run.
#[derive(Debug)]
pub(super) struct Needs<'r> {
    index: &'r Index,
    noted: Vec<AtomicU64>,
}

impl<'r> Needs<'r> {
    /// Nothing yet.
    pub(super) fn new(index: &'r Index) -> Self {
        let words = index.packs().len().div_ceil(BITS);
        Self { index, noted: (0..words).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Notes the pack of a blob. False when the index does not have it: this run writes it.
    pub(super) fn note(&self, blob: Blob) -> bool {
        let Some(pack) = self.index.pack_of(blob) else { return false };
        let (word, bit) = (&self.noted[pack / BITS], 1 << (pack % BITS));
        // Almost always it is: what is only read is not taken away from other threads.
        if word.load(Ordering::Relaxed) & bit == 0 {
            word.fetch_or(bit, Ordering::Relaxed);
        }
        true
    }

    /// All packs that were noted.
    pub(super) fn packs(&self) -> BTreeSet<ObjectId> {
        let is_noted =
            |pack: &usize| self.noted[pack / BITS].load(Ordering::Relaxed) & (1 << (pack % BITS)) != 0;
        let packs = self.index.packs();
        (0..packs.len()).filter(is_noted).map(|pack| packs[pack]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::{BlobKind, Entry};

    fn blob(number: u64) -> Blob {
        Blob { kind: BlobKind::Data, id: ObjectId::of(&number.to_le_bytes()) }
    }

    #[test]
    fn packs_of_noted_blobs_are_named_whatever_their_number() {
        let mut index = Index::default();
        let pack = |number: u64| ObjectId::of(format!("pack {number}").as_bytes());
        for number in 0..200 {
            let entry = Entry { blob: blob(number), offset: 0, length: 9, uncompressed: None };
            index.add(pack(number), [entry]);
        }
        let needs = Needs::new(&index);
        assert!(needs.packs().is_empty());
        for number in [0, 63, 64, 199, 64] {
            assert!(needs.note(blob(number)));
        }
        assert!(!needs.note(blob(200)), "it is in no pack");
        assert_eq!(needs.packs(), [0, 63, 64, 199].map(pack).into());
    }
}
