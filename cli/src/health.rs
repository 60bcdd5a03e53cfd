//! `health`: the score, what it lost its points for, and an exit code as monitoring plug-ins have.

use campanile_common::api::{FleetCause, NodeHealth, SystemHealthMetrics, UnconfinedNode};
use clap::Args;

use crate::context::Context;
use crate::exit::Exit;
use crate::node::score;
use crate::profile;
use crate::render::{self, Cell, Column, column};
use crate::watch::Watch;

/// Options of `health`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  campanile health
  campanile health --fail-under 90
  campanile health -o json

Exit codes, as monitoring plug-ins have them: 0 ok, 1 warning, 2 critical, 3 unknown. With --fail-under the score
alone decides: 2 when it is lower, else 0.")]
pub struct Health {
    /// Critical when the score is lower than this
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=100))]
    fail_under: Option<u8>,
    #[command(flatten)]
    watch: Watch,
}

/// What a monitoring plug-in says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Ok,
    Warning,
    Critical,
    Unknown,
}

/// Plug-ins have codes of their own; only the numbers are shared.
impl From<Verdict> for Exit {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Ok => Self::Fine,
            Verdict::Warning => Self::Failed,
            Verdict::Critical => Self::Usage,
            Verdict::Unknown => Self::SomeFailed,
        }
    }
}

const COLUMNS: [Column<FleetCause>; 6] = [
    column("POINTS", |cause, _| Cell::new(format!("-{:.1}", cause.cause.points))),
    column("NODE", |cause, _| Cell::new(&cause.node_name)),
    column("SEVERITY", |cause, _| Cell::severity(cause.cause.severity)),
    column("CAUSE", |cause, _| Cell::new(&cause.cause.name)),
    column("WHERE", |cause, _| Cell::new(&cause.cause.subject)),
    column("WHAT", |cause, _| Cell::new(&cause.cause.summary)),
];

/// Carries it out. A failure is a verdict too: unknown.
///
/// # Errors
/// When the verdict cannot be printed.
pub fn run(context: &mut Context<'_>, arguments: &Health) -> anyhow::Result<Exit> {
    let done = arguments.watch.run(context, |context| {
        let metrics: SystemHealthMetrics = profile::client(context)?.get("/api/v1/health", &[])?;
        print(context, &metrics)?;
        Ok(judge(&metrics, arguments.fail_under).into())
    });
    match done {
        Err(error) if !Exit::is_closed_pipe(&error) => {
            context.hint(&format!("campanile: health unknown: {error:#}"))?;
            Ok(Verdict::Unknown.into())
        }
        other => other,
    }
}

fn print(context: &mut Context<'_>, metrics: &SystemHealthMetrics) -> anyhow::Result<()> {
    let total = metrics.overall_system_health;
    render::object(context, metrics, &total.to_string(), |context| {
        let with = |wanted| metrics.node_status.iter().filter(|node| node.status == wanted).count();
        let counts = format!(
            "{}: {} healthy, {} warning, {} critical, {} offline",
            metrics.node_status.len(),
            with(NodeHealth::Healthy),
            with(NodeHealth::Warning),
            with(NodeHealth::Critical),
            with(NodeHealth::Offline),
        );
        render::fields(context, &[("health", score(Some(total))), ("nodes", Cell::new(counts))])?;
        if !metrics.causes.is_empty() {
            writeln!(context.out)?;
            let of = |column: &Column<FleetCause>| column.head();
            let heads: Vec<_> = COLUMNS.iter().map(of).collect();
            let now = crate::os::clock::now();
            let row = |cause| COLUMNS.iter().map(|column| column.cell(cause, now)).collect();
            render::table(context, &heads, metrics.causes.iter().map(row).collect())?;
        }
        unconfined(context, &metrics.unconfined)?;
        Ok(())
    })
}

/// For information: it costs no points.
fn unconfined(context: &mut Context<'_>, nodes: &[UnconfinedNode]) -> anyhow::Result<()> {
    if nodes.is_empty() {
        return Ok(());
    }
    writeln!(context.out)?;
    let row = |node: &UnconfinedNode| vec![Cell::new(&node.node_name), Cell::new(&node.confinement)];
    Ok(render::table(context, &["NOT CONFINED", "HOW FAR"], nodes.iter().map(row).collect())?)
}

