//! What to do about a schedule now. Pure: reads nothing.

use std::time::Duration;

use campanile_common::api::{MissedPolicy, OverlapPolicy};
use campanile_common::time::Timestamp;

use super::when::When;

/// How late a run may begin and still count as on time: a turn of the task, and a moment of work.
pub(super) const ON_TIME: Duration = Duration::from_secs(30);

/// Everything that the decision depends on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts<'a> {
    pub(super) when: &'a When,
    /// Due times up to here are settled: they ran, were left out, or lie before the schedule.
    pub(super) settled: Timestamp,
    /// Due time of the last run, and the least time from it to the next.
    pub(super) last_run: Option<Timestamp>,
    pub(super) interval: Duration,
    /// How late the grant lets a run begin.
    pub(super) lateness: Duration,
    /// When the grant is valid.
    pub(super) not_before: Timestamp,
    pub(super) expires: Timestamp,
    /// Runs that the grant still has.
    pub(super) runs_left: u32,
    pub(super) missed: MissedPolicy,
    pub(super) overlap: OverlapPolicy,
    pub(super) is_frozen: bool,
    pub(super) is_running: bool,
    pub(super) now: Timestamp,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(super) enum Plan {
    /// Run, for this due time.
    Run { due: Timestamp },
    /// Leave this due time out, and those before it.
    LeaveOut { due: Timestamp, why: LeftOut },
    /// Nothing before this time.
    Wait { until: Timestamp },
    /// A due time waits for the fleet to be thawed.
    Hold,
    /// The grant has expired, or has no runs left.
    Ended,
}

/// Why a due time is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LeftOut {
    /// It was missed, and the schedule does not make up for that.
    Missed,
    /// It was missed by more than the grant lets a run be late.
    TooLate,
    /// The last run is not over.
    Overlap,
}

impl LeftOut {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Missed => "its time passed while nothing could run",
            Self::TooLate => "its time passed longer ago than the grant allows",
            Self::Overlap => "the last run is not over",
        }
    }
}

/// The earliest due time after this one counts: nodes refuse a run sooner after the last than the grant says.
fn settled(facts: &Facts<'_>) -> Timestamp {
    let just_before = |at: Timestamp| at - Duration::from_millis(1);
    let after_last = facts.last_run.map(|last| just_before(last + facts.interval));
    let bounds = [Some(facts.settled), Some(just_before(facts.not_before)), after_last];
    bounds.into_iter().flatten().max().unwrap_or_default()
}

/// Due time of the next run, for people; none when there will be none.
pub(super) fn next_run(facts: &Facts<'_>) -> Option<Timestamp> {
    if facts.runs_left == 0 {
        return None;
    }
    let after = settled(facts).max(facts.now);
    facts.when.next(after).filter(|due| *due < facts.expires)
}

