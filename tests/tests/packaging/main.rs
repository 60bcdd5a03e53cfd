//! What is installed: units and packages, judged by the programs that distributions judge theirs with.

#[cfg(test)]
mod packages;
#[cfg(test)]
mod units;
