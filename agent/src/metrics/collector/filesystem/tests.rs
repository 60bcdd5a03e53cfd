//! File systems that answer, fail or hang, in invented time.

use super::*;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

use campanile_common::sample::Series;

const SPACE: Space = Space { size_bytes: 1000, free_bytes: 400, avail_bytes: 300, files: 50, files_free: 20 };

/// A `/proc` with these mounts, each a device of its own, and file systems that hang until let go.
struct Machine {
    folder: tempfile::TempDir,
    filesystem: Filesystem,
    readings: Readings,
    release: Vec<(String, Sender<()>)>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Machine {
    /// Mounts `points`; those that begin with `/dead` hang, each until it is released.
    fn new(points: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("self")).unwrap();
        write_mounts(&folder, points);
        let mut release = Vec::new();
        let mut gates: Vec<(String, Mutex<Receiver<()>>)> = Vec::new();
        for point in points.iter().filter(|point| point.starts_with("/dead")) {
            let (sender, gate) = channel();
            release.push(((*point).to_owned(), sender));
            gates.push(((*point).to_owned(), Mutex::new(gate)));
        }
        let asked = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&asked);
        let ask: Ask = Arc::new(move |point| {
            record.lock().unwrap().push(point.to_owned());
            if let Some((_, gate)) = gates.iter().find(|(dead, _)| dead == point) {
                let _released = gate.lock().unwrap().recv();
            }
            if point.starts_with("/broken") { Err(io::Error::other("stale")) } else { Ok(SPACE) }
        });
        let filesystem = Filesystem::new(folder.path(), Vec::new(), ask);
        Self { folder, filesystem, readings: Readings::default(), release, asked }
    }

    fn round(&mut self, uptime: u64) -> (Outcome, Vec<(Series, i64)>) {
        let _starts_over = self.readings.begin();
        let mut buffer = Vec::new();
        let mut round = Round { uptime: Duration::from_secs(uptime), starts: 1, buffer: &mut buffer };
        let outcome = self.filesystem.collect(&mut round, &mut self.readings).unwrap();
        let (schema, values) = self.readings.take();
        let given = schema.iter().cloned().zip(values).filter_map(|(series, value)| Some((series, value?)));
        (outcome, given.collect())
    }

    /// Repeats the round of this second until `done`; what is waited for is under way on another thread.
    fn round_until(
        &mut self,
        uptime: u64,
        done: impl Fn(&[(Series, i64)]) -> bool,
    ) -> (Outcome, Vec<(Series, i64)>) {
        loop {
            let (outcome, values) = self.round(uptime);
            if done(&values) {
                return (outcome, values);
            }
            std::thread::yield_now();
        }
    }

    /// Lets time pass from `uptime` until this file system counts as dead; gives the time then. Time stands still
    /// until it has been asked, however slowly its thread gets its turn.
    fn let_hang(&mut self, point: &str, uptime: u64) -> u64 {
        while self.times_asked(point) == 0 {
            let _ = self.round(uptime);
            std::thread::yield_now();
        }
        // Takes the answers of those asked before it, from which its time counts.
        let _ = self.round(uptime);
        let _ = self.round_until(uptime + 2, |values| error(values, point) == Some(1));
        uptime + 2
    }

    fn times_asked(&self, point: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|asked| *asked == point).count()
    }
}

fn write_mounts(folder: &tempfile::TempDir, points: &[&str]) {
    let line = |(index, point): (usize, &&str)| {
        let (kind, device) = if point.contains("nfs") { ("nfs4", "server:/x") } else { ("ext4", "/dev/vd") };
        format!("{index} 1 8:{index} / {point} rw - {kind} {device}{index} rw\n")
    };
    let text: String = points.iter().enumerate().map(line).collect();
    std::fs::write(folder.path().join("self/mountinfo"), text).unwrap();
}

fn value(values: &[(Series, i64)], name: &str, point: &str) -> Option<i64> {
    let found =
        values.iter().find(|(series, _)| series.name == name && series.label("mountpoint") == Some(point));
    found.map(|(_, value)| *value)
}

fn error(values: &[(Series, i64)], point: &str) -> Option<i64> {
    value(values, "node_filesystem_device_error", point)
}

fn stuck(values: &[(Series, i64)]) -> Option<i64> {
    values.iter().find(|(series, _)| series.name == "campanile_agent_stuck_threads").map(|(_, value)| *value)
}

#[test]
fn space_and_inodes_are_read_and_held_between_walks() {
    let mut machine = Machine::new(&["/"]);
    let (outcome, values) = machine.round_until(0, |values| error(values, "/").is_some());
    assert_eq!(outcome, Outcome::Complete);
    for (name, expected) in [
        ("node_filesystem_size_bytes", 1000),
        ("node_filesystem_free_bytes", 400),
        ("node_filesystem_avail_bytes", 300),
        ("node_filesystem_files", 50),
        ("node_filesystem_files_free", 20),
        ("node_filesystem_readonly", 0),
        ("node_filesystem_device_error", 0),
    ] {
        assert_eq!(value(&values, name, "/"), Some(expected), "{name}");
    }
    assert_eq!(machine.round(9).1, values);
    assert_eq!(machine.times_asked("/"), 1);
}

