//! Scores from 0 to 100 in which every lost point has its cause.
//!
//! **A node** loses, worst breach first:
//! - offline: 100, so its score is 0;
//! - the first critical 40, so that a node with one cannot exceed 60; each further critical 10;
//! - late messages 20;
//! - each warning 5, at most 30 for all warnings: no number of warnings looks like a critical;
//! - at most 95 in all: 0 means offline and nothing else.
//!
//! **The fleet** loses twice the mean of what its nodes lose, rounded up to whole points: one dead node of 28
//! costs 8, a quarter of the fleet 50, half of it all. In a fleet so large that this hides a single node, worst
//! cases still show: at least 5 points while a node is offline, 3 while one is critical, 1 for anything else. A
//! fleet without nodes has 100. The lost points are shared out over the nodes' causes in proportion to what
//! they cost there.

use super::judge::{Breach, LATE, OFFLINE, Verdict};
use crate::api::{Cause, FleetCause, NodeHealth, Severity};
use crate::id::NodeId;

const OFFLINE_POINTS: u8 = 100;
const FIRST_CRITICAL_POINTS: u8 = 40;
const NEXT_CRITICAL_POINTS: u8 = 10;
const LATE_POINTS: u8 = 20;
const WARNING_POINTS: u8 = 5;
const WARNINGS_POINTS_MAX: u8 = 30;
const ONLINE_POINTS_MAX: u8 = 95;

const FLEET_FACTOR: u64 = 2;
const FLEET_OFFLINE_POINTS_MIN: u64 = 5;
const FLEET_CRITICAL_POINTS_MIN: u64 = 3;
const FLEET_WARNING_POINTS_MIN: u64 = 1;

/// Shares of the fleet's points are multiples of 1/64: a power of two, so that they add up exactly in binary
/// floating point, in any order.
const SHARES_PER_POINT: f64 = 64.0;

/// A node's score and what its lost points are for. `breaches` come worst first; one that costs nothing because
/// a maximum is reached is no cause.
pub(super) fn node_score(breaches: &[Breach]) -> (u8, Vec<Cause>) {
    let (mut lost, mut lost_to_warnings, mut has_critical) = (0_u8, 0_u8, false);
    let mut causes = Vec::new();
    for breach in breaches {
        let wanted = match (breach.name, breach.severity) {
            (OFFLINE, _) => OFFLINE_POINTS,
            (LATE, _) => LATE_POINTS,
            (_, Severity::Critical) if has_critical => NEXT_CRITICAL_POINTS,
            (_, Severity::Critical) => FIRST_CRITICAL_POINTS,
            (_, Severity::Warning) => WARNING_POINTS.min(WARNINGS_POINTS_MAX - lost_to_warnings),
        };
        let most = if breach.name == OFFLINE { OFFLINE_POINTS } else { ONLINE_POINTS_MAX };
        let points = wanted.min(most.saturating_sub(lost));
        has_critical |= breach.severity == Severity::Critical;
        if breach.severity == Severity::Warning && breach.name != LATE {
            lost_to_warnings += points;
        }
        lost += points;
        if points > 0 {
            causes.push(Cause {
                points: f64::from(points),
                name: breach.name.to_owned(),
                subject: breach.subject.clone(),
                severity: breach.severity,
                summary: breach.summary.clone(),
            });
        }
    }
    causes.sort_by(|a, b| b.points.total_cmp(&a.points));
    (100 - lost, causes)
}

