//! Saves the files of a machine, or what a command writes, into a snapshot.
//!
//! One thread walks the folders, several read files; each blob is made by whichever thread has its bytes. What is
//! unchanged since an earlier snapshot is not read. A file that cannot be read, or that changes meanwhile, does not end
//! the run: it is recorded and the outcome is partial.
//!
//! Memory: per reading thread a chunk and its compressed form, the packs of the writer, a queue of [`JOBS_MAX`] files,
//! and the text of the trees from the root to where the walk is. Beside them the index: 70 bytes for each blob that is
//! there, 50 for each that is new.

mod details;
mod earlier;
mod folder;
mod known;
mod needs;
mod owner;
mod progress;
mod resume;
mod root;
mod rules;
mod run;
mod stream;
mod system;
#[cfg(test)]
mod tests;
mod throttle;
mod unchanged;
mod walk;
mod worker;

use std::io;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};
use std::thread;

pub use progress::{Counters, Flow, Progress};
pub use resume::adopt;
pub use root::RootError;
pub use rules::{Marker, PatternError, Rules};
pub use stream::stream;

use self::details::Recording;
use self::run::{Kit, Run, Seen};
use self::walk::Walk;
use crate::id::ObjectId;
use crate::repository::{Repository, RepositoryError};
use crate::snapshot::{Snapshot, Summary};
use crate::tree::FileTime;
use crate::writer::{Writer, Written};

/// Files that wait for a reader. Full means that reading is slower than walking: the walk waits.
const JOBS_MAX: usize = 64;
/// Paths that an outcome names; further ones are counted.
const UNREAD_MAX: usize = 1000;
/// Reading threads, when nothing else is said.
const WORKERS: NonZeroUsize = NonZeroUsize::new(2).expect("two is not zero");

/// What is to be saved, and how.
#[derive(Debug, Clone)]
pub struct Request {
    /// Absolute paths.
    pub roots: Vec<PathBuf>,
    /// What is left out.
    pub rules: Rules,
    /// Of the machine.
    pub hostname: String,
    /// Who runs it.
    pub username: String,
    /// Who runs it.
    pub uid: u32,
    /// Who runs it.
    pub gid: u32,
    /// Of the snapshot.
    pub tags: Vec<String>,
    /// What a store that decides by itself what may go judges the snapshot by, see [`Backend::append`].
    ///
    /// [`Backend::append`]: crate::backend::Backend::append
    pub label: Option<String>,
    /// When the run began: the time of the snapshot.
    pub time: FileTime,
    /// What tells which files are unchanged.
    pub parent: Parent,
    /// Whether times of last access are recorded; they make every folder that was read a changed one.
    pub with_atime: bool,
    /// Makes no snapshot where all is as in the parent: [`SaveError::Unchanged`].
    pub only_changes: bool,
    /// No more is read than this.
    pub bytes_per_second: Option<NonZeroU64>,
    /// Threads that read.
    pub workers: NonZeroUsize,
    /// Name and version of what saves.
    pub program_version: String,
}

/// The snapshot that tells which files are unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Parent {
    /// The newest of the same machine and roots.
    #[default]
    Newest,
    /// This one.
    Snapshot(ObjectId),
    /// None: every file is read.
    None,
}

impl Request {
    /// To save `roots` of the machine `hostname` with nothing left out.
    pub fn new(roots: Vec<PathBuf>, hostname: String, time: FileTime) -> Self {
        Self {
            roots,
            rules: Rules::default(),
            hostname,
            username: String::new(),
            uid: 0,
            gid: 0,
            tags: Vec::new(),
            label: None,
            time,
            parent: Parent::Newest,
            with_atime: false,
            only_changes: false,
            bytes_per_second: None,
            workers: WORKERS,
            program_version: concat!("campanile ", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

/// A snapshot that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Its name.
    pub snapshot: ObjectId,
    /// Its tree.
    pub tree: ObjectId,
    /// The snapshot that told what is unchanged.
    pub parent: Option<ObjectId>,
    /// What was seen and done.
    pub summary: Summary,
    /// What could not be read as it should, by path; the first of them, when there are many.
    pub unread: Vec<Unread>,
    /// How many those are in all.
    pub unread_count: u64,
    /// Packs of a run that was cut, which this one went on with.
    pub adopted: Vec<ObjectId>,
    /// What was stored.
    pub written: Written,
}

impl Outcome {
    /// Whether something is missing from the snapshot or is not as it was at one moment.
    pub fn is_partial(&self) -> bool {
        self.unread_count > 0
    }
}

/// A file or folder that could not be read as it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    /// Which.
    pub path: PathBuf,
    /// Why.
    pub why: Why,
}

/// Why something could not be read as it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// It is not there any more, or never was. It is not in the snapshot.
    #[error("is not there")]
    Missing,
    /// It changed while it was read. The snapshot has what was read.
    #[error("changed while it was read")]
    Changed,
    /// It may not or cannot be read. It is not in the snapshot.
    #[error("cannot be read: {0}")]
    Unreadable(String),
}

impl Why {
    fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Missing,
            _ => Self::Unreadable(error.to_string()),
        }
    }
}

