//! `/proc/meminfo`. In an LXC container lxcfs answers for the container's own share there.

use std::path::Path;

use campanile_common::sample::Scale;

use super::readings::{Family, Readings, Scalars};
use super::text::{fields, lines, number};
use super::{CollectError, Collector, Outcome, Round};
use crate::os::proc_fs::{KeptFile, Layout};

const KIB: Scale = Scale::Times(1024);

static FAMILIES: &[Family] = &[
    Family::gauge("node_memory_MemTotal_bytes", KIB),
    Family::gauge("node_memory_MemFree_bytes", KIB),
    Family::gauge("node_memory_MemAvailable_bytes", KIB),
    Family::gauge("node_memory_Buffers_bytes", KIB),
    Family::gauge("node_memory_Cached_bytes", KIB),
    Family::gauge("node_memory_SwapTotal_bytes", KIB),
    Family::gauge("node_memory_SwapFree_bytes", KIB),
    Family::gauge("node_memory_Dirty_bytes", KIB),
    Family::gauge("node_memory_Writeback_bytes", KIB),
    Family::gauge("node_memory_AnonPages_bytes", KIB),
    Family::gauge("node_memory_Shmem_bytes", KIB),
    Family::gauge("node_memory_Slab_bytes", KIB),
    Family::gauge("node_memory_SReclaimable_bytes", KIB),
    Family::gauge("node_memory_Committed_AS_bytes", KIB),
];
/// Keys of the lines that hold [`FAMILIES`].
const KEYS: [&[u8]; 14] = [
    b"MemTotal:",
    b"MemFree:",
    b"MemAvailable:",
    b"Buffers:",
    b"Cached:",
    b"SwapTotal:",
    b"SwapFree:",
    b"Dirty:",
    b"Writeback:",
    b"AnonPages:",
    b"Shmem:",
    b"Slab:",
    b"SReclaimable:",
    b"Committed_AS:",
];

/// Collector `meminfo`.
#[derive(Debug)]
pub struct Memory {
    file: KeptFile,
    series: Scalars,
}

impl Memory {
    /// Reads below this `/proc`.
    pub fn new(proc_root: &Path) -> Self {
        Self {
            file: KeptFile::new(proc_root.join("meminfo"), Layout::Single),
            series: Scalars::new(FAMILIES),
        }
    }
}

impl Collector for Memory {
    fn name(&self) -> &'static str {
        "meminfo"
    }

    fn collect(&mut self, round: &mut Round<'_>, readings: &mut Readings) -> Result<Outcome, CollectError> {
        let text = self.file.read(round.buffer)?;
        let mut has_total = false;
        for line in lines(text) {
            let mut fields = fields(line);
            let Some(key) = fields.next() else { continue };
            let Some(index) = KEYS.iter().position(|known| *known == key) else { continue };
            let value = fields.next().and_then(number);
            has_total |= index == 0 && value.is_some();
            self.series.set_some(readings, index, value);
        }
        if has_total { Ok(Outcome::Complete) } else { Err(CollectError::Malformed { what: "/proc/meminfo" }) }
    }

    fn forget(&mut self) {
        self.series.forget();
    }
}

/// Physical memory in bytes, for the facts of this node.
pub fn total_bytes(text: &[u8]) -> Option<u64> {
    let kibibytes = super::text::value_of(text, KEYS[0])?;
    u64::try_from(kibibytes).ok()?.checked_mul(1024)
}
