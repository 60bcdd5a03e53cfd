//! Groups of entries: their bounds and their order.

use super::*;
use crate::tree::FileTime;

fn file(name: &str, pieces: u64) -> FileJob {
    let time = FileTime::default();
    let details = Details {
        mode: 0,
        uid: 0,
        gid: 0,
        mtime: time,
        atime: time,
        attributes: Box::default(),
        lost_set_id: false,
    };
    FileJob::new(Path::new("").into(), name.into(), details, 0, pieces, true, None)
}

fn location(pack: u8, offset: u32, length: u32) -> Location {
    let id = ObjectId::of(&[&[pack][..], &offset.to_le_bytes()].concat());
    let entry =
        Entry { blob: Blob { kind: BlobKind::Data, id }, offset, length, uncompressed: Some(length * 2) };
    Location { pack: ObjectId([pack; 32]), entry }
}

fn batch(files: &[&[Location]]) -> Batch {
    let mut batch = Batch::default();
    for (number, locations) in files.iter().enumerate() {
        batch.files.push(file(&number.to_string(), locations.len() as u64));
        let mut at = 0;
        for location in *locations {
            batch.add_piece(location, at);
            at += location.entry.plain_length();
        }
    }
    batch
}

#[test]
fn each_pack_is_read_once_from_its_front_in_the_order_of_first_need() {
    let mut batch = batch(&[
        &[location(2, 500, 100), location(1, 100, 100)],
        &[location(2, 0, 100), location(1, 200, 50), location(2, 500, 100)],
    ]);
    let packs = batch.arrange();
    assert_eq!(packs, [(ObjectId([2; 32]), 0..3), (ObjectId([1; 32]), 3..5)]);
    let order: Vec<_> = batch.pieces(0..5).iter().map(|piece| (piece.start, piece.file, piece.at)).collect();
    assert_eq!(order, [(0, 1, 0), (500, 0, 0), (500, 1, 300), (100, 0, 200), (200, 1, 200)]);
}

#[test]
fn blobs_that_follow_each_other_are_read_together_within_a_bound() {
    let far = 600 + GAP_BYTES_MAX + 1;
    let mut batch = batch(&[&[
        location(1, 0, 100),
        location(1, 100, 100),
        location(1, 500, 100),
        location(1, far, READ_BYTES_MAX - 10),
        location(1, far + READ_BYTES_MAX - 10, 11),
        location(1, far + READ_BYTES_MAX + 1, READ_BYTES_MAX * 2),
        location(1, far + READ_BYTES_MAX + 1, READ_BYTES_MAX * 2),
    ]]);
    let packs = batch.arrange();
    let reads = batch.reads(packs[0].1.clone());
    let start = u64::from(far);
    let max = u64::from(READ_BYTES_MAX);
    let expected = [
        Read { range: 0..600, pieces: 0..3 },
        Read { range: start..start + max - 10, pieces: 3..4 },
        Read { range: start + max - 10..start + max + 1, pieces: 4..5 },
        Read { range: start + max + 1..start + 3 * max + 1, pieces: 5..7 },
    ];
    assert_eq!(reads, expected);
}

#[test]
fn a_group_is_full_by_entries_pieces_or_bytes() {
    let mut batch = Batch::default();
    assert!(batch.is_empty() && !batch.is_full());
    for number in 0..ENTRIES_MAX {
        assert!(!batch.is_full());
        batch.files.push(file(&number.to_string(), 0));
    }
    assert!(batch.is_full());
    let mut batch = Batch::default();
    batch.files.push(file("many", 0));
    for _ in 0..PIECES_MAX {
        assert!(!batch.is_full());
        batch.add_piece(&location(1, 0, 1), 0);
    }
    assert!(batch.is_full());
    let mut batch = Batch::default();
    batch.files.push(file("large", 0));
    for _ in 0..16 {
        assert!(!batch.is_full());
        batch.add_piece(&location(1, 0, 32 << 20), 0);
    }
    assert!(batch.is_full());
}
