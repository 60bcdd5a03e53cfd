//! How an order is carried out: the options that `run`, `routine`, `svc` and `schedule add` share.

use std::time::Duration;

use campanile_common::api::DispatchOptions;
use campanile_common::authority::{Limits, TIMEOUT_MAX, VALIDITY_MAX};
use clap::Args;

use crate::duration;
use crate::exit::UsageError;
use crate::signer::Passphrase;

/// How long before and after now an order is valid, for clocks that differ and delivery that takes a while.
pub const SLACK: Duration = Duration::from_secs(60);

/// Options of every verb that orders something.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// How long it may take on each node, before it is stopped with everything it started; here this is not the
    /// wait for the aggregator
    // The same name as the common option, which it takes the place of.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration::parse)]
    pub timeout: Duration,
    /// Most nodes at work at once
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub parallel: Option<u32>,
    /// In groups of so many nodes or of a share, e.g. 5 or 25%: the next begins when the one before is done
    #[arg(long, value_name = "N | N%", value_parser = parse_batch)]
    pub batch: Option<String>,
    /// Stop when more than so many nodes did not end well; the rest is skipped
    #[arg(long, value_name = "N")]
    pub max_fail: Option<u32>,
    /// How many nodes it must be; else nothing is sent
    #[arg(long, value_name = "N")]
    pub expect: Option<usize>,
    /// Deliver to absent nodes when they come back within this time; without it they count as silent
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub queue: Option<Duration>,
    /// Why, for whoever approves or reads it
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub reason: String,
    /// Order it at tier 3: it waits for as many operators as the authority demands
    #[arg(long)]
    pub critical: bool,
    /// Print what would be ordered and for whom; send nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Return as soon as it is accepted, with exit code 6
    #[arg(long)]
    pub detach: bool,
    /// How the operator's key is unlocked.
    #[command(flatten)]
    pub passphrase: Passphrase,
}

/// Reads the size of a group.
///
/// # Errors
/// When it is neither a number nor a share.
fn parse_batch(text: &str) -> Result<String, String> {
    let good = match text.strip_suffix('%') {
        Some(share) => share.parse::<u32>().is_ok_and(|share| (1..=100).contains(&share)),
        None => text.parse::<u32>().is_ok_and(|count| count > 0),
    };
    if good { Ok(text.to_owned()) } else { Err("give a number of nodes, or a share such as 25%".to_owned()) }
}

impl Options {
    /// As the aggregator takes them.
    pub fn dispatch(&self) -> DispatchOptions {
        DispatchOptions {
            parallel: self.parallel,
            batch: self.batch.clone(),
            max_fail: self.max_fail,
            queue: self.queue.is_some(),
            ..DispatchOptions::default()
        }
    }

    /// What one execution may use.
    ///
    /// # Errors
    /// When it may take longer than any may.
    pub fn limits(&self) -> Result<Limits, UsageError> {
        if self.timeout > TIMEOUT_MAX {
            return Err(UsageError(
                "nothing may take longer than a day; give a shorter --timeout".to_owned(),
            ));
        }
        let timeout_ms = u32::try_from(self.timeout.as_millis()).unwrap_or(u32::MAX);
        Ok(Limits { timeout_ms, ..Limits::default() })
    }

    /// How long after now the last node may still start.
    ///
    /// # Errors
    /// When no order is valid for so long.
    pub fn validity(&self, nodes: usize) -> Result<Duration, UsageError> {
        // Nodes whose turn comes later must find the order still valid.
        let turns = self.turns(nodes).saturating_sub(1);
        let waiting = self.timeout.saturating_mul(u32::try_from(turns).unwrap_or(u32::MAX));
        let most = VALIDITY_MAX - 2 * SLACK;
        let queue = self.queue.unwrap_or_default();
        if queue > most {
            return Err(UsageError(
                "an order is queued for a week at most; give a shorter --queue".to_owned(),
            ));
        }
        Ok((SLACK + queue.max(waiting)).min(most))
    }

    /// How many groups there are, one after the other.
    fn turns(&self, nodes: usize) -> usize {
        let size_of = |batch: &String| match batch.strip_suffix('%') {
            Some(share) => share.parse::<usize>().map(|share| (nodes * share).div_ceil(100)),
            None => batch.parse::<usize>(),
        };
        let batch = self.batch.as_ref().and_then(|batch| size_of(batch).ok()).unwrap_or(nodes).max(1);
        let parallel = self.parallel.and_then(|n| usize::try_from(n).ok()).unwrap_or(nodes).max(1);
        nodes.div_ceil(batch) * batch.min(nodes).max(1).div_ceil(parallel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn options(line: &[&str]) -> Options {
        Line::try_parse_from(["x"].iter().chain(line)).unwrap().options
    }

    #[test]
    fn later_groups_find_the_order_still_valid() {
        let minutes = |line: &[&str], nodes| options(line).validity(nodes).unwrap().as_secs() / 60;
        assert_eq!(minutes(&[], 28), 1);
        assert_eq!(minutes(&["--batch", "25%"], 28), 1 + 3 * 5);
        assert_eq!(minutes(&["--batch", "10", "--parallel", "5"], 28), 1 + 5 * 5);
        assert_eq!(minutes(&["--parallel", "100"], 28), 1);
        assert_eq!(minutes(&["--queue", "1h"], 28), 61);
        assert!(options(&["--queue", "8d"]).validity(1).is_err());
        assert!(options(&["--timeout", "1d", "--parallel", "1"]).validity(500).unwrap() < VALIDITY_MAX);
    }

    #[test]
    fn groups_are_numbers_or_shares() {
        for wrong in ["0", "0%", "101%", "a", "-1", "%", "1.5%"] {
            assert!(parse_batch(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse_batch("25%").as_deref(), Ok("25%"));
        assert!(Line::try_parse_from(["x", "--parallel", "0"]).is_err());
    }

    #[test]
    fn nothing_takes_longer_than_a_day() {
        assert!(options(&["--timeout", "25h"]).limits().is_err());
        assert_eq!(options(&["--timeout", "30s"]).limits().unwrap().timeout_ms, 30_000);
    }
}
