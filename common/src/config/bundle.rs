//! The bundle as operators keep it: `fleet.toml`, `groups/*.toml`, `nodes/*.toml`, `files/` and `templates/`. Pure: what
//! was read from the disk in, layers or every mistake with its line out.

mod document;
mod judge;
mod lines;

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::label::Labels;
use crate::selector::{Selector, Subject};
use crate::suggest;

use super::generation::{LAYERS_MAX, LayerKind};
use super::layer::{FilePart, LAYER_BYTES_MAX, Layer};
use super::merge::NamedLayer;
use super::{PART_BYTES_MAX, part_digest, render};

use lines::Lines;

/// What a bundle's directory holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BundleSource {
    /// Every `.toml` file outside `files/` and `templates/`, by its path.
    pub documents: BTreeMap<String, Vec<u8>>,
    /// Files by their path below `files/`.
    pub files: BTreeMap<String, FilePart>,
    /// Templates by their path below `templates/`.
    pub templates: BTreeMap<String, Vec<u8>>,
}

/// A bundle without a mistake in any one layer.
#[derive(Debug, Clone, PartialEq)]
pub struct Bundle {
    /// Its layers, in the order in which they are merged.
    pub layers: Vec<BundleLayer>,
    /// Templates by their path below `templates/`.
    templates: BTreeMap<String, String>,
}

/// One file of a bundle.
#[derive(Debug, Clone, PartialEq)]
pub struct BundleLayer {
    /// Where it stands.
    pub kind: LayerKind,
    /// `fleet`, or the name of the group or node.
    pub name: String,
    /// The file.
    pub path: String,
    /// Of a group: whom it is for, in selector syntax.
    pub selector: Option<String>,
    /// Of a group: among groups the higher one wins.
    pub priority: i32,
    /// What it says.
    pub layer: Layer,
    lines: Lines,
}

/// A mistake in a bundle.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct LintError {
    /// The file.
    pub path: String,
    /// Where, counted from 1.
    pub line: usize,
    /// Where in the line, counted from 1; none where it is about the file or about several lines.
    pub column: Option<usize>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub suggestion: Option<String>,
}

/// A node, to choose layers for.
#[derive(Debug, Clone, Copy)]
pub struct Listed<'a> {
    /// Its id as text, empty where it is not known.
    pub id: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its labels.
    pub labels: &'a Labels,
}

impl fmt::Display for LintError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: error: {}", self.path, self.line, self.message)?;
        match &self.suggestion {
            Some(suggestion) => write!(f, "; help: {suggestion}"),
            None => Ok(()),
        }
    }
}

impl LintError {
    /// About a file as a whole.
    fn of_file(path: &str, message: String, suggestion: Option<String>) -> Self {
        Self { path: path.to_owned(), line: 1, column: None, message, suggestion }
    }
}

/// `did you mean a, b?`
fn meant<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let close = suggest::close(wanted, names);
    (!close.is_empty()).then(|| format!("did you mean {}?", close.join(", ")))
}

impl BundleSource {
    /// Reads the bundle.
    ///
    /// # Errors
    /// Every mistake that shows in one file alone.
    pub fn read(&self) -> Result<Bundle, Vec<LintError>> {
        let mut errors = Vec::new();
        let templates = self.read_templates(&mut errors);
        let mut layers = Vec::new();
        for (path, bytes) in &self.documents {
            match place(path) {
                Ok((kind, name)) => layers.extend(document::read(self, path, kind, name, bytes, &mut errors)),
                Err(error) => errors.push(error),
            }
        }
        for (name, _) in self.files.iter().filter(|(_, part)| part.size > long(PART_BYTES_MAX)) {
            let message = format!("it has more than {PART_BYTES_MAX} bytes");
            errors.push(LintError::of_file(&format!("files/{name}"), message, None));
        }
        if !self.documents.contains_key("fleet.toml") {
            let help = "write one, be it empty, or give the bundle's directory; `campanile config init` writes an example";
            errors.push(LintError::of_file(
                "fleet.toml",
                "it is not there".to_owned(),
                Some(help.to_owned()),
            ));
        }
        if layers.len() > LAYERS_MAX {
            let message = format!("a bundle has at most {LAYERS_MAX} layers, this one {}", layers.len());
            errors.push(LintError::of_file("fleet.toml", message, None));
        }
        errors.sort();
        if !errors.is_empty() {
            return Err(errors);
        }
        layers
            .sort_by(|a: &BundleLayer, b| (a.kind, a.priority, &a.name).cmp(&(b.kind, b.priority, &b.name)));
        Ok(Bundle { layers, templates })
    }

