//! What a node measures: current values, recent points, and whether every second is there.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use campanile_common::api::{Coverage, NodeValues, Problem, SeriesPoints, SeriesValue};
use campanile_common::sample::{SERIES_LABELS_MAX, Sample, TEXT_BYTES_MAX};

use crate::access::Permission;
use crate::http::App;
use crate::http::auth::Caller;
use crate::http::failure::{Failure, Outcome};
use crate::http::request::{NoParams, Params, Segment};

/// Seconds of points when the caller does not say.
const SINCE_S_DEFAULT: u64 = 600;
/// The recent series hold an hour.
const SINCE_S_MAX: u64 = 3600;

/// Which points.
#[derive(Debug, PartialEq, Eq)]
struct PointsQuery {
    name: String,
    labels: BTreeMap<String, String>,
    since: Duration,
}

/// Read by hand: `label` may come several times, which no struct of fields takes.
fn points_query(pairs: Vec<(String, String)>) -> Outcome<PointsQuery> {
    let (mut name, mut labels, mut since_s) = (None, BTreeMap::new(), None);
    for (key, value) in pairs {
        match key.as_str() {
            "name" if name.is_none() && !value.is_empty() && value.len() <= TEXT_BYTES_MAX => {
                name = Some(value);
            }
            "label" if labels.len() < SERIES_LABELS_MAX => {
                let (label, value) = value
                    .split_once('=')
                    .ok_or_else(|| Failure::invalid("a label is written label=key=value"))?;
                labels.insert(label.to_owned(), value.to_owned());
            }
            "since_s" if since_s.is_none() => {
                let seconds = value.parse().ok().filter(|seconds| (1..=SINCE_S_MAX).contains(seconds));
                since_s = Some(seconds.ok_or_else(|| {
                    Failure::invalid(format!("since_s must be 1 to {SINCE_S_MAX} seconds"))
                })?);
            }
            "name" | "label" | "since_s" => {
                return Err(Failure::invalid(format!("`{key}` comes too often, or is empty or too long")));
            }
            _ => {
                return Err(Failure::invalid(format!(
                    "unknown field `{key}`, expected name, label or since_s"
                )));
            }
        }
    }
    let name = name.ok_or_else(|| Failure::invalid("name is missing, e.g. name=node_load1"))?;
    Ok(PointsQuery { name, labels, since: Duration::from_secs(since_s.unwrap_or(SINCE_S_DEFAULT)) })
}

fn node_values(sample: Option<&Sample>) -> NodeValues {
    let values = sample.into_iter().flat_map(Sample::values).filter(|(_, value)| value.is_finite());
    let values = values.map(|(series, value)| SeriesValue {
        name: series.name.clone(),
        labels: series.labels.iter().cloned().collect(),
        value,
    });
    NodeValues { time: sample.map(|sample| sample.time), values: values.collect() }
}

/// Current values of a node, one per series.
#[utoipa::path(
    get, path = "/api/v1/nodes/{idOrName}/values", tag = "series", params(("idOrName" = String, Path)),
    responses((status = 200, body = NodeValues), (status = "4XX", body = Problem))
)]
pub(super) async fn values(
    State(shared): App,
    caller: Caller,
    Segment(id_or_name): Segment,
    _: Params<NoParams>,
) -> Outcome<Json<NodeValues>> {
    let view = caller.node(&shared, &id_or_name, Permission::Read, "node.values").await?;
    Ok(Json(node_values(shared.services.series.latest(view.node.node_id).as_deref())))
}

/// Recent points of every series of one name whose labels include the given ones.
#[utoipa::path(
    get, path = "/api/v1/nodes/{idOrName}/series", tag = "series",
    params(
        ("idOrName" = String, Path),
        ("name" = String, Query, description = "Metric name, e.g. `node_load1`."),
        ("label" = Option<Vec<String>>, Query, description = "`key=value`; may be given several times."),
        ("since_s" = Option<u64>, Query, description = "Seconds back from now, 1 to 3600; 600 unless said otherwise."),
    ),
    responses((status = 200, body = Vec<SeriesPoints>), (status = "4XX", body = Problem))
)]
pub(super) async fn points(
    State(shared): App,
    caller: Caller,
    Segment(id_or_name): Segment,
    Params(pairs): Params<Vec<(String, String)>>,
) -> Outcome<Json<Vec<SeriesPoints>>> {
    let query = points_query(pairs)?;
    let view = caller.node(&shared, &id_or_name, Permission::Read, "node.series").await?;
    let to = shared.services.clock.now();
    let series = &shared.services.series;
    Ok(Json(series.points(view.node.node_id, &query.name, &query.labels, to - query.since, to)))
}

/// Accounts for every sampling tick of the retained time: received, declared lost, or missing.
#[utoipa::path(
    get, path = "/api/v1/nodes/{idOrName}/coverage", tag = "series", params(("idOrName" = String, Path)),
    responses((status = 200, body = Coverage), (status = "4XX", body = Problem))
)]
pub(super) async fn coverage(
    State(shared): App,
    caller: Caller,
    Segment(id_or_name): Segment,
    _: Params<NoParams>,
) -> Outcome<Json<Coverage>> {
    let view = caller.node(&shared, &id_or_name, Permission::Read, "node.coverage").await?;
    Ok(Json(shared.services.series.coverage(view.node.node_id)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::tests::fixture;

    fn query(pairs: &[(&str, &str)]) -> Outcome<PointsQuery> {
        points_query(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn labels_may_come_several_times_and_values_may_hold_an_equals_sign() {
        let read = query(&[("name", "x"), ("label", "a=b"), ("label", "c=d=e"), ("since_s", "60")]).unwrap();
        assert_eq!(read.labels, [("a".into(), "b".into()), ("c".into(), "d=e".into())].into());
        assert_eq!(read.since, Duration::from_secs(60));
    }

    #[test]
    fn a_missing_name_an_unknown_field_and_an_odd_time_are_refused() {
        for pairs in [
            &[("label", "a=b")][..],
            &[("name", "x"), ("step", "1")],
            &[("name", "x"), ("since_s", "0")],
            &[("name", "x"), ("since_s", "3601")],
            &[("name", "x"), ("name", "y")],
            &[("name", "x"), ("label", "a")],
        ] {
            assert_eq!(query(pairs).unwrap_err().problem().code, "invalid", "{pairs:?}");
        }
    }

    #[test]
    fn values_leave_out_series_without_a_reading() {
        let sample = fixture::sample(&[("node_load1", &[], Some(1)), ("node_load5", &[], None)]);
        let values = node_values(Some(&sample));
        assert_eq!(values.values.len(), 1);
        assert_eq!(values.values[0].name, "node_load1");
        assert_eq!(node_values(None), NodeValues { time: None, values: Vec::new() });
    }
}
