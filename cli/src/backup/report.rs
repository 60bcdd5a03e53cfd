//! What nodes say while they save, verify and restore, gathered, and shown as one table.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use campanile_common::api::{
    BackupFigures, BackupLine, BackupResult, ChangeLine, EntryLine, OrderTarget, OutputPiece, TargetState,
};
use campanile_common::id::{Digest, NodeId, OrderId};
use campanile_common::unit::ByteCount;
use data_encoding::BASE64;
use serde::Serialize;

use crate::context::Context;
use crate::order::follow::Sink;
use crate::order::summary;
use crate::render::{self, Cell, Column, Tone, column, wide};

/// Most bytes that are held of one node: what an order keeps, and a little.
const NODE_BYTES_MAX: usize = 2 * 1024 * 1024;
/// How often a person who waits is told how far a node is.
const TELL: Duration = Duration::from_secs(2);
/// Most lines of one node that follow the table.
const LINES_MAX: usize = 20;

/// What a node said.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Said {
    /// How it ended; none where that was not heard.
    pub result: Option<BackupResult>,
    /// The snapshot that was made, tried or restored.
    pub snapshot: Option<String>,
    /// How long the program took.
    pub duration_ms: Option<u64>,
    /// What was done.
    pub figures: BackupFigures,
    /// Files that were not saved or restored as they should be.
    pub unread: Vec<Unread>,
    /// What is wrong with the repository.
    pub findings: Vec<String>,
    /// Warnings and errors, and hooks that failed.
    pub problems: Vec<String>,
    /// What the command said that looks at what was restored; none where there is no such command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tried: Option<String>,
    /// Bytes and SHA-256 of a file that was printed.
    #[serde(skip)]
    pub content: Option<(u64, Digest)>,
    /// Entries of a snapshot, where they were asked for.
    #[serde(skip)]
    pub entries: Vec<EntryLine>,
    /// Differences between two, likewise.
    #[serde(skip)]
    pub changes: Vec<ChangeLine>,
}

/// A file that was not saved or restored as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unread {
    /// Which.
    pub path: String,
    /// Why.
    pub why: String,
}

/// Reads what a node printed; what is no line of the program is passed over.
pub fn parse(output: &[u8]) -> Said {
    let mut said = Said::default();
    for line in output.split(|byte| *byte == b'\n') {
        let Ok(line) = serde_json::from_slice::<BackupLine>(line) else { continue };
        match line {
            BackupLine::Unread { path, why } => said.unread.push(Unread { path, why }),
            BackupLine::Finding { what } => said.findings.push(what),
            BackupLine::Problem { message } => said.problems.push(message),
            BackupLine::Hook { when, command, result } => {
                if result != "ok" {
                    said.problems.push(format!("hook {when} `{command}`: {result}"));
                }
                if when == "drill" {
                    said.tried = Some(result);
                }
            }
            BackupLine::Content { bytes, sha256 } => said.content = Some((bytes, sha256)),
            BackupLine::Finished { result, snapshot, duration_ms, figures, .. } => {
                said.result = Some(result);
                said.snapshot = snapshot;
                said.duration_ms = Some(duration_ms);
                said.figures = figures;
            }
            BackupLine::Entry(entry) => said.entries.push(entry),
            BackupLine::Change(change) => said.changes.push(change),
            BackupLine::Started { .. }
            | BackupLine::Progress { .. }
            | BackupLine::Snapshot(_)
            | BackupLine::Key(_) => {}
        }
    }
    said
}

/// Gathers standard output by node, and tells a person who waits how far it is.
#[derive(Debug)]
pub(crate) struct Collector {
    nodes: BTreeMap<NodeId, Collected>,
    is_telling: bool,
    told: Instant,
}

#[derive(Debug, Default)]
struct Collected {
    seen: u64,
    bytes: Vec<u8>,
}

impl Collector {
    /// One that tells, or does not.
    pub(crate) fn new(is_telling: bool) -> Self {
        Self { nodes: BTreeMap::new(), is_telling, told: Instant::now() }
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
}

impl Sink for Collector {
    fn piece(&mut self, context: &mut Context<'_>, piece: &OutputPiece) -> anyhow::Result<()> {
        self.take(piece);
        if self.is_telling
            && self.told.elapsed() >= TELL
            && let Some(progress) = progress(self.of(piece.node_id))
        {
            self.told = Instant::now();
            context.hint(&summary::plain(&format!("  {}: {progress}", piece.name)))?;
        }
        Ok(())
    }

