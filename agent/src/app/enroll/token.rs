//! Where the token comes from: a file, standard input, or whoever sits at the terminal. Never the command line, which
//! every user of the machine can read.

use std::io::{IsTerminal as _, Read};
use std::path::Path;

use anyhow::{Context as _, bail};
use campanile_common::token::Token;
use zeroize::Zeroizing;

use crate::os::terminal;

/// Longest token file.
const TOKEN_BYTES_MAX: u64 = 8192;
/// What every token begins with.
const TOKEN_BEGIN: &str = "cmp1_";

/// Reads the token from `source`; without one from standard input, or asked for where that is a terminal.
pub(super) fn read(source: Option<&Path>) -> anyhow::Result<Token> {
    let text = match source {
        Some(path) if path.to_string_lossy().starts_with(TOKEN_BEGIN) => bail!(
            "a token is no argument: every user of this machine could read it there. Revoke this one (campanile token \
             revoke) and give a new one on standard input"
        ),
        Some(path) if path != Path::new("-") => {
            let file =
                std::fs::File::open(path).with_context(|| format!("cannot read token {}", path.display()))?;
            read_text(file)?
        }
        None if std::io::stdin().is_terminal() => terminal::ask_secret("enrolment token: ")
            .context("cannot ask for the token; give it on standard input")?,
        Some(_) | None => read_text(std::io::stdin())?,
    };
    if text.trim().is_empty() {
        bail!("no token came; make one with `campanile token create` and give it on standard input");
    }
    Ok(text.trim().parse()?)
}

fn read_text(source: impl Read) -> anyhow::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    source.take(TOKEN_BYTES_MAX).read_to_string(&mut text).context("cannot read the token")?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_on_the_command_line_is_refused_without_being_repeated() {
        let error = read(Some(Path::new("cmp1_secret"))).unwrap_err().to_string();
        assert!(error.contains("Revoke") && !error.contains("secret"), "{error}");
    }

    #[test]
    fn a_file_that_is_empty_or_missing_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        assert!(read(Some(&path)).unwrap_err().to_string().contains("cannot read token"));
        std::fs::write(&path, "\n").unwrap();
        assert!(read(Some(&path)).unwrap_err().to_string().contains("campanile token create"));
    }
}
