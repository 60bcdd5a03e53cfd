//! Takes what nodes report, offers the settled release to who is behind, lets old generations go.
//!
//! Reports are put up once they are stored; a store that refuses is tried again. Offers are passed to sessions, which
//! serve them; all that comes back is how they ended.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use campanile_common::api::{AuditOutcome, NodeState};
use campanile_common::id::{Digest, NodeId};
use campanile_common::wire::v1::config::{ConfigOffer, ConfigReport};
use serde_json::json;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::follow::{Candidate, Following, Member, is_well};
use super::record::{ReportRecord, generation_key, report_key};
use super::report::{self, Note};
use super::{Config, ConfigError, Reports, keep};
use crate::audit::Record as AuditRecord;
use crate::node::{NodeEvent, Nodes, OfferEnd, SessionChange, Sessions};
use crate::state::{StateError, Transaction, Write, to_json};

/// How often everything is looked at, whatever happened.
const LOOK_STEP: Duration = Duration::from_secs(1);
/// How often old generations are looked for, and how soon again while there are some.
const KEEP_STEP: Duration = Duration::from_secs(600);
const KEEP_STEP_BUSY: Duration = Duration::from_millis(200);
/// Generations, and parts, that one step removes.
const GONE_MAX: usize = 32;
const SWEPT_MAX: usize = 256;
/// Parts that nothing names yet stay so long: their generation is still on its way.
const PART_GRACE: Duration = Duration::from_secs(3600);
/// Reports that one look takes in.
const TAKEN_MAX: usize = 64;
/// Reports in one commit, as many as it has room for.
const WRITES_MAX: usize = 100;
/// Bytes of reports in one commit; a transaction takes a mebibyte.
const BYTES_MAX: usize = 512 * 1024;
/// One node's turns are audited this often at most; its newest state shows in any case.
const AUDIT_STEP: Duration = Duration::from_secs(10);

/// An order that applied a generation came to its end.
#[derive(Debug, Clone)]
pub struct ApplyEnded {
    /// Which it applied.
    pub generation: Digest,
    /// To whom.
    pub targets: BTreeSet<NodeId>,
    /// On whom of them it went well.
    pub applied: BTreeSet<NodeId>,
    /// It ended well on as many as it had to.
    pub is_clean: bool,
}

/// What the task is built from beside the handle.
pub struct ConfigTaskParts {
    /// Passes offers on.
    pub nodes: Nodes,
    /// Who is connected.
    pub sessions: Sessions,
    /// Targets of orders that apply a generation and are not over.
    pub targets: Box<dyn Fn() -> BTreeSet<NodeId> + Send + Sync>,
    /// Such orders that came to their end.
    pub ended: mpsc::Receiver<ApplyEnded>,
}

/// Owns what nodes report and are offered.
pub struct ConfigTask {
    config: Config,
    inbox: Reports,
    parts: ConfigTaskParts,
    changes: broadcast::Receiver<SessionChange>,
    /// Connected nodes that said how they stand in their session.
    spoke: HashSet<NodeId>,
    /// Reports that are not stored yet.
    dirty: BTreeMap<NodeId, ConfigReport>,
    audited: HashMap<NodeId, Duration>,
    following: Following,
    offers: JoinSet<(NodeId, Option<OfferEnd>)>,
    keep_at: Duration,
    /// What the generations name that stay, while parts are swept.
    kept: Option<Arc<HashSet<Digest>>>,
    started: Instant,
}

impl fmt::Debug for ConfigTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigTask").field("spoke", &self.spoke.len()).finish_non_exhaustive()
    }
}

impl ConfigTask {
    /// A task that has not begun.
    pub fn new(config: Config, inbox: Reports, parts: ConfigTaskParts) -> Self {
        let (_, changes) = parts.sessions.subscribe();
        Self {
            config,
            inbox,
            parts,
            changes,
            spoke: HashSet::new(),
            dirty: BTreeMap::new(),
            audited: HashMap::new(),
            following: Following::default(),
            offers: JoinSet::new(),
            keep_at: Duration::ZERO,
            kept: None,
            started: Instant::now(),
        }
    }

