//! Decides what goes to the steward and where its answers go. Does no I/O: packets out are values in a queue, answers
//! are handed back with the channel they belong in.

mod generation;
mod offer;

use std::collections::{BTreeMap, VecDeque};

use campanile_common::authority::{Denial, DenialCode, RunId};
use campanile_common::id::OrderId;
use campanile_common::time::Timestamp;
use campanile_common::wire::v1::config::ConfigUp;
use campanile_common::wire::v1::order::{Deliver, DeliveryMode, OrderReply, Outcome, OutputChunk, RunResult};
use campanile_common::wire::v1::request::{AUDIT_ENTRIES_MAX, JOURNAL_LINES_MAX, Reply, Request};
use tokio::sync::mpsc;

use super::Standing;
use crate::steward::protocol::{JournalQuery, StewardEvent, StewardRequest, Tag};

/// Runs under way: as many as the aggregator may have streams for. One more ends at once, to be delivered again.
const RUNS_MAX: usize = 16;
/// Requests under way; further ones are refused.
const ASKS_MAX: usize = 16;
/// Packets that wait for a steward that does not take them. Past it no command is taken, and whoever gives one is told.
const QUEUE_MAX: usize = 64;
/// Reports that wait for a steward that is away; the oldest goes, and its output is kept for longer.
const REPORTS_MAX: usize = 64;
/// Runs whose delivery to the steward is remembered: 8 KiB. Of older ones it is not known.
const HANDED_MAX: usize = 256;

/// An answer and where it goes.
#[derive(Debug)]
pub(super) enum Answer {
    /// Of a run.
    Order(mpsc::Sender<OrderReply>, OrderReply),
    /// Of a request.
    Request(mpsc::Sender<Reply>, Reply),
    /// Of a generation that was offered.
    Config(mpsc::Sender<ConfigUp>, ConfigUp),
}

struct Run {
    deliver: Box<Deliver>,
    replies: mpsc::Sender<OrderReply>,
    is_received: bool,
    /// Bytes of output passed on; a steward that was asked again begins anew.
    output_bytes: u64,
}

enum Ask {
    /// Of the aggregator.
    Passed(mpsc::Sender<Reply>),
    /// Of the aggregator: a generation.
    Generation(mpsc::Sender<ConfigUp>),
    /// Ours, to learn which authority and catalogue the steward has reached.
    Describe,
    /// Ours: an authority or a catalogue was offered.
    Offer(&'static str),
}

/// What is under way between the link and the steward.
pub(super) struct Relay {
    runs: BTreeMap<RunId, Run>,
    asks: BTreeMap<Tag, Ask>,
    next_tag: u64,
    /// Something changed while the steward was asked what it has.
    must_look: bool,
    /// Goes to the steward as soon as it takes it.
    queue: VecDeque<StewardRequest>,
    reports: VecDeque<RunId>,
    /// Runs that a steward may have got.
    handed: VecDeque<RunId>,
    /// Orders that were valid before this may have reached a steward without our remembering it.
    unsure_before: Timestamp,
}

/// Which run a delivery is. One that cannot be read goes to the steward all the same, for its audit; the denial names
/// the order of zeros.
pub(super) fn run_of(deliver: &Deliver) -> RunId {
    match deliver.delivery.order.read() {
        Ok(order) => RunId { order: order.id, occurrence: deliver.delivery.occurrence },
        Err(_) => RunId { order: OrderId::from_bytes([0; 16]), occurrence: None },
    }
}

impl Relay {
    /// Orders valid before `unsure_before` may have been handed to a steward by an earlier run of the agent.
    pub(super) fn new(unsure_before: Timestamp) -> Self {
        Self {
            runs: BTreeMap::new(),
            asks: BTreeMap::new(),
            next_tag: 1,
            must_look: false,
            queue: VecDeque::new(),
            reports: VecDeque::new(),
            handed: VecDeque::new(),
            unsure_before,
        }
    }

