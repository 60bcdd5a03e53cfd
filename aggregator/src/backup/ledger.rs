//! What is remembered of the policies of nodes and of what they proved, in the state store: a record of each for each node.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use campanile_common::backup::{Keep, PolicyName};
use campanile_common::id::NodeId;
use campanile_common::time::Timestamp;
use campanile_common::wire::v1::proof::ProofReport;
use serde::{Deserialize, Serialize};

use super::standing::{Standing, Standings};
use crate::state::{
    Committed, Keys, Range, Record, StateError, Store, Transaction, Write, from_json, to_json,
};

/// Records read at a time.
const PAGE: usize = 256;
/// Records in one commit, and their bytes; a transaction takes a mebibyte.
const WRITES_MAX: usize = 64;
const BYTES_MAX: usize = 512 * 1024;

#[derive(Debug, Serialize, Deserialize)]
struct NodeRecord {
    node: NodeId,
    policies: Vec<PolicyRecord>,
}

impl Record for NodeRecord {}

#[derive(Debug, Serialize, Deserialize)]
struct ProofRecord {
    node: NodeId,
    report: ProofReport,
}

impl Record for ProofRecord {}

#[derive(Debug, Serialize, Deserialize)]
struct PolicyRecord {
    name: PolicyName,
    since: Timestamp,
    keep: KeepRecord,
    former: Option<FormerRecord>,
    gone: Option<Timestamp>,
}

#[derive(Debug, Serialize, Deserialize)]
struct FormerRecord {
    keep: KeepRecord,
    at: Timestamp,
}

#[derive(Debug, Serialize, Deserialize)]
struct KeepRecord {
    last: u32,
    hourly: u32,
    daily: u32,
    weekly: u32,
    monthly: u32,
    yearly: u32,
    within_seconds: Option<u64>,
}

impl KeepRecord {
    fn of(keep: &Keep) -> Self {
        let Keep { last, hourly, daily, weekly, monthly, yearly, within } = *keep;
        let within_seconds = within.map(|within| within.as_secs());
        Self { last, hourly, daily, weekly, monthly, yearly, within_seconds }
    }

    fn read(&self) -> Keep {
        let Self { last, hourly, daily, weekly, monthly, yearly, within_seconds } = *self;
        let within = within_seconds.map(Duration::from_secs);
        Keep { last, hourly, daily, weekly, monthly, yearly, within }
    }
}

impl NodeRecord {
    fn of(node: NodeId, standings: &Standings) -> Self {
        let policy = |(name, standing): (&PolicyName, &Standing)| PolicyRecord {
            name: name.clone(),
            since: standing.since,
            keep: KeepRecord::of(&standing.keep),
            former: standing.former.map(|(keep, at)| FormerRecord { keep: KeepRecord::of(&keep), at }),
            gone: standing.gone,
        };
        Self { node, policies: standings.iter().map(policy).collect() }
    }

    fn read(self) -> (NodeId, Standings) {
        let policy = |record: PolicyRecord| {
            let former = record.former.map(|former| (former.keep.read(), former.at));
            let (since, gone) = (record.since, record.gone);
            (record.name, Standing { since, keep: record.keep.read(), former, gone })
        };
        (self.node, self.policies.into_iter().map(policy).collect())
    }
}

/// What is remembered, as it was last committed.
#[derive(Debug)]
pub(super) struct Ledger {
    pub(super) store: Store,
    keys: Keys,
    known: RwLock<BTreeMap<NodeId, Standings>>,
    proofs: RwLock<BTreeMap<NodeId, ProofReport>>,
}

impl Ledger {
    /// Reads all of it.
    pub(super) async fn open((store, keys): (Store, Keys)) -> Result<Self, StateError> {
        let (mut known, mut proofs) = (BTreeMap::new(), BTreeMap::new());
        each::<NodeRecord>(&store, keys.prefix("backup-policies"), |record| {
            let (node, standings) = record.read();
            known.insert(node, standings);
        })
        .await?;
        each::<ProofRecord>(&store, keys.prefix("backup-proofs"), |ProofRecord { node, report }| {
            proofs.insert(node, report);
        })
        .await?;
        Ok(Self { store, keys, known: RwLock::new(known), proofs: RwLock::new(proofs) })
    }

