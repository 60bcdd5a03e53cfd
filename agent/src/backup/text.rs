//! The lines of the program for people. Pure.

use campanile_common::api::{BackupFigures, BackupLine, BackupVerb, EntryLine, KeyLine, SnapshotLine};
use campanile_common::unit::ByteCount;

/// Digits of a name that people need.
const SHORT: usize = 8;

pub(super) fn text(line: &BackupLine) -> String {
    match line {
        BackupLine::Started { verb, policy, target, .. } => {
            let policy = policy.as_deref().map(|policy| format!(" {policy}")).unwrap_or_default();
            format!("{}{policy}: {target}", verb.as_str())
        }
        BackupLine::Progress { files, bytes, read_bytes, unread, current } => {
            let unread = if *unread > 0 { format!(", {unread} unread") } else { String::new() };
            format!(
                "  {files} files, {}, {} read{unread}  {current}",
                ByteCount(*bytes),
                ByteCount(*read_bytes)
            )
        }
        BackupLine::Unread { path, why } => format!("  {path}: {why}"),
        BackupLine::Hook { when, command, result } => format!("  {when} `{command}`: {result}"),
        BackupLine::Snapshot(snapshot) => snapshot_text(snapshot),
        BackupLine::Key(key) => key_text(key),
        BackupLine::Entry(entry) => entry_text(entry),
        BackupLine::Change(change) => format!("{:<8}  {}", change.change, change.path),
        BackupLine::Content { bytes, sha256 } => format!("  {}, SHA-256 {sha256}", ByteCount(*bytes)),
        BackupLine::Finding { what } => format!("  {what}"),
        BackupLine::Problem { message } => format!("  {message}"),
        BackupLine::Finished { verb, result, snapshot, duration_ms, figures, repository, .. } => {
            let seconds = std::time::Duration::from_millis(*duration_ms).as_secs_f64();
            let snapshot =
                snapshot.as_deref().map(|id| format!(", snapshot {}", short(id))).unwrap_or_default();
            let repository = match (verb, repository) {
                (BackupVerb::Key, Some(id)) => format!(", repository {id}"),
                _ => String::new(),
            };
            let (result, done) = (result.as_str(), figures_text(*verb, figures));
            format!("{result}{snapshot}{repository}{done} in {seconds:.1} s")
        }
    }
}

fn short(id: &str) -> &str {
    id.get(..SHORT).unwrap_or(id)
}

fn snapshot_text(snapshot: &SnapshotLine) -> String {
    let SnapshotLine { id, time, node, policy, paths, files, bytes } = snapshot;
    let count = match (files, bytes) {
        (Some(files), Some(bytes)) => format!("{files} files, {}", ByteCount(*bytes)),
        _ => "not counted".to_owned(),
    };
    let policy = policy.as_deref().unwrap_or("-");
    format!("{}  {time}  {node}  {policy}  {count}  {}", short(id), paths.join(" "))
}

fn entry_text(entry: &EntryLine) -> String {
    let EntryLine { path, bytes, mode, modified, target, .. } = entry;
    let target = target.as_deref().map(|target| format!(" -> {target}")).unwrap_or_default();
    format!("{mode:04o}  {:>10}  {modified}  {path}{target}", ByteCount(*bytes).to_string())
}

fn key_text(key: &KeyLine) -> String {
    let KeyLine { id, created, ours, recipients } = key;
    let whose = if *ours { "made by this node" } else { "not known to be of this node" };
    let recipients =
        if recipients.is_empty() { "by its password alone".to_owned() } else { recipients.join(" ") };
    format!("key {}  {created}  {whose}  opens: {recipients}", short(id))
}

fn figures_text(verb: BackupVerb, figures: &BackupFigures) -> String {
    let (files, bytes) = (figures.files, ByteCount(figures.bytes));
    let stored = ByteCount(figures.stored_bytes);
    let unread = match figures.unread {
        0 => String::new(),
        count => format!(", {count} not as they should be"),
    };
    match verb {
        BackupVerb::Run => {
            let (new, changed) = (figures.files_new, figures.files_changed);
            let let_go = let_go_text(figures);
            format!(
                ", {files} files ({new} new, {changed} changed), {bytes}, {stored} stored{unread}{let_go}"
            )
        }
        BackupVerb::Restore | BackupVerb::Dump => format!(", {files} files, {bytes}{unread}"),
        BackupVerb::Drill => {
            let (same, changed) = (figures.live_same, figures.live_changed);
            let findings = figures.findings;
            format!(
                ", {files} files, {bytes}{unread}, {same} the same on the node, {changed} changed since, {findings} findings"
            )
        }
        BackupVerb::Check => {
            format!(", {stored} of {} verified, {} findings", ByteCount(figures.of_bytes), figures.findings)
        }
        BackupVerb::List => format!(", {files} snapshots"),
        BackupVerb::Files | BackupVerb::Diff => format!(", {files} entries{unread}"),
        BackupVerb::Key => String::new(),
    }
}

/// Nothing, on most runs: keep rules are followed once a day.
fn let_go_text(figures: &BackupFigures) -> String {
    let mut text = String::new();
    if figures.forgotten > 0 || figures.freed_bytes > 0 {
        text = format!(", {} snapshots let go, {} freed", figures.forgotten, ByteCount(figures.freed_bytes));
    }
    if figures.stays > 0 {
        text = format!("{text}, {} more stay by the store's rules", figures.stays);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use campanile_common::api::BackupResult;

    #[test]
    fn a_run_ends_with_what_it_did() {
        let figures = BackupFigures {
            files: 3,
            files_new: 1,
            bytes: 1536,
            stored_bytes: 512,
            unread: 1,
            ..BackupFigures::default()
        };
        let line = BackupLine::Finished {
            verb: BackupVerb::Run,
            policy: None,
            result: BackupResult::Partial,
            repository: Some("x".to_owned()),
            snapshot: Some("0123456789".to_owned()),
            duration_ms: 1500,
            figures,
        };
        let said = "partial, snapshot 01234567, 3 files (1 new, 0 changed), 1.5 KiB, 512 B stored, \
                    1 not as they should be in 1.5 s";
        assert_eq!(text(&line), said);
    }

    #[test]
    fn what_went_by_keep_rules_is_told_only_when_something_did() {
        let figures = BackupFigures::default();
        assert_eq!(let_go_text(&figures), "");
        let figures = BackupFigures { forgotten: 2, freed_bytes: 2048, stays: 3, ..figures };
        assert_eq!(
            let_go_text(&figures),
            ", 2 snapshots let go, 2.0 KiB freed, 3 more stay by the store's rules"
        );
        let figures = BackupFigures { forgotten: 0, freed_bytes: 0, ..figures };
        assert_eq!(let_go_text(&figures), ", 3 more stay by the store's rules");
    }
}