    /// Takes a run. A second delivery of the same takes over from the first, whose stream ends.
    pub(super) fn deliver(&mut self, deliver: Box<Deliver>, replies: mpsc::Sender<OrderReply>) {
        self.runs.retain(|_, run| !run.replies.is_closed());
        let run = run_of(&deliver);
        if self.runs.len() >= RUNS_MAX && !self.runs.contains_key(&run) {
            return;
        }
        let is_same =
            |queued: &StewardRequest| matches!(queued, StewardRequest::Deliver(old) if run_of(old) == run);
        self.queue.retain(|queued| !is_same(queued));
        self.queue.push_back(StewardRequest::Deliver(deliver.clone()));
        self.runs.insert(run, Run { deliver, replies, is_received: false, output_bytes: 0 });
    }

    /// The outcome of a run is durable in the aggregator.
    pub(super) fn reported(&mut self, run: RunId) {
        if self.reports.len() >= REPORTS_MAX {
            self.reports.pop_front();
        }
        self.reports.push_back(run);
    }

    /// Takes a request; gives its tag when it is one that goes on until it is stopped.
    pub(super) fn ask(&mut self, request: Request, replies: mpsc::Sender<Reply>) -> Option<Tag> {
        self.asks.retain(|_, ask| !matches!(ask, Ask::Passed(replies) if replies.is_closed()));
        let tag = Tag(self.next_tag);
        let request = match request {
            Request::Describe => StewardRequest::Describe(tag),
            Request::Unit { unit } => StewardRequest::Unit(tag, unit),
            Request::Journal { unit, since_s, lines, is_followed } => {
                let lines = lines.min(JOURNAL_LINES_MAX);
                StewardRequest::Journal(tag, JournalQuery { unit, since_s, lines, is_followed })
            }
            Request::Audit { after, limit } => {
                StewardRequest::Audit(tag, after, limit.min(AUDIT_ENTRIES_MAX))
            }
            Request::TopProcesses { .. } | Request::Ping | Request::Checkpoints { .. } => {
                refuse(&replies, "this is not for the steward");
                return None;
            }
        };
        if self.asks.len() >= ASKS_MAX {
            refuse(&replies, "too many requests wait for this node's steward");
            return None;
        }
        let is_stream = matches!(request, StewardRequest::Journal(..));
        self.queue.push_back(request);
        self.remember(Ask::Passed(replies));
        is_stream.then_some(tag)
    }

    /// Nobody takes the answers any more.
    pub(super) fn stop(&mut self, tag: Tag) {
        if self.asks.remove(&tag).is_some() {
            self.queue.push_back(StewardRequest::Stop(tag));
        }
    }

    /// A steward is there, and knows nothing of what was asked before.
    pub(super) fn connected(&mut self) {
        self.runs.retain(|_, run| !run.replies.is_closed());
        self.queue.retain(|request| !matches!(request, StewardRequest::Deliver(_)));
        let runs = self.runs.values().map(|run| StewardRequest::Deliver(run.deliver.clone()));
        self.queue.extend(runs);
        self.look();
    }

    /// The steward went away: runs wait for it, requests do not.
    pub(super) fn disconnected(&mut self) {
        self.queue.clear();
        self.refuse_all("this node's steward went away; try again");
    }

    /// Ends all requests with this reason.
    pub(super) fn refuse_all(&mut self, reason: &str) {
        self.queue.retain(|request| !matches!(request, StewardRequest::Offer(..)));
        for ask in std::mem::take(&mut self.asks).into_values() {
            match ask {
                Ask::Passed(replies) => refuse(&replies, reason),
                // Full or closed: nobody waits for it.
                Ask::Generation(answers) => drop(answers.try_send(ConfigUp::Refused(reason.to_owned()))),
                Ask::Describe | Ask::Offer(_) => {}
            }
        }
    }

    /// The next packet for the steward.
    pub(super) fn next(&mut self) -> Option<StewardRequest> {
        self.queue.pop_front().or_else(|| self.reports.pop_front().map(StewardRequest::Reported))
    }

    /// False while so much waits for the steward that no more should be taken.
    pub(super) fn has_room(&self) -> bool {
        self.queue.len() < QUEUE_MAX
    }

