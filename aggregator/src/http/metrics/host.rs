//! The nodes' newest samples under node_exporter's names, with labels that say whose they are.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};

use campanile_common::api::Node;
use campanile_common::sample::{Sample, Series, SeriesKind};

use super::exposition::{Exposition, Kind, Number, as_label_part, is_label_name, label};
use super::help;

/// Writes every family of every sample; returns how many samples were left out because their name or labels are
/// not fit for the format, or because they are a second time the same.
pub(super) fn write<S: Borrow<Sample>>(out: &mut Exposition, samples: &[(&Node, S)]) -> u64 {
    let owners: Vec<String> = samples.iter().map(|(node, _)| owner_labels(node)).collect();
    let mut families: BTreeMap<&str, Vec<(usize, &Series, f64)>> = BTreeMap::new();
    for (owner, (_, sample)) in samples.iter().enumerate() {
        for (series, value) in sample.borrow().values() {
            families.entry(&series.name).or_default().push((owner, series, value));
        }
    }
    let mut left_out = 0;
    let mut labels = String::new();
    for (name, members) in families {
        let Some(mut family) = out.family(name, kind(name, &members), help::text(name)) else {
            left_out += members.len() as u64;
            continue;
        };
        // Members of one node are together; within it, equal labels would be the same series twice.
        let (mut current, mut seen) = (usize::MAX, BTreeSet::new());
        for (owner, series, value) in members {
            if owner != current {
                current = owner;
                seen.clear();
            }
            labels.clear();
            labels.push_str(&owners[owner]);
            if write_own_labels(&mut labels, series) && seen.insert(labels.clone()) {
                family.sample(&labels, Number(value));
            } else {
                left_out += 1;
            }
        }
    }
    left_out
}

/// A counter whose name does not say so is untyped in node_exporter too; so is a family about which nodes disagree.
fn kind(name: &str, members: &[(usize, &Series, f64)]) -> Kind {
    let all = |kind| members.iter().all(|(_, series, _)| series.kind == kind);
    let is_total = name.ends_with("_total");
    if all(SeriesKind::Counter) && is_total {
        Kind::Counter
    } else if all(SeriesKind::Gauge) && !is_total {
        Kind::Gauge
    } else {
        Kind::Untyped
    }
}

/// Labels that say whose a series is: `node`, `node_id`, and the node's labels after `label_`.
fn owner_labels(node: &Node) -> String {
    let mut labels = String::new();
    label(&mut labels, "node", &node.name);
    label(&mut labels, "node_id", &node.node_id.to_string());
    let mut taken = BTreeSet::new();
    for (key, value) in node.labels.iter() {
        let mut name = format!("label_{}", as_label_part(key));
        // `a.b` and `a-b` are different labels but the same name here.
        while !taken.insert(name.clone()) {
            name.push('_');
        }
        label(&mut labels, &name, value);
    }
    labels
}

/// Appends the series' own labels; false when one is not fit. One that would hide whose the series is steps aside,
/// as in Prometheus.
fn write_own_labels(labels: &mut String, series: &Series) -> bool {
    let mut taken = BTreeSet::new();
    for (key, value) in &series.labels {
        let is_ours = key == "node" || key == "node_id" || key.starts_with("label_");
        let name = if is_ours { format!("exported_{key}") } else { key.clone() };
        if !is_label_name(&name) || !taken.insert(name.clone()) {
            return false;
        }
        label(labels, &name, value);
    }
    true
}
