//! Running a program to its end.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::wait;

/// Longest time that any one command may take here.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(100);

/// How a command ended and what it said.
#[derive(Debug, Clone)]
pub struct Output {
    /// Exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Output {
    /// The same, if it ended with `code`.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }

    /// Standard output of a command that succeeded.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    pub fn ok(self) -> String {
        self.expect_code(0).out
    }

    /// Standard output of a command that succeeded, as JSON.
    ///
    /// # Panics
    /// When it failed or printed no JSON.
    #[track_caller]
    pub fn json(self) -> serde_json::Value {
        let out = self.ok();
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("no JSON ({error}):\n{out}"))
    }
}

/// Runs `command` with `input` on its standard input. Output goes through files, so that no pipe can fill up and
/// a background process that keeps it open does not hold us.
///
/// # Panics
/// When it cannot be started or does not end.
#[track_caller]
pub fn run(command: &mut Command, input: &str) -> Output {
    let mut out = tempfile::tempfile().expect("temporary files can be made");
    let mut err = tempfile::tempfile().expect("temporary files can be made");
    let writer = |file: &File| Stdio::from(file.try_clone().expect("a file can be opened twice"));
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(writer(&out))
        .stderr(writer(&err))
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ends without reading says why in its own way.
        drop(stdin.write_all(input.as_bytes()));
    }
    let ended = wait::within(COMMAND_TIMEOUT, || child.try_wait().expect("our own child"));
    if ended.is_none() {
        child.kill().expect("our own child");
        child.wait().expect("our own child");
    }
    let (out, err) = (text(&mut out), text(&mut err));
    let Some(status) = ended else { panic!("{command:?} did not end; it said:\n{out}\n{err}") };
    Output { code: status.code(), out, err }
}

fn text(file: &mut File) -> String {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0)).expect("a file can be read from its start");
    file.read_to_end(&mut bytes).expect("a temporary file can be read");
    String::from_utf8_lossy(&bytes).into_owned()
}
