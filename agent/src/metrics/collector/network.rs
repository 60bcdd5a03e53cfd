//! `/proc/net/dev`: what interfaces received and sent.

use std::path::Path;

use campanile_common::sample::Scale;

use super::readings::{Devices, Family, Readings};
use super::text::{fields, lines, matches, number};
use super::{CollectError, Collector, Outcome, Round};
use crate::os::proc_fs::{KeptFile, Layout};

/// Most interfaces told apart.
pub const INTERFACES_MAX: usize = 64;

static FAMILIES: &[Family] = &[
    Family::counter("node_network_receive_bytes_total", Scale::ONE),
    Family::counter("node_network_receive_packets_total", Scale::ONE),
    Family::counter("node_network_receive_errs_total", Scale::ONE),
    Family::counter("node_network_receive_drop_total", Scale::ONE),
    Family::counter("node_network_transmit_bytes_total", Scale::ONE),
    Family::counter("node_network_transmit_packets_total", Scale::ONE),
    Family::counter("node_network_transmit_errs_total", Scale::ONE),
    Family::counter("node_network_transmit_drop_total", Scale::ONE),
];
/// Which number after an interface's name each family is.
const POSITIONS: [usize; 8] = [0, 1, 2, 3, 8, 9, 10, 11];
const NUMBERS: usize = 12;

/// Collector `netdev`.
#[derive(Debug)]
pub struct Network {
    file: KeptFile,
    exclude: Vec<String>,
    interfaces: Devices,
}

impl Network {
    /// Reads below this `/proc`; interfaces whose names match a pattern of `exclude` are left out.
    pub fn new(proc_root: &Path, exclude: Vec<String>) -> Self {
        Self {
            file: KeptFile::new(proc_root.join("net/dev"), Layout::Records),
            exclude,
            interfaces: Devices::new(FAMILIES, INTERFACES_MAX),
        }
    }
}

impl Collector for Network {
    fn name(&self) -> &'static str {
        "netdev"
    }

    fn collect(&mut self, round: &mut Round<'_>, readings: &mut Readings) -> Result<Outcome, CollectError> {
        let text = self.file.read(round.buffer)?;
        // Two lines of headings come first, whether there are interfaces or not.
        if !text.starts_with(b"Inter-|") {
            return Err(CollectError::Malformed { what: "/proc/net/dev" });
        }
        self.interfaces.rewind();
        let mut outcome = Outcome::Complete;
        for line in lines(text).skip(2) {
            let Some((name, numbers)) = read_line(line) else {
                outcome = Outcome::Partial;
                continue;
            };
            if is_excluded(&self.exclude, name) {
                continue;
            }
            if let Some(slot) = self.interfaces.slot(readings, name, |name| vec![("device", name)]) {
                for (index, position) in POSITIONS.iter().enumerate() {
                    readings.set(slot, index, numbers[*position]);
                }
            }
        }
        Ok(outcome)
    }

    fn forget(&mut self) {
        self.interfaces.forget();
    }
}

/// True when a pattern matches the interface's name.
pub fn is_excluded(patterns: &[String], name: &str) -> bool {
    patterns.iter().any(|pattern| matches(pattern.as_bytes(), name.as_bytes()))
}

/// `eth0: 1 2 3 ...`; old kernels leave out the blank after the colon. A name may hold a colon itself.
fn read_line(line: &[u8]) -> Option<(&str, [i64; NUMBERS])> {
    let colon = line.iter().rposition(|byte| *byte == b':')?;
    let name = std::str::from_utf8(line[..colon].trim_ascii()).ok().filter(|name| !name.is_empty())?;
    let mut fields = fields(&line[colon + 1..]);
    let mut numbers = [0; NUMBERS];
    for place in &mut numbers {
        *place = fields.next().and_then(number)?;
    }
    Some((name, numbers))
}
