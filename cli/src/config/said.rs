//! What a node printed for a plan or an apply, read.

use campanile_common::api::{PlanLine, PlannedChange};
use serde::Serialize;

/// A warning or an error of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Problem {
    /// About which resource, where it is about one.
    pub(crate) resource: Option<String>,
    /// What is wrong.
    pub(crate) message: String,
}

/// The last line of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Summary {
    /// Changes that are planned, or were made.
    pub(crate) changes: u32,
    /// Resources that are as they should be.
    pub(crate) unchanged: u32,
    /// How it ended.
    pub(crate) result: String,
    /// What could not be undone.
    pub(crate) left: Vec<String>,
}

/// What a node said.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Said {
    /// What it would change, or changed.
    pub(crate) changes: Vec<PlannedChange>,
    /// How far an apply came.
    pub(crate) steps: Vec<String>,
    /// What is wrong.
    pub(crate) problems: Vec<Problem>,
    /// Missing where the output broke off.
    pub(crate) summary: Option<Summary>,
}

/// Reads the output of a node. What is no line of a plan is shown as a problem and never lost.
pub(crate) fn parse(output: &[u8]) -> Said {
    let mut said = Said::default();
    for line in output.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        match serde_json::from_slice(line) {
            Ok(PlanLine::Change(change)) => said.changes.push(change),
            Ok(PlanLine::Step { step }) => said.steps.push(step),
            Ok(PlanLine::Problem { resource, message }) => said.problems.push(Problem { resource, message }),
            Ok(PlanLine::Summary { changes, unchanged, result, left, .. }) => {
                said.summary = Some(Summary { changes, unchanged, result, left });
            }
            Err(_) => {
                let message = String::from_utf8_lossy(line).into_owned();
                said.problems.push(Problem { resource: None, message });
            }
        }
    }
    said
}
