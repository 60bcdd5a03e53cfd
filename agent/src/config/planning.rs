//! Makes the plan: every resource in its order, compared with what the node is, those before it taken as done.

use std::collections::BTreeSet;

use super::host::Host;
use super::resource::{self, Pending};
use super::step::{Desired, Plan, Problem};

/// Which resources are looked at, given whether something that changes notifies them.
pub(crate) type Choice<'a> = &'a dyn Fn(&Desired, bool) -> bool;

/// Everything that is desired.
pub(crate) fn all(_: &Desired, _: bool) -> bool {
    true
}

/// Compares the node with `desired`, which is in the order in which it is applied. `is_confirmed` makes every change
/// one that must be confirmed.
///
/// # Errors
/// With everything that cannot be planned, when there is such: then nothing is.
pub(crate) fn plan(
    host: &Host,
    number: u64,
    desired: &[Desired],
    is_confirmed: bool,
    choice: Choice<'_>,
) -> Result<Plan, Vec<Problem>> {
    let (plan, problems) = look(host, number, desired, is_confirmed, choice);
    if problems.is_empty() { Ok(plan) } else { Err(problems) }
}

/// Compares the node with everything that is desired: what differs, and what cannot be told.
pub(crate) fn compare(host: &Host, number: u64, desired: &[Desired]) -> (Plan, Vec<Problem>) {
    look(host, number, desired, false, &all)
}

fn look(
    host: &Host,
    number: u64,
    desired: &[Desired],
    is_confirmed: bool,
    choice: Choice<'_>,
) -> (Plan, Vec<Problem>) {
    let (mut plan, mut problems) = (Plan { number, ..Plan::default() }, Vec::new());
    let (mut pending, mut notified) = (Pending::default(), BTreeSet::new());
    for one in desired {
        let (id, rules) = (&one.resource.id, &one.resource.rules);
        let is_notified = notified.contains(id);
        if !choice(one, is_notified) {
            continue;
        }
        match resource::plan(host, &mut pending, one, is_notified) {
            Ok(None) => plan.unchanged += 1,
            Ok(Some(mut change)) => {
                notified.extend(&rules.notify);
                change.shown.confirmed |= is_confirmed;
                plan.changes.push(change);
            }
            Err(mut problem) => {
                problem.resource.get_or_insert_with(|| id.clone());
                problems.push(problem);
            }
        }
    }
    (plan, problems)
}
