//! Which objects are read back next. Pure.
//!
//! A cycle goes through all objects in the order of their names and begins anew when its time is over. What comes in
//! behind the place that was reached waits for the next cycle: its bytes were compared with their name on arrival.

use std::ops::Bound::{Excluded, Unbounded};
use std::time::Duration;

use campanile_common::backup::StoredObject;
use campanile_common::time::Timestamp;
use campanile_common::unit::ByteCount;

use super::account::Account;

const STEP_OBJECTS_MAX: usize = 256;
const STEP_BYTES_MAX: u64 = 32 << 20;

/// How objects are read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifySettings {
    /// Everything is read once in this time, if the rate lets it.
    pub cycle: Duration,
    /// Most bytes in a second.
    pub rate: ByteCount,
}

impl Default for VerifySettings {
    fn default() -> Self {
        Self { cycle: Duration::from_secs(7 * 86_400), rate: ByteCount::mebibytes(16) }
    }
}

/// How much is read in one step.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// When the next cycle begins after the end of the last.
    pub cycle: Duration,
    /// Objects, at most.
    pub objects_max: usize,
    /// No more objects follow once these bytes are reached.
    pub bytes_max: u64,
}

impl Step {
    /// One that a stop waits little for, and beside which its line in the journal is nothing.
    pub(super) fn of(settings: &VerifySettings) -> Self {
        Self { cycle: settings.cycle, objects_max: STEP_OBJECTS_MAX, bytes_max: STEP_BYTES_MAX }
    }
}

/// The next objects; an empty list ends the cycle, none says that nothing is due.
pub(super) fn next_step(account: &Account, step: &Step, now: Timestamp) -> Option<Vec<StoredObject>> {
    let progress = account.progress;
    let is_resting = progress.last.is_none() && progress.ended.is_some_and(|ended| now < ended + step.cycle);
    if account.objects.is_empty() || is_resting {
        return None;
    }
    let start = progress.last.map_or(Unbounded, Excluded);
    let mut bytes = 0;
    let mut objects = Vec::new();
    for (object, receipt) in account.objects.range((start, Unbounded)).take(step.objects_max) {
        objects.push(*object);
        bytes += receipt.size;
        if bytes >= step.bytes_max {
            break;
        }
    }
    Some(objects)
}

/// How long to rest after `bytes`, so that neither the rate is passed nor the cycle over long before its time.
pub(super) fn rest(settings: &VerifySettings, stored: u64, bytes: u64) -> Duration {
    let milliseconds = settings.cycle.as_millis().max(1);
    // Twice as fast as the cycle asks, so that it ends in its time in spite of stops.
    let even = u128::from(stored).saturating_mul(2000) / milliseconds;
    let rate = even.clamp(1 << 20, u128::from(settings.rate.0.max(1 << 20)));
    Duration::from_millis(u64::try_from(u128::from(bytes) * 1000 / rate).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use campanile_common::backup::StoredKind;
    use campanile_common::id::Digest;

    use super::super::record::Record;
    use super::*;

    const STEP: Step = Step { cycle: Duration::from_secs(10), objects_max: 3, bytes_max: 100 };

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn pack(number: u8) -> StoredObject {
        StoredObject::new(StoredKind::Pack, Digest::from_bytes([number; 32]))
    }

    fn account(sizes: &[u64]) -> Account {
        let stored = sizes.iter().zip(1..).map(|(size, number)| Record::Stored {
            object: pack(number),
            size: *size,
            at: at(0),
            bound: None,
        });
        Account::replay(&stored.collect::<Vec<_>>())
    }

    #[test]
    fn a_cycle_reaches_every_object_once_and_rests() {
        let mut account = account(&[10, 95, 10, 10, 10, 10]);
        let mut read = Vec::new();
        loop {
            let objects = next_step(&account, &STEP, at(1)).unwrap();
            let Some(last) = objects.last().copied() else { break };
            let after = account.progress.last;
            read.push(objects.len());
            account.apply(&Record::Verified { after, last, at: at(1) });
        }
        assert_eq!(read, [2, 3, 1]);
        account.apply(&Record::CycleEnded { at: at(1) });
        assert_eq!(account.coverage(at(1)), Some(1.0));
        assert_eq!(next_step(&account, &STEP, at(10)), None);
        assert_eq!(next_step(&account, &STEP, at(11)).unwrap().len(), 2);
    }

    #[test]
    fn nothing_stored_is_nothing_due() {
        assert_eq!(next_step(&Account::default(), &STEP, at(1)), None);
    }

    #[test]
    fn reading_back_keeps_its_rate_and_spreads_over_the_cycle() {
        let settings = VerifySettings { cycle: Duration::from_secs(1000), rate: ByteCount(16 << 20) };
        // 4 GiB in 500 s: 8.6 MB a second.
        let pause = rest(&settings, 4 << 30, 8_589_934).as_millis();
        assert!((990..=1010).contains(&pause), "{pause} ms");
        assert_eq!(rest(&settings, 1 << 50, 16 << 20), Duration::from_secs(1));
        assert_eq!(rest(&settings, 0, 1 << 20), Duration::from_secs(1));
    }
}
