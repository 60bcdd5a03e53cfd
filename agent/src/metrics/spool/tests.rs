//! What the spool promises: order, no loss without a count, limits, survival of damage.

use std::fs::File;
use std::sync::Arc;

use campanile_common::sample::{Scale, Series, SeriesKind};
use proptest::prelude::*;

use super::*;

const RUN: InstanceId = InstanceId::from_bytes([1; 8]);
const LIMITS: SpoolLimits =
    SpoolLimits { bytes: ByteCount::mebibytes(32), age: Duration::from_secs(72 * 3600) };

fn sample(sequence: u64) -> Sample {
    let series = Series {
        name: "node_load1".to_owned(),
        labels: vec![],
        kind: SeriesKind::Gauge,
        scale: Scale::Over(100),
    };
    Sample {
        position: Position { instance: RUN, sequence },
        time: Timestamp::from_millis(1_000_000 + sequence * 1000),
        schema: Arc::new(vec![series]),
        readings: vec![Some(i64::try_from(sequence).unwrap() * 37)],
    }
}

fn open(folder: &Path) -> Spool {
    let (spool, damaged) = Spool::open(folder, LIMITS).unwrap();
    assert!(damaged.is_empty());
    spool
}

/// Drains the spool; positions of samples, and gaps.
fn drain(spool: &mut Spool) -> (Vec<u64>, Vec<Gap>) {
    let (mut samples, mut gaps) = (Vec::new(), Vec::new());
    loop {
        let batch = spool.next_batch(50).unwrap();
        let end = batch.last().map(LaneItem::end);
        if batch.is_empty() && spool.is_empty() {
            return (samples, gaps);
        }
        for item in batch {
            match item {
                LaneItem::Sample(found) => {
                    assert_eq!(found, sample(found.position.sequence), "every reading survives");
                    samples.push(found.position.sequence);
                }
                LaneItem::Gap(gap) => gaps.push(gap),
            }
        }
        if let Some(end) = end {
            spool.release(end);
        }
    }
}

fn position(sequence: u64) -> Position {
    Position { instance: RUN, sequence }
}

#[test]
fn samples_come_back_in_order_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open(folder.path());
    for sequence in 0..100 {
        spool.append(&sample(sequence)).unwrap();
    }
    drop(spool);
    let mut spool = open(folder.path());
    for sequence in 100..200 {
        spool.append(&sample(sequence)).unwrap();
    }
    assert_eq!(drain(&mut spool), ((0..200).collect(), vec![]));
    assert!(std::fs::read_dir(folder.path()).unwrap().next().is_none(), "nothing is left behind");
}

#[test]
fn a_batch_that_was_not_acknowledged_comes_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open(folder.path());
    for sequence in 0..20 {
        spool.append(&sample(sequence)).unwrap();
    }
    assert_eq!(spool.next_batch(5).unwrap().len(), 5);
    spool.release(position(4));
    assert_eq!(spool.next_batch(5).unwrap().len(), 5);
    assert_eq!(spool.next_batch(5).unwrap(), [], "one batch at a time");
    spool.forget_batch();
    assert_eq!(drain(&mut spool).0, (5..20).collect::<Vec<_>>());
}

#[test]
fn what_the_aggregator_has_is_not_sent_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open(folder.path());
    for sequence in 0..100 {
        spool.append(&sample(sequence)).unwrap();
    }
    spool.note_known(Some(Position { instance: RUN, sequence: 69 }));
    assert_eq!(drain(&mut spool).0, (70..100).collect::<Vec<_>>());
    spool.append(&sample(100)).unwrap();
    spool.note_known(Some(Position { instance: InstanceId::from_bytes([9; 8]), sequence: 500 }));
    assert_eq!(drain(&mut spool).0, [100], "another run's account says nothing of this one");
}

#[test]
fn a_batch_that_was_acknowledged_in_part_comes_again_as_a_whole() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open(folder.path());
    for sequence in 0..5 {
        spool.append(&sample(sequence)).unwrap();
    }
    assert_eq!(spool.next_batch(5).unwrap().len(), 5);
    spool.release(position(3));
    assert_eq!(spool.next_batch(5).unwrap(), [], "the batch is still under way");
    drop(spool);
    assert_eq!(drain(&mut open(folder.path())).0, (0..5).collect::<Vec<_>>());
}

#[test]
fn a_gap_on_disk_outlives_the_eviction_of_its_segment() {
    let folder = tempfile::tempdir().unwrap();
    let gap = Gap { instance: RUN, first: 3, last: 7, reason: GapReason::Stalled };
    let mut spool = open(folder.path());
    spool.append(&sample(8)).unwrap();
    spool.note_gap(gap);
    spool.flush().unwrap();
    drop(spool);
    let limits = SpoolLimits { bytes: ByteCount(SEGMENT_BYTES), ..LIMITS };
    let (mut spool, _) = Spool::open(folder.path(), limits).unwrap();
    spool.append(&sample(9)).unwrap();
    let evicted = Gap { instance: RUN, first: 8, last: 8, reason: GapReason::Evicted };
    assert_eq!(drain(&mut spool), (vec![9], vec![gap, evicted]));
}

