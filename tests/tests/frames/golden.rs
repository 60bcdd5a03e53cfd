//! The recorded bytes of version 1: what was released is written and read the same way for ever.
//!
//! `CAMPANILE_BLESS=1` records anew what is missing or differs; only a version that nobody runs yet may be.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use campanile_common::authority::{OperatorKey, SignedAuthority};
use campanile_common::config::SignedGeneration;
use campanile_common::token::Token;
use campanile_common::wire::codec;
use campanile_common::wire::frame::FrameDecoder;
use campanile_common::wire::v1::sample::{Block, SampleDecoder};

use data_encoding::HEXLOWER;

use crate::messages::{self, Message};
use crate::{configs, orders};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("compat/v1")
}

/// The recorded bytes of `name`, which those at hand must be.
fn recorded(name: &str, now: &[u8]) -> Vec<u8> {
    let path = folder().join(name);
    if std::env::var_os("CAMPANILE_BLESS").is_some() {
        fs::create_dir_all(folder()).unwrap();
        fs::write(&path, now).unwrap();
    }
    let recorded =
        fs::read(&path).unwrap_or_else(|error| panic!("cannot read the sample {}: {error}", path.display()));
    assert!(recorded == now, "{name} is encoded in another way than it was recorded: a new version is due");
    recorded
}

fn frames(bytes: &[u8]) -> Vec<campanile_common::wire::frame::Frame> {
    let mut decoder = FrameDecoder::default();
    decoder.push(bytes);
    let mut frames = Vec::new();
    while let Some(frame) = decoder.next().unwrap() {
        frames.push(frame);
    }
    decoder.finish().unwrap();
    frames
}

#[test]
fn every_message_is_encoded_and_read_as_it_was_recorded() {
    for (name, messages) in messages::all() {
        let now: Vec<u8> = messages.iter().flat_map(|message| message.to_bytes().unwrap()).collect();
        let recorded = recorded(&format!("{name}.bin"), &now);
        let read: Vec<Message> = frames(&recorded).iter().flat_map(Message::all_from_frame).collect();
        assert_eq!(read, messages, "{name}: one decoder reads each frame, and reads what was written");
    }
}

#[test]
fn a_stream_of_samples_is_encoded_and_read_as_it_was_recorded() {
    let recorded = recorded("sample-stream.bin", &messages::sample_stream());
    let mut decoder = SampleDecoder::default();
    let mut samples = Vec::new();
    for frame in frames(&recorded) {
        match Block::from_frame(&frame).unwrap() {
            Block::Schema(block) => decoder.schema(block).unwrap(),
            Block::Round(block) => samples.push(decoder.round(&block).unwrap()),
            other => panic!("no sample: {other:?}"),
        }
    }
    assert_eq!(samples, messages::samples());
}

#[test]
fn the_authority_document_keeps_its_bytes_and_its_digest() {
    let authority = messages::authority_now();
    let encoded = codec::encode("SignedAuthority", &authority).unwrap();
    let recorded_bytes = recorded("authority-file-2.bin", &encoded);
    let digest = recorded("authority-digest-2.txt", authority.digest().to_string().as_bytes());
    let read: SignedAuthority = codec::decode("SignedAuthority", &recorded_bytes).unwrap();
    let pin = String::from_utf8(digest).unwrap().parse().unwrap();
    let verified = read.verify_pinned(pin).unwrap();
    assert_eq!(verified.document(), &authority.read().unwrap());
}

#[test]
fn an_authority_of_format_1_is_still_read_and_followed() {
    let file = fs::read(folder().join("authority-file.bin")).unwrap();
    let digest = fs::read_to_string(folder().join("authority-digest.txt")).unwrap();
    let read: SignedAuthority = codec::decode("SignedAuthority", &file).unwrap();
    let verified = read.verify_pinned(digest.parse().unwrap()).unwrap();
    assert_eq!(verified.document().fleet_name, "golden");
    assert!(verified.document().recovery.is_empty());
    let next = verified.document().successor(verified.digest(), messages::TIME);
    let key = OperatorKey::from_seed(messages::SEED.into()).unwrap();
    assert_eq!(verified.verify_next(next.sign(&[&key]).unwrap()).unwrap().document().version, 2);
}

#[test]
fn orders_and_catalogues_keep_their_bytes_and_digests() {
    let catalogue = orders::catalogue();
    let mut text = format!("catalogue {} {}\n", catalogue.digest(), HEXLOWER.encode(&catalogue.bytes));
    for order in orders::all() {
        let signed = order.sign(&[]).unwrap();
        assert_eq!(signed.read().unwrap(), order);
        text += &format!("{} {} {}\n", order.action.kind(), signed.digest(), HEXLOWER.encode(&signed.bytes));
    }
    recorded("signed-bytes.txt", text.as_bytes());
}

#[test]
fn orders_of_backups_keep_their_bytes_and_digests() {
    let mut text = String::new();
    for order in orders::backups() {
        let signed = order.sign(&[]).unwrap();
        assert_eq!(signed.read().unwrap(), order);
        text += &format!("tier {} {} {}\n", order.tier, signed.digest(), HEXLOWER.encode(&signed.bytes));
    }
    recorded("signed-backup.txt", text.as_bytes());
    let mut text = String::new();
    for order in orders::backups_elsewhere() {
        let signed = order.sign(&[]).unwrap();
        assert_eq!(signed.read().unwrap(), order);
        text += &format!("tier {} {} {}\n", order.tier, signed.digest(), HEXLOWER.encode(&signed.bytes));
    }
    recorded("signed-backup-elsewhere.txt", text.as_bytes());
}

#[test]
fn generations_keep_their_bytes_and_digests() {
    let mut text = String::new();
    for generation in configs::generations() {
        let signed = generation.sign(&[&configs::key()]).unwrap();
        assert_eq!(signed.read().unwrap(), generation);
        assert_eq!(SignedGeneration::decode(&signed.encode()).unwrap(), signed);
        let purpose = generation.purpose.as_str();
        text += &format!("{purpose} {} {}\n", signed.digest(), HEXLOWER.encode(&signed.encode()));
    }
    text += &format!("layer {}\n", String::from_utf8(configs::layer().to_bytes()).unwrap());
    recorded("generation.txt", text.as_bytes());
}

#[test]
fn a_token_keeps_its_text() {
    let recorded = recorded("token.txt", messages::token().to_text().as_bytes());
    let read: Token = String::from_utf8(recorded).unwrap().parse().unwrap();
    assert_eq!(read, messages::token());
}

#[test]
fn every_recorded_sample_is_still_checked() {
    let mut known: BTreeSet<String> =
        messages::all().into_iter().map(|(name, _)| format!("{name}.bin")).collect();
    known.extend(
        [
            "sample-stream.bin",
            "authority-file.bin",
            "authority-digest.txt",
            "authority-file-2.bin",
            "authority-digest-2.txt",
            "generation.txt",
            "signed-backup-elsewhere.txt",
            "signed-backup.txt",
            "signed-bytes.txt",
            "token.txt",
        ]
        .map(str::to_owned),
    );
    let found: BTreeSet<String> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(found, known, "a released format never loses its sample");
}
