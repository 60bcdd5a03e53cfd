//! From a secret's new copies to a generation that has them.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, bail};
use campanile_common::api::Node;
use campanile_common::config::{Purpose, SECRETS_MAX, SecretPart};
use campanile_common::id::{Digest, NodeId};
use campanile_common::selector::Selector;

use super::pins::{Pins, Recipient};
use super::{Change, seal};
use crate::config::release::{self, Release, ask};
use crate::config::session::{Session, chosen};
use crate::config::{Body, Head, Parts, named, node_configs};
use crate::context::Context;
use crate::exit::Exit;
use crate::{confirm, suggest};

const AGAIN: &str = "run it again";

/// A change of one secret, upon the head.
pub(super) struct Work<'a> {
    session: &'a Session,
    head: Option<Head>,
    /// All active nodes.
    pub(super) nodes: Vec<Node>,
}

impl<'a> Work<'a> {
    /// Begins with what is in force.
    pub(super) fn begin(session: &'a Session) -> anyhow::Result<Self> {
        Ok(Self { session, head: session.head(false)?, nodes: session.nodes()? })
    }

    /// The secret of this name.
    pub(super) fn secret(&self, name: &str) -> Option<&SecretPart> {
        self.head.as_ref()?.generation.secrets.get(name)
    }

    /// The same, which must be there.
    pub(super) fn known(&self, name: &str) -> anyhow::Result<&SecretPart> {
        if let Some(secret) = self.secret(name) {
            return Ok(secret);
        }
        let names = self.head.iter().flat_map(|head| head.generation.secrets.keys());
        let close = suggest::close(name, names.map(String::as_str));
        bail!("there is no secret `{name}`{}", suggest::question(&close))
    }

    /// Seals a value to the nodes of `selector` and makes it the secret's.
    pub(super) fn seal(
        &self,
        context: &mut Context<'_>,
        change: &Change,
        value: &[u8],
        selector: &str,
        accepts_new: bool,
        verb: &str,
    ) -> anyhow::Result<Exit> {
        let meant: Selector = selector.parse().context("the selector cannot be read")?;
        let nodes = chosen(&self.nodes, Some(&meant), None)?;
        let mut parts = Parts::default();
        let sealed = self.copies(context, value, &nodes, accepts_new, &mut parts)?;
        let secret = SecretPart { selector: selector.to_owned(), set: crate::os::clock::now(), sealed };
        self.finish(context, change, Some(secret), &parts, verb)
    }

    /// Seals a value to nodes, whose keys are pinned.
    pub(super) fn copies(
        &self,
        context: &Context<'_>,
        value: &[u8],
        nodes: &[Node],
        accepts_new: bool,
        parts: &mut Parts,
    ) -> anyhow::Result<BTreeMap<NodeId, Digest>> {
        let recipients = self.recipients(nodes)?;
        let mut pins = Pins::load(context)?;
        pins.take(self.session.authority.document().fleet, &recipients, accepts_new)?;
        pins.store(context)?;
        seal::seal(value, &recipients, parts)
    }

    /// The recipients of nodes, as they reported them.
    fn recipients(&self, nodes: &[Node]) -> anyhow::Result<Vec<Recipient>> {
        let wanted: BTreeSet<NodeId> = nodes.iter().map(|node| node.node_id).collect();
        let mut recipients = Vec::new();
        let mut seen = BTreeSet::new();
        for node in node_configs(&self.session.client, None)? {
            if let Some(key) = node.sealing_key.filter(|_| wanted.contains(&node.node)) {
                seen.insert(node.node);
                recipients.push(Recipient { node: node.node, name: node.name, key });
            }
        }
        let without: Vec<String> =
            nodes.iter().filter(|node| !seen.contains(&node.node_id)).map(|node| node.name.clone()).collect();
        if !without.is_empty() {
            bail!(
                "no sealing key is known of {}: they have not reported one yet; is their steward running, and does their \
                 policy allow class `config`?",
                named(&without)
            );
        }
        Ok(recipients)
    }

    /// Makes the generation, and has it applied by every node that the change is about.
    pub(super) fn finish(
        &self,
        context: &mut Context<'_>,
        change: &Change,
        secret: Option<SecretPart>,
        parts: &Parts,
        verb: &str,
    ) -> anyhow::Result<Exit> {
        let name = &change.name;
        let mut body = match &self.head {
            // Members stay as they are listed: setting a secret moves no node to other layers.
            Some(head) => Body::of(&head.generation),
            None => Body::of_layers(Vec::new(), None, &self.nodes),
        };
        let about = concerned(&self.nodes, self.secret(name), secret.as_ref());
        match secret {
            Some(secret) => body.secrets.insert(name.clone(), secret),
            None => body.secrets.remove(name),
        };
        if body.secrets.len() > SECRETS_MAX {
            bail!("a fleet has at most {SECRETS_MAX} secrets; remove some with `campanile secret rm`");
        }
        confirm::expected(about.len(), change.order.expect)?;
        let message = change.message.clone().unwrap_or_else(|| format!("{verb} secret {name}"));
        let what = format!("{verb} secret {name}, for {}", named(&names(&about)));
        let is_applied = !change.no_apply && !about.is_empty();
        if is_applied && !ask(context, &what, &[], &about, &change.waves)? {
            return Ok(Exit::Failed);
        }
        let release = Release { body, parts, head: self.head.clone(), message: &message, again: AGAIN };
        let generation = release.submit(context, self.session, Purpose::Release)?;
        if !is_applied && self.session.takes_approval() {
            return self.session.proposed(context, &generation);
        }
        if is_applied {
            return release::apply(context, self.session, generation, &about, &change.order, &change.waves);
        }
        context.hint(&format!("generation {} is made and not applied yet", generation.number))?;
        Ok(Exit::Fine)
    }
}

/// Names of nodes.
pub(super) fn names(nodes: &[Node]) -> Vec<String> {
    nodes.iter().map(|node| node.name.clone()).collect()
}

/// Nodes whose copy of the secret comes, goes or is another.
pub(super) fn concerned(
    nodes: &[Node],
    before: Option<&SecretPart>,
    after: Option<&SecretPart>,
) -> Vec<Node> {
    let copy = |secret: Option<&SecretPart>, node: &Node| {
        secret.and_then(|secret| secret.sealed.get(&node.node_id)).copied()
    };
    nodes.iter().filter(|node| copy(before, node) != copy(after, node)).cloned().collect()
}
