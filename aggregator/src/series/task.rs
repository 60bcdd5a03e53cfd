//! Takes samples from sessions, makes them durable, acknowledges.
//!
//! A disk that refuses stops acknowledgements, not the view: live samples are still shown, and the agents keep what
//! was not acknowledged in their spools.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use campanile_common::connection::LaneItem;
use campanile_common::id::NodeId;
use campanile_common::wire::v1::control::{Ack, Lane};
use campanile_daemon::watchdog::Pulse;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::journal::{Journal, JournalError};
use super::pending::{self, Pending};
use super::{RecentSeries, SessionKey, TakenItem};
use crate::os::clock::Clock;

/// Items between the sessions and this task. Full makes sessions wait, and their agents spool.
const ITEMS_MAX: usize = 4096;

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

/// Owns the journal.
#[derive(Debug)]
pub struct IngestTask {
    recent: RecentSeries,
    clock: Clock,
    messages: mpsc::Receiver<Message>,
    acks: HashMap<SessionKey, mpsc::Sender<Ack>>,
    journal: Option<Journal>,
    pending: Pending,
    /// What `pending` counts time from.
    started: Instant,
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
        let (journal, damaged) = pending::open(folder, &recent, clock.now(), |_, _| {})?;
        let (sender, messages) = mpsc::channel(ITEMS_MAX);
        let task = Self {
            pending: Pending::new(recent.clone()),
            recent,
            clock,
            messages,
            acks: HashMap::new(),
            journal: Some(journal),
            started: Instant::now(),
        };
        Ok((task, Ingest(sender), damaged))
    }

    /// Works until cancelled; then everything taken is synced.
    pub async fn run(mut self, pulse: Pulse, stop: CancellationToken) {
        loop {
            let due = self.pending.due().map(|due| self.started + due);
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = pulse.next() => {}
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
                self.acks.insert(session, acks);
            }
            Message::Unregister(session) => {
                self.acks.remove(&session);
                self.pending.forget(session);
            }
            Message::Item(taken) => self.pending.take(self.started.elapsed(), taken),
        }
    }

    async fn sync(&mut self) {
        let items = self.pending.begin();
        let Some(mut journal) = self.journal.take() else { return };
        if items.is_empty() {
            self.journal = Some(journal);
            return;
        }
        let (recent, up, now) = (self.recent.clone(), self.started.elapsed(), self.clock.now());
        let written = tokio::task::spawn_blocking(move || {
            let written = pending::write(&mut journal, &recent, &items, up, now);
            (journal, items, written)
        });
        match written.await {
            Ok((journal, items, Ok(()))) => {
                self.journal = Some(journal);
                self.acknowledge(&items);
            }
            Ok((journal, items, Err(error))) => {
                self.journal = Some(journal);
                if self.pending.refused(self.started.elapsed(), items) {
                    tracing::error!(%error, "samples cannot be made durable; agents keep them until they can");
                }
            }
            Err(error) => {
                tracing::error!(%error, "the sample journal failed; nothing is acknowledged any more")
            }
        }
    }

    fn acknowledge(&mut self, items: &[TakenItem]) {
        for (session, ack) in self.pending.written(items) {
            let Some(acks) = self.acks.get(&session) else { continue };
            if acks.try_send(ack).is_err() {
                tracing::debug!(?session, "a stuck session misses an acknowledgement; a later one covers it");
            }
        }
    }
}
