//! Reading a bundle for what is done online.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, bail};
use campanile_common::config::{FilePart, Layer, LayerKind, PART_BYTES_MAX, part_digest};
use serde_json::{Map, Value};

use super::content::{Content, ContentLayer};
use crate::context::Context;
use crate::os::file;

/// Reads a bundle; what is wrong with it is told before anything is asked of anybody.
///
/// # Errors
/// When something is wrong with it.
pub(super) fn bundle(_: &mut Context<'_>, dir: &Path) -> anyhow::Result<Content> {
    let mut layers = Vec::new();
    let fleet = dir.join("fleet.toml");
    if !fleet.exists() {
        bail!("{} holds no bundle: fleet.toml is missing; `campanile config init` makes one", dir.display());
    }
    layers.push(layer(dir, &fleet, LayerKind::Fleet)?);
    for (folder, kind) in [("groups", LayerKind::Group), ("nodes", LayerKind::Node)] {
        for path in file::list(&dir.join(folder), "toml")? {
            layers.push(layer(dir, &path, kind)?);
        }
    }
    Ok(Content::of_layers(layers, dir))
}

fn layer(dir: &Path, path: &Path, kind: LayerKind) -> anyhow::Result<ContentLayer> {
    let text = file::read_text(path)?;
    let whole: Value =
        toml::from_str(&text).with_context(|| format!("cannot understand {}", path.display()))?;
    let mut whole = match whole {
        Value::Object(whole) => whole,
        _ => bail!("{} is no table", path.display()),
    };
    let selector = whole.remove("selector").and_then(|value| value.as_str().map(str::to_owned));
    let priority = whole.remove("priority").and_then(|value| value.as_i64()).unwrap_or(0);
    let mut layer = Layer::default();
    if let Some(Value::Object(vars)) = whole.remove("vars") {
        layer.vars = vars;
    }
    for (kind, resources) in whole {
        let Value::Object(resources) = resources else { bail!("{}: `{kind}` is no table", path.display()) };
        let mut tables = BTreeMap::new();
        for (name, table) in resources {
            let Value::Object(table) = table else { bail!("{}: `{name}` is no table", path.display()) };
            for (key, folder) in [("source", "files"), ("template", "templates")] {
                used(dir, &table, key, folder, &mut layer)?;
            }
            tables.insert(name, table);
        }
        layer.resources.insert(kind, tables);
    }
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Ok(ContentLayer { kind, name, selector, priority: i32::try_from(priority)?, layer })
}

fn used(
    dir: &Path,
    table: &Map<String, Value>,
    key: &str,
    folder: &str,
    layer: &mut Layer,
) -> anyhow::Result<()> {
    if let Some(Value::String(name)) = table.get(key) {
        let bytes = file::read_up_to(&dir.join(folder).join(name), PART_BYTES_MAX)?;
        let part = FilePart { digest: part_digest(&bytes), size: u64::try_from(bytes.len())? };
        let to = if folder == "files" { &mut layer.files } else { &mut layer.templates };
        to.insert(name.clone(), part);
    }
    Ok(())
}