    /// Works until cancelled.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut look = tokio::time::interval(LOOK_STEP);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let config = self.config.clone();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                change = self.changes.recv() => self.session_changed(change),
                report = self.inbox.recv() => if let Some((node, report)) = report { self.note(node, report) },
                Some(ended) = self.parts.ended.recv() => self.apply_ended(ended).await,
                Some(ended) = self.offers.join_next() => self.offer_ended(ended.ok()),
                () = config.shared.changed.notified() => (self.keep_at, self.kept) = (Duration::ZERO, None),
                _ = look.tick() => {}
            }
            for _ in 0..TAKEN_MAX {
                let Ok((node, report)) = self.inbox.try_recv() else { break };
                self.note(node, report);
            }
            if let Err(error) = self.store_reports().await {
                tracing::warn!(%error, "what nodes report of their configuration cannot be stored; tried again");
            }
            self.keep().await;
            self.offer().await;
        }
    }

    fn session_changed(&mut self, change: Result<SessionChange, broadcast::error::RecvError>) {
        match change {
            Ok(SessionChange { node, session }) => {
                self.spoke.remove(&node);
                if session.is_some() {
                    self.following.begins_anew(node);
                }
            }
            Err(broadcast::error::RecvError::Lagged(_)) => {
                let (here, changes) = self.parts.sessions.subscribe();
                self.changes = changes;
                self.spoke.retain(|node| here.contains_key(node));
            }
            // The sender lives as long as this task's own handle of it.
            Err(broadcast::error::RecvError::Closed) => {}
        }
    }

    fn note(&mut self, node: NodeId, report: ConfigReport) {
        self.spoke.insert(node);
        self.dirty.insert(node, report::clean(report));
    }

    /// Stores what is new, then puts it up.
    async fn store_reports(&mut self) -> Result<(), StateError> {
        let now = self.config.now();
        let (mut writes, mut taken, mut bytes) = (Vec::new(), Vec::new(), 0);
        for (node, report) in std::mem::take(&mut self.dirty) {
            let before = self.config.known().nodes.get(&node).cloned();
            let before = before.as_deref().map(|record| &record.report);
            if before == Some(&report) {
                continue;
            }
            let notes = report::notes(before, &report);
            let record = ReportRecord { node, at: now, report };
            let value = to_json(&record);
            bytes += value.len();
            if writes.len() >= WRITES_MAX || bytes > BYTES_MAX && !writes.is_empty() {
                // The rest is taken at the next look.
                self.dirty.insert(node, record.report);
                bytes -= value.len();
                continue;
            }
            writes.push(Write::put(report_key(&self.config.shared.with.keys, node), value));
            taken.push((record, notes));
        }
        if taken.is_empty() {
            return Ok(());
        }
        let transaction = Transaction { compares: Vec::new(), writes };
        let done = self.config.shared.with.store.commit(transaction).await;
        if let Err(error) = done {
            for (record, _) in taken {
                self.dirty.entry(record.node).or_insert(record.report);
            }
            return Err(error);
        }
        for (record, notes) in taken {
            self.audit(record.node, notes).await;
            self.put_up(record);
        }
        Ok(())
    }

    fn put_up(&self, record: ReportRecord) {
        let report = &record.report;
        let number = |point: Option<(u64, Digest)>| point.map(|(number, _)| number);
        let body = json!({
            "nodeId": record.node, "phase": report::phase(report.phase), "current": number(report.current),
            "tried": number(report.tried), "givenUp": report.is_given_up, "detail": report.detail,
            "driftedCount": report.drifted_count, "denied": report.denied,
        });
        let node = record.node;
        self.config.known().nodes.insert(node, Arc::new(record));
        self.config.shared.with.events.publish("config.node", Some(node), &body);
    }

    async fn audit(&mut self, node: NodeId, notes: Vec<Note>) {
        let now = self.started.elapsed();
        let is_soon = self.audited.get(&node).is_some_and(|last| now < *last + AUDIT_STEP);
        if notes.is_empty() || is_soon {
            return;
        }
        self.audited.insert(node, now);
        for Note { action, outcome, detail } in notes {
            if outcome == AuditOutcome::Failed {
                tracing::warn!(%node, action, detail, "a node's configuration");
            }
            let target = format!("node:{node}");
            let record = AuditRecord { actor: format!("node:{node}"), action, target, outcome, detail };
            if let Err(error) = self.config.shared.with.audit.record(record).await {
                tracing::warn!(%node, %error, "a node's turn is not in the audit log");
            }
        }
    }

    /// A release that went well on all that were known when it was made is settled.
    async fn apply_ended(&mut self, ended: ApplyEnded) {
        let ApplyEnded { generation, targets, applied, is_clean } = ended;
        if !is_clean {
            return;
        }
        let registry = self.parts.nodes.registry().clone();
        let covered = self.config.blocking(move |config| {
            let read = config.read_generation(generation)?;
            let known = config.known();
            let member = |node: &NodeId| Member {
                report: known.nodes.get(node).map(|record| &record.report),
                is_active: registry.get(*node).is_some_and(|held| held.record.state == NodeState::Active),
                is_target: targets.contains(node),
                is_applied: applied.contains(node),
            };
            Ok(read.members.keys().all(|node| is_well(generation, member(node))))
        });
        let settled = match covered.await {
            Ok(true) => self.config.settle(generation, "aggregator").await.map(drop),
            Ok(false) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = settled {
            tracing::warn!(%generation, %error, "a generation that was applied is not settled");
        }
    }

    /// Offers the settled release to who is behind.
    async fn offer(&mut self) {
        let Some(settled) = self.config.known().head.as_ref().and_then(|head| head.settled) else { return };
        if self.spoke.is_empty() || *self.config.shared.with.is_frozen.borrow() {
            return;
        }
        let targets = (self.parts.targets)();
        let reports: Vec<_> = {
            let known = self.config.known();
            let spoke = self.spoke.iter().filter(|node| !self.dirty.contains_key(*node));
            spoke.filter_map(|node| known.nodes.get(node).cloned()).collect()
        };
        let candidates = reports.iter().map(|record| Candidate {
            node: record.node,
            report: &record.report,
            is_target: targets.contains(&record.node),
        });
        for node in self.following.next(self.started.elapsed(), settled, candidates) {
            let (answer, end) = oneshot::channel();
            if let Some(held) = self.parts.nodes.registry().get(node) {
                let offer = ConfigOffer {
                    generation: settled.digest,
                    name: held.record.name,
                    labels: held.record.labels,
                    is_followed: true,
                };
                self.parts.nodes.tell(NodeEvent::Offer { node, offer: Box::new(offer), answer }).await;
            }
            self.offers.spawn(async move { (node, end.await.ok()) });
        }
    }

    fn offer_ended(&mut self, ended: Option<(NodeId, Option<OfferEnd>)>) {
        let Some((node, end)) = ended else { return };
        self.following.ended(node);
        match end {
            Some(OfferEnd::Ready) => tracing::info!(%node, "the node goes to the settled generation"),
            Some(OfferEnd::Refused(why)) => {
                tracing::warn!(%node, why, "the node refuses the settled generation")
            }
            Some(OfferEnd::Lost(why)) => tracing::debug!(%node, why, "an offer was lost"),
            None => tracing::debug!(%node, "an offer was lost with its session"),
        }
    }

    /// Lets go of a part of what is no longer kept, if it is time.
    async fn keep(&mut self) {
        let now = self.started.elapsed();
        if now < self.keep_at {
            return;
        }
        self.keep_at = now + KEEP_STEP;
        match self.keep_step().await {
            Ok(true) => self.keep_at = now + KEEP_STEP_BUSY,
            Ok(false) => self.kept = None,
            Err(error) => {
                self.kept = None;
                tracing::warn!(%error, "old generations stay for now");
            }
        }
    }

    /// True while there is more.
    async fn keep_step(&mut self) -> Result<bool, ConfigError> {
        if self.config.forget_generations(GONE_MAX).await? {
            self.kept = None;
            return Ok(true);
        }
        let kept = match &self.kept {
            Some(kept) => Arc::clone(kept),
            None => {
                let kept = Arc::new(self.config.blocking(|config| config.kept_parts()).await?);
                self.kept = Some(Arc::clone(&kept));
                kept
            }
        };
        let now = self.config.now();
        let sweep = move |config: &Config| Ok(config.parts().sweep(&kept, now, PART_GRACE, SWEPT_MAX)?);
        Ok(self.config.blocking(sweep).await? == SWEPT_MAX)
    }
}

