//! What the journal promises, above all when it is damaged.

use std::path::Path;
use std::time::Duration;

use campanile_common::id::Digest;
use campanile_common::wire::v1::order::{OutputStream, RunResult};

use super::opening::Opening;
use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const DAY: Duration = Duration::from_secs(86_400);

fn id(byte: u8) -> JournalId {
    JournalId::from_bytes([byte; 8])
}

fn run(byte: u8) -> RunId {
    RunId { order: OrderId::from_bytes([byte; 16]), occurrence: None }
}

fn due(byte: u8, seconds: u64) -> RunId {
    RunId { occurrence: Some(NOW + Duration::from_secs(seconds)), ..run(byte) }
}

fn digest() -> Digest {
    Digest::from_bytes([9; 32])
}

fn open(folder: &Path) -> Result<(Journal, Opening), JournalError> {
    Journal::open(folder, JournalLimits::default(), id(1), NOW, false)
}

fn start(journal: &mut Journal, run: RunId, expires: Timestamp) {
    let records = [Record::Received { run, digest: digest(), expires }, Record::Started { run, time: NOW }];
    journal.append(&records).unwrap();
}

fn finish(journal: &mut Journal, run: RunId, output: &[u8]) {
    let mut kept = KeptOutput::new(1 << 20);
    kept.push(OutputStream::Stdout, output);
    let outcome = Outcome {
        run,
        result: RunResult::Exited { code: 0 },
        started: Some(NOW),
        finished: NOW,
        output_bytes: kept.written(),
        output_kept: kept.kept(),
        journal: None,
        audit: None,
    };
    journal.append(&ending(outcome, kept.chunks())).unwrap();
}

fn bytes(folder: &Path) -> Vec<u8> {
    std::fs::read(folder.join(FILE)).unwrap()
}

/// A journal with one run that has ended, another that has not, and a third, and what it looked like after each.
fn example() -> (tempfile::TempDir, Vec<usize>) {
    let folder = tempfile::tempdir().unwrap();
    let (mut journal, opening) = open(folder.path()).unwrap();
    assert!(opening.is_new);
    let mut lengths = vec![bytes(folder.path()).len()];
    let mut note = || lengths.push(std::fs::read(folder.path().join(FILE)).unwrap().len());
    start(&mut journal, run(1), NOW + DAY);
    note();
    finish(&mut journal, run(1), &[7; 40_000]);
    note();
    start(&mut journal, run(2), NOW + DAY);
    note();
    drop(journal);
    (folder, lengths)
}

#[test]
fn what_was_appended_is_there_after_a_restart() {
    let (folder, _) = example();
    let (journal, opening) = open(folder.path()).unwrap();
    assert_eq!(opening, Opening::default());
    // Two records for each start, three chunks of output and an end.
    assert_eq!(journal.position(), JournalPosition { journal: id(1), sequence: 8 });
    assert_eq!(journal.unfinished(), [run(2)]);
    assert_eq!(journal.output(run(1)).unwrap().kept(), 40_000);
    assert_eq!(journal.known(run(1)).unwrap().digest, digest());
    assert!(journal.known(run(3)).is_none());
}

#[test]
fn a_write_that_was_cut_short_anywhere_never_was() {
    let (folder, lengths) = example();
    let whole = bytes(folder.path());
    for length in (lengths[2] + 1..lengths[3]).chain((lengths[1] + 1..lengths[2]).step_by(977)) {
        std::fs::write(folder.path().join(FILE), &whole[..length]).unwrap();
        let (journal, opening) = open(folder.path()).unwrap();
        assert!(opening.cut.is_some(), "{length}");
        assert_eq!(journal.position().journal, id(1));
        assert_eq!(journal.blind_before(), None);
        let expected: &[RunId] = if length < lengths[2] { &[run(1)] } else { &[] };
        assert_eq!(journal.unfinished(), expected, "{length}");
        assert_eq!(open(folder.path()).unwrap().1, Opening::default(), "cut once and for all");
    }
}

