//! Takes samples from sessions, makes them durable, acknowledges.
//!
//! A disk that refuses stops acknowledgements, not the view: live samples are still shown, and the agents keep what
//! was not acknowledged in their spools.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use campanile_common::connection::LaneItem;
use campanile_common::id::NodeId;
use campanile_common::sample::Position;
use campanile_common::wire::v1::control::{Ack, Lane};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::journal::{Journal, JournalError};
use super::{RecentSeries, TakenItem};
use crate::os::clock::Clock;

/// Items between the sessions and this task. Full makes sessions wait, and their agents spool.
const ITEMS_MAX: usize = 4096;
/// Items that wait for the disk. Past it, while the disk refuses, samples are shown and not kept.
const WAITING_MAX: usize = 16_384;
/// Live samples are synced and acknowledged this often: agents hold unacknowledged ones in memory meanwhile.
const SYNC_LIVE: Duration = Duration::from_secs(5);
/// Late samples are synced this soon, since the next batch waits for it.
const SYNC_LATE: Duration = Duration::from_millis(100);
/// Pause after a refused write.
const SYNC_RETRY: Duration = Duration::from_secs(2);

/// One session of one agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionKey(pub u64);

#[derive(Debug)]
enum Message {
    Register(SessionKey, mpsc::Sender<Ack>),
    Unregister(SessionKey),
    Item(TakenItem),
}

/// Handle with which sessions hand over what they read.
#[derive(Debug, Clone)]
pub struct Ingest(mpsc::Sender<Message>);

impl Ingest {
    /// A session begins; its acknowledgements go to `acks`.
    pub async fn register(&self, session: SessionKey, acks: mpsc::Sender<Ack>) {
        // A closed channel means that the aggregator stops.
        drop(self.0.send(Message::Register(session, acks)).await);
    }

    /// A session ended.
    pub async fn unregister(&self, session: SessionKey) {
        drop(self.0.send(Message::Unregister(session)).await);
    }

    /// Hands over one item; waits while the task is behind.
    pub async fn item(&self, session: SessionKey, node: NodeId, lane: Lane, item: LaneItem) {
        drop(self.0.send(Message::Item(TakenItem { session, node, lane, item })).await);
    }
}

#[derive(Debug)]
struct AckState {
    acks: mpsc::Sender<Ack>,
    /// Something of this session was not kept: acknowledging what follows would claim it. Its agent comes back with
    /// all of it in its spool.
    is_broken: bool,
}

/// Owns the journal.
#[derive(Debug)]
pub struct IngestTask {
    recent: RecentSeries,
    clock: Clock,
    messages: mpsc::Receiver<Message>,
    sessions: HashMap<SessionKey, AckState>,
    journal: Option<Journal>,
    waiting: Vec<TakenItem>,
    /// When the oldest waiting item is to be synced.
    due: Option<Instant>,
    is_failing: bool,
}

impl IngestTask {
    /// Opens the journal in `folder` and fills memory from it. Returns segments with damage, to be logged.
    ///
    /// # Errors
    /// When the journal cannot be opened.
    pub fn open(
        folder: &Path,
        recent: RecentSeries,
        clock: Clock,
    ) -> Result<(Self, Ingest, Vec<PathBuf>), JournalError> {
        let now = clock.now();
        let (journal, damaged) = Journal::open(folder, now, |node, item| {
            let mut inner = recent.lock();
            let series = inner.nodes.entry(node).or_default();
            series.take(Lane::Control, &item, now);
            if let LaneItem::Sample(sample) = &item {
                series.show(sample);
            }
        })?;
        let (sender, messages) = mpsc::channel(ITEMS_MAX);
        let task = Self {
            recent,
            clock,
            messages,
            sessions: HashMap::new(),
            journal: Some(journal),
            waiting: Vec::new(),
            due: None,
            is_failing: false,
        };
        Ok((task, Ingest(sender), damaged))
    }

    /// Works until cancelled; then everything taken is synced.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            let due = self.due;
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = async { tokio::time::sleep_until(due.unwrap_or_else(Instant::now)).await }, if due.is_some() => {
                    self.sync().await;
                }
                message = self.messages.recv() => match message {
                    Some(message) => self.handle(message),
                    None => break,
                },
            }
        }
        while let Ok(message) = self.messages.try_recv() {
            self.handle(message);
        }
        self.sync().await;
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Register(session, acks) => {
                self.sessions.insert(session, AckState { acks, is_broken: false });
            }
            Message::Unregister(session) => {
                self.sessions.remove(&session);
            }
            Message::Item(taken) => self.take(taken),
        }
    }

    fn take(&mut self, taken: TakenItem) {
        if let (LaneItem::Sample(sample), Lane::Control) = (&taken.item, taken.lane) {
            self.recent.show(taken.node, sample);
        }
        if self.waiting.len() >= WAITING_MAX {
            if let Some(state) = self.sessions.get_mut(&taken.session) {
                state.is_broken = true;
            }
            return;
        }
        let pause = if self.is_failing {
            SYNC_RETRY
        } else if taken.lane == Lane::Backfill {
            SYNC_LATE
        } else {
            SYNC_LIVE
        };
        let due = Instant::now() + pause;
        self.due = Some(self.due.map_or(due, |earlier| earlier.min(due)));
        self.waiting.push(taken);
    }

    async fn sync(&mut self) {
        self.due = None;
        let items = std::mem::take(&mut self.waiting);
        let Some(mut journal) = self.journal.take() else { return };
        if items.is_empty() {
            self.journal = Some(journal);
            return;
        }
        let (recent, now) = (self.recent.clone(), self.clock.now());
        let written = tokio::task::spawn_blocking(move || {
            // What is here already is acknowledged again and not written again.
            let new: Vec<TakenItem> =
                items.iter().filter(|taken| !recent.is_known(taken.node, &taken.item)).cloned().collect();
            let written = if new.is_empty() { Ok(()) } else { journal.append(&new, now) };
            if written.is_ok() {
                for taken in &new {
                    recent.take(taken.node, taken.lane, &taken.item, now);
                }
            }
            (journal, items, written)
        });
        match written.await {
            Ok((journal, items, Ok(()))) => {
                self.journal = Some(journal);
                if self.is_failing {
                    self.is_failing = false;
                    tracing::info!("samples are durable again");
                }
                self.acknowledge(&items);
            }
            Ok((journal, items, Err(error))) => {
                self.journal = Some(journal);
                if !self.is_failing {
                    self.is_failing = true;
                    tracing::error!(%error, "samples cannot be made durable; agents keep them until they can");
                }
                self.waiting = items;
                self.due = Some(Instant::now() + SYNC_RETRY);
            }
            Err(error) => {
                tracing::error!(%error, "the sample journal failed; nothing is acknowledged any more")
            }
        }
    }

    fn acknowledge(&mut self, items: &[TakenItem]) {
        let mut newest: HashMap<(SessionKey, Lane), Position> = HashMap::new();
        for taken in items {
            let position = match &taken.item {
                LaneItem::Sample(sample) => sample.position,
                LaneItem::Gap(gap) => Position { instance: gap.instance, sequence: gap.last },
            };
            newest.insert((taken.session, taken.lane), position);
        }
        for ((session, lane), Position { instance, sequence }) in newest {
            let Some(state) = self.sessions.get(&session).filter(|state| !state.is_broken) else { continue };
            let sent = state.acks.try_send(Ack { lane, instance, sequence });
            if sent.is_err() {
                tracing::debug!(?session, "a stuck session misses an acknowledgement; a later one covers it");
            }
        }
    }
}
