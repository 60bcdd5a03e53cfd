//! Starts what was accepted: on disk first, then for real.

use std::time::Duration;

use campanile_common::api::AuditOutcome;
use campanile_common::authority::{Action, Denial, DenialCode, Order, Policy, RunId, VerifiedOrder};
use campanile_common::id::OrderId;
use campanile_common::time::Timestamp;
use campanile_common::wire::v1::order::RunResult;

use super::finish::Ending;
use super::{Answer, Orders, RUNS_MAX, Run, target};
use crate::os::random;
use crate::steward::audit::Act;
use crate::steward::config::Keeper;
use crate::steward::execute::{GuardLimits, GuardSpec, Launcher, Room, UnitLimits, backup};
use crate::steward::journal::Record;
use crate::steward::output::KeptOutput;

/// Where a guard finds this program: itself.
const OWN_PROGRAM: &str = "/proc/self/exe";

impl Orders {
    /// Starts an accepted order. Its `received` and `started` are synced before anything of it happens.
    pub(super) fn start(&mut self, verified: &VerifiedOrder, config: &mut Keeper, now: Timestamp) -> Answer {
        let (run, order) = (verified.run(), verified.order());
        let is_cancel = matches!(order.action, Action::Cancel { .. });
        if self.is_stopping {
            return self.deny(run, busy("the steward is being stopped; send it again"), now);
        }
        if self.runs.len() >= RUNS_MAX && !is_cancel {
            return self.deny(
                run,
                busy("16 orders run here already, as many as may; send it again later"),
                now,
            );
        }
        let is_config = matches!(order.action, Action::Config { .. });
        if let Action::Config { generation, mode } = order.action
            && let Err(denial) = self.ready_config(generation, mode, config)
        {
            return self.deny(run, denial, now);
        }
        let limits = RunLimits::of(order, self.policy.policy());
        let actor = match verified.operators() {
            [] => "aggregator".to_owned(),
            names => names.join(", "),
        };
        if let Err(reason) = self.record_start(verified, &actor, limits.output_bytes, now) {
            if let Ok(journal) = &mut self.journal {
                journal.release(run);
            }
            let reason = format!("{reason}; nothing was started");
            return self.deny(run, Denial { code: DenialCode::Storage, reason }, now);
        }
        tracing::info!(%run, actor, action = %order.action, "order started");
        let output = KeptOutput::new(limits.output_bytes);
        let result = match &order.action {
            Action::Cancel { order } => Some(self.cancel(*order)),
            _ => {
                let (name, unit) = (unit_name(run), limits.unit(&order.action, &self.launcher));
                let spec = self.spec(verified, config, &limits);
                match self.launcher.start(spec, Some((&name, &unit))) {
                    Ok(guarded) => {
                        let (actor, output) = (actor.clone(), output.clone());
                        let (started, is_cancelled) = (now, false);
                        let begun = Run { actor, guarded, output, started, is_cancelled, is_config };
                        self.runs.insert(run, begun);
                        None
                    }
                    Err(error) => {
                        Some(RunResult::Failed { reason: format!("the guard cannot be started: {error}") })
                    }
                }
            }
        };
        if let Some(result) = result {
            self.unrecorded.push(Ending::new(run, result, Some(now), now, output, actor));
            self.record_endings(now);
        }
        match &self.journal {
            Ok(journal) => Answer::Attach(journal.position()),
            Err(_) => self.tell(run, RunResult::Unknown, now),
        }
    }

    fn record_start(
        &mut self,
        verified: &VerifiedOrder,
        actor: &str,
        output_bytes: u32,
        now: Timestamp,
    ) -> Result<(), String> {
        let (run, order) = (verified.run(), verified.order());
        let journal = self.journal.as_mut().map_err(|error| error.clone())?;
        journal
            .tend(now)
            .and_then(|()| journal.reserve(run, output_bytes, now))
            .map_err(|error| error.to_string())?;
        let act = |action, detail| Act {
            actor: actor.to_owned(),
            action,
            target: target(run),
            outcome: AuditOutcome::Ok,
            detail,
        };
        let received = format!("tier {}, digest {}, {}", order.tier, verified.digest(), order.action);
        let acts = vec![act("order.received", received), act("order.started", order.reason.clone())];
        self.audit
            .reserve()
            .and_then(|()| self.audit.append(now, acts))
            .map_err(|error| error.to_string())?;
        let records = [
            Record::Received { run, digest: verified.digest(), expires: order.expires },
            Record::Started { run, time: now },
        ];
        journal.append(&records).map(drop).map_err(|error| error.to_string())
    }

