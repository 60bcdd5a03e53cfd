//! Standing back behind everything else on the machine.

/// The least of the processor's time, when others want it. The disk's follows: without a class of its own, a process of
/// the lowest priority has the lowest level of the best-effort class. The idle class is its unit's to give.
pub fn stand_back() {
    // A process that may not is as it was.
    rustix::process::nice(19).ok();
}
