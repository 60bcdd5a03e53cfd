//! Schedules: standing orders that run again and again.
//!
//! `when` tells due times, `plan` decides, `task` waits and hands due runs to whoever dispatches orders. A schedule
//! carries a grant: a standing order that operators signed (or that the catalogue permits), narrow and expiring, which
//! every node verifies at every run.
//! Invariants: that a run was handed over is on disk before it is, so a due time runs at most once, whatever crashes;
//! runs of one schedule are never due closer to each other than its grant says.

mod grant;
mod plan;
mod record;
mod settle;
mod task;
#[cfg(test)]
mod tests;
mod when;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use campanile_common::api::{
    AuditOutcome, DispatchOptions, Schedule, ScheduleRequest, SignedText, TargetCounts,
};
use campanile_common::authority::{Authority, Catalogue, SignedOrder};
use campanile_common::id::NodeId;
use campanile_common::time::Timestamp;
use tokio::sync::{Notify, oneshot, watch};

use self::record::{Held, ScheduleRecord};
use self::when::When;
use crate::audit::{self, Audit};
use crate::event::Events;
use crate::os::clock::Clock;
use crate::state::{Committed, Compare, Keys, Range, StateError, Store, Write, from_json, to_json};

pub use self::task::ScheduleTask;

/// Most schedules.
const SCHEDULES_MAX: usize = 256;
/// Longest name, in bytes.
const NAME_BYTES_MAX: usize = 64;
/// Most nodes of a grant whose targets are a tree.
const NODES_MAX: usize = 100_000;
/// Longest splay: a day.
const SPLAY_SECONDS_MAX: u32 = 86_400;

/// A run that is due: to be dispatched now.
#[derive(Debug)]
pub struct DueRun {
    /// The schedule.
    pub name: String,
    /// The standing order.
    pub grant: SignedOrder,
    /// The leaves, where its targets are a tree.
    pub nodes: Vec<NodeId>,
    /// Due time, which names the run.
    pub occurrence: Timestamp,
    /// How it is spread over its targets.
    pub dispatch: DispatchOptions,
    /// Nodes start spread over so long.
    pub splay: Duration,
    /// On whose behalf, as audited: `schedule:NAME`, or whoever ran it by hand.
    pub by: String,
    /// Gets the counts once every target is accounted for; dropped when the run was not taken.
    pub over: oneshot::Sender<TargetCounts>,
}

/// Why a schedule cannot be made, changed or run.
#[derive(Debug, thiserror::Error)]
pub enum ScheduleError {
    /// The request is not acceptable.
    #[error("{0}")]
    Invalid(String),
    /// The grant lacks signatures.
    #[error("{0}")]
    Signatures(String),
    /// No such schedule.
    #[error("no schedule `{0}`")]
    NotFound(String),
    /// The name is taken.
    #[error("a schedule `{0}` exists; remove it first")]
    Exists(String),
    /// It cannot run now, or was changed at the same moment.
    #[error("{0}")]
    Conflict(String),
    /// The store failed.
    #[error("schedules cannot be stored")]
    State(#[from] StateError),
}

/// What schedules are held against when they are made.
#[derive(Debug, Clone)]
pub struct InForce {
    /// The authority.
    pub authority: watch::Receiver<Arc<Authority>>,
    /// The catalogue.
    pub catalogue: watch::Receiver<Option<Arc<Catalogue>>>,
}

/// Handle of the schedules. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Schedules {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    store: Store,
    keys: Keys,
    audit: Audit,
    events: Events,
    clock: Clock,
    in_force: InForce,
    held: Mutex<BTreeMap<String, Held>>,
    /// Runs that somebody asked for, which the task hands over.
    asked: Mutex<Vec<(String, Timestamp, String)>>,
    /// The task looks again.
    changed: Notify,
    /// Changes take turns, or a run and a removal would meet.
    turn: tokio::sync::Mutex<()>,
}

