//! What this process uses, as the kernel counts it.

#![expect(clippy::disallowed_methods, reason = "`os` is where the machine is asked")]

use std::fs;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};

/// What this process uses; none where the kernel does not say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProcessUsage {
    /// Processor time since it started.
    pub cpu: Duration,
    /// Resident memory.
    pub resident_bytes: Option<u64>,
    /// Virtual memory.
    pub virtual_bytes: Option<u64>,
    /// Threads.
    pub threads: Option<u64>,
    /// Open file descriptors.
    pub open_files: Option<u64>,
    /// Most file descriptors that may be open.
    pub open_files_max: Option<u64>,
}

/// What this process uses now.
pub fn usage() -> ProcessUsage {
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = |field: &str| status_number(&status, field).map(|kib| kib.saturating_mul(1024));
    ProcessUsage {
        cpu: Duration::try_from(cpu).unwrap_or_default(),
        resident_bytes: kib("VmRSS"),
        virtual_bytes: kib("VmSize"),
        threads: status_number(&status, "Threads"),
        // Counting opens one more, the folder itself.
        open_files: fs::read_dir("/proc/self/fd").ok().map(|files| (files.count() as u64).saturating_sub(1)),
        open_files_max: getrlimit(Resource::Nofile).current,
    }
}

/// Asks for all the file descriptors that this process may have: what systems give at first is fewer than the
/// connections we take. Gives the limit that then holds, none when there is no limit.
pub fn raise_open_files() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, wanted) {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
    getrlimit(Resource::Nofile).current
}

/// The number of one line of `/proc/self/status`, e.g. 1234 of `VmRSS:     1234 kB`.
fn status_number(status: &str, field: &str) -> Option<u64> {
    let rest = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_the_status_file_are_read_by_their_whole_name() {
        let status = "VmRSSX:\t9 kB\nVmRSS:\t  1234 kB\nThreads:\t7\n";
        assert_eq!(status_number(status, "VmRSS"), Some(1234));
        assert_eq!(status_number(status, "Threads"), Some(7));
        assert_eq!(status_number(status, "VmSize"), None);
    }

    #[test]
    fn this_process_has_memory_threads_and_files() {
        let usage = usage();
        assert!(usage.resident_bytes.is_some_and(|bytes| bytes > 0));
        assert!(usage.threads.is_some_and(|count| count > 0));
        assert!(usage.open_files.is_some_and(|count| count >= 3));
    }
}
