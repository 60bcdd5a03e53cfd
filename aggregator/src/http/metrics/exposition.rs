//! Writer of the text format: one family after the other, each named once, into one buffer.

use std::collections::BTreeSet;
use std::fmt::{Display, Write as _};

/// What a family is, as in its `TYPE` line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Untyped,
}

/// Text in the making.
#[derive(Debug)]
pub(super) struct Exposition {
    text: String,
    names: BTreeSet<String>,
}

/// The family that is being written.
pub(super) struct Family<'a> {
    text: &'a mut String,
    name: &'a str,
}

impl Exposition {
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self { text: String::with_capacity(bytes), names: BTreeSet::new() }
    }

    /// Begins a family; none when its name is not fit for one or was used before, since a second family of that
    /// name would spoil the whole answer for its reader.
    pub(super) fn family<'a>(&'a mut self, name: &'a str, kind: Kind, help: &str) -> Option<Family<'a>> {
        if !is_metric_name(name) || !self.names.insert(name.to_owned()) {
            return None;
        }
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Untyped => "untyped",
        };
        self.text.push_str("# HELP ");
        self.text.push_str(name);
        self.text.push(' ');
        escape(&mut self.text, help, false);
        self.text.push_str("\n# TYPE ");
        self.text.push_str(name);
        self.text.push(' ');
        self.text.push_str(kind);
        self.text.push('\n');
        Some(Family { text: &mut self.text, name })
    }

    /// A family of one sample without labels.
    pub(super) fn single(&mut self, name: &str, kind: Kind, help: &str, value: impl Display) {
        if let Some(mut family) = self.family(name, kind, help) {
            family.sample("", value);
        }
    }

    pub(super) fn finish(self) -> String {
        self.text
    }
}

impl Family<'_> {
    /// One sample. `labels` are written pairs as [`label`] makes them, without braces.
    pub(super) fn sample(&mut self, labels: &str, value: impl Display) {
        self.text.push_str(self.name);
        if !labels.is_empty() {
            self.text.push('{');
            self.text.push_str(labels);
            self.text.push('}');
        }
        writeln!(self.text, " {value}").expect("a string takes all that is written to it");
    }
}

/// A value as the format spells it.
pub(super) struct Number(pub(super) f64);

impl Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_infinite() {
            f.write_str(if self.0 > 0.0 { "+Inf" } else { "-Inf" })
        } else {
            self.0.fmt(f)
        }
    }
}

/// Appends one label pair, with a comma before it where it is not the first.
pub(super) fn label(labels: &mut String, name: &str, value: &str) {
    if !labels.is_empty() {
        labels.push(',');
    }
    labels.push_str(name);
    labels.push_str("=\"");
    escape(labels, value, true);
    labels.push('"');
}

fn escape(text: &mut String, raw: &str, has_quotes: bool) {
    for c in raw.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '"' if has_quotes => text.push_str("\\\""),
            c => text.push(c),
        }
    }
}

pub(super) fn is_metric_name(name: &str) -> bool {
    let first = |c: u8| c.is_ascii_alphabetic() || c == b'_' || c == b':';
    name.bytes().next().is_some_and(first) && name.bytes().all(|c| first(c) || c.is_ascii_digit())
}

pub(super) fn is_label_name(name: &str) -> bool {
    is_metric_name(name) && !name.contains(':') && !name.starts_with("__")
}

/// The text as part of a label name: what is not allowed there becomes `_`.
pub(super) fn as_label_part(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}
