//! The generation that a proposal is, or that the order of a proposal names: seen and signed together with it.

use anyhow::{Context as _, anyhow};
use campanile_common::authority::{Action, Authority, ConfigMode};
use campanile_common::config::{Purpose, SignedGeneration};
use campanile_common::id::OrderId;

use super::content::{Content, generation_id};
use crate::client::Client;
use crate::config::{Review, read_signed};
use crate::order::follow;
use crate::signer::{Signer, Subject};

/// A generation that lacks signatures, with what it would change.
#[derive(Debug)]
pub(super) struct Part {
    signed: SignedGeneration,
    pub(super) review: Review,
}

impl Part {
    /// That of a proposal; none where it is of something else, or its generation has its signatures.
    pub(super) fn of(
        client: &Client,
        content: &Content,
        authority: &Authority,
    ) -> anyhow::Result<Option<Self>> {
        let (signed, mode) = match content {
            Content::Generation(_, signed) => (signed.clone(), None),
            Content::Order(order, _) => {
                let Action::Config { generation, mode } = order.action else { return Ok(None) };
                let signed = read_signed(client, generation).with_context(|| {
                    format!(
                        "the generation of this order is not to be had; if another came first, or it waited too long, \
                         then apply anew and run `campanile order cancel {}`",
                        order.id
                    )
                })?;
                (signed, Some(mode))
            }
            Content::Catalogue(..) | Content::Authority(..) | Content::Floor(..) => return Ok(None),
        };
        let tally = signed.tally(authority)?;
        if mode.is_some() && tally.missing() == 0 {
            return Ok(None);
        }
        let mut review = Review::new(client, authority, &tally)?;
        if matches!(mode, Some(ConfigMode::Apply { .. })) && tally.generation.purpose == Purpose::Draft {
            review.warnings.push("the order applies a draft, which no node does".to_owned());
        }
        Ok(Some(Self { signed, review }))
    }

    /// Adds a signature to the generation that the order names.
    pub(super) fn sign(
        &self,
        client: &Client,
        order: OrderId,
        authority: &Authority,
        signer: &dyn Signer,
    ) -> anyhow::Result<()> {
        if self.signed.signers(authority).contains(&signer.public().id()) {
            return Ok(());
        }
        let signature = signer.sign(Subject::Generation, &self.signed.bytes)?;
        match super::add(client, &generation_id(self.signed.digest()), &signature) {
            Ok(_) => Ok(()),
            Err(error) if error.code() == Some("config_conflict") => {
                // Nobody can approve it any more; where this fails it expires by itself.
                follow::withdraw(client, order).ok();
                Err(overtaken(&error.to_string()))
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Says that somebody was faster.
pub(super) fn overtaken(said: &str) -> anyhow::Error {
    anyhow!("{said}; the proposal was withdrawn, no node was told anything")
}