    fn end(&mut self, _: &mut Context<'_>, _: &OrderTarget) -> anyhow::Result<()> {
        Ok(())
    }
}

/// How far it is, where the last whole line says so.
fn progress(output: &[u8]) -> Option<String> {
    let whole = output.strip_suffix(b"\n")?;
    let last = whole.rsplit(|byte| *byte == b'\n').next()?;
    match serde_json::from_slice(last).ok()? {
        BackupLine::Progress { files, bytes, current, .. } => {
            Some(format!("{files} files, {}  {current}", ByteCount(bytes)))
        }
        _ => None,
    }
}

/// What became of one node's part of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeReport {
    /// The order.
    pub order_id: OrderId,
    /// The node.
    pub node_id: NodeId,
    /// Its name.
    pub node: String,
    /// The policy.
    pub policy: String,
    /// What became of the order there.
    pub state: TargetState,
    /// Why it did not end well; empty otherwise.
    pub detail: String,
    /// What the node said.
    #[serde(flatten)]
    pub said: Said,
}

impl NodeReport {
    fn result(&self) -> Cell {
        match self.said.result {
            Some(result) => Cell::new(result.as_str()).toned(match result {
                BackupResult::Ok => Tone::Good,
                BackupResult::Partial => Tone::Warning,
                BackupResult::Failed | BackupResult::Stopped => Tone::Bad,
            }),
            None => summary::state_cell(self.state),
        }
    }

    /// The problem in a sentence, or why the order did not end well.
    fn why(&self) -> &str {
        match self.said.problems.first() {
            Some(problem) if self.state != TargetState::Ok => problem,
            _ => &self.detail,
        }
    }

    fn took(&self) -> Cell {
        let seconds = |millis| format!("{:.1}s", Duration::from_millis(millis).as_secs_f64());
        Cell::maybe(self.said.duration_ms.map(seconds))
    }

    fn snapshot(&self) -> Cell {
        Cell::maybe(self.said.snapshot.as_deref().map(|id| id.get(..8).unwrap_or(id)))
    }

    /// A figure, once the node has said any.
    fn figure(&self, text: impl ToString) -> Cell {
        Cell::maybe(self.said.result.map(|_| text.to_string()))
    }

    fn bad(&self, count: u64) -> Cell {
        self.figure(count).toned(if count > 0 { Tone::Bad } else { Tone::Plain })
    }
}

const SAVED: [Column<NodeReport>; 12] = [
    column("NODE", |report, _| Cell::new(&report.node)),
    column("POLICY", |report, _| Cell::new(&report.policy)),
    column("RESULT", |report, _| report.result()),
    column("SNAPSHOT", |report, _| report.snapshot()),
    column("FILES", |report, _| report.figure(report.said.figures.files)),
    column("NEW", |report, _| report.figure(report.said.figures.files_new)),
    column("CHANGED", |report, _| report.figure(report.said.figures.files_changed)),
    wide("SIZE", |report, _| report.figure(ByteCount(report.said.figures.bytes))),
    column("ADDED", |report, _| report.figure(ByteCount(report.said.figures.stored_bytes))),
    column("UNREAD", |report, _| report.bad(report.said.figures.unread)),
    column("TOOK", |report, _| report.took()),
    column("WHY", |report, _| Cell::new(report.why())),
];

const CHECKED: [Column<NodeReport>; 8] = [
    column("NODE", |report, _| Cell::new(&report.node)),
    column("POLICY", |report, _| Cell::new(&report.policy)),
    column("RESULT", |report, _| report.result()),
    column("VERIFIED", |report, _| report.figure(ByteCount(report.said.figures.stored_bytes))),
    column("OF", |report, _| report.figure(ByteCount(report.said.figures.of_bytes))),
    column("FINDINGS", |report, _| report.bad(report.said.figures.findings)),
    column("TOOK", |report, _| report.took()),
    column("WHY", |report, _| Cell::new(report.why())),
];

