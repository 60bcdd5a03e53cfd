//! What every verb is given: the options common to all, the environment, and where to print.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _, Write};
use std::path::PathBuf;

use anyhow::anyhow;

use crate::cli::Global;

/// The environment, gathered once, so that tests can give another.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// Variables that are text.
    pub variables: BTreeMap<String, String>,
    /// True when standard output is a terminal.
    pub stdout_is_terminal: bool,
    /// True when standard error is a terminal: progress is told there.
    pub stderr_is_terminal: bool,
}

impl Environment {
    /// The environment of this process.
    pub fn of_process() -> Self {
        let text = |(key, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((key.into_string().ok()?, value.into_string().ok()?))
        };
        Self {
            variables: std::env::vars_os().filter_map(text).collect(),
            stdout_is_terminal: io::stdout().is_terminal(),
            stderr_is_terminal: io::stderr().is_terminal(),
        }
    }

    /// A variable that is set and not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// A variable that names a file or folder.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.get(name).map(PathBuf::from)
    }

    /// The operator's folder: `CAMPANILE_CONFIG_DIR`, or `campanile` in the user's configuration folder.
    ///
    /// # Errors
    /// When neither it nor a home is known.
    pub fn config_dir(&self) -> anyhow::Result<PathBuf> {
        self.path("CAMPANILE_CONFIG_DIR")
            .or_else(|| self.path("XDG_CONFIG_HOME").map(|dir| dir.join("campanile")))
            .or_else(|| self.path("HOME").map(|dir| dir.join(".config/campanile")))
            .ok_or_else(|| anyhow!("there is no home folder; set CAMPANILE_CONFIG_DIR"))
    }

    /// True when colours may be printed.
    pub fn colours(&self) -> bool {
        self.stdout_is_terminal && self.get("NO_COLOR").is_none() && self.get("TERM") != Some("dumb")
    }
}

/// What every verb is given.
pub struct Context<'a> {
    /// Options common to all verbs.
    pub global: &'a Global,
    /// The environment.
    pub environment: &'a Environment,
    /// Where results go.
    pub out: &'a mut dyn Write,
    /// Where everything else goes.
    pub err: &'a mut dyn Write,
}

impl Context<'_> {
    /// Prints a line for people, beside the result.
    ///
    /// # Errors
    /// When it cannot be printed.
    pub fn hint(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.err, "{text}")
    }
}
