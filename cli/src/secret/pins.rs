//! Recipients of nodes, pinned when they are first used: an aggregator that lies later about a node's sealing key gets
//! no secret sealed to its own.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context as _;
use campanile_common::id::{FleetId, NodeId};
use serde::{Deserialize, Serialize};

use crate::config::named;
use crate::context::Context;
use crate::os::file;

/// Name of the file in the operator's folder.
const FILE: &str = "recipients.json";

/// Recipients by fleet and node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Pins {
    fleets: BTreeMap<FleetId, BTreeMap<NodeId, String>>,
}

/// A node with the recipient that the aggregator tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Recipient {
    pub(super) node: NodeId,
    pub(super) name: String,
    pub(super) key: String,
}

/// Nodes whose recipient is another than before.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the aggregator tells another sealing key than before for {}: either they were set up anew, or somebody between \
     them and here wants to read their secrets; look at `campanile-agent status` on the node, and if its key is the one \
     in `campanile config status NODE`, give --accept-new-keys",
    named(.names)
)]
pub(super) struct ChangedKeys {
    names: Vec<String>,
}

impl Pins {
    /// Reads them.
    pub(super) fn load(context: &Context<'_>) -> anyhow::Result<Self> {
        let path = path(context)?;
        if !path.exists() {
            return Ok(Self::default());
        }
        // The recipients of a large fleet are some megabytes.
        let bytes = file::read_up_to(&path, 64 * 1024 * 1024)?;
        serde_json::from_slice(&bytes).with_context(|| format!("cannot understand {}", path.display()))
    }

    /// Keeps them.
    pub(super) fn store(&self, context: &Context<'_>) -> anyhow::Result<()> {
        file::make_private_dir(&context.environment.config_dir()?)?;
        let bytes = serde_json::to_vec_pretty(self)?;
        Ok(file::replace(&path(context)?, &bytes, file::SECRET)?)
    }

    /// Pins recipients that are new, and refuses those that are others than before unless that is accepted.
    pub(super) fn take(
        &mut self,
        fleet: FleetId,
        recipients: &[Recipient],
        accepts_new: bool,
    ) -> Result<(), ChangedKeys> {
        let known = self.fleets.entry(fleet).or_default();
        let is_changed = |one: &&Recipient| known.get(&one.node).is_some_and(|pinned| *pinned != one.key);
        let names: Vec<String> = recipients.iter().filter(is_changed).map(|one| one.name.clone()).collect();
        if !names.is_empty() && !accepts_new {
            return Err(ChangedKeys { names });
        }
        known.extend(recipients.iter().map(|one| (one.node, one.key.clone())));
        Ok(())
    }
}

fn path(context: &Context<'_>) -> anyhow::Result<PathBuf> {
    Ok(context.environment.config_dir()?.join(FILE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::Environment;
    use crate::testing::{node, with_context};

    fn recipient(number: usize, key: &str) -> Recipient {
        Recipient { node: node(number).node_id, name: format!("web-{number}"), key: key.to_owned() }
    }

    #[test]
    fn a_key_that_changed_is_refused_until_it_is_accepted() {
        let (fleet, other) = (FleetId::from_bytes([1; 16]), FleetId::from_bytes([2; 16]));
        let mut pins = Pins::default();
        pins.take(fleet, &[recipient(1, "a"), recipient(2, "b")], false).unwrap();
        pins.take(fleet, &[recipient(1, "a"), recipient(3, "c")], false).unwrap();
        let before = pins.clone();
        let error = pins.take(fleet, &[recipient(1, "x"), recipient(4, "d")], false).unwrap_err();
        assert_eq!(error.names, ["web-1"]);
        assert!(error.to_string().contains("--accept-new-keys"));
        assert_eq!(pins, before, "nothing is pinned by what was refused");
        pins.take(other, &[recipient(1, "x")], false).unwrap();
        pins.take(fleet, &[recipient(1, "x")], true).unwrap();
        pins.take(fleet, &[recipient(1, "a")], false).unwrap_err();
    }

    #[test]
    fn pins_are_kept_for_the_owner_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let variables =
            [("CAMPANILE_CONFIG_DIR".to_owned(), folder.path().to_str().unwrap().to_owned())].into();
        let environment = Environment { variables, ..Environment::default() };
        with_context(&[], &environment, |context| {
            assert_eq!(Pins::load(context).unwrap(), Pins::default());
            let mut pins = Pins::default();
            pins.take(FleetId::from_bytes([1; 16]), &[recipient(1, "a")], false).unwrap();
            pins.store(context).unwrap();
            assert_eq!(Pins::load(context).unwrap(), pins);
            std::fs::write(folder.path().join(FILE), "{").unwrap();
            assert!(Pins::load(context).unwrap_err().to_string().contains(FILE));
        });
        let mode = std::fs::metadata(folder.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, file::SECRET);
    }
}
