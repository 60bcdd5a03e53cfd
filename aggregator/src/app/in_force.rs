//! What is in force for the whole fleet: the authority, the catalogue, the freeze, the schedules; and what follows when
//! it changes.

use std::sync::Arc;

use anyhow::Context as _;
use campanile_common::authority::{Authority, SignedCatalogue};
use campanile_common::fleet::FleetFile;
use campanile_common::id::Digest;
use campanile_common::wire::v1::control::Control;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::audit::Audit;
use crate::authority::{Authorities, Catalogues};
use crate::event::Events;
use crate::freeze::Freezer;
use crate::http::AuthorityTerm;
use crate::node::Nodes;
use crate::order;
use crate::os::clock::Clock;
use crate::schedule::{InForce, Schedules};
use crate::settings::Settings;
use crate::state::{Keys, Store};

/// Handles of what is in force.
pub(super) struct Parts {
    pub(super) authorities: Authorities,
    pub(super) catalogues: Catalogues,
    pub(super) freezer: Freezer,
    pub(super) schedules: Schedules,
}

impl Parts {
    /// What orders are held against.
    pub(super) fn for_orders(&self) -> order::InForce {
        order::InForce {
            authority: self.authorities.subscribe(),
            catalogue: self.catalogues.subscribe(),
            is_frozen: self.freezer.subscribe(),
        }
    }
}

/// Reads all of it from the state folder.
pub(super) async fn open(
    settings: &Settings,
    fleet: &FleetFile,
    (store, keys): (&Store, &Keys),
    audit: &Audit,
    events: &Events,
    clock: &Clock,
) -> anyhow::Result<Parts> {
    let stored = || (Arc::clone(store), keys.clone());
    let (audit, events, clock) = (|| audit.clone(), || events.clone(), || clock.clone());
    let authorities =
        Authorities::open(&settings.state_dir, fleet, stored(), audit(), events(), clock()).await?;
    let authority = authorities.subscribe();
    let catalogues = Catalogues::open(stored(), audit(), events(), clock(), authority.clone())
        .await
        .context("cannot read the catalogue")?;
    let freezer =
        Freezer::open(stored(), audit(), events(), clock()).await.context("cannot read the freeze")?;
    let in_force = InForce { authority, catalogue: catalogues.subscribe() };
    let schedules = Schedules::open(stored(), audit(), events(), clock(), in_force)
        .await
        .context("cannot read the schedules")?;
    Ok(Parts { authorities, catalogues, freezer, schedules })
}

/// What the authority and the catalogue are shown to.
pub(super) struct Followed {
    authorities: Authorities,
    catalogues: Catalogues,
    authority: watch::Receiver<Arc<Authority>>,
    catalogue: watch::Receiver<Option<SignedCatalogue>>,
    term: watch::Sender<AuthorityTerm>,
    pin: watch::Sender<Digest>,
}

/// Passes on what changes.
pub(super) struct Follower {
    followed: Followed,
    nodes: Nodes,
}

/// What follows the authority, with the term that people see and the digest that new tokens pin.
pub(super) fn followed(parts: &Parts) -> (Followed, watch::Receiver<AuthorityTerm>, watch::Receiver<Digest>) {
    let (authorities, catalogues) = (parts.authorities.clone(), parts.catalogues.clone());
    let mut authority = authorities.subscribe();
    let current = Arc::clone(&authority.borrow_and_update());
    let (term, term_receiver) = watch::channel(term_of(&current));
    let (pin, pin_receiver) = watch::channel(current.digest());
    let catalogue = catalogues.subscribe_signed();
    (Followed { authorities, catalogues, authority, catalogue, term, pin }, term_receiver, pin_receiver)
}

fn term_of(authority: &Authority) -> AuthorityTerm {
    AuthorityTerm { version: authority.document().version, expires_at: authority.document().expires }
}

impl Followed {
    /// The task that tells `nodes` as well.
    pub(super) fn with(self, nodes: Nodes) -> Follower {
        Follower { followed: self, nodes }
    }
}

impl Follower {
    /// Works until cancelled. Agents that connect meanwhile get what is in force by themselves.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut sent = self.followed.term.borrow().version;
        loop {
            let followed = &mut self.followed;
            tokio::select! {
                () = stop.cancelled() => return,
                Ok(()) = followed.authority.changed() => {
                    let current = Arc::clone(&followed.authority.borrow_and_update());
                    followed.term.send_replace(term_of(&current));
                    followed.pin.send_replace(current.digest());
                    // Every version since, in order: two may have come at once.
                    for signed in followed.authorities.after(sent) {
                        self.nodes.broadcast(Control::Authority(signed)).await;
                    }
                    sent = current.document().version;
                    followed.catalogues.verify_anew();
                }
                Ok(()) = followed.catalogue.changed() => {
                    let signed = followed.catalogue.borrow_and_update().clone();
                    // Agents judge by themselves when a catalogue has lost its force.
                    if let Some(signed) = signed {
                        self.nodes.broadcast(Control::Catalogue(signed)).await;
                    }
                }
            }
        }
    }
}
