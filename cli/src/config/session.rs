//! Signing generations and ordering nodes to plan or apply them: what the verbs of `config` and `secret` share.

use std::time::Duration;

use campanile_common::api::{
    ConfigHead, DispatchOptions, Node, Order, OrderRequest, OrderState, OrderTarget,
};
use campanile_common::authority::{
    Action, Authority, ConfigMode, Limits, OUTPUT_BYTES_MAX, Role, TIMEOUT_MAX, Tier, VALIDITY_MAX,
};
use campanile_common::config::{Generation, SignedGeneration};
use campanile_common::id::{Digest, NodeId};
use clap::Args;

use super::build::{Head, Origin};
use super::said::parse;
use super::view::{Collector, Fate, NodeResult, Outcome};
use super::{ending, remote};
use crate::client::{Client, segment};
use crate::context::Context;
use crate::exit::{Exit, UsageError};
use crate::order::options::SLACK;
use crate::order::submit::{self, Composed, Draft};
use crate::order::{follow, summary};
use crate::os::clock;
use crate::os::signal::StopRequest;
use crate::signer::{self, Passphrase, Signer, Subject};
use crate::{approve, authority, confirm, duration, profile};

/// Longest output of one node that is fetched when it did not come while the order was followed.
const OUTPUT_FETCHED_MAX: usize = 4 * 1024 * 1024;

/// How long an order waits for the signatures of further operators; the aggregator keeps its generation as long.
const APPROVAL_WAIT: Duration = Duration::from_secs(86_400);

/// How a plan or an apply is carried out on nodes.
#[derive(Debug, Clone, Args)]
pub(crate) struct OrderOptions {
    /// How long it may take on each node, before it is stopped and undone; here this is not the wait for the
    /// aggregator
    // The same name as the common option, which it takes the place of.
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration::parse)]
    pub(crate) timeout: Duration,
    /// Most nodes at work at once
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) parallel: Option<u32>,
    /// How many nodes it must be; else nothing is done
    #[arg(long, value_name = "N")]
    pub(crate) expect: Option<usize>,
    /// How the operator's key is unlocked.
    #[command(flatten)]
    pub(crate) passphrase: Passphrase,
}

/// How an apply goes over the fleet.
#[derive(Debug, Clone, Args)]
pub(crate) struct WaveOptions {
    /// Apply it to so many nodes first, and go on only when they are well
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) canary: Option<u32>,
    /// In waves of so many nodes or of a share, e.g. 5 or 25%: the next begins when the one before is done and well
    #[arg(long, value_name = "N | N%", value_parser = crate::order::options::parse_batch)]
    pub(crate) batch: Option<String>,
    /// Stop when more than so many nodes did not end well; the rest is skipped
    #[arg(long, value_name = "N")]
    pub(crate) max_fail: Option<u32>,
    /// How long the nodes of a wave must be well before the next begins
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_pause)]
    pub(crate) wave_pause: Duration,
    /// Undo every change, not only those of network, firewall, ssh and the agent, unless the node reaches its
    /// aggregator by a new session afterwards
    #[arg(long)]
    pub(crate) confirm: bool,
    /// How long a node may take to reach its aggregator anew before it undoes what it changed
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = parse_confirm)]
    pub(crate) confirm_within: Duration,
}

fn parse_confirm(text: &str) -> Result<Duration, String> {
    let within = duration::parse(text).map_err(|error| error.to_string())?;
    if (5..=3600).contains(&within.as_secs()) { Ok(within) } else { Err("give 5s to 1h".to_owned()) }
}

fn parse_pause(text: &str) -> Result<Duration, String> {
    if text == "0s" { Ok(Duration::ZERO) } else { duration::parse(text).map_err(|error| error.to_string()) }
}

impl WaveOptions {
    /// What nodes are ordered to do.
    pub(crate) fn mode(&self) -> ConfigMode {
        let confirm_within_s = u32::try_from(self.confirm_within.as_secs()).unwrap_or(u32::MAX);
        ConfigMode::Apply { is_confirmed: self.confirm, confirm_within_s }
    }

