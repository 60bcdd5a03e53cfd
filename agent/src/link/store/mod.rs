//! The backup store of the aggregator as a [`Backend`]: blocking outside, one QUIC connection inside.
//!
//! For the backup process, which has no runtime of its own. A thread drives the connection; whoever calls waits on its
//! own thread and lends its bytes, so that a pack is not copied. While the aggregator is away a call waits and asks
//! again, for as long as the caller has patience: every request may be repeated.
//!
//! At most [`STREAMS_MAX`] requests are under way; further callers wait. Memory: what QUIC may have sent and not
//! acknowledged (2 MiB) and received and not read (4 MiB), beside what callers hold.

mod dial;
mod exchange;
mod object;

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use campanile_backup::backend::{Backend, BackendError, Listed, Object, ObjectKind};
use campanile_backup::id::ObjectId;
use campanile_common::backoff::Backoff;
use campanile_common::backup::{StoredKind, StoredObject};
use campanile_common::id::{Digest, NodeId};
use campanile_common::wire::v1::store::{Decided, PROPOSED_MAX, StoreReply, StoreRequest};
use tokio::runtime::Handle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use dial::Dialer;
pub use dial::IdentitySource;
use exchange::{Exchange, Trouble};
use object::{digest, names, object_of, stay_text, stored, stored_kind};

use super::LinkWays;
use crate::os::random;

#[cfg(doc)]
use campanile_common::wire::v1::store::STREAMS_MAX;

/// The connection's thread cannot be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot start the thread of the store's connection")]
pub struct StoreError(#[from] io::Error);

/// This node's part of the backup store, or that of another to read from.
#[derive(Debug)]
pub struct StoreBackend {
    dialer: Arc<Dialer>,
    /// Whose part it is, where it is another node's.
    source: Option<NodeId>,
    patience: Duration,
    handle: Handle,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl StoreBackend {
    /// A store that is dialled with the first request. `identity` is asked for before each dial, since certificates
    /// are renewed; `ways` lead there; `patience` is how long one request may wait for an aggregator that is away.
    ///
    /// Its calls block: they are not for the threads of a runtime.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn new(identity: IdentitySource, ways: LinkWays, patience: Duration) -> Result<Self, StoreError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (handle, stop) = (runtime.handle().clone(), CancellationToken::new());
        let stopped = stop.clone();
        let thread = std::thread::Builder::new()
            .name("backup-store".to_owned())
            .spawn(move || runtime.block_on(stopped.cancelled()))?;
        let dialer = Arc::new(Dialer::new(identity, ways));
        Ok(Self { dialer, source: None, patience, handle, stop, thread: Some(thread) })
    }

    /// The part of another node: it is read only, and only while an order is at work that has this node read it.
    #[must_use]
    pub fn reading(mut self, source: NodeId) -> Self {
        self.source = Some(source);
        self
    }

    fn is_own(&self, object: Object) -> Result<(), BackendError> {
        let reason = |source| format!("what node {source} saved is only read here");
        let refused = |source| Err(BackendError::Refused { object, reason: reason(source) });
        self.source.map_or(Ok(()), refused)
    }

    fn list_request(&self, kind: StoredKind, after: Option<Digest>) -> StoreRequest {
        match self.source {
            Some(source) => StoreRequest::ListOf { source, kind, after },
            None => StoreRequest::List { kind, after },
        }
    }

    /// Makes an attempt, and others while they fail for a reason that may pass.
    fn patiently<T>(
        &self,
        object: Object,
        mut attempt: impl AsyncFnMut(&mut Exchange) -> Result<T, Trouble>,
    ) -> Result<T, BackendError> {
        self.handle.block_on(async {
            let (began, mut backoff) = (Instant::now(), Backoff::default());
            loop {
                let opened = match self.dialer.connection().await {
                    Ok(connection) => Exchange::open(&connection).await,
                    Err(trouble) => Err(trouble),
                };
                let done = match opened {
                    Ok(mut exchange) => attempt(&mut exchange).await,
                    Err(trouble) => Err(trouble),
                };
                let reason = match done {
                    Ok(done) => return Ok(done),
                    Err(Trouble::Failed { code, reason }) => return Err(object::error(object, code, reason)),
                    Err(Trouble::Refused(reason)) => return Err(BackendError::Refused { object, reason }),
                    Err(Trouble::Passing(reason)) => reason,
                };
                let left = self.patience.saturating_sub(began.elapsed());
                if left.is_zero() {
                    return Err(BackendError::Unreachable(reason));
                }
                tracing::debug!(%object, reason, "the store is asked again");
                tokio::time::sleep(backoff.next_wait(random::number()).min(left)).await;
            }
        })
    }

    fn store(&self, object: Object, request: &StoreRequest, parts: &[&[u8]]) -> Result<(), BackendError> {
        self.is_own(object)?;
        self.patiently(object, async |exchange| match exchange.ask(request, parts).await? {
            StoreReply::Stored { .. } => Ok(()),
            other => Err(exchange::unexpected(&other)),
        })
    }

    fn propose(&self, objects: &[(Object, StoredObject)]) -> Result<Decided, BackendError> {
        let of_kind = |kind| names(objects, kind);
        let lists = [StoredKind::Snapshot, StoredKind::Index, StoredKind::Pack].map(of_kind);
        let [snapshots, indexes, packs] =
            [0, 1, 2].map(|list: usize| u32::try_from(lists[list].len() / 32).unwrap_or(u32::MAX));
        let request = StoreRequest::Propose { snapshots, indexes, packs };
        let parts: Vec<&[u8]> = lists.iter().map(Vec::as_slice).collect();
        let first = objects.first().map_or(Object::CONFIG, |(object, _)| *object);
        self.is_own(first)?;
        self.patiently(first, async |exchange| match exchange.ask(&request, &parts).await? {
            StoreReply::Decided(decided) => Ok(decided),
            other => Err(exchange::unexpected(&other)),
        })
    }
}

impl Drop for StoreBackend {
    fn drop(&mut self) {
        self.handle.block_on(self.dialer.close());
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            // A panic of that thread has been printed.
            drop(thread.join());
        }
    }
}

