//! Keeps the steward up to date on who may order what, and shows it what cannot be right.

use super::{Ask, Relay};
use crate::order::{Offer, Standing};
use crate::steward::protocol::{StewardRequest, Tag};

/// Offers that cannot be right and wait for the steward.
const SHOWN_MAX: usize = 64;

impl Relay {
    /// What the node was told of who may order what has changed, or the steward is new: asks what it has.
    pub(in crate::order) fn look(&mut self) {
        // What is under way is looked at anew when it is answered: offering twice what was just taken would look like
        // an attempt to lead the steward back.
        self.must_look = self.asks.values().any(|ask| matches!(ask, Ask::Describe | Ask::Offer(_)));
        if self.must_look {
            return;
        }
        self.queue.push_back(StewardRequest::Describe(Tag(self.next_tag)));
        self.remember(Ask::Describe);
    }

    /// Offers what the steward lacks, in the order in which one hangs on the other.
    pub(super) fn offer(&mut self, standing: &Standing, authority: u64, catalogue: Option<u64>) {
        for signed in standing.authority.iter() {
            if signed.read().is_ok_and(|document| document.version > authority) {
                self.queue.push_back(StewardRequest::Authority(Tag(self.next_tag), signed.clone()));
                self.remember(Ask::Offer("the authority"));
            }
        }
        if let Some(signed) = &standing.catalogue
            && signed.read().is_ok_and(|document| Some(document.version) > catalogue)
        {
            self.queue.push_back(StewardRequest::Catalogue(Tag(self.next_tag), signed.clone()));
            self.remember(Ask::Offer("the catalogue"));
        }
    }

    /// Passes on what cannot be right; the steward says the same, and takes note.
    pub(in crate::order) fn show(&mut self, offer: Offer) {
        // A steward that is away or behind misses some: whoever floods a node has said enough.
        if self.queue.len() >= SHOWN_MAX {
            return;
        }
        let (request, what) = match offer {
            Offer::Authority(signed) => {
                (StewardRequest::Authority(Tag(self.next_tag), signed), "the authority")
            }
            Offer::Catalogue(signed) => {
                (StewardRequest::Catalogue(Tag(self.next_tag), signed), "the catalogue")
            }
        };
        self.queue.push_back(request);
        self.remember(Ask::Offer(what));
    }
}