    /// How many nodes are to be done at the end of each wave.
    pub(crate) fn waves(&self, nodes: usize) -> Vec<usize> {
        let size = match self.batch.as_deref() {
            None => nodes,
            Some(batch) => match batch.strip_suffix('%') {
                Some(share) => (nodes * share.parse().unwrap_or(100)).div_ceil(100),
                None => batch.parse().unwrap_or(nodes),
            },
        };
        let mut ends = Vec::new();
        let mut done = 0;
        if let Some(canary) = self.canary.and_then(|canary| usize::try_from(canary).ok()) {
            done = canary.min(nodes);
            ends.push(done);
        }
        while done < nodes {
            done = (done + size.max(1)).min(nodes);
            ends.push(done);
        }
        ends
    }

    fn dispatch(&self, parallel: Option<u32>, nodes: usize) -> DispatchOptions {
        let mut ends: Vec<String> = self.waves(nodes).iter().map(ToString::to_string).collect();
        // The aggregator knows that the rest is the last.
        ends.pop();
        let wave_pause_s = u32::try_from(self.wave_pause.as_secs()).unwrap_or(u32::MAX);
        DispatchOptions {
            parallel,
            max_fail: self.max_fail,
            wave_pause_s: if ends.is_empty() { 0 } else { wave_pause_s },
            waves: ends,
            ..DispatchOptions::default()
        }
    }
}

/// An operator at work on the configuration.
pub(crate) struct Session {
    /// The aggregator.
    pub(crate) client: Client,
    /// Who may order.
    pub(crate) authority: Authority,
    signer: Box<dyn Signer>,
    author: String,
}

/// An order to nodes.
pub(crate) struct Work<'a> {
    /// For whom.
    pub(crate) nodes: &'a [Node],
    /// Which generation.
    pub(crate) generation: ConfigHead,
    /// What is done with it.
    pub(crate) mode: ConfigMode,
    /// How it is spread over the nodes.
    pub(crate) dispatch: DispatchOptions,
    /// How many waves that makes.
    pub(crate) waves: usize,
    /// How long each may take.
    pub(crate) timeout: Duration,
    /// How long lies between two waves.
    pub(crate) pause: Duration,
}

impl<'a> Work<'a> {
    /// Planning a generation, on all nodes at once.
    pub(crate) fn plan(nodes: &'a [Node], generation: ConfigHead, options: &OrderOptions) -> Self {
        let dispatch = DispatchOptions { parallel: options.parallel, ..DispatchOptions::default() };
        let (timeout, pause) = (options.timeout, Duration::ZERO);
        Self { nodes, generation, mode: ConfigMode::Plan, dispatch, waves: 1, timeout, pause }
    }

    /// Applying it, in waves.
    pub(crate) fn apply(
        nodes: &'a [Node],
        generation: ConfigHead,
        options: &OrderOptions,
        waves: &WaveOptions,
    ) -> Self {
        Self {
            nodes,
            generation,
            mode: waves.mode(),
            dispatch: waves.dispatch(options.parallel, nodes.len()),
            waves: waves.waves(nodes.len()).len(),
            timeout: options.timeout,
            pause: waves.wave_pause,
        }
    }
}

impl Session {
    /// Opens the operator's key; whoever may not sign changes learns it here.
    pub(crate) fn open(context: &mut Context<'_>, passphrase: &Passphrase) -> anyhow::Result<Self> {
        let client = profile::client_of_orders(context)?;
        let authority = authority::load(context.environment)?;
        let signer = signer::open(context, passphrase)?;
        let author = authority::check_holder(&authority, &signer.public(), Role::Change)?;
        Ok(Self { client, authority, signer, author })
    }

    /// The generation that is the head now, verified.
    pub(crate) fn head(&self, forget_secrets: bool) -> anyhow::Result<Option<Head>> {
        remote::head(&self.client, &self.authority, forget_secrets)
    }

    /// What a generation made now says of itself.
    pub(crate) fn origin(&self) -> Origin {
        let document = self.authority.document();
        Origin {
            fleet: document.fleet,
            authority_version: document.version,
            author: self.author.clone(),
            now: clock::now(),
        }
    }

