//! What a command writes to its standard output, as the one file of a snapshot.

use std::ffi::OsString;
use std::io::{self, Read};

use super::details::Recording;
use super::folder::{Folder, Text};
use super::owner::Owners;
use super::progress::Progress;
use super::run::{ContentError, Fate, Kit, Run};
use super::{Outcome, Request, SaveError, Saved, conclude};
use crate::chunker::Plain;
use crate::repository::Repository;
use crate::tree::{FileTime, Node, NodeKind};
use crate::writer::Writer;

/// Saves what `reader` gives as the file `/name`. When it ends, `ended_well` is asked whether that was all: a command
/// that failed half-way makes no snapshot. One thread does it all, so that what is read is not held twice.
///
/// # Errors
/// When the repository cannot be read or written, when the stream cannot be read, when it did not end well, or when it
/// was stopped. There is no snapshot then.
pub fn stream(
    repository: &Repository,
    request: &Request,
    name: &str,
    reader: impl Read,
    ended_well: impl FnOnce() -> io::Result<()>,
    progress: &dyn Progress,
) -> Result<Outcome, SaveError> {
    if matches!(name, "" | "." | "..") || name.contains(['/', '\0']) {
        return Err(SaveError::Name(name.to_owned()));
    }
    let mut index = repository.load_index()?;
    let adopted = super::resume::adopt(repository, &mut index)?;
    let owners = Owners::default();
    let recording = Recording { owners: &owners, with_atime: false };
    let writer = Writer::new(repository);
    let run = Run::new(repository, &index, &writer, request, progress, recording);
    let saved = save(&run, name, reader, ended_well);
    if let Err(error) = saved {
        run.fail(error);
    }
    let (root, seen) = run.end();
    let written = writer.finish()?;
    let paths = vec![format!("/{name}")];
    conclude(repository, request, Saved { paths, parent: None, tree: root?, seen, adopted, written })
}

fn save(
    run: &Run<'_>,
    name: &str,
    reader: impl Read,
    ended_well: impl FnOnce() -> io::Result<()>,
) -> Result<(), SaveError> {
    let mut kit = Kit::new(run.repository)?;
    let (content, size) = match kit.save_content(run, &mut Plain(reader)) {
        Ok(saved) => saved,
        Err(ContentError::Read(error)) => return Err(SaveError::Stream(error)),
        // The run knows why.
        Err(ContentError::Stopped) => return Err(SaveError::Stopped),
    };
    ended_well().map_err(SaveError::Stream)?;
    let mut node = file(name, run.request.time);
    (node.content, node.size) = (Some(content), size);
    (node.uid, node.gid) = (run.request.uid, run.request.gid);
    let mut text = Vec::new();
    node.append_json(&mut text);
    let folder = Folder::new(None, None, false);
    folder.push(Text::Own(text));
    folder.close();
    run.counters.add_file(size);
    run.tally.files.add(Fate::New);
    kit.finish_folder(run, folder.into()).map_err(|_| SaveError::Stopped)
}

/// As restic records standard input.
fn file(name: &str, time: FileTime) -> Node {
    let mut node = Node::bare(OsString::from(name), NodeKind::File);
    node.mode = crate::tree::GoMode::new(NodeKind::File, 0o644);
    (node.mtime, node.atime, node.ctime) = (time, time, time);
    node
}
