//! What signing a generation would change: rebuilt from its parts on this machine, each verified by its digest, and held
//! against the head. The aggregator's words are not asked.

use std::collections::BTreeMap;

use campanile_common::authority::Authority;
use campanile_common::config::{Generation, Layer, NamedLayer, Tally, flatten};
use campanile_common::id::{Digest, NodeId};
use campanile_common::time::Timestamp;
use serde::Serialize;
use similar::TextDiff;

use super::build::Body;
use super::diff::{CONTEXT_LINES, FileDiff, files, layer_text, notes, write_file};
use super::remote;
use super::view::diff_line;
use crate::client::Client;
use crate::context::Context;
use crate::order::summary;
use crate::render::{self, Cell};

/// A generation as whoever is to sign it sees it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Review {
    number: u64,
    digest: Digest,
    purpose: &'static str,
    author: String,
    created: Timestamp,
    message: String,
    signed_by: Vec<String>,
    signatures_needed: usize,
    files: Vec<FileDiff>,
    notes: Vec<String>,
    nodes: Vec<NodesDiff>,
    /// Nodes for which nothing changes.
    unchanged: Vec<String>,
    /// What speaks against signing it unseen.
    pub(crate) warnings: Vec<String>,
}

/// What changes in the same way for some nodes: what their layers come to.
#[derive(Debug, Serialize)]
struct NodesDiff {
    nodes: Vec<String>,
    diff: String,
}

/// Layers of a node before and after, by digest.
type Change = (Vec<Digest>, Vec<Digest>);

impl Review {
    /// Reads everything that it takes.
    pub(crate) fn new(client: &Client, authority: &Authority, tally: &Tally) -> anyhow::Result<Self> {
        let after = &tally.generation;
        let mut warnings = Vec::new();
        let head = remote::head(client, authority, false).unwrap_or_else(|error| {
            warnings.push(format!("there is nothing to compare with, so all is shown as new: {error:#}"));
            None
        });
        let mut notes_of = Vec::new();
        if after.parent != head.as_ref().map(|head| head.digest) && warnings.is_empty() {
            notes_of.push("it was made on top of another generation than the head is now".to_owned());
        }
        let before = head.map_or_else(Body::nothing, |head| head.generation);
        let (changes, unchanged) = changes(&before, after);
        notes_of.extend(notes(&before, after));
        notes_of.extend(sealed(&before, after));
        Ok(Self {
            number: after.number,
            digest: tally.digest,
            purpose: after.purpose.as_str(),
            author: after.author.clone(),
            created: after.created,
            message: after.message.clone(),
            signed_by: tally.operators.clone(),
            signatures_needed: tally.needed,
            files: files(client, &before, after)?,
            notes: notes_of,
            nodes: diffs(changes, |digest| remote::layer_of(client, digest))?,
            unchanged,
            warnings,
        })
    }

    /// Shows it.
    pub(crate) fn print(&self, context: &mut Context<'_>) -> anyhow::Result<()> {
        let signers = format!("{} ({} needed)", self.signed_by.join(", "), self.signatures_needed);
        render::fields(
            context,
            &[
                ("generation", Cell::new(self.number)),
                ("digest", Cell::new(self.digest)),
                ("purpose", Cell::new(self.purpose)),
                ("created", Cell::new(self.created)),
                ("by", Cell::new(&self.author)),
                ("signed by", Cell::new(signers)),
                ("message", Cell::new(&self.message)),
            ],
        )?;
        writeln!(context.out)?;
        let colours = context.environment.colours();
        for file in &self.files {
            write_file(context, file, colours)?;
        }
        for note in &self.notes {
            writeln!(context.out, "{}", summary::plain(note))?;
        }
        for change in &self.nodes {
            writeln!(context.out, "\n{}:", summary::plain(&change.nodes.join(", ")))?;
            for line in change.diff.lines() {
                writeln!(context.out, "  {}", diff_line(line, colours))?;
            }
        }
        if !self.unchanged.is_empty() {
            writeln!(context.out, "\nas before: {}", summary::plain(&self.unchanged.join(", ")))?;
        }
        Ok(())
    }
}

