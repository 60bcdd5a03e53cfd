//! How far a process confined itself: what it can no longer do, whatever becomes of it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The kernel lets it touch only the files that it needs.
pub const LAYER_LANDLOCK: &str = "landlock";
/// The kernel refuses it system calls that it never needs.
pub const LAYER_SECCOMP: &str = "seccomp";
/// No program that it starts has more rights than it has.
pub const LAYER_NO_NEW_PRIVS: &str = "no_new_privs";
/// It is not root.
pub const LAYER_USER: &str = "user";
/// It has no capability.
pub const LAYER_CAPABILITIES: &str = "capabilities";

/// One layer of confinement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ConfinementLayer {
    /// `landlock`, `seccomp`, `no_new_privs`, `user` or `capabilities`.
    pub layer: String,
    /// Whether it confines.
    pub is_on: bool,
    /// How far, or why not.
    pub state: String,
}

/// How far a process is confined.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Confinement {
    /// Each layer, the strongest first.
    pub layers: Vec<ConfinementLayer>,
}

impl ConfinementLayer {
    /// A layer that confines or does not, and what there is to say of it.
    pub fn new(layer: &str, is_on: bool, state: impl Into<String>) -> Self {
        Self { layer: layer.to_owned(), is_on, state: state.into() }
    }
}

impl Confinement {
    /// Whether the layers that a process puts on itself are on: files, system calls, and no way back.
    pub fn is_confined(&self) -> bool {
        [LAYER_LANDLOCK, LAYER_SECCOMP, LAYER_NO_NEW_PRIVS]
            .iter()
            .all(|name| self.layers.iter().any(|layer| layer.layer == *name && layer.is_on))
    }
}

impl fmt::Display for Confinement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, layer) in self.layers.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{}: {}", layer.layer, layer.state)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_confined_when_files_calls_and_the_way_back_are() {
        let mut found = Confinement {
            layers: vec![
                ConfinementLayer::new(LAYER_LANDLOCK, true, "abi 6"),
                ConfinementLayer::new(LAYER_SECCOMP, true, "on"),
                ConfinementLayer::new(LAYER_NO_NEW_PRIVS, true, "yes"),
                ConfinementLayer::new(LAYER_USER, false, "0"),
            ],
        };
        assert!(found.is_confined(), "who it runs as is its unit's to say");
        assert_eq!(found.to_string(), "landlock: abi 6, seccomp: on, no_new_privs: yes, user: 0");
        found.layers[0].is_on = false;
        assert!(!found.is_confined());
        assert!(!Confinement::default().is_confined());
    }
}
