//! Many simulated agents in one process against a real aggregator: what a connection, a handshake and a steady
//! fleet cost, and how fast everybody is back after a crash.
//!
//! `swarm --dir D --agents N --seconds S [--interval-ms 10000] [--restart]`, where D was made by
//! `campanile dev up --nodes 1 --dir D --detach`. Prints lines of `name value unit`; what it does meanwhile goes to
//! standard error. The aggregator is told the interval through a drop-in and restarted for it; `campanile dev down`
//! stops it as before.

mod aggregator;
mod node;
mod options;
mod order;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use campanile_common::token::Token;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use aggregator::{Aggregator, Usage};
use node::{Endpoints, Identity, Link, Tally};
use options::Options;

/// Enrolments under way; the aggregator takes 128.
const ENROLMENTS_MAX: usize = 32;
/// First dials under way.
const DIALS_MAX: usize = 64;
/// Longest time for any step, plus so much for each agent.
const STEP: Duration = Duration::from_secs(60);
const STEP_PER_AGENT: Duration = Duration::from_millis(50);
/// How long the aggregator is left alone before it is measured.
const SETTLE: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_millis(20);

fn main() -> anyhow::Result<()> {
    let options = Options::parse(std::env::args().skip(1))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let done = runtime.block_on(run(&options));
    runtime.shutdown_timeout(Duration::from_secs(2));
    done
}

fn print(name: &str, value: f64, unit: &str) {
    println!("{name} {value:.3} {unit}");
}

async fn run(options: &Options) -> anyhow::Result<()> {
    let mut aggregator = Aggregator::open(&options.dir)?;
    aggregator.set_interval(options.interval)?;
    let step = STEP + STEP_PER_AGENT * options.agents;
    let token = aggregator.token(options.agents)?;
    let endpoints = Arc::new(Endpoints::bind(&token, options.sockets)?);

    let identities = enroll(&aggregator, &endpoints, &token, options.agents, step).await?;
    tokio::time::sleep(SETTLE).await;
    let idle = over(&aggregator, SETTLE).await?;
    print("aggregator_cpu_idle", idle.cpu_ms / SETTLE.as_secs_f64(), "ms/s");

    let tally = Arc::new(Tally::default());
    let mut swarm = Swarm::start(&endpoints, identities, &tally, options);
    swarm.all_up(step, "connect").await?;
    swarm.stop(step).await?;
    tokio::time::sleep(SETTLE).await;

    let (before, began) = (aggregator.usage()?, Instant::now());
    let mut swarm = Swarm::start(&endpoints, swarm.identities, &tally, options);
    swarm.all_up(step, "reconnect").await?;
    let (after, wall) = (aggregator.usage()?, began.elapsed());
    let agents = f64::from(options.agents);
    let spent = after.cpu_ms - before.cpu_ms;
    let base = idle.cpu_ms / SETTLE.as_secs_f64() * wall.as_secs_f64();
    print("reconnect_all", wall.as_secs_f64() * 1000.0, "ms");
    print("handshake_cpu", spent / agents, "ms");
    print("handshake_cpu_above_idle", (spent - base).max(0.0) / agents, "ms");
    print("aggregator_rss_before", before.resident_kib, "KiB");

    tokio::time::sleep(options.interval.max(SETTLE)).await;
    let steady = over(&aggregator, options.duration).await?;
    print("aggregator_rss_connected", steady.resident_kib, "KiB");
    print("aggregator_rss_per_connection", (steady.resident_kib - before.resident_kib) / agents, "KiB");
    print("aggregator_cpu_steady", steady.cpu_ms / options.duration.as_secs_f64(), "ms/s");
    print("samples_sent", tally.samples(), "samples");
    print("samples_acknowledged", tally.acknowledgements(), "acknowledgements");
    print("sessions_alive", f64::from(tally.up()), "sessions");
    print("sessions_lost", tally.lost(), "sessions");
    print("nodes_online", aggregator.online()?, "nodes");

    if options.restart {
        aggregator.kill()?;
        swarm.all_down(step).await?;
        let began = Instant::now();
        aggregator.start()?;
        swarm.all_up(step, "return").await?;
        print("back_after_crash", began.elapsed().as_secs_f64() * 1000.0, "ms");
    }
    swarm.stop(step).await?;
    endpoints.close().await;
    Ok(())
}

