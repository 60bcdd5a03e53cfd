//! Stopping a development fleet: exactly the processes that run with its settings files.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context as _;

use super::Down;
use super::layout::Layout;
use crate::context::Context;
use crate::exit::Exit;
use crate::os::process;

/// How long a process may take to end in its own way.
const GRACE: Duration = Duration::from_secs(5);
/// The agent's program.
pub(super) const AGENT: &str = "campanile-agent";
/// The aggregator's program.
pub(super) const AGGREGATOR: &str = "campanile-aggregator";

pub(super) fn run(context: &mut Context<'_>, arguments: &Down) -> anyhow::Result<Exit> {
    let Some(layout) = Layout::open(&arguments.dir)? else {
        context.hint(&format!("{} does not exist: nothing to stop", arguments.dir.display()))?;
        return Ok(Exit::Fine);
    };
    layout.mark_stopping()?;
    let stopped = stop(&layout)?;
    layout.remove()?;
    context.hint(&format!(
        "stopped {stopped} processes and removed what was made in {}",
        layout.root().display()
    ))?;
    Ok(Exit::Fine)
}

/// Stops the agents, which say goodbye, then the aggregator. Gives their number.
pub(super) fn stop(layout: &Layout) -> anyhow::Result<usize> {
    let agents = layout.agents_settings().context("cannot list the nodes")?;
    let aggregator = BTreeSet::from([layout.aggregator_settings()]);
    let mut stopped = 0;
    for (program, settings) in [(AGENT, &agents), (AGGREGATOR, &aggregator)] {
        let processes = process::find(program, settings).context("cannot list the processes")?;
        stopped += processes.len();
        process::stop(&processes, GRACE).with_context(|| format!("cannot stop {program}"))?;
    }
    Ok(stopped)
}