/// The fleet's score and what its lost points are for, most expensive first. `nodes` are those that are not
/// retired, with their names.
pub fn fleet_score(nodes: &[(NodeId, &str, &Verdict)]) -> (u8, Vec<FleetCause>) {
    let lost = fleet_points(nodes);
    let weights = nodes.iter().flat_map(|(_, _, verdict)| verdict.causes.iter().map(|cause| cause.points));
    let shares = share_out(f64::from(lost) * SHARES_PER_POINT, &weights.collect::<Vec<_>>());
    let mut causes: Vec<FleetCause> = nodes
        .iter()
        .flat_map(|(node, name, verdict)| verdict.causes.iter().map(move |cause| (node, name, cause)))
        .zip(shares)
        .filter(|(_, share)| *share > 0.0)
        .map(|((node, name, cause), share)| FleetCause {
            node_id: *node,
            node_name: (*name).to_owned(),
            cause: Cause { points: share / SHARES_PER_POINT, ..cause.clone() },
        })
        .collect();
    causes.sort_by(|a, b| {
        (b.cause.points.total_cmp(&a.cause.points)).then_with(|| a.node_name.cmp(&b.node_name))
    });
    (100 - lost, causes)
}

/// Points the fleet loses, 0 to 100.
fn fleet_points(nodes: &[(NodeId, &str, &Verdict)]) -> u8 {
    let Ok(count) = u64::try_from(nodes.len()) else { return 100 };
    let lost: u64 = nodes.iter().map(|(_, _, verdict)| u64::from(100 - verdict.score.min(100))).sum();
    if count == 0 || lost == 0 {
        return 0;
    }
    let at_least = match nodes.iter().map(|(_, _, verdict)| verdict.status).max() {
        Some(NodeHealth::Offline) => FLEET_OFFLINE_POINTS_MIN,
        Some(NodeHealth::Critical) => FLEET_CRITICAL_POINTS_MIN,
        Some(NodeHealth::Warning | NodeHealth::Healthy) | None => FLEET_WARNING_POINTS_MIN,
    };
    let points = (FLEET_FACTOR * lost).div_ceil(count).max(at_least).min(100);
    u8::try_from(points).unwrap_or(100)
}