/// What the aggregator spends in this time; its memory at the end of it.
async fn over(aggregator: &Aggregator, time: Duration) -> anyhow::Result<Usage> {
    let before = aggregator.usage()?;
    tokio::time::sleep(time).await;
    let after = aggregator.usage()?;
    Ok(Usage { cpu_ms: after.cpu_ms - before.cpu_ms, resident_kib: after.resident_kib })
}

async fn enroll(
    aggregator: &Aggregator,
    endpoints: &Arc<Endpoints>,
    token: &Token,
    agents: u32,
    step: Duration,
) -> anyhow::Result<Vec<Identity>> {
    let (before, began) = (aggregator.usage()?, Instant::now());
    let (turns, run) = (Arc::new(Semaphore::new(ENROLMENTS_MAX)), node::run_name()?);
    let mut under_way = JoinSet::new();
    for index in 0..agents {
        let (turns, endpoints, token) = (Arc::clone(&turns), Arc::clone(endpoints), token.clone());
        let name = format!("swarm-{run}-{index:05}");
        under_way.spawn(async move {
            let _turn = turns.acquire().await?;
            node::enroll(&endpoints, &token, name).await
        });
    }
    let mut identities = Vec::new();
    let all = async {
        while let Some(done) = under_way.join_next().await {
            identities.push(done??);
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(step, all).await.context("enrolment took too long")??;
    let seconds = began.elapsed().as_secs_f64();
    let spent = aggregator.usage()?.cpu_ms - before.cpu_ms;
    print("enrol_rate", f64::from(agents) / seconds, "nodes/s");
    print("enrol_cpu", spent / f64::from(agents), "ms");
    Ok(identities)
}

/// All agents, each a task that keeps a session.
struct Swarm {
    identities: Vec<Identity>,
    tasks: JoinSet<()>,
    tally: Arc<Tally>,
    stop: watch::Sender<bool>,
}

impl Swarm {
    fn start(
        endpoints: &Arc<Endpoints>,
        identities: Vec<Identity>,
        tally: &Arc<Tally>,
        options: &Options,
    ) -> Self {
        let (stop, stopped) = watch::channel(false);
        let dials = Arc::new(Semaphore::new(DIALS_MAX));
        let mut tasks = JoinSet::new();
        for (index, identity) in identities.iter().enumerate() {
            let link = Link {
                endpoints: Arc::clone(endpoints),
                identity: identity.clone(),
                dials: Arc::clone(&dials),
                tally: Arc::clone(tally),
                interval: options.interval,
                index,
            };
            tasks.spawn(link.run(stopped.clone()));
        }
        Self { identities, tasks, tally: Arc::clone(tally), stop }
    }

    async fn all_up(&mut self, step: Duration, what: &str) -> anyhow::Result<()> {
        let all = u32::try_from(self.identities.len())?;
        self.until(step, |tally| tally.up() == all)
            .await
            .with_context(|| format!("{what}: only {} of {all} sessions stand", self.tally.up()))
    }

    async fn all_down(&mut self, step: Duration) -> anyhow::Result<()> {
        self.until(step, |tally| tally.up() == 0).await.context("sessions outlive their aggregator")
    }

    async fn until(&self, step: Duration, is_so: impl Fn(&Tally) -> bool) -> anyhow::Result<()> {
        let deadline = Instant::now() + step;
        while !is_so(&self.tally) {
            ensure!(Instant::now() < deadline, "not within {} s", step.as_secs());
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Says goodbye everywhere.
    async fn stop(&mut self, step: Duration) -> anyhow::Result<()> {
        self.stop.send_replace(true);
        let all = async { while self.tasks.join_next().await.is_some() {} };
        tokio::time::timeout(step, all).await.context("sessions do not end")
    }
}