fn judge(metrics: &SystemHealthMetrics, fail_under: Option<u8>) -> Verdict {
    if let Some(least) = fail_under {
        return if metrics.overall_system_health < least { Verdict::Critical } else { Verdict::Ok };
    }
    let of_node = |status| match status {
        NodeHealth::Healthy => Verdict::Ok,
        NodeHealth::Warning => Verdict::Warning,
        NodeHealth::Critical | NodeHealth::Offline => Verdict::Critical,
    };
    metrics.node_status.iter().map(|node| of_node(node.status)).max().unwrap_or(Verdict::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::Environment;
    use crate::testing;
    use campanile_common::api::{
        Cause, Confinement, ConfinementLayer, FleetPerformance, NodePerformance, NodeStatus, ResourceUsage,
        Severity,
    };
    use campanile_common::id::NodeId;

    fn metrics(total: u8, statuses: &[NodeHealth]) -> SystemHealthMetrics {
        let node = |status: &NodeHealth| NodeStatus {
            node_id: NodeId::from_bytes([1; 8]),
            name: "web-01".to_owned(),
            status: *status,
            last_heartbeat: None,
            performance_metrics: NodePerformance::default(),
            resource_usage: ResourceUsage::default(),
            active_processes: None,
        };
        SystemHealthMetrics {
            node_status: statuses.iter().map(node).collect(),
            overall_system_health: total,
            active_alerts: Vec::new(),
            performance_metrics: FleetPerformance::default(),
            causes: Vec::new(),
            unconfined: Vec::new(),
        }
    }

    #[test]
    fn the_worst_node_decides_as_in_a_monitoring_plug_in() {
        use NodeHealth::*;
        for (statuses, code) in [
            (&[][..], 0),
            (&[Healthy], 0),
            (&[Healthy, Warning], 1),
            (&[Warning, Critical], 2),
            (&[Offline, Healthy], 2),
        ] {
            assert_eq!(Exit::from(judge(&metrics(50, statuses), None)) as u8, code, "{statuses:?}");
        }
    }

    #[test]
    fn with_a_floor_the_score_alone_decides() {
        let at = |total| Exit::from(judge(&metrics(total, &[NodeHealth::Warning]), Some(90))) as u8;
        assert_eq!((at(89), at(90)), (2, 0));
    }

    #[test]
    fn without_a_fleet_the_verdict_is_unknown() {
        let mut code = None;
        let environment = Environment {
            variables: [("CAMPANILE_CONFIG_DIR".to_owned(), "/nonexistent".to_owned())].into(),
            ..Environment::default()
        };
        let arguments = Health { fail_under: None, watch: Watch::default() };
        testing::with_context(&[], &environment, |context| code = Some(run(context, &arguments).unwrap()));
        assert_eq!(code.map(|code| code as u8), Some(3));
    }

    #[test]
    fn lost_points_are_explained() {
        let mut metrics = metrics(91, &[NodeHealth::Warning]);
        metrics.causes.push(FleetCause {
            node_id: NodeId::from_bytes([1; 8]),
            node_name: "web-01".to_owned(),
            cause: Cause {
                points: 9.25,
                name: "disk".to_owned(),
                subject: "/var".to_owned(),
                severity: Severity::Warning,
                summary: "/var is 91% full".to_owned(),
            },
        });
        metrics.unconfined.push(UnconfinedNode {
            node_id: NodeId::from_bytes([2; 8]),
            node_name: "web-02".to_owned(),
            confinement: Confinement {
                layers: vec![ConfinementLayer::new("landlock", false, "off: the setting says so")],
            },
        });
        let printed =
            testing::with_context(&[], &Environment::default(), |context| print(context, &metrics).unwrap());
        insta::assert_snapshot!(printed, @r"
        health  91
        nodes   1: 0 healthy, 1 warning, 0 critical, 0 offline

        POINTS  NODE    SEVERITY  CAUSE  WHERE  WHAT
        -9.2    web-01  warning   disk   /var   /var is 91% full

        NOT CONFINED  HOW FAR
        web-02        landlock: off: the setting says so
        ");
    }
}
