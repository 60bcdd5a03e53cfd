//! A generation with its parts, as an operator's command line would make it.

use std::collections::BTreeMap;
use std::time::Duration;

use campanile_agent::steward::protocol::{StewardRequest, Tag};
use campanile_common::config::{
    FilePart, Generation, Layer, LayerKind, LayerPart, Purpose, SignedGeneration, part_digest,
};
use campanile_common::id::Digest;
use campanile_common::label::Labels;
use campanile_common::wire::v1::config::{ConfigOffer, PIECE_BYTES_MAX, PartPiece};

use crate::support::{FLEET, key, now};

/// Parts by digest, and the generation that names them.
#[derive(Clone)]
pub(crate) struct Bundle {
    pub(crate) signed: SignedGeneration,
    pub(crate) parts: BTreeMap<Digest, Vec<u8>>,
}

impl Bundle {
    /// A release of this number whose files have these contents, each at its path.
    pub(crate) fn release(number: u64, files: &[(&str, &[u8])]) -> Self {
        Self::with(number, files, |_| {})
    }

    /// The same, altered before it is signed by alice.
    pub(crate) fn with(number: u64, files: &[(&str, &[u8])], alter: impl FnOnce(&mut Generation)) -> Self {
        let (mut layer, mut parts) = (Layer::default(), BTreeMap::new());
        for (index, (path, bytes)) in files.iter().enumerate() {
            let digest = part_digest(bytes);
            let size = u64::try_from(bytes.len()).unwrap();
            let source = format!("part-{index}");
            layer.files.insert(source.clone(), FilePart { digest, size });
            parts.insert(digest, bytes.to_vec());
            let resource = serde_json::json!({ "source": source });
            let resource = resource.as_object().unwrap().clone();
            layer.resources.entry("file".to_owned()).or_default().insert((*path).to_owned(), resource);
        }
        Self::of_layer(number, &layer, parts, alter)
    }

    /// A release of one layer.
    pub(crate) fn of_layer(
        number: u64,
        layer: &Layer,
        mut parts: BTreeMap<Digest, Vec<u8>>,
        alter: impl FnOnce(&mut Generation),
    ) -> Self {
        let bytes = layer.to_bytes();
        let digest = part_digest(&bytes);
        parts.insert(digest, bytes);
        let mut generation = Generation {
            format: Generation::FORMAT,
            fleet: FLEET,
            number,
            parent: (number > 1).then(|| Digest::from_bytes([7; 32])),
            authority_version: 1,
            created: now() - Duration::from_secs(1),
            author: "alice".to_owned(),
            message: "a test".to_owned(),
            purpose: Purpose::Release,
            layers: vec![LayerPart {
                kind: LayerKind::Fleet,
                name: "fleet".to_owned(),
                selector: None,
                priority: 0,
                digest,
                is_for_members_only: false,
            }],
            members: BTreeMap::new(),
            secrets: BTreeMap::new(),
        };
        alter(&mut generation);
        Self { signed: generation.sign(&[&key(1)]).unwrap(), parts }
    }

    pub(crate) fn digest(&self) -> Digest {
        self.signed.digest()
    }

    pub(crate) fn offer(&self, tag: Tag, is_followed: bool) -> StewardRequest {
        let offer = ConfigOffer {
            generation: self.digest(),
            name: "web-1".to_owned(),
            labels: Labels::default(),
            is_followed,
        };
        StewardRequest::Offer(tag, offer)
    }

    /// The bytes that go under a digest.
    pub(crate) fn bytes(&self, digest: Digest) -> Vec<u8> {
        if digest == self.digest() { self.signed.encode() } else { self.parts[&digest].clone() }
    }

    /// All pieces of a part.
    pub(crate) fn pieces(&self, tag: Tag, digest: Digest) -> Vec<StewardRequest> {
        pieces(digest, &self.bytes(digest))
            .into_iter()
            .map(|piece| StewardRequest::Piece(tag, piece))
            .collect()
    }
}

pub(crate) fn pieces(digest: Digest, bytes: &[u8]) -> Vec<PartPiece> {
    let mut pieces: Vec<PartPiece> = Vec::new();
    for chunk in bytes.chunks(PIECE_BYTES_MAX) {
        let offset = u64::try_from(pieces.len() * PIECE_BYTES_MAX).unwrap();
        pieces.push(PartPiece { digest, offset, bytes: chunk.to_vec(), is_last: false });
    }
    match pieces.last_mut() {
        Some(last) => last.is_last = true,
        None => pieces.push(PartPiece { digest, offset: 0, bytes: Vec::new(), is_last: true }),
    }
    pieces
}
