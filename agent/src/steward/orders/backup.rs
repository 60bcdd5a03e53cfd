//! What orders and schedules of backups have in common: what the node's policy permits.

use campanile_common::authority::{Class, Policy, Tier};
use campanile_common::time::Timestamp;

use super::Orders;

impl Orders {
    /// Why this node makes no backups by itself; empty when it does.
    pub(in crate::steward) fn backup_denial(&mut self, now: Timestamp) -> String {
        self.look_around(now);
        match permit(self.policy.policy()) {
            Ok(()) => String::new(),
            Err(reason) => self.policy.problem().unwrap_or(reason).to_owned(),
        }
    }
}

/// As for an order that saves files.
fn permit(policy: &Policy) -> Result<(), &'static str> {
    if !policy.classes.contains(&Class::Backup) {
        return Err("this node's policy does not allow class `backup`");
    }
    if policy.highest_tier < Tier::Routine {
        return Err("this node's policy allows no work of tier 1 (highest_tier)");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backups_need_their_class_and_the_tier_of_routines() {
        let permitted = |text: &str| permit(&toml::from_str::<Policy>(text).unwrap()).is_ok();
        assert!(permit(&Policy::default()).is_ok());
        assert!(permitted("highest_tier = 1\nclasses = [\"backup\"]"));
        assert!(!permitted("highest_tier = 0\nclasses = [\"backup\"]"));
        assert!(!permitted("highest_tier = 3\nclasses = [\"command\", \"config\"]"));
    }
}
