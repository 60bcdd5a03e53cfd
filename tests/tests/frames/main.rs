//! A million random and mutated frames through every decoder of the wire, and the recorded bytes of version 1.
//!
//! `CAMPANILE_FRAMES` sets how many frames (`make fuzz` asks for a hundred million), `CAMPANILE_SEED` repeats a run.
//! What must hold: no panic, no memory beyond a fixed amount, no message from a frame that breaks a rule, and
//! what was read is written and read again as the same.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod configs;
mod golden;
mod memory;
mod messages;
mod mutate;
mod orders;
mod proofs;
mod stores;

use campanile_common::sample::{SERIES_LABELS_MAX, SERIES_MAX, Sample, TEXT_BYTES_MAX};
use campanile_common::wire::frame::{BODY_BYTES_MAX, Frame, FrameDecoder, FrameError};
use campanile_common::wire::v1::sample::{Block, SampleDecoder};

use campanile_tests::random::{self, Random};
use messages::Message;

/// Frames of a whole run when nobody asks for more.
const FRAMES: u64 = 1_000_000;
/// Tests that share a run; each is one thread or process.
const SHARES: u64 = 4;
/// Frames of one share that go through one decoder of samples, so that it holds the state of earlier ones.
const FRAMES_PER_STREAM: u64 = 8;

fn frames_of_a_share() -> u64 {
    let frames = match std::env::var("CAMPANILE_FRAMES") {
        Ok(text) => text.parse().expect("CAMPANILE_FRAMES is a whole number"),
        Err(_) => FRAMES,
    };
    frames.div_ceil(SHARES)
}

/// Says how to repeat the case that failed.
struct Replay {
    seed: u64,
    case: u64,
}

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("frame {} of seed {}: repeat with CAMPANILE_SEED={}", self.case, self.seed, self.seed);
        }
    }
}

/// Runs a share of the frames that `make` makes through everything.
fn run(share: u64, frames: u64, mut make: impl FnMut(&mut Random) -> Vec<u8>) -> Outcomes {
    let seed = random::seed();
    println!("CAMPANILE_SEED={seed}");
    let mut replay = Replay { seed, case: 0 };
    let mut outcomes = Outcomes::default();
    let mut samples = SampleDecoder::default();
    for case in 0..frames {
        replay.case = case;
        let mut random = Random::of_case(seed ^ share << 56, case);
        if case % FRAMES_PER_STREAM == 0 {
            samples = SampleDecoder::default();
        }
        let bytes = make(&mut random);
        take(&bytes, &mut random, &mut samples, &mut outcomes);
    }
    println!("{outcomes:?}");
    assert_eq!(outcomes.frames, frames);
    outcomes
}

/// What came of the frames: shows that a run reached the decoders.
#[derive(Debug, Default)]
struct Outcomes {
    frames: u64,
    refused_by_header: u64,
    messages: u64,
    samples: u64,
}