    fn read_templates(&self, errors: &mut Vec<LintError>) -> BTreeMap<String, String> {
        let mut templates = BTreeMap::new();
        for (name, bytes) in &self.templates {
            let path = format!("templates/{name}");
            if bytes.len() > PART_BYTES_MAX {
                errors.push(LintError::of_file(
                    &path,
                    format!("it has more than {PART_BYTES_MAX} bytes"),
                    None,
                ));
                continue;
            }
            let Ok(text) = String::from_utf8(bytes.clone()) else {
                let help = "what is no text belongs into files/".to_owned();
                errors.push(LintError::of_file(&path, "it is not UTF-8 text".to_owned(), Some(help)));
                continue;
            };
            if let Err(error) = render::check_template(name, &text) {
                let line = error.line.unwrap_or(1);
                errors.push(LintError { path, line, column: None, message: error.message, suggestion: None });
                continue;
            }
            templates.insert(name.clone(), text);
        }
        templates
    }

    fn template_part(&self, name: &str) -> Option<FilePart> {
        let bytes = self.templates.get(name)?;
        Some(FilePart { digest: part_digest(bytes), size: long(bytes.len()) })
    }
}

fn long(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// What a file is for by its path.
fn place(path: &str) -> Result<(LayerKind, &str), LintError> {
    let stray = |help: Option<String>| {
        let message =
            "a bundle has `fleet.toml`, `groups/NAME.toml` and `nodes/NAME.toml`, and this is none of them";
        LintError::of_file(path, message.to_owned(), help)
    };
    if path == "fleet.toml" {
        return Ok((LayerKind::Fleet, "fleet"));
    }
    let Some((folder, file)) = path.split_once('/') else {
        return Err(stray(meant(path, ["fleet.toml"])));
    };
    let name = file.strip_suffix(".toml").filter(|name| !name.is_empty() && !name.contains('/'));
    match (folder, name) {
        ("groups", Some(name)) => Ok((LayerKind::Group, name)),
        ("nodes", Some(name)) => Ok((LayerKind::Node, name)),
        _ => Err(stray(meant(folder, ["groups", "nodes", "files", "templates"]))),
    }
}

impl Bundle {
    /// The layers of a node, the first to be merged first.
    pub fn layers_of(&self, node: &Listed<'_>) -> Vec<&BundleLayer> {
        let subject = Subject { id: node.id, name: node.name, labels: node.labels };
        let is_for = |layer: &&BundleLayer| match layer.kind {
            LayerKind::Fleet => true,
            LayerKind::Group => layer
                .selector
                .as_deref()
                .and_then(|text| text.parse::<Selector>().ok())
                .is_some_and(|selector| selector.matches(&subject)),
            LayerKind::Node => layer.name == node.name,
        };
        self.layers.iter().filter(is_for).collect()
    }

    /// The text of a template by its path below `templates/`.
    pub fn template(&self, name: &str) -> Option<&str> {
        self.templates.get(name).map(String::as_str)
    }
}

impl BundleLayer {
    /// The layer under the name of its file.
    pub fn named(&self) -> NamedLayer<'_> {
        NamedLayer { name: &self.path, layer: &self.layer }
    }

    fn is_too_long(&self) -> bool {
        self.layer.to_bytes().len() > LAYER_BYTES_MAX
    }
}

#[cfg(test)]
mod tests;
