//! Whether the clock is kept right, and by how much it is off.
//!
//! The kernel tells this by `adjtimex` alone, which cannot be called without `unsafe`. So the keeper of the clock is
//! asked: chrony tells everything, systemd-timesyncd leaves a mark once it has set the clock. Where neither runs
//! nothing is said rather than guessed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use campanile_common::sample::Scale;

use super::readings::{Family, Readings, Scalars};
use super::seldom::Seldom;
use super::text::fixed;
use super::{CollectError, Collector, Outcome, Round};
use crate::os::child::output;
use crate::os::proc_fs::exists;

const INTERVAL: Duration = Duration::from_secs(30);
const CHILD_DEADLINE: Duration = Duration::from_secs(5);
const DEADLINE: Duration = Duration::from_secs(10);
const OUTPUT_BYTES_MAX: usize = 4096;
const NANOS: Scale = Scale::Over(1_000_000_000);

static FAMILIES: &[Family] = &[
    Family::gauge("node_timex_sync_status", Scale::ONE),
    Family::gauge("node_timex_offset_seconds", NANOS),
    Family::gauge("node_timex_maxerror_seconds", NANOS),
];

/// What the keeper of the clock says.
#[derive(Debug, PartialEq, Eq)]
struct ClockState {
    is_synchronized: bool,
    offset_nanos: Option<i64>,
    error_max_nanos: Option<i64>,
}

/// Collector `timex`.
#[derive(Debug)]
pub struct Clock {
    run_root: PathBuf,
    chronyc: PathBuf,
    answer: Seldom<Option<Result<ClockState, String>>>,
    series: Scalars,
}

impl Clock {
    /// Looks below this `/run` for who keeps the clock; chrony is asked by this program.
    pub fn new(run_root: &Path, chronyc: PathBuf) -> Self {
        Self {
            run_root: run_root.to_owned(),
            chronyc,
            answer: Seldom::new("timex", INTERVAL, DEADLINE),
            series: Scalars::new(FAMILIES),
        }
    }
}

impl Collector for Clock {
    fn name(&self) -> &'static str {
        "timex"
    }

    fn collect(&mut self, round: &mut Round<'_>, readings: &mut Readings) -> Result<Outcome, CollectError> {
        let answer = self.answer.poll(round, || {
            let (run_root, chronyc) = (self.run_root.clone(), self.chronyc.clone());
            move || ask(&run_root, &chronyc)
        })?;
        let state = match answer {
            None | Some(None) => return Ok(Outcome::Absent),
            Some(Some(Ok(state))) => state,
            Some(Some(Err(reason))) => {
                return Err(CollectError::Failed { what: "chronyc", reason: reason.clone() });
            }
        };
        self.series.set(readings, 0, state.is_synchronized.into());
        self.series.set_some(readings, 1, state.offset_nanos);
        self.series.set_some(readings, 2, state.error_max_nanos);
        Ok(Outcome::Complete)
    }

    fn forget(&mut self) {
        self.series.forget();
    }
}

fn ask(run_root: &Path, chronyc: &Path) -> Option<Result<ClockState, String>> {
    if exists(&run_root.join("chrony")) {
        let said = output(chronyc, &["-c", "-n", "tracking"], CHILD_DEADLINE, OUTPUT_BYTES_MAX);
        return Some(match said {
            Ok(said) => tracking(&said).ok_or_else(|| "it cannot talk to chronyd".to_owned()),
            Err(error) => Err(error.to_string()),
        });
    }
    let timesync = run_root.join("systemd/timesync");
    exists(&timesync).then(|| {
        let is_synchronized = exists(&timesync.join("synchronized"));
        Ok(ClockState { is_synchronized, offset_nanos: None, error_max_nanos: None })
    })
}

/// One line of values between commas: the fifth is the offset, the eleventh the delay to the reference clock, the
/// twelfth its dispersion, the last the leap status. The largest error is what RFC 5905 calls root distance, and the
/// offset.
fn tracking(said: &[u8]) -> Option<ClockState> {
    let fields: Vec<&[u8]> = said.trim_ascii().split(|byte| *byte == b',').collect();
    let [.., leap] = fields.as_slice() else { return None };
    let nanos = |index: usize| fixed(fields.get(index)?, 9);
    let (offset, delay, dispersion) = (nanos(4)?, nanos(10)?, nanos(11)?);
    let error_max = dispersion.checked_add(delay / 2)?.checked_add(offset.checked_abs()?)?;
    Some(ClockState {
        is_synchronized: *leap != b"Not synchronised",
        offset_nanos: Some(offset),
        error_max_nanos: Some(error_max),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_chrony_says_is_read() {
        let said = b"C0248F97,192.36.143.151,2,1700000000.123,-0.000012345,0.000001,0.00002,-5.1,0.0,0.02,0.004,0.0005,64.2,Normal\n";
        let expected = ClockState {
            is_synchronized: true,
            offset_nanos: Some(-12_345),
            error_max_nanos: Some(500_000 + 2_000_000 + 12_345),
        };
        assert_eq!(tracking(said), Some(expected));
    }

    #[test]
    fn a_clock_that_chrony_has_not_set_is_not_synchronized() {
        let said = b"7F7F0101,,0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,1.0,1.0,0.0,Not synchronised\n";
        assert_eq!(tracking(said).map(|state| state.is_synchronized), Some(false));
        assert_eq!(tracking(b"506 Cannot talk to daemon\n"), None);
    }

    #[test]
    fn the_mark_of_timesyncd_is_enough_for_the_status_alone() {
        let run = tempfile::tempdir().unwrap();
        let nowhere = Path::new("/nowhere/chronyc");
        assert!(ask(run.path(), nowhere).is_none());
        std::fs::create_dir_all(run.path().join("systemd/timesync")).unwrap();
        let state =
            |is_synchronized| ClockState { is_synchronized, offset_nanos: None, error_max_nanos: None };
        assert_eq!(ask(run.path(), nowhere), Some(Ok(state(false))));
        std::fs::write(run.path().join("systemd/timesync/synchronized"), "").unwrap();
        assert_eq!(ask(run.path(), nowhere), Some(Ok(state(true))));
    }

    proptest! {
        #[test]
        fn garbage_is_read_without_a_panic(said in any::<Vec<u8>>(), almost in "[0-9,.-]{0,99}") {
            let _ = (tracking(&said), tracking(almost.as_bytes()));
        }
    }
}
