//! Asking the person at the terminal.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Command, Stdio};

use zeroize::Zeroizing;

/// Longest answer.
const ANSWER_BYTES_MAX: u64 = 8192;

/// Asks for a secret without showing it, whatever standard input is.
///
/// # Errors
/// When there is no terminal.
pub fn ask_secret(prompt: &str) -> io::Result<Zeroizing<String>> {
    let mut terminal = File::options().read(true).write(true).open("/dev/tty")?;
    terminal.write_all(prompt.as_bytes())?;
    let is_hidden = set_echo(&terminal, false);
    let mut line = Zeroizing::new(String::new());
    let read = BufReader::new((&terminal).take(ANSWER_BYTES_MAX)).read_line(&mut line);
    if is_hidden {
        set_echo(&terminal, true);
        terminal.write_all(b"\n")?;
    }
    read?;
    Ok(line)
}

/// Where it cannot be set the answer shows, which is better than not being asked.
fn set_echo(terminal: &File, is_on: bool) -> bool {
    let Ok(stdin) = terminal.try_clone() else { return false };
    let done = Command::new("stty")
        .arg(if is_on { "echo" } else { "-echo" })
        .stdin(stdin)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    done.is_ok_and(|status| status.success())
}