    /// Whether it takes the signatures of further operators.
    pub(crate) fn takes_approval(&self) -> bool {
        self.authority.threshold(Role::Change) > 1
    }

    /// Says that a generation which no order names yet waits for signatures.
    pub(crate) fn proposed(
        &self,
        context: &mut Context<'_>,
        generation: &ConfigHead,
    ) -> anyhow::Result<Exit> {
        let (number, id) = (generation.number, approve::generation_id(generation.digest));
        let missing = authority::missing(&self.authority, Role::Change, std::slice::from_ref(&self.author));
        context.hint(&format!(
            "generation {number} waits a day for signatures; missing: {missing}; they run `campanile approve sign {id}`"
        ))?;
        Ok(Exit::Waiting)
    }

    /// Signs a generation.
    pub(crate) fn sign(&self, generation: &Generation) -> anyhow::Result<SignedGeneration> {
        let bytes = generation.to_bytes()?;
        let signature = self.signer.sign(Subject::Generation, &bytes)?;
        Ok(SignedGeneration { bytes, signatures: vec![signature] })
    }

    /// All active nodes, in the order of their names.
    pub(crate) fn nodes(&self) -> anyhow::Result<Vec<Node>> {
        let mut nodes: Vec<Node> = self.client.pages("/api/v1/nodes", &[("state", "active")])?;
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(nodes)
    }

    /// Orders it and gathers what becomes of it; the exit code where it ended before any node did.
    pub(crate) fn carry_out(
        &self,
        context: &mut Context<'_>,
        work: &Work<'_>,
    ) -> anyhow::Result<Result<Outcome, Exit>> {
        let composed = self.compose(work)?;
        let order = submit::sign_by(&self.authority, &composed.order, &*self.signer)?;
        let request = OrderRequest { order, nodes: composed.leaves, dispatch: work.dispatch.clone() };
        // From here on Ctrl-C withdraws what was sent instead of leaving it behind.
        let stop = StopRequest::listen()?;
        let accepted = submit::place(&self.client, &request, composed.order.id)?;
        if accepted.state == OrderState::Proposed {
            return Ok(Err(submit::proposed(context, &accepted, &self.authority, Role::Change)?));
        }
        let accepted = submit::with_targets(accepted, work.nodes);
        let is_telling =
            context.environment.stderr_is_terminal && matches!(work.mode, ConfigMode::Apply { .. });
        let mut collector = Collector::telling(is_telling);
        match follow::watch(context, &self.client, &accepted, &stop, &mut collector)? {
            Some(ended) => Ok(Ok(self.outcome(&ended, work, &collector))),
            None => Ok(Err(follow::interrupt(context, &self.client, accepted.order_id)?)),
        }
    }

    fn compose(&self, work: &Work<'_>) -> anyhow::Result<Composed> {
        if work.timeout > TIMEOUT_MAX {
            let text = "nothing may take longer than a day; give a shorter --timeout".to_owned();
            return Err(UsageError(text).into());
        }
        let timeout_ms = u32::try_from(work.timeout.as_millis()).unwrap_or(u32::MAX);
        let waves = u32::try_from(work.waves.saturating_sub(1)).unwrap_or(u32::MAX);
        let ids: Vec<NodeId> = work.nodes.iter().map(|node| node.node_id).collect();
        let approval = if self.takes_approval() { APPROVAL_WAIT } else { Duration::ZERO };
        let draft = Draft {
            tier: Tier::Change,
            action: Action::Config { generation: work.generation.digest, mode: work.mode },
            nodes: &ids,
            limits: Limits { timeout_ms, output_bytes: OUTPUT_BYTES_MAX },
            standing: None,
            // Nodes of later waves must find the order still valid.
            valid_for: (2 * SLACK + (work.timeout + work.pause).saturating_mul(waves) + approval)
                .min(VALIDITY_MAX - 2 * SLACK),
            reason: "",
        };
        draft.compose(&self.authority, submit::new_id(), clock::now())
    }

