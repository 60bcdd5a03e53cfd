//! Whether every loop of a daemon still goes round. Pure: who asks decides how often.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Turns that a loop may miss.
const PATIENCE: u64 = 2;

/// The loops of a daemon, looked at in turns.
#[derive(Debug, Default)]
pub struct Pulses {
    turn: Arc<AtomicU64>,
    beats: Vec<(&'static str, Arc<AtomicU64>)>,
}

/// Shows that one loop goes round.
#[derive(Debug, Clone)]
pub struct Beat {
    turn: Arc<AtomicU64>,
    seen: Arc<AtomicU64>,
}

impl Pulses {
    /// A loop that is looked at from now on.
    pub fn add(&mut self, name: &'static str) -> Beat {
        let seen = Arc::new(AtomicU64::new(self.turn.load(Ordering::Relaxed)));
        self.beats.push((name, Arc::clone(&seen)));
        Beat { turn: Arc::clone(&self.turn), seen }
    }

    /// Names the loops that stood still for two turns, and begins the next.
    pub fn turn(&self) -> Vec<&'static str> {
        let oldest = self.turn.fetch_add(1, Ordering::Relaxed).saturating_sub(PATIENCE - 1);
        let late = |(_, seen): &&(_, Arc<AtomicU64>)| seen.load(Ordering::Relaxed) < oldest;
        self.beats.iter().filter(late).map(|(name, _)| *name).collect()
    }
}

impl Beat {
    /// The loop goes round.
    pub fn beat(&self) {
        self.seen.store(self.turn.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_that_stands_still_is_named_after_two_turns_and_forgiven_when_it_goes_on() {
        let mut pulses = Pulses::default();
        let (still, alive) = (pulses.add("still"), pulses.add("alive"));
        let turn = || {
            alive.beat();
            pulses.turn()
        };
        still.beat();
        assert_eq!([turn(), turn(), turn(), turn()], [vec![], vec![], vec!["still"], vec!["still"]]);
        still.beat();
        assert!(turn().is_empty());
    }

    #[test]
    fn a_loop_that_is_added_late_has_the_same_patience() {
        let mut pulses = Pulses::default();
        (0..9).for_each(|_| assert!(pulses.turn().is_empty()));
        let _late = pulses.add("late");
        assert_eq!([pulses.turn(), pulses.turn(), pulses.turn()], [vec![], vec![], vec!["late"]]);
    }
}
