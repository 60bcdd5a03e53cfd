//! Looks at units and their journals for the aggregator, as far as the policy lets it.
//!
//! Each look is a program under guard, so that it ends with the connection that asked. A journal is read only as fast
//! as it is taken, and no faster than a rate.

use std::path::PathBuf;
use std::time::Duration;

use campanile_common::authority::{Policy, is_unit_name};
use campanile_common::time::Timestamp;
use campanile_common::wire::v1::order::OutputStream;
use campanile_common::wire::v1::request::{JOURNAL_CHUNK_BYTES_MAX, JOURNAL_LINES_MAX, UnitState};

use super::execute::{Ended, GuardEnd, GuardSpec, Guarded, Launcher};
use super::protocol::{JournalQuery, StewardEvent, Tag};
use crate::os::stopwatch::Stopwatch;

/// Looks at once; more are refused.
pub(super) const OBSERVATIONS_MAX: usize = 4;
/// Bytes of a journal a second: a node's uplink is for its heartbeat first.
const BYTES_A_SECOND: usize = 512 * 1024;
/// Longest answer of `systemctl show`, and of what a program complains about.
const TEXT_BYTES_MAX: usize = 64 * 1024;
const UNIT_DEADLINE_MS: u32 = 10_000;
/// A journal that is not followed is read in a minute, or has too much before what was asked for.
const JOURNAL_DEADLINE_MS: u32 = 60_000;
const SECOND: Duration = Duration::from_secs(1);
const PROPERTIES: &str = "Id,Description,LoadState,ActiveState,SubState,UnitFileState,MainPID,NRestarts,StateChangeTimestamp,Result";

/// The programs that look.
#[derive(Debug, Clone)]
pub(super) struct Programs {
    pub(super) systemctl: PathBuf,
    pub(super) journalctl: PathBuf,
}

#[derive(Debug)]
enum Subject {
    Unit { unit: String, text: Vec<u8> },
    Journal,
}

/// One look.
#[derive(Debug)]
pub(super) struct Observation {
    /// Which connection asked, and as what.
    pub(super) connection: u64,
    pub(super) tag: Tag,
    subject: Subject,
    pub(super) guarded: Guarded,
    complaint: Vec<u8>,
    /// Bytes read since `second` began.
    read: usize,
    second: Stopwatch,
}

/// What a request to look comes to at once: an answer, or a look under way.
pub(super) enum Look {
    /// This is the answer.
    Answer(StewardEvent),
    /// The answers come.
    UnderWay(Box<Observation>),
}

fn permit(tag: Tag, unit: &str, policy: &Policy) -> Result<(), Box<StewardEvent>> {
    if !is_unit_name(unit) {
        let reason = format!("`{unit}` is no name of a unit; give it in full, e.g. nginx.service");
        return Err(Box::new(StewardEvent::Refused(tag, reason)));
    }
    policy.permit_observing(unit).map_err(|denial| Box::new(StewardEvent::Denied(tag, denial)))
}

fn begin(
    launcher: &Launcher,
    connection: u64,
    tag: Tag,
    subject: Subject,
    argv: Vec<String>,
    timeout_ms: Option<u32>,
) -> Look {
    let spec = GuardSpec {
        argv,
        user: None,
        stdin: Vec::new(),
        order: String::new(),
        timeout_ms,
        limits: None,
        outlives_steward: false,
    };
    match launcher.start(spec, None) {
        Ok(guarded) => Look::UnderWay(Box::new(Observation {
            connection,
            tag,
            subject,
            guarded,
            complaint: Vec::new(),
            read: 0,
            second: Stopwatch::start(),
        })),
        Err(error) => {
            Look::Answer(StewardEvent::Refused(tag, format!("the guard cannot be started: {error}")))
        }
    }
}

/// Looks at the state of a unit.
pub(super) fn unit(
    programs: &Programs,
    launcher: &Launcher,
    policy: &Policy,
    connection: u64,
    tag: Tag,
    unit: String,
) -> Look {
    if let Err(event) = permit(tag, &unit, policy) {
        return Look::Answer(*event);
    }
    let systemctl = programs.systemctl.to_string_lossy().into_owned();
    let argv = [&systemctl, "show", "--no-pager", "--timestamp=unix", "-p", PROPERTIES, "--", &unit];
    let argv = argv.map(str::to_owned).into();
    begin(launcher, connection, tag, Subject::Unit { unit, text: Vec::new() }, argv, Some(UNIT_DEADLINE_MS))
}

