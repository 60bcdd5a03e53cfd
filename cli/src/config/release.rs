//! From a body to a release that nodes are ordered to apply: `apply`, `rollback` and the verbs of `secret` end here.

use campanile_common::api::{ConfigHead, Node};
use campanile_common::config::{LayerKind, LayerPart, Purpose};

use super::build::{Body, Head};
use super::content::Parts;
use super::remote;
use super::session::{OrderOptions, Session, WaveOptions, Work, name};
use crate::client::Condition;
use crate::confirm;
use crate::context::Context;
use crate::exit::Exit;

/// What is to become the head.
pub(crate) struct Release<'a> {
    /// What the fleet is to be.
    pub(crate) body: Body,
    /// Parts that the aggregator may lack.
    pub(crate) parts: &'a Parts,
    /// What it follows.
    pub(crate) head: Option<Head>,
    /// Why.
    pub(crate) message: &'a str,
    /// What to do when somebody else was faster.
    pub(crate) again: &'static str,
}

impl Release<'_> {
    /// The head, if it says the same.
    pub(crate) fn unchanged(&self) -> Option<ConfigHead> {
        let head = self.head.as_ref()?;
        (Body::of(&head.generation) == self.body).then(|| name(head.generation.number, head.digest))
    }

    /// Signs and submits it: the head is from now on this, unless somebody was faster.
    pub(crate) fn submit(
        self,
        context: &mut Context<'_>,
        session: &Session,
        purpose: Purpose,
    ) -> anyhow::Result<ConfigHead> {
        let generation =
            self.body.into_generation(self.head.as_ref(), &session.origin(), purpose, self.message);
        let signed = session.sign(&generation)?;
        remote::upload(context, &session.client, self.parts)?;
        let condition = match (purpose, &self.head) {
            (Purpose::Draft, _) => Condition::Always,
            (Purpose::Release, None) => Condition::IsAbsent,
            (Purpose::Release, Some(head)) => Condition::Is(head.digest),
        };
        match remote::submit(&session.client, &signed, condition) {
            Ok(digest) => Ok(name(generation.number, digest)),
            Err(error) => Err(remote::told_apart(&session.client, error, self.again)),
        }
    }
}

impl Release<'_> {
    /// Shows what is about to be done, asks, makes it the head unless the head says the same, and orders the nodes to
    /// apply it.
    pub(super) fn confirm_and_apply(
        self,
        context: &mut Context<'_>,
        session: &Session,
        what: &str,
        nodes: &[Node],
        order: &OrderOptions,
        waves: &WaveOptions,
    ) -> anyhow::Result<Exit> {
        let changes = layer_changes(self.head.as_ref(), &self.body.layers);
        if !ask(context, what, &changes, nodes, waves)? {
            return Ok(Exit::Failed);
        }
        let generation = match self.unchanged() {
            Some(head) => head,
            None => self.submit(context, session, Purpose::Release)?,
        };
        apply(context, session, generation, nodes, order, waves)
    }
}

/// What distinguishes the layers from those of the head, a line each.
fn layer_changes(head: Option<&Head>, layers: &[LayerPart]) -> Vec<String> {
    let before = head.map_or(&[][..], |head| &head.generation.layers);
    let same_place = |a: &LayerPart, b: &LayerPart| {
        (a.kind, &a.name, a.is_for_members_only) == (b.kind, &b.name, b.is_for_members_only)
    };
    let mut lines = Vec::new();
    for layer in layers {
        match before.iter().find(|old| same_place(old, layer)) {
            None => lines.push(format!("+ {}", path(layer))),
            Some(old) if old != layer => lines.push(format!("~ {}", path(layer))),
            Some(_) => {}
        }
    }
    let gone = before.iter().filter(|old| !layers.iter().any(|layer| same_place(old, layer)));
    lines.extend(gone.map(|old| format!("- {}", path(old))));
    lines
}

/// The file of a bundle that a layer is.
pub(crate) fn path(layer: &LayerPart) -> String {
    let listed = if layer.is_for_members_only { " (for listed nodes)" } else { "" };
    match layer.kind {
        LayerKind::Fleet => format!("fleet.toml{listed}"),
        LayerKind::Group => format!("groups/{}.toml{listed}", layer.name),
        LayerKind::Node => format!("nodes/{}.toml{listed}", layer.name),
    }
}

/// Shows what is about to be done and asks.
pub(crate) fn ask(
    context: &mut Context<'_>,
    what: &str,
    changes: &[String],
    nodes: &[Node],
    waves: &WaveOptions,
) -> anyhow::Result<bool> {
    context.hint(what)?;
    for change in changes {
        context.hint(&format!("  {change}"))?;
    }
    let ends = waves.waves(nodes.len());
    let spread = match ends.as_slice() {
        [_] => String::new(),
        ends => {
            let ends: Vec<String> = ends.iter().map(ToString::to_string).collect();
            format!(", in waves up to {}", ends.join(", "))
        }
    };
    let names: Vec<String> = nodes.iter().map(|node| node.name.clone()).collect();
    let question = format!("apply it to {}{spread}?", super::view::named(&names));
    let is_wanted = confirm::question(context, &question)?;
    if !is_wanted {
        context.hint("nothing was changed")?;
    }
    Ok(is_wanted)
}

/// Orders the nodes to apply it, and prints what becomes of it.
pub(crate) fn apply(
    context: &mut Context<'_>,
    session: &Session,
    generation: ConfigHead,
    nodes: &[Node],
    options: &OrderOptions,
    waves: &WaveOptions,
) -> anyhow::Result<Exit> {
    carry_out(context, session, &Work::apply(nodes, generation, options, waves))
}

/// Orders it, and prints what becomes of it.
pub(super) fn carry_out(
    context: &mut Context<'_>,
    session: &Session,
    work: &Work<'_>,
) -> anyhow::Result<Exit> {
    match session.carry_out(context, work)? {
        Ok(outcome) => {
            outcome.print(context)?;
            Ok(outcome.exit())
        }
        Err(exit) => Ok(exit),
    }
}

#[cfg(test)]
mod tests {
    use super::super::build::tests::layer;
    use super::*;
    use campanile_common::config::part_digest;
    use campanile_common::id::FleetId;
    use campanile_common::time::Timestamp;

    #[test]
    fn the_summary_names_files_of_the_bundle() {
        let origin = super::super::build::Origin {
            fleet: FleetId::from_bytes([1; FleetId::BYTES]),
            authority_version: 1,
            author: "ada".to_owned(),
            now: Timestamp::from_millis(1),
        };
        let layers = vec![
            layer(LayerKind::Fleet, "fleet", None, "a"),
            layer(LayerKind::Group, "web", Some("role=web"), "a"),
            layer(LayerKind::Node, "web-1", None, "a"),
        ];
        let body = Body { layers: layers.clone(), ..Body::default() };
        let head = Head {
            digest: part_digest(b"x"),
            generation: body.into_generation(None, &origin, Purpose::Release, ""),
        };
        assert!(layer_changes(Some(&head), &layers).is_empty());
        let mut next = layers[..2].to_vec();
        next[1].priority = 5;
        next.push(layer(LayerKind::Group, "db", Some("role=db"), "b"));
        assert_eq!(
            layer_changes(Some(&head), &next),
            ["~ groups/web.toml", "+ groups/db.toml", "- nodes/web-1.toml"]
        );
        assert_eq!(layer_changes(None, &layers).len(), 3);
    }
}
