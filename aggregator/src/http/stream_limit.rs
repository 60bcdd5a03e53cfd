//! How many streams of a kind may be open: per actor, so that nobody takes them all, and in total.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::failure::{Failure, Outcome};

/// A person with a dozen open pages is still served.
const ACTOR_STREAMS_MAX: usize = 16;
/// Each costs a task, a connection and a queue.
const STREAMS_MAX: usize = 256;

/// Counts open streams.
#[derive(Debug, Default)]
pub(super) struct StreamLimit {
    open: Mutex<BTreeMap<String, usize>>,
}

/// One open stream; counts until it is dropped.
#[derive(Debug)]
pub(super) struct OpenStream {
    limit: Arc<StreamLimit>,
    actor: String,
}

impl StreamLimit {
    /// Opens one more, or says which limit forbids it.
    pub(super) fn open(self: &Arc<Self>, actor: &str) -> Outcome<OpenStream> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.values().sum::<usize>() >= STREAMS_MAX {
            return Err(Failure::rate_limited(format!(
                "all {STREAMS_MAX} streams of this kind are taken; try again later"
            )));
        }
        let own = open.entry(actor.to_owned()).or_default();
        if *own >= ACTOR_STREAMS_MAX {
            return Err(Failure::rate_limited(format!(
                "{actor} has {ACTOR_STREAMS_MAX} streams of this kind open, which is the most; close one"
            )));
        }
        *own += 1;
        Ok(OpenStream { limit: Arc::clone(self), actor: actor.to_owned() })
    }

    /// How many are open.
    pub(super) fn count(&self) -> usize {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).values().sum()
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let mut open = self.limit.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = open.get_mut(&self.actor) {
            *own -= 1;
            if *own == 0 {
                open.remove(&self.actor);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_actor_cannot_take_the_streams_of_others() {
        let limit = Arc::new(StreamLimit::default());
        let held: Vec<_> = (0..ACTOR_STREAMS_MAX).map(|_| limit.open("token:a").unwrap()).collect();
        assert!(limit.open("token:a").is_err());
        assert!(limit.open("token:b").is_ok());
        drop(held);
        assert!(limit.open("token:a").is_ok());
        assert_eq!(limit.count(), 0);
    }

    #[test]
    fn the_total_is_bounded() {
        let limit = Arc::new(StreamLimit::default());
        let held: Vec<_> =
            (0..STREAMS_MAX).map(|index| limit.open(&format!("token:{index}")).unwrap()).collect();
        assert_eq!(limit.count(), STREAMS_MAX);
        assert!(limit.open("token:another").is_err());
        drop(held);
    }
}