/// Whole shares of `total` in proportion to `weights`, adding up to `total` exactly: rounded down first, then
/// one more each where rounding took most. `total` is a whole number; all weights zero shares out nothing.
fn share_out(total: f64, weights: &[f64]) -> Vec<f64> {
    let sum: f64 = weights.iter().sum();
    if sum <= 0.0 {
        return vec![0.0; weights.len()];
    }
    let exact: Vec<f64> = weights.iter().map(|weight| total * weight / sum).collect();
    let mut shares: Vec<f64> = exact.iter().map(|share| share.floor()).collect();
    let mut by_loss: Vec<usize> = (0..weights.len()).collect();
    by_loss.sort_by(|&a, &b| (exact[b] - shares[b]).total_cmp(&(exact[a] - shares[a])));
    let mut rest = total - shares.iter().sum::<f64>();
    for index in by_loss {
        if rest < 1.0 {
            break;
        }
        shares[index] += 1.0;
        rest -= 1.0;
    }
    shares
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::time::Timestamp;

    fn breach(name: &'static str, severity: Severity) -> Breach {
        Breach {
            name,
            subject: String::new(),
            severity,
            since: Timestamp::default(),
            value: None,
            threshold: None,
            summary: String::new(),
        }
    }

    /// `c`ritical, `w`arning, `l`ate, `o`ffline.
    fn breaches(text: &str) -> Vec<Breach> {
        let one = |letter| match letter {
            'c' => breach("disk", Severity::Critical),
            'w' => breach("disk", Severity::Warning),
            'l' => breach(LATE, Severity::Warning),
            'o' => breach(OFFLINE, Severity::Critical),
            other => unreachable!("{other}"),
        };
        text.chars().map(one).collect()
    }

    fn verdict(text: &str) -> Verdict {
        let breaches = breaches(text);
        let (score, causes) = node_score(&breaches);
        let status = match text.chars().next() {
            None => NodeHealth::Healthy,
            Some('o') => NodeHealth::Offline,
            Some('c') => NodeHealth::Critical,
            Some(_) => NodeHealth::Warning,
        };
        Verdict { status, score, causes, breaches, untracked: 0, changed: false }
    }

    fn node(index: usize) -> NodeId {
        NodeId::from_bytes(u64::try_from(index).unwrap().to_be_bytes())
    }

    fn fleet(texts: &[&str]) -> (u8, Vec<FleetCause>) {
        let verdicts: Vec<Verdict> = texts.iter().map(|text| verdict(text)).collect();
        let nodes: Vec<_> =
            verdicts.iter().enumerate().map(|(index, verdict)| (node(index), "n", verdict)).collect();
        fleet_score(&nodes)
    }

    /// So many nodes like the first, the others healthy.
    fn fleet_of(size: usize, count: usize, text: &str) -> u8 {
        let texts: Vec<&str> = (0..size).map(|index| if index < count { text } else { "" }).collect();
        fleet(&texts).0
    }

    #[test]
    fn a_node_scores_by_the_documented_table() {
        for (text, score) in [
            ("", 100),
            ("w", 95),
            ("ww", 90),
            ("wwwwwwwwwwww", 70),
            ("l", 80),
            ("lwwwwwwwwwww", 50),
            ("c", 60),
            ("cw", 55),
            ("cc", 50),
            ("cclwww", 15),
            ("cccccc", 10),
            ("ccccccccccccccc", 5),
            ("o", 0),
        ] {
            assert_eq!(node_score(&breaches(text)).0, score, "{text}");
        }
    }

    #[test]
    fn a_fleet_scores_by_the_documented_table() {
        for (size, count, text, score) in [
            (0, 0, "", 100),
            (28, 0, "", 100),
            (28, 1, "w", 99),
            (28, 28, "w", 90),
            (28, 1, "c", 97),
            (28, 1, "o", 92),
            (28, 7, "o", 50),
            (28, 14, "o", 0),
            (28, 28, "o", 0),
            (500, 1, "w", 99),
            (500, 1, "c", 97),
            (500, 1, "o", 95),
            (1, 1, "l", 60),
        ] {
            assert_eq!(fleet_of(size, count, text), score, "{count} of {size} {text}");
        }
    }

    #[test]
    fn fleet_causes_name_their_node_and_come_most_expensive_first() {
        let (score, causes) = fleet(&["w", "", "o"]);
        assert_eq!(score, 30);
        let seen: Vec<_> = causes.iter().map(|cause| (cause.node_id, cause.cause.name.as_str())).collect();
        assert_eq!(seen, [(node(2), OFFLINE), (node(0), "disk")]);
        assert!((causes[0].cause.points - 66.67).abs() < 0.02, "{causes:?}");
    }

    #[test]
    fn equal_nodes_share_the_blame_equally() {
        let causes = fleet(&["o", "o"]).1;
        assert_eq!(causes.iter().map(|cause| cause.cause.points).collect::<Vec<_>>(), [50.0, 50.0]);
    }

    proptest! {
        #[test]
        fn points_add_up_exactly_and_scores_stay_in_range(
            texts in proptest::collection::vec("o|c{0,12}[wl]{0,40}", 0..60),
        ) {
            for text in &texts {
                let verdict = verdict(text);
                let points: f64 = verdict.causes.iter().map(|cause| cause.points).sum();
                prop_assert_eq!(points, f64::from(100 - verdict.score));
                prop_assert!(verdict.causes.iter().all(|cause| cause.points > 0.0));
                prop_assert_eq!(verdict.score == 0, text.starts_with('o'));
                prop_assert!(!text.starts_with('c') || verdict.score <= 60);
            }
            let (score, causes) = fleet(&texts.iter().map(String::as_str).collect::<Vec<_>>());
            let points: f64 = causes.iter().map(|cause| cause.cause.points).sum();
            prop_assert_eq!(points, f64::from(100 - score));
            prop_assert!(score <= 100);
            prop_assert_eq!(score == 100, texts.iter().all(String::is_empty));
        }

        #[test]
        fn another_dead_node_never_raises_the_score(size in 1_usize..200, dead in 0_usize..200) {
            let dead = dead.min(size - 1);
            prop_assert!(fleet_of(size, dead + 1, "o") <= fleet_of(size, dead, "o"));
        }
    }
}
