//! Where in a file a value was written.

use std::collections::BTreeMap;

/// Line and column, both counted from 1.
pub(super) type Place = (usize, usize);

/// Places by the path of keys, e.g. `file`, `/etc/motd`, `mode`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Lines(BTreeMap<Vec<String>, Place>);

impl Lines {
    pub(super) fn note(&mut self, path: &[String], place: Place) {
        self.0.entry(path.to_vec()).or_insert(place);
    }

    /// Where `path` was written, or else the nearest table around it.
    pub(super) fn find(&self, path: &[&str]) -> Place {
        let path: Vec<String> = path.iter().map(|part| (*part).to_owned()).collect();
        (1..=path.len()).rev().find_map(|length| self.0.get(&path[..length]).copied()).unwrap_or((1, 1))
    }
}

/// Turns offsets into places.
pub(super) struct Text<'a> {
    text: &'a str,
    /// Offsets at which lines begin.
    starts: Vec<usize>,
}

impl<'a> Text<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let newlines = text.match_indices('\n').map(|(offset, _)| offset + 1);
        Self { text, starts: std::iter::once(0).chain(newlines).collect() }
    }

    pub(super) fn place(&self, offset: usize) -> Place {
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self.starts[line - 1];
        let before = self.text.get(start..offset).map_or(0, |before| before.chars().count());
        (line, before + 1)
    }
}