    /// What a node proved, as it told last.
    pub(super) fn proof(&self, node: NodeId) -> ProofReport {
        self.proofs.read().unwrap_or_else(PoisonError::into_inner).get(&node).cloned().unwrap_or_default()
    }

    /// Stores what a node tells, then takes it over.
    pub(super) async fn put_proof(&self, node: NodeId, report: ProofReport) -> Result<(), StateError> {
        let key = self.keys.of("backup-proofs", &node.to_string());
        let record = ProofRecord { node, report };
        let writes = vec![Write::put(key, to_json(&record))];
        let committed = self.store.commit(Transaction { compares: Vec::new(), writes }).await?;
        debug_assert!(matches!(committed, Committed::Done(_)), "nothing was compared");
        self.proofs.write().unwrap_or_else(PoisonError::into_inner).insert(node, record.report);
        Ok(())
    }

    /// What is remembered of a node's policies.
    pub(super) fn of(&self, node: NodeId) -> Standings {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(&node).cloned().unwrap_or_default()
    }

    /// Stores what changed, then takes it over.
    pub(super) async fn put(&self, changed: BTreeMap<NodeId, Standings>) -> Result<(), StateError> {
        let (mut writes, mut bytes) = (Vec::new(), 0);
        let mut taken = Vec::new();
        for (node, standings) in changed {
            let key = self.keys.of("backup-policies", &node.to_string());
            let write = if standings.is_empty() {
                Write::Delete { key }
            } else {
                let value = to_json(&NodeRecord::of(node, &standings));
                bytes += value.len();
                Write::put(key, value)
            };
            writes.push(write);
            taken.push((node, standings));
            if writes.len() >= WRITES_MAX || bytes >= BYTES_MAX {
                self.commit(std::mem::take(&mut writes), std::mem::take(&mut taken)).await?;
                bytes = 0;
            }
        }
        if writes.is_empty() { Ok(()) } else { self.commit(writes, taken).await }
    }

    async fn commit(&self, writes: Vec<Write>, taken: Vec<(NodeId, Standings)>) -> Result<(), StateError> {
        let committed = self.store.commit(Transaction { compares: Vec::new(), writes }).await?;
        debug_assert!(matches!(committed, Committed::Done(_)), "nothing was compared");
        self.known.write().unwrap_or_else(PoisonError::into_inner).extend(taken);
        Ok(())
    }
}

/// Reads all records of a kind.
async fn each<T: Record>(store: &Store, prefix: String, mut take: impl FnMut(T)) -> Result<(), StateError> {
    let mut after = None;
    loop {
        let range = Range { prefix: prefix.clone(), after, limit: PAGE, descending: false };
        let page = store.range(range).await?;
        for entry in &page {
            take(from_json::<T>(&entry.key, &entry.value)?);
        }
        if page.len() < PAGE {
            return Ok(());
        }
        after = page.last().map(|entry| entry.key.clone());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use campanile_common::id::FleetId;

    use super::*;
    use crate::state::SqliteStore;

    #[tokio::test]
    async fn what_is_remembered_survives_a_restart_and_what_is_forgotten_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let open = async || {
            let store: Store = Arc::new(SqliteStore::open(&folder.path().join("state.db")).unwrap());
            Ledger::open((store, Keys::new(FleetId::from_bytes([9; 16])))).await.unwrap()
        };
        let keep = Keep { last: 1, within: Some(Duration::from_secs(7200)), ..Keep::default() };
        let standing = Standing {
            since: Timestamp::from_millis(5),
            keep,
            former: Some((Keep { daily: 7, ..keep }, Timestamp::from_millis(9))),
            gone: None,
        };
        let standings: Standings = [("etc".parse().unwrap(), standing)].into();
        let node = |number: u16| {
            let [high, low] = number.to_be_bytes();
            NodeId::from_bytes([high, low, 0, 0, 0, 0, 0, 1])
        };
        let ledger = open().await;
        ledger.put((0..300).map(|number| (node(number), standings.clone())).collect()).await.unwrap();
        drop(ledger);
        let ledger = open().await;
        assert_eq!((ledger.of(node(0)), ledger.of(node(299))), (standings.clone(), standings));
        ledger.put([(node(0), Standings::new())].into()).await.unwrap();
        drop(ledger);
        assert!(open().await.of(node(0)).is_empty());
    }
}
