//! Reading a bundle for what is done online: whatever is wrong with it is told before anybody is asked for anything.

use std::path::Path;

use anyhow::bail;
use campanile_common::api::Node;
use campanile_common::config::{LintError, Listed};

use super::content::{Content, ContentLayer};
use super::local;
use crate::context::Context;

/// Reads a bundle that is without a mistake in any one layer, and in what its layers come to for each of `nodes`.
///
/// # Errors
/// When it cannot be read, or anything is wrong with it; each mistake is printed.
pub(super) fn bundle(context: &mut Context<'_>, dir: &Path, nodes: &[Node]) -> anyhow::Result<Content> {
    if !dir.join("fleet.toml").exists() {
        bail!("{} holds no bundle: fleet.toml is missing; `campanile config init` makes one", dir.display());
    }
    let source = local::bundle::source(dir)?;
    let bundle = match source.read() {
        Ok(bundle) => bundle,
        Err(errors) => return Err(refused(context, dir, errors)?),
    };
    let mut errors = Vec::new();
    for node in nodes {
        let id = node.node_id.to_string();
        errors.extend(bundle.check_node(&Listed { id: &id, name: &node.name, labels: &node.labels }));
    }
    if !errors.is_empty() {
        return Err(refused(context, dir, errors)?);
    }
    let layers = bundle.layers.into_iter().map(|layer| ContentLayer {
        kind: layer.kind,
        name: layer.name,
        selector: layer.selector,
        priority: layer.priority,
        layer: layer.layer,
    });
    Ok(Content::of_layers(layers.collect(), dir))
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
