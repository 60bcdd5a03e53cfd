//! Asking the person at the terminal.

use std::io::{self, BufRead as _, IsTerminal as _, Write};

use zeroize::Zeroizing;

/// Nobody can be asked.
#[derive(Debug, thiserror::Error)]
pub enum TerminalError {
    /// Standard input is no terminal.
    #[error("there is no terminal to ask for the {what}; {instead}")]
    None {
        /// What would have been asked.
        what: &'static str,
        /// What to do instead.
        instead: &'static str,
    },
    /// Reading failed.
    #[error("cannot read the {what} from the terminal")]
    Read {
        /// What was asked.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// Asks for a secret without showing it.
///
/// # Errors
/// When there is no terminal.
pub fn ask_secret(what: &'static str, instead: &'static str) -> Result<Zeroizing<String>, TerminalError> {
    if !io::stdin().is_terminal() {
        return Err(TerminalError::None { what, instead });
    }
    rpassword::prompt_password(format!("{what}: "))
        .map(Zeroizing::new)
        .map_err(|source| TerminalError::Read { what, source })
}

/// Asks for a line of text.
///
/// # Errors
/// When there is no terminal.
pub fn ask(what: &'static str, prompt: &str, instead: &'static str) -> Result<String, TerminalError> {
    if !io::stdin().is_terminal() {
        return Err(TerminalError::None { what, instead });
    }
    let read = || {
        let mut err = io::stderr().lock();
        write!(err, "{prompt}")?;
        err.flush()?;
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line)?;
        Ok(line.trim().to_owned())
    };
    read().map_err(|source| TerminalError::Read { what, source })
}
