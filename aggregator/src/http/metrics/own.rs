//! What the aggregator knows of the fleet and of itself.

use campanile_common::api::{Confinement, Liveness};

use super::exposition::{Exposition, Kind, Number, label};
use super::requests::RequestCounts;
use crate::config;
use crate::http::FleetInfo;
use crate::http::sight::Sight;
use crate::node::NodeView;
use crate::order::Figures;
use crate::os::process::ProcessUsage;
use crate::self_backup;

/// Where the figures come from.
pub(super) struct Facts<'a> {
    pub(super) sight: &'a Sight,
    pub(super) fleet: &'a FleetInfo,
    pub(super) process: ProcessUsage,
    pub(super) requests: &'a RequestCounts,
    pub(super) event_streams: usize,
    pub(super) orders: Figures,
    pub(super) config: config::Figures,
    pub(super) self_backup: self_backup::Figures,
    pub(super) is_frozen: bool,
    pub(super) are_settings_valid: bool,
}

/// Writes all of it but what depends on the host series.
pub(super) fn write(out: &mut Exposition, facts: &Facts<'_>) {
    write_fleet(out, facts);
    write_nodes(out, facts.sight);
    facts.requests.write(out);
    out.single("campanile_event_streams", Kind::Gauge, "Event streams that are open.", facts.event_streams);
    // Who sees a part of the fleet learns nothing of orders beyond it.
    if facts.sight.whole().is_some() {
        write_orders(out, &facts.orders);
        write_config(out, &facts.config);
        write_self_backup(out, facts.self_backup);
    }
    write_process(out, facts);
}

/// Samples of nodes that the format or a second series of the same name kept out; counted, never silent.
pub(super) fn write_left_out(out: &mut Exposition, left_out: u64) {
    out.single(
        "campanile_exposition_left_out_samples",
        Kind::Gauge,
        "Samples of nodes left out of this answer because their names or labels are not fit for it.",
        left_out,
    );
}

fn write_fleet(out: &mut Exposition, facts: &Facts<'_>) {
    let sight = facts.sight;
    if let Some(mut family) =
        out.family("campanile_nodes", Kind::Gauge, "Nodes that are not retired, by liveness.")
    {
        for (liveness, name) in
            [(Liveness::Online, "online"), (Liveness::Late, "late"), (Liveness::Offline, "offline")]
        {
            let count = sight.active().filter(|view| view.node.liveness == liveness).count();
            family.sample(&format!("liveness=\"{name}\""), count);
        }
    }
    out.single("campanile_health_score", Kind::Gauge, "Health of the fleet, 0 to 100.", sight.score());
    out.single(
        "campanile_alerts",
        Kind::Gauge,
        "Thresholds that are crossed.",
        sight.active().map(|view| view.alerts.len()).sum::<usize>(),
    );
    out.single(
        "campanile_fleet_frozen",
        Kind::Gauge,
        "1 while every change is refused, else 0.",
        u8::from(facts.is_frozen),
    );
    out.single(
        "campanile_aggregator_settings_valid",
        Kind::Gauge,
        "1 while the aggregator's settings as written are in force, 0 while they are refused.",
        u8::from(facts.are_settings_valid),
    );
    write_confinement(out, &facts.fleet.confinement);
    let authority = *facts.fleet.authority.borrow();
    out.single(
        "campanile_authority_version",
        Kind::Gauge,
        "Version of the authority in force.",
        authority.version,
    );
    out.single(
        "campanile_authority_expiry_timestamp_seconds",
        Kind::Gauge,
        "When the authority expires, in seconds since the epoch.",
        authority.expires_at.as_secs(),
    );
    if let Some(mut family) =
        out.family("campanile_build_info", Kind::Gauge, "Version of the aggregator; always 1.")
    {
        let mut labels = String::new();
        label(&mut labels, "version", &facts.fleet.aggregator_version);
        label(&mut labels, "fleet", &facts.fleet.name);
        family.sample(&labels, 1);
    }
}

fn write_confinement(out: &mut Exposition, confinement: &Confinement) {
    let help = "1 for each layer that confines the aggregator, else 0; how far, or why not.";
    if let Some(mut family) = out.family("campanile_aggregator_confinement", Kind::Gauge, help) {
        for layer in &confinement.layers {
            let mut labels = String::new();
            label(&mut labels, "layer", &layer.layer);
            label(&mut labels, "state", &layer.state);
            family.sample(&labels, u8::from(layer.is_on));
        }
    }
}

fn write_orders(out: &mut Exposition, figures: &Figures) {
    let help = "Orders that came into a state since the aggregator started, by kind.";
    if let Some(mut family) = out.family("campanile_orders_total", Kind::Counter, help) {
        for ((kind, state), count) in &figures.orders {
            let mut labels = String::new();
            label(&mut labels, "kind", kind);
            label(&mut labels, "state", state.as_str());
            family.sample(&labels, *count);
        }
    }
    let help = "Targets of orders that came to an end since the aggregator started, by how.";
    if let Some(mut family) = out.family("campanile_order_targets_total", Kind::Counter, help) {
        for (state, count) in &figures.targets {
            let mut labels = String::new();
            label(&mut labels, "state", state.as_str());
            family.sample(&labels, *count);
        }
    }
    out.single(
        "campanile_orders_in_flight",
        Kind::Gauge,
        "Orders with targets that are not accounted for.",
        figures.in_flight,
    );
}

