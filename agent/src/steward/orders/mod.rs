//! Takes orders, carries them out once, and remembers.
//!
//! Whatever comes in is decided in `decide`; what is accepted goes to the audit chain and the journal, and then to a
//! guard. Knows nothing of connections: whoever asks attaches to a run and reads it from its beginning.

mod backup;
mod config;
mod decide;
mod finish;
mod start;
mod trust;

use std::collections::BTreeMap;
use std::path::PathBuf;

use campanile_common::api::AuditOutcome;
use campanile_common::authority::{Denial, DenialCode, RunId};
use campanile_common::id::{JournalId, OrderId};
use campanile_common::time::Timestamp;
use campanile_common::wire::v1::order::{Deliver, JournalPosition, Outcome, RunResult};
use campanile_common::wire::v1::request::StewardDescription;

use super::audit::{Act, AuditLog};
use super::config::Keeper;
use super::execute::{Guarded, Launcher};
use super::journal::{Journal, JournalLimits, Record};
use super::output::KeptOutput;
use super::pin::{Pin, PinError};
use super::policy::PolicyFile;
use crate::os::random;
use crate::os::stopwatch::Stopwatch;
use crate::os::user::User;
use decide::{Decision, Situation, decide};
use finish::Ending;

/// Orders that run at once; more are denied.
const RUNS_MAX: usize = 16;
const SET_BACK: &str =
    "the aggregator knows more of this node's journal than is here: it may have been started";

/// Where things are.
#[derive(Debug, Clone)]
pub(super) struct Places {
    pub(super) state_dir: PathBuf,
    pub(super) policy: PathBuf,
    pub(super) systemctl: PathBuf,
}

/// An order that runs.
#[derive(Debug)]
pub(super) struct Run {
    /// Who ordered it.
    actor: String,
    pub(super) guarded: Guarded,
    pub(super) output: KeptOutput,
    started: Timestamp,
    is_cancelled: bool,
    /// It plans or applies a generation.
    is_config: bool,
}

/// What follows a delivery.
#[derive(Debug)]
pub(super) enum Answer {
    /// The run is in the journal, which stands there: its output and outcome are to be told.
    Attach(JournalPosition),
    /// This is all there is.
    Tell(Box<Outcome>),
}

/// All orders of this node.
#[derive(Debug)]
pub(super) struct Orders {
    places: Places,
    launcher: Launcher,
    user: User,
    pin: Result<Pin, PinError>,
    pub(super) policy: PolicyFile,
    pub(super) audit: AuditLog,
    journal: Result<Journal, String>,
    opened: Timestamp,
    runs: BTreeMap<RunId, Run>,
    /// Runs that ended and could not be recorded yet.
    unrecorded: Vec<Ending>,
    /// When one could not be recorded.
    refused_by_disk: Option<Stopwatch>,
    is_stopping: bool,
}

impl Orders {
    /// Opens everything in the state folder. What is damaged stays closed and says so in each answer; what ran when
    /// the steward last ended is recorded as indeterminate.
    pub(super) fn open(places: Places, launcher: Launcher, user: User, now: Timestamp) -> Self {
        let (mut audit, cut) = AuditLog::open(&places.state_dir, now);
        let pin = Pin::load(&places.state_dir);
        // A journal is made with the first entry of the chain: where there are entries and no journal, it was lost.
        let is_lost = !audit.is_empty();
        let opened =
            Journal::open(&places.state_dir, JournalLimits::default(), new_journal_id(), now, is_lost);
        let mut acts = vec![local("steward.start", "steward", AuditOutcome::Ok, described(&pin))];
        acts.extend(cut.map(|cut| local("audit.mend", "audit", AuditOutcome::Failed, cut)));
        let journal = match opened {
            Ok((journal, opening)) => {
                let id = journal.position().journal;
                if opening.is_new && is_lost {
                    let detail = "there was none: what became of earlier orders is unknown".to_owned();
                    acts.push(local("journal.lose", &format!("journal:{id}"), AuditOutcome::Failed, detail));
                }
                let target = format!("journal:{id}");
                acts.extend(opening.cut.map(|cut| local("journal.mend", &target, AuditOutcome::Failed, cut)));
                Ok(journal)
            }
            Err(error) => {
                acts.push(local("journal.refuse", "journal", AuditOutcome::Failed, error.to_string()));
                Err(error.to_string())
            }
        };
        if let Err(error) = audit.append(now, acts) {
            tracing::error!(%error, "orders are refused");
        }
        let policy = PolicyFile::new(&places.policy);
        let mut orders = Self {
            places,
            launcher,
            user,
            pin,
            policy,
            audit,
            journal,
            opened: now,
            runs: BTreeMap::new(),
            unrecorded: Vec::new(),
            refused_by_disk: None,
            is_stopping: false,
        };
        orders.policy.look();
        orders.end_interrupted();
        orders.record_endings(now);
        orders
    }