    /// A packet that the protocol has no room for: tells whoever waits for its answer.
    pub(super) fn too_long(
        &mut self,
        request: StewardRequest,
        problem: &str,
        now: Timestamp,
    ) -> Option<Answer> {
        match request {
            StewardRequest::Deliver(deliver) => {
                let id = run_of(&deliver);
                let run = self.runs.remove(&id)?;
                let denial = Denial { code: DenialCode::Malformed, reason: problem.to_owned() };
                Some(ended(id, run, RunResult::Denied(denial), now))
            }
            StewardRequest::Describe(tag)
            | StewardRequest::Authority(tag, _)
            | StewardRequest::Catalogue(tag, _)
            | StewardRequest::Unit(tag, _)
            | StewardRequest::Journal(tag, _)
            | StewardRequest::Audit(tag, ..)
            | StewardRequest::Stop(tag) => self.last(tag, Reply::Failed(problem.to_owned())),
            StewardRequest::Offer(tag, _) | StewardRequest::Piece(tag, _) => {
                self.generation_ends(tag, ConfigUp::Refused(problem.to_owned()))
            }
            StewardRequest::Reported(_) | StewardRequest::Reached(_) => None,
        }
    }

    /// A packet is about to be handed over: from here on the steward may act on it.
    pub(super) fn handing(&mut self, request: &StewardRequest, now: Timestamp) {
        if let StewardRequest::Deliver(deliver) = request {
            let run = run_of(deliver);
            if self.handed.contains(&run) {
                return;
            }
            if self.handed.len() >= HANDED_MAX {
                self.handed.pop_front();
                self.unsure_before = now;
            }
            self.handed.push_back(run);
        }
    }

    /// True while someone waits for the outcome of a run.
    pub(super) fn has_runs(&self) -> bool {
        self.runs.values().any(|run| !run.replies.is_closed())
    }

    /// No steward came. Runs that none can have got are denied, the others end without an outcome.
    pub(super) fn give_up(&mut self, reason: &str, now: Timestamp) -> Vec<Answer> {
        self.queue.retain(|request| !matches!(request, StewardRequest::Deliver(_)));
        let mut answers = Vec::new();
        for (id, run) in std::mem::take(&mut self.runs) {
            if self.may_have_been_handed(id, &run.deliver) {
                continue;
            }
            let result = match run.deliver.mode {
                DeliveryMode::Start => {
                    RunResult::Denied(Denial { code: DenialCode::NoSteward, reason: reason.to_owned() })
                }
                DeliveryMode::Report => RunResult::Unknown,
            };
            answers.push(ended(id, run, result, now));
        }
        answers
    }

    fn may_have_been_handed(&self, run: RunId, deliver: &Deliver) -> bool {
        let is_older = deliver.delivery.order.read().is_ok_and(|order| order.not_before < self.unsure_before);
        is_older || self.handed.contains(&run)
    }

    /// Takes what the steward said: gives the answer to pass on, if it is one.
    pub(super) fn event(&mut self, event: StewardEvent, standing: &Standing) -> Option<Answer> {
        let answer = self.take(event, standing);
        if self.must_look {
            self.look();
        }
        answer
    }

