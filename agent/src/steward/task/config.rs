//! The configuration's part of a turn: offers that came, orders that wait, programs that run, what is told.

use std::time::Duration;

use campanile_common::api::AuditOutcome;
use campanile_common::authority::{Action, ConfigMode};
use campanile_common::id::Digest;
use campanile_common::time::Timestamp;
use campanile_common::wire::v1::config::{ConfigOffer, PartPiece};
use campanile_common::wire::v1::order::Deliver;

use super::Task;
use crate::steward::audit::Act;
use crate::steward::config::{End, Program, Taken, Work};
use crate::steward::orders::{accepted, local, refused};
use crate::steward::protocol::{StewardEvent, Tag};

/// How often the files of a program that runs are looked at: its guardian is started, a new session is asked for.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// Orders for the configuration that wait; each is of one connection that delivers one at a time.
const WAITING_MAX: usize = 16;

fn target(digest: Digest) -> String {
    format!("generation:{digest}")
}

impl Task {
    /// Tells a new connection what it did not ask for.
    pub(super) fn greet(&mut self) {
        self.tell_news();
        let Some(number) = self.server.connections().keys().next_back().copied() else { return };
        self.tell(number, &StewardEvent::Config(Box::new(self.config.report().clone())));
        if let Some(report) = self.backups.told() {
            let event = StewardEvent::Proof(Box::new(report.clone()));
            self.tell(number, &event);
        }
        if let Some(nonce) = self.config.proof.asked() {
            self.tell(number, &StewardEvent::Reach(nonce));
        }
    }

    /// Takes an order, or lets it wait for something of the configuration that is soon over.
    pub(super) fn deliver(&mut self, number: u64, deliver: Box<Deliver>, now: Timestamp) {
        let is_config = || {
            let order = deliver.delivery.order.read();
            order.is_ok_and(|order| matches!(order.action, Action::Config { .. }))
        };
        if self.must_wait() && self.waiting.len() < WAITING_MAX && is_config() {
            self.waiting.push((number, deliver));
            return;
        }
        let (run, answer) = self.orders.deliver(&deliver, &mut self.config, now);
        if let Some(connection) = self.server.get_mut(number) {
            connection.answer(run, answer);
        }
    }

    pub(super) fn take_offer(&mut self, number: u64, tag: Tag, offer: ConfigOffer, now: Timestamp) {
        let digest = offer.generation;
        let permitted = self.orders.permit_config(now).map_err(|denial| denial.to_string());
        let taken = permitted.and_then(|()| {
            let (authority, node) = self.orders.pinned()?;
            let trust = self.config.trust(authority, node)?;
            Ok(self.config.offer(number, tag, offer, trust))
        });
        self.taken(number, taken.unwrap_or_else(|problem| Taken::Refused(tag, digest, problem)), now);
    }

    pub(super) fn take_piece(&mut self, number: u64, tag: Tag, piece: &PartPiece, now: Timestamp) {
        let taken = self.orders.pinned().and_then(|(authority, node)| {
            let trust = self.config.trust(authority, node)?;
            Ok(self.config.piece(number, tag, piece, trust))
        });
        self.taken(number, taken.unwrap_or_else(|problem| Taken::Refused(tag, piece.digest, problem)), now);
    }

    fn taken(&mut self, number: u64, taken: Taken, now: Timestamp) {
        match taken {
            Taken::Nothing => {}
            Taken::Tell(event) => self.tell(number, &event),
            Taken::Ready(tag, verified) => {
                let generation = verified.generation();
                let detail = format!(
                    "{} {} signed by {}",
                    generation.purpose.as_str(),
                    generation.number,
                    verified.operators().join(", ")
                );
                self.orders.audit.note(now, accepted("config.take", &target(verified.digest()), detail));
                self.tell(number, &StewardEvent::Ready(tag));
                if !self.is_config_busy()
                    && let Ok((authority, node)) = self.orders.pinned()
                {
                    self.config.collect_garbage(authority, node);
                }
            }
            Taken::Refused(tag, digest, reason) => {
                tracing::warn!(generation = %digest, reason, "a generation is refused");
                self.orders.audit.note(now, refused("config.refuse", &target(digest), reason.clone()));
                self.tell(number, &StewardEvent::Refused(tag, reason));
            }
        }
    }

    /// A session that began after it was asked for stands, says `run`.
    pub(super) fn take_proof(&mut self, nonce: u64, now: Timestamp) {
        match self.config.proof.confirm(nonce) {
            Ok(true) => {
                let detail = "the aggregator was reached by a new session".to_owned();
                self.orders.audit.note(now, accepted("config.confirm", "config", detail));
            }
            Ok(false) => {}
            // It is undone then, as without the session.
            Err(error) => tracing::error!(%error, "a change of the configuration cannot be confirmed"),
        }
    }

    /// True while an order for the configuration waits; one that comes while another runs is denied.
    fn must_wait(&self) -> bool {
        !self.orders.has_config() && self.config.must_wait()
    }

    fn is_config_busy(&self) -> bool {
        self.config.program.is_some() || self.orders.has_config()
    }

    /// How long the configuration needs no turn.
    pub(super) fn config_timeout(&self) -> Option<Duration> {
        if self.is_config_busy() {
            return Some(LOOK_INTERVAL);
        }
        let reaping = self.config.proof.has_guardians().then_some(super::BUSY_INTERVAL);
        [self.config.idle(), reaping].into_iter().flatten().min()
    }

