//! Names of backup files: the fleet and the time, so that they sort by age and tell both without a key.

use campanile_common::id::FleetId;
use campanile_common::time::Timestamp;

/// The name of a backup.
pub(super) fn of(fleet: FleetId, at: Timestamp) -> String {
    let time: String = at.to_string().chars().filter(|c| !matches!(c, '-' | ':' | '.')).collect();
    format!("{}{time}.age", prefix(fleet))
}

fn prefix(fleet: FleetId) -> String {
    format!("campanile-{fleet}-")
}

/// When the backup of this name was made; none when it is no name of one of this fleet.
pub(super) fn time_of(fleet: FleetId, name: &str) -> Option<Timestamp> {
    let time = name.strip_prefix(&prefix(fleet))?.strip_suffix(".age")?;
    let digits = |range: std::ops::Range<usize>| {
        time.get(range).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let (year, month, day) = (digits(0..4)?, digits(4..6)?, digits(6..8)?);
    let (hour, minute, second, millis) = (digits(9..11)?, digits(11..13)?, digits(13..15)?, digits(15..18)?);
    let at: Timestamp = format!("{year}-{month}-{day}T{hour}:{minute}:{second}.{millis}Z").parse().ok()?;
    (of(fleet, at) == name).then_some(at)
}

/// Of these names, those that go when `keep` of the newest stay. Names of anything else always stay.
pub(super) fn surplus(fleet: FleetId, names: &[String], keep: usize) -> Vec<&str> {
    let mut own: Vec<(Timestamp, &str)> =
        names.iter().filter_map(|name| Some((time_of(fleet, name)?, name.as_str()))).collect();
    own.sort_unstable();
    own.into_iter().rev().skip(keep).map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLEET: FleetId = FleetId::from_bytes([7; 16]);

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_name_tells_its_time() {
        let time = at("2026-05-03T10:14:00.123Z");
        let name = of(FLEET, time);
        assert!(name.ends_with("-20260503T101400123Z.age"), "{name}");
        assert_eq!(time_of(FLEET, &name), Some(time));
        assert_eq!(time_of(FleetId::from_bytes([8; 16]), &name), None);
        assert_eq!(time_of(FLEET, &format!(".{name}.new")), None);
    }

    #[test]
    fn the_newest_stay_and_what_is_no_backup_of_this_fleet_always_does() {
        let days = ["01", "04", "02", "03"].map(|day| of(FLEET, at(&format!("2026-05-{day}T00:00:00.000Z"))));
        let mut names = days.to_vec();
        names.push("notes.txt".to_owned());
        names.push(of(FleetId::from_bytes([8; 16]), at("2020-01-01T00:00:00.000Z")));
        assert_eq!(surplus(FLEET, &names, 2), [days[2].as_str(), days[0].as_str()]);
        assert!(surplus(FLEET, &names, 4).is_empty());
    }
}