#[test]
fn eviction_by_size_is_counted_tick_by_tick() {
    let folder = tempfile::tempdir().unwrap();
    let limits = SpoolLimits { bytes: ByteCount(3 * SEGMENT_BYTES), ..LIMITS };
    let (mut spool, _) = Spool::open(folder.path(), limits).unwrap();
    let total = 40_000;
    for sequence in 0..total {
        spool.append(&sample(sequence)).unwrap();
    }
    assert!(spool.bytes() <= limits.bytes);
    let evicted = spool.evicted_ticks();
    assert!(evicted > 0);
    let (samples, gaps) = drain(&mut spool);
    let lost: u64 = gaps.iter().map(|gap| gap.last - gap.first + 1).sum();
    assert_eq!(lost, evicted);
    assert_eq!(samples, (evicted..total).collect::<Vec<_>>());
    assert!(gaps.iter().all(|gap| gap.reason == GapReason::Evicted));
}

#[test]
fn eviction_by_age_takes_the_oldest_segment() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open(folder.path());
    spool.append(&sample(0)).unwrap();
    drop(spool);
    let mut spool = open(folder.path());
    let mut late = sample(1);
    late.time = late.time + LIMITS.age + Duration::from_secs(10);
    spool.append(&late).unwrap();
    assert_eq!(spool.evicted_ticks(), 1);
}

#[test]
fn a_cut_tail_loses_only_the_cut_record() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open(folder.path());
    for sequence in 0..10 {
        spool.append(&sample(sequence)).unwrap();
    }
    let path = spool.writer.as_ref().unwrap().segment.path.clone();
    drop(spool);
    let length = std::fs::metadata(&path).unwrap().len();
    File::options().write(true).open(&path).unwrap().set_len(length - 3).unwrap();
    let mut spool = open(folder.path());
    assert_eq!(drain(&mut spool).0, (0..9).collect::<Vec<_>>());
}

#[test]
fn a_flipped_byte_is_reported_and_what_is_before_it_kept() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open(folder.path());
    for sequence in 0..10 {
        spool.append(&sample(sequence)).unwrap();
    }
    let path = spool.writer.as_ref().unwrap().segment.path.clone();
    drop(spool);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    std::fs::write(&path, bytes).unwrap();
    let (mut spool, damaged) = Spool::open(folder.path(), LIMITS).unwrap();
    assert_eq!(damaged, [path]);
    let kept = drain(&mut spool).0;
    assert!(!kept.is_empty() && kept.len() < 10);
    assert!(kept.iter().copied().eq(0..kept.len() as u64));
}

#[test]
fn a_segment_of_a_newer_program_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("0000000000000001.spool");
    std::fs::write(&path, b"CAMPSPL\0\x63\x00").unwrap();
    let error = Spool::open(folder.path(), LIMITS).unwrap_err();
    assert!(matches!(error, SpoolError::TooNew { found: 0x63, .. }), "{error}");
}

#[test]
fn a_folder_that_cannot_be_written_turns_samples_into_a_counted_gap() {
    let folder = tempfile::tempdir().unwrap();
    let gone = folder.path().join("spool");
    let mut spool = open(&gone);
    std::fs::remove_dir(&gone).unwrap();
    for sequence in 0..5 {
        assert!(spool.append(&sample(sequence)).is_err());
    }
    let gap = Gap { instance: RUN, first: 0, last: 4, reason: GapReason::SpoolFailed };
    assert_eq!(spool.next_batch(10).unwrap(), [LaneItem::Gap(gap)]);
}

#[derive(Debug, Clone)]
enum Step {
    Append,
    Batch(usize),
    Release,
    Forget,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => Just(Step::Append),
        2 => (1_usize..6).prop_map(Step::Batch),
        2 => Just(Step::Release),
        1 => Just(Step::Forget),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_happens_every_sample_comes_out_at_least_once_and_in_order(
        steps in proptest::collection::vec(step(), 1..120),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = open(folder.path());
        let (mut appended, mut released) = (0_u64, 0_u64);
        let mut flight = None;
        for step in steps {
            match step {
                Step::Append => {
                    spool.append(&sample(appended)).unwrap();
                    appended += 1;
                }
                Step::Batch(count) => {
                    let batch = spool.next_batch(count).unwrap();
                    if let Some(LaneItem::Sample(first)) = batch.first() {
                        prop_assert!(first.position.sequence <= released, "no sample is skipped");
                        flight = Some(first.position.sequence + batch.len() as u64);
                    }
                }
                Step::Release => {
                    if let Some(end) = flight.take() {
                        spool.release(position(end - 1));
                        released = released.max(end);
                    }
                }
                Step::Forget => {
                    spool.forget_batch();
                    flight = None;
                }
                Step::Reopen => {
                    drop(spool);
                    spool = open(folder.path());
                    flight = None;
                }
            }
        }
        spool.forget_batch();
        let rest = drain(&mut spool).0;
        prop_assert!(rest.is_sorted());
        prop_assert!(rest.first().copied().unwrap_or(appended) <= released);
        prop_assert_eq!(rest.last().map_or(released, |last| last + 1), appended);
    }
}
