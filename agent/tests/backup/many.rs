//! Much at once: many files, and a file that is long and nearly empty. What the program takes of memory is measured.

use std::fs::{File, Metadata};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::time::Duration;

use crate::support::{Ended, Node, assert_same, below};

/// So many files; `CAMPANILE_BACKUP_FILES` for more.
const FILES: usize = 20_000;
const FILES_PER_FOLDER: usize = 500;
/// What the program may hold at most, whatever it saves; and for each file, whose content it has to find again.
const PEAK_KIB_MAX: u64 = 64 << 10;
const PEAK_BYTES_PER_FILE: u64 = 512;
/// What a file system may add to the blocks of a file.
const BLOCKS_SLACK: u64 = 2048;

fn count() -> usize {
    std::env::var("CAMPANILE_BACKUP_FILES").map_or(FILES, |text| text.parse().unwrap())
}

/// Runs the program to its end: how it ended, and the most that it held in memory, in KiB.
fn measured(node: &Node, arguments: &[&str]) -> (Ended, u64) {
    let child = node.command(arguments).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let watcher = std::thread::spawn(move || {
        let mut peak = 0;
        // A process that has ended, and one that nobody waits for any more, hold nothing.
        while let Some(found) = peak_of(&status) {
            peak = peak.max(found);
            std::thread::sleep(Duration::from_millis(5));
        }
        peak
    });
    let output = child.wait_with_output().unwrap();
    (Ended::of(&output), watcher.join().unwrap())
}

fn peak_of(status: &str) -> Option<u64> {
    let text = std::fs::read_to_string(status).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

#[test]
fn many_files_are_saved_checked_and_restored_in_bounded_memory() {
    let (node, count) = (Node::new(), count());
    for number in 0..count {
        let folder = node.path(&format!("files/d{}", number / FILES_PER_FOLDER));
        if number % FILES_PER_FOLDER == 0 {
            std::fs::create_dir(&folder).unwrap();
        }
        std::fs::write(folder.join(format!("f{number}")), format!("content of file {number}\n")).unwrap();
    }
    let to = node.path("restored");
    let mut peaks = Vec::new();
    for arguments in [
        &["run", "--policy", "files"][..],
        &["run", "--policy", "files"],
        &["check"],
        &["restore", "latest", "--to", to.to_str().unwrap()],
    ] {
        let (ended, peak) = measured(&node, arguments);
        let figures = ended.fine();
        assert!(arguments[0] == "check" || figures.files == count as u64 + 2, "{arguments:?}: {figures:?}");
        let most = PEAK_KIB_MAX + count as u64 * PEAK_BYTES_PER_FILE / 1024;
        assert!(peak > 0 && peak <= most, "{arguments:?} held {peak} KiB");
        peaks.push(format!("{} {} MiB", arguments[0], peak >> 10));
    }
    println!("{count} files: {}", peaks.join(", "));
    assert_same(&below(&to, &node.path("files")), &node.path("files"));
}

#[test]
fn twenty_gibibytes_of_holes_are_saved_and_restored_as_holes() {
    let node = Node::new();
    let (path, size) = (node.path("files/sparse"), 20_u64 << 30);
    let pieces = [(0, 0x11), (7 << 30, 0x22), ((13 << 30) + 12_345, 0x33), (size - 65_536, 0x44)];
    let file = File::create(&path).unwrap();
    file.set_len(size).unwrap();
    for (at, byte) in pieces {
        file.write_all_at(&[byte; 65_536], at).unwrap();
    }
    file.sync_all().unwrap();
    let blocks = |metadata: Metadata| metadata.blocks();
    let before = blocks(file.metadata().unwrap());
    if before > BLOCKS_SLACK {
        println!("skipped: this file system has no holes");
        return;
    }
    let (saved, peak) = measured(&node, &["run", "--policy", "files"]);
    let figures = saved.fine();
    assert!(figures.bytes >= size && figures.added_bytes < 16 << 20, "{figures:?}");
    let to = node.path("restored");
    let (restored, restore_peak) = measured(&node, &["restore", "latest", "--to", to.to_str().unwrap()]);
    restored.fine();
    assert!(peak.max(restore_peak) <= 2 * PEAK_KIB_MAX, "they held {peak} and {restore_peak} KiB");
    let back = File::open(below(&to, &path)).unwrap();
    let metadata = back.metadata().unwrap();
    assert_eq!(metadata.len(), size);
    let after = blocks(metadata);
    assert!(after <= before + BLOCKS_SLACK, "{after} blocks instead of {before}");
    for (at, byte) in pieces {
        let mut found = vec![0; 65_536];
        back.read_exact_at(&mut found, at).unwrap();
        assert!(found.iter().all(|it| *it == byte), "the data at {at} is another");
    }
    let mut hole = vec![1; 1 << 20];
    back.read_exact_at(&mut hole, 3 << 30).unwrap();
    assert!(hole.iter().all(|it| *it == 0));
}
