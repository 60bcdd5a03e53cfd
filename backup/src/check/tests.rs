//! Damage of every kind, and the snapshots that it is said to affect.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::backend::{Backend as _, Object, ObjectKind};
use crate::fixture_repository::Fixture;
use crate::id::ObjectId;
use crate::key_file::KeyFile;
use crate::pack::{Blob, BlobKind};
use crate::repository::RepositoryError;
use crate::walk::{Seen, blobs, walk};

/// Three snapshots that share some: of the first and second the chunk of `a`, of the second and third `dir`.
fn three() -> Fixture {
    let mut fixture = Fixture::new();
    fixture.snapshot(&[("a", 1), ("dir/b", 2), ("dir/x", 10), ("dir/y", 11)]);
    fixture.snapshot(&[("a", 1), ("dir/c", 3), ("e", 12)]);
    fixture.snapshot(&[("d", 4), ("dir/c", 3), ("f", 13)]);
    fixture
}

fn all(fixture: &Fixture) -> Vec<Finding> {
    let structure = structure(&fixture.repository).unwrap();
    let content = content(&fixture.repository, Share::ALL, &|_| {}).unwrap();
    structure.findings.into_iter().chain(content.findings).collect()
}

fn damage(fixture: &Fixture, object: Object, at: usize) {
    let mut bytes = fixture.memory.get(object, None).unwrap();
    bytes[at] ^= 1;
    fixture.memory.overwrite(object, bytes);
}

fn chunk(seed: u64) -> Blob {
    Blob { kind: BlobKind::Data, id: ObjectId::of(&crate::fixture::noise(2000, seed)) }
}

fn snapshots(fixture: &Fixture) -> Vec<ObjectId> {
    fixture.repository.snapshots().unwrap().into_iter().map(|(id, _)| id).collect()
}

#[test]
fn what_is_in_order_is_clean_and_covered() {
    let fixture = three();
    assert_eq!(all(&fixture), []);
    let report = bytes(&*fixture.memory, Share::ALL, &mut |_| {}).unwrap();
    assert!(report.is_clean());
    let Coverage { objects, bytes, of_objects, of_bytes } = report.coverage;
    // Three snapshots, three indexes, six packs; the config is not counted.
    assert_eq!((objects, bytes), (12, of_bytes));
    assert_eq!(objects, of_objects);
    let config = fixture.memory.list(ObjectKind::Config).unwrap()[0].size;
    assert_eq!(of_bytes + config, fixture.memory.size());
}

#[test]
fn the_shares_together_cover_everything_once() {
    let fixture = three();
    let (mut by_bytes, mut by_content) = (0, 0);
    for part in 1..=5 {
        let share = Share::new(part, 5).unwrap();
        by_bytes += bytes(&*fixture.memory, share, &mut |_| {}).unwrap().coverage.objects;
        by_content += content(&fixture.repository, share, &|_| {}).unwrap().coverage.objects;
    }
    assert_eq!((by_bytes, by_content), (12, 6));
}

#[test]
fn what_was_wrong_before_it_was_sealed_is_found_by_its_content_alone() {
    let fixture = three();
    let ids = snapshots(&fixture);
    // Another chunk under the name of one that the third snapshot needs.
    let index = fixture.repository.load_index().unwrap();
    let pack = index.find(chunk(13)).unwrap().pack;
    let entries =
        crate::pack_table::PackTable::load(&fixture.repository).unwrap().entries(pack).unwrap().to_vec();
    let mut builder = crate::pack::PackBuilder::default();
    for entry in entries {
        let plain = match entry.blob == chunk(13) {
            true => b"something else".to_vec(),
            false => fixture.repository.read_blob(&index, entry.blob).unwrap(),
        };
        let mut compressor = crate::pack::Compressor::new().unwrap();
        builder.add(&compressor.seal(fixture.repository.key(), entry.blob, &plain).unwrap());
    }
    let wrong = builder.finish(fixture.repository.key());
    for listed in fixture.memory.list(ObjectKind::Index).unwrap() {
        let object = Object::new(ObjectKind::Index, listed.id);
        let mut file: crate::index::IndexFile = fixture.repository.read_document(object, "index").unwrap();
        file.packs.retain(|named| named.id != pack);
        fixture.memory.remove(object).unwrap();
        fixture.repository.write_document(ObjectKind::Index, &file).unwrap();
    }
    let packs = vec![crate::index::IndexPack::new(wrong.id, &wrong.entries)];
    let file = crate::index::IndexFile { supersedes: Vec::new(), packs };
    fixture.repository.write_document(ObjectKind::Index, &file).unwrap();
    fixture.memory.remove(Object::new(ObjectKind::Pack, pack)).unwrap();
    fixture.memory.put(Object::new(ObjectKind::Pack, wrong.id), &wrong.bytes).unwrap();
    assert!(structure(&fixture.repository).unwrap().is_clean());
    assert!(authentic(&fixture.repository, Share::ALL, &|_| {}).unwrap().is_clean());
    let report = content(&fixture.repository, Share::ALL, &|_| {}).unwrap();
    let [finding] = report.findings.as_slice() else { panic!("{:?}", report.findings) };
    assert!(finding.to_string().contains("another content than its name says"), "{finding}");
    assert_eq!(finding.affected.snapshots, ids[2..]);
    assert_eq!(finding.affected.paths, [std::path::PathBuf::from("/f")]);
}

