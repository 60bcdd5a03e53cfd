//! Takes one generation, piece by piece, from whoever has it, and believes nothing of it.
//!
//! First the generation itself: what it says is wanted only once operators' signatures hold. Then this node's layers,
//! then what those name. Pieces come in the order in which they were wanted, without a hole; whatever else comes ends
//! the intake, and nothing of it is kept under a name.

use std::collections::VecDeque;

use campanile_common::authority::Authority;
use campanile_common::config::{
    GENERATION_BYTES_MAX, LAYER_BYTES_MAX, Layer, SignedGeneration, VerifiedGeneration,
};
use campanile_common::id::{Digest, NodeId};
use campanile_common::wire::v1::config::{ConfigOffer, PIECE_BYTES_MAX, PartPiece, WANTED_MAX};

use super::needs::{self, NODE_BYTES_MAX, Need};
use super::parts::{PartStore, Whole, Writer};
use crate::steward::protocol::Tag;

/// What the steward knows without being told.
#[derive(Debug, Clone, Copy)]
pub(in crate::steward) struct Trust<'a> {
    /// Whose signatures count.
    pub(in crate::steward) authority: &'a Authority,
    /// Which node this is.
    pub(in crate::steward) node: NodeId,
    /// The highest generation that was accepted.
    pub(in crate::steward) highest: Option<(u64, Digest)>,
}

/// What follows a piece, or an offer.
#[derive(Debug)]
pub(super) enum Step {
    /// More has to come.
    Wait,
    /// These are wanted now.
    Want(Vec<Digest>),
    /// Everything is here.
    Ready(Box<VerifiedGeneration>),
}

#[derive(Debug)]
enum Stage {
    /// The generation itself, as far as it came.
    Generation(Vec<u8>),
    /// Its layers.
    Layers(Box<VerifiedGeneration>),
    /// What they name.
    Rest(Box<VerifiedGeneration>),
}

/// A generation that is being taken.
#[derive(Debug)]
pub(super) struct Intake {
    pub(super) tag: Tag,
    pub(super) offer: ConfigOffer,
    stage: Stage,
    /// Asked for, in this order.
    wanted: VecDeque<Need>,
    /// To be asked for.
    later: VecDeque<Need>,
    writer: Option<Writer>,
    whole: Vec<Whole>,
    /// Bytes that came so far.
    taken: u64,
}

impl Intake {
    pub(super) fn new(tag: Tag, offer: ConfigOffer) -> Self {
        let stage = Stage::Generation(Vec::new());
        let (wanted, later) = (VecDeque::new(), VecDeque::new());
        Self { tag, offer, stage, wanted, later, writer: None, whole: Vec::new(), taken: 0 }
    }

    /// The first step: what is here already is not wanted again.
    pub(super) fn begin(&mut self, store: &PartStore, trust: Trust<'_>) -> Result<Step, String> {
        let digest = self.offer.generation;
        let known = store.read(digest, GENERATION_BYTES_MAX).and_then(|bytes| {
            let signed = SignedGeneration::decode(&bytes).ok()?;
            (signed.digest() == digest).then_some(signed)
        });
        // Its signatures are asked for again where they do not hold under the authority now in force.
        match known.filter(|signed| signed.verify(trust.authority).is_ok()) {
            Some(signed) => self.judge(&signed, store, trust),
            None => {
                self.later.push_back(Need::new(digest, GENERATION_BYTES_MAX));
                self.next(store, trust)
            }
        }
    }

    /// Takes a piece.
    pub(super) fn piece(
        &mut self,
        piece: &PartPiece,
        store: &mut PartStore,
        trust: Trust<'_>,
    ) -> Result<Step, String> {
        let need = *self.wanted.front().ok_or("a piece came that nobody wanted")?;
        if piece.digest != need.digest {
            return Err(format!("a piece of part {} came, part {} was next", piece.digest, need.digest));
        }
        if piece.bytes.len() > PIECE_BYTES_MAX || (piece.bytes.is_empty() && !piece.is_last) {
            return Err(format!("a piece of {} bytes came", piece.bytes.len()));
        }
        let so_far = match (&self.stage, &self.writer) {
            (Stage::Generation(bytes), _) => length(bytes),
            (_, Some(writer)) => writer.length(),
            (_, None) => 0,
        };
        if piece.offset != so_far {
            return Err(format!("part {} goes on at {so_far}, not at {}", need.digest, piece.offset));
        }
        let end = so_far + length(&piece.bytes);
        self.taken += length(&piece.bytes);
        if end > need.bytes_max || self.taken > NODE_BYTES_MAX {
            return Err(format!("part {} is longer than it may be", need.digest));
        }
        if piece.is_last && need.length.is_some_and(|length| length != end) {
            return Err(format!("part {} ends after {end} bytes, too early", need.digest));
        }
        self.take(piece, need.digest, store)?;
        if !piece.is_last {
            return Ok(Step::Wait);
        }
        self.wanted.pop_front();
        if self.wanted.is_empty() { self.next(store, trust) } else { Ok(Step::Wait) }
    }

