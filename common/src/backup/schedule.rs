//! When a policy is due on a node. Pure: the time and the offset of the node's clock from UTC are arguments.
//!
//! A policy is due when its schedule says so, later by the node's own share of the splay, which a hash of node and policy
//! fixes: nodes are spread, and each keeps its distance from run to run. What is then outside the window waits for the
//! next time that it opens. Runs that were missed are made up for once, and only in the window.

use std::time::Duration;

use super::policy::PolicyName;
use crate::authority::sha256;
use crate::id::NodeId;
use crate::recurrence::Recurrence;
use crate::time::Timestamp;

/// With `continuous` everything is looked at so often, whatever was noticed.
const CONTINUOUS_INTERVAL: Duration = Duration::from_secs(3600);
const DAY_MS: u64 = 86_400_000;
const MINUTE_MS: u64 = 60_000;
/// A due time further away than any leap day is from the next is none.
const DAYS_MAX: u64 = 8 * 366 + 1;
/// Offsets of clocks from UTC: none on earth is beyond.
const OFFSET_S_MAX: i32 = 18 * 3600;
/// Runs that were missed are spread over so long at most: they are late already.
const CATCH_UP_SPLAY_MAX: Duration = Duration::from_secs(900);
const SHARE_DOMAIN: &[u8] = b"campanile/backup-splay/v1\0";

/// When a policy is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// When, before it is spread.
    pub when: When,
    /// Nodes are spread over so long.
    pub splay: Duration,
    /// A run begins only within it.
    pub window: Option<Window>,
}

/// What makes a policy due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// A change of its files, within a minute; and every hour, whatever was noticed.
    Continuous,
    /// The time.
    Recurring(Recurrence),
}

/// A part of each day, by the clock of the node; it may span midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// First minute of the day that is in it.
    start: u16,
    /// First that is not.
    end: u16,
}

/// How far a clock on the wall is ahead of UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UtcOffset(i32);

/// Whose schedule it is: one node's, for one policy, by the node's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seat {
    /// Its share of any splay, in parts of 2^64.
    share: u64,
    zone: UtcOffset,
}

/// What is known of the runs of a policy on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Past {
    /// When the last run began.
    pub last: Option<Timestamp>,
    /// Since when the policy is there.
    pub since: Timestamp,
    /// Since when somebody looks after it: a node that was off has the time from here on to make up for what it missed.
    pub awake: Timestamp,
}

impl UtcOffset {
    /// UTC itself.
    pub const UTC: Self = Self(0);

    /// So many seconds ahead of UTC, behind it when negative; more than 18 hours are taken as 18.
    pub fn from_seconds(seconds: i32) -> Self {
        Self(seconds.clamp(-OFFSET_S_MAX, OFFSET_S_MAX))
    }

    /// What the clock shows, in milliseconds after midnight of 1970-01-01 as it showed it.
    fn shown(self, at: Timestamp) -> u64 {
        at.as_millis().saturating_add_signed(i64::from(self.0) * 1000)
    }

    /// When the clock shows this.
    fn instant(self, shown: u64) -> Timestamp {
        Timestamp::from_millis(shown.saturating_add_signed(-i64::from(self.0) * 1000))
    }
}

impl Seat {
    /// That of a node for a policy.
    pub fn new(node: NodeId, policy: &PolicyName, zone: UtcOffset) -> Self {
        let digest = sha256(&[SHARE_DOMAIN, node.as_bytes(), policy.as_str().as_bytes()]);
        let share = digest.as_bytes().iter().take(8).fold(0, |all, byte| all << 8 | u64::from(*byte));
        Self { share, zone }
    }

    /// Its share of a splay: at least nothing, and less than all of it.
    pub fn share_of(&self, splay: Duration) -> Duration {
        let millis = splay.as_millis().saturating_mul(u128::from(self.share)) >> 64;
        Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
    }
}

impl Window {
    /// Reads `01:00-05:00`.
    pub fn parse(text: &str) -> Option<Self> {
        let minute = |text: &str| {
            let (hour, minute) = text.split_once(':')?;
            let number = |text: &str| {
                let is_plain = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
                if is_plain { text.parse::<u16>().ok() } else { None }
            };
            let (hour, minute) = (number(hour)?, number(minute)?);
            (hour < 24 && minute < 60 || (hour, minute) == (24, 0)).then_some(hour * 60 + minute)
        };
        let (start, end) = text.split_once('-')?;
        let (start, end) = (minute(start)? % 1440, minute(end)? % 1440);
        (start != end).then_some(Self { start, end })
    }

