//! Changes of files that become durable together: of what is configured, and of the steward's own policies beside it.

use super::host::Host;
use crate::os::beneath::{Batch, BeneathError};

/// One batch for each root that a path may lie beneath.
#[derive(Debug)]
pub(crate) struct Batches<'a> {
    host: &'a Host,
    configured: Batch<'a>,
    own: Batch<'a>,
}

impl<'a> Batches<'a> {
    pub(crate) fn new(host: &'a Host) -> Self {
        Self { host, configured: host.root().batch(), own: host.machine().batch() }
    }

    /// The batch that a path belongs to.
    pub(crate) fn of(&mut self, path: &str) -> &mut Batch<'a> {
        if std::ptr::eq(self.host.root_of(path), self.host.root()) {
            &mut self.configured
        } else {
            &mut self.own
        }
    }

    /// True while new content of this path waits beside it.
    pub(crate) fn is_waiting(&self, path: &str) -> bool {
        self.configured.is_waiting(path) || self.own.is_waiting(path)
    }

    /// As [`Batch::put_in_place`].
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn put_in_place(&mut self) -> Result<(), BeneathError> {
        self.configured.put_in_place()?;
        self.own.put_in_place()
    }

    /// As [`Batch::settle`].
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn settle(&mut self) -> Result<(), BeneathError> {
        self.configured.settle()?;
        self.own.settle()
    }
}
