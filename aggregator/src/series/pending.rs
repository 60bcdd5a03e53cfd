//! Items between their arrival and the disk: when to sync, what becomes visible, what to acknowledge.
//!
//! `task` drives this over channels and a blocking thread; the simulation drives it in virtual time. Time is monotonic,
//! counted from any one moment.
//!
//! Invariant: an acknowledgement covers only items that [`write()`] made durable, and every item of its session and lane
//! before them.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use campanile_common::connection::LaneItem;
use campanile_common::id::NodeId;
use campanile_common::sample::Position;
use campanile_common::time::Timestamp;
use campanile_common::wire::v1::control::{Ack, Lane};

use super::journal::{Journal, JournalError};
use super::{RecentSeries, SessionKey, TakenItem};

/// Items that wait for the disk. Past it, while the disk refuses, samples are shown and not kept.
pub const WAITING_MAX: usize = 16_384;
/// Live samples are synced and acknowledged this often: agents hold unacknowledged ones in memory meanwhile.
const SYNC_LIVE: Duration = Duration::from_secs(5);
/// Late samples are synced this soon, since the next batch waits for it.
const SYNC_LATE: Duration = Duration::from_millis(100);
/// Pause after a refused write.
const SYNC_RETRY: Duration = Duration::from_secs(2);

/// Items that are not on disk yet.
#[derive(Debug)]
pub struct Pending {
    recent: RecentSeries,
    waiting: Vec<TakenItem>,
    /// When the oldest waiting item is to be synced.
    due: Option<Duration>,
    is_failing: bool,
    /// Sessions of which something was not kept: acknowledging what follows would claim it. Their agents come back
    /// with all of it in their spools.
    broken: HashSet<SessionKey>,
}

impl Pending {
    /// Nothing waits.
    pub fn new(recent: RecentSeries) -> Self {
        Self { recent, waiting: Vec::new(), due: None, is_failing: false, broken: HashSet::new() }
    }

    /// When [`Self::begin`] is due.
    pub const fn due(&self) -> Option<Duration> {
        self.due
    }

    /// How many items wait, at most [`WAITING_MAX`].
    pub const fn len(&self) -> usize {
        self.waiting.len()
    }

    /// True when no item waits.
    pub const fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// An item came.
    pub fn take(&mut self, now: Duration, taken: TakenItem) {
        if let (LaneItem::Sample(sample), Lane::Control) = (&taken.item, taken.lane) {
            self.recent.show(taken.node, sample);
        }
        if self.waiting.len() >= WAITING_MAX {
            self.broken.insert(taken.session);
            return;
        }
        let pause = if self.is_failing {
            SYNC_RETRY
        } else if taken.lane == Lane::Backfill {
            SYNC_LATE
        } else {
            SYNC_LIVE
        };
        let due = now + pause;
        self.due = Some(self.due.map_or(due, |earlier| earlier.min(due)));
        self.waiting.push(taken);
    }

    /// Hands out what is to be written now.
    #[must_use]
    pub fn begin(&mut self) -> Vec<TakenItem> {
        self.due = None;
        std::mem::take(&mut self.waiting)
    }

    /// The items are on disk: these acknowledgements may go.
    #[must_use]
    pub fn written(&mut self, items: &[TakenItem]) -> Vec<(SessionKey, Ack)> {
        if std::mem::take(&mut self.is_failing) {
            tracing::info!("samples are durable again");
        }
        let mut newest: BTreeMap<(SessionKey, Lane), Position> = BTreeMap::new();
        for taken in items.iter().filter(|taken| !self.broken.contains(&taken.session)) {
            newest.insert((taken.session, taken.lane), taken.item.end());
        }
        let ack = |((session, lane), last): ((SessionKey, Lane), Position)| {
            (session, Ack { lane, instance: last.instance, sequence: last.sequence })
        };
        newest.into_iter().map(ack).collect()
    }

    /// The disk refused: the items wait on. True when it did not refuse before.
    pub fn refused(&mut self, now: Duration, mut items: Vec<TakenItem>) -> bool {
        items.append(&mut self.waiting);
        self.waiting = items;
        self.due = Some(now + SYNC_RETRY);
        !std::mem::replace(&mut self.is_failing, true)
    }

    /// A session ended.
    pub fn forget(&mut self, session: SessionKey) {
        self.broken.remove(&session);
    }
}

/// Opens the journal in `folder` and fills memory from it, giving `each` item too. Returns segments with damage.
///
/// # Errors
/// When the journal cannot be opened.
pub fn open(
    folder: &Path,
    recent: &RecentSeries,
    now: Timestamp,
    mut each: impl FnMut(NodeId, &LaneItem),
) -> Result<(Journal, Vec<PathBuf>), JournalError> {
    Journal::open(folder, |node, item| {
        each(node, &item);
        let mut inner = recent.lock();
        let series = inner.nodes.entry(node).or_default();
        series.take(Lane::Control, &item, now);
        if let LaneItem::Sample(sample) = &item {
            series.show(sample);
        }
    })
}

/// Makes the items durable, then visible. What is here already is not written again. `up` is the time since [`open`],
/// `now` what the wall clock shows.
///
/// # Errors
/// When the disk refuses: nothing of them counts as written.
pub fn write(
    journal: &mut Journal,
    recent: &RecentSeries,
    items: &[TakenItem],
    up: Duration,
    now: Timestamp,
) -> io::Result<()> {
    let new: Vec<TakenItem> =
        items.iter().filter(|taken| !recent.is_known(taken.node, &taken.item)).cloned().collect();
    if !new.is_empty() {
        journal.append(&new, up)?;
    }
    for taken in &new {
        recent.take(taken.node, taken.lane, &taken.item, now);
    }
    Ok(())
}