/// Nodes by how their layers change, and those whose layers stay.
fn changes(before: &Generation, after: &Generation) -> (BTreeMap<Change, Vec<String>>, Vec<String>) {
    let (mut changed, mut unchanged): (BTreeMap<Change, Vec<String>>, _) = (BTreeMap::new(), Vec::new());
    let digests = |generation: &Generation, indices: &[u16]| -> Vec<Digest> {
        indices.iter().map(|index| generation.layers[usize::from(*index)].digest).collect()
    };
    for (id, member) in &after.members {
        let was = before.layers_of(*id, &member.name, &member.labels);
        let (was, is) = (digests(before, &was), digests(after, &member.layers));
        if was == is {
            unchanged.push(member.name.clone());
        } else {
            changed.entry((was, is)).or_default().push(member.name.clone());
        }
    }
    (changed, unchanged)
}

fn diffs(
    changes: BTreeMap<Change, Vec<String>>,
    mut read: impl FnMut(Digest) -> anyhow::Result<Layer>,
) -> anyhow::Result<Vec<NodesDiff>> {
    let mut known: BTreeMap<Digest, Layer> = BTreeMap::new();
    let mut found = Vec::new();
    for ((was, is), nodes) in changes {
        for digest in was.iter().chain(&is) {
            if !known.contains_key(digest) {
                known.insert(*digest, read(*digest)?);
            }
        }
        let text = |digests: &[Digest]| {
            let named: Vec<NamedLayer<'_>> = digests
                .iter()
                .filter_map(|digest| known.get(digest))
                .map(|layer| NamedLayer { name: "", layer })
                .collect();
            node_text(&flatten(&named))
        };
        let (old, new) = (text(&was), text(&is));
        let diff = TextDiff::from_lines(&old, &new);
        let diff = diff.unified_diff().context_radius(CONTEXT_LINES).to_string();
        found.push(NodesDiff { nodes, diff });
    }
    Ok(found)
}

/// What a node's layers come to, with the content of each file by its digest.
fn node_text(layer: &Layer) -> String {
    let mut text = layer_text(layer);
    for (folder, used) in [("files", &layer.files), ("templates", &layer.templates)] {
        for (name, part) in used {
            text.push_str(&format!("# {folder}/{name} is {}\n", part.digest));
        }
    }
    text
}

/// For whom secrets that are new or set anew are sealed.
fn sealed(before: &Generation, after: &Generation) -> Vec<String> {
    let name =
        |id: &NodeId| after.members.get(id).map_or_else(|| id.to_string(), |member| member.name.clone());
    let is_new = |(name, part): &(&String, _)| before.secrets.get(*name) != Some(*part);
    let told = after.secrets.iter().filter(is_new).map(|(secret, part)| {
        let nodes: Vec<String> = part.sealed.keys().map(name).collect();
        format!("secret `{secret}` is for `{}`, sealed for {}", part.selector, nodes.join(", "))
    });
    told.collect()
}

#[cfg(test)]
mod tests {
    use super::super::build::tests::layer as part;
    use super::*;
    use campanile_common::config::{LayerKind, Member, part_digest};
    use serde_json::json;

    fn layer(motd: &str) -> Layer {
        let table = json!({ "/etc/motd": { "content": motd } });
        Layer {
            resources: [("file".to_owned(), serde_json::from_value(table).unwrap())].into(),
            ..Layer::default()
        }
    }

    #[test]
    fn nodes_that_change_alike_are_shown_once_and_a_move_to_another_group_is_a_change() {
        let layers: BTreeMap<Digest, Layer> = ["ding", "dong"]
            .into_iter()
            .map(|text| (part_digest(&layer(text).to_bytes()), layer(text)))
            .collect();
        let digest = |text: &str| part_digest(&layer(text).to_bytes());
        let mut before = Body::nothing();
        before.layers =
            vec![part(LayerKind::Fleet, "fleet", None, "x"), part(LayerKind::Group, "web", Some("a=b"), "x")];
        (before.layers[0].digest, before.layers[1].digest) = (digest("ding"), digest("dong"));
        let mut after = before.clone();
        for (number, layers) in [(1, vec![0, 1]), (2, vec![0, 1]), (3, vec![0])] {
            let node = crate::testing::node(number);
            let member = |layers| Member { name: node.name.clone(), labels: Default::default(), layers };
            before.members.insert(node.node_id, member(vec![0]));
            after.members.insert(node.node_id, member(layers));
        }
        let (changes, unchanged) = changes(&before, &after);
        assert_eq!(unchanged, ["node-3"]);
        let found = diffs(changes, |digest| Ok(layers[&digest].clone())).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].nodes, ["node-1", "node-2"]);
        assert!(found[0].diff.contains("-content = \"ding\"\n+content = \"dong\""), "{}", found[0].diff);
    }
}
