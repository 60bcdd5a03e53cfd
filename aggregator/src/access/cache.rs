//! Callers that were verified a moment ago, so that a burst of requests reads the store once. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use campanile_common::id::Digest;
use campanile_common::time::Timestamp;

use super::Actor;

/// How long a change by another process may go unnoticed; one by this process never does.
const AGE_MAX: Duration = Duration::from_secs(3);
/// Callers that are remembered; when full, all are verified anew.
const ACTORS_MAX: usize = 1024;

/// The callers, by the digest of their secret.
#[derive(Debug, Default)]
pub(super) struct ActorCache {
    actors: BTreeMap<Digest, (Actor, Timestamp)>,
    /// Rises when everything is forgotten.
    generation: u64,
}

impl ActorCache {
    pub(super) fn get(&self, secret: &Digest, now: Timestamp) -> Option<Actor> {
        let (actor, verified_at) = self.actors.get(secret)?;
        let is_fresh = *verified_at <= now && now.since(*verified_at) < AGE_MAX && now < actor.expires_at;
        is_fresh.then(|| actor.clone())
    }

    /// To be given back with what is read from the store from now on.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Remembers a caller, unless something was changed since `generation`.
    pub(super) fn put(&mut self, secret: Digest, actor: Actor, now: Timestamp, generation: u64) {
        if generation != self.generation {
            return;
        }
        if self.actors.len() >= ACTORS_MAX {
            self.actors.clear();
        }
        self.actors.insert(secret, (actor, now));
    }

    /// Forgets everybody: something was changed.
    pub(super) fn forget(&mut self) {
        self.actors.clear();
        self.generation += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn actor(expires_at: Timestamp) -> Actor {
        Actor::new("person:ada".to_owned(), "ada".to_owned(), Vec::new(), expires_at)
    }

    fn digest(number: u32) -> Digest {
        campanile_common::authority::sha256(&[&number.to_be_bytes()])
    }

    #[test]
    fn a_caller_is_remembered_for_a_moment_and_never_past_its_end() {
        let mut cache = ActorCache::default();
        cache.put(digest(1), actor(at(1000)), at(100), 0);
        assert!(cache.get(&digest(1), at(102)).is_some());
        assert!(cache.get(&digest(1), at(103)).is_none() && cache.get(&digest(1), at(99)).is_none());
        cache.put(digest(1), actor(at(101)), at(100), 0);
        assert!(cache.get(&digest(1), at(101)).is_none());
    }

    #[test]
    fn what_was_read_before_a_change_is_not_remembered_after_it() {
        let mut cache = ActorCache::default();
        let generation = cache.generation();
        cache.forget();
        cache.put(digest(1), actor(at(1000)), at(100), generation);
        assert!(cache.get(&digest(1), at(100)).is_none());
    }

    #[test]
    fn memory_is_bounded() {
        let mut cache = ActorCache::default();
        for number in 0..5000 {
            cache.put(digest(number), actor(at(1000)), at(100), 0);
            assert!(cache.actors.len() <= ACTORS_MAX);
        }
    }
}
