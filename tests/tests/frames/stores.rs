//! Requests to the backup store and its answers, with fixed content.

use campanile_common::backup::{StoredKind, StoredObject};
use campanile_common::id::{Digest, NodeId};
use campanile_common::wire::v1::store::{Decided, StayReason, StoreFailure, StoreReply, StoreRequest};

use crate::messages::TIME;

const ID: Digest = Digest::from_bytes([0x1D; 32]);

pub(crate) fn requests() -> Vec<StoreRequest> {
    let put = |kind| StoreRequest::Put { object: StoredObject::new(kind, ID), size: 16 << 20 };
    let mut requests: Vec<StoreRequest> = StoredKind::ALL.map(put).into();
    let object = StoredObject::new(StoredKind::Pack, ID);
    requests.extend([
        StoreRequest::Append { snapshot: ID, size: 300, packs: 70_000, policy: Some("etc".parse().unwrap()) },
        StoreRequest::Get { object, range: None },
        StoreRequest::Get { object: StoredObject::CONFIG, range: Some((1, u64::MAX)) },
        StoreRequest::List { kind: StoredKind::Index, after: None },
        StoreRequest::List { kind: StoredKind::Snapshot, after: Some(ID) },
        StoreRequest::Propose { snapshots: 1, indexes: 2, packs: 65_533 },
    ]);
    requests
}

/// Requests for what another node stored.
pub(crate) fn requests_of_others() -> Vec<StoreRequest> {
    let (source, object) = (NodeId::from_bytes([0x5A; 8]), StoredObject::new(StoredKind::Pack, ID));
    vec![
        StoreRequest::GetOf { source, object, range: None },
        StoreRequest::GetOf { source, object: StoredObject::CONFIG, range: Some((1, u64::MAX)) },
        StoreRequest::ListOf { source, kind: StoredKind::Index, after: None },
        StoreRequest::ListOf { source, kind: StoredKind::Snapshot, after: Some(ID) },
    ]
}

pub(crate) fn replies() -> Vec<StoreReply> {
    let reasons =
        [StayReason::Newest, StayReason::Floor, StayReason::Kept, StayReason::Needed, StayReason::Never];
    let decided = Decided {
        deleted: 3,
        recoverable_until: Some(TIME),
        stays: reasons.map(|reason| (StoredObject::new(StoredKind::Snapshot, ID), reason)).into(),
        stays_count: 5,
        held: None,
    };
    let held = Decided {
        deleted: 0,
        recoverable_until: None,
        stays: Vec::new(),
        stays_count: 0,
        held: Some("newest".to_owned()),
    };
    let codes = [
        StoreFailure::Missing,
        StoreFailure::Short,
        StoreFailure::Full,
        StoreFailure::TooMany,
        StoreFailure::Refused,
        StoreFailure::Mismatch,
        StoreFailure::Incomplete,
        StoreFailure::Malformed,
        StoreFailure::Unavailable,
        StoreFailure::Damaged,
    ];
    let mut replies = vec![
        StoreReply::Stored { received: TIME, is_new: true },
        StoreReply::Bytes { length: 1 << 40 },
        StoreReply::Listed(vec![(ID, 7), (Digest::from_bytes([0xFF; 32]), u64::MAX)]),
        StoreReply::End,
        StoreReply::Decided(decided),
        StoreReply::Decided(held),
    ];
    replies.extend(codes.map(|code| StoreReply::Failed { code, reason: "the quota".to_owned() }));
    replies
}
