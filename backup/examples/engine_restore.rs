//! Restores, lists and compares snapshots of a repository in a folder: to measure, and to try against stock restic.
//!
//! `engine_restore REPOSITORY restore SNAPSHOT TARGET [--no-verify] [--always|--never] [--delete-extra] [--dry-run]
//! [--workers N] [--only PATH]`, `... ls SNAPSHOT`, `... diff SNAPSHOT SNAPSHOT`, `... dump SNAPSHOT PATH`.
//! A snapshot is `latest`, a time, or the begin of a name. The password is in `RESTIC_PASSWORD`.

#![expect(clippy::disallowed_methods, reason = "an example reads its environment")]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use campanile_backup::backend::Directory;
use campanile_backup::choose::{Filter, Which, choose};
use campanile_backup::diff::Diff;
use campanile_backup::index::Index;
use campanile_backup::list::{Selection, Step, Walk, lookup};
use campanile_backup::repository::Repository;
use campanile_backup::restore::{Overwrite, Request, run};
use campanile_backup::snapshot::Snapshot;
use campanile_backup::{dump::dump, id::ObjectId};

type Failed = Box<dyn std::error::Error>;

fn main() -> Result<(), Failed> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [repository, verb, first, rest @ ..] = arguments.as_slice() else {
        return Err("see the head of this file for its arguments".into());
    };
    let password = std::env::var("RESTIC_PASSWORD")?;
    let backend = Arc::new(Directory::open(Path::new(repository))?);
    let repository = Repository::open_with_password(backend, password.as_bytes())?;
    let index = repository.load_index()?;
    let snapshots = repository.snapshots()?;
    let find = |text: &str| -> Result<(ObjectId, Snapshot), Failed> {
        Ok(choose(&snapshots, &Which::parse(text), &Filter::default())?.clone())
    };
    let (_, snapshot) = find(first)?;
    match (verb.as_str(), rest) {
        ("restore", [target, flags @ ..]) => restore(&repository, &index, &snapshot, target, flags),
        ("ls", []) => list(&repository, &index, &snapshot),
        ("diff", [second]) => {
            for change in Diff::new(&repository, &index, snapshot.tree, find(second)?.1.tree)? {
                let change = change?;
                println!("{:?} /{}", change.difference, change.path.display());
            }
            Ok(())
        }
        ("dump", [path]) => {
            let node =
                lookup(&repository, &index, snapshot.tree, Path::new(path))?.ok_or("the root is a folder")?;
            dump(&repository, &index, &node, None, &mut std::io::stdout().lock())?;
            Ok(())
        }
        _ => Err("see the head of this file for its arguments".into()),
    }
}

fn list(repository: &Repository, index: &Index, snapshot: &Snapshot) -> Result<(), Failed> {
    let mut out = std::io::stdout().lock();
    for step in Walk::new(repository, index, snapshot.tree, Selection::default())? {
        match step? {
            Step::Enter { path, .. } => writeln!(out, "/{}", path.display())?,
            Step::Entry { folder, node } => writeln!(out, "/{}", folder.join(&node.name).display())?,
            Step::Leave { .. } => {}
        }
    }
    Ok(())
}

fn restore(
    repository: &Repository,
    index: &Index,
    snapshot: &Snapshot,
    target: &str,
    flags: &[String],
) -> Result<(), Failed> {
    let mut request = Request::new(PathBuf::from(target));
    let mut flags = flags.iter();
    while let Some(flag) = flags.next() {
        match flag.as_str() {
            "--no-verify" => request.verify = false,
            "--always" => request.overwrite = Overwrite::Always,
            "--never" => request.overwrite = Overwrite::Never,
            "--delete-extra" => request.delete_extra = true,
            "--dry-run" => request.dry_run = true,
            "--no-owner" => request.owner = false,
            "--workers" => request.workers = flags.next().ok_or("--workers needs a number")?.parse()?,
            "--only" => request.only.push(flags.next().ok_or("--only needs a path")?.into()),
            other => return Err(format!("`{other}` is not known").into()),
        }
    }
    let outcome = run(repository, index, snapshot, &request, &())?;
    for failure in &outcome.failures {
        eprintln!("/{}: {}", failure.path.display(), failure.problem);
    }
    println!(
        "{} files, {} bytes, {} unchanged, {} folders, {} links, {} hard links, {} specials, {} deleted, {} failures",
        outcome.files,
        outcome.bytes,
        outcome.unchanged,
        outcome.folders,
        outcome.symlinks,
        outcome.hard_links,
        outcome.specials,
        outcome.deleted,
        outcome.failures_total,
    );
    if outcome.is_complete() { Ok(()) } else { Err("not everything was restored".into()) }
}
