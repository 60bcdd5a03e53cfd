//! The memory limit of the control group that is this machine's root: in a container the container's own, on a
//! machine of its own none. Version 2, version 1, and machines that mount both.
//!
//! The group of the agent's service does not count: its limit is the agent's, not the node's.

use std::path::Path;

use campanile_common::sample::Scale;

use super::readings::{Family, Readings, Scalars};
use super::text::{number, value_of};
use super::{CollectError, Collector, Outcome, Round};
use crate::os::proc_fs::{KeptFile, Layout, ReadError};

static FAMILIES: &[Family] = &[
    Family::gauge("campanile_cgroup_memory_limit_bytes", Scale::ONE),
    Family::gauge("campanile_cgroup_memory_usage_bytes", Scale::ONE),
];
/// Version 1 says "no limit" with the largest multiple of the page size; no machine has this much memory.
const UNLIMITED_BYTES: i64 = 1 << 60;

/// Where a version keeps limit, usage and details, and which detail is cache that can go at once.
#[derive(Debug)]
struct Source {
    limit: KeptFile,
    usage: KeptFile,
    details: KeptFile,
    cache_key: &'static [u8],
}

/// Collector `cgroup`.
#[derive(Debug)]
pub struct Cgroup {
    sources: [Source; 3],
    series: Scalars,
}

impl Cgroup {
    /// Reads below this `/sys`.
    pub fn new(sys_root: &Path) -> Self {
        let root = sys_root.join("fs/cgroup");
        let source = |folder: &Path, [limit, usage]: [&str; 2], cache_key| Source {
            limit: KeptFile::new(folder.join(limit), Layout::Single),
            usage: KeptFile::new(folder.join(usage), Layout::Single),
            details: KeptFile::new(folder.join("memory.stat"), Layout::Single),
            cache_key,
        };
        let second = ["memory.max", "memory.current"];
        let first = ["memory.limit_in_bytes", "memory.usage_in_bytes"];
        Self {
            sources: [
                source(&root, second, b"inactive_file"),
                source(&root.join("unified"), second, b"inactive_file"),
                source(&root.join("memory"), first, b"total_inactive_file"),
            ],
            series: Scalars::new(FAMILIES),
        }
    }
}

impl Collector for Cgroup {
    fn name(&self) -> &'static str {
        "cgroup"
    }

    fn collect(&mut self, round: &mut Round<'_>, readings: &mut Readings) -> Result<Outcome, CollectError> {
        for source in &mut self.sources {
            let limit = match source.limit.read(round.buffer) {
                Ok(text) => text.trim_ascii(),
                Err(error) if error.is_missing() => continue,
                Err(error) => return Err(error.into()),
            };
            if limit == b"max" {
                continue;
            }
            let Some(limit) = number(limit) else {
                return Err(CollectError::Malformed { what: "the memory limit of the control group" });
            };
            if limit >= UNLIMITED_BYTES {
                continue;
            }
            let usage = working_set(source, round.buffer)?;
            self.series.set(readings, 0, limit);
            self.series.set(readings, 1, usage);
            return Ok(Outcome::Complete);
        }
        Ok(Outcome::Absent)
    }

    fn forget(&mut self) {
        self.series.forget();
    }
}

/// Usage without the cache of files that nobody has used lately, which is what the kernel reclaims first.
fn working_set(source: &mut Source, buffer: &mut Vec<u8>) -> Result<i64, CollectError> {
    const MALFORMED: CollectError = CollectError::Malformed { what: "the memory usage of the control group" };
    let usage = number(source.usage.read(buffer)?.trim_ascii()).ok_or(MALFORMED)?;
    let details: Result<&[u8], ReadError> = source.details.read(buffer);
    let cache = value_of(details?, source.cache_key).ok_or(MALFORMED)?;
    Ok((usage - cache).max(0))
}
