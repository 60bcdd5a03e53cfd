//! Reads files: several threads, each with one file in hand.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};

use super::folder::{Place, Text};
use super::run::{ContentError, Fate, Kit, Run, Stopped};
use super::{Why, details, system};
use crate::tree::{Node, NodeKind};

/// A file that is to be read.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) place: Place,
    pub(super) folder: Arc<OwnedFd>,
    pub(super) name: OsString,
    /// For people.
    pub(super) path: Vec<u8>,
    /// Whether the earlier snapshot has a file there.
    pub(super) was_known: bool,
}

/// Works until no more jobs come.
pub(super) fn work(run: &Run<'_>, jobs: &Mutex<Receiver<Job>>) {
    let mut kit = match Kit::new(run.repository) {
        Ok(kit) => Some(kit),
        Err(error) => {
            run.fail(error);
            None
        }
    };
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        // What is left of a run that is given up is taken and dropped, so that the walk does not wait for room.
        if let Some(kit) = kit.as_mut().filter(|_| !run.is_stopped()) {
            // The run knows why, and every thread sees that it has stopped.
            let _stopped: Result<(), Stopped> = save_file(run, kit, &job);
        }
    }
}

fn save_file(run: &Run<'_>, kit: &mut Kit<'_>, job: &Job) -> Result<(), Stopped> {
    run.pace(0)?;
    let text = match read_file(run, kit, job) {
        Ok(node) => {
            run.counters.add_file(node.size);
            run.tally.files.add(if job.was_known { Fate::Changed } else { Fate::New });
            let mut text = Vec::new();
            node.append_json(&mut text);
            Text::Own(text)
        }
        Err(ContentError::Read(error)) => {
            run.add_unread(&job.path, Why::of(&error));
            Text::Gone
        }
        Err(ContentError::Stopped) => return Err(Stopped),
    };
    if job.place.fill(text) { kit.finish_folder(run, Arc::clone(&job.place.folder)) } else { Ok(()) }
}

fn read_file(run: &Run<'_>, kit: &mut Kit<'_>, job: &Job) -> Result<Node, ContentError> {
    let file = system::open_file(&job.folder, &job.name).map_err(ContentError::Read)?;
    // Before the details, which are those that the next run compares: a change while this one reads is seen then.
    let clock = system::file_clock();
    let before = system::stat_open(&file).map_err(ContentError::Read)?;
    if details::kind(&before) != NodeKind::File {
        return Err(ContentError::Read(io::Error::other("it is no longer a regular file")));
    }
    let mut node = details::node(job.name.clone(), &before, run.recording);
    node.extended_attributes = system::attributes(&file).map_err(ContentError::Read)?;
    let mut source = system::Content::new(file, details::has_holes(&before));
    let (content, size) = kit.save_content(run, &mut source)?;
    let after = system::stat_open(source.file()).map_err(ContentError::Read)?;
    let is_changed = (details::mtime(&before), details::ctime(&before))
        != (details::mtime(&after), details::ctime(&after))
        || size != details::size(&before);
    if is_changed {
        run.add_unread(&job.path, Why::Changed);
    }
    if node.ctime >= clock {
        // A change within the same step of the clock would leave no trace: recorded as older than it is, the file is
        // read again by the next run.
        node.ctime = node.ctime.step_back();
    }
    node.content = Some(content);
    node.size = size;
    Ok(node)
}
