//! `config diff`: what changed between two generations, as text, file by file as in the bundle.

use std::collections::{BTreeMap, BTreeSet};

use campanile_common::config::{Generation, Layer, LayerPart};
use campanile_common::id::{Digest, NodeId};
use clap::Args;
use serde::Serialize;
use serde_json::{Map, Value};
use similar::TextDiff;

use super::release::path;
use super::remote;
use super::view::{diff_line, named};
use crate::cli::Output;
use crate::client::Client;
use crate::context::Context;
use crate::exit::Exit;
use crate::order::summary;
use crate::{profile, render};

/// Lines shown around a change.
pub(super) const CONTEXT_LINES: usize = 3;

/// Options of `config diff`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  campanile config diff 41 42
  campanile config diff 41 head
  campanile config diff 3f9c2a 42 -o json

Layers are shown as TOML in the order of their keys: comments and blanks of the bundle are no part of a generation.
Of secrets it is told that they were set, never what they are.")]
pub struct Diff {
    /// Number, first digits of the digest, or `head`
    #[arg(value_name = "A")]
    before: String,
    /// As above
    #[arg(value_name = "B")]
    after: String,
}

/// A file of the bundle that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FileDiff {
    path: String,
    /// None where one of both is no text.
    diff: Option<String>,
    before_bytes: Option<usize>,
    after_bytes: Option<usize>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Compared {
    before: u64,
    after: u64,
    files: Vec<FileDiff>,
    notes: Vec<String>,
}

/// Compares.
pub(super) fn run(context: &mut Context<'_>, arguments: &Diff) -> anyhow::Result<Exit> {
    let client = profile::client(context)?;
    let read = |text: &str| -> anyhow::Result<Generation> {
        let found = remote::find(&client, text)?;
        Ok(remote::signed(&client, found.digest)?.read()?)
    };
    let (before, after) = (read(&arguments.before)?, read(&arguments.after)?);
    let compared = Compared {
        before: before.number,
        after: after.number,
        files: files(&client, &before, &after)?,
        notes: notes(&before, &after),
    };
    if context.global.output == Output::Name {
        for file in &compared.files {
            writeln!(context.out, "{}", summary::plain(&file.path))?;
        }
        return Ok(Exit::Fine);
    }
    render::object(context, &compared, "", |context| {
        let colours = context.environment.colours();
        for file in &compared.files {
            write_file(context, file, colours)?;
        }
        for note in &compared.notes {
            writeln!(context.out, "{}", summary::plain(note))?;
        }
        Ok(())
    })?;
    if compared.files.is_empty() && compared.notes.is_empty() {
        context.hint("they say the same")?;
    }
    Ok(Exit::Fine)
}

/// Prints a file's difference.
pub(super) fn write_file(context: &mut Context<'_>, file: &FileDiff, colours: bool) -> std::io::Result<()> {
    match &file.diff {
        Some(diff) => {
            for line in diff.lines() {
                writeln!(context.out, "{}", diff_line(line, colours))?;
            }
            Ok(())
        }
        None => {
            let bytes = |bytes: Option<usize>| {
                bytes.map_or_else(|| "missing".to_owned(), |bytes| format!("{bytes} bytes"))
            };
            let (before, after) = (bytes(file.before_bytes), bytes(file.after_bytes));
            let line = format!("{}: no text; {before} -> {after}", file.path);
            writeln!(context.out, "{}", summary::plain(&line))
        }
    }
}

/// What differs, fetched: layers that are the same part are not looked at.
pub(super) fn files(
    client: &Client,
    before: &Generation,
    after: &Generation,
) -> anyhow::Result<Vec<FileDiff>> {
    let only = |ours: &Generation, theirs: &Generation| -> Vec<LayerPart> {
        ours.layers.iter().filter(|layer| !theirs.layers.contains(layer)).cloned().collect()
    };
    let (old, new) = (only(before, after), only(after, before));
    let (old, new) = (read_side(client, &old)?, read_side(client, &new)?);
    let mut found = compare(&old.texts, &new.texts);
    let names: BTreeSet<&String> = old.parts.keys().chain(new.parts.keys()).collect();
    for name in names {
        let (was, is) = (old.parts.get(name), new.parts.get(name));
        // A layer that changed elsewhere is no sign that its files did, nor that another layer lacks them.
        if was == is {
            continue;
        }
        let fetch = |part: Option<&Digest>| part.map(|digest| remote::part(client, *digest)).transpose();
        found.push(file_diff(name, fetch(was)?.as_deref(), fetch(is)?.as_deref()));
    }
    Ok(found)
}

#[derive(Default)]
struct Side {
    texts: BTreeMap<String, String>,
    parts: BTreeMap<String, Digest>,
}

