//! What nodes should be: layers of a bundle, resources, and the generations that carry them.
//!
//! The operator's machine reads a bundle into [`Layer`]s and signs a [`Generation`] over their digests. A node fetches
//! the layers that the generation gives it, merges them, and has its [`Resource`]s. Both ends run this code, so that
//! what `config explain` shows is what a node merges.

mod bundle;
mod explain;
mod generation;
mod graph;
mod layer;
mod merge;
mod render;
mod resource;
mod schema;

pub use bundle::{Bundle, BundleLayer, BundleSource, LintError, Listed};
pub use explain::{Origin, explain, flatten};
pub use generation::{
    FollowError, GENERATION_BYTES_MAX, Generation, GenerationError, LAYERS_MAX, LayerKind, LayerPart,
    MEMBERS_MAX, Member, Purpose, SECRETS_MAX, SecretPart, SignedGeneration, Tally, VerifiedGeneration,
};
pub use graph::{GraphError, order};
pub use layer::{FilePart, LAYER_BYTES_MAX, Layer, LayerError};
pub use merge::{MergeError, Merged, NamedLayer, Origins, merge};
pub use render::{
    FactsContext, NodeContext, RENDERED_BYTES_MAX, RenderContext, RenderError, Rendered, Renderer,
    SecretSource, check_template,
};
pub use resource::{
    Account, Backup, Command, ContentSource, Directory, Drift, DrillKeys, File, Firewall, Group, HostsEntry,
    KeepKeys, KernelModule, Kind, Link, Mount, OnChange, Package, Presence, Resource, ResourceError,
    ResourceId, Rules, Service, ServiceState, Spec, SshKey, Sysctl, Timer,
};
pub use schema::schema;

use crate::authority::sha256;
use crate::id::Digest;

/// Most bytes of one file or template of a bundle, and of one sealed secret.
pub const PART_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Name of a part of a generation: the SHA-256 of its bytes. Layers, files, templates and sealed secrets are parts.
pub fn part_digest(bytes: &[u8]) -> Digest {
    sha256(&[bytes])
}
