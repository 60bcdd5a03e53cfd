//! One file: its content, holes, details and links.

#![expect(clippy::disallowed_methods, reason = "tests look at real files")]

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use super::*;
use crate::beneath::{LastFolder, Root};
use crate::fixture::noise;
use crate::tree::FileTime;

fn job(size: u64, pieces: u64) -> FileJob {
    let time = FileTime::default();
    let details = Details {
        mode: 0o600,
        uid: 0,
        gid: 0,
        mtime: time,
        atime: time,
        attributes: Box::default(),
        lost_set_id: false,
    };
    FileJob::new(Path::new("").into(), "file".into(), details, size, pieces, true, None)
}

/// Writes `pieces` one after another, and gives back the content and the blocks of 512 bytes that it takes.
fn written(pieces: &[&[u8]]) -> (Vec<u8>, u64) {
    let folder = tempfile::tempdir().unwrap();
    let root = Root::open(folder.path()).unwrap();
    let mut last = LastFolder::default();
    let reached = last.reach(&root, &Path::new("").into()).unwrap();
    let size = pieces.iter().map(|piece| piece.len() as u64).sum();
    let (job, open_files) = (job(size, pieces.len() as u64), OpenFiles::default());
    let (mut at, mut buffer) = (0, Vec::new());
    for (number, piece) in pieces.iter().enumerate() {
        let file = job.open(reached, &open_files).unwrap();
        job.write(&file, at, piece, is_zero(piece), Some(&mut buffer)).unwrap();
        assert_eq!(job.piece_is_written(), number + 1 == pieces.len());
        at += piece.len() as u64;
    }
    job.set_whole(&open_files);
    assert_eq!((job.standing(), open_files.0.load(Ordering::Relaxed)), (Standing::Whole, 0));
    let path = folder.path().join(temporary(&job.name));
    fs::File::open(&path).unwrap().sync_all().unwrap();
    (fs::read(&path).unwrap(), fs::metadata(&path).unwrap().blocks())
}

#[test]
fn runs_of_zeros_become_holes_wherever_they_lie() {
    let noise = noise(40_000, 1);
    let zeros = vec![0; 1 << 20];
    for pieces in [
        vec![&zeros[..]],
        vec![&noise[..], &zeros],
        vec![&zeros[..], &noise],
        vec![&zeros[..5], &noise, &zeros, &noise, &zeros[..77]],
        vec![&noise[..], &zeros, &zeros[..100]],
    ] {
        let (content, blocks) = written(&pieces);
        assert!(content == pieces.concat());
        let noisy = pieces.iter().filter(|piece| piece.len() == 40_000).count() as u64;
        assert!(blocks * 512 <= noisy * (40_000 + 2 * HOLE_BYTES as u64 + 8192), "{blocks} for {noisy}");
    }
    // Holes within a piece, and at its end, of a file of one piece.
    let mixed = [&noise[..100], &zeros[..200_000], &noise[..100], &zeros[..200_000]].concat();
    let (content, blocks) = written(&[&mixed]);
    assert!(content == mixed && blocks * 512 <= 4 * HOLE_BYTES as u64, "{blocks}");
}

#[test]
fn short_and_empty_pieces_are_written_as_they_are() {
    let noise = noise(100_000, 2);
    for lengths in [vec![0], vec![1], vec![16_383, 1, 16_385], vec![5, 100_000, 3], vec![16_384, 16_384]] {
        let pieces: Vec<&[u8]> = lengths.iter().map(|length| &noise[..*length]).collect();
        assert!(written(&pieces).0 == pieces.concat(), "{lengths:?}");
    }
    assert_eq!(written(&[&[0; 3], &[7; 3], &[0; 3]]).0, [0, 0, 0, 7, 7, 7, 0, 0, 0]);
}

#[test]
fn what_is_read_back_and_differs_is_noticed() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let plain = noise(300_000, 3);
    for at in [0, 1, 150_000, 299_999] {
        let mut altered = plain.clone();
        altered[at] ^= 1;
        fs::write(file.path(), &altered).unwrap();
        let opened: OwnedFd = fs::File::open(file.path()).unwrap().into();
        assert!(matches!(compare(&opened, 0, &plain, &mut Vec::new()), Err(Problem::ReadBack)), "{at}");
    }
    fs::write(file.path(), &plain[..200_000]).unwrap();
    let opened: OwnedFd = fs::File::open(file.path()).unwrap().into();
    assert!(matches!(compare(&opened, 0, &plain, &mut Vec::new()), Err(Problem::ReadBack)));
    compare(&opened, 0, &plain[..200_000], &mut Vec::new()).unwrap();
}

#[test]
fn a_file_that_somebody_put_in_the_place_of_ours_is_not_written_to() {
    let folder = tempfile::tempdir().unwrap();
    let root = Root::open(folder.path()).unwrap();
    let mut last = LastFolder::default();
    let reached = last.reach(&root, &Path::new("").into()).unwrap();
    let full = OpenFiles(AtomicUsize::new(OPEN_MAX));
    let job = job(10, 2);
    let file = job.open(reached, &full).unwrap();
    job.write(&file, 0, b"01234", false, None).unwrap();
    assert!(!job.piece_is_written());
    let path = folder.path().join(temporary(&job.name));
    fs::rename(&path, folder.path().join("moved")).unwrap();
    fs::write(&path, "another's").unwrap();
    assert!(matches!(job.open(reached, &full), Err(Problem::Io { .. })));
    assert_eq!(fs::read_to_string(&path).unwrap(), "another's");
    fs::rename(folder.path().join("moved"), &path).unwrap();
    let file = job.open(reached, &full).unwrap();
    job.write(&file, 5, b"56789", false, None).unwrap();
    assert!(job.piece_is_written());
    assert_eq!(fs::read_to_string(&path).unwrap(), "0123456789");
}