#[test]
fn a_dead_file_system_is_marked_and_the_others_go_on() {
    let mut machine = Machine::new(&["/", "/dead/nfs", "/home"]);
    let _ = machine.round_until(0, |values| error(values, "/").is_some());
    assert_eq!(error(&machine.round(1).1, "/dead/nfs"), None, "not overdue yet");
    let (_, values) = machine.round_until(2, |values| error(values, "/dead/nfs").is_some());
    assert_eq!((error(&values, "/dead/nfs"), stuck(&values)), (Some(1), Some(1)));
    let (outcome, values) = machine.round_until(3, |values| error(values, "/home").is_some());
    assert_eq!(outcome, Outcome::Partial);
    assert_eq!(value(&values, "node_filesystem_size_bytes", "/home"), Some(1000));
    assert_eq!(value(&values, "node_filesystem_size_bytes", "/dead/nfs"), None);
}

#[test]
fn a_dead_file_system_is_not_asked_again_while_its_thread_hangs() {
    let mut machine = Machine::new(&["/dead/nfs", "/"]);
    let uptime = machine.let_hang("/dead/nfs", 0);
    let _ = machine.round_until(uptime, |values| error(values, "/").is_some());
    for uptime in [100, 1000, 10_000] {
        let _ = machine.round(uptime);
        let (_, values) =
            machine.round_until(uptime, |values| value(values, "node_filesystem_size_bytes", "/").is_some());
        assert_eq!((error(&values, "/dead/nfs"), stuck(&values)), (Some(1), Some(1)));
    }
    assert_eq!(machine.times_asked("/dead/nfs"), 1);
    let (_, release) = machine.release.remove(0);
    drop(release);
    let _ = machine.round_until(10_001, |values| stuck(values) == Some(0));
    let (outcome, _) = machine.round_until(10_020, |values| error(values, "/dead/nfs") == Some(0));
    assert_eq!(outcome, Outcome::Complete);
}

#[test]
fn only_so_many_threads_hang_and_the_last_not_in_a_remote_file_system() {
    let dead = ["/dead/nfs1", "/dead/nfs2", "/dead/nfs3", "/dead/nfs4", "/dead/nfs5"];
    let mut machine = Machine::new(&[&dead[..], &["/"]].concat());
    let uptime = dead[..3].iter().fold(0, |uptime, point| machine.let_hang(point, uptime));
    let _ = machine.round_until(uptime, |values| error(values, "/").is_some());
    let later = uptime + 60;
    let _ = machine.round(later);
    let (outcome, values) =
        machine.round_until(later, |values| value(values, "node_filesystem_size_bytes", "/").is_some());
    assert_eq!((outcome, stuck(&values)), (Outcome::Partial, Some(3)));
    assert_eq!(machine.times_asked(dead[3]) + machine.times_asked(dead[4]), 0);
}

#[test]
fn with_every_thread_stuck_nobody_is_asked_and_values_lapse() {
    let dead = ["/dead/1", "/dead/2", "/dead/3", "/dead/4"];
    let mut machine = Machine::new(&[&["/"], &dead[..], &["/dead/5"]].concat());
    let uptime = dead.iter().fold(0, |uptime, point| machine.let_hang(point, uptime));
    assert_eq!(stuck(&machine.round(uptime).1), Some(4));
    let (outcome, values) = machine.round(uptime + 60);
    assert_eq!(outcome, Outcome::Partial);
    assert_eq!(value(&values, "node_filesystem_size_bytes", "/"), None);
    assert_eq!(machine.times_asked("/dead/5"), 0);
}

#[test]
fn a_file_system_that_says_an_error_is_marked_and_asked_again() {
    let mut machine = Machine::new(&["/broken", "/"]);
    let (outcome, values) = machine.round_until(0, |values| error(values, "/").is_some());
    assert_eq!((outcome, error(&values, "/broken")), (Outcome::Partial, Some(1)));
    while machine.times_asked("/broken") < 2 {
        let _ = machine.round(10);
        std::thread::yield_now();
    }
}

#[test]
fn an_unmounted_file_system_is_absent() {
    let mut machine = Machine::new(&["/", "/mnt"]);
    let _ = machine.round_until(0, |values| error(values, "/mnt").is_some());
    write_mounts(&machine.folder, &["/"]);
    let (_, values) = machine.round_until(10, |values| error(values, "/mnt").is_none());
    assert_eq!(error(&values, "/"), Some(0));
}

#[test]
fn file_systems_past_the_limit_are_not_asked_and_counted() {
    let points: Vec<String> = (0..FILESYSTEMS_MAX + 2).map(|index| format!("/mnt/{index}")).collect();
    let points: Vec<&str> = points.iter().map(String::as_str).collect();
    let mut machine = Machine::new(&points);
    let _ = machine.round_until(0, |values| error(values, "/mnt/127").is_some());
    assert_eq!(machine.readings.dropped(), 2 * FAMILIES.len());
    assert_eq!(machine.times_asked("/mnt/128"), 0);
}
