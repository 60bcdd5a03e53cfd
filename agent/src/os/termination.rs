//! Being told to stop.

use std::io::{self, Read as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rustix::process::Signal;

/// Readable once SIGTERM or SIGINT has come.
#[derive(Debug)]
pub struct Termination(UnixStream);

/// True once SIGTERM or SIGINT has come, for threads that look at it now and then. From here on the two end nothing by
/// themselves.
///
/// # Errors
/// When they cannot be taken.
pub fn flag() -> io::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [Signal::TERM, Signal::INT] {
        signal_hook::flag::register(signal.as_raw(), Arc::clone(&flag))?;
    }
    Ok(flag)
}

impl Termination {
    /// From here on the two signals end nothing by themselves.
    ///
    /// # Errors
    /// When they cannot be taken.
    pub fn await_signals() -> io::Result<Self> {
        let (read, write) = UnixStream::pair()?;
        read.set_nonblocking(true)?;
        for signal in [Signal::TERM, Signal::INT] {
            signal_hook::low_level::pipe::register(signal.as_raw(), write.try_clone()?)?;
        }
        Ok(Self(read))
    }

    /// True when one has come.
    pub fn has_come(&mut self) -> bool {
        matches!(self.0.read(&mut [0; 16]), Ok(count) if count > 0)
    }
}

impl AsFd for Termination {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