    fn outcome(&self, ended: &Order, work: &Work<'_>, collector: &Collector) -> Outcome {
        let result = |target: &OrderTarget| {
            let mut said = parse(collector.of(target.node_id));
            if said.summary.is_none() && target.output_bytes > 0 {
                // The stream broke, or ended first: what was kept is fetched once more.
                let path = format!("{}/output/{}", follow::path(ended.order_id), segment(&target.name));
                if let Ok(kept) = self.client.bytes(&path, OUTPUT_FETCHED_MAX) {
                    said = parse(&kept);
                }
            }
            let fate = Fate::of(target, &said);
            let is_fine = matches!(fate, Fate::Unchanged | Fate::Pending | Fate::Applied);
            let is_told = matches!(fate, Fate::Failed | Fate::Reverted) && !said.problems.is_empty();
            let detail = if is_fine || is_told { String::new() } else { summary::why(target) };
            NodeResult { node: target.node_id, name: target.name.clone(), fate, detail, said }
        };
        let mut nodes: Vec<NodeResult> = ended.targets.iter().map(result).collect();
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        let generation = work.generation.clone();
        if matches!(work.mode, ConfigMode::Apply { .. }) {
            let is_cut = |target: &&OrderTarget| target.result.as_deref() == Some("indeterminate");
            let cut = ended.targets.iter().filter(is_cut).map(|target| target.node_id).collect();
            ending::learn(&self.client, generation.digest, cut, &mut nodes);
        }
        Outcome { order_id: ended.order_id, generation, nodes }
    }
}

/// Names a generation as the aggregator does.
pub(crate) const fn name(number: u64, digest: Digest) -> ConfigHead {
    ConfigHead { number, digest }
}

/// Those of `nodes` that a selector names; all without one.
///
/// # Errors
/// When it names none, or another number than was expected.
pub(crate) fn chosen(
    nodes: &[Node],
    selector: Option<&campanile_common::selector::Selector>,
    expect: Option<usize>,
) -> anyhow::Result<Vec<Node>> {
    let is_named = |node: &&Node| {
        let (id, name, labels) = (node.node_id.to_string(), &node.name, &node.labels);
        let subject = campanile_common::selector::Subject { id: &id, name, labels };
        selector.is_none_or(|selector| selector.matches(&subject))
    };
    let chosen: Vec<Node> = nodes.iter().filter(is_named).cloned().collect();
    if chosen.is_empty() {
        anyhow::bail!("this names no active node; `campanile node ls` lists them with their labels");
    }
    confirm::expected(chosen.len(), expect)?;
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        waves: WaveOptions,
    }

    fn waves(line: &[&str]) -> WaveOptions {
        Line::try_parse_from(["x"].iter().chain(line)).unwrap().waves
    }

    #[test]
    fn waves_end_with_the_last_node_and_begin_with_the_canary() {
        let ends = |line: &[&str], nodes| waves(line).waves(nodes);
        assert_eq!(ends(&[], 28), [28]);
        assert_eq!(ends(&["--canary", "1"], 28), [1, 28]);
        assert_eq!(ends(&["--canary", "2", "--batch", "25%"], 28), [2, 9, 16, 23, 28]);
        assert_eq!(ends(&["--batch", "10"], 28), [10, 20, 28]);
        assert_eq!(ends(&["--canary", "5", "--batch", "1%"], 3), [3]);
    }

    #[test]
    fn the_aggregator_is_told_where_waves_end_but_for_the_last() {
        let dispatch = waves(&["--canary", "1", "--batch", "50%", "--wave-pause", "0s"]).dispatch(None, 4);
        assert_eq!((dispatch.waves, dispatch.wave_pause_s), (vec!["1".to_owned(), "3".to_owned()], 0));
        assert_eq!(waves(&[]).dispatch(Some(2), 4).waves, Vec::<String>::new());
        assert_eq!(waves(&["--canary", "1"]).dispatch(None, 4).wave_pause_s, 10);
    }

    #[test]
    fn the_time_to_confirm_has_limits() {
        let mode = waves(&["--confirm", "--confirm-within", "2m"]).mode();
        assert_eq!(mode, ConfigMode::Apply { is_confirmed: true, confirm_within_s: 120 });
        for wrong in ["4s", "2h"] {
            assert!(Line::try_parse_from(["x", "--confirm-within", wrong]).is_err(), "{wrong}");
        }
    }
}