impl Schedules {
    /// Reads the schedules from the store.
    ///
    /// # Errors
    /// When the store fails or a record is damaged.
    pub async fn open(
        (store, keys): (Store, Keys),
        audit: Audit,
        events: Events,
        clock: Clock,
        in_force: InForce,
    ) -> Result<Self, StateError> {
        let range = Range {
            prefix: keys.prefix("schedule"),
            after: None,
            limit: 2 * SCHEDULES_MAX,
            descending: false,
        };
        let mut held = BTreeMap::new();
        for entry in store.range(range).await? {
            let record: ScheduleRecord = from_json(&entry.key, &entry.value)?;
            held.insert(record.name.clone(), Held::of(&entry.key, record, entry.revision)?);
        }
        let (held, asked) = (Mutex::new(held), Mutex::default());
        let (changed, turn) = (Notify::new(), tokio::sync::Mutex::new(()));
        let shared = Shared { store, keys, audit, events, clock, in_force, held, asked, changed, turn };
        Ok(Self { shared: Arc::new(shared) })
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<String, Held>> {
        // Every change under the lock is one insertion or removal.
        self.shared.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn key(&self, name: &str) -> String {
        self.shared.keys.of("schedule", name)
    }

    /// All schedules, by name.
    pub fn all(&self) -> Vec<Schedule> {
        let now = self.shared.clock.now();
        self.held().values().map(|held| held.to_api(now)).collect()
    }

    /// One schedule.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn get(&self, name: &str) -> Result<Schedule, ScheduleError> {
        let now = self.shared.clock.now();
        let held = self.held().get(name).map(|held| held.to_api(now));
        held.ok_or_else(|| ScheduleError::NotFound(name.to_owned()))
    }

    /// The nodes that a schedule is for.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn nodes(&self, name: &str) -> Result<Vec<NodeId>, ScheduleError> {
        let held = self.held();
        let held = held.get(name).ok_or_else(|| ScheduleError::NotFound(name.to_owned()))?;
        Ok(grant::targets(&held.order, &held.record.nodes).unwrap_or_default().to_vec())
    }

    /// Makes a schedule.
    ///
    /// # Errors
    /// When the request or its grant is not acceptable, the name is taken, or the store fails.
    pub async fn create(&self, actor: &str, request: ScheduleRequest) -> Result<Schedule, ScheduleError> {
        let now = self.shared.clock.now();
        check_request(&request)?;
        let invalid = |error: when::WhenError| ScheduleError::Invalid(error.to_string());
        let zone = request.time_zone.clone().unwrap_or_else(|| "UTC".to_owned());
        let when = When::parse(&request.when, Some(&zone), now).map_err(invalid)?;
        let (bytes, signatures) = request
            .grant
            .decode()
            .ok_or_else(|| ScheduleError::Invalid("the grant is standard base64 with padding".to_owned()))?;
        let grant = SignedOrder { bytes, signatures };
        let signed_by = self.check_grant(&grant, &when, &request, now)?;
        let record = ScheduleRecord {
            name: request.name.clone(),
            when: request.when.trim().to_owned(),
            time_zone: zone,
            splay_seconds: request.splay_seconds,
            missed: request.missed,
            overlap: request.overlap,
            grant: SignedText::new(&grant.bytes, &grant.signatures),
            nodes: request.nodes,
            dispatch: request.dispatch,
            signed_by,
            created_by: actor.to_owned(),
            created: now,
            settled: now,
            last_run: None,
            last_counts: None,
            runs: 0,
        };
        let _turn = self.shared.turn.lock().await;
        if self.held().len() >= SCHEDULES_MAX {
            return Err(ScheduleError::Conflict(format!(
                "{SCHEDULES_MAX} schedules is the most; remove one"
            )));
        }
        if self.held().contains_key(&record.name) {
            return Err(ScheduleError::Exists(record.name));
        }
        let key = self.key(&record.name);
        let write = Write::put(key.clone(), to_json(&record));
        let order = grant.read().map_err(|error| ScheduleError::Invalid(error.to_string()))?;
        let detail = format!(
            "{} ({}) until {}: order:{} {}; signed by {}",
            record.when,
            record.time_zone,
            order.expires,
            order.id,
            order.action,
            record.signed_by.join(", ")
        );
        let entry = done(actor, "schedule.create", &record.name, detail);
        match self.shared.audit.commit(vec![Compare::Absent(key.clone())], vec![write], entry).await? {
            Committed::Done(revision) => {
                let held = Held::of(&key, record, revision)?;
                let schedule = held.to_api(now);
                self.held().insert(held.record.name.clone(), held);
                self.shared.changed.notify_one();
                self.shared.events.publish("schedule.changed", None, &schedule);
                Ok(schedule)
            }
            Committed::Conflict => Err(ScheduleError::Exists(record.name)),
        }
    }

