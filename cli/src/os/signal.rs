//! Hearing SIGINT and SIGTERM without unsafe code: a thread of its own waits for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{io, thread};

use tokio::signal::unix::{SignalKind, signal};

/// Tells whether a stop was asked for.
#[derive(Debug, Clone)]
pub struct StopRequest(Arc<AtomicBool>);

impl StopRequest {
    /// From now on SIGINT, SIGTERM and SIGHUP no longer end the process but are remembered here. Call it before
    /// anything is started that must be stopped again.
    ///
    /// # Errors
    /// When the kernel refuses to tell.
    pub fn listen() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let asked = Arc::new(AtomicBool::new(false));
        let (mut interrupt, mut terminate, mut hangup) = {
            let _context = runtime.enter();
            (
                signal(SignalKind::interrupt())?,
                signal(SignalKind::terminate())?,
                signal(SignalKind::hangup())?,
            )
        };
        let flag = Arc::clone(&asked);
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            runtime.block_on(async {
                loop {
                    tokio::select! {
                        _ = interrupt.recv() => {}
                        _ = terminate.recv() => {}
                        _ = hangup.recv() => {}
                    }
                    flag.store(true, Ordering::Release);
                }
            });
        })?;
        Ok(Self(asked))
    }

    /// One that is never asked for.
    pub fn never() -> Self {
        Self(Arc::default())
    }

    /// One that was asked for already.
    #[cfg(test)]
    pub(crate) fn asked() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }

    /// True once one of the signals came.
    pub fn is_asked(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}
