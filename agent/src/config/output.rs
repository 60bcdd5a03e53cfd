//! What the program says: one line of JSON after the other on standard output, in which no secret stands.

use std::cell::RefCell;
use std::io::Write;

use campanile_common::api::{PlanLine, PlannedChange};
use zeroize::Zeroizing;

use super::step::{Change, Problem};

/// Shorter ones are found in everything, and are no secrets.
const REDACTED_BYTES_MIN: usize = 4;
const REDACTED: &str = "[redacted]";

/// Says lines.
pub(crate) struct Output {
    to: RefCell<Box<dyn Write>>,
    secrets: RefCell<Vec<Zeroizing<String>>>,
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Output")
    }
}

impl Output {
    pub(crate) fn new(to: Box<dyn Write>) -> Self {
        Self { to: RefCell::new(to), secrets: RefCell::default() }
    }

    /// From here on a secret is said no more: a program that fails may quote the file that holds it.
    pub(crate) fn hide(&self, secret: &[u8]) {
        let text = Zeroizing::new(String::from_utf8_lossy(secret).into_owned());
        let whole = std::iter::once(text.trim());
        let mut secrets = self.secrets.borrow_mut();
        for part in whole.chain(text.lines().map(str::trim)) {
            if part.len() >= REDACTED_BYTES_MIN && !secrets.iter().any(|known| known.as_str() == part) {
                secrets.push(Zeroizing::new(part.to_owned()));
            }
        }
        // A longer one first: it may hold a shorter one.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    }

    /// A text without any secret.
    pub(crate) fn redacted(&self, text: &str) -> String {
        let secrets = self.secrets.borrow();
        secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), REDACTED))
    }

    pub(crate) fn change(&self, change: &Change) {
        let shown = &change.shown;
        self.line(&PlanLine::Change(PlannedChange {
            what: shown.what.iter().map(|what| self.redacted(what)).collect(),
            diff: shown.diff.as_deref().map(|diff| self.redacted(diff)),
            ..shown.clone()
        }));
    }

    pub(crate) fn step(&self, step: &str) {
        self.line(&PlanLine::Step { step: step.to_owned() });
    }

    pub(crate) fn problem(&self, problem: &Problem) {
        let resource = problem.resource.as_ref().map(ToString::to_string);
        self.line(&PlanLine::Problem { resource, message: self.redacted(&problem.message) });
    }

    pub(crate) fn summary(&self, number: u64, changes: usize, unchanged: u32, result: &str, left: &[String]) {
        self.line(&PlanLine::Summary {
            number,
            changes: u32::try_from(changes).unwrap_or(u32::MAX),
            unchanged,
            result: result.to_owned(),
            left: left.iter().map(|left| self.redacted(left)).collect(),
        });
    }

    fn line(&self, line: &PlanLine) {
        let mut text = serde_json::to_vec(line).expect("a line has no odd keys");
        text.push(b'\n');
        let mut to = self.to.borrow_mut();
        // Nobody listens any more: what is done does not depend on it.
        drop(to.write_all(&text).and_then(|()| to.flush()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_said_in_no_line_whole_or_in_part() {
        let output = Output::new(Box::new(Vec::new()));
        output.hide(b"first line\nsecond line\n");
        output.hide(b"ab");
        output.hide(b"first");
        let text = output.redacted("x first line\nsecond line y, second line z, first ab");
        assert_eq!(text, "x [redacted] y, [redacted] z, [redacted] ab");
    }
}
