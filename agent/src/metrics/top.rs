//! The processes that use most, asked for on demand: a scan of every process is a hundred times dearer than a round
//! of samples.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use campanile_common::time::Timestamp;
use campanile_common::wire::v1::request::{PROCESSES_MAX, Process};

use super::collector::text::{fields, number, value_of};
use crate::os::proc_fs::{KeptFile, Layout, ReadError, names, owner};
use crate::os::stopwatch::{Stopwatch, page_bytes, pause};

/// Most processes looked at; a machine with more shows the first ones only.
const SCAN_MAX: usize = 65_536;
/// Processor ticks a second, USER_HZ on every architecture.
const TICKS_PER_SECOND: u64 = 100;

/// Why processes cannot be listed.
#[derive(Debug, thiserror::Error)]
pub enum TopError {
    /// The folder of processes cannot be read.
    #[error("cannot list processes in {path}")]
    List {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The time of boot, from which starts are counted, cannot be read.
    #[error("cannot tell when the machine booted")]
    Booted(#[from] ReadError),
    /// `/proc/stat` has no such line.
    #[error("{path} names no time of boot")]
    NoBootTime {
        /// The file.
        path: PathBuf,
    },
}

/// What one process's `stat` says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Reading {
    pid: u32,
    name: String,
    state: char,
    ticks: u64,
    started_ticks: u64,
    resident_pages: u64,
}

/// Blocking: two scans `interval` apart, heaviest first by processor time in between, then by memory. At most
/// [`PROCESSES_MAX`].
///
/// # Errors
/// When `/proc` cannot be listed or names no time of boot. Processes that end meanwhile are left out.
pub fn top_processes(proc_root: &Path, count: usize, interval: Duration) -> Result<Vec<Process>, TopError> {
    let booted = booted(proc_root)?;
    let watch = Stopwatch::start();
    let before: Vec<(u32, u64, u64)> =
        scan(proc_root)?.iter().map(|reading| (reading.pid, reading.started_ticks, reading.ticks)).collect();
    pause(interval);
    let after = scan(proc_root)?;
    let elapsed = watch.elapsed();
    let mut used: Vec<(u64, Reading)> =
        after.into_iter().map(|reading| (ticks_since(&before, &reading), reading)).collect();
    let heaviest_first = |(ticks, reading): &(u64, Reading)| {
        (std::cmp::Reverse(*ticks), std::cmp::Reverse(reading.resident_pages), reading.pid)
    };
    used.sort_unstable_by_key(heaviest_first);
    used.truncate(count.min(usize::from(PROCESSES_MAX)));
    let process = |(ticks, reading)| finish(proc_root, booted, elapsed, ticks, reading);
    Ok(used.into_iter().filter_map(process).collect())
}

fn booted(proc_root: &Path) -> Result<Timestamp, TopError> {
    let path = proc_root.join("stat");
    let mut buffer = Vec::new();
    let seconds = value_of(KeptFile::new(&path, Layout::Single).read(&mut buffer)?, b"btime");
    let seconds = seconds.and_then(|seconds| u64::try_from(seconds).ok());
    let millis = seconds.and_then(|seconds| seconds.checked_mul(1000));
    millis.map(Timestamp::from_millis).ok_or(TopError::NoBootTime { path })
}

/// All processes, in order of their ids.
fn scan(proc_root: &Path) -> Result<Vec<Reading>, TopError> {
    let names = names(proc_root, usize::MAX)
        .map_err(|source| TopError::List { path: proc_root.to_owned(), source })?;
    let mut buffer = Vec::with_capacity(1024);
    let mut found = Vec::new();
    for name in names.iter().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())).take(SCAN_MAX) {
        let mut file = KeptFile::new(proc_root.join(name).join("stat"), Layout::Single);
        // One that has ended is not there any more.
        found.extend(file.read(&mut buffer).ok().and_then(read_stat));
    }
    found.sort_unstable_by_key(|reading| reading.pid);
    Ok(found)
}

/// `pid (name) state ...`; the name may hold anything, also blanks and parentheses, so the last one ends it.
fn read_stat(text: &[u8]) -> Option<Reading> {
    let open = text.iter().position(|byte| *byte == b'(')?;
    let close = text.iter().rposition(|byte| *byte == b')').filter(|close| *close > open)?;
    let pid = u32::try_from(number(text[..open].trim_ascii())?).ok()?;
    let after: Vec<&[u8]> = fields(text[close + 1..].trim_ascii_end()).collect();
    let value = |index: usize| u64::try_from(number(after.get(index)?)?).ok();
    Some(Reading {
        pid,
        name: String::from_utf8_lossy(&text[open + 1..close]).into_owned(),
        state: char::from(*after.first()?.first()?),
        ticks: value(11)?.saturating_add(value(12)?),
        started_ticks: value(19)?,
        resident_pages: value(21)?,
    })
}

