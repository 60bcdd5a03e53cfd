//! Judging health: thresholds with `for` times and hysteresis, a status per node, an explainable score.
//!
//! Facts and the time in, a verdict out: whoever receives samples turns one into [`Vitals`], a [`Judge`] per
//! node says what is wrong there, and [`fleet_score`] adds the fleet up. Nothing here reads a clock, keeps
//! history beyond what is pending or firing, or knows where a value came from.

mod judge;
mod rule;
mod score;
mod threshold;
mod vitals;

pub use judge::{Breach, Judge, SUBJECTS_MAX, Verdict};
pub use score::fleet_score;
pub use threshold::{Condition, Threshold, ThresholdError, Thresholds};
pub use vitals::{BackupTrouble, Filesystem, Interface, Vitals};
