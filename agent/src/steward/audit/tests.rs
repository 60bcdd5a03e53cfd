//! What the chain promises, above all when it is damaged.

use campanile_common::audit::verify_entries;

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn act(detail: &str) -> Act {
    Act {
        actor: "alice".to_owned(),
        action: "order.started",
        target: "order:1".to_owned(),
        outcome: AuditOutcome::Ok,
        detail: detail.to_owned(),
    }
}

fn open(folder: &Path) -> AuditLog {
    AuditLog::open(folder, NOW).0
}

fn all(log: &mut AuditLog) -> Vec<AuditEntry> {
    let mut entries: Vec<AuditEntry> = Vec::new();
    loop {
        let found = log.entries(entries.last().map_or(0, |entry| entry.sequence), 50).unwrap();
        if found.is_empty() {
            return entries;
        }
        entries.extend(found.iter().map(|text| serde_json::from_str::<AuditEntry>(text).unwrap()));
    }
}

fn written(count: usize) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(folder.path());
    for index in 0..count {
        log.append(NOW, vec![act(&format!("entry {index}"))]).unwrap();
    }
    folder
}

fn newest(folder: &Path) -> PathBuf {
    let first = *segment::list(&folder.join(FOLDER)).unwrap().last().unwrap();
    segment::path(&folder.join(FOLDER), first)
}

#[test]
fn the_chain_goes_on_over_restarts() {
    let folder = written(3);
    let mut log = open(folder.path());
    let position = log.append(NOW, vec![act("more"), act("and more")]).unwrap();
    let entries = all(&mut log);
    assert_eq!((entries.len(), entries[4].hash), (5, position.hash));
    assert!(verify_entries(&entries, &[]).intact);
}

#[test]
fn half_an_entry_at_the_end_is_cut_off() {
    let folder = written(3);
    let path = newest(folder.path());
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.extend(b"{\"sequence\":4,\"prev");
    std::fs::write(&path, bytes).unwrap();
    let (mut log, cut) = AuditLog::open(folder.path(), NOW);
    assert!(cut.is_some());
    log.append(NOW, vec![act("more")]).unwrap();
    assert!(verify_entries(&all(&mut log), &[]).intact);
}

#[test]
fn a_damaged_chain_takes_nothing_and_is_left_as_evidence() {
    for (from, to, word) in
        [("entry 1", "entry X", "altered"), ("\"sequence\":2,", "\"sequence\":7,", "missing")]
    {
        let folder = written(4);
        let path = newest(folder.path());
        let text = std::fs::read_to_string(&path).unwrap().replace(from, to);
        std::fs::write(&path, &text).unwrap();
        let mut log = open(folder.path());
        assert!(log.failure().unwrap().contains(word), "{:?}", log.failure());
        assert!(matches!(log.append(NOW, vec![act("more")]), Err(AuditError::Failed { .. })));
        assert!(log.reserve().is_err());
        assert_eq!(log.position(), None);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
}

#[test]
fn segments_are_one_chain_and_the_oldest_go() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(folder.path());
    log.append(NOW, vec![act("first")]).unwrap();
    for index in 0..SEGMENTS_MAX + 2 {
        log.length = SEGMENT_BYTES;
        log.append(NOW, vec![act(&format!("segment {index}"))]).unwrap();
    }
    assert_eq!(segment::list(&folder.path().join(FOLDER)).unwrap().len(), SEGMENTS_MAX);
    let entries = all(&mut log);
    assert_eq!(entries.len(), SEGMENTS_MAX);
    assert!(entries.windows(2).all(|pair| pair[1].previous == pair[0].hash));
    assert_eq!(open(folder.path()).position(), log.position());
}

#[test]
fn a_segment_without_an_entry_is_passed_over() {
    let folder = written(3);
    segment::create(&folder.path().join(FOLDER), 4).unwrap();
    let mut log = open(folder.path());
    log.append(NOW, vec![act("more")]).unwrap();
    assert!(verify_entries(&all(&mut log), &[]).intact);
}

#[test]
fn long_texts_are_cut_and_answers_fit_a_packet() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(folder.path());
    for _ in 0..64 {
        log.append(NOW, vec![Act { actor: "ä".repeat(9000), ..act(&"\"".repeat(9000)) }]).unwrap();
    }
    let found = log.entries(0, 64).unwrap();
    let bytes: usize = found.iter().map(String::len).sum();
    assert!(!found.is_empty() && bytes <= ANSWER_BYTES_MAX, "{bytes}");
    assert!(verify_entries(&all(&mut log), &[]).intact);
}