/// Looks at the journal of a unit.
pub(super) fn journal(
    programs: &Programs,
    launcher: &Launcher,
    policy: &Policy,
    connection: u64,
    tag: Tag,
    query: &JournalQuery,
) -> Look {
    if let Err(event) = permit(tag, &query.unit, policy) {
        return Look::Answer(*event);
    }
    let mut argv = vec![programs.journalctl.to_string_lossy().into_owned()];
    argv.extend(["--no-pager", "--quiet", "-o", "short-iso", "-u"].map(str::to_owned));
    argv.extend([query.unit.clone(), "-n".to_owned(), query.lines.min(JOURNAL_LINES_MAX).to_string()]);
    argv.extend(query.since_s.map(|since| format!("--since=-{since}s")));
    argv.extend(query.is_followed.then(|| "-f".to_owned()));
    let timeout_ms = (!query.is_followed).then_some(JOURNAL_DEADLINE_MS);
    begin(launcher, connection, tag, Subject::Journal, argv, timeout_ms)
}

impl Observation {
    /// True when more may be read of it now.
    pub(super) fn may_read(&self) -> bool {
        self.read < BYTES_A_SECOND || self.second.elapsed() >= SECOND
    }

    /// Reads some; the pieces that came of it.
    pub(super) fn read(&mut self, stream: OutputStream) -> Vec<StewardEvent> {
        if self.second.elapsed() >= SECOND {
            (self.read, self.second) = (0, Stopwatch::start());
        }
        let (tag, mut pieces) = (self.tag, Vec::new());
        let (subject, complaint, read) = (&mut self.subject, &mut self.complaint, &mut self.read);
        self.guarded.read(stream, 1, |bytes| {
            *read += bytes.len();
            match (stream, &mut *subject) {
                (OutputStream::Stderr, _) => keep(complaint, bytes),
                (OutputStream::Stdout, Subject::Unit { text, .. }) => keep(text, bytes),
                (OutputStream::Stdout, Subject::Journal) => {
                    let chunks = bytes.chunks(JOURNAL_CHUNK_BYTES_MAX);
                    pieces.extend(chunks.map(|chunk| StewardEvent::Journal(tag, chunk.to_vec())));
                }
            }
        });
        pieces
    }

    /// The last answer, once it is over.
    pub(super) fn last_answer(&self) -> StewardEvent {
        let said = String::from_utf8_lossy(&self.complaint);
        let problem = match self.guarded.ended() {
            Ended::Told(GuardEnd::Exited { code: 0 }) => None,
            Ended::Told(GuardEnd::NotStarted { reason }) => Some(format!(
                "{reason}; the settings steward.systemctl and steward.journalctl name the programs"
            )),
            Ended::Told(GuardEnd::Exited { code }) => {
                Some(format!("it ended with exit code {code}: {}", said.trim()))
            }
            Ended::Told(GuardEnd::TimedOut) => Some("it took too long and was stopped".to_owned()),
            Ended::Told(GuardEnd::Signalled { signal }) => Some(format!("signal {signal} ended it")),
            Ended::Told(GuardEnd::Stopped) => Some("it was stopped".to_owned()),
            Ended::Unclean | Ended::NeverBegan | Ended::Silent => {
                Some(format!("its guard ended: {}", said.trim()))
            }
        };
        match (problem, &self.subject) {
            (Some(problem), _) => StewardEvent::Refused(self.tag, problem),
            (None, Subject::Journal) => StewardEvent::Ended(self.tag),
            (None, Subject::Unit { unit, text }) => {
                StewardEvent::Unit(self.tag, parse(unit, &String::from_utf8_lossy(text)))
            }
        }
    }
}

fn keep(text: &mut Vec<u8>, bytes: &[u8]) {
    let room = TEXT_BYTES_MAX - text.len();
    text.extend_from_slice(&bytes[..bytes.len().min(room)]);
}

/// Reads what `systemctl show` prints; what it does not print is empty.
fn parse(unit: &str, text: &str) -> UnitState {
    let field = |name: &str| {
        let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        found.unwrap_or_default().to_owned()
    };
    // `@1700000000` where it is understood, a date for people on older ones.
    let since = field("StateChangeTimestamp");
    let since = since.strip_prefix('@').and_then(|seconds| seconds.parse::<u64>().ok());
    UnitState {
        unit: unit.to_owned(),
        description: field("Description"),
        load: field("LoadState"),
        active: field("ActiveState"),
        sub: field("SubState"),
        enabled: field("UnitFileState"),
        main_pid: field("MainPID").parse().ok().filter(|pid| *pid > 0),
        restarts: field("NRestarts").parse().unwrap_or(0),
        since: since.map(|seconds| Timestamp::from_millis(seconds.saturating_mul(1000))),
        result: field("Result"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_systemctl_shows_is_read_and_what_is_missing_is_empty() {
        let text = "Description=A server = fine\nLoadState=loaded\nActiveState=active\nSubState=running\n\
                    MainPID=71\nNRestarts=2\nStateChangeTimestamp=@1700000000\nResult=success\n";
        let state = parse("a.service", text);
        assert_eq!(state.description, "A server = fine");
        assert_eq!((state.main_pid, state.restarts, state.enabled.as_str()), (Some(71), 2, ""));
        assert_eq!(state.since, Some(Timestamp::from_millis(1_700_000_000_000)));
        assert_eq!(parse("a.service", "MainPID=0\n").main_pid, None);
    }
}