/// What to do now.
pub(super) fn plan(facts: &Facts<'_>) -> Plan {
    if facts.now >= facts.expires || facts.runs_left == 0 {
        return Plan::Ended;
    }
    let settled = settled(facts);
    // However many were missed, the newest stands for them.
    let Some(due) = facts.when.latest(settled, facts.now) else {
        let until = facts.when.next(settled.max(facts.now)).unwrap_or(facts.expires);
        return Plan::Wait { until: until.min(facts.expires) };
    };
    let late = facts.now.since(due);
    if late > facts.lateness {
        return Plan::LeaveOut { due, why: LeftOut::TooLate };
    }
    if facts.is_frozen {
        return Plan::Hold;
    }
    if facts.is_running && facts.overlap == OverlapPolicy::Skip {
        return Plan::LeaveOut { due, why: LeftOut::Overlap };
    }
    if late > ON_TIME && facts.missed == MissedPolicy::Skip {
        return Plan::LeaveOut { due, why: LeftOut::Missed };
    }
    Plan::Run { due }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: u64) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000 + minutes * 60_000)
    }

    fn minutes(count: u64) -> Duration {
        Duration::from_secs(count * 60)
    }

    /// Every ten minutes from minute 0, at minute `now`.
    fn facts(when: &When, now: u64) -> Facts<'_> {
        Facts {
            when,
            settled: at(0),
            last_run: None,
            interval: minutes(10),
            lateness: minutes(8),
            not_before: at(0),
            expires: at(1000),
            runs_left: 5,
            missed: MissedPolicy::Skip,
            overlap: OverlapPolicy::Skip,
            is_frozen: false,
            is_running: false,
            now: at(now),
        }
    }

    fn when() -> When {
        When::parse("@every 10m", None, at(0)).unwrap()
    }

    #[test]
    fn a_run_begins_when_it_is_due_and_once() {
        let when = when();
        assert_eq!(plan(&facts(&when, 3)), Plan::Wait { until: at(10) });
        assert_eq!(plan(&facts(&when, 10)), Plan::Run { due: at(10) });
        let ran = Facts { settled: at(10), last_run: Some(at(10)), ..facts(&when, 10) };
        assert_eq!(plan(&ran), Plan::Wait { until: at(20) });
        assert_eq!(next_run(&ran), Some(at(20)));
    }

    #[test]
    fn a_missed_run_is_left_out_or_made_up_for_once() {
        let when = when();
        let skip = facts(&when, 35);
        assert_eq!(plan(&skip), Plan::LeaveOut { due: at(30), why: LeftOut::Missed });
        let once = Facts { missed: MissedPolicy::Once, ..skip };
        assert_eq!(plan(&once), Plan::Run { due: at(30) });
        assert_eq!(
            plan(&Facts { settled: at(30), last_run: Some(at(30)), ..once }),
            Plan::Wait { until: at(40) }
        );
    }

    #[test]
    fn nothing_makes_up_for_a_run_that_the_grant_calls_too_late() {
        let when = when();
        let late = Facts { missed: MissedPolicy::Once, ..facts(&when, 39) };
        assert_eq!(plan(&late), Plan::LeaveOut { due: at(30), why: LeftOut::TooLate });
        assert_eq!(
            plan(&Facts { is_frozen: true, ..late }),
            Plan::LeaveOut { due: at(30), why: LeftOut::TooLate }
        );
    }

    #[test]
    fn a_frozen_fleet_holds_a_run_and_the_policy_decides_when_it_thaws() {
        let when = when();
        let frozen = Facts { is_frozen: true, missed: MissedPolicy::Once, ..facts(&when, 14) };
        assert_eq!(plan(&frozen), Plan::Hold);
        assert_eq!(plan(&Facts { is_frozen: false, now: at(16), ..frozen }), Plan::Run { due: at(10) });
        let skip = Facts { is_frozen: false, missed: MissedPolicy::Skip, now: at(16), ..frozen };
        assert_eq!(plan(&skip), Plan::LeaveOut { due: at(10), why: LeftOut::Missed });
    }

    #[test]
    fn a_run_that_is_not_over_keeps_the_next_one_out_unless_both_may_run() {
        let when = when();
        let running = Facts { is_running: true, settled: at(10), last_run: Some(at(10)), ..facts(&when, 20) };
        assert_eq!(plan(&running), Plan::LeaveOut { due: at(20), why: LeftOut::Overlap });
        let both = Facts { overlap: OverlapPolicy::Allow, ..running };
        assert_eq!(plan(&both), Plan::Run { due: at(20) });
    }

    #[test]
    fn no_run_follows_another_sooner_than_the_grant_says() {
        let when = when();
        // Somebody ran it by hand at minute 17.
        let ran = Facts { settled: at(17), last_run: Some(at(17)), ..facts(&when, 20) };
        assert_eq!(plan(&ran), Plan::Wait { until: at(30) });
        assert_eq!(next_run(&ran), Some(at(30)));
    }

    #[test]
    fn a_grant_that_is_over_runs_no_more() {
        let when = when();
        assert_eq!(plan(&facts(&when, 1000)), Plan::Ended);
        let spent = Facts { runs_left: 0, ..facts(&when, 10) };
        assert_eq!((plan(&spent), next_run(&spent)), (Plan::Ended, None));
        let last = Facts { settled: at(990), expires: at(995), ..facts(&when, 992) };
        assert_eq!((plan(&last), next_run(&last)), (Plan::Wait { until: at(995) }, None));
        let later = Facts { not_before: at(30), ..facts(&when, 20) };
        assert_eq!(plan(&later), Plan::Wait { until: at(30) });
    }
}