    /// Answers a delivery, and starts what it orders if that is to be.
    pub(super) fn deliver(
        &mut self,
        deliver: &Deliver,
        config: &mut Keeper,
        now: Timestamp,
    ) -> (RunId, Answer) {
        let order = match deliver.delivery.order.read() {
            Ok(order) => order,
            Err(error) => {
                // Nobody can name what cannot be read: the run is called by zeros.
                let run = RunId { order: OrderId::from_bytes([0; 16]), occurrence: None };
                let denial = Denial { code: DenialCode::Malformed, reason: error.to_string() };
                return (run, self.deny(run, denial, now));
            }
        };
        let run = RunId { order: order.id, occurrence: deliver.delivery.occurrence };
        self.look_around(now);
        let mut decision = decide(deliver, &order, &self.situation(now));
        let journal = self.journal.as_ref().ok();
        if let Some(heard) = deliver.journal.filter(|heard| journal.is_some_and(|own| own.is_behind(*heard)))
        {
            match decision {
                // Only with an order that could start: nobody else's word makes this node forget its journal.
                Decision::Accepted(_) => {
                    self.notice_set_back(heard, now);
                    decision = decide(deliver, &order, &self.situation(now));
                }
                Decision::Unknown => decision = Decision::Indeterminate(SET_BACK.to_owned()),
                Decision::Known | Decision::Indeterminate(_) | Decision::Denied(_) => {}
            }
        }
        let answer = match decision {
            Decision::Known => match &self.journal {
                Ok(journal) => Answer::Attach(journal.position()),
                Err(_) => self.tell(run, RunResult::Unknown, now),
            },
            Decision::Unknown => self.tell(run, RunResult::Unknown, now),
            Decision::Indeterminate(reason) => {
                let act = refused("order.indeterminate", &target(run), format!("not known: {reason}"));
                self.audit.note(now, act);
                self.tell(run, RunResult::Indeterminate { reason }, now)
            }
            Decision::Denied(denial) => self.deny(run, denial, now),
            Decision::Accepted(verified) => self.start(&verified, config, now),
        };
        (run, answer)
    }