fn write_config(out: &mut Exposition, figures: &config::Figures) {
    out.single(
        "campanile_config_generation",
        Kind::Gauge,
        "Number of the generation that the fleet is meant to be at; 0 before the first.",
        figures.generation,
    );
    let help = "Nodes by how they stand to their configuration, as they reported last.";
    if let Some(mut family) = out.family("campanile_config_nodes", Kind::Gauge, help) {
        for (phase, count) in &figures.phases {
            family.sample(&format!("phase=\"{phase}\""), *count);
        }
    }
    out.single(
        "campanile_config_drifted_resources",
        Kind::Gauge,
        "Resources that differ from their configuration by another hand, as nodes reported last.",
        figures.drifted,
    );
    out.single(
        "campanile_config_parts_bytes",
        Kind::Gauge,
        "Bytes of the parts of generations that are kept.",
        figures.parts_bytes,
    );
}

/// Absent where none is made, so that an alert on its age is about those that are.
fn write_self_backup(out: &mut Exposition, figures: self_backup::Figures) {
    if !figures.is_on {
        return;
    }
    out.single(
        "campanile_self_backup_last_success_timestamp_seconds",
        Kind::Gauge,
        "When the newest backup of the aggregator itself was made, in seconds since the epoch; 0 before the first.",
        figures.latest.map_or(0, |(at, _)| at.as_secs()),
    );
    out.single(
        "campanile_self_backup_bytes",
        Kind::Gauge,
        "Length of the newest backup of the aggregator itself.",
        figures.latest.map_or(0, |(_, bytes)| bytes),
    );
    out.single(
        "campanile_self_backup_failures_total",
        Kind::Counter,
        "Backups of the aggregator itself that failed since it started.",
        figures.failures,
    );
}

/// One family with one sample per visible node that has a value.
fn per_node<'a>(
    out: &mut Exposition,
    sight: &'a Sight,
    (name, kind, help): (&str, Kind, &str),
    value: impl Fn(&'a NodeView) -> Option<f64>,
) {
    let Some(mut family) = out.family(name, kind, help) else { return };
    for view in sight.active() {
        let Some(value) = value(view) else { continue };
        let mut labels = String::new();
        label(&mut labels, "node", &view.node.name);
        label(&mut labels, "node_id", &view.node.node_id.to_string());
        family.sample(&labels, Number(value));
    }
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus values are f64")]
fn write_nodes(out: &mut Exposition, sight: &Sight) {
    let gauge = |name, help| (name, Kind::Gauge, help);
    let counter = |name, help| (name, Kind::Counter, help);
    per_node(out, sight, gauge("campanile_node_health_score", "Health of a node, 0 to 100."), |view| {
        view.node.score.map(f64::from)
    });
    per_node(
        out,
        sight,
        gauge("campanile_agent_connected", "1 while the node's agent has a session, else 0."),
        |view| Some(f64::from(u8::from(view.connection.is_some()))),
    );
    per_node(
        out,
        sight,
        gauge("campanile_agent_rtt_seconds", "Smoothed round-trip time of the agent's session."),
        |view| view.connection.as_ref().map(|connection| connection.rtt_ms / 1000.0),
    );
    per_node(
        out,
        sight,
        gauge(
            "campanile_agent_last_heartbeat_timestamp_seconds",
            "When the last message came, in seconds since the epoch.",
        ),
        |view| view.node.last_heartbeat.map(|time| time.as_millis() as f64 / 1000.0),
    );
    per_node(
        out,
        sight,
        gauge(
            "campanile_node_certificate_expiry_timestamp_seconds",
            "When the node's certificate expires, in seconds since the epoch.",
        ),
        |view| Some(view.node.certificate_expires_at.as_secs() as f64),
    );
    per_node(
        out,
        sight,
        counter(
            "campanile_samples_received_total",
            "Samples taken in from the node since the aggregator started.",
        ),
        |view| Some(view.samples_total as f64),
    );
    per_node(
        out,
        sight,
        counter(
            "campanile_sample_gap_ticks_total",
            "Sampling ticks that the node's agent declared lost since the aggregator started.",
        ),
        |view| Some(view.gap_ticks_total as f64),
    );
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus values are f64")]
fn write_process(out: &mut Exposition, facts: &Facts<'_>) {
    let process = &facts.process;
    let started = facts.fleet.started_at.as_millis() as f64 / 1000.0;
    for (name, kind, help, value) in [
        (
            "process_cpu_seconds_total",
            Kind::Counter,
            "Processor time used, in seconds.",
            Some(process.cpu.as_secs_f64()),
        ),
        (
            "process_resident_memory_bytes",
            Kind::Gauge,
            "Resident memory in bytes.",
            process.resident_bytes.map(|bytes| bytes as f64),
        ),
        (
            "process_virtual_memory_bytes",
            Kind::Gauge,
            "Virtual memory in bytes.",
            process.virtual_bytes.map(|bytes| bytes as f64),
        ),
        ("process_threads", Kind::Gauge, "Threads.", process.threads.map(|count| count as f64)),
        (
            "process_open_fds",
            Kind::Gauge,
            "Open file descriptors.",
            process.open_files.map(|count| count as f64),
        ),
        (
            "process_max_fds",
            Kind::Gauge,
            "Most file descriptors that may be open.",
            process.open_files_max.map(|count| count as f64),
        ),
        (
            "process_start_time_seconds",
            Kind::Gauge,
            "When the aggregator started, in seconds since the epoch.",
            Some(started),
        ),
    ] {
        if let Some(value) = value {
            out.single(name, kind, help, Number(value));
        }
    }
}
