//! `/sys/class/net`: whether interfaces are up and how fast they can be. Both seldom change, and the kernel takes
//! a lock of the whole network for the second, so they are asked aside.

use std::path::{Path, PathBuf};
use std::time::Duration;

use campanile_common::sample::Scale;

use super::network::{INTERFACES_MAX, is_excluded};
use super::readings::{Devices, Family, Readings};
use super::seldom::Seldom;
use super::text::number;
use super::{CollectError, Collector, Outcome, Round};
use crate::os::proc_fs::{names, read_attribute};

const INTERVAL: Duration = Duration::from_secs(15);
const DEADLINE: Duration = Duration::from_secs(5);

static FAMILIES: &[Family] = &[
    Family::gauge("node_network_up", Scale::ONE),
    // A reading is in Mbit/s.
    Family::gauge("node_network_speed_bytes", Scale::Times(125_000)),
];

#[derive(Debug)]
struct Link {
    name: String,
    is_up: bool,
    megabits: Option<i64>,
}

/// Collector `netclass`.
#[derive(Debug)]
pub struct Links {
    folder: PathBuf,
    exclude: Vec<String>,
    links: Seldom<Option<Vec<Link>>>,
    interfaces: Devices,
}

impl Links {
    /// Reads below this `/sys`; interfaces whose names match a pattern of `exclude` are left out.
    pub fn new(sys_root: &Path, exclude: Vec<String>) -> Self {
        Self {
            folder: sys_root.join("class/net"),
            exclude,
            links: Seldom::new("netclass", INTERVAL, DEADLINE),
            interfaces: Devices::new(FAMILIES, INTERFACES_MAX),
        }
    }
}

impl Collector for Links {
    fn name(&self) -> &'static str {
        "netclass"
    }

    fn collect(&mut self, round: &mut Round<'_>, readings: &mut Readings) -> Result<Outcome, CollectError> {
        let answer = self.links.poll(round, || {
            let (folder, exclude) = (self.folder.clone(), self.exclude.clone());
            move || find(&folder, &exclude)
        })?;
        let Some(Some(links)) = answer else { return Ok(Outcome::Absent) };
        self.interfaces.rewind();
        for link in links {
            if let Some(slot) = self.interfaces.slot(readings, &link.name, |name| vec![("device", name)]) {
                readings.set(slot, 0, link.is_up.into());
                if let Some(megabits) = link.megabits {
                    readings.set(slot, 1, megabits);
                }
            }
        }
        Ok(Outcome::Complete)
    }

    fn forget(&mut self) {
        self.interfaces.forget();
    }
}

/// None where there is no such folder. One name more than the limit, so that the excess shows.
fn find(folder: &Path, exclude: &[String]) -> Option<Vec<Link>> {
    let mut found = names(folder, usize::MAX).ok()?;
    found.retain(|name| !is_excluded(exclude, name));
    found.truncate(INTERFACES_MAX + 1);
    let link = |name: String| {
        let state = read_attribute(&folder.join(&name).join("operstate")).ok()?;
        // Interfaces without a speed say nothing or -1.
        let speed = read_attribute(&folder.join(&name).join("speed")).ok();
        let megabits = speed.and_then(|speed| number(speed.as_bytes()));
        Some(Link { name, is_up: state == "up", megabits })
    };
    Some(found.into_iter().filter_map(link).collect())
}
