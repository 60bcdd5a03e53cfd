//! Which series of a schema say something about health, and what.

use std::sync::Arc;

use campanile_common::sample::{Scale, Schema, Series};

/// Which readings of a schema matter.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) schema: Schema,
    pub(super) wanted: Vec<Wanted>,
    pub(super) mountpoints: Vec<String>,
    pub(super) devices: Vec<String>,
}

/// A reading that matters.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) index: usize,
    pub(super) scale: Scale,
    pub(super) role: Role,
}

/// What a reading is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Role {
    Busy,
    Idle,
    Memory(MemoryRole),
    /// Of the mount point at this index.
    Mount(usize, MountRole),
    /// Of the interface at this index.
    Link(usize, LinkRole),
    Load1,
    Processes,
    FailedUnit,
    CollectorSuccess,
    SettingsError,
    SafeMode,
    Confinement,
    ClockSynchronised,
    ClockOffset,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum MemoryRole {
    Total,
    Available,
    Free,
    Cached,
    ArcSize,
    ArcMin,
    CgroupLimit,
    CgroupUsage,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum MountRole {
    Size,
    Available,
    Free,
    Files,
    FilesFree,
    ReadOnly,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum LinkRole {
    Received,
    Transmitted,
    Speed,
}

impl Layout {
    /// Compares every name of the schema, once.
    pub(super) fn of(schema: &Schema) -> Self {
        let (mut mountpoints, mut devices) = (Vec::new(), Vec::new());
        let role = |(index, series): (usize, &Series)| {
            let role = role(series, &mut mountpoints, &mut devices)?;
            Some(Wanted { index, scale: series.scale, role })
        };
        let wanted = schema.iter().enumerate().filter_map(role).collect();
        Self { schema: Arc::clone(schema), wanted, mountpoints, devices }
    }

    /// A label of the series of a reading.
    pub(super) fn label(&self, wanted: &Wanted, name: &str) -> Option<String> {
        self.schema.get(wanted.index)?.label(name).map(str::to_owned)
    }
}

/// None for a series that says nothing about health.
fn role(series: &Series, mountpoints: &mut Vec<String>, devices: &mut Vec<String>) -> Option<Role> {
    let mut mount = |role| Some(Role::Mount(position(mountpoints, series.label("mountpoint")?), role));
    let mut link = |role| {
        // Traffic within the node: to itself, and to its containers before it reaches a bridge.
        let device = series.label("device").filter(|name| *name != "lo" && !name.starts_with("veth"))?;
        Some(Role::Link(position(devices, device), role))
    };
    match series.name.as_str() {
        "node_cpu_seconds_total" => match series.label("mode")? {
            "idle" | "iowait" => Some(Role::Idle),
            _ => Some(Role::Busy),
        },
        "node_memory_MemTotal_bytes" => Some(Role::Memory(MemoryRole::Total)),
        "node_memory_MemAvailable_bytes" => Some(Role::Memory(MemoryRole::Available)),
        "node_memory_MemFree_bytes" => Some(Role::Memory(MemoryRole::Free)),
        "node_memory_Buffers_bytes" | "node_memory_Cached_bytes" | "node_memory_SReclaimable_bytes" => {
            Some(Role::Memory(MemoryRole::Cached))
        }
        "node_zfs_arc_size" => Some(Role::Memory(MemoryRole::ArcSize)),
        "node_zfs_arc_c_min" => Some(Role::Memory(MemoryRole::ArcMin)),
        "campanile_cgroup_memory_limit_bytes" => Some(Role::Memory(MemoryRole::CgroupLimit)),
        "campanile_cgroup_memory_usage_bytes" => Some(Role::Memory(MemoryRole::CgroupUsage)),
        "node_filesystem_size_bytes" => mount(MountRole::Size),
        "node_filesystem_avail_bytes" => mount(MountRole::Available),
        "node_filesystem_free_bytes" => mount(MountRole::Free),
        "node_filesystem_files" => mount(MountRole::Files),
        "node_filesystem_files_free" => mount(MountRole::FilesFree),
        "node_filesystem_readonly" => mount(MountRole::ReadOnly),
        "node_network_receive_bytes_total" => link(LinkRole::Received),
        "node_network_transmit_bytes_total" => link(LinkRole::Transmitted),
        "node_network_speed_bytes" => link(LinkRole::Speed),
        "node_load1" => Some(Role::Load1),
        "node_processes_pids" => Some(Role::Processes),
        "node_systemd_unit_state" if series.label("state") == Some("failed") => Some(Role::FailedUnit),
        "node_timex_sync_status" => Some(Role::ClockSynchronised),
        "node_timex_offset_seconds" => Some(Role::ClockOffset),
        "campanile_agent_settings_error" => Some(Role::SettingsError),
        "campanile_agent_safe_mode" => Some(Role::SafeMode),
        "campanile_agent_confinement" => Some(Role::Confinement),
        "campanile_agent_collector_success" => Some(Role::CollectorSuccess),
        _ => None,
    }
}

/// Where `name` stands in the list, at its end if it is new.
fn position(names: &mut Vec<String>, name: &str) -> usize {
    names.iter().rposition(|known| known == name).unwrap_or_else(|| {
        names.push(name.to_owned());
        names.len() - 1
    })
}