/// No snapshot was made.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// The repository cannot be read or written.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// A root that cannot be one.
    #[error(transparent)]
    Root(#[from] RootError),
    /// Not one of the roots can be read; the reason for the first is given.
    #[error("none of the paths can be read: {} {}", .0.path.display(), .0.why)]
    NoRoot(Unread),
    /// A name for a stream that is no name of a file.
    #[error("`{0}` cannot be the name of a file: give one without slashes")]
    Name(String),
    /// A stream could not be read to its end, or what wrote it failed.
    #[error("what was to be saved did not end well")]
    Stream(#[source] io::Error),
    /// Nothing changed since the parent, and only changes were asked for.
    #[error("nothing changed since the last snapshot")]
    Unchanged,
    /// It was asked to stop.
    #[error("the save was stopped before its end")]
    Stopped,
}

/// Saves files into a snapshot.
///
/// # Errors
/// When the repository cannot be read or written, when there is nothing to save, or when it was stopped. There is no
/// snapshot then; what was stored is found by the next run.
pub fn run(
    repository: &Repository,
    request: &Request,
    progress: &dyn Progress,
) -> Result<Outcome, SaveError> {
    let branch = root::plan(&request.roots)?;
    let paths: Vec<String> = request.roots.iter().map(|root| root.to_string_lossy().into_owned()).collect();
    let mut index = repository.load_index()?;
    let adopted = adopt(repository, &mut index)?;
    let earlier = earlier::choose(repository, request, &paths)?;
    let parent = earlier.as_ref().map(|(id, _)| *id);
    let owners = system::owners();
    let recording = Recording { owners: &owners, with_atime: request.with_atime };
    let writer = Writer::new(repository);
    let run = Run::new(repository, &index, &writer, request, progress, recording);
    let before = earlier.map(|(_, snapshot)| snapshot.tree);
    let walked = walk(&run, branch, before);
    let (root, seen) = run.end();
    // First of all why storing stopped, if it did.
    let written = writer.finish()?;
    let tree = root?;
    if walked == 0 {
        let first = seen.unread.into_iter().next();
        return Err(SaveError::NoRoot(first.unwrap_or(Unread { path: "/".into(), why: Why::Missing })));
    }
    let roots = || request.roots.iter().map(PathBuf::as_path);
    if request.only_changes
        && let Some(before) = before
        && seen.unread.is_empty()
        && unchanged::is_same(repository, before, tree, roots())?
    {
        return Err(SaveError::Unchanged);
    }
    conclude(repository, request, Saved { paths, parent, tree, seen, adopted, written })
}

/// How many roots are there.
fn walk(run: &Run<'_>, branch: root::Branch, earlier: Option<ObjectId>) -> u64 {
    let mut kit = match Kit::new(run.repository) {
        Ok(kit) => kit,
        Err(error) => {
            run.fail(error);
            return 0;
        }
    };
    let devices = run.request.roots.iter().filter_map(|root| system::device(root)).collect();
    let (jobs, received) = sync_channel(JOBS_MAX);
    let received = Arc::new(Mutex::new(received));
    thread::scope(|scope| {
        for _ in 0..run.request.workers.get() {
            let received = Arc::clone(&received);
            scope.spawn(move || worker::work(run, &received));
        }
        // Theirs alone: when all have ended, the walk does not wait for them.
        drop(received);
        let mut walk = Walk::new(run, jobs, devices);
        // The run knows why it stopped.
        let _stopped = walk.walk(&mut kit, branch, earlier);
        walk.roots
    })
}

/// A run whose blobs are all stored.
struct Saved {
    paths: Vec<String>,
    parent: Option<ObjectId>,
    tree: ObjectId,
    seen: Seen,
    adopted: Vec<ObjectId>,
    written: Written,
}

/// Writes its snapshot.
fn conclude(repository: &Repository, request: &Request, saved: Saved) -> Result<Outcome, SaveError> {
    let Saved { paths, parent, tree, seen, adopted, written } = saved;
    let Seen { counters, tally, needed: mut packs, unread } = seen;
    packs.extend(&written.needed);
    let [files_new, files_changed, files_unmodified] = tally.files.all();
    let [dirs_new, dirs_changed, dirs_unmodified] = tally.folders.all();
    let summary = Summary {
        backup_start: request.time,
        backup_end: system::now().max(request.time),
        files_new,
        files_changed,
        files_unmodified,
        dirs_new,
        dirs_changed,
        dirs_unmodified,
        data_blobs: written.data_blobs,
        tree_blobs: written.tree_blobs,
        data_added: written.plain_bytes,
        data_added_packed: written.stored_bytes,
        total_files_processed: counters.files(),
        total_bytes_processed: counters.bytes(),
    };
    let snapshot = Snapshot {
        time: request.time,
        parent,
        tree,
        paths,
        hostname: request.hostname.clone(),
        username: request.username.clone(),
        uid: request.uid,
        gid: request.gid,
        excludes: request.rules.texts().map(|text| String::from_utf8_lossy(text).into_owned()).collect(),
        tags: request.tags.clone(),
        original: None,
        program_version: request.program_version.clone(),
        summary: Some(summary.clone()),
    };
    let sealed = repository.seal_document(&snapshot)?;
    let id = ObjectId::of(&sealed);
    let backend = repository.backend();
    backend.append(id, &sealed, &packs, request.label.as_deref()).map_err(RepositoryError::from)?;
    let unread_count = counters.unread();
    Ok(Outcome { snapshot: id, tree, parent, summary, unread, unread_count, adopted, written })
}
