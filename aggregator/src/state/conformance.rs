//! What every state store must do, written against the trait alone.
//!
//! A store's own tests call [`all`] with a way to open it: the same content each time, by a clock that the suite
//! sets.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use campanile_common::time::Timestamp;

use super::*;
use crate::os::clock::Clock;

/// A clock that stands until it is moved.
#[derive(Debug, Clone, Default)]
pub(super) struct HandClock(Arc<AtomicU64>);

impl HandClock {
    pub(super) fn clock(&self) -> Clock {
        let millis = self.0.clone();
        Clock::from_fn(move || Timestamp::from_millis(millis.load(Ordering::SeqCst)))
    }

    pub(super) fn advance(&self, duration: Duration) {
        self.0.fetch_add(u64::try_from(duration.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

/// Opens the store under test; the one opened before is closed by then.
pub(super) type Open<'a> = &'a dyn Fn(&HandClock) -> Store;

/// Runs everything; `open` is given a fresh name for each part.
pub(super) async fn all(open_named: &dyn Fn(&str, &HandClock) -> Store) {
    let open = |name: &'static str| move |clock: &HandClock| open_named(name, clock);
    values_are_kept_and_revisions_rise(&open("values")).await;
    a_transaction_is_all_or_nothing(&open("all-or-nothing")).await;
    a_transaction_without_effect_is_done_at_the_newest_revision(&open("no-effect")).await;
    of_many_that_race_exactly_one_wins(&open("race")).await;
    no_increment_is_lost(&open("increments")).await;
    ranges_are_ordered_bounded_and_paged(&open("ranges")).await;
    a_watch_sees_every_change_once_and_in_order(&open("watch")).await;
    a_watch_sees_its_prefix_alone(&open("watch-prefix")).await;
    a_watch_goes_on_after_its_future_was_dropped(&open("watch-dropped")).await;
    a_lease_that_is_not_renewed_takes_its_keys_with_it(&open("lease")).await;
    a_lease_that_is_renewed_stays(&open("lease-renewed")).await;
    a_revoked_lease_ends_at_once(&open("lease-revoked")).await;
    what_was_committed_is_there_after_opening_again(&open("reopen")).await;
    what_is_outside_the_limits_is_refused(&open("limits")).await;
}

async fn commit(store: &Store, compares: Vec<Compare>, writes: Vec<Write>) -> Committed {
    store.commit(Transaction { compares, writes }).await.unwrap()
}

async fn put(store: &Store, key: &str, value: &str) -> Revision {
    done(commit(store, vec![], vec![Write::put(key, value)]).await)
}

fn done(committed: Committed) -> Revision {
    match committed {
        Committed::Done(revision) => revision,
        Committed::Conflict => panic!("a conflict where none was expected"),
    }
}

fn delete(key: &str) -> Write {
    Write::Delete { key: key.to_owned() }
}

async fn keys(
    store: &Store,
    prefix: &str,
    after: Option<&str>,
    limit: usize,
    descending: bool,
) -> Vec<String> {
    let range = Range { prefix: prefix.to_owned(), after: after.map(str::to_owned), limit, descending };
    store.range(range).await.unwrap().into_iter().map(|entry| entry.key).collect()
}

async fn values_are_kept_and_revisions_rise(open: Open<'_>) {
    let store = open(&HandClock::default());
    assert_eq!(store.get("a").await.unwrap(), None);
    let first = put(&store, "a", "1").await;
    let second = put(&store, "b", "2").await;
    let third = put(&store, "a", "3").await;
    assert!(first < second && second < third);
    assert_eq!(store.revision().await.unwrap(), third);
    let entry = store.get("a").await.unwrap().unwrap();
    assert_eq!((entry.value.as_slice(), entry.revision), (&b"3"[..], third));
    let gone = done(commit(&store, vec![], vec![delete("a")]).await);
    assert!(gone > third);
    assert_eq!(store.get("a").await.unwrap(), None);
    assert_eq!(store.get("b").await.unwrap().unwrap().revision, second);
}

async fn a_transaction_is_all_or_nothing(open: Open<'_>) {
    let store = open(&HandClock::default());
    let revision = put(&store, "a", "1").await;
    let writes = || vec![Write::put("b", "new"), delete("a")];
    for compares in [
        vec![Compare::Absent("b".to_owned()), Compare::Absent("a".to_owned())],
        vec![Compare::At("a".to_owned(), Revision(revision.0 + 1))],
        vec![Compare::At("b".to_owned(), revision)],
    ] {
        assert_eq!(commit(&store, compares, writes()).await, Committed::Conflict);
        assert_eq!(keys(&store, "", None, 10, false).await, ["a"]);
        assert_eq!(store.revision().await.unwrap(), revision);
    }
    let compares = vec![Compare::At("a".to_owned(), revision), Compare::Absent("b".to_owned())];
    done(commit(&store, compares, writes()).await);
    assert_eq!(keys(&store, "", None, 10, false).await, ["b"]);
}

async fn a_transaction_without_effect_is_done_at_the_newest_revision(open: Open<'_>) {
    let store = open(&HandClock::default());
    let revision = put(&store, "a", "1").await;
    let compares = vec![Compare::At("a".to_owned(), revision)];
    assert_eq!(done(commit(&store, compares, vec![]).await), revision);
    assert_eq!(done(commit(&store, vec![], vec![delete("missing")]).await), revision);
    let compares = vec![Compare::Absent("a".to_owned())];
    assert_eq!(commit(&store, compares, vec![]).await, Committed::Conflict);
}

async fn of_many_that_race_exactly_one_wins(open: Open<'_>) {
    let store = open(&HandClock::default());
    for round in 0..5 {
        let key = format!("race/{round}");
        let tasks: Vec<_> = (0..100)
            .map(|task| {
                let (store, key) = (store.clone(), key.clone());
                tokio::spawn(async move {
                    let compares = vec![Compare::Absent(key.clone())];
                    (task, commit(&store, compares, vec![Write::put(key, task.to_string())]).await)
                })
            })
            .collect();
        let mut winners = Vec::new();
        for task in tasks {
            let (task, committed) = task.await.unwrap();
            if let Committed::Done(revision) = committed {
                winners.push((task, revision));
            }
        }
        assert_eq!(winners.len(), 1, "round {round}");
        let entry = store.get(&key).await.unwrap().unwrap();
        assert_eq!((entry.value, entry.revision), (winners[0].0.to_string().into_bytes(), winners[0].1));
    }
}

async fn no_increment_is_lost(open: Open<'_>) {
    let store = open(&HandClock::default());
    put(&store, "count", "0").await;
    let tasks: Vec<_> = (0..10)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                for _ in 0..10 {
                    loop {
                        let entry = store.get("count").await.unwrap().unwrap();
                        let count: u64 = String::from_utf8(entry.value).unwrap().parse().unwrap();
                        let compares = vec![Compare::At(entry.key, entry.revision)];
                        let writes = vec![Write::put("count", (count + 1).to_string())];
                        if commit(&store, compares, writes).await != Committed::Conflict {
                            break;
                        }
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(store.get("count").await.unwrap().unwrap().value, b"100");
}

async fn ranges_are_ordered_bounded_and_paged(open: Open<'_>) {
    let store = open(&HandClock::default());
    // `a0` and `a-` sort around `a/`: none of them is under it.
    for key in ["a/2", "b/1", "a/10", "a/1", "a0", "a-", "a/~", "a/!"] {
        put(&store, key, key).await;
    }
    let ascending = ["a/!", "a/1", "a/10", "a/2", "a/~"];
    let descending: Vec<&str> = ascending.iter().rev().copied().collect();
    assert_eq!(keys(&store, "a/", None, 100, false).await, ascending);
    assert_eq!(keys(&store, "a/", None, 100, true).await, descending);
    assert_eq!(keys(&store, "", None, 3, false).await, ["a-", "a/!", "a/1"]);
    assert_eq!(keys(&store, "", None, 2, true).await, ["b/1", "a0"]);
    assert_eq!(keys(&store, "a/", None, 0, false).await, [""; 0]);
    assert_eq!(keys(&store, "c", None, 9, false).await, [""; 0]);
    assert_eq!(keys(&store, "a/", Some("a/1"), 9, false).await, ["a/10", "a/2", "a/~"]);
    assert_eq!(keys(&store, "a/", Some("a/10"), 9, true).await, ["a/1", "a/!"]);
    // A place outside the prefix is before or behind everything.
    assert_eq!(keys(&store, "a/", Some("Z"), 9, false).await, ascending);
    assert_eq!(keys(&store, "a/", Some("z"), 9, true).await, descending);
    assert_eq!(keys(&store, "a/", Some("z"), 9, false).await, [""; 0]);
    for is_descending in [false, true] {
        let (mut paged, mut after) = (Vec::new(), None);
        loop {
            let page = keys(&store, "a/", after.as_deref(), 2, is_descending).await;
            let Some(last) = page.last().cloned() else { break };
            after = Some(last);
            paged.extend(page);
        }
        assert_eq!(paged, if is_descending { descending.clone() } else { ascending.to_vec() });
    }
}

async fn a_watch_sees_every_change_once_and_in_order(open: Open<'_>) {
    let store = open(&HandClock::default());
    let start = put(&store, "w/before", "0").await;
    let mut watch = store.watch("w/", start).await.unwrap();
    let mut expected = Vec::new();
    // Half of the changes are there when the watcher first looks, half come while it waits.
    for index in 0..50_u64 {
        expected.push(change_one(&store, index).await);
    }
    let writer = {
        let store = store.clone();
        tokio::spawn(async move {
            let mut made = Vec::new();
            for index in 50..100 {
                made.push(change_one(&store, index).await);
            }
            made
        })
    };
    let mut seen = Vec::new();
    while seen.len() < 100 {
        seen.extend(watch.next().await.unwrap());
    }
    expected.extend(writer.await.unwrap());
    assert_eq!(seen, expected);
    let mut late = store.watch("w/", expected[97].revision).await.unwrap();
    assert_eq!(late.next().await.unwrap(), expected[98..]);
}

async fn change_one(store: &Store, index: u64) -> Change {
    let key = format!("w/{}", index / 2);
    if index % 2 == 0 {
        let revision = put(store, &key, "v").await;
        return Change { key, value: Some(b"v".to_vec()), revision };
    }
    let revision = done(commit(store, vec![], vec![delete(&key)]).await);
    Change { key, value: None, revision }
}

async fn a_watch_sees_its_prefix_alone(open: Open<'_>) {
    let store = open(&HandClock::default());
    let mut watch = store.watch("node/", Revision(0)).await.unwrap();
    put(&store, "node", "x").await;
    put(&store, "node0", "x").await;
    let revision = done(
        commit(
            &store,
            vec![],
            vec![Write::put("node/1", "x"), Write::put("other", "x"), Write::put("node/0", "y")],
        )
        .await,
    );
    let change = |key: &str, value: &str| Change { key: key.into(), value: Some(value.into()), revision };
    assert_eq!(watch.next().await.unwrap(), [change("node/1", "x"), change("node/0", "y")]);
}

async fn a_watch_goes_on_after_its_future_was_dropped(open: Open<'_>) {
    let store = open(&HandClock::default());
    let mut watch = store.watch("", Revision(0)).await.unwrap();
    for _ in 0..10 {
        let waited = tokio::time::timeout(Duration::ZERO, watch.next()).await;
        assert!(waited.is_err(), "nothing has changed yet");
    }
    put(&store, "a", "1").await;
    assert_eq!(watch.next().await.unwrap().len(), 1);
}

const TTL: Duration = Duration::from_secs(10);

async fn put_leased(store: &Store, key: &str, lease: LeaseId) -> Committed {
    let write = Write::Put { key: key.to_owned(), value: b"held".to_vec(), lease: Some(lease) };
    commit(store, vec![Compare::Absent(key.to_owned())], vec![write]).await
}

async fn a_lease_that_is_not_renewed_takes_its_keys_with_it(open: Open<'_>) {
    let clock = HandClock::default();
    let store = open(&clock);
    let (mine, others) = (store.grant_lease(TTL).await.unwrap(), store.grant_lease(TTL * 3).await.unwrap());
    done(put_leased(&store, "leader", mine).await);
    let revision = done(put_leased(&store, "other", others).await);
    put(&store, "plain", "x").await;
    clock.advance(TTL - Duration::from_millis(1));
    assert_eq!(keys(&store, "", None, 9, false).await, ["leader", "other", "plain"]);
    let mut watch = store.watch("leader", revision).await.unwrap();
    clock.advance(Duration::from_millis(1));
    assert_eq!(store.get("leader").await.unwrap(), None);
    assert_eq!(keys(&store, "", None, 9, false).await, ["other", "plain"]);
    let changes = watch.next().await.unwrap();
    assert_eq!((changes.len(), &changes[0].value), (1, &None));
    assert!(!store.keep_lease(mine).await.unwrap());
    assert_eq!(put_leased(&store, "late", mine).await, Committed::Conflict);
    assert_eq!(store.get("late").await.unwrap(), None);
    done(put_leased(&store, "leader", others).await);
}

async fn a_lease_that_is_renewed_stays(open: Open<'_>) {
    let clock = HandClock::default();
    let store = open(&clock);
    let lease = store.grant_lease(TTL).await.unwrap();
    done(put_leased(&store, "leader", lease).await);
    for _ in 0..5 {
        clock.advance(TTL - Duration::from_secs(1));
        assert!(store.keep_lease(lease).await.unwrap());
    }
    assert!(store.get("leader").await.unwrap().is_some());
    // A key that is put again without the lease no longer depends on it.
    put(&store, "leader", "kept").await;
    clock.advance(TTL);
    assert_eq!(store.get("leader").await.unwrap().unwrap().value, b"kept");
}

async fn a_revoked_lease_ends_at_once(open: Open<'_>) {
    let store = open(&HandClock::default());
    let lease = store.grant_lease(TTL).await.unwrap();
    done(put_leased(&store, "leader", lease).await);
    store.revoke_lease(lease).await.unwrap();
    assert_eq!(store.get("leader").await.unwrap(), None);
    store.revoke_lease(lease).await.unwrap();
}

async fn what_was_committed_is_there_after_opening_again(open: Open<'_>) {
    let clock = HandClock::default();
    let mut store = open(&clock);
    let lease = store.grant_lease(TTL).await.unwrap();
    done(put_leased(&store, "leased", lease).await);
    let first = put(&store, "a", "1").await;
    for round in 0..3 {
        put(&store, &format!("round/{round}"), "x").await;
        let (entries, revision) = (everything(&store).await, store.revision().await.unwrap());
        drop(store);
        store = open(&clock);
        assert_eq!(everything(&store).await, entries);
        assert_eq!(store.revision().await.unwrap(), revision);
    }
    let mut watch = store.watch("round/", first).await.unwrap();
    assert_eq!(watch.next().await.unwrap().len(), 3);
    clock.advance(TTL * 2);
    assert_eq!(store.get("leased").await.unwrap(), None);
}

async fn everything(store: &Store) -> Vec<Entry> {
    let range = Range { prefix: String::new(), after: None, limit: 1000, descending: false };
    store.range(range).await.unwrap()
}

async fn what_is_outside_the_limits_is_refused(open: Open<'_>) {
    let store = open(&HandClock::default());
    for key in ["", "with space", "ä"] {
        let transaction = Transaction { compares: vec![], writes: vec![Write::put(key, "x")] };
        assert!(matches!(store.commit(transaction).await, Err(StateError::Invalid { .. })), "{key:?}");
    }
    for ttl in [Duration::ZERO, Duration::from_secs(1_000_000)] {
        assert!(matches!(store.grant_lease(ttl).await, Err(StateError::Invalid { .. })));
    }
    assert_eq!(everything(&store).await, []);
}
