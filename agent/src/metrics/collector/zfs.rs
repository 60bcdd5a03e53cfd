//! `/proc/spl/kstat/zfs/arcstats`: the cache of ZFS. The kernel counts it as used memory, though ZFS gives back
//! all but its minimum when memory is short; whoever judges memory adds `size - c_min` to what is available.

use std::path::Path;

use campanile_common::sample::Scale;

use super::readings::{Family, Readings, Scalars};
use super::text::{fields, lines, number};
use super::{CollectError, Collector, Outcome, Round, absent_if_missing};
use crate::os::proc_fs::{KeptFile, Layout};

static FAMILIES: &[Family] = &[
    Family::gauge("node_zfs_arc_size", Scale::ONE),
    Family::gauge("node_zfs_arc_c", Scale::ONE),
    Family::gauge("node_zfs_arc_c_min", Scale::ONE),
    Family::gauge("node_zfs_arc_c_max", Scale::ONE),
];
/// Keys of the lines that hold [`FAMILIES`].
const KEYS: [&[u8]; 4] = [b"size", b"c", b"c_min", b"c_max"];

/// Collector `zfs`.
#[derive(Debug)]
pub struct Zfs {
    file: KeptFile,
    series: Scalars,
}

impl Zfs {
    /// Reads below this `/proc`.
    pub fn new(proc_root: &Path) -> Self {
        Self {
            file: KeptFile::new(proc_root.join("spl/kstat/zfs/arcstats"), Layout::Records),
            series: Scalars::new(FAMILIES),
        }
    }
}

impl Collector for Zfs {
    fn name(&self) -> &'static str {
        "zfs"
    }

    /// Lines are `name type value`.
    fn collect(&mut self, round: &mut Round<'_>, readings: &mut Readings) -> Result<Outcome, CollectError> {
        let text = match self.file.read(round.buffer) {
            Ok(text) => text,
            Err(error) => return absent_if_missing(error),
        };
        let mut found = 0;
        for line in lines(text) {
            let mut fields = fields(line);
            let Some(key) = fields.next() else { continue };
            let Some(index) = KEYS.iter().position(|known| *known == key) else { continue };
            if let Some(value) = fields.nth(1).and_then(number) {
                self.series.set(readings, index, value);
                found += 1;
            }
        }
        // Size without minimum, or the other way round, would make the wrong sum.
        if found < KEYS.len() {
            return Err(CollectError::Malformed { what: "/proc/spl/kstat/zfs/arcstats" });
        }
        Ok(Outcome::Complete)
    }

    fn forget(&mut self) {
        self.series.forget();
    }
}
