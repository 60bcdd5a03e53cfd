//! What the program says: lines of JSON on standard output, or the same for a person at a terminal.

use std::io::{IsTerminal as _, Write};
use std::sync::{Mutex, PoisonError};

use campanile_common::api::BackupLine;

use super::text;

/// Says lines; used by several threads.
pub(super) struct Output {
    to: Mutex<Box<dyn Write + Send>>,
    is_for_people: bool,
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Output")
    }
}

impl Output {
    /// To standard output.
    pub(super) fn standard() -> Self {
        let stdout = std::io::stdout();
        let is_for_people = stdout.is_terminal();
        Self { to: Mutex::new(Box::new(stdout)), is_for_people }
    }

    /// To standard error: standard output is for something else.
    pub(super) fn beside() -> Self {
        let stderr = std::io::stderr();
        let is_for_people = stderr.is_terminal();
        Self { to: Mutex::new(Box::new(stderr)), is_for_people }
    }

    pub(super) fn line(&self, line: &BackupLine) {
        let text = if self.is_for_people {
            text::text(line)
        } else {
            serde_json::to_string(line).expect("a line has no odd keys")
        };
        let mut to = self.to.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody listens any more: what is done does not depend on it.
        drop(writeln!(to, "{text}").and_then(|()| to.flush()));
    }

    pub(super) fn problem(&self, message: String) {
        self.line(&BackupLine::Problem { message });
    }
}