#[test]
fn a_damaged_chunk_names_the_snapshots_and_the_path() {
    let fixture = three();
    let ids = snapshots(&fixture);
    let place = fixture.repository.load_index().unwrap().find(chunk(3)).unwrap();
    let object = Object::new(ObjectKind::Pack, place.pack);
    damage(&fixture, object, place.entry.offset as usize);
    let report = content(&fixture.repository, Share::ALL, &|_| {}).unwrap();
    let [finding] = report.findings.as_slice() else { panic!("{:?}", report.findings) };
    assert_eq!(finding.subject, Subject::Object(object));
    assert_eq!(finding.affected.snapshots, ids[1..]);
    assert_eq!(finding.affected.paths, [std::path::PathBuf::from("/dir/c")]);
    assert!(finding.to_string().contains("affects 2 snapshots"), "{finding}");
    // The length is right and no tree is touched: the structure does not show it.
    assert!(structure(&fixture.repository).unwrap().is_clean());
}

#[test]
fn a_missing_pack_names_all_that_need_it() {
    let fixture = three();
    let ids = snapshots(&fixture);
    let place = fixture.repository.load_index().unwrap().find(chunk(1)).unwrap();
    let object = Object::new(ObjectKind::Pack, place.pack);
    fixture.memory.remove(object).unwrap();
    for report in
        [structure(&fixture.repository).unwrap(), content(&fixture.repository, Share::ALL, &|_| {}).unwrap()]
    {
        let [finding] = report.findings.as_slice() else { panic!("{:?}", report.findings) };
        assert_eq!((finding.subject, &finding.fault), (Subject::Object(object), &Fault::Missing));
        assert_eq!(finding.affected.snapshots, ids[..2]);
        let names: BTreeSet<_> = finding.affected.paths.iter().map(|path| path.to_str().unwrap()).collect();
        assert_eq!(names, BTreeSet::from(["/a", "/dir/b", "/dir/x", "/dir/y"]));
    }
}

#[test]
fn a_missing_index_names_what_is_in_no_other() {
    let fixture = three();
    let ids = snapshots(&fixture);
    let place = fixture.repository.load_index().unwrap().find(chunk(13)).unwrap();
    for listed in fixture.memory.list(ObjectKind::Index).unwrap() {
        let object = Object::new(ObjectKind::Index, listed.id);
        let file: crate::index::IndexFile = fixture.repository.read_document(object, "index").unwrap();
        if file.packs.iter().any(|pack| pack.id == place.pack) {
            fixture.memory.remove(object).unwrap();
        }
    }
    let report = structure(&fixture.repository).unwrap();
    // The root is not there, so that nothing below it can be told.
    let root = Blob { kind: BlobKind::Tree, id: fixture.tree(ids[2]) };
    let [finding] = report.findings.as_slice() else { panic!("{:?}", report.findings) };
    assert_eq!((finding.subject, &finding.fault), (Subject::Blob(root), &Fault::NotIndexed));
    assert_eq!(finding.affected.snapshots, ids[2..]);
    assert_eq!(report.leftovers.len(), 2);
}

#[test]
fn a_pack_in_no_index_is_a_note() {
    let fixture = three();
    let mut builder = crate::pack::PackBuilder::default();
    let mut compressor = crate::pack::Compressor::new().unwrap();
    builder.add(
        &compressor.seal(fixture.repository.key(), chunk(99), &crate::fixture::noise(2000, 99)).unwrap(),
    );
    let pack = builder.finish(fixture.repository.key());
    fixture.memory.put(Object::new(ObjectKind::Pack, pack.id), &pack.bytes).unwrap();
    for report in
        [structure(&fixture.repository).unwrap(), content(&fixture.repository, Share::ALL, &|_| {}).unwrap()]
    {
        assert!(report.is_clean());
        assert_eq!(report.leftovers.iter().map(|listed| listed.id).collect::<Vec<_>>(), [pack.id]);
    }
}

