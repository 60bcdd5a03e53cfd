//! Lock-out after failed sign-ins, by name and by source. Pure; memory only, so a restart forgives.
//!
//! An attempt counts as failed from its beginning and is taken back when it succeeds: many at the same moment get no
//! more tries than one after the other.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use campanile_common::time::Timestamp;

/// Failures of one name before it is locked.
const NAME_FREE: u32 = 5;
/// Failures from one source before it is locked; several people may sit behind one address.
const SOURCE_FREE: u32 = 20;
/// First delay; each further failure doubles it.
const DELAY_MIN: Duration = Duration::from_secs(1);
/// Longest delay: about a hundred guesses a day, and a person whose name is attacked waits no longer.
const DELAY_MAX: Duration = Duration::from_secs(15 * 60);
/// A counter without a failure for so long is forgotten.
const MEMORY: Duration = Duration::from_secs(24 * 3600);
/// Counters of each kind. When full, the one with the fewest failures goes, the oldest among equals.
const COUNTERS_MAX: usize = 4096;
/// Longest text that is kept of a name or source.
const TEXT_BYTES_MAX: usize = 64;

#[derive(Debug, Clone, Copy)]
struct Counter {
    failures: u32,
    last: Timestamp,
    locked_until: Timestamp,
}

#[derive(Debug)]
struct Table {
    free: u32,
    counters: BTreeMap<String, Counter>,
}

/// All counters.
#[derive(Debug)]
pub(super) struct Lockout {
    names: Table,
    sources: Table,
}

impl Default for Lockout {
    fn default() -> Self {
        let table = |free| Table { free, counters: BTreeMap::new() };
        Self { names: table(NAME_FREE), sources: table(SOURCE_FREE) }
    }
}

impl Lockout {
    /// Begins an attempt, counted as failed until [`Lockout::succeed`] or [`Lockout::forgive`].
    ///
    /// # Errors
    /// How long to wait, when name or source is locked.
    pub(super) fn begin(&mut self, now: Timestamp, name: &str, source: &str) -> Result<(), Duration> {
        let (name, source) = (name_key(name), source_key(source));
        let wait = self.names.wait(now, &name).max(self.sources.wait(now, &source));
        if !wait.is_zero() {
            return Err(wait);
        }
        self.names.count(now, name);
        self.sources.count(now, source);
        Ok(())
    }

    /// The attempt was good: the name begins anew.
    pub(super) fn succeed(&mut self, name: &str, source: &str) {
        self.names.counters.remove(&name_key(name));
        self.sources.take_back(&source_key(source));
    }

    /// The attempt was neither good nor bad.
    pub(super) fn forgive(&mut self, name: &str, source: &str) {
        self.names.take_back(&name_key(name));
        self.sources.take_back(&source_key(source));
    }

    /// Until when a name is locked.
    pub(super) fn locked_until(&mut self, now: Timestamp, name: &str) -> Option<Timestamp> {
        let wait = self.names.wait(now, &name_key(name));
        (!wait.is_zero()).then(|| now + wait)
    }
}

fn name_key(name: &str) -> String {
    cut(&name.to_lowercase())
}

/// Who has an IPv6 network has all of it.
fn source_key(source: &str) -> String {
    match source.parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(IpAddr::V6(address)) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
        Ok(IpAddr::V4(address)) => address.to_string(),
        Err(_) => cut(source),
    }
}

fn cut(text: &str) -> String {
    text.chars()
        .scan(0, |bytes, c| {
            *bytes += c.len_utf8();
            (*bytes <= TEXT_BYTES_MAX).then_some(c)
        })
        .collect()
}

impl Table {
    fn delay(&self, failures: u32) -> Duration {
        match failures.checked_sub(self.free) {
            None => Duration::ZERO,
            Some(doublings) => (DELAY_MIN * 2_u32.pow(doublings.min(20))).min(DELAY_MAX),
        }
    }

    fn wait(&mut self, now: Timestamp, key: &str) -> Duration {
        let Some(counter) = self.counters.get(key).copied() else { return Duration::ZERO };
        if now.since(counter.last) > MEMORY {
            self.counters.remove(key);
            return Duration::ZERO;
        }
        // After the clock was set back, nobody waits longer than one delay.
        counter.locked_until.since(now).min(self.delay(counter.failures))
    }

