//! Samples through encoder and decoder, and what the decoder refuses.

use super::*;
use crate::sample::{Scale, SeriesKind};
use crate::wire::frame::FrameDecoder;
use proptest::prelude::*;

fn schema(count: usize) -> Schema {
    let series = |index| Series {
        name: "node_test".to_owned(),
        labels: vec![("n".to_owned(), format!("{index}"))],
        kind: SeriesKind::Gauge,
        scale: Scale::ONE,
    };
    Arc::new((0..count).map(series).collect())
}

fn decode(bytes: &[u8]) -> Vec<Sample> {
    let mut frames = FrameDecoder::default();
    frames.push(bytes);
    let mut decoder = SampleDecoder::default();
    let mut samples = Vec::new();
    while let Some(frame) = frames.next().unwrap() {
        match Block::from_frame(&frame).unwrap() {
            Block::Schema(block) => decoder.schema(block).unwrap(),
            Block::Round(block) => samples.push(decoder.round(&block).unwrap()),
            Block::Open(_) | Block::Gap(_) => unreachable!(),
        }
    }
    samples
}

prop_compose! {
    fn run()(
        width in 1_usize..5,
        rounds in proptest::collection::vec(
            (0_u64..3, any::<u32>(), proptest::collection::vec(any::<Option<i64>>(), 5), any::<bool>()),
            1..20,
        ),
    ) -> Vec<Sample> {
        let mut sequence = 0;
        let mut schema_now = schema(width);
        rounds.into_iter().map(|(step, time, readings, renew)| {
            sequence += step;
            if renew {
                schema_now = schema(schema_now.len() % 5 + 1);
            }
            Sample {
                position: Position { instance: InstanceId::from_bytes([3; 8]), sequence },
                time: Timestamp::from_millis(u64::from(time)),
                schema: Arc::clone(&schema_now),
                readings: readings[..schema_now.len()].to_vec(),
            }
        }).collect()
    }
}

proptest! {
    #[test]
    fn samples_round_trip(samples in run()) {
        let mut encoder = SampleEncoder::default();
        let mut bytes = Vec::new();
        for sample in &samples {
            encoder.encode(sample, &mut bytes).unwrap();
        }
        prop_assert_eq!(decode(&bytes), samples);
    }
}

#[test]
fn an_unchanged_round_of_100_series_is_small() {
    let sample = |sequence, reading| Sample {
        position: Position { instance: InstanceId::from_bytes([0; 8]), sequence },
        time: Timestamp::from_millis(1000 * sequence),
        schema: schema(100),
        readings: vec![Some(reading); 100],
    };
    let mut encoder = SampleEncoder::default();
    let mut bytes = Vec::new();
    encoder.encode(&sample(0, i64::MAX), &mut bytes).unwrap();
    bytes.clear();
    encoder.encode(&sample(1, i64::MAX), &mut bytes).unwrap();
    assert!(bytes.len() < 120, "{} bytes", bytes.len());
}

#[test]
fn a_schema_too_large_for_one_frame_travels_in_parts() {
    let sample = Sample {
        position: Position { instance: InstanceId::from_bytes([0; 8]), sequence: 5 },
        time: Timestamp::from_millis(5),
        schema: schema(SERIES_MAX),
        readings: vec![Some(1); SERIES_MAX],
    };
    let mut bytes = Vec::new();
    SampleEncoder::default().encode(&sample, &mut bytes).unwrap();
    assert_eq!(decode(&bytes), [sample]);
}

#[test]
fn a_schema_is_refused_before_its_texts_fill_the_memory() {
    let long = Series {
        name: "node_test".to_owned(),
        labels: vec![("n".to_owned(), "x".repeat(TEXT_BYTES_MAX)); SERIES_LABELS_MAX],
        kind: SeriesKind::Gauge,
        scale: Scale::ONE,
    };
    let part = SchemaBlock {
        instance: InstanceId::from_bytes([0; 8]),
        sequence: 0,
        time: Timestamp::default(),
        series: vec![long.clone(); 20],
        has_more: true,
    };
    let mut decoder = SampleDecoder::default();
    let taken = (0..).take_while(|_| decoder.schema(part.clone()).is_ok()).count();
    assert_eq!(taken, SCHEMA_BYTES_MAX / (20 * long.text_bytes()));
}

#[test]
fn a_tick_past_the_last_is_refused() {
    let mut decoder = SampleDecoder::default();
    let block = SchemaBlock {
        instance: InstanceId::from_bytes([0; 8]),
        sequence: TICK_MAX,
        time: Timestamp::default(),
        series: schema(1).to_vec(),
        has_more: false,
    };
    decoder.schema(block).unwrap();
    let round =
        |sequence_step| RoundBlock { sequence_step, time_step_ms: 0, absent: vec![], differences: vec![0] };
    assert!(decoder.round(&round(0)).is_ok());
    assert!(decoder.round(&round(1)).is_err());
}

#[test]
fn a_round_that_does_not_fit_its_schema_is_refused() {
    let round = |length| RoundBlock {
        sequence_step: 0,
        time_step_ms: 0,
        absent: vec![],
        differences: vec![0; length],
    };
    let mut decoder = SampleDecoder::default();
    assert!(decoder.round(&round(1)).is_err(), "before any schema");
    let block = SchemaBlock {
        instance: InstanceId::from_bytes([0; 8]),
        sequence: u64::MAX,
        time: Timestamp::default(),
        series: schema(2).to_vec(),
        has_more: false,
    };
    decoder.schema(block).unwrap();
    assert!(decoder.round(&round(3)).is_err());
    assert!(decoder.round(&RoundBlock { absent: vec![2], ..round(2) }).is_err());
    assert!(decoder.round(&RoundBlock { sequence_step: 1, ..round(2) }).is_err());
}
