//! How long things take, and what this process has used so far.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// Measures from its start on a clock that nobody sets.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts now.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Holds this thread up; for threads that may block.
pub fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

/// Processor time that all threads of this process have used.
pub fn process_cpu_time() -> Duration {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(used.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(used.tv_nsec).unwrap_or(0))
}

/// Bytes of a memory page, in which `/proc` counts resident memory.
pub fn page_bytes() -> u32 {
    u32::try_from(rustix::param::page_size()).unwrap_or(4096)
}

/// The kernel's release as `uname -r` names it.
pub fn kernel_release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// The machine's architecture as `uname -m` names it.
pub fn architecture() -> String {
    rustix::system::uname().machine().to_string_lossy().into_owned()
}