#[test]
fn a_file_that_a_power_cut_left_longer_than_written_is_cut() {
    let (folder, _) = example();
    let mut longer = bytes(folder.path());
    longer.extend([0; 4096]);
    std::fs::write(folder.path().join(FILE), &longer).unwrap();
    let (mut journal, opening) = open(folder.path()).unwrap();
    assert!(opening.cut.is_some());
    start(&mut journal, run(3), NOW + DAY);
    assert_eq!(open(folder.path()).unwrap().0.unfinished(), [run(2), run(3)]);
}

#[test]
fn any_flipped_byte_but_in_the_last_frame_is_refused_by_name() {
    let (folder, lengths) = example();
    let whole = bytes(folder.path());
    for place in (0..lengths[2]).step_by(61).chain(0..lengths[0] + 40) {
        let mut damaged = whole.clone();
        damaged[place] ^= 0x10;
        std::fs::write(folder.path().join(FILE), &damaged).unwrap();
        let error = open(folder.path()).unwrap_err();
        assert!(
            matches!(error, JournalError::Damaged { .. } | JournalError::TooNew { .. }),
            "{place}: {error}"
        );
        assert_eq!(bytes(folder.path()), damaged, "evidence is left alone");
    }
}

#[test]
fn a_damaged_last_frame_is_cut_and_nothing_older_is_believed() {
    let (folder, lengths) = example();
    let mut damaged = bytes(folder.path());
    let place = lengths[3] - 5;
    damaged[place] ^= 1;
    std::fs::write(folder.path().join(FILE), &damaged).unwrap();
    let (journal, opening) =
        Journal::open(folder.path(), JournalLimits::default(), id(2), NOW, false).unwrap();
    assert!(opening.cut.unwrap().contains("damaged"));
    assert_eq!(journal.position().journal, id(2));
    assert_eq!(journal.blind_before(), Some(NOW));
    assert!(journal.known(run(2)).is_none() && journal.known(run(1)).is_some());
}

#[test]
fn a_lost_journal_knows_that_it_knows_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(folder.path(), JournalLimits::default(), id(1), NOW, true).unwrap();
    assert_eq!(journal.blind_before(), Some(NOW));
}

#[test]
fn an_aggregator_that_knows_more_proves_it_was_set_back() {
    let (folder, _) = example();
    let (mut journal, _) = open(folder.path()).unwrap();
    let at = |journal, sequence| JournalPosition { journal, sequence };
    assert!(!journal.is_behind(at(id(1), 8)));
    assert!(journal.is_behind(at(id(1), 9)));
    assert!(journal.is_behind(at(id(5), 1)), "another journal of this node");
    journal.begin_anew_after(id(5), id(6), NOW).unwrap();
    for former in [id(1), id(5)] {
        assert!(!journal.is_behind(at(former, 100)), "once is enough");
    }
    assert!(journal.known(run(1)).is_some(), "what is known stays known");
    let (journal, _) = open(folder.path()).unwrap();
    assert_eq!((journal.position(), journal.blind_before()), (at(id(6), 0), Some(NOW)));
}

#[test]
fn a_full_disk_or_limit_stops_orders_and_not_outcomes() {
    let folder = tempfile::tempdir().unwrap();
    let limits = JournalLimits { rewrite_bytes: 1 << 30, bytes_max: 100_000 };
    let (mut journal, _) = Journal::open(folder.path(), limits, id(1), NOW, false).unwrap();
    journal.reserve(run(1), 20_000, NOW).unwrap();
    let error = journal.reserve(run(2), 20_000, NOW).unwrap_err();
    assert!(matches!(error, JournalError::Full { .. }), "{error}");
    start(&mut journal, run(1), NOW + DAY);
    finish(&mut journal, run(1), &[1; 20_000]);
    journal.release(run(1));
    journal.reserve(run(2), 1000, NOW).unwrap();
}

#[test]
fn a_journal_full_of_what_is_past_makes_room() {
    let folder = tempfile::tempdir().unwrap();
    let limits = JournalLimits { rewrite_bytes: 1 << 30, bytes_max: 100_000 };
    let (mut journal, _) = Journal::open(folder.path(), limits, id(1), NOW, false).unwrap();
    for byte in 0..20 {
        journal.reserve(run(byte), 10_000, NOW).unwrap();
        start(&mut journal, run(byte), NOW + DAY);
        finish(&mut journal, run(byte), &[byte; 10_000]);
        journal.release(run(byte));
        journal.append(&[Record::Reported(run(byte))]).unwrap();
    }
    assert!(bytes(folder.path()).len() < 100_000);
    assert!((0..20).all(|byte| journal.known(run(byte)).is_some()));
}

