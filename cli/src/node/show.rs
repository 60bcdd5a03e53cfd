//! One node for people.

use campanile_common::api::{Cause, Node, NodeState};
use campanile_common::unit::ByteCount;

use super::score;
use crate::context::Context;
use crate::os::clock;
use crate::render::{self, Cell};

pub(super) fn print(context: &mut Context<'_>, node: &Node) -> anyhow::Result<()> {
    render::object(context, node, &node.name, |context| {
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
        causes(context, &node.causes)
    })
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