/// Ticks used since the first scan; all of them for a process that is younger. An id can be used again, so the
/// start must be the same.
fn ticks_since(before: &[(u32, u64, u64)], reading: &Reading) -> u64 {
    let known = before.binary_search_by_key(&reading.pid, |(pid, ..)| *pid).ok().map(|index| before[index]);
    let earlier =
        known.filter(|(_, started, _)| *started == reading.started_ticks).map_or(0, |(.., ticks)| ticks);
    reading.ticks.saturating_sub(earlier)
}

/// None when the process has ended since.
fn finish(
    proc_root: &Path,
    booted: Timestamp,
    elapsed: Duration,
    ticks: u64,
    reading: Reading,
) -> Option<Process> {
    let uid = owner(&proc_root.join(reading.pid.to_string())).ok()?;
    Some(Process {
        pid: reading.pid,
        name: reading.name,
        uid,
        state: reading.state,
        cpu_centipercent: centipercent(ticks, elapsed),
        resident_bytes: reading.resident_pages.saturating_mul(u64::from(page_bytes())),
        started: booted
            + Duration::from_millis(reading.started_ticks.saturating_mul(1000 / TICKS_PER_SECOND)),
    })
}

/// Ticks of one core over a time, in hundredths of a per cent.
fn centipercent(ticks: u64, elapsed: Duration) -> u32 {
    let micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX).max(1);
    let used_micros = ticks.saturating_mul(1_000_000 / TICKS_PER_SECOND);
    u32::try_from(used_micros.saturating_mul(10_000) / micros).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stat(pid: u32, name: &str, ticks: u64, started: u64, pages: u64) -> String {
        format!(
            "{pid} ({name}) S 1 1 1 0 -1 4194560 9 9 9 9 {ticks} 0 0 0 20 0 1 0 {started} 99999 {pages} 18446744073709551615 1 1 0\n"
        )
    }

    fn proc_with(processes: &[(u32, &str, u64, u64, u64)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("stat"), "cpu 1\nbtime 1700000000\n").unwrap();
        for (pid, name, ticks, started, pages) in processes {
            let path = folder.path().join(pid.to_string());
            std::fs::create_dir(&path).unwrap();
            std::fs::write(path.join("stat"), stat(*pid, name, *ticks, *started, *pages)).unwrap();
        }
        folder
    }

    #[test]
    fn idle_processes_are_ordered_by_memory_and_cut_to_the_count() {
        let folder = proc_with(&[(1, "init", 500, 0, 10), (20, "db", 5, 250, 30), (3, "sh", 5, 100, 20)]);
        let found = top_processes(folder.path(), 2, Duration::ZERO).unwrap();
        let names: Vec<&str> = found.iter().map(|process| process.name.as_str()).collect();
        assert_eq!(names, ["db", "sh"]);
        assert_eq!(found[0].resident_bytes, 30 * u64::from(page_bytes()));
        assert_eq!(found[0].started, Timestamp::from_millis(1_700_000_002_500));
        assert_eq!((found[0].state, found[0].cpu_centipercent), ('S', 0));
    }

    #[test]
    fn a_process_is_charged_what_it_used_between_the_scans() {
        let reading = read_stat(stat(7, "x", 250, 40, 1).as_bytes()).unwrap();
        assert_eq!(ticks_since(&[(7, 40, 200)], &reading), 50);
        assert_eq!(ticks_since(&[(7, 39, 200)], &reading), 250, "another process had the id before");
        assert_eq!(ticks_since(&[(6, 40, 200)], &reading), 250, "started in between");
        assert_eq!(centipercent(50, Duration::from_secs(1)), 5000);
        assert_eq!(centipercent(3, Duration::from_millis(100)), 3000);
    }

    #[test]
    fn a_name_may_hold_blanks_and_parentheses() {
        let reading = read_stat(stat(9, "a) R (b c", 1, 2, 3).as_bytes()).unwrap();
        assert_eq!((reading.name.as_str(), reading.state), ("a) R (b c", 'S'));
    }

    #[test]
    fn a_missing_proc_is_an_error() {
        assert!(top_processes(Path::new("/nowhere"), 1, Duration::ZERO).is_err());
    }

    #[test]
    fn this_process_is_found_on_this_machine() {
        let found = scan(Path::new("/proc")).unwrap();
        assert!(found.iter().any(|reading| reading.pid == std::process::id() && reading.resident_pages > 0));
    }

    proptest! {
        #[test]
        fn garbage_is_read_without_a_panic(text in any::<Vec<u8>>(), almost in "[0-9() S-]{0,200}") {
            let _ = (read_stat(&text), read_stat(almost.as_bytes()));
        }
    }
}
