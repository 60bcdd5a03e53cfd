//! Hands generations of the configuration to the steward, one at a time.

use campanile_common::wire::v1::config::{ConfigOffer, ConfigUp, PartPiece};
use tokio::sync::mpsc;

use super::{ASKS_MAX, Answer, Ask, Relay};
use crate::steward::protocol::{StewardRequest, Tag};

impl Relay {
    /// Takes a generation; none where there is no room, and whoever offers it is told.
    pub(in crate::order) fn take_offer(
        &mut self,
        offer: ConfigOffer,
        answers: mpsc::Sender<ConfigUp>,
    ) -> Option<Tag> {
        if self.asks.len() >= ASKS_MAX {
            let reason = "too many requests wait for this node's steward";
            // The first answer: there is room.
            drop(answers.try_send(ConfigUp::Refused(reason.to_owned())));
            return None;
        }
        let tag = Tag(self.next_tag);
        self.queue.push_back(StewardRequest::Offer(tag, offer));
        self.remember(Ask::Generation(answers));
        Some(tag)
    }

    /// A piece of what was wanted.
    pub(in crate::order) fn piece(&mut self, tag: Tag, piece: PartPiece) {
        self.queue.push_back(StewardRequest::Piece(tag, piece));
    }

    /// The aggregator was reached anew.
    pub(in crate::order) fn reached(&mut self, number: u64) {
        self.queue.push_back(StewardRequest::Reached(number));
    }

    /// The last answer about a generation.
    pub(super) fn generation_ends(&mut self, tag: Tag, end: ConfigUp) -> Option<Answer> {
        match self.asks.remove(&tag)? {
            Ask::Generation(answers) => Some(Answer::Config(answers, end)),
            Ask::Passed(_) | Ask::Describe | Ask::Offer(_) => None,
        }
    }
}