    /// Has every run of an order stopped; its own outcome says so.
    fn cancel(&mut self, order: OrderId) -> RunResult {
        let mut count = 0;
        for (_, run) in self.runs.iter_mut().filter(|(run, _)| run.order == order) {
            run.is_cancelled = true;
            run.guarded.stop();
            count += 1;
        }
        if count > 0 {
            RunResult::Exited { code: 0 }
        } else {
            RunResult::Failed { reason: format!("order {order} does not run here") }
        }
    }

    fn spec(&self, verified: &VerifiedOrder, config: &Keeper, limits: &RunLimits) -> GuardSpec {
        let run = verified.run();
        let mut spec = GuardSpec {
            argv: Vec::new(),
            user: None,
            stdin: Vec::new(),
            order: run.order.to_string(),
            timeout_ms: Some(limits.timeout_ms),
            limits: self.launcher.systemd_run.is_none().then_some(limits.guard),
            outlives_steward: false,
        };
        match (&verified.order().action, verified.command()) {
            (Action::Service { verb, unit, wait_healthy_ms }, _) => {
                let systemctl = self.places.systemctl.to_string_lossy().into_owned();
                spec.argv = [OWN_PROGRAM, "guard", "service"].map(str::to_owned).into();
                spec.argv.extend([systemctl, verb.as_str().to_owned(), unit.clone()]);
                spec.argv.extend(wait_healthy_ms.map(|wait| wait.to_string()));
            }
            (Action::Config { generation, mode }, _) => {
                spec.argv.push(OWN_PROGRAM.to_owned());
                spec.argv.extend(config.arguments(*generation, *mode));
            }
            (Action::Backup(action), _) => {
                spec.argv.push(OWN_PROGRAM.to_owned());
                let settings = config.settings_arguments();
                spec.argv.extend(backup::arguments(action, limits.output_bytes, settings));
                spec.stdin = backup::input(action);
            }
            (_, Some(command)) => {
                spec.argv.clone_from(&command.argv);
                spec.user.clone_from(&command.user);
                spec.stdin.clone_from(&command.stdin);
            }
            // Cancelling runs nothing, and is done elsewhere.
            (Action::Run(_) | Action::Routine { .. } | Action::Cancel { .. }, None) => {}
        }
        spec
    }
}

fn busy(reason: &str) -> Denial {
    Denial { code: DenialCode::Busy, reason: reason.to_owned() }
}

/// Never the same twice: a run that is over may leave its unit behind for a moment.
fn unit_name(run: RunId) -> String {
    format!("campanile-order-{}-{:08x}.service", run.order, random::number() >> 32)
}

/// The order's limits and the policy's, whichever are narrower.
struct RunLimits {
    timeout_ms: u32,
    output_bytes: u32,
    cpu_percent: u32,
    guard: GuardLimits,
}

impl RunLimits {
    fn of(order: &Order, policy: &Policy) -> Self {
        let most = &policy.limits;
        Self {
            timeout_ms: order.limits.timeout_ms.min(most.time_s.saturating_mul(1000)),
            output_bytes: order.limits.output_bytes.min(most.output_bytes),
            cpu_percent: most.cpu_percent,
            guard: GuardLimits { memory_bytes: most.memory_bytes, tasks: most.tasks },
        }
    }

    fn unit(&self, action: &Action, launcher: &Launcher) -> UnitLimits {
        let (is_background, room) = match action {
            Action::Backup(action) => (true, launcher.room_of(action)),
            _ => (false, Room::Open),
        };
        UnitLimits {
            memory_bytes: self.guard.memory_bytes,
            cpu_percent: self.cpu_percent,
            tasks: self.guard.tasks,
            time: Duration::from_millis(self.timeout_ms.into()),
            is_background,
            room,
        }
    }
}
