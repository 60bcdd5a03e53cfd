//! Reading a bundle for what is done online: whatever is wrong with it is told before anybody is asked for anything.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, bail};
use campanile_common::api::Node;
use campanile_common::config::{BundleSource, FilePart, LintError, Listed, PART_BYTES_MAX, part_digest};

use super::content::{Content, ContentLayer};
use crate::context::Context;
use crate::os::file;

/// Longest file of TOML: a layer is no larger.
const DOCUMENT_BYTES_MAX: usize = campanile_common::config::LAYER_BYTES_MAX;

/// Reads a bundle that is without a mistake in any one layer, and in what its layers come to for each of `nodes`.
///
/// # Errors
/// When it cannot be read, or anything is wrong with it; each mistake is printed.
pub(super) fn bundle(context: &mut Context<'_>, dir: &Path, nodes: &[Node]) -> anyhow::Result<Content> {
    let source = source(dir)?;
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

/// The files of a bundle.
fn source(dir: &Path) -> anyhow::Result<BundleSource> {
    if !dir.join("fleet.toml").exists() {
        bail!("{} holds no bundle: fleet.toml is missing; `campanile config init` makes one", dir.display());
    }
    let mut documents = BTreeMap::new();
    for folder in ["", "groups", "nodes"] {
        for path in file::list(&dir.join(folder), "toml")? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            // An editor's own settings, and backups that begin so.
            if name.starts_with('.') {
                continue;
            }
            let name = if folder.is_empty() { name } else { format!("{folder}/{name}") };
            documents.insert(name, file::read_up_to(&path, DOCUMENT_BYTES_MAX)?);
        }
    }
    let mut files = BTreeMap::new();
    for (name, path) in file::tree(&dir.join("files"))? {
        let bytes = file::read_up_to(&path, PART_BYTES_MAX)?;
        let size = u64::try_from(bytes.len()).context("a file is longer than any can be")?;
        files.insert(name, FilePart { digest: part_digest(&bytes), size });
    }
    let mut templates = BTreeMap::new();
    for (name, path) in file::tree(&dir.join("templates"))? {
        templates.insert(name, file::read_up_to(&path, PART_BYTES_MAX)?);
    }
    Ok(BundleSource { documents, files, templates })
}
