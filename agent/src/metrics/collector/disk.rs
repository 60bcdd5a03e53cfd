//! `/proc/diskstats`: what disks read and wrote and how long it took.

use std::path::Path;

use campanile_common::sample::Scale;

use super::readings::{Devices, Family, Readings};
use super::text::{fields, lines, number};
use super::{CollectError, Collector, Outcome, Round, absent_if_missing};
use crate::os::proc_fs::{KeptFile, Layout};

/// Most disks told apart.
pub const DISKS_MAX: usize = 64;
/// Whatever a disk's own sectors are, the kernel counts here in these.
const SECTOR: Scale = Scale::Times(512);
const MILLIS: Scale = Scale::Over(1000);

static FAMILIES: &[Family] = &[
    Family::counter("node_disk_reads_completed_total", Scale::ONE),
    Family::counter("node_disk_read_bytes_total", SECTOR),
    Family::counter("node_disk_read_time_seconds_total", MILLIS),
    Family::counter("node_disk_writes_completed_total", Scale::ONE),
    Family::counter("node_disk_written_bytes_total", SECTOR),
    Family::counter("node_disk_write_time_seconds_total", MILLIS),
    Family::gauge("node_disk_io_now", Scale::ONE),
    Family::counter("node_disk_io_time_seconds_total", MILLIS),
    Family::counter("node_disk_io_time_weighted_seconds_total", MILLIS),
];
/// Which number after a disk's name each family is.
const POSITIONS: [usize; 9] = [0, 2, 3, 4, 6, 7, 8, 9, 10];
/// How many numbers every kernel since 2.6 gives.
const NUMBERS: usize = 11;

/// Collector `diskstats`.
#[derive(Debug)]
pub struct Disk {
    file: KeptFile,
    disks: Devices,
}

impl Disk {
    /// Reads below this `/proc`.
    pub fn new(proc_root: &Path) -> Self {
        Self {
            file: KeptFile::new(proc_root.join("diskstats"), Layout::Records),
            disks: Devices::new(FAMILIES, DISKS_MAX),
        }
    }
}

impl Collector for Disk {
    fn name(&self) -> &'static str {
        "diskstats"
    }

    fn collect(&mut self, round: &mut Round<'_>, readings: &mut Readings) -> Result<Outcome, CollectError> {
        let text = match self.file.read(round.buffer) {
            Ok(text) => text,
            Err(error) => return absent_if_missing(error),
        };
        self.disks.rewind();
        let (mut lines_seen, mut lines_read) = (0_usize, 0_usize);
        for line in lines(text) {
            lines_seen += 1;
            let mut fields = fields(line).skip(2);
            let Some(name) = fields.next() else { continue };
            let mut numbers = [0; NUMBERS];
            if !numbers.iter_mut().all(|place| {
                fields.next().and_then(number).is_some_and(|n| {
                    *place = n;
                    true
                })
            }) {
                continue;
            }
            lines_read += 1;
            let Ok(name) = std::str::from_utf8(name) else { continue };
            if is_left_out(name) {
                continue;
            }
            if let Some(slot) = self.disks.slot(readings, name, |name| vec![("device", name)]) {
                for (index, position) in POSITIONS.iter().enumerate() {
                    readings.set(slot, index, numbers[*position]);
                }
            }
        }
        match (lines_seen, lines_read) {
            (0, _) => Ok(Outcome::Absent),
            (_, 0) => Err(CollectError::Malformed { what: "/proc/diskstats" }),
            _ => Ok(Outcome::Complete),
        }
    }

    fn forget(&mut self) {
        self.disks.forget();
    }
}

/// What node_exporter leaves out: `^(z?ram|loop|fd|(h|s|v|xv)d[a-z]|nvme\d+n\d+p)\d+$`, that is disks in memory or
/// in files, and partitions, whose numbers their disk has too.
fn is_left_out(name: &str) -> bool {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    if stem.len() == name.len() {
        return false;
    }
    if matches!(stem, "ram" | "zram" | "loop" | "fd") {
        return true;
    }
    if let Some(rest) = stem.strip_prefix("nvme") {
        return rest.strip_suffix('p').and_then(|rest| rest.split_once('n')).is_some_and(
            |(controller, space)| {
                let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
                is_number(controller) && is_number(space)
            },
        );
    }
    let letter = ["hd", "sd", "vd", "xvd"].iter().find_map(|kind| stem.strip_prefix(kind));
    letter.is_some_and(|letter| letter.len() == 1 && letter.bytes().all(|b| b.is_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_and_disks_in_memory_are_left_out() {
        for name in ["sda1", "vdb12", "xvda1", "hda3", "nvme0n1p1", "loop0", "ram1", "zram0", "fd0"] {
            assert!(is_left_out(name), "{name}");
        }
        for name in ["sda", "vda", "sdaa", "sdaa1", "nvme0n1", "dm-0", "md127", "mmcblk0p1", "sr0", "nbd0"] {
            assert!(!is_left_out(name), "{name}");
        }
    }
}
