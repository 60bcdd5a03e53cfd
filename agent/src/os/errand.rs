//! Work that may hang, on a thread of its own that nobody waits for.
//!
//! The thread lives for one errand: between errands there is no idle thread whose stack would count against the
//! agent's memory. A thread that hangs in the kernel cannot be ended by anybody; whoever started it keeps the
//! [`Errand`], sees that it has not finished, and decides how many of those to bear.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};

/// Errands read small files and call the kernel; their buffers are on the heap.
const STACK_BYTES: usize = 128 * 1024;

/// Work under way and the answers it has given.
#[derive(Debug)]
pub struct Errand<T> {
    answers: Receiver<T>,
    thread: JoinHandle<()>,
}

impl<T: Send + 'static> Errand<T> {
    /// Starts `work` on a new thread. `answers_max` answers fit without anybody taking them.
    ///
    /// # Errors
    /// When the machine gives no thread.
    pub fn start(
        name: &str,
        answers_max: usize,
        work: impl FnOnce(&SyncSender<T>) + Send + 'static,
    ) -> io::Result<Self> {
        let (sender, answers) = sync_channel(answers_max);
        let thread =
            Builder::new().name(name.to_owned()).stack_size(STACK_BYTES).spawn(move || work(&sender))?;
        Ok(Self { answers, thread })
    }

    /// The next answer that is there.
    pub fn next_answer(&self) -> Option<T> {
        self.answers.try_recv().ok()
    }

    /// True when the thread has ended; answers may still be waiting.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Lets the rest of the work go unheard; what is left is the thread, to see when it ends.
    pub fn abandon(self) -> JoinHandle<()> {
        self.thread
    }
}
