//! What orders and the configuration have in common: whose signatures count, what the policy permits, and that one
//! program of the configuration runs at a time.

use campanile_common::authority::{Authority, Class, ConfigMode, Denial, DenialCode, Policy, Tier};
use campanile_common::id::{Digest, NodeId};
use campanile_common::time::Timestamp;

use super::Orders;
use crate::steward::config::Keeper;

impl Orders {
    /// Whether this node's policy lets it take generations.
    ///
    /// # Errors
    /// The rule that forbids it.
    pub(in crate::steward) fn permit_config(&mut self, now: Timestamp) -> Result<(), Denial> {
        self.look_around(now);
        let denied = permit(self.policy.policy()).err();
        let problem = self.policy.problem();
        denied.map_or(Ok(()), |denial| {
            Err(Denial { reason: problem.map_or(denial.reason, str::to_owned), ..denial })
        })
    }

    /// Why this node takes no generations; empty when it does. By what was seen last.
    pub(in crate::steward) fn config_denial(&self) -> String {
        if let Err(error) = &self.pin {
            return error.to_string();
        }
        match permit(self.policy.policy()) {
            Ok(()) => String::new(),
            Err(denial) => self.policy.problem().map_or(denial.reason, str::to_owned),
        }
    }

    /// Whose signatures count, and which node this is.
    ///
    /// # Errors
    /// When nothing is pinned that can be used.
    pub(in crate::steward) fn pinned(&self) -> Result<(&Authority, NodeId), String> {
        let pin = self.pin.as_ref().map_err(ToString::to_string)?;
        Ok((&pin.authority, pin.node))
    }

    /// True while an order plans or applies a generation.
    pub(in crate::steward) fn has_config(&self) -> bool {
        self.runs.values().any(|run| run.is_config)
    }

    /// Makes ready what an order plans or applies: what is applied is the highest accepted from here on.
    pub(super) fn ready_config(
        &self,
        generation: Digest,
        mode: ConfigMode,
        config: &mut Keeper,
    ) -> Result<(), Denial> {
        let denied = |code, reason| Denial { code, reason };
        if self.has_config() {
            let reason = "another order plans or applies the configuration here; send it again later";
            return Err(denied(DenialCode::Busy, reason.to_owned()));
        }
        let (authority, _) = self.pinned().map_err(|reason| denied(DenialCode::NoSteward, reason))?;
        let verified = config.permit(generation, mode, authority)?;
        match mode {
            ConfigMode::Plan => Ok(()),
            ConfigMode::Apply { .. } => {
                config.accept(&verified).map_err(|reason| denied(DenialCode::Storage, reason))
            }
        }
    }
}

fn permit(policy: &Policy) -> Result<(), Denial> {
    let denied = |code, reason: &str| Err(Denial { code, reason: reason.to_owned() });
    if !policy.classes.contains(&Class::Config) {
        return denied(DenialCode::PolicyClass, "this node's policy does not allow class `config`");
    }
    if policy.highest_tier < Tier::Change {
        return denied(
            DenialCode::PolicyTier,
            "this node's policy allows no orders of tier 2 (highest_tier)",
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations_need_their_class_and_the_tier_of_changes() {
        let policy = |text: &str| toml::from_str::<Policy>(text).unwrap();
        let code = |text: &str| permit(&policy(text)).err().map(|denial| denial.code);
        assert_eq!(code("highest_tier = 2\nclasses = [\"config\"]"), None);
        assert_eq!(code("highest_tier = 1\nclasses = [\"config\"]"), Some(DenialCode::PolicyTier));
        let without = "highest_tier = 3\nclasses = [\"command\", \"shell\"]";
        assert_eq!(code(without), Some(DenialCode::PolicyClass));
    }
}