    fn check_grant(
        &self,
        grant: &SignedOrder,
        when: &When,
        request: &ScheduleRequest,
        now: Timestamp,
    ) -> Result<Vec<String>, ScheduleError> {
        let authority = Arc::clone(&self.shared.in_force.authority.borrow());
        let catalogue = self.shared.in_force.catalogue.borrow().clone();
        let catalogue = catalogue.as_deref().filter(|catalogue| catalogue.is_verified_under(&authority));
        let splay = Duration::from_secs(request.splay_seconds.into());
        let facts =
            grant::Facts { authority: &authority, catalogue, when, nodes: &request.nodes, splay, now };
        let checked = grant::check(grant, &facts)?;
        let same = |held: &Held| held.order.id == checked.order.id;
        // One grant counts its runs once: two schedules would fill each other's intervals.
        if let Some(other) = self.held().values().find(|held| same(held)) {
            return Err(ScheduleError::Invalid(format!("schedule `{}` has this grant", other.record.name)));
        }
        Ok(checked.signed_by)
    }

    /// Removes a schedule. Runs that began go on.
    ///
    /// # Errors
    /// When there is none of that name or the store fails.
    pub async fn remove(&self, actor: &str, name: &str) -> Result<Schedule, ScheduleError> {
        let _turn = self.shared.turn.lock().await;
        let (schedule, revision, order) = {
            let held = self.held();
            let held = held.get(name).ok_or_else(|| ScheduleError::NotFound(name.to_owned()))?;
            (held.to_api(self.shared.clock.now()), held.revision, held.order.id)
        };
        let key = self.key(name);
        let entry = done(actor, "schedule.remove", name, format!("order:{order}"));
        let (compare, write) = (Compare::At(key.clone(), revision), Write::Delete { key });
        match self.shared.audit.commit(vec![compare], vec![write], entry).await? {
            Committed::Done(_) => {
                self.held().remove(name);
                self.shared.events.publish("schedule.changed", None, &schedule);
                Ok(schedule)
            }
            Committed::Conflict => {
                Err(ScheduleError::Conflict("it was changed at the same moment; try again".to_owned()))
            }
        }
    }

    /// Runs a schedule now, in the place of a due time: the next comes no sooner than the grant says.
    ///
    /// # Errors
    /// When there is none of that name, the grant does not let it run now, or the store fails.
    pub async fn run_now(&self, actor: &str, name: &str) -> Result<Schedule, ScheduleError> {
        let now = self.shared.clock.now();
        {
            let held = self.held();
            let held = held.get(name).ok_or_else(|| ScheduleError::NotFound(name.to_owned()))?;
            let facts = held.facts(now, false);
            let conflict = |reason: String| Err(ScheduleError::Conflict(reason));
            if now < facts.not_before || now >= facts.expires {
                return conflict(format!(
                    "its grant is valid from {} to {}",
                    facts.not_before, facts.expires
                ));
            }
            if facts.runs_left == 0 {
                return conflict("its grant has no runs left".to_owned());
            }
            let earliest = facts.last_run.map_or(Timestamp::default(), |last| last + facts.interval);
            if now < earliest {
                return conflict(format!("its grant lets it run again from {earliest} on"));
            }
            if facts.is_running && held.record.overlap == campanile_common::api::OverlapPolicy::Skip {
                return conflict("its last run is not over".to_owned());
            }
        }
        let entry = done(actor, "schedule.run", name, format!("due {now}"));
        if !self.settle(name, now, true, Some(entry)).await? {
            return Err(ScheduleError::Conflict("it was changed at the same moment; try again".to_owned()));
        }
        let asked = (name.to_owned(), now, actor.to_owned());
        self.shared.asked.lock().unwrap_or_else(PoisonError::into_inner).push(asked);
        self.shared.changed.notify_one();
        self.get(name)
    }
}

fn check_request(request: &ScheduleRequest) -> Result<(), ScheduleError> {
    let rule = |holds: bool, rule: String| if holds { Ok(()) } else { Err(ScheduleError::Invalid(rule)) };
    let name = &request.name;
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
    rule(
        !name.is_empty()
            && name.len() <= NAME_BYTES_MAX
            && name.chars().all(allowed)
            && name.starts_with(|c: char| c.is_ascii_alphanumeric()),
        format!(
            "a schedule's name is 1 to {NAME_BYTES_MAX} of a-z, 0-9, `-`, `_`, `.`, beginning with a letter or digit"
        ),
    )?;
    rule(request.nodes.len() <= NODES_MAX, format!("at most {NODES_MAX} nodes"))?;
    rule(request.splay_seconds <= SPLAY_SECONDS_MAX, format!("a splay is at most {SPLAY_SECONDS_MAX} s"))
}

fn done(actor: &str, action: &'static str, name: &str, detail: String) -> audit::Record {
    let target = format!("schedule/{name}");
    audit::Record { actor: actor.to_owned(), action, target, outcome: AuditOutcome::Ok, detail }
}
