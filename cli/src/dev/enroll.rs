//! Enrolling the agents of a development fleet, a few at a time.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use zeroize::Zeroizing;

use super::layout::{self, Layout};
use crate::os::signal::StopRequest;
use crate::os::{file, process};

/// Agents that enrol at the same time: each makes keys and a handshake, which a small machine does few of at once.
const AT_ONCE: usize = 4;

/// One agent to enrol.
pub(super) struct Job {
    /// The node's name.
    pub(super) node: String,
    settings: PathBuf,
    text: String,
    log: PathBuf,
    token: Zeroizing<String>,
}

impl Job {
    pub(super) fn new(layout: &Layout, node: &str, token: &str) -> Self {
        Self {
            node: node.to_owned(),
            settings: layout.node(node, "agent.toml"),
            text: layout::agent_settings(layout, node),
            log: layout.node(node, "agent.log"),
            token: Zeroizing::new(format!("{token}\n")),
        }
    }

    /// Writes the agent's settings and has it enrol, the token on its standard input.
    fn carry_out(&self, agent: &Path, keep_waiting: &dyn Fn() -> bool) -> anyhow::Result<()> {
        if let Some(folder) = self.settings.parent() {
            file::make_private_dir(folder)?;
            layout::make_root(folder, &self.node)?;
        }
        let policy = self.settings.with_file_name(layout::POLICY);
        file::write_new(&policy, layout::NODE_POLICY.as_bytes(), file::PUBLIC)?;
        file::write_new(&self.settings, self.text.as_bytes(), file::SECRET)?;
        let arguments = [
            OsStr::new("enroll"),
            OsStr::new("--config"),
            self.settings.as_os_str(),
            OsStr::new("--token-file"),
            OsStr::new("-"),
            OsStr::new("--name"),
            OsStr::new(&self.node),
        ];
        let done = process::run(agent, &arguments, self.token.as_bytes(), &self.log, keep_waiting);
        let (status, _) = done.with_context(|| format!("cannot enrol {}", self.node))?;
        if !status.success() {
            bail!(
                "{} could not enrol ({status}); its log ends with:\n{}",
                self.node,
                process::tail(&self.log)
            );
        }
        Ok(())
    }
}

/// Enrols all, telling `enrolled` of each; stops at the first failure, or when asked to.
pub(super) fn all(
    agent: &Path,
    jobs: Vec<Job>,
    patience: Duration,
    stop: &StopRequest,
    mut enrolled: impl FnMut(&Job) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + patience;
    let is_over = AtomicBool::new(false);
    let queue = Mutex::new(VecDeque::from(jobs));
    let (results, outcomes) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            let (results, queue, is_over) = (results.clone(), &queue, &is_over);
            scope.spawn(move || {
                let keep_waiting =
                    || !is_over.load(Ordering::Acquire) && !stop.is_asked() && Instant::now() < deadline;
                while keep_waiting() {
                    let next = queue.lock().expect("no holder of this lock panics").pop_front();
                    let Some(job) = next else { break };
                    let done = job.carry_out(agent, &keep_waiting);
                    if results.send((job, done)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(results);
        let mut outcome = Ok(());
        for (job, done) in outcomes {
            if outcome.is_ok() {
                outcome = done.and_then(|()| enrolled(&job));
            }
            if outcome.is_err() {
                is_over.store(true, Ordering::Release);
            }
        }
        outcome
    })?;
    let left = queue.into_inner().expect("no holder of this lock panics").len();
    if left > 0 && !stop.is_asked() {
        bail!("{left} nodes were not enrolled within {} s", patience.as_secs());
    }
    Ok(())
}
