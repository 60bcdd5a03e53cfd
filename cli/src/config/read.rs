//! Reading a bundle for what is done online: whatever is wrong with it is told before anybody is asked for anything.

use std::path::Path;

use anyhow::bail;
use campanile_common::api::Node;
use campanile_common::config::{Bundle, LintError, Listed};

use super::content::{Content, ContentLayer};
use super::local;
use crate::context::Context;

/// A bundle without a mistake in any one layer.
pub(super) struct Readable<'a> {
    bundle: Bundle,
    dir: &'a Path,
}

/// Reads a bundle.
///
/// # Errors
/// When it cannot be read, or anything is wrong with a layer of it; each mistake is printed.
pub(super) fn bundle<'a>(context: &mut Context<'_>, dir: &'a Path) -> anyhow::Result<Readable<'a>> {
    if !dir.join("fleet.toml").exists() {
        bail!("{} holds no bundle: fleet.toml is missing; `campanile config init` makes one", dir.display());
    }
    let source = local::bundle::source(dir)?;
    match source.read() {
        Ok(bundle) => Ok(Readable { bundle, dir }),
        Err(errors) => Err(refused(context, dir, errors)?),
    }
}

impl Readable<'_> {
    /// What it says, where it is without a mistake in what its layers come to for each of `nodes`.
    ///
    /// # Errors
    /// When it is not; each mistake is printed.
    pub(super) fn content(self, context: &mut Context<'_>, nodes: &[Node]) -> anyhow::Result<Content> {
        let mut errors = Vec::new();
        for node in nodes {
            let id = node.node_id.to_string();
            let listed = Listed { id: &id, name: &node.name, labels: &node.labels };
            errors.extend(self.bundle.check_node(&listed));
        }
        if !errors.is_empty() {
            return Err(refused(context, self.dir, errors)?);
        }
        let layers = self.bundle.layers.into_iter().map(|layer| ContentLayer {
            kind: layer.kind,
            name: layer.name,
            selector: layer.selector,
            priority: layer.priority,
            layer: layer.layer,
        });
        Ok(Content::of_layers(layers.collect(), self.dir))
    }
}

/// Prints what is wrong, each mistake once.
fn refused(
    context: &mut Context<'_>,
    dir: &Path,
    mut errors: Vec<LintError>,
) -> anyhow::Result<anyhow::Error> {
    errors.sort();
    errors.dedup();
    for error in &errors {
        context.hint(&error.to_string())?;
    }
    let count = match errors.len() {
        1 => "1 mistake".to_owned(),
        count => format!("{count} mistakes"),
    };
    Ok(anyhow::anyhow!("{count} in the bundle in {}; nothing was done", dir.display()))
}