const RESTORED: [Column<NodeReport>; 9] = [
    column("NODE", |report, _| Cell::new(&report.node)),
    column("POLICY", |report, _| Cell::new(&report.policy)),
    column("RESULT", |report, _| report.result()),
    column("SNAPSHOT", |report, _| report.snapshot()),
    column("FILES", |report, _| report.figure(report.said.figures.files)),
    column("SIZE", |report, _| report.figure(ByteCount(report.said.figures.bytes))),
    column("UNREAD", |report, _| report.bad(report.said.figures.unread)),
    column("TOOK", |report, _| report.took()),
    column("WHY", |report, _| Cell::new(report.why())),
];

/// What was done, and so which figures are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Files were saved.
    Saved,
    /// A repository was verified.
    Checked,
    /// Files were restored, for good or on trial.
    Restored,
}

/// Prints what became of all nodes: a table for people, and below it what each node names.
///
/// # Errors
/// When it cannot be printed.
pub(crate) fn print(context: &mut Context<'_>, kind: Kind, reports: &[NodeReport]) -> anyhow::Result<()> {
    let columns: &[Column<NodeReport>] = match kind {
        Kind::Saved => &SAVED,
        Kind::Checked => &CHECKED,
        Kind::Restored => &RESTORED,
    };
    render::list(context, reports, columns, |report| report.node.clone())?;
    context.out.flush()?;
    for report in reports {
        for line in lines(report) {
            context.hint(&summary::plain(&format!("  {}: {line}", report.node)))?;
        }
    }
    Ok(())
}

/// What a node names beside its figures, the first of it.
fn lines(report: &NodeReport) -> Vec<String> {
    let said = &report.said;
    // The first problem of a node that failed is in the table.
    let shown = usize::from(report.state != TargetState::Ok);
    let problems = said.problems.iter().skip(shown).cloned();
    let unread = said.unread.iter().map(|unread| format!("{}: {}", unread.path, unread.why));
    let all: Vec<String> = problems.chain(said.findings.iter().cloned()).chain(unread).collect();
    let more = all.len().saturating_sub(LINES_MAX);
    let mut lines: Vec<String> = all.into_iter().take(LINES_MAX).collect();
    if more > 0 {
        lines.push(format!("... and {more} more; -o json has them all"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use campanile_common::api::BackupVerb;

    fn text(lines: &[BackupLine]) -> Vec<u8> {
        lines.iter().flat_map(|line| [serde_json::to_vec(line).unwrap(), b"\n".to_vec()].concat()).collect()
    }

    fn progress_line() -> BackupLine {
        let current = "/etc/hosts".to_owned();
        BackupLine::Progress { files: 3, bytes: 2048, read_bytes: 1024, unread: 0, current }
    }

    #[test]
    fn the_last_line_has_the_figures_and_the_others_what_is_named() {
        let lines = [
            progress_line(),
            BackupLine::Unread { path: "/etc/x".to_owned(), why: "permission denied".to_owned() },
            BackupLine::Hook {
                when: "before".to_owned(),
                command: "true".to_owned(),
                result: "ok".to_owned(),
            },
            BackupLine::Hook {
                when: "after".to_owned(),
                command: "sync".to_owned(),
                result: "exit code 1".to_owned(),
            },
            BackupLine::Finished {
                verb: BackupVerb::Run,
                policy: Some("etc".to_owned()),
                result: BackupResult::Partial,
                repository: None,
                snapshot: Some("ab".repeat(32)),
                duration_ms: 1500,
                figures: BackupFigures { files: 7, unread: 1, ..BackupFigures::default() },
            },
        ];
        let said = parse(&[b"not a line\n".to_vec(), text(&lines)].concat());
        assert_eq!((said.result, said.figures.files), (Some(BackupResult::Partial), 7));
        assert_eq!(said.unread.len(), 1);
        assert_eq!(said.problems, ["hook after `sync`: exit code 1"]);
        assert_eq!(said.duration_ms, Some(1500));
    }

    #[test]
    fn progress_is_told_from_the_last_whole_line_alone() {
        assert_eq!(progress(&text(&[progress_line()])).unwrap(), "3 files, 2.0 KiB  /etc/hosts");
        let mut cut = text(&[progress_line(), progress_line()]);
        cut.truncate(cut.len() - 4);
        assert_eq!(progress(&cut), None);
    }
}
