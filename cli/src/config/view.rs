//! What nodes print for a plan or an apply, gathered and shown: nodes that say the same are one group.

use std::collections::BTreeMap;
use std::io;

use anyhow::Context as _;
use campanile_common::api::{
    ChangeVerb, ConfigHead, EXIT_PENDING, EXIT_REVERTED, EXIT_UNCHANGED, OrderTarget, OutputPiece,
    PlannedChange, TargetState,
};
use campanile_common::id::{NodeId, OrderId};
use data_encoding::BASE64;
use serde::Serialize;

use super::said::{Said, parse};
use crate::cli::Output;
use crate::context::Context;
use crate::exit::Exit;
use crate::order::follow::Sink;
use crate::order::summary;
use crate::render;

/// Most names of a group that are written out.
const NAMES_MAX: usize = 2;
/// Most bytes that are held of one node: what an order keeps, and a little.
const NODE_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Gathers standard output by node.
#[derive(Debug, Default)]
pub(crate) struct Collector {
    nodes: BTreeMap<NodeId, Collected>,
    /// True where steps are told as they come.
    is_telling: bool,
}

#[derive(Debug, Default)]
struct Collected {
    seen: u64,
    bytes: Vec<u8>,
    told: usize,
}

impl Collector {
    /// Tells the steps of an apply to a person who waits, if there is one.
    pub(crate) fn telling(is_telling: bool) -> Self {
        Self { nodes: BTreeMap::new(), is_telling }
    }

    /// What came of a node.
    pub(crate) fn of(&self, node: NodeId) -> &[u8] {
        self.nodes.get(&node).map_or(&[], |collected| &collected.bytes)
    }

    fn take(&mut self, piece: &OutputPiece) {
        let Ok(bytes) = BASE64.decode(piece.data.as_bytes()) else { return };
        let collected = self.nodes.entry(piece.node_id).or_default();
        let known = usize::try_from(collected.seen.saturating_sub(piece.offset)).unwrap_or(usize::MAX);
        let Some(fresh) = bytes.get(known..).filter(|fresh| !fresh.is_empty()) else { return };
        collected.seen = piece.offset + u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let fits = collected.bytes.len() + fresh.len() <= NODE_BYTES_MAX;
        if piece.stream != "stderr" && fits {
            collected.bytes.extend_from_slice(fresh);
        }
    }

    /// Steps that were said in whole lines since the last time.
    fn steps(&mut self, node: NodeId) -> Vec<String> {
        let Some(collected) = self.nodes.get_mut(&node) else { return Vec::new() };
        let fresh = &collected.bytes[collected.told..];
        let Some(end) = fresh.iter().rposition(|byte| *byte == b'\n') else { return Vec::new() };
        let steps = parse(&fresh[..end]).steps;
        collected.told += end + 1;
        steps
    }
}

impl Sink for Collector {
    fn piece(&mut self, context: &mut Context<'_>, piece: &OutputPiece) -> anyhow::Result<()> {
        self.take(piece);
        if self.is_telling {
            for step in self.steps(piece.node_id) {
                context.hint(&summary::plain(&format!("  {}: {step}", piece.name)))?;
            }
        }
        Ok(())
    }

    fn end(&mut self, _: &mut Context<'_>, _: &OrderTarget) -> anyhow::Result<()> {
        Ok(())
    }
}

/// What became of one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NodeResult {
    /// The node.
    pub(crate) node: NodeId,
    /// Its name.
    pub(crate) name: String,
    /// How it ended.
    pub(crate) fate: Fate,
    /// Why, where it did not end well.
    pub(crate) detail: String,
    /// What it said.
    #[serde(flatten)]
    pub(crate) said: Said,
}

/// How a plan or an apply ended on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Fate {
    /// Nothing is to be changed.
    Unchanged,
    /// Changes pend.
    Pending,
    /// Changes were made.
    Applied,
    /// It was undone: the node did not reach its aggregator in time.
    Reverted,
    /// It failed; all is as it was.
    Failed,
    /// No answer.
    Silent,
    /// Refused.
    Denied,
    /// Left out because of what befell others.
    Skipped,
    /// Not done yet.
    Waiting,
}