#[test]
fn an_index_that_lies_about_a_pack_is_found() {
    let fixture = three();
    let place = fixture.repository.load_index().unwrap().find(chunk(1)).unwrap();
    let table = crate::pack_table::PackTable::load(&fixture.repository).unwrap();
    let entries = table.entries(place.pack).unwrap().to_vec();
    let replace = |entries: &[crate::pack::Entry]| {
        let mut kept = Vec::new();
        for listed in fixture.memory.list(ObjectKind::Index).unwrap() {
            let object = Object::new(ObjectKind::Index, listed.id);
            let file: crate::index::IndexFile = fixture.repository.read_document(object, "index").unwrap();
            kept.extend(file.packs.into_iter().filter(|pack| pack.id != place.pack));
            fixture.memory.remove(object).unwrap();
        }
        kept.push(crate::index::IndexPack::new(place.pack, entries));
        let file = crate::index::IndexFile { supersedes: Vec::new(), packs: kept };
        fixture.repository.write_document(ObjectKind::Index, &file).unwrap();
    };
    let faults =
        |report: Report| report.findings.into_iter().map(|finding| finding.fault).collect::<Vec<_>>();
    let mut overlapping = entries.clone();
    overlapping[1].offset -= 1;
    replace(&overlapping);
    assert_eq!(faults(structure(&fixture.repository).unwrap()), [Fault::Overlap]);
    let mut too_long = entries.clone();
    too_long[1].length += 1;
    replace(&too_long);
    assert!(matches!(faults(structure(&fixture.repository).unwrap())[..], [Fault::Size { .. }]));
    let mut exchanged = entries.clone();
    (exchanged[0].blob, exchanged[1].blob) = (entries[1].blob, entries[0].blob);
    replace(&exchanged);
    assert!(structure(&fixture.repository).unwrap().is_clean());
    assert_eq!(faults(content(&fixture.repository, Share::ALL, &|_| {}).unwrap()), [Fault::Header]);
    replace(&entries);
    assert_eq!(all(&fixture), []);
}

#[test]
fn a_store_that_cannot_be_reached_is_no_finding() {
    #[derive(Debug)]
    struct Away(std::sync::Arc<crate::backend::Memory>);
    impl crate::backend::Backend for Away {
        fn put(&self, object: Object, bytes: &[u8]) -> Result<(), crate::backend::BackendError> {
            self.0.put(object, bytes)
        }
        fn get(
            &self,
            object: Object,
            range: Option<std::ops::Range<u64>>,
        ) -> Result<Vec<u8>, crate::backend::BackendError> {
            match object.kind {
                ObjectKind::Pack => Err(crate::backend::BackendError::Unreachable("cut".to_owned())),
                _ => self.0.get(object, range),
            }
        }
        fn list(
            &self,
            kind: ObjectKind,
        ) -> Result<Vec<crate::backend::Listed>, crate::backend::BackendError> {
            self.0.list(kind)
        }
        fn remove(&self, object: Object) -> Result<(), crate::backend::BackendError> {
            self.0.remove(object)
        }
    }
    let fixture = three();
    let away = std::sync::Arc::new(Away(fixture.memory.clone()));
    let repository =
        crate::repository::Repository::open(away.clone(), fixture.repository.key().clone()).unwrap();
    for report in [
        structure(&repository),
        content(&repository, Share::ALL, &|_| {}),
        bytes(&*away, Share::ALL, &mut |_| {}),
    ] {
        assert!(matches!(report, Err(RepositoryError::Backend(error)) if error.is_transient()));
    }
}

/// What each bit of a repository hurts, told without the check.
struct Expected {
    needs: BTreeMap<Blob, BTreeSet<ObjectId>>,
    packs: BTreeMap<ObjectId, Vec<crate::pack::Entry>>,
    unique_indexes: BTreeMap<ObjectId, BTreeSet<ObjectId>>,
}

impl Expected {
    fn of(fixture: &Fixture) -> Self {
        let repository = &fixture.repository;
        let index = repository.load_index().unwrap();
        let mut needs: BTreeMap<Blob, BTreeSet<ObjectId>> = BTreeMap::new();
        for (id, snapshot) in repository.snapshots().unwrap() {
            walk(repository, &index, snapshot.tree, &mut Seen::default(), &mut |tree_id, tree| {
                blobs(tree_id, tree).for_each(|blob| needs.entry(blob).or_default().extend([id]));
                Ok::<_, RepositoryError>(())
            })
            .unwrap();
        }
        let table = crate::pack_table::PackTable::load(repository).unwrap();
        let packs: BTreeMap<_, _> = table.packs().map(|(id, entries)| (id, entries.to_vec())).collect();
        let of_pack = |pack: &ObjectId| packs[pack].iter().flat_map(|entry| needs[&entry.blob].clone());
        let unique_indexes =
            table.indexes().map(|(id, packs)| (id, packs.iter().flat_map(of_pack).collect())).collect();
        Self { needs, packs, unique_indexes }
    }

