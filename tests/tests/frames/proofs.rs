//! What a node tells of its drills and checks, with fixed content.

use campanile_common::wire::v1::proof::{CheckReport, DrillReport, ProofEnd, ProofReport, ProofResult};

use crate::messages::TIME;

pub(crate) fn reports() -> Vec<ProofReport> {
    let results = [ProofResult::Fine, ProofResult::Failed, ProofResult::Stopped];
    let report = |result| {
        let last = Some(ProofEnd { time: TIME, result, detail: "two files".to_owned() });
        let drill = DrillReport {
            policy: "etc".to_owned(),
            last: last.clone(),
            succeeded: Some(TIME),
            took_ms: 1500,
        };
        let check = CheckReport {
            target: "aggregator".to_owned(),
            since: TIME,
            cycle_s: 30 * 86_400,
            shares: 30,
            read: 29,
            complete_since: Some(TIME),
            findings: 2,
            last,
        };
        ProofReport { drills: vec![drill], checks: vec![check] }
    };
    results.map(report).into_iter().chain([ProofReport::default()]).collect()
}
