//! Two places of one store, on a real disk: copied, damaged, emptied, exchanged.

#![expect(clippy::disallowed_methods, reason = "a place is a folder")]

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use campanile_common::authority::sha256;
use campanile_common::backup::{Retention, StoredKind};
use campanile_common::id::FleetId;
use campanile_common::time::Timestamp;

use super::*;
use crate::audit::Audit;
use crate::backup::layout;
use crate::backup::{Appending, BackupSettings, Opened, Proposal, VerifySettings};
use crate::event::Events;
use crate::os::clock::Clock;
use crate::state::{Keys, SqliteStore, Store};

const NODE: NodeId = NodeId::from_bytes([1; 8]);
const DAY_MS: u64 = 86_400_000;

/// A state store of its own for each.
static STORES: AtomicU64 = AtomicU64::new(0);

/// A store whose time is that of the test.
struct Site {
    folder: tempfile::TempDir,
    time: Arc<Mutex<Timestamp>>,
    store: BackupStore,
    replica: Replica,
}

impl Site {
    async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let time = Arc::new(Mutex::new(day(0)));
        let store = open_store(&folder.path().join("first"), &time).await;
        let replica = replica_of(&store, folder.path());
        Self { folder, time, store, replica }
    }

    fn at(&self, number: u64) {
        *self.time.lock().unwrap() = day(number);
    }

    fn path(&self, place: &str) -> std::path::PathBuf {
        self.folder.path().join(place).join(NODE.to_string())
    }

    async fn put(&self, kind: StoredKind, bytes: &[u8]) -> StoredObject {
        store_object(&self.store, kind, bytes, None).await
    }

    /// A snapshot with a pack of its own.
    async fn snapshot(&self, number: u64) -> (StoredObject, StoredObject) {
        let pack = self.put(StoredKind::Pack, format!("pack {number}").as_bytes()).await;
        let text = format!("snapshot {number}");
        (store_object(&self.store, StoredKind::Snapshot, text.as_bytes(), Some(&[pack])).await, pack)
    }

    async fn replicate(&self) -> Replicated {
        let first = self.store.vault(NODE).await.unwrap();
        self.replica.replicate(&first, &CancellationToken::new()).await.unwrap()
    }
}

fn day(number: u64) -> Timestamp {
    Timestamp::from_millis((20_000 + number) * DAY_MS)
}

fn replica_of(store: &BackupStore, folder: &Path) -> Replica {
    let settings =
        ReplicaSettings { dir: folder.join("second"), interval: Duration::from_secs(3600), rate: None };
    Replica::new(store.clone(), settings)
}

async fn open_store(dir: &Path, time: &Arc<Mutex<Timestamp>>) -> BackupStore {
    let time = Arc::clone(time);
    let clock = Clock::from_fn(move || *time.lock().unwrap());
    let number = STORES.fetch_add(1, Ordering::Relaxed);
    let state: Store = Arc::new(SqliteStore::open(&dir.with_extension(format!("{number}.db"))).unwrap());
    let keys = Keys::new(FleetId::from_bytes([1; 16]));
    let audit = Audit::open(state.clone(), keys.clone(), clock.clone(), [1; 32]).await.unwrap();
    let settings = BackupSettings {
        dir: dir.to_owned(),
        limits: Limits { free_floor: ByteCount(0), ..Limits::default() },
        retention: Retention {
            keep_last: 1,
            daily: 0,
            weekly: 0,
            monthly: 0,
            floor_days: 10,
            ..Retention::default()
        },
        verify: VerifySettings::default(),
        replica: None,
    };
    BackupStore::open(settings, (state, keys), clock, Events::default(), audit).await.unwrap()
}

async fn store_object(
    store: &BackupStore,
    kind: StoredKind,
    bytes: &[u8],
    packs: Option<&[StoredObject]>,
) -> StoredObject {
    let object = match kind {
        StoredKind::Config => StoredObject::CONFIG,
        kind => StoredObject::new(kind, sha256(&[bytes])),
    };
    let appending = packs.map(|packs| Appending {
        packs: u64::try_from(packs.len()).unwrap(),
        policy: Some("etc".parse().unwrap()),
    });
    let size = u64::try_from(bytes.len()).unwrap();
    if let Opened::Intake(intake) = store.begin(NODE, object, size, appending).await.unwrap() {
        let names: Vec<u8> = packs.iter().copied().flatten().flat_map(|pack| *pack.id.as_bytes()).collect();
        let intake = intake.push(&names).await.unwrap();
        intake.push(bytes).await.unwrap().finish().await.unwrap();
    }
    object
}

fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for place in ["config", "keys", "index", "snapshots", "data"] {
        let mut waiting = vec![folder.join(place)];
        while let Some(path) = waiting.pop() {
            if path.is_dir() {
                waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            } else if path.exists() {
                found.push(path.strip_prefix(folder).unwrap().display().to_string());
            }
        }
    }
    found.sort();
    found
}

/// What a node that asks for all of an object gets.
async fn read(store: &BackupStore, object: StoredObject) -> Result<Vec<u8>, Failure> {
    let (mut reading, mut bytes) = (store.get(NODE, object, None).await?, Vec::new());
    while reading.left() > 0 {
        let (next, piece) = store.piece(reading).await?;
        bytes.extend(piece);
        reading = next;
    }
    Ok(bytes)
}

#[tokio::test]
async fn what_a_node_reads_and_is_not_what_it_was_is_told_at_once_and_mended_from_the_second_place() {
    let site = Site::open().await;
    site.put(StoredKind::Config, b"config").await;
    let (_, altered) = site.snapshot(1).await;
    let (_, gone) = site.snapshot(2).await;
    site.replicate().await;
    let first = site.store.vault(NODE).await.unwrap();
    let findings = || first.with(|account| account.findings.keys().copied().collect::<Vec<_>>());
    assert_eq!(read(&site.store, altered).await.unwrap(), b"pack 1");
    assert_eq!(read(&site.store, StoredObject::CONFIG).await.unwrap(), b"config");
    assert_eq!(findings(), []);
    let place = |object: StoredObject| site.path("first").join(layout::place(object));
    fs::write(place(altered), b"pack X").unwrap();
    fs::remove_file(place(gone)).unwrap();
    assert_eq!(read(&site.store, altered).await.unwrap(), b"pack X", "whoever asked decides by himself");
    assert_eq!(read(&site.store, gone).await.unwrap_err().code, StoreFailure::Damaged);
    let mut expected = [altered, gone];
    expected.sort_unstable();
    assert_eq!(findings(), expected);
    assert_eq!(site.replicate().await.healed, 2);
    assert_eq!(findings(), []);
    assert_eq!(fs::read(place(altered)).unwrap(), b"pack 1");
}

#[tokio::test]
async fn a_second_place_takes_the_first_ones_part_with_the_times_of_its_receipts() {
    let site = Site::open().await;
    site.put(StoredKind::Config, b"config").await;
    site.put(StoredKind::Key, b"key").await;
    let (snapshot, _) = site.snapshot(1).await;
    site.at(3);
    site.snapshot(2).await;
    site.at(5);
    let done = site.replicate().await;
    assert_eq!((done.objects, done.healed, done.failed), (6, 0, 0));
    assert_eq!(files(&site.path("second")), files(&site.path("first")));
    assert_eq!(site.replicate().await, Replicated::default(), "nothing is copied twice");
    let state = site.store.replica_states()[&NODE];
    assert_eq!(state, SecondPlace { complete: Some(day(5)), ..SecondPlace::default() });

    // The first place is gone: the second serves in its place, and goes on.
    let facts = site.store.vault(NODE).await.unwrap().with(|account| account.history());
    fs::remove_dir_all(site.folder.path().join("first")).unwrap();
    let second = open_store(&site.folder.path().join("second"), &site.time).await;
    let vault = second.vault(NODE).await.unwrap();
    assert_eq!(vault.with(|account| account.history()), facts);
    assert_eq!(facts[0].received, day(0));
    assert_eq!(facts[0].policy.as_ref().map(ToString::to_string), Some("etc".to_owned()));
    let mut reading = vault.open_object(snapshot, None).unwrap();
    assert_eq!(reading.piece().unwrap(), b"snapshot 1");
    store_object(&second, StoredKind::Pack, b"more", None).await;
}