impl Backend for StoreBackend {
    /// A lock is not stored: the store takes one deletion at a time by itself. A snapshot that comes without its packs
    /// needs all that are there.
    fn put(&self, object: Object, bytes: &[u8]) -> Result<(), BackendError> {
        let Some(stored) = stored(object) else { return Ok(()) };
        if stored.kind == StoredKind::Snapshot {
            let packs = self.list(ObjectKind::Pack)?.into_iter().map(|listed| listed.id).collect();
            return self.append(object.id, bytes, &packs, None);
        }
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.store(object, &StoreRequest::Put { object: stored, size }, &[bytes])
    }

    fn get(&self, object: Object, range: Option<Range<u64>>) -> Result<Vec<u8>, BackendError> {
        let stored = stored(object).ok_or(BackendError::Missing(object))?;
        let range = range.map(|range| (range.start, range.end));
        let request = match self.source {
            Some(source) => StoreRequest::GetOf { source, object: stored, range },
            None => StoreRequest::Get { object: stored, range },
        };
        self.patiently(object, async |exchange| exchange.get(&request, range).await)
    }

    fn list(&self, kind: ObjectKind) -> Result<Vec<Listed>, BackendError> {
        let Some(kind) = stored_kind(kind) else { return Ok(Vec::new()) };
        let mut listed = Vec::new();
        let object = object_of(StoredObject::new(kind, StoredObject::CONFIG.id));
        self.patiently(object, async |exchange| {
            // A list that broke off goes on behind what is there.
            let after = listed.last().map(|last: &Listed| digest(last.id));
            exchange.list(&self.list_request(kind, after), after, &mut listed).await
        })?;
        Ok(listed)
    }

    fn remove(&self, object: Object) -> Result<(), BackendError> {
        match self.remove_all(&[object])?.pop() {
            Some((object, reason)) => Err(BackendError::Refused { object, reason }),
            None => Ok(()),
        }
    }

    fn append(
        &self,
        snapshot: ObjectId,
        bytes: &[u8],
        packs: &BTreeSet<ObjectId>,
        label: Option<&str>,
    ) -> Result<(), BackendError> {
        let list: Vec<u8> = packs.iter().flat_map(|id| id.0).collect();
        let size = |length| u64::try_from(length).unwrap_or(u64::MAX);
        let request = StoreRequest::Append {
            snapshot: digest(snapshot),
            size: size(bytes.len()),
            packs: size(packs.len()),
            policy: label.and_then(|label| label.parse().ok()),
        };
        self.store(Object::new(ObjectKind::Snapshot, snapshot), &request, &[&list, bytes])
    }

    /// A proposal: the store decides. What it holds until a person has looked is refused as a whole.
    fn remove_all(&self, objects: &[Object]) -> Result<Vec<(Object, String)>, BackendError> {
        let mut stay = Vec::new();
        let wanted: Vec<(Object, StoredObject)> =
            objects.iter().filter_map(|object| Some((*object, stored(*object)?))).collect();
        let most = usize::try_from(PROPOSED_MAX).unwrap_or(usize::MAX);
        for part in wanted.chunks(most) {
            let never = |kind| matches!(kind, StoredKind::Config | StoredKind::Key);
            let (never, part): (Vec<_>, Vec<_>) = part.iter().partition(|(_, stored)| never(stored.kind));
            stay.extend(
                never.into_iter().map(|(object, _)| (object, "the store never lets it go".to_owned())),
            );
            let Some((first, _)) = part.first().copied() else { continue };
            let decided = self.propose(&part)?;
            if let Some(reason) = decided.held {
                return Err(BackendError::Refused { object: first, reason });
            }
            let unnamed = usize::try_from(decided.stays_count).unwrap_or(usize::MAX) - decided.stays.len();
            stay.extend(
                decided
                    .stays
                    .into_iter()
                    .map(|(object, reason)| (object_of(object), stay_text(reason).to_owned())),
            );
            if unnamed > 0 {
                // Which ones the store did not say: a list tells.
                stay.extend(self.left(&part, &stay)?);
            }
        }
        Ok(stay)
    }
}

impl StoreBackend {
    /// Those of a proposal that are still there and not in `named`.
    fn left(
        &self,
        part: &[(Object, StoredObject)],
        named: &[(Object, String)],
    ) -> Result<Vec<(Object, String)>, BackendError> {
        let named: BTreeSet<Object> = named.iter().map(|(object, _)| *object).collect();
        let kinds: BTreeSet<ObjectKind> = part.iter().map(|(object, _)| object.kind).collect();
        let mut there = BTreeSet::new();
        for kind in kinds {
            there.extend(self.list(kind)?.into_iter().map(|listed| Object::new(kind, listed.id)));
        }
        let left = part.iter().map(|(object, _)| *object);
        let left = left.filter(|object| there.contains(object) && !named.contains(object));
        Ok(left.map(|object| (object, "the store's rules keep it".to_owned())).collect())
    }
}