    fn situation(&self, now: Timestamp) -> Situation<'_> {
        Situation {
            pin: self.pin.as_ref().map_err(ToString::to_string),
            policy: self.policy.policy(),
            policy_problem: self.policy.problem(),
            steward_user: &self.user.name,
            journal: self.journal.as_ref().map_err(String::as_str),
            opened: self.opened,
            now,
        }
    }

    /// Takes note of what changed on disk since.
    pub(super) fn look_around(&mut self, now: Timestamp) {
        let is_outdated = match &self.pin {
            Ok(pin) => pin.is_outdated(),
            Err(_) => true,
        };
        if is_outdated {
            let fresh = Pin::load(&self.places.state_dir);
            if fresh.is_ok() || self.pin.is_ok() {
                self.audit.note(now, local("pin.load", "steward", AuditOutcome::Ok, described(&fresh)));
            }
            self.pin = fresh;
        }
        if self.policy.look() {
            let detail = self.policy.source().to_owned();
            self.audit.note(now, local("policy.load", "policy", AuditOutcome::Ok, detail));
        }
    }

    fn notice_set_back(&mut self, heard: JournalPosition, now: Timestamp) {
        let Ok(journal) = &mut self.journal else { return };
        if !journal.is_behind(heard) {
            return;
        }
        let before = journal.position();
        let begun = journal.begin_anew_after(heard.journal, new_journal_id(), now);
        let detail = format!(
            "the aggregator knows record {} of journal {}, here is record {}: what became of earlier orders is unknown",
            heard.sequence, heard.journal, before.sequence
        );
        let target = format!("journal:{}", before.journal);
        let written =
            self.audit.append(now, vec![local("journal.set_back", &target, AuditOutcome::Failed, detail)]);
        if let Err(error) = begun {
            // Nothing may be started on the word of a journal that is known to be wrong.
            self.journal = Err(error.to_string());
        }
        if let Err(error) = written {
            tracing::error!(%error, "a set back journal is not in the audit chain");
        }
    }

    fn deny(&mut self, run: RunId, denial: Denial, now: Timestamp) -> Answer {
        let detail = format!("{}: {}", denial.code.as_str(), denial.reason);
        tracing::info!(%run, reason = %denial, "order denied");
        self.audit.note(now, refused("order.denied", &target(run), detail));
        self.tell(run, RunResult::Denied(denial), now)
    }

    fn tell(&self, run: RunId, result: RunResult, now: Timestamp) -> Answer {
        Answer::Tell(Box::new(Outcome {
            run,
            result,
            started: None,
            finished: now,
            output_bytes: 0,
            output_kept: 0,
            journal: self.position(),
            // Its entry is not durable yet: refusals wait for no disk.
            audit: None,
        }))
    }

    fn position(&self) -> Option<JournalPosition> {
        let journal = self.journal.as_ref().ok()?;
        journal.failure().is_none().then(|| journal.position())
    }

    /// The aggregator has the outcome of a run: its output may go.
    pub(super) fn reported(&mut self, run: RunId, now: Timestamp) {
        let Ok(journal) = &mut self.journal else { return };
        if !journal.known(run).is_some_and(|known| known.is_unreported()) {
            return;
        }
        let written = journal.append(&[Record::Reported(run)]).and_then(|_| journal.tend(now));
        if let Err(error) = written {
            // It is told again when it is asked for again.
            tracing::warn!(%run, %error, "a reported run is not in the journal");
        }
    }

    /// The outcome of a run that has ended.
    pub(super) fn outcome(&self, run: RunId) -> Option<&Outcome> {
        self.journal.as_ref().ok()?.known(run)?.finished.as_ref().map(|finished| &finished.outcome)
    }

    /// The output of a run that has ended.
    pub(super) fn output(&self, run: RunId) -> KeptOutput {
        let Ok(journal) = &self.journal else { return KeptOutput::default() };
        journal.output(run).unwrap_or_else(|error| {
            tracing::error!(%run, %error, "output of an order is lost");
            KeptOutput::default()
        })
    }

    /// What runs.
    pub(super) fn runs(&self) -> &BTreeMap<RunId, Run> {
        &self.runs
    }

    /// A run, to be read from.
    pub(super) fn run_mut(&mut self, run: RunId) -> Option<&mut Run> {
        self.runs.get_mut(&run)
    }

    /// What would be accepted and why.
    pub(super) fn describe(&mut self, now: Timestamp) -> StewardDescription {
        self.look_around(now);
        let mut source = self.policy.source().to_owned();
        let problems = [
            self.pin.as_ref().err().map(ToString::to_string),
            self.audit.failure().map(str::to_owned),
            self.journal.as_ref().err().cloned(),
            self.journal.as_ref().ok().and_then(|journal| journal.failure().map(str::to_owned)),
        ];
        for problem in problems.into_iter().flatten() {
            source.push_str(&format!("; no order is carried out: {problem}"));
        }
        let pin = self.pin.as_ref().ok();
        StewardDescription {
            policy: self.policy.policy().clone(),
            policy_source: source,
            authority_version: pin.map_or(0, |pin| pin.authority.document().version),
            catalogue_version: pin
                .and_then(|pin| pin.catalogue.as_ref())
                .map(|catalogue| catalogue.document().version),
            user: self.user.name.clone(),
            has_units: self.launcher.systemd_run.is_some(),
            journal: self.position(),
            audit: self.audit.position(),
            running: u32::try_from(self.runs.len()).unwrap_or(u32::MAX),
        }
    }
}

fn new_journal_id() -> JournalId {
    JournalId::from_bytes(random::bytes())
}

fn target(run: RunId) -> String {
    format!("order:{run}")
}

fn described(pin: &Result<Pin, PinError>) -> String {
    match pin {
        Ok(pin) => format!(
            "version {}, node {}, authority version {}",
            env!("CARGO_PKG_VERSION"),
            pin.node,
            pin.authority.document().version
        ),
        Err(error) => error.to_string(),
    }
}

/// Of this process.
pub(super) fn local(action: &'static str, target: &str, outcome: AuditOutcome, detail: String) -> Act {
    Act { actor: "local".to_owned(), action, target: target.to_owned(), outcome, detail }
}

/// Of whoever came through the aggregator.
pub(super) fn refused(action: &'static str, target: &str, detail: String) -> Act {
    Act {
        actor: "aggregator".to_owned(),
        action,
        target: target.to_owned(),
        outcome: AuditOutcome::Denied,
        detail,
    }
}

/// Of whoever came through the aggregator, and was let.
pub(super) fn accepted(action: &'static str, target: &str, detail: String) -> Act {
    Act { outcome: AuditOutcome::Ok, ..refused(action, target, detail) }
}
