//! The transient unit of a command: a control group of its own, so that nothing it starts gets away. Pure.

use std::time::Duration;

use super::room::Room;

/// How long past its time a command's guard has before the service manager ends the unit. With `STOP_WITHIN` it is
/// over before the steward gives up on the guard: else it would tell of an end that has not come.
const OVERTIME: Duration = Duration::from_secs(10);
/// How long what is ended has before it is killed.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// What the unit may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::steward) struct UnitLimits {
    /// Memory of all its processes.
    pub(in crate::steward) memory_bytes: u64,
    /// Per cent of one core.
    pub(in crate::steward) cpu_percent: u32,
    /// Processes and threads.
    pub(in crate::steward) tasks: u32,
    /// How long it may run; the guard's own limit comes first.
    pub(in crate::steward) time: Duration,
    /// It stands back behind all else on the machine.
    pub(in crate::steward) is_background: bool,
    /// What its program may do there.
    pub(in crate::steward) room: Room,
}

/// What `systemd-run` is given before the program.
pub(super) fn arguments(name: &str, limits: &UnitLimits) -> Vec<String> {
    let mut arguments: Vec<String> =
        ["--quiet", "--pipe", "--wait", "--collect", "--service-type=exec"].map(str::to_owned).into();
    arguments.push(format!("--unit={name}"));
    arguments.push("--description=Order carried out by Campanile".to_owned());
    let time = (limits.time + OVERTIME).as_millis();
    let properties = [
        format!("MemoryMax={}", limits.memory_bytes),
        "MemorySwapMax=0".to_owned(),
        format!("CPUQuota={}%", limits.cpu_percent),
        format!("TasksMax={}", limits.tasks),
        format!("RuntimeMaxSec={time}ms"),
        "KillMode=control-group".to_owned(),
        format!("TimeoutStopSec={}", STOP_WITHIN.as_secs()),
        // The guard tells what the kernel killed.
        "OOMPolicy=continue".to_owned(),
        "LimitCORE=0".to_owned(),
        "LimitNOFILE=1024".to_owned(),
    ];
    let background = ["Nice=19", "IOSchedulingClass=idle", "OOMScoreAdjust=500"].map(str::to_owned);
    let background = background.into_iter().filter(|_| limits.is_background);
    for property in properties.into_iter().chain(background) {
        arguments.extend(["-p".to_owned(), property]);
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_has_every_limit_and_dies_as_a_whole() {
        let time = Duration::from_secs(60);
        let limits = UnitLimits {
            memory_bytes: 1 << 20,
            cpu_percent: 50,
            tasks: 7,
            time,
            is_background: false,
            room: Room::Open,
        };
        let line = arguments("campanile-order-a.service", &limits).join(" ");
        for part in [
            "--pipe --wait --collect",
            "--unit=campanile-order-a.service",
            "-p MemoryMax=1048576",
            "-p CPUQuota=50%",
            "-p TasksMax=7",
            "-p RuntimeMaxSec=70000ms",
            "-p KillMode=control-group",
        ] {
            assert!(line.contains(part), "{part}: {line}");
        }
        assert!(!line.contains("idle"), "{line}");
        let line = arguments("a.service", &UnitLimits { is_background: true, ..limits }).join(" ");
        assert!(line.contains("-p Nice=19 -p IOSchedulingClass=idle"), "{line}");
    }

    #[test]
    fn a_unit_is_over_before_the_steward_gives_up_on_its_guard() {
        assert!(OVERTIME + STOP_WITHIN < crate::steward::execute::GUARD_OVERTIME);
    }
}