    fn take(&mut self, event: StewardEvent, standing: &Standing) -> Option<Answer> {
        match event {
            StewardEvent::Received(run, position) => {
                let run = self.runs.get_mut(&run)?;
                let is_first = !std::mem::replace(&mut run.is_received, true);
                is_first.then(|| Answer::Order(run.replies.clone(), OrderReply::Received(position)))
            }
            StewardEvent::Output(run, chunk) => {
                let run = self.runs.get_mut(&run)?;
                let chunk = new_part(chunk, run.output_bytes)?;
                run.output_bytes = chunk.offset + u64::try_from(chunk.bytes.len()).unwrap_or(0);
                Some(Answer::Order(run.replies.clone(), OrderReply::Output(chunk)))
            }
            StewardEvent::Outcome(outcome) => {
                let run = self.runs.remove(&outcome.run)?;
                Some(Answer::Order(run.replies, OrderReply::Outcome(outcome)))
            }
            StewardEvent::Description(tag, description) => match self.asks.remove(&tag)? {
                Ask::Passed(replies) => Some(Answer::Request(replies, Reply::Description(description))),
                Ask::Describe => {
                    self.offer(standing, description.authority_version, description.catalogue_version);
                    None
                }
                Ask::Offer(_) | Ask::Generation(_) => None,
            },
            StewardEvent::Followed(tag, authority, catalogue) => {
                if let Some(Ask::Offer(what)) = self.asks.remove(&tag) {
                    tracing::info!(authority, catalogue, "the steward follows {what}");
                }
                None
            }
            StewardEvent::Refused(tag, reason) => match self.asks.remove(&tag)? {
                Ask::Passed(replies) => Some(Answer::Request(replies, Reply::Failed(reason))),
                Ask::Offer(what) => {
                    tracing::warn!(reason, "the steward refuses {what}");
                    None
                }
                Ask::Generation(answers) => Some(Answer::Config(answers, ConfigUp::Refused(reason))),
                Ask::Describe => None,
            },
            StewardEvent::Unit(tag, state) => self.last(tag, Reply::Unit(state)),
            StewardEvent::Denied(tag, denial) => self.last(tag, Reply::Denied(denial)),
            StewardEvent::Audit(tag, entries) => self.last(tag, Reply::Audit(entries)),
            StewardEvent::Journal(tag, bytes) => match self.asks.get(&tag)? {
                Ask::Passed(replies) => Some(Answer::Request(replies.clone(), Reply::Journal(bytes))),
                Ask::Describe | Ask::Offer(_) | Ask::Generation(_) => None,
            },
            StewardEvent::Ended(tag) => {
                self.asks.remove(&tag);
                None
            }
            StewardEvent::Want(tag, digests) => match self.asks.get(&tag)? {
                Ask::Generation(answers) => Some(Answer::Config(answers.clone(), ConfigUp::Want(digests))),
                Ask::Passed(_) | Ask::Describe | Ask::Offer(_) => None,
            },
            StewardEvent::Ready(tag) => self.generation_ends(tag, ConfigUp::Ready),
            // Of no request: the task passes them on.
            StewardEvent::Config(_) | StewardEvent::Reach(_) | StewardEvent::Proof(_) => None,
        }
    }

    fn last(&mut self, tag: Tag, reply: Reply) -> Option<Answer> {
        match self.asks.remove(&tag)? {
            Ask::Passed(replies) => Some(Answer::Request(replies, reply)),
            Ask::Describe | Ask::Offer(_) | Ask::Generation(_) => None,
        }
    }

    /// Gives the newest tag its meaning.
    fn remember(&mut self, ask: Ask) {
        self.asks.insert(Tag(self.next_tag), ask);
        self.next_tag += 1;
    }
}

/// The end of a run that no steward has got.
fn ended(id: RunId, run: Run, result: RunResult, now: Timestamp) -> Answer {
    let outcome = Outcome {
        run: id,
        result,
        started: None,
        finished: now,
        output_bytes: 0,
        output_kept: 0,
        journal: None,
        audit: None,
    };
    Answer::Order(run.replies, OrderReply::Outcome(outcome))
}

/// What of a chunk has not been passed on yet.
fn new_part(mut chunk: OutputChunk, passed: u64) -> Option<OutputChunk> {
    let known = usize::try_from(passed.saturating_sub(chunk.offset)).unwrap_or(usize::MAX);
    if known >= chunk.bytes.len() {
        return None;
    }
    chunk.bytes.drain(..known);
    chunk.offset = chunk.offset.max(passed);
    Some(chunk)
}

fn refuse(replies: &mpsc::Sender<Reply>, reason: &str) {
    // Full or closed: nobody waits for a first answer.
    drop(replies.try_send(Reply::Failed(reason.to_owned())));
}

#[cfg(test)]
mod tests;