impl Config {
    /// Deletes the records of up to `most` generations that are no longer kept. True when there were some.
    pub(super) async fn forget_generations(&self, most: usize) -> Result<bool, ConfigError> {
        let with = &self.shared.with;
        // Nothing is submitted and nothing settled meanwhile.
        let _turn = self.shared.turn.lock().await;
        let mut gone = {
            let known = self.known();
            let head = known.head.as_ref();
            let parent = head.and_then(|head| known.generations.get(&head.point.digest)?.parent);
            let points = head.into_iter().flat_map(|head| [Some(head.point), head.settled]).flatten();
            let reports = known.nodes.values().map(|record| &record.report);
            let reported = reports.flat_map(|report| [report.current, report.tried]).flatten();
            let pinned: BTreeSet<Digest> = points
                .map(|point| point.digest)
                .chain(parent)
                .chain(reported.map(|(_, digest)| digest))
                .collect();
            let head = head.map(|head| head.point.digest);
            let all = known.generations.values().map(AsRef::as_ref);
            keep::gone(all, head, &pinned, with.policy, self.now())
        };
        gone.truncate(most);
        if gone.is_empty() {
            return Ok(false);
        }
        let writes = gone.iter().map(|digest| Write::Delete { key: generation_key(&with.keys, *digest) });
        let transaction = Transaction { compares: Vec::new(), writes: writes.collect() };
        let _done = with.store.commit(transaction).await?;
        let mut known = self.known();
        gone.into_iter().for_each(|digest| known.remove(digest));
        Ok(true)
    }

    /// Every part that a generation names. Blocks.
    pub(super) fn kept_parts(&self) -> Result<HashSet<Digest>, ConfigError> {
        let generations: Vec<(Digest, Digest)> = {
            let known = self.known();
            known.generations.values().map(|record| (record.point.digest, record.signed)).collect()
        };
        let mut kept = HashSet::new();
        for (digest, signed) in generations {
            // One that cannot be read might name anything: then nothing is removed.
            kept.extend(self.parts_of(digest, signed)?);
        }
        Ok(kept)
    }
}