    fn count(&mut self, now: Timestamp, key: String) {
        if !self.counters.contains_key(&key) && self.counters.len() >= COUNTERS_MAX {
            let weakest = self.counters.iter().min_by_key(|(_, counter)| (counter.failures, counter.last));
            if let Some(weakest) = weakest.map(|(key, _)| key.clone()) {
                self.counters.remove(&weakest);
            }
        }
        let failures = self.counters.get(&key).map_or(0, |counter| counter.failures).saturating_add(1);
        let locked_until = now + self.delay(failures);
        self.counters.insert(key, Counter { failures, last: now, locked_until });
    }

    fn take_back(&mut self, key: &str) {
        let Some(counter) = self.counters.get_mut(key) else { return };
        counter.failures = counter.failures.saturating_sub(1);
        // Without this attempt there would be no lock: a locked one does not begin.
        counter.locked_until = counter.last;
        if counter.failures == 0 {
            self.counters.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(1_000_000_000 + seconds * 1000)
    }

    #[test]
    fn a_name_is_locked_after_five_failures_and_ever_longer() {
        let mut lockout = Lockout::default();
        for source in 0..5 {
            lockout.begin(at(0), "ada", &format!("10.0.0.{source}")).unwrap();
        }
        assert_eq!(lockout.begin(at(0), "ADA", "10.1.0.0"), Err(Duration::from_secs(1)));
        assert_eq!(lockout.locked_until(at(0), "ada"), Some(at(1)));
        lockout.begin(at(1), "ada", "10.1.0.1").unwrap();
        assert_eq!(lockout.begin(at(1), "ada", "10.1.0.2"), Err(Duration::from_secs(2)));
        lockout.begin(at(3), "ada", "10.1.0.3").unwrap();
        assert_eq!(lockout.begin(at(3), "ada", "10.1.0.4"), Err(Duration::from_secs(4)));
        lockout.begin(at(0), "eve", "10.1.0.5").unwrap();
    }

    #[test]
    fn a_locked_attempt_does_not_lengthen_the_lock_and_no_lock_is_endless() {
        let (mut lockout, mut now) = (Lockout::default(), 0);
        for round in 0..40_u32 {
            while let Err(wait) = lockout.begin(at(now), "ada", &format!("10.0.{round}.1")) {
                assert!(wait <= DELAY_MAX);
                now += 1;
            }
        }
        assert_eq!(lockout.begin(at(now), "ada", "1.1.1.1"), Err(DELAY_MAX));
        assert_eq!(lockout.begin(at(now) - Duration::from_secs(7200), "ada", "1.1.1.1"), Err(DELAY_MAX));
        assert!(lockout.begin(at(now) + MEMORY + DELAY_MAX, "ada", "1.1.1.1").is_ok());
        assert_eq!(lockout.locked_until(at(now) + MEMORY + DELAY_MAX, "ada"), None, "forgotten");
    }

    #[test]
    fn a_source_is_locked_whatever_names_it_tries() {
        let mut lockout = Lockout::default();
        for name in 0..20 {
            lockout.begin(at(0), &format!("name{name}"), "2001:db8::1").unwrap();
        }
        assert!(lockout.begin(at(0), "another", "2001:db8::ffff").is_err(), "the same network");
        assert!(lockout.begin(at(0), "another", "2001:db8:0:1::1").is_ok());
    }

    #[test]
    fn success_frees_the_name_and_forgiveness_takes_one_back() {
        let mut lockout = Lockout::default();
        for _ in 0..4 {
            lockout.begin(at(0), "ada", "s").unwrap();
        }
        for _ in 0..30 {
            lockout.begin(at(0), "ada", "s").unwrap();
            lockout.forgive("ada", "s");
        }
        lockout.begin(at(0), "ada", "s").unwrap();
        lockout.succeed("ada", "s");
        for _ in 0..5 {
            lockout.begin(at(0), "ada", "t").unwrap();
        }
        assert!(lockout.begin(at(0), "ada", "t").is_err());
    }

    #[test]
    fn memory_is_bounded_and_a_flood_does_not_wash_a_lock_away() {
        let mut lockout = Lockout::default();
        for _ in 0..5 {
            lockout.begin(at(0), "ada", "s").unwrap();
        }
        for index in 0..3 * COUNTERS_MAX {
            lockout.begin(at(0), &format!("flood{index}{}", "x".repeat(500)), &index.to_string()).unwrap();
        }
        assert!(
            lockout.names.counters.len() <= COUNTERS_MAX && lockout.sources.counters.len() <= COUNTERS_MAX
        );
        assert!(lockout.names.counters.keys().all(|key| key.len() <= TEXT_BYTES_MAX));
        assert!(lockout.begin(at(0), "ada", "t").is_err());
    }
}
