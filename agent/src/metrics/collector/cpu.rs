//! `/proc/stat`: processor times and the counts that stand beside them.

use std::path::Path;

use campanile_common::sample::Scale;

use super::readings::{Family, Readings, Scalars, Slot};
use super::text::{fields, lines, number};
use super::{CollectError, Collector, Outcome, Round};
use crate::os::proc_fs::{KeptFile, Layout};

/// Most processors told apart; each costs eight series.
pub const CPUS_MAX: usize = 256;
const MODES: [&str; 8] = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"];
/// A time that falls by less is the kernel's rounding (iowait and idle do); by more, the processor was restarted.
const RESTART_TICKS: i64 = 300;

/// Processor times are in USER_HZ, 100 a second on every architecture.
static TIMES: &[Family] = &[Family::counter("node_cpu_seconds_total", Scale::Over(100))];

static COUNTS: &[Family] = &[
    Family::gauge("node_boot_time_seconds", Scale::ONE),
    Family::counter("node_context_switches_total", Scale::ONE),
    Family::counter("node_intr_total", Scale::ONE),
    Family::counter("node_forks_total", Scale::ONE),
    Family::gauge("node_procs_running", Scale::ONE),
    Family::gauge("node_procs_blocked", Scale::ONE),
];
/// Keys of the lines that hold [`COUNTS`].
const COUNT_KEYS: [&[u8]; 6] = [b"btime", b"ctxt", b"intr", b"processes", b"procs_running", b"procs_blocked"];

/// Collector `cpu`.
#[derive(Debug)]
pub struct Cpu {
    file: KeptFile,
    cpus: Vec<CpuTimes>,
    counts: Scalars,
}

#[derive(Debug)]
struct CpuTimes {
    number: u32,
    slots: [Slot; MODES.len()],
    last: [i64; MODES.len()],
}

impl Cpu {
    /// Reads below this `/proc`.
    pub fn new(proc_root: &Path) -> Self {
        Self {
            file: KeptFile::new(proc_root.join("stat"), Layout::Single),
            cpus: Vec::new(),
            counts: Scalars::new(COUNTS),
        }
    }
}

impl Collector for Cpu {
    fn name(&self) -> &'static str {
        "cpu"
    }

    fn collect(&mut self, round: &mut Round<'_>, readings: &mut Readings) -> Result<Outcome, CollectError> {
        let text = self.file.read(round.buffer)?;
        let (mut seen, mut index) = (0_usize, 0);
        for line in lines(text) {
            let mut fields = fields(line);
            let Some(key) = fields.next() else { continue };
            if let Some(digits) = key.strip_prefix(b"cpu") {
                let Some(cpu) = number(digits).and_then(|cpu| u32::try_from(cpu).ok()) else { continue };
                let mut times = [0; MODES.len()];
                if !fill(&mut times, fields.map(number)) {
                    continue;
                }
                seen += 1;
                set_times(&mut self.cpus, &mut index, readings, cpu, &times);
            } else if let Some(index) = COUNT_KEYS.iter().position(|known| *known == key) {
                self.counts.set_some(readings, index, fields.next().and_then(number));
            }
        }
        if seen == 0 {
            return Err(CollectError::Malformed { what: "/proc/stat" });
        }
        Ok(Outcome::Complete)
    }

    fn forget(&mut self) {
        self.cpus.clear();
        self.counts.forget();
    }
}

/// Takes the first values; kernels before 2.6.11 have no `steal`, which is then zero. False when less is there.
fn fill(times: &mut [i64; MODES.len()], mut values: impl Iterator<Item = Option<i64>>) -> bool {
    times.iter_mut().enumerate().all(|(index, time)| match values.next() {
        Some(Some(value)) => {
            *time = value;
            true
        }
        Some(None) => false,
        None => index + 1 == MODES.len(),
    })
}

/// `next` is where this processor is expected among the known ones.
fn set_times(
    cpus: &mut Vec<CpuTimes>,
    next: &mut usize,
    readings: &mut Readings,
    number: u32,
    times: &[i64; MODES.len()],
) {
    let is_known = |index: &usize| cpus.get(*index).is_some_and(|known| known.number == number);
    let found = Some(*next).filter(is_known).or_else(|| (0..cpus.len()).find(is_known));
    let index = match found {
        Some(index) => index,
        None if cpus.len() >= CPUS_MAX => return readings.drop_series(MODES.len()),
        None => {
            let Some(slots) = add(readings, number) else { return };
            cpus.push(CpuTimes { number, slots, last: [0; MODES.len()] });
            cpus.len() - 1
        }
    };
    *next = index + 1;
    let cpu = &mut cpus[index];
    for ((slot, last), time) in cpu.slots.iter().zip(&mut cpu.last).zip(times) {
        if *time >= *last || *last - *time > RESTART_TICKS {
            *last = *time;
        }
        readings.set(*slot, 0, *last);
    }
}

fn add(readings: &mut Readings, number: u32) -> Option<[Slot; MODES.len()]> {
    let number = number.to_string();
    let mut slots = Vec::with_capacity(MODES.len());
    for mode in MODES {
        slots.push(readings.add(TIMES, &[("cpu", &number), ("mode", mode)])?);
    }
    slots.try_into().ok()
}

/// Processors and the second of boot that `/proc/stat` names, for the facts of this node.
pub fn facts(text: &[u8]) -> (u32, Option<i64>) {
    let is_cpu = |line: &&[u8]| {
        line.strip_prefix(b"cpu").is_some_and(|rest| rest.first().is_some_and(u8::is_ascii_digit))
    };
    let cpus = lines(text).filter(is_cpu).count();
    (u32::try_from(cpus).unwrap_or(u32::MAX), super::text::value_of(text, b"btime"))
}