    fn take(&mut self, piece: &PartPiece, digest: Digest, store: &mut PartStore) -> Result<(), String> {
        if let Stage::Generation(bytes) = &mut self.stage {
            bytes.extend_from_slice(&piece.bytes);
            return Ok(());
        }
        let failed = |error: std::io::Error| format!("part {digest} cannot be written: {error}");
        let mut writer = match self.writer.take() {
            Some(writer) => writer,
            None => store.begin().map_err(failed)?,
        };
        writer.write(&piece.bytes).map_err(failed)?;
        if piece.is_last {
            let whole = writer.end(digest);
            self.whole.push(whole.ok_or_else(|| format!("what came as part {digest} is something else"))?);
        } else {
            self.writer = Some(writer);
        }
        Ok(())
    }

    /// All that was wanted is here: what comes next.
    fn next(&mut self, store: &PartStore, trust: Trust<'_>) -> Result<Step, String> {
        store
            .keep(std::mem::take(&mut self.whole))
            .map_err(|error| format!("parts cannot be written: {error}"))?;
        if !self.later.is_empty() {
            let count = self.later.len().min(WANTED_MAX);
            self.wanted = self.later.drain(..count).collect();
            return Ok(Step::Want(self.wanted.iter().map(|need| need.digest).collect()));
        }
        match &mut self.stage {
            Stage::Generation(bytes) => {
                let bytes = std::mem::take(bytes);
                let signed = SignedGeneration::decode(&bytes).map_err(|error| error.to_string())?;
                self.judge(&signed, store, trust)
            }
            Stage::Layers(generation) => {
                let generation = generation.clone();
                self.layers_are_here(generation, store, trust)
            }
            Stage::Rest(generation) => Ok(Step::Ready(generation.clone())),
        }
    }

    /// The generation is here: it goes on only if operators signed it, and it may be followed where it is to be.
    fn judge(
        &mut self,
        signed: &SignedGeneration,
        store: &PartStore,
        trust: Trust<'_>,
    ) -> Result<Step, String> {
        let digest = self.offer.generation;
        if signed.digest() != digest {
            return Err(format!("what came as generation {digest} is something else"));
        }
        let verified = signed.verify(trust.authority).map_err(|error| error.to_string())?;
        if self.offer.is_followed {
            verified.may_follow(trust.highest).map_err(|error| error.to_string())?;
        }
        if store.length(digest).is_none() || self.taken > 0 {
            let written = store.put(digest, &signed.encode());
            written.map_err(|error| format!("the generation cannot be written: {error}"))?;
        }
        let (name, labels) = (&self.offer.name, &self.offer.labels);
        let needs = needs::layers(verified.generation(), trust.node, name, labels);
        let is_missing = |need: &Need| store.read_checked(need.digest, LAYER_BYTES_MAX).is_none();
        self.later = needs.into_iter().filter(is_missing).collect();
        self.stage = Stage::Layers(Box::new(verified));
        self.next(store, trust)
    }

    fn layers_are_here(
        &mut self,
        generation: Box<VerifiedGeneration>,
        store: &PartStore,
        trust: Trust<'_>,
    ) -> Result<Step, String> {
        let (name, labels) = (&self.offer.name, &self.offer.labels);
        let needs = needs_of(generation.generation(), store, trust.node, |generation| {
            needs::layers(generation, trust.node, name, labels)
        })?;
        let is_missing = |need: &Need| match (store.length(need.digest), need.length) {
            (None, _) => true,
            (Some(found), Some(length)) => found != length,
            (Some(_), None) => false,
        };
        self.later = needs.into_iter().filter(is_missing).collect();
        self.stage = Stage::Rest(generation);
        self.next(store, trust)
    }
}

/// What the layers of a generation, which are here, name.
pub(super) fn needs_of(
    generation: &campanile_common::config::Generation,
    store: &PartStore,
    node: NodeId,
    layers: impl FnOnce(&campanile_common::config::Generation) -> Vec<Need>,
) -> Result<Vec<Need>, String> {
    let mut read = Vec::new();
    for need in layers(generation) {
        let bytes = store.read_checked(need.digest, LAYER_BYTES_MAX);
        let bytes = bytes.ok_or_else(|| format!("layer {} cannot be read", need.digest))?;
        let layer = Layer::from_bytes(&bytes);
        read.push(layer.map_err(|error| format!("layer {}: {error}", need.digest))?);
    }
    needs::rest(generation, node, read.iter())
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