fn read_side(client: &Client, layers: &[LayerPart]) -> anyhow::Result<Side> {
    let mut side = Side::default();
    for part in layers {
        let layer = remote::layer(client, part)?;
        for (folder, used) in [("files", &layer.files), ("templates", &layer.templates)] {
            side.parts.extend(used.iter().map(|(name, file)| (format!("{folder}/{name}"), file.digest)));
        }
        side.texts.insert(path(part), text(part, &layer));
    }
    Ok(side)
}

/// A layer as a bundle writes it.
fn text(part: &LayerPart, layer: &Layer) -> String {
    let mut whole = Map::new();
    if let Some(selector) = &part.selector {
        whole.insert("selector".to_owned(), Value::from(selector.as_str()));
        whole.insert("priority".to_owned(), Value::from(part.priority));
    }
    written(whole, layer)
}

/// Variables and resources as a bundle writes them.
pub(super) fn layer_text(layer: &Layer) -> String {
    if layer.vars.is_empty() && layer.resources.is_empty() {
        return String::new();
    }
    written(Map::new(), layer)
}

fn written(mut whole: Map<String, Value>, layer: &Layer) -> String {
    if !layer.vars.is_empty() {
        whole.insert("vars".to_owned(), Value::Object(layer.vars.clone()));
    }
    for (kind, resources) in &layer.resources {
        let resources: Map<String, Value> =
            resources.iter().map(|(name, table)| (name.clone(), Value::Object(table.clone()))).collect();
        whole.insert(kind.clone(), Value::Object(resources));
    }
    let whole = Value::Object(whole);
    // What was no TOML in the beginning is shown as what it is.
    toml::to_string_pretty(&whole).unwrap_or_else(|_| format!("{whole:#}\n"))
}

fn compare(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Vec<FileDiff> {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let bytes = |text: Option<&String>| text.map(String::as_bytes).map(<[u8]>::to_vec);
    names
        .into_iter()
        .filter(|name| before.get(*name) != after.get(*name))
        .map(|name| file_diff(name, bytes(before.get(name)).as_deref(), bytes(after.get(name)).as_deref()))
        .collect()
}

fn file_diff(path: &str, before: Option<&[u8]>, after: Option<&[u8]>) -> FileDiff {
    let text = |bytes: Option<&[u8]>| match bytes {
        Some(bytes) if bytes.contains(&0) => None,
        Some(bytes) => String::from_utf8(bytes.to_vec()).ok(),
        None => Some(String::new()),
    };
    let diff = text(before).zip(text(after)).map(|(old, new)| {
        let name = |bytes: Option<&[u8]>, side: &str| match bytes {
            Some(_) => format!("{side}/{path}"),
            None => "/dev/null".to_owned(),
        };
        TextDiff::from_lines(&old, &new)
            .unified_diff()
            .context_radius(CONTEXT_LINES)
            .header(&name(before, "a"), &name(after, "b"))
            .to_string()
    });
    FileDiff {
        path: path.to_owned(),
        diff,
        before_bytes: before.map(<[u8]>::len),
        after_bytes: after.map(<[u8]>::len),
    }
}

/// What no file shows: nodes that were listed otherwise, and secrets.
pub(super) fn notes(before: &Generation, after: &Generation) -> Vec<String> {
    let mut notes = Vec::new();
    let mut nodes = |what: &str, listed: Vec<String>| {
        if !listed.is_empty() {
            notes.push(format!("nodes {what}: {}", named(&listed)));
        }
    };
    let only = |ours: &Generation, theirs: &Generation| -> Vec<String> {
        let is_new = |(id, _): &(&NodeId, _)| !theirs.members.contains_key(id);
        ours.members.iter().filter(is_new).map(|(_, member)| member.name.clone()).collect()
    };
    nodes("listed anew", only(after, before));
    nodes("listed no more", only(before, after));
    let relabelled = after.members.iter().filter(|(id, member)| {
        before.members.get(id).is_some_and(|old| (&old.name, &old.labels) != (&member.name, &member.labels))
    });
    nodes("with another name or other labels", relabelled.map(|(_, member)| member.name.clone()).collect());
    let names: BTreeSet<&String> = before.secrets.keys().chain(after.secrets.keys()).collect();
    for name in names {
        match (before.secrets.get(name), after.secrets.get(name)) {
            (None, Some(_)) => notes.push(format!("secret `{name}` was set")),
            (Some(_), None) => notes.push(format!("secret `{name}` was removed")),
            (Some(old), Some(new)) if old != new => notes.push(format!("secret `{name}` was set anew")),
            _ => {}
        }
    }
    notes
}

#[cfg(test)]
mod tests;
