//! Reads one stream of samples at the aggregator.

use crate::sample::{Gap, Position, Sample, TICK_MAX};
use crate::wire::frame::Frame;
use crate::wire::v1::MessageError;
use crate::wire::v1::control::Lane;
use crate::wire::v1::sample::{Block, SampleDecoder};

/// What a sample stream brings.
#[derive(Debug, Clone, PartialEq)]
pub enum LaneItem {
    /// A sample.
    Sample(Sample),
    /// Samples that will never come.
    Gap(Gap),
}

impl LaneItem {
    /// The tick that it ends with, by which it is acknowledged.
    pub const fn end(&self) -> Position {
        match self {
            Self::Sample(sample) => sample.position,
            Self::Gap(gap) => Position { instance: gap.instance, sequence: gap.last },
        }
    }
}

/// A sample stream that breaks the protocol.
#[derive(Debug, thiserror::Error)]
pub enum LaneError {
    /// A frame is malformed.
    #[error("malformed sample stream")]
    Message(#[from] MessageError),
    /// The stream did not begin by naming its lane, or named it twice.
    #[error("a sample stream names its lane in its first frame and only there")]
    Order,
    /// The lane carries something else.
    #[error("lane {0:?} carries no samples")]
    Lane(Lane),
    /// A gap that ends before it begins.
    #[error("a gap that ends before it begins")]
    Gap,
    /// A gap beyond what a run can reach.
    #[error("a gap past the last tick")]
    Tick,
}

/// Turns frames of one stream into items.
#[derive(Debug, Default)]
pub struct LaneReader {
    lane: Option<Lane>,
    decoder: SampleDecoder,
}

impl LaneReader {
    /// Which lane this is, once it is known.
    pub const fn lane(&self) -> Option<Lane> {
        self.lane
    }

    /// Takes one frame; many bring no item by themselves.
    ///
    /// # Errors
    /// When the frame breaks the protocol: the session ends.
    pub fn frame(&mut self, frame: &Frame) -> Result<Option<LaneItem>, LaneError> {
        let block = Block::from_frame(frame)?;
        match (self.lane, block) {
            (None, Block::Open(lane @ (Lane::Control | Lane::Backfill))) => {
                self.lane = Some(lane);
                Ok(None)
            }
            (None, Block::Open(lane)) => Err(LaneError::Lane(lane)),
            (None, _) | (Some(_), Block::Open(_)) => Err(LaneError::Order),
            (Some(_), Block::Schema(schema)) => {
                self.decoder.schema(schema)?;
                Ok(None)
            }
            (Some(_), Block::Round(round)) => Ok(Some(LaneItem::Sample(self.decoder.round(&round)?))),
            (Some(_), Block::Gap(gap)) if gap.first > gap.last => Err(LaneError::Gap),
            (Some(_), Block::Gap(gap)) if gap.last > TICK_MAX => Err(LaneError::Tick),
            (Some(_), Block::Gap(gap)) => Ok(Some(LaneItem::Gap(gap))),
        }
    }
}