impl Fate {
    const ALL: [(Self, &'static str); 9] = [
        (Self::Pending, "with changes"),
        (Self::Applied, "changed"),
        (Self::Unchanged, "as they should be"),
        (Self::Reverted, "reverted"),
        (Self::Failed, "failed"),
        (Self::Silent, "silent"),
        (Self::Denied, "denied"),
        (Self::Skipped, "skipped"),
        (Self::Waiting, "waiting"),
    ];

    /// Of a target, by its state and by the exit code of the program on the node.
    pub(crate) fn of(target: &OrderTarget, said: &Said) -> Self {
        let code = target.exit_code.and_then(|code| u8::try_from(code).ok());
        match (target.state, code) {
            (TargetState::Ok | TargetState::Failed, Some(EXIT_PENDING)) => Self::Pending,
            (TargetState::Ok | TargetState::Failed, Some(EXIT_REVERTED)) => Self::Reverted,
            (TargetState::Ok, None | Some(EXIT_UNCHANGED)) => {
                let is_changed = said.summary.as_ref().is_some_and(|summary| summary.changes > 0);
                if is_changed { Self::Applied } else { Self::Unchanged }
            }
            (TargetState::Ok | TargetState::Failed, _) => Self::Failed,
            (TargetState::Silent, _) => Self::Silent,
            (TargetState::Denied, _) => Self::Denied,
            (TargetState::Skipped, _) => Self::Skipped,
            (TargetState::Queued | TargetState::Waiting | TargetState::Sent | TargetState::Running, _) => {
                Self::Waiting
            }
        }
    }

    const fn exit(self) -> Exit {
        match self {
            Self::Unchanged | Self::Applied => Exit::Fine,
            Self::Pending => Exit::Pending,
            Self::Reverted => Exit::RolledBack,
            Self::Failed | Self::Skipped => Exit::SomeFailed,
            Self::Silent => Exit::SomeSilent,
            Self::Denied => Exit::Denied,
            Self::Waiting => Exit::Waiting,
        }
    }
}

/// What became of a plan or an apply.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Outcome {
    /// The order.
    pub(crate) order_id: OrderId,
    /// Of which generation.
    pub(crate) generation: ConfigHead,
    /// By node.
    pub(crate) nodes: Vec<NodeResult>,
}

impl Outcome {
    /// The exit code for all.
    pub(crate) fn exit(&self) -> Exit {
        Exit::of_all(self.nodes.iter().map(|node| node.fate.exit()))
    }

    /// Prints it: as one object for programs, in groups for people, with an account of all nodes beside it.
    pub(crate) fn print(&self, context: &mut Context<'_>) -> anyhow::Result<()> {
        if context.global.output == Output::Name {
            for node in self.nodes.iter().filter(|node| matches!(node.fate, Fate::Pending | Fate::Applied)) {
                writeln!(context.out, "{}", summary::plain(&node.name))?;
            }
        } else {
            render::object(context, self, "", |context| {
                let colours = context.environment.colours();
                for group in groups(&self.nodes) {
                    write_group(context.out, &group, colours).context("cannot print the result")?;
                }
                Ok(())
            })?;
        }
        context.out.flush()?;
        context.hint(&self.account())?;
        Ok(())
    }

    fn account(&self) -> String {
        let mut text = match self.nodes.len() {
            1 => "1 node: ".to_owned(),
            count => format!("{count} nodes: "),
        };
        let count = |fate: Fate| self.nodes.iter().filter(|node| node.fate == fate).count();
        let counts = Fate::ALL.iter().map(|(fate, name)| (count(*fate), name));
        let said: Vec<String> =
            counts.filter(|(count, _)| *count > 0).map(|(count, name)| format!("{count} {name}")).collect();
        text.push_str(&said.join(", "));
        text
    }
}

/// Nodes that say the same.
#[derive(Debug)]
pub(crate) struct Group<'a> {
    /// Their names.
    pub(crate) names: Vec<String>,
    /// One for all.
    pub(crate) one: &'a NodeResult,
}

