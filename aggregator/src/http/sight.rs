//! What a caller sees of the fleet: the nodes that its grants cover, and nothing that tells of others.

use std::sync::Arc;

use campanile_common::api::{FleetCause, Node, NodeState, Page};
use campanile_common::id::NodeId;
use campanile_common::selector::{Selector, SelectorError, Subject};

use super::Shared;
use super::auth::Caller;
use super::failure::{Failure, Outcome};
use super::paging::{self, Place};
use crate::access::{Actor, Permission};
use crate::node::{FleetView, NodeView};

/// The fleet as one caller sees it.
#[derive(Debug)]
pub(super) struct Sight {
    fleet: Arc<FleetView>,
    /// None for a caller who sees everything, which is the usual one and needs no check per node.
    restricted_to: Option<Actor>,
}

/// True when the actor may do this to the node.
pub(super) fn may(actor: &Actor, permission: Permission, node: &Node) -> bool {
    let id = node.node_id.to_string();
    actor.may(permission, Some(&Subject { id: &id, name: &node.name, labels: &node.labels }))
}

/// Reads the selector of a request.
pub(super) fn selector(text: &str) -> Outcome<Selector> {
    text.parse().map_err(|error: SelectorError| Failure::invalid(error.to_string()))
}

impl Sight {
    pub(super) fn new(fleet: Arc<FleetView>, actor: &Actor) -> Self {
        let restricted_to = (!actor.may(Permission::Read, None)).then(|| actor.clone());
        Self { fleet, restricted_to }
    }

    #[cfg(test)]
    pub(super) fn of_everything(fleet: FleetView) -> Self {
        Self { fleet: Arc::new(fleet), restricted_to: None }
    }

    /// The shared view, for a caller who sees all of it.
    pub(super) fn whole(&self) -> Option<&Arc<FleetView>> {
        self.restricted_to.is_none().then_some(&self.fleet)
    }

    fn shows(&self, view: &NodeView) -> bool {
        self.restricted_to.as_ref().is_none_or(|actor| may(actor, Permission::Read, &view.node))
    }

    /// Every visible node, retired ones included.
    pub(super) fn nodes(&self) -> impl Iterator<Item = &NodeView> {
        self.fleet.nodes.iter().filter(|view| self.shows(view))
    }

    /// Every visible node that is not retired.
    pub(super) fn active(&self) -> impl Iterator<Item = &NodeView> {
        self.nodes().filter(|view| view.node.state == NodeState::Active)
    }

    /// A page of the active nodes that a selector names, in order of their names.
    ///
    /// # Errors
    /// When the selector, the limit or the cursor cannot be read.
    pub(super) fn selected_page(
        &self,
        text: &str,
        limit: Option<usize>,
        cursor: Option<&str>,
    ) -> Outcome<Page<&NodeView>> {
        let selector = selector(text)?;
        let selects = |view: &&NodeView| {
            let id = view.node.node_id.to_string();
            selector.matches(&Subject { id: &id, name: &view.node.name, labels: &view.node.labels })
        };
        let place = |view: &&NodeView| Place::new(view.node.name.clone(), view.node.node_id.to_string());
        paging::page(self.active().filter(selects), place, paging::limit(limit)?, cursor)
    }

    /// The visible node with this id.
    pub(super) fn by_id(&self, id: NodeId) -> Option<&NodeView> {
        self.fleet.nodes.iter().find(|view| view.node.node_id == id).filter(|view| self.shows(view))
    }

    /// The visible node with this id or name; among namesakes the active one.
    pub(super) fn find(&self, id_or_name: &str) -> Option<&NodeView> {
        let by_id = id_or_name.parse().ok().and_then(|id| self.by_id(id));
        by_id
            .or_else(|| self.active().find(|view| view.node.name == id_or_name))
            .or_else(|| self.nodes().find(|view| view.node.name == id_or_name))
    }

    /// Points lost to visible nodes, most expensive first.
    pub(super) fn causes(&self) -> impl Iterator<Item = &FleetCause> {
        self.fleet
            .causes
            .iter()
            .filter(|cause| self.restricted_to.is_none() || self.by_id(cause.node_id).is_some())
    }

    /// The fleet's score; for a caller who sees a part, what that part leaves of a hundred, so that the number tells
    /// nothing of the rest and every lost point still has its cause.
    pub(super) fn score(&self) -> u8 {
        if self.restricted_to.is_none() {
            return self.fleet.score;
        }
        let lost: f64 = self.causes().map(|cause| cause.cause.points).sum();
        whole_points(100.0 - lost)
    }

    pub(super) fn readings_per_second(&self) -> Option<f64> {
        self.whole().and_then(|fleet| fleet.readings_per_second)
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0 to 100 before")]
fn whole_points(points: f64) -> u8 {
    points.clamp(0.0, 100.0).round() as u8
}

impl Caller {
    /// What the caller sees; a refusal when it may read nothing at all.
    pub(super) async fn sight(&self, shared: &Shared, action: &'static str) -> Outcome<Sight> {
        self.require_somewhere(shared, Permission::Read, action).await?;
        Ok(Sight::new(shared.services.nodes.fleet(), &self.actor))
    }

    /// A node that the caller sees and may do this to. One it does not see does not exist for it.
    pub(super) async fn node(
        &self,
        shared: &Shared,
        id_or_name: &str,
        permission: Permission,
        action: &'static str,
    ) -> Outcome<NodeView> {
        let sight = self.sight(shared, action).await?;
        let Some(view) = sight.find(id_or_name) else {
            return Err(Failure::not_found(format!("no node `{id_or_name}`")));
        };
        if may(&self.actor, permission, &view.node) {
            Ok(view.clone())
        } else {
            Err(self.denied(shared, action, &format!("node/{}", view.node.node_id)).await)
        }
    }
}
