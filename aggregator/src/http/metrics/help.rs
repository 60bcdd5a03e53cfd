//! Help texts of host metrics. Those of node_exporter's metrics are node_exporter's own words, so that a reader who
//! compares finds the same.

/// Sorted by name.
const TEXTS: &[(&str, &str)] = &[
    ("campanile_agent_collector_duration_seconds", "How long a collector of the agent took in this round."),
    ("campanile_agent_collector_success", "Whether a collector of the agent succeeded in this round."),
    ("campanile_agent_cpu_seconds_total", "Processor time the agent used."),
    ("campanile_agent_resident_memory_bytes", "Resident memory of the agent."),
    (
        "campanile_agent_settings_error",
        "1 while the agent refuses its settings as written, with the reason; absent else.",
    ),
    (
        "campanile_agent_settings_valid",
        "1 while the agent's settings as written are in force, 0 while they are refused.",
    ),
    ("campanile_agent_spool_bytes", "Bytes of samples waiting in the agent's spool."),
    ("campanile_agent_spool_samples", "Samples waiting in the agent's spool."),
    ("node_boot_time_seconds", "Node boot time, in unixtime."),
    ("node_context_switches_total", "Total number of context switches."),
    ("node_cpu_frequency_hertz", "Current CPU thread frequency in hertz."),
    ("node_cpu_guest_seconds_total", "Seconds the CPUs spent in guests (VMs) for each mode."),
    ("node_cpu_scaling_frequency_hertz", "Current scaled CPU thread frequency in hertz."),
    ("node_cpu_seconds_total", "Seconds the CPUs spent in each mode."),
    ("node_disk_discards_completed_total", "The total number of discards completed successfully."),
    ("node_disk_flush_requests_total", "The total number of flush requests completed successfully."),
    ("node_disk_io_now", "The number of I/Os currently in progress."),
    ("node_disk_io_time_seconds_total", "Total seconds spent doing I/Os."),
    ("node_disk_io_time_weighted_seconds_total", "The weighted # of seconds spent doing I/Os."),
    ("node_disk_read_bytes_total", "The total number of bytes read successfully."),
    ("node_disk_read_time_seconds_total", "The total number of seconds spent by all reads."),
    ("node_disk_reads_completed_total", "The total number of reads completed successfully."),
    ("node_disk_reads_merged_total", "The total number of reads merged."),
    ("node_disk_write_time_seconds_total", "This is the total number of seconds spent by all writes."),
    ("node_disk_writes_completed_total", "The total number of writes completed successfully."),
    ("node_disk_writes_merged_total", "The number of writes merged."),
    ("node_disk_written_bytes_total", "The total number of bytes written successfully."),
    ("node_entropy_available_bits", "Bits of available entropy."),
    ("node_filefd_allocated", "File descriptor statistics: allocated."),
    ("node_filefd_maximum", "File descriptor statistics: maximum."),
    ("node_filesystem_avail_bytes", "Filesystem space available to non-root users in bytes."),
    (
        "node_filesystem_device_error",
        "Whether an error occurred while getting statistics for the given device.",
    ),
    ("node_filesystem_files", "Filesystem total file nodes."),
    ("node_filesystem_files_free", "Filesystem total free file nodes."),
    ("node_filesystem_free_bytes", "Filesystem free space in bytes."),
    ("node_filesystem_readonly", "Filesystem read-only status."),
    ("node_filesystem_size_bytes", "Filesystem size in bytes."),
    ("node_forks_total", "Total number of forks."),
    ("node_hwmon_temp_celsius", "Hardware monitor for temperature (input)."),
    ("node_hwmon_temp_crit_celsius", "Hardware monitor for temperature (crit)."),
    ("node_hwmon_temp_max_celsius", "Hardware monitor for temperature (max)."),
    ("node_intr_total", "Total number of interrupts serviced."),
    ("node_load1", "1m load average."),
    ("node_load15", "15m load average."),
    ("node_load5", "5m load average."),
    ("node_memory_Active_bytes", "Memory information field Active_bytes."),
    ("node_memory_AnonPages_bytes", "Memory information field AnonPages_bytes."),
    ("node_memory_Buffers_bytes", "Memory information field Buffers_bytes."),
    ("node_memory_Cached_bytes", "Memory information field Cached_bytes."),
    ("node_memory_CommitLimit_bytes", "Memory information field CommitLimit_bytes."),
    ("node_memory_Committed_AS_bytes", "Memory information field Committed_AS_bytes."),
    ("node_memory_Dirty_bytes", "Memory information field Dirty_bytes."),
    ("node_memory_Inactive_bytes", "Memory information field Inactive_bytes."),
    ("node_memory_Mapped_bytes", "Memory information field Mapped_bytes."),
    ("node_memory_MemAvailable_bytes", "Memory information field MemAvailable_bytes."),
    ("node_memory_MemFree_bytes", "Memory information field MemFree_bytes."),
    ("node_memory_MemTotal_bytes", "Memory information field MemTotal_bytes."),
    ("node_memory_SReclaimable_bytes", "Memory information field SReclaimable_bytes."),
    ("node_memory_Shmem_bytes", "Memory information field Shmem_bytes."),
    ("node_memory_Slab_bytes", "Memory information field Slab_bytes."),
    ("node_memory_SwapCached_bytes", "Memory information field SwapCached_bytes."),
    ("node_memory_SwapFree_bytes", "Memory information field SwapFree_bytes."),
    ("node_memory_SwapTotal_bytes", "Memory information field SwapTotal_bytes."),
    ("node_memory_Writeback_bytes", "Memory information field Writeback_bytes."),
    ("node_netstat_Tcp_CurrEstab", "Statistic TcpCurrEstab."),
    ("node_netstat_Tcp_RetransSegs", "Statistic TcpRetransSegs."),
    ("node_network_carrier", "Network device property: carrier."),
    ("node_network_mtu_bytes", "Network device property: mtu_bytes."),
    ("node_network_receive_bytes_total", "Network device statistic receive_bytes."),
    ("node_network_receive_drop_total", "Network device statistic receive_drop."),
    ("node_network_receive_errs_total", "Network device statistic receive_errs."),
    ("node_network_receive_packets_total", "Network device statistic receive_packets."),
    ("node_network_speed_bytes", "Network device property: speed_bytes."),
    ("node_network_transmit_bytes_total", "Network device statistic transmit_bytes."),
    ("node_network_transmit_drop_total", "Network device statistic transmit_drop."),
    ("node_network_transmit_errs_total", "Network device statistic transmit_errs."),
    ("node_network_transmit_packets_total", "Network device statistic transmit_packets."),
    ("node_network_up", "Value is 1 if operstate is 'up', 0 otherwise."),
    ("node_nf_conntrack_entries", "Number of currently allocated flow entries for connection tracking."),
    ("node_nf_conntrack_entries_limit", "Maximum size of connection tracking table."),
    ("node_os_info", "Labeled operating system information, always 1."),
    (
        "node_pressure_cpu_waiting_seconds_total",
        "Total time in seconds that processes have waited for CPU time.",
    ),
    (
        "node_pressure_io_stalled_seconds_total",
        "Total time in seconds no process could make progress due to IO congestion.",
    ),
    (
        "node_pressure_io_waiting_seconds_total",
        "Total time in seconds that processes have waited due to IO congestion.",
    ),
    (
        "node_pressure_irq_stalled_seconds_total",
        "Total time in seconds no process could make progress due to IRQ congestion.",
    ),
    (
        "node_pressure_memory_stalled_seconds_total",
        "Total time in seconds no process could make progress due to memory congestion.",
    ),
    (
        "node_pressure_memory_waiting_seconds_total",
        "Total time in seconds that processes have waited for memory.",
    ),
    ("node_processes_max_processes", "Number of max PIDs limit."),
    ("node_processes_pids", "Number of PIDs."),
    ("node_processes_threads", "Allocated threads in system."),
    ("node_procs_blocked", "Number of processes blocked waiting for I/O to complete."),
    ("node_procs_running", "Number of processes in runnable state."),
    ("node_scrape_collector_duration_seconds", "Duration of a collector scrape."),
    ("node_scrape_collector_success", "Whether a collector succeeded."),
    ("node_sockstat_TCP_inuse", "Number of TCP sockets in state inuse."),
    ("node_sockstat_TCP_tw", "Number of TCP sockets in state tw."),
    ("node_sockstat_UDP_inuse", "Number of UDP sockets in state inuse."),
    ("node_sockstat_sockets_used", "Number of IPv4 sockets in use."),
    ("node_systemd_system_running", "Whether the system is operational (see 'systemctl is-system-running')."),
    ("node_systemd_unit_state", "Systemd unit."),
    ("node_systemd_units", "Summary of systemd unit states."),
    ("node_thermal_zone_temp", "Zone temperature in Celsius."),
    ("node_time_seconds", "System time in seconds since epoch (1970)."),
    ("node_timex_estimated_error_seconds", "Estimated error in seconds."),
    ("node_timex_frequency_adjustment_ratio", "Local clock frequency adjustment."),
    ("node_timex_maxerror_seconds", "Maximum error in seconds."),
    ("node_timex_offset_seconds", "Time offset in between local system and reference clock."),
    ("node_timex_sync_status", "Is clock synchronized to a reliable server (1 = yes, 0 = no)."),
    ("node_uname_info", "Labeled system information as provided by the uname system call."),
    ("node_vmstat_oom_kill", "/proc/vmstat information field oom_kill."),
    ("node_vmstat_pgfault", "/proc/vmstat information field pgfault."),
    ("node_vmstat_pgmajfault", "/proc/vmstat information field pgmajfault."),
    ("node_vmstat_pgpgin", "/proc/vmstat information field pgpgin."),
    ("node_vmstat_pgpgout", "/proc/vmstat information field pgpgout."),
    ("node_vmstat_pswpin", "/proc/vmstat information field pswpin."),
    ("node_vmstat_pswpout", "/proc/vmstat information field pswpout."),
];

/// What a metric means; a sentence that fits any host metric where we know no better.
pub(super) fn text(name: &str) -> &'static str {
    match TEXTS.binary_search_by_key(&name, |(name, _)| name) {
        Ok(index) => TEXTS[index].1,
        Err(_) => "Reading of a node's agent.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_so_that_every_text_is_found() {
        assert!(TEXTS.is_sorted_by(|(a, _), (b, _)| a < b));
        assert_eq!(text("node_load1"), "1m load average.");
        assert_eq!(text("node_something_else"), "Reading of a node's agent.");
    }
}
