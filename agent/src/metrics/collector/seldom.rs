//! A source that is asked seldom, on a thread of its own, and whose last answer holds in between.

use std::time::Duration;

use super::{CollectError, Round};
use crate::os::errand::Errand;

/// Rounds that must pass besides the deadline: after a stall of this process the thread gets its turn first.
const SILENT_ROUNDS_MIN: u32 = 2;
/// An answer holds for this many intervals.
const HOLDS_INTERVALS: u32 = 3;

/// One such source.
#[derive(Debug)]
pub struct Seldom<T> {
    what: &'static str,
    interval: Duration,
    deadline: Duration,
    under_way: Option<UnderWay<T>>,
    /// When the next question is due.
    due: Duration,
    answer: Option<(Duration, T)>,
}

#[derive(Debug)]
struct UnderWay<T> {
    errand: Errand<T>,
    since: Duration,
    rounds: u32,
}

impl<T: Send + 'static> Seldom<T> {
    /// Asks every `interval`; an answer that takes longer than `deadline` is a failure until it comes.
    pub fn new(what: &'static str, interval: Duration, deadline: Duration) -> Self {
        Self { what, interval, deadline, under_way: None, due: Duration::ZERO, answer: None }
    }

    /// Takes an answer that has come, asks anew when it is time, and gives the answer that holds.
    ///
    /// # Errors
    /// When the source does not answer, or no thread can be started.
    pub fn poll<W>(
        &mut self,
        round: &mut Round<'_>,
        work: impl FnOnce() -> W,
    ) -> Result<Option<&T>, CollectError>
    where
        W: FnOnce() -> T + Send + 'static,
    {
        self.take_answer(round.uptime)?;
        if self.under_way.is_none() && round.uptime >= self.due && round.starts > 0 {
            round.starts -= 1;
            self.due = round.uptime + self.interval;
            let work = work();
            let errand = Errand::start(self.what, 1, move |answers| {
                // Nobody listens any more when the sampler is gone.
                drop(answers.try_send(work()));
            })
            .map_err(|error| CollectError::Failed { what: self.what, reason: error.to_string() })?;
            self.under_way = Some(UnderWay { errand, since: round.uptime, rounds: 0 });
        }
        let holds = self.interval * HOLDS_INTERVALS;
        Ok(self.answer.as_ref().filter(|(at, _)| round.uptime < *at + holds).map(|(_, answer)| answer))
    }

    fn take_answer(&mut self, uptime: Duration) -> Result<(), CollectError> {
        let Some(under_way) = &mut self.under_way else { return Ok(()) };
        // Asked in this order, since the answer comes before the end.
        let is_finished = under_way.errand.is_finished();
        if let Some(answer) = under_way.errand.next_answer() {
            self.answer = Some((uptime, answer));
            self.under_way = None;
            return Ok(());
        }
        if is_finished {
            self.under_way = None;
            self.answer = None;
            return Err(CollectError::Failed { what: self.what, reason: "its thread panicked".to_owned() });
        }
        under_way.rounds += 1;
        let silent = uptime.saturating_sub(under_way.since);
        if silent >= self.deadline && under_way.rounds >= SILENT_ROUNDS_MIN {
            return Err(CollectError::Silent { what: self.what, silent });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, channel};

    fn seldom() -> Seldom<u32> {
        Seldom::new("test", Duration::from_secs(10), Duration::from_secs(5))
    }

    /// Polls until the thread has ended or `done` holds; a thread under way ends by itself, so this does too.
    fn poll_until(
        seldom: &mut Seldom<u32>,
        uptime: u64,
        done: impl Fn(&Result<Option<u32>, CollectError>) -> bool,
        work: impl Fn() -> u32 + Clone + Send + 'static,
    ) -> Result<Option<u32>, CollectError> {
        loop {
            let got = poll(seldom, uptime, work.clone());
            if done(&got) {
                return got;
            }
            std::thread::yield_now();
        }
    }

    fn poll(
        seldom: &mut Seldom<u32>,
        uptime: u64,
        work: impl FnOnce() -> u32 + Send + 'static,
    ) -> Result<Option<u32>, CollectError> {
        let mut buffer = Vec::new();
        let mut round = Round { uptime: Duration::from_secs(uptime), starts: 1, buffer: &mut buffer };
        seldom.poll(&mut round, || work).map(|answer| answer.copied())
    }

    fn held_up(gate: Receiver<()>) -> impl FnOnce() -> u32 + Send + 'static {
        move || {
            let _ = gate.recv();
            7
        }
    }

    #[test]
    fn an_answer_holds_until_the_next_and_no_longer_than_three_intervals() {
        let mut seldom = seldom();
        let got = poll_until(&mut seldom, 0, |got| matches!(got, Ok(Some(_))), || 1);
        assert_eq!(got.unwrap(), Some(1));
        assert_eq!(poll(&mut seldom, 9, || 2).unwrap(), Some(1), "not asked again before its time");
        let (_open, gate) = channel();
        assert_eq!(poll(&mut seldom, 10, held_up(gate)).unwrap(), Some(1));
        assert!(seldom.answer.as_ref().is_some_and(|(at, _)| *at == Duration::ZERO));
        assert!(poll(&mut seldom, 14, || 3).is_ok());
    }

    #[test]
    fn a_silent_source_fails_after_its_deadline_until_it_answers() {
        let mut seldom = seldom();
        let (open, gate) = channel();
        assert_eq!(poll(&mut seldom, 0, held_up(gate)).unwrap(), None);
        assert_eq!(poll(&mut seldom, 4, || 1).unwrap(), None);
        let error = poll(&mut seldom, 5, || 1).unwrap_err();
        assert_eq!(error.to_string(), "test has given no answer for 5s");
        open.send(()).unwrap();
        let got = poll_until(&mut seldom, 6, Result::is_ok, || 1);
        assert_eq!(got.unwrap(), Some(7));
    }

    #[test]
    fn one_stall_of_the_whole_process_is_no_failure() {
        let mut seldom = seldom();
        let (_open, gate) = channel();
        assert!(poll(&mut seldom, 0, held_up(gate)).is_ok());
        assert!(poll(&mut seldom, 3600, || 1).is_ok());
        assert!(poll(&mut seldom, 3601, || 1).is_err());
    }

    #[test]
    fn a_source_that_panics_fails_once_and_is_asked_again() {
        let mut seldom = seldom();
        let got = poll_until(&mut seldom, 0, Result::is_err, || panic!("on purpose"));
        assert!(matches!(got, Err(CollectError::Failed { .. })));
        let got = poll_until(&mut seldom, 10, |got| matches!(got, Ok(Some(_))), || 4);
        assert_eq!(got.unwrap(), Some(4));
    }
}
