//! Tries again what failed for want of a connection, for a while, and says so.
//!
//! A place that never answered is given up soon: its address is likely wrong. One that did is waited for as long as a
//! machine takes to come back.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use campanile_backup::backend::BackendError;
use campanile_common::backoff::Backoff;

use crate::os::random;
use crate::os::stopwatch::{Stopwatch, pause};

/// How long a place that has answered before is waited for.
const AGAIN: Duration = Duration::from_secs(15 * 60);
/// How long one that never did is.
const FIRST: Duration = Duration::from_secs(20);
/// While it is away that is said so often.
const TOLD_EVERY: Duration = Duration::from_secs(60);
/// How often a wait looks whether the program is to stop.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Says something to whoever looks on.
type Tell = dyn Fn(String) + Send + Sync;

/// An attempt that came to nothing.
#[derive(Debug)]
pub(super) enum Failure {
    /// The next may go well.
    Passing(String),
    /// It would go the same way.
    Lasting(BackendError),
}

impl From<BackendError> for Failure {
    fn from(error: BackendError) -> Self {
        Self::Lasting(error)
    }
}

/// How long to try, whom to tell, and when to stop.
#[derive(Clone)]
pub(in crate::backup) struct Patience {
    first: Duration,
    again: Duration,
    tell: Arc<Tell>,
    stop: Arc<AtomicBool>,
    has_answered: Arc<AtomicBool>,
}

impl fmt::Debug for Patience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Patience")
            .field("first", &self.first)
            .field("again", &self.again)
            .finish_non_exhaustive()
    }
}

impl Patience {
    pub(in crate::backup) fn new(tell: Arc<Tell>, stop: Arc<AtomicBool>) -> Self {
        Self { first: FIRST, again: AGAIN, tell, stop, has_answered: Arc::default() }
    }

    /// Tries until it goes well, cannot go well, or takes too long. `place` is called `place` in what is said.
    pub(super) fn patiently<T>(
        &self,
        place: &dyn fmt::Display,
        mut attempt: impl FnMut() -> Result<T, Failure>,
    ) -> Result<T, BackendError> {
        let (watch, mut backoff) = (Stopwatch::start(), Backoff::default());
        let mut told: Option<Duration> = None;
        loop {
            let why = match attempt() {
                Ok(done) => {
                    self.has_answered.store(true, Ordering::Relaxed);
                    return Ok(done);
                }
                Err(Failure::Lasting(error)) => return Err(error),
                Err(Failure::Passing(why)) => why,
            };
            let (elapsed, wait) = (watch.elapsed(), backoff.next_wait(random::number()));
            let most = if self.has_answered.load(Ordering::Relaxed) { self.again } else { self.first };
            if elapsed + wait > most || self.is_stopping() {
                return Err(BackendError::Unreachable(why));
            }
            if told.is_none_or(|told| elapsed.saturating_sub(told) >= TOLD_EVERY) {
                (self.tell)(format!("{place} does not do as it should, trying again: {why}"));
                told = Some(elapsed);
            }
            self.wait(wait);
        }
    }

    fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn wait(&self, duration: Duration) {
        let watch = Stopwatch::start();
        while !self.is_stopping() {
            let left = duration.saturating_sub(watch.elapsed());
            if left.is_zero() {
                return;
            }
            pause(left.min(LOOK_INTERVAL));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn patience(most: Duration) -> (Patience, Arc<Mutex<Vec<String>>>) {
        let said = Arc::new(Mutex::new(Vec::new()));
        let to = Arc::clone(&said);
        let tell = Arc::new(move |text| to.lock().unwrap().push(text));
        (Patience { first: most, again: most, ..Patience::new(tell, Arc::default()) }, said)
    }

    #[test]
    fn what_fails_for_a_while_is_tried_again_and_told_once() {
        let (patience, said) = patience(Duration::from_secs(60));
        let mut left = 3;
        let done = patience.patiently(&"the bucket", || {
            left -= 1;
            if left == 0 { Ok(7) } else { Err(Failure::Passing("busy".to_owned())) }
        });
        assert_eq!(done.unwrap(), 7);
        let said = said.lock().unwrap();
        assert!(said.len() == 1 && said[0].contains("the bucket") && said[0].contains("busy"), "{said:?}");
    }

    #[test]
    fn what_cannot_go_well_is_tried_once() {
        let (patience, said) = patience(Duration::from_secs(60));
        let mut tried = 0;
        let done: Result<(), _> = patience.patiently(&"it", || {
            tried += 1;
            Err(Failure::Lasting(BackendError::Unreachable("never".to_owned())))
        });
        assert!(done.is_err() && tried == 1 && said.lock().unwrap().is_empty());
    }

    #[test]
    fn patience_ends_and_a_stop_ends_it_at_once() {
        let (short, _) = patience(Duration::ZERO);
        let fail = || Err::<(), _>(Failure::Passing("cut".to_owned()));
        assert!(matches!(short.patiently(&"it", fail), Err(BackendError::Unreachable(why)) if why == "cut"));
        let (long, _) = patience(Duration::from_secs(3600));
        long.stop.store(true, Ordering::Relaxed);
        assert!(long.patiently(&"it", fail).unwrap_err().is_transient());
    }
}