/// Nodes of the same fate, changes and problems together; the largest group of those with something to say first,
/// nodes without anything to say last.
pub(crate) fn groups(nodes: &[NodeResult]) -> Vec<Group<'_>> {
    let mut found: Vec<Group<'_>> = Vec::new();
    for node in nodes {
        let is_same = |group: &&mut Group<'_>| {
            let (ours, theirs) = (&node.said, &group.one.said);
            let is_alike = (&ours.changes, &ours.problems) == (&theirs.changes, &theirs.problems);
            let left = |said: &Said| said.summary.as_ref().map(|summary| summary.left.clone());
            (node.fate, &node.detail) == (group.one.fate, &group.one.detail)
                && is_alike
                && left(ours) == left(theirs)
        };
        match found.iter_mut().find(is_same) {
            Some(group) => group.names.push(node.name.clone()),
            None => found.push(Group { names: vec![node.name.clone()], one: node }),
        }
    }
    let is_silent = |group: &Group<'_>| {
        let said = &group.one.said;
        group.one.fate == Fate::Unchanged && said.changes.is_empty() && said.problems.is_empty()
    };
    found.sort_by_key(|group| (is_silent(group), core::cmp::Reverse(group.names.len())));
    found
}

/// `web-1, web-2 and 26 others`.
pub(crate) fn named(names: &[String]) -> String {
    match names {
        [] => "no node".to_owned(),
        [one] => one.clone(),
        [first, second] => format!("{first} and {second}"),
        [first, second, third] => format!("{first}, {second} and {third}"),
        _ => {
            let shown = names[..NAMES_MAX].join(", ");
            format!("{shown} and {} others", names.len() - NAMES_MAX)
        }
    }
}

fn painted(text: &str, code: &str, colours: bool) -> String {
    let text = summary::plain(text);
    if colours { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text }
}

fn write_group(out: &mut dyn io::Write, group: &Group<'_>, colours: bool) -> io::Result<()> {
    let NodeResult { fate, detail, said, .. } = group.one;
    let changes = match said.changes.len() {
        1 => "1 change".to_owned(),
        count => format!("{count} changes"),
    };
    let (head, code) = match fate {
        Fate::Unchanged => ("as it should be".to_owned(), "32"),
        Fate::Pending => (format!("{changes} pending"), "33"),
        Fate::Applied => (format!("{changes} made"), "32"),
        Fate::Reverted => ("reverted: all is as it was before".to_owned(), "31"),
        Fate::Failed => ("failed".to_owned(), "31"),
        Fate::Silent => ("silent".to_owned(), "31"),
        Fate::Denied => ("denied".to_owned(), "33"),
        Fate::Skipped => ("skipped".to_owned(), "33"),
        Fate::Waiting => ("waiting".to_owned(), "33"),
    };
    let why = if detail.is_empty() { String::new() } else { format!(": {detail}") };
    let names = painted(&named(&group.names), "1", colours);
    writeln!(out, "{names}: {}{}", painted(&head, code, colours), summary::plain(&why))?;
    for change in &said.changes {
        write_change(out, change, colours)?;
    }
    for problem in &said.problems {
        let about = problem.resource.as_ref().map(|resource| format!("{resource}: ")).unwrap_or_default();
        writeln!(out, "  {}", painted(&format!("! {about}{}", problem.message), "31", colours))?;
    }
    for left in said.summary.iter().flat_map(|summary| &summary.left) {
        writeln!(out, "  {}", painted(&format!("! left as it is: {left}"), "31", colours))?;
    }
    if said.summary.is_none() && !said.changes.is_empty() {
        writeln!(out, "  {}", painted("! the output broke off here", "31", colours))?;
    }
    Ok(())
}

fn write_change(out: &mut dyn io::Write, change: &PlannedChange, colours: bool) -> io::Result<()> {
    let (sign, code) = match change.verb {
        ChangeVerb::Create => ('+', "32"),
        ChangeVerb::Update => ('~', "33"),
        ChangeVerb::Remove => ('-', "31"),
        ChangeVerb::Run => ('>', "36"),
    };
    let what = summary::plain(&change.what.join(", "));
    let confirmed = if change.confirmed { " (to be confirmed)" } else { "" };
    let head = painted(&format!("{sign} {}", change.resource), code, colours);
    writeln!(out, "  {}", format!("{head}  {what}{confirmed}").trim_end())?;
    for line in change.diff.iter().flat_map(|diff| diff.lines()) {
        writeln!(out, "      {}", diff_line(line, colours))?;
    }
    Ok(())
}

/// A line of a unified diff with its colour.
pub(crate) fn diff_line(line: &str, colours: bool) -> String {
    let code = match line.as_bytes().first() {
        Some(b'+') => "32",
        Some(b'-') => "31",
        Some(b'@') => "36",
        _ => return summary::plain(line),
    };
    painted(line, code, colours)
}

#[cfg(test)]
mod tests;
