//! One node for people.

use campanile_common::api::{Cause, Node, NodeState, NodeStewardship};
use campanile_common::unit::ByteCount;
use serde::Serialize;

use super::{path, score};
use crate::client::Client;
use crate::context::Context;
use crate::os::clock;
use crate::render::{self, Cell, Tone};

/// A node with what it would accept.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    #[serde(flatten)]
    node: &'a Node,
    stewardship: Option<NodeStewardship>,
}

/// Shows a node, and asks it what it would accept.
pub(super) fn show(context: &mut Context<'_>, client: &Client, node: &Node) -> anyhow::Result<()> {
    let stewardship = match node.state {
        NodeState::Active => client
            .get(&format!("{}/stewardship", path(&node.node_id.to_string())), &[])
            .map_err(|error| error.to_string()),
        NodeState::Retired => Err("it is retired".to_owned()),
    };
    print(context, node, stewardship)
}

fn print(
    context: &mut Context<'_>,
    node: &Node,
    stewardship: Result<NodeStewardship, String>,
) -> anyhow::Result<()> {
    let (stewardship, absent) = match stewardship {
        Ok(stewardship) => (Some(stewardship), None),
        Err(reason) => (None, Some(reason)),
    };
    let shown = Shown { node, stewardship };
    render::object(context, &shown, &node.name, |context| {
        let now = clock::now();
        let mut fields = vec![
            ("name", Cell::new(&node.name)),
            ("id", Cell::new(node.node_id)),
            ("labels", Cell::new(&node.labels)),
        ];
        match node.state {
            NodeState::Active => fields.extend([
                ("liveness", Cell::liveness(node.liveness)),
                ("status", Cell::health(node.status)),
                ("score", score(node.score)),
                ("last heartbeat", ago(Cell::age(node.last_heartbeat, now), node.last_heartbeat.is_some())),
            ]),
            NodeState::Retired => fields.push(("retired", Cell::maybe(node.retired_at))),
        }
        fields.push(("agent", Cell::maybe(node.agent_version.as_ref())));
        if let Some(confinement) = &node.confinement {
            fields.push(("confined", Cell::new(confinement)));
        }
        if let Some(facts) = &node.facts {
            fields.extend([
                ("host name", Cell::new(&facts.hostname)),
                ("system", Cell::new(format!("{}, {}, {}", facts.os, facts.kernel, facts.architecture))),
                ("processors", Cell::new(facts.cpus)),
                ("memory", Cell::new(ByteCount(facts.memory_bytes))),
                ("booted", Cell::new(facts.booted_at)),
            ]);
        }
        fields.extend([
            ("enrolled", Cell::new(node.enrolled_at)),
            ("certificate until", Cell::new(node.certificate_expires_at)),
            ("revision", Cell::new(node.revision)),
        ]);
        render::fields(context, &fields)?;
        causes(context, &node.causes)?;
        accepts(context, shown.stewardship.as_ref(), absent.as_deref())
    })
}

/// What the node would accept and why, or why nobody knows.
fn accepts(
    context: &mut Context<'_>,
    stewardship: Option<&NodeStewardship>,
    absent: Option<&str>,
) -> anyhow::Result<()> {
    writeln!(context.out)?;
    let Some(stewardship) = stewardship else {
        let reason = absent.unwrap_or("it did not say");
        return Ok(render::fields(context, &[("orders", Cell::new(format!("not known: {reason}")))])?);
    };
    let journal = if stewardship.journal_writable {
        Cell::new("takes orders")
    } else {
        Cell::new("cannot be written: every order is denied until it can").toned(Tone::Bad)
    };
    let units = if stewardship.transient_units { "in units of systemd" } else { "in process groups" };
    let mut fields: Vec<_> = stewardship
        .explanation
        .iter()
        .enumerate()
        .map(|(index, line)| (if index == 0 { "orders" } else { "" }, Cell::new(line)))
        .collect();
    fields.extend([
        ("because of", Cell::new(&stewardship.policy_source)),
        ("commands run", Cell::new(format!("as {}, {units}", stewardship.user))),
        ("journal", journal),
        ("authority version", Cell::new(stewardship.authority_version)),
        ("catalogue version", Cell::maybe(stewardship.catalogue_version)),
        ("running now", Cell::new(stewardship.running)),
    ]);
    Ok(render::fields(context, &fields)?)
}

fn causes(context: &mut Context<'_>, causes: &[Cause]) -> anyhow::Result<()> {
    if causes.is_empty() {
        return Ok(());
    }
    writeln!(context.out)?;
    let rows = causes
        .iter()
        .map(|cause| {
            vec![
                Cell::new(format!("-{:.1}", cause.points)),
                Cell::severity(cause.severity),
                Cell::new(&cause.name),
                Cell::new(&cause.subject),
                Cell::new(&cause.summary),
            ]
        })
        .collect();
    Ok(render::table(context, &["POINTS", "SEVERITY", "CAUSE", "WHERE", "WHAT"], rows)?)
}

fn ago(age: Cell, is_known: bool) -> Cell {
    if is_known { age.followed_by(" ago") } else { age }
}