    fn snapshots(&self, object: Object, at: usize) -> BTreeSet<ObjectId> {
        match object.kind {
            ObjectKind::Config | ObjectKind::Key | ObjectKind::Lock => BTreeSet::new(),
            ObjectKind::Snapshot => BTreeSet::from([object.id]),
            ObjectKind::Index => self.unique_indexes[&object.id].clone(),
            ObjectKind::Pack => {
                let entries = &self.packs[&object.id];
                let hit = entries.iter().find(|entry| {
                    (entry.offset as usize..entry.offset as usize + entry.length as usize).contains(&at)
                });
                match hit {
                    Some(entry) => self.needs[&entry.blob].clone(),
                    None => entries.iter().flat_map(|entry| self.needs[&entry.blob].clone()).collect(),
                }
            }
        }
    }
}

#[test]
fn ten_thousand_flipped_bits_are_found_each_with_the_snapshots_it_hurts() {
    let fixture = three();
    let time = "2026-05-03T10:14:00Z".to_owned();
    let file =
        KeyFile::seal(fixture.repository.key(), b"secret", time, "root".to_owned(), "web-1".to_owned());
    fixture.repository.add_key(&file).unwrap();
    let expected = Expected::of(&fixture);
    let objects: Vec<(Object, usize)> = ObjectKind::ALL
        .into_iter()
        .flat_map(|kind| {
            let listed = fixture.memory.list(kind).unwrap();
            listed
                .into_iter()
                .map(move |listed| (Object::new(kind, listed.id), usize::try_from(listed.size).unwrap()))
        })
        .collect();
    let seed = u64::from_le_bytes(crate::random::bytes());
    println!("seed {seed}");
    let mut random = crate::fixture::noise(10_000 * 16, seed);
    let flips = random.chunks_exact_mut(16).map(|chunk| u128::from_le_bytes(chunk.try_into().unwrap()));
    let total: usize = objects.iter().map(|(_, size)| size).sum();
    for (round, number) in flips.enumerate() {
        // Half by object, so that the small ones are met as well, half by byte.
        let (object, at) = if round % 2 == 0 {
            let (object, size) = objects[(number % objects.len() as u128) as usize];
            (object, ((number >> 32) % size as u128) as usize)
        } else {
            let mut at = (number % total as u128) as usize;
            let hit = objects.iter().find(|(_, size)| {
                let is_here = at < *size;
                if !is_here {
                    at -= size;
                }
                is_here
            });
            (hit.unwrap().0, at)
        };
        let before = fixture.memory.get(object, None).unwrap();
        let mut after = before.clone();
        after[at] ^= 1 << (number >> 125);
        fixture.memory.overwrite(object, after);
        flip_is_found(&fixture, &expected, object, at);
        fixture.memory.overwrite(object, before);
    }
    assert_eq!(all(&fixture), []);
}

fn flip_is_found(fixture: &Fixture, expected: &Expected, object: Object, at: usize) {
    let subject = Subject::Object(object);
    if object.kind != ObjectKind::Config {
        let report = bytes(&*fixture.memory, Share::ALL, &mut |_| {}).unwrap();
        assert_eq!(report.findings.len(), 1, "{object} byte {at}");
        assert_eq!((report.findings[0].subject, &report.findings[0].fault), (subject, &Fault::Name));
    }
    let content = content(&fixture.repository, Share::ALL, &|_| {}).unwrap().findings;
    if object.kind == ObjectKind::Pack {
        let authentic = authentic(&fixture.repository, Share::ALL, &|_| {}).unwrap().findings;
        assert_eq!(authentic, content, "{object} byte {at}");
    }
    let mut findings = structure(&fixture.repository).unwrap().findings;
    findings.extend(content);
    let of_it: Vec<&Finding> = findings.iter().filter(|finding| finding.subject == subject).collect();
    assert!(!of_it.is_empty(), "{object} byte {at}: {findings:?}");
    assert_eq!(of_it.len(), findings.len(), "{object} byte {at}: nothing else is blamed: {findings:?}");
    let named: BTreeSet<ObjectId> =
        of_it.iter().flat_map(|finding| finding.affected.snapshots.iter().copied()).collect();
    assert_eq!(named, expected.snapshots(object, at), "{object} byte {at}");
}
