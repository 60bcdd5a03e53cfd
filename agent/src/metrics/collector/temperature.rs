//! `/sys/class/hwmon` and `/sys/class/thermal`: temperatures. Some sensors sit behind slow buses, so they are asked
//! aside.

use std::path::{Path, PathBuf};
use std::time::Duration;

use campanile_common::sample::Scale;

use super::readings::{Devices, Family, Readings};
use super::seldom::Seldom;
use super::text::signed;
use super::{CollectError, Collector, Outcome, Round};
use crate::os::proc_fs::{names, read_attribute, resolve};

/// Most sensors told apart, of either kind.
pub const SENSORS_MAX: usize = 128;
const INTERVAL: Duration = Duration::from_secs(10);
const DEADLINE: Duration = Duration::from_secs(10);
/// The kernel gives thousandths of a degree.
const MILLI: Scale = Scale::Over(1000);

static CHIP: &[Family] = &[Family::gauge("node_hwmon_temp_celsius", MILLI)];
static ZONE: &[Family] = &[Family::gauge("node_thermal_zone_temp", MILLI)];

/// One sensor; `group` and `name` are the values of its two labels.
#[derive(Debug)]
struct Sensor {
    key: String,
    group: String,
    name: String,
    millidegrees: i64,
}

#[derive(Debug, Default)]
struct Sensors {
    chips: Vec<Sensor>,
    zones: Vec<Sensor>,
}

/// Collector `temperature`.
#[derive(Debug)]
pub struct Temperature {
    sys_root: PathBuf,
    sensors: Seldom<Sensors>,
    chips: Devices,
    zones: Devices,
}

impl Temperature {
    /// Reads below this `/sys`.
    pub fn new(sys_root: &Path) -> Self {
        Self {
            sys_root: sys_root.to_owned(),
            sensors: Seldom::new("temperature", INTERVAL, DEADLINE),
            chips: Devices::new(CHIP, SENSORS_MAX),
            zones: Devices::new(ZONE, SENSORS_MAX),
        }
    }
}

impl Collector for Temperature {
    fn name(&self) -> &'static str {
        "temperature"
    }

    fn collect(&mut self, round: &mut Round<'_>, readings: &mut Readings) -> Result<Outcome, CollectError> {
        let sensors = self.sensors.poll(round, || {
            let sys_root = self.sys_root.clone();
            move || Sensors { chips: chips(&sys_root), zones: zones(&sys_root) }
        })?;
        let Some(sensors) = sensors.filter(|found| !found.chips.is_empty() || !found.zones.is_empty()) else {
            return Ok(Outcome::Absent);
        };
        give(&sensors.chips, &mut self.chips, ["chip", "sensor"], readings);
        // Labels go in the order of their names.
        give(&sensors.zones, &mut self.zones, ["type", "zone"], readings);
        Ok(Outcome::Complete)
    }

    fn forget(&mut self) {
        self.chips.forget();
        self.zones.forget();
    }
}

fn give(sensors: &[Sensor], devices: &mut Devices, labels: [&'static str; 2], readings: &mut Readings) {
    devices.rewind();
    for sensor in sensors {
        let labels = |_| vec![(labels[0], sensor.group.as_str()), (labels[1], sensor.name.as_str())];
        if let Some(slot) = devices.slot(readings, &sensor.key, labels) {
            readings.set(slot, 0, sensor.millidegrees);
        }
    }
}

fn sensor(group: &str, name: &str, value: &Path) -> Option<Sensor> {
    let millidegrees = signed(read_attribute(value).ok()?.as_bytes())?;
    let key = format!("{group}\0{name}");
    Some(Sensor { key, group: group.to_owned(), name: name.to_owned(), millidegrees })
}

/// Sensors of `hwmonN/tempM_input`. One more than the limit, so that the excess shows.
fn chips(sys_root: &Path) -> Vec<Sensor> {
    let folder = sys_root.join("class/hwmon");
    let mut found = Vec::new();
    for chip in names(&folder, SENSORS_MAX).unwrap_or_default() {
        let folder = folder.join(&chip);
        let group = chip_name(&folder, &chip);
        for file in names(&folder, usize::MAX).unwrap_or_default() {
            let Some(name) = file.strip_suffix("_input").filter(|name| name.starts_with("temp")) else {
                continue;
            };
            found.extend(sensor(&group, name, &folder.join(&file)));
        }
    }
    found.truncate(SENSORS_MAX + 1);
    found
}

/// As node_exporter names chips: after the device, whose path is stable, rather than after `hwmonN`, which counts
/// in the order of loading.
fn chip_name(folder: &Path, number: &str) -> String {
    let part = |path: Option<&Path>| clean(path?.file_name()?.to_str()?);
    let device = resolve(&folder.join("device")).ok();
    let name = part(device.as_deref());
    let bus = part(device.as_deref().and_then(Path::parent));
    match (bus, name) {
        (Some(bus), Some(name)) => format!("{bus}_{name}"),
        (None, Some(name)) => name,
        (_, None) => read_attribute(&folder.join("name"))
            .ok()
            .and_then(|name| clean(&name))
            .unwrap_or_else(|| number.to_owned()),
    }
}

/// Lower case, with `_` for what a metric name cannot hold; none when nothing is left.
fn clean(text: &str) -> Option<String> {
    let allowed = |c: char| if c.is_ascii_alphanumeric() || c == ':' { c.to_ascii_lowercase() } else { '_' };
    let cleaned: String = text.chars().map(allowed).collect();
    let cleaned = cleaned.trim_matches('_');
    (!cleaned.is_empty()).then(|| cleaned.to_owned())
}

/// Sensors of `thermal_zoneN`. One more than the limit, so that the excess shows.
fn zones(sys_root: &Path) -> Vec<Sensor> {
    let folder = sys_root.join("class/thermal");
    let zone = |name: String| {
        let number = name.strip_prefix("thermal_zone")?;
        let kind = read_attribute(&folder.join(&name).join("type")).ok()?;
        sensor(&kind, number, &folder.join(&name).join("temp"))
    };
    names(&folder, usize::MAX)
        .unwrap_or_default()
        .into_iter()
        .filter_map(zone)
        .take(SENSORS_MAX + 1)
        .collect()
}