    /// Nothing new begins, and what runs without an order is stopped.
    pub(super) fn stop_config(&mut self) {
        self.waiting.clear();
        if let Some(program) = &self.config.program {
            program.guarded.stop();
        }
    }

    /// What changed since the last turn is acted on.
    pub(super) fn tend_config(&mut self, is_stopping: bool, now: Timestamp) {
        if let Some(mut program) = self.config.program.take() {
            if program.guarded.is_over() {
                self.program_ended(&program, now);
            } else {
                self.config.program = Some(program);
            }
        }
        let had_order = std::mem::replace(&mut self.had_config_order, self.orders.has_config());
        if had_order && !self.had_config_order {
            self.backups.look_soon();
            self.config.ended(None);
        }
        self.tend_proof(now);
        if !self.is_config_busy() && !is_stopping {
            self.begin_work(now);
        }
        if !is_stopping && !self.must_wait() {
            for (number, deliver) in std::mem::take(&mut self.waiting) {
                self.deliver(number, deliver, now);
            }
        }
        self.tell_news();
    }

    fn tend_proof(&mut self, now: Timestamp) {
        let arguments = self.config.guardian_arguments();
        match self.config.proof.guard(&self.launcher, &arguments) {
            Ok(true) => {
                let detail = "undone by itself, unless the aggregator is reached anew".to_owned();
                self.orders.audit.note(now, local("config.guard", "config", AuditOutcome::Ok, detail));
            }
            Ok(false) => {}
            Err(error) => tracing::error!(%error, "the guardian of a change cannot be started"),
        }
        if let Some(nonce) = self.config.proof.newly_asked() {
            tracing::info!(nonce, "a new session to the aggregator is asked for");
            let numbers: Vec<u64> = self.server.connections().keys().copied().collect();
            for number in numbers {
                self.tell(number, &StewardEvent::Reach(nonce));
            }
        }
    }

    fn begin_work(&mut self, now: Timestamp) {
        let is_permitted = self.orders.permit_config(now).is_ok();
        // Those that wait for an order go first, once nothing has to be undone.
        let Some((work, arguments)) = self.config.next_work(is_permitted && self.waiting.is_empty()) else {
            return;
        };
        if let Work::Follow(number, digest) = &work
            && let Err(reason) = self.ready_to_follow(*digest)
        {
            let reason = format!("generation {number} is not followed: {reason}");
            tracing::warn!(reason, "configuration");
            return self.orders.audit.note(now, refused("config.refuse", &target(*digest), reason));
        }
        if let Some(act) = begun(&work)
            && let Err(error) = self.orders.audit.append(now, vec![act])
        {
            return tracing::error!(%error, "nothing is changed without its entry in the audit chain");
        }
        match Program::start(&self.launcher, work, arguments, self.orders.policy.policy()) {
            Ok(program) => self.config.program = Some(program),
            Err(error) => tracing::error!(%error, "a program of the configuration cannot be started"),
        }
    }

    fn ready_to_follow(&mut self, digest: Digest) -> Result<(), String> {
        let (authority, _) = self.orders.pinned()?;
        let mode = ConfigMode::Apply { is_confirmed: false, confirm_within_s: 0 };
        let verified = self.config.permit(digest, mode, authority).map_err(|denial| denial.reason)?;
        self.config.accept(&verified)
    }

    fn program_ended(&mut self, program: &Program, now: Timestamp) {
        let end = program.end();
        self.backups.look_soon();
        self.config.ended(Some(&program.work));
        if let End::Failed(reason) = &end {
            tracing::warn!(reason, "this node {}: that failed", program.work);
        }
        let (action, outcome, detail) = match (&program.work, end) {
            (Work::Check, End::Done | End::Reverted) => return,
            (Work::Follow(..), End::Done) => ("config.applied", AuditOutcome::Ok, String::new()),
            (Work::Follow(..), End::Reverted) => {
                ("config.reverted", AuditOutcome::Failed, self.config.report().detail.clone())
            }
            (Work::Recover, End::Done | End::Reverted) => {
                ("config.recovered", AuditOutcome::Ok, String::new())
            }
            (Work::Follow(..) | Work::Recover | Work::Check, End::Failed(reason)) => {
                ("config.failed", AuditOutcome::Failed, reason)
            }
        };
        let target = match &program.work {
            Work::Follow(_, digest) => target(*digest),
            Work::Check | Work::Recover => "config".to_owned(),
        };
        self.orders.audit.note(now, local(action, &target, outcome, detail));
    }

    /// Tells every connection how this node stands to its configuration, when that has changed.
    fn tell_news(&mut self) {
        let denied = self.orders.config_denial();
        let Some(report) = self.config.news(denied) else { return };
        let event = StewardEvent::Config(Box::new(report.clone()));
        let numbers: Vec<u64> = self.server.connections().keys().copied().collect();
        for number in numbers {
            self.tell(number, &event);
        }
    }
}

/// The entry of something that is about to begin; looking has none.
fn begun(work: &Work) -> Option<Act> {
    match work {
        Work::Follow(number, digest) => {
            let detail = format!("release {number}, without an order of its own");
            Some(accepted("config.follow", &target(*digest), detail))
        }
        Work::Recover => {
            let detail = "an apply was cut: what it had changed is undone".to_owned();
            Some(local("config.recover", "config", AuditOutcome::Ok, detail))
        }
        Work::Check => None,
    }
}