#[tokio::test]
async fn what_is_damaged_in_either_place_comes_back_from_the_other() {
    let site = Site::open().await;
    let (_, pack) = site.snapshot(1).await;
    let (_, other) = site.snapshot(2).await;
    site.replicate().await;
    let place = |object: StoredObject| {
        let name = object.id.to_string();
        format!("data/{}/{name}", &name[..2])
    };
    fs::write(site.path("first").join(place(pack)), b"PACK 1").unwrap();
    fs::remove_file(site.path("second").join(place(other))).unwrap();
    let second = site.replica.copy_of(NODE).await.unwrap();
    let step = Step { cycle: Duration::from_secs(1), objects_max: 100, bytes_max: 1 << 20 };
    let first = site.store.vault(NODE).await.unwrap();
    for vault in [&first, &second] {
        vault.verify_step(&step, day(1)).unwrap().unwrap();
        assert_eq!(vault.with(|account| account.findings.len()), 1);
    }
    let done = site.replicate().await;
    assert_eq!((done.objects, done.healed, done.failed), (1, 1, 0));
    for vault in [&first, &second] {
        assert!(vault.with(|account| account.findings.is_empty()));
    }
    assert_eq!(fs::read(site.path("first").join(place(pack))).unwrap(), b"pack 1");
    assert_eq!(fs::read(site.path("second").join(place(other))).unwrap(), b"pack 2");
    assert_eq!(first.with(|account| account.holds.len()), 1, "a person is told of damage in the first place");
    assert!(second.with(|account| account.holds.is_empty()), "nobody would settle it there");
}

#[tokio::test]
async fn a_second_place_follows_deletions_late_and_an_emptied_first_place_not_at_all() {
    let site = Site::open().await;
    let (old, old_pack) = site.snapshot(1).await;
    for number in 2..6 {
        site.at(number);
        site.snapshot(number).await;
    }
    site.replicate().await;
    site.at(40);
    let proposal = Proposal { snapshots: vec![old.id], packs: vec![old_pack.id], ..Proposal::default() };
    let decided = site.store.propose(NODE, proposal).await.unwrap();
    assert!(decided.deleted == 2 && decided.held.is_none(), "{decided:?}");
    site.replicate().await;
    let second = site.replica.copy_of(NODE).await.unwrap();
    let in_trash = || second.with(|account| account.trash.keys().copied().collect::<Vec<_>>());
    assert_eq!(in_trash(), [old, old_pack]);
    // Brought back in the first place, it is there again in the second.
    site.store.undelete(NODE, Some(old.id), "ada").await.unwrap();
    site.replicate().await;
    assert_eq!(in_trash(), []);
    let proposal = Proposal { snapshots: vec![old.id], packs: vec![old_pack.id], ..Proposal::default() };
    site.store.propose(NODE, proposal).await.unwrap();
    site.replicate().await;
    site.at(51);
    site.store.expire().await;
    site.replicate().await;
    assert_eq!(in_trash(), [], "its time is over in both");
    assert!(!files(&site.path("second")).contains(&format!("snapshots/{}", old.id)));

    // Somebody emptied the first place.
    let kept = files(&site.path("second"));
    fs::remove_dir_all(site.folder.path().join("first")).unwrap();
    let emptied = open_store(&site.folder.path().join("first"), &site.time).await;
    let first = emptied.vault(NODE).await.unwrap();
    let replica = replica_of(&emptied, site.folder.path());
    replica.replicate(&first, &CancellationToken::new()).await.unwrap();
    assert_eq!(files(&site.path("second")), kept);
    assert_eq!(emptied.replica_states()[&NODE].lost, 4);
}

#[tokio::test]
async fn a_second_place_that_cannot_be_used_is_told_and_harms_nothing() {
    let site = Site::open().await;
    site.snapshot(1).await;
    fs::write(site.folder.path().join("second"), b"a file").unwrap();
    let first = site.store.vault(NODE).await.unwrap();
    let failure = site.replica.replicate(&first, &CancellationToken::new()).await.unwrap_err();
    assert!(failure.reason.contains("second place"), "{failure}");
    fs::remove_file(site.folder.path().join("second")).unwrap();
    assert_eq!(site.replicate().await.objects, 2);
}
