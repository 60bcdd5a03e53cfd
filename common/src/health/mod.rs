//! Judging health: thresholds with `for` times and hysteresis, a status per node, an explainable score.
