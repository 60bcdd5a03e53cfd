//! What is installed: units and packages, judged by the programs that distributions judge theirs with.

mod packages;
mod units;