#[test]
fn rewriting_forgets_what_is_past_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let limits = JournalLimits { rewrite_bytes: 1000, bytes_max: 1 << 30 };
    let (mut journal, _) = Journal::open(folder.path(), limits, id(1), NOW, false).unwrap();
    let later = NOW + DAY * 3;
    for byte in 0..20 {
        let expires = if byte < 10 { NOW + DAY } else { later };
        start(&mut journal, run(byte), expires);
        finish(&mut journal, run(byte), &[byte; 5000]);
        if byte % 2 == 0 {
            journal.append(&[Record::Reported(run(byte))]).unwrap();
        }
    }
    start(&mut journal, run(30), NOW);
    let before = journal.position();
    journal.tend(later).unwrap();
    assert!(bytes(folder.path()).len() < 60_000);
    let check = |journal: &Journal| {
        assert_eq!(journal.position(), before, "the sequence never falls");
        assert_eq!(journal.forgotten(), NOW + DAY);
        assert!((0..10).all(|byte| journal.known(run(byte)).is_none()));
        assert!((10..20).all(|byte| journal.known(run(byte)).is_some()));
        assert_eq!(journal.output(run(10)).unwrap().kept(), 0, "reported");
        assert_eq!(journal.output(run(11)).unwrap().kept(), 5000);
        assert_eq!(journal.unfinished(), [run(30)], "nobody knows yet what became of it");
    };
    check(&journal);
    check(&open(folder.path()).unwrap().0);
    start(&mut journal, run(31), later);
    assert_eq!(open(folder.path()).unwrap().0.position().sequence, before.sequence + 2);
}

#[test]
fn where_there_is_no_room_the_oldest_outputs_go_and_their_outcomes_stay() {
    let folder = tempfile::tempdir().unwrap();
    let limits = JournalLimits { rewrite_bytes: 1000, bytes_max: 60_000 };
    let (mut journal, _) = Journal::open(folder.path(), limits, id(1), NOW, false).unwrap();
    for byte in 0..5 {
        start(&mut journal, run(byte), NOW + DAY);
        finish(&mut journal, run(byte), &[byte; 10_000]);
    }
    journal.tend(NOW).unwrap();
    let kept = (0..5).filter(|byte| journal.output(run(*byte)).unwrap().kept() > 0).count();
    assert_eq!(kept, 3);
    assert!((0..5).all(|byte| journal.known(run(byte)).unwrap().finished.is_some()));
}

#[test]
fn a_standing_order_is_remembered_until_it_expires() {
    let folder = tempfile::tempdir().unwrap();
    let limits = JournalLimits { rewrite_bytes: 100, bytes_max: 1 << 30 };
    let (mut journal, _) = Journal::open(folder.path(), limits, id(1), NOW, false).unwrap();
    for seconds in [0, 60, 120] {
        let run = due(1, seconds);
        start(&mut journal, run, NOW + DAY * 30);
        finish(&mut journal, run, b"x");
        journal.append(&[Record::Reported(run)]).unwrap();
    }
    let remembered = |journal: &Journal| journal.standing(run(1).order).map(|m| (m.runs, m.last_due));
    let expected = Some((3, NOW + Duration::from_secs(120)));
    assert_eq!(remembered(&journal), expected);
    journal.tend(NOW).unwrap();
    assert_eq!(remembered(&journal), expected);
    finish_once_more(&mut journal);
    journal.tend(NOW + DAY * 2).unwrap();
    assert!(journal.known(due(1, 0)).is_none(), "its runs are settled");
    assert_eq!(remembered(&journal), Some((4, NOW + Duration::from_secs(180))));
    assert_eq!(remembered(&open(folder.path()).unwrap().0), Some((4, NOW + Duration::from_secs(180))));
    assert_eq!(journal.digest_of(run(1).order), Some(digest()));
}

fn finish_once_more(journal: &mut Journal) {
    for _ in 0..20 {
        start(journal, due(1, 180), NOW + DAY * 30);
        finish(journal, due(1, 180), &[0; 200]);
    }
}
