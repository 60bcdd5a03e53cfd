//! `/metrics`: what every node measures and what the aggregator knows, in Prometheus' text format 0.0.4.
//!
//! Written by hand: host series come and go with the nodes and must keep node_exporter's exact names, which
//! registries with fixed families and OpenMetrics' naming rules do not allow.

mod backups;
mod exposition;
mod help;
mod host;
mod own;
pub(super) mod requests;

#[cfg(test)]
mod tests;

use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use campanile_common::api::Liveness;

use self::exposition::Exposition;
use super::App;
use super::auth::Caller;
use super::failure::Outcome;
use super::request::{NoParams, Params};
use crate::os::process;

const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// `GET /metrics`.
pub(super) async fn serve(State(shared): App, caller: Caller, _: Params<NoParams>) -> Outcome<Response> {
    let sight = caller.sight(&shared, "metrics.read").await?;
    let reporting = |liveness| matches!(liveness, Liveness::Online | Liveness::Late);
    let samples: Vec<_> = sight
        .active()
        .filter(|view| reporting(view.node.liveness))
        .filter_map(|view| Some((&view.node, shared.services.series.latest(view.node.node_id)?)))
        .collect();
    // The next answer is as long as this one, give or take a node.
    let mut out = Exposition::with_capacity(shared.exposition_bytes.load(Ordering::Relaxed));
    own::write(
        &mut out,
        &own::Facts {
            sight: &sight,
            fleet: &shared.services.fleet,
            process: process::usage(),
            requests: &shared.requests,
            event_streams: shared.stream_limit.count(),
            orders: shared.services.orders.figures(),
            are_settings_valid: shared.services.settings_error.borrow().is_none(),
            config: shared.services.config.figures(),
            self_backup: *shared.services.self_backup.borrow(),
            is_frozen: shared.services.freezer.is_frozen(),
        },
    );
    let stored = &shared.services.backups;
    let nodes = sight.active().map(|view| stored.node_backup(view.node.node_id, &view.node.name));
    backups::write(&mut out, &nodes.filter(backups::is_shown).collect::<Vec<_>>());
    let left_out = host::write(&mut out, &samples);
    own::write_left_out(&mut out, left_out);
    let text = out.finish();
    shared.exposition_bytes.store(text.len() + text.len() / 8, Ordering::Relaxed);
    Ok(([(header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response())
}