    /// How long it is open.
    pub fn length(&self) -> Duration {
        let minutes = (u32::from(self.end) + 1440 - u32::from(self.start)) % 1440;
        Duration::from_secs(u64::from(minutes) * 60)
    }

    /// When it opened or will open: the last time that is not after, or else the next.
    fn opening(&self, shown: u64) -> Opening {
        let start = u64::from(self.start) * MINUTE_MS;
        let today = shown / DAY_MS * DAY_MS + start;
        let last = if today <= shown { today } else { today.saturating_sub(DAY_MS) };
        let length = u64::try_from(self.length().as_millis()).unwrap_or(DAY_MS);
        if shown - last < length {
            Opening::Open { since: last }
        } else {
            Opening::Closed { until: last + DAY_MS }
        }
    }
}

/// How a window stands.
enum Opening {
    Open { since: u64 },
    Closed { until: u64 },
}

impl Schedule {
    /// The longest time between two runs of a node that is always on.
    pub fn interval(&self) -> Duration {
        let gap = match &self.when {
            When::Continuous => CONTINUOUS_INTERVAL,
            When::Recurring(recurrence) => recurrence.longest_gap(),
        };
        let day = Duration::from_millis(DAY_MS);
        match &self.window {
            // What is due while it is closed waits, and it opens every day.
            Some(window) if gap < day => gap.saturating_add(day.saturating_sub(window.length())).min(day),
            _ => gap,
        }
    }

    /// The first time after this one at which it is due; none when there is none within eight years.
    pub fn next_due(&self, after: Timestamp, seat: &Seat) -> Option<Timestamp> {
        let share = seat.share_of(self.splay);
        let due = match &self.when {
            When::Continuous => after + CONTINUOUS_INTERVAL,
            When::Recurring(recurrence) => next(recurrence, after - share, seat.zone)? + share,
        };
        Some(self.in_window(due, seat))
    }

    /// When the next run begins: now or before now means at once.
    ///
    /// A policy that never ran begins once its share of the splay has passed. Runs that were missed are made up for by
    /// one; after a time away that one is spread as well, over a quarter of an hour at most.
    pub fn next_start(&self, past: &Past, now: Timestamp, seat: &Seat) -> Option<Timestamp> {
        let due = match past.last {
            // A clock that was ahead must not stop all runs until then.
            Some(last) => self.next_due(last.min(now), seat)?,
            None => self.in_window(past.since + seat.share_of(self.splay), seat),
        };
        if due > now {
            return Some(due);
        }
        let mut start = due;
        if due < past.awake {
            start = past.awake + seat.share_of(self.splay.min(CATCH_UP_SPLAY_MAX));
        }
        let Some(window) = &self.window else { return Some(start) };
        let shown = seat.zone.shown(now);
        match window.opening(shown) {
            // It opened after the run was due: spread, as at any other opening.
            Opening::Open { since } => {
                let since = seat.zone.instant(since);
                let opened = if start < since { since + self.share_of_window(window, seat) } else { start };
                Some(opened)
            }
            Opening::Closed { until } => Some(seat.zone.instant(until) + self.share_of_window(window, seat)),
        }
    }

    /// This time, or where the window is closed then, when a run may begin after it.
    pub fn in_window(&self, due: Timestamp, seat: &Seat) -> Timestamp {
        let Some(window) = &self.window else { return due };
        match window.opening(seat.zone.shown(due)) {
            Opening::Open { .. } => due,
            Opening::Closed { until } => seat.zone.instant(until) + self.share_of_window(window, seat),
        }
    }

    fn share_of_window(&self, window: &Window, seat: &Seat) -> Duration {
        seat.share_of(self.splay.min(window.length()))
    }
}

/// The first occurrence after this time.
fn next(recurrence: &Recurrence, after: Timestamp, zone: UtcOffset) -> Option<Timestamp> {
    match recurrence {
        Recurrence::Every(interval) => {
            // Counted from 1970, so that it is the same after every start.
            let interval = u64::try_from(interval.as_millis()).ok()?.max(1);
            Some(Timestamp::from_millis((after.as_millis() / interval + 1).checked_mul(interval)?))
        }
        Recurrence::Calendar(calendar) => {
            let shown = zone.shown(after);
            let first = shown / DAY_MS;
            (first..first + DAYS_MAX).filter(|day| calendar.has_day_number(*day)).find_map(|day| {
                let minutes = calendar.times().map(|(hour, minute)| u64::from(hour) * 60 + u64::from(minute));
                let mut times = minutes.map(|minute| day * DAY_MS + minute * MINUTE_MS);
                times.find(|time| *time > shown).map(|time| zone.instant(time))
            })
        }
    }
}

#[cfg(test)]
mod tests;