/// What the format says of the bytes as a whole: how many frames they begin with and what comes behind them.
fn expected(bytes: &[u8]) -> (u64, End) {
    let (mut rest, mut frames) = (bytes, 0);
    loop {
        match rest {
            [] => return (frames, End::Clean),
            [0xCA] => return (frames, End::Truncated),
            [first, ..] if *first != 0xCA => return (frames, End::Refused),
            [_, second, ..] if *second != 0x3B => return (frames, End::Refused),
            [_, _, _, _, a, b, c, d, body @ ..] => {
                let length = u64::from(u32::from_le_bytes([*a, *b, *c, *d]));
                if length > 64 * 1024 - 8 {
                    return (frames, End::Refused);
                }
                let Some(next) = usize::try_from(length).ok().and_then(|length| body.get(length..)) else {
                    return (frames, End::Truncated);
                };
                rest = next;
                frames += 1;
            }
            _ => return (frames, End::Truncated),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Clean,
    Truncated,
    Refused,
}

/// One stretch of bytes through the decoder of frames, in pieces, and on through all others.
fn take(bytes: &[u8], random: &mut Random, samples: &mut SampleDecoder, outcomes: &mut Outcomes) {
    outcomes.frames += 1;
    let mut cut = 0;
    let end = decode(bytes, random, |frame| {
        cut += 1;
        check_frame(frame, samples, outcomes);
    });
    outcomes.refused_by_header += u64::from(end == End::Refused);
    assert_eq!((cut, end), expected(bytes), "{bytes:02x?}");
}

fn decode(bytes: &[u8], random: &mut Random, mut each: impl FnMut(&Frame)) -> End {
    let mut decoder = FrameDecoder::default();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(1 + random.index(rest.len()));
        rest = after;
        decoder.push(piece);
        loop {
            match decoder.next() {
                Ok(Some(frame)) => each(&frame),
                Ok(None) => break,
                Err(error) => {
                    check_poisoned(&mut decoder, &error);
                    return End::Refused;
                }
            }
        }
    }
    match decoder.finish() {
        Ok(()) => End::Clean,
        Err(FrameError::Truncated { missing }) if missing > 0 => End::Truncated,
        Err(error) => panic!("{error:?} at the end of a stream"),
    }
}

fn check_poisoned(decoder: &mut FrameDecoder, error: &FrameError) {
    decoder.push(&mutate::framed(1, 17, &[0; 10]));
    assert_eq!(decoder.next().as_ref(), Err(error), "where the next frame begins is unknown");
}

fn check_frame(frame: &Frame, samples: &mut SampleDecoder, outcomes: &mut Outcomes) {
    assert!(frame.body.len() <= BODY_BYTES_MAX);
    let messages = Message::all_from_frame(frame);
    assert!(messages.len() <= 1, "two decoders take {frame:?}");
    for message in messages {
        outcomes.messages += 1;
        assert_eq!(frame.version == 0, matches!(message, Message::Opening(_)), "version of {message:?}");
        assert!(frame.version <= 1, "an unknown version was read: {message:?}");
        check_round_trip(&message);
        if let Message::Block(block) = message {
            check_block(block, samples, outcomes);
        }
    }
}

/// The codec reads numbers written longer than needed, so bytes may differ; what they mean may not.
fn check_round_trip(message: &Message) {
    let bytes = message.to_bytes().expect("what fitted a frame fits it again");
    let mut decoder = FrameDecoder::default();
    decoder.push(&bytes);
    let frame = decoder.next().expect("our own frame").expect("and a whole one");
    assert_eq!(Message::all_from_frame(&frame), std::slice::from_ref(message));
}

fn check_block(block: Block, samples: &mut SampleDecoder, outcomes: &mut Outcomes) {
    match block {
        // A refused block ends a stream in earnest; here the decoder must bear what comes behind it too.
        Block::Schema(schema) => drop(samples.schema(schema)),
        Block::Round(round) => {
            if let Ok(sample) = samples.round(&round) {
                outcomes.samples += 1;
                check_sample(&sample);
            }
        }
        Block::Open(_) | Block::Gap(_) => {}
    }
}

fn check_sample(sample: &Sample) {
    assert!(sample.schema.len() <= SERIES_MAX);
    assert_eq!(sample.schema.len(), sample.readings.len());
    for series in sample.schema.iter() {
        assert!(series.labels.len() <= SERIES_LABELS_MAX);
        let texts = series.labels.iter().flat_map(|(name, value)| [name, value]).chain([&series.name]);
        assert!(texts.into_iter().all(|text| text.len() <= TEXT_BYTES_MAX));
    }
    assert!(sample.values().all(|(_, value)| value.is_finite()));
}

/// Each recorded frame by itself, and the frames of a stream of samples.
fn good_frames() -> Vec<Vec<u8>> {
    let messages = messages::all().into_iter().flat_map(|(_, messages)| messages);
    messages.map(|message| message.to_bytes().expect("short messages")).collect()
}

fn sample_frames() -> Vec<Vec<u8>> {
    let mut decoder = FrameDecoder::default();
    decoder.push(&messages::sample_stream());
    std::iter::from_fn(|| decoder.next().expect("our own frames"))
        .map(|frame| mutate::framed(frame.version, frame.kind, &frame.body))
        .collect()
}

#[test]
fn garbage_is_refused() {
    let outcomes = run(0, frames_of_a_share(), mutate::garbage);
    assert!(outcomes.refused_by_header > outcomes.frames / 4, "{outcomes:?}");
}

#[test]
fn random_bodies_are_read_whole_or_refused() {
    let outcomes = run(1, frames_of_a_share(), mutate::random_body);
    assert!(outcomes.messages > outcomes.frames / 1000, "{outcomes:?}");
}

#[test]
fn mutated_messages_are_read_whole_or_refused() {
    let good = good_frames();
    let outcomes = run(2, frames_of_a_share(), |random| mutated_or_good(random, &good));
    assert!(outcomes.messages > outcomes.frames / 20, "{outcomes:?}");
    assert!(outcomes.refused_by_header > outcomes.frames / 100, "{outcomes:?}");
}

#[test]
fn mutated_streams_of_samples_give_samples_that_fit_their_schema_or_none() {
    let good = sample_frames();
    let outcomes = run(3, frames_of_a_share(), |random| mutated_or_good(random, &good));
    assert!(outcomes.samples > outcomes.frames / 100, "{outcomes:?}");
}

/// One frame in four is left whole, so that decoders with a state get into one.
fn mutated_or_good(random: &mut Random, good: &[Vec<u8>]) -> Vec<u8> {
    if random.index(4) == 0 { random.one_of(good).clone() } else { mutate::mutated(random, good) }
}

/// The first `length` bytes of a frame ask for more, and say how much is missing once they can know.
#[test]
fn every_cut_of_every_message_is_noticed() {
    for good in good_frames() {
        for length in 1..good.len() {
            let mut decoder = FrameDecoder::default();
            decoder.push(&good[..length]);
            assert_eq!(decoder.next(), Ok(None));
            let Err(FrameError::Truncated { missing }) = decoder.finish() else { panic!("cut at {length}") };
            assert!(missing > 0 && length + missing <= good.len(), "{missing} of {}", good.len());
        }
    }
}

/// A body cut short or going on, with a header that agrees, is no message: none may be read from a part of itself,
/// nor carry anything behind itself.
#[test]
fn every_shortened_or_lengthened_body_is_refused() {
    for good in good_frames() {
        let (header, body) = good.split_at(8);
        let longer = Frame { version: header[2], kind: header[3], body: [body, &[0]].concat() };
        assert_eq!(Message::all_from_frame(&longer), [], "one byte too many");
        for length in 0..body.len() {
            let frame = Frame { version: header[2], kind: header[3], body: body[..length].to_vec() };
            assert_eq!(Message::all_from_frame(&frame), [], "{length} of {} bytes", body.len());
        }
    }
}
