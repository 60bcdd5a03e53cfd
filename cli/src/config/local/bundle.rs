//! Reads a bundle's directory.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use campanile_common::config::{Bundle, BundleSource, FilePart, PART_BYTES_MAX, part_digest};
use campanile_common::suggest;

use crate::context::Context;

/// Most files of a bundle.
const FILES_MAX: usize = 50_000;
/// What a bundle's directory holds, beside what is none of its business.
const PLACES: [&str; 5] = ["fleet.toml", "groups", "nodes", "files", "templates"];

/// Reads everything that belongs to the bundle in `dir`. What a file below `files/` holds is not kept, only
/// its digest.
///
/// # Errors
/// When something cannot be read, or is neither a file nor a folder.
pub(crate) fn source(dir: &Path) -> anyhow::Result<BundleSource> {
    let mut source = BundleSource::default();
    for name in names(dir)? {
        let path = dir.join(&name);
        match name.as_str() {
            "files" => {
                for (name, path) in walk(&path)? {
                    source.files.insert(name, file_part(&path)?);
                }
            }
            "templates" => source.templates = read_all(walk(&path)?)?,
            _ if !is_place(&name) => {}
            _ if path.is_dir() => {
                let documents = walk(&path)?.into_iter().filter(|(name, _)| name.ends_with(".toml"));
                let named = documents.map(|(below, path)| (format!("{name}/{below}"), path));
                source.documents.extend(read_all(named)?);
            }
            _ => {
                source.documents.insert(name, read(&path)?);
            }
        }
    }
    Ok(source)
}

/// The bundle in `dir`; none when it has mistakes, which are told then.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn load(context: &mut Context<'_>, dir: &Path) -> anyhow::Result<Option<Bundle>> {
    match source(dir)?.read() {
        Ok(bundle) => Ok(Some(bundle)),
        Err(errors) => {
            for error in errors {
                writeln!(context.err, "{error}")?;
            }
            Ok(None)
        }
    }
}

/// A place of a bundle, or a name so close to one that it was meant to be.
fn is_place(name: &str) -> bool {
    let is_alike = |place: &&str| suggest::close(name, [*place]).contains(place);
    !name.starts_with('.')
        && (PLACES.contains(&name)
            || PLACES.iter().any(|place| is_alike(place) && name.len() + 1 >= place.len()))
}

fn names(dir: &Path) -> anyhow::Result<Vec<String>> {
    let entries = fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.with_context(|| format!("cannot read {}", dir.display()))?.file_name();
        match name.into_string() {
            Ok(name) => names.push(name),
            Err(name) => bail!("{} has a name that is not UTF-8", dir.join(name).display()),
        }
    }
    names.sort();
    Ok(names)
}

/// Files below a folder by their path in it.
fn walk(root: &Path) -> anyhow::Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        for name in names(&root.join(&folder))? {
            let below = if folder.is_empty() { name } else { format!("{folder}/{name}") };
            let path = root.join(&below);
            let kind = fs::symlink_metadata(&path)
                .with_context(|| format!("cannot read {}", path.display()))?
                .file_type();
            if kind.is_dir() {
                folders.push(below);
            } else if kind.is_file() {
                found.push((below, path));
            } else {
                bail!("{} is neither a file nor a folder; a bundle holds nothing else", path.display());
            }
            if found.len() + folders.len() > FILES_MAX {
                bail!("{} holds more than {FILES_MAX} files", root.display());
            }
        }
    }
    Ok(found)
}

fn read_all(files: impl IntoIterator<Item = (String, PathBuf)>) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
    files.into_iter().map(|(name, path)| Ok((name, read(&path)?))).collect()
}

/// Reads a file up to one byte more than a part may have, so that the check of the bundle names it.
fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let most = u64::try_from(PART_BYTES_MAX)? + 1;
    File::open(path)
        .and_then(|file| file.take(most).read_to_end(&mut bytes))
        .with_context(|| format!("cannot read {}", path.display()))?;
    Ok(bytes)
}

fn file_part(path: &Path) -> anyhow::Result<FilePart> {
    let bytes = read(path)?;
    Ok(FilePart { digest: part_digest(&bytes), size: u64::try_from(bytes.len())? })
}
