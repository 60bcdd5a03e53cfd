//! What the program works with: where policies and keys are, how a repository is opened, and who is told.

use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use campanile_backup::backend::{Backend, ObjectKind};
use campanile_backup::lock::{Holder, SharedLock};
use campanile_backup::repository::{Repository, RepositoryError};
use campanile_backup::tree::FileTime;
use campanile_common::api::{BackupFigures, BackupLine, BackupResult, BackupVerb};
use campanile_common::backup::{POLICY_BYTES_MAX, PolicyName};

use super::error::BackupError;
use super::job::Job;
use super::key::{KeyError, Keys};
use super::limit::Limited;
use super::output::Output;
use super::remote::Patience;
use super::target::{Connect, ConnectTo, Target};
use crate::os::stopwatch::Stopwatch;
use crate::os::{clock, file, folder, user};

const POLICY_ENDING: &str = ".json";

/// Where everything is that belongs to this node's backups.
pub struct Place {
    /// Policies, keys and locks.
    pub folder: PathBuf,
    /// The key to which this node's master keys are sealed.
    pub sealing_key: PathBuf,
    /// What this node is called.
    pub node: String,
    /// The way to the aggregator's store.
    pub connect: Box<Connect>,
    /// The way to what another node stored there.
    pub connect_to: Box<ConnectTo>,
    /// What makes this machine this node: nothing that another node saved takes its place.
    pub own: Vec<PathBuf>,
    /// A save confines itself.
    pub is_confined: bool,
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Place")
            .field("folder", &self.folder)
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}

/// Which repository is meant.
#[derive(Debug, Clone, Default)]
pub struct Of {
    /// That of this policy: its name, or its file.
    pub policy: Option<String>,
    /// The one there.
    pub target: Option<String>,
}

/// The program at work.
pub(super) struct Program {
    pub(super) place: Place,
    pub(super) output: Arc<Output>,
    pub(super) watch: Stopwatch,
    stop: Arc<AtomicBool>,
}

/// What was done.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) result: BackupResult,
    pub(super) repository: String,
    pub(super) snapshot: Option<String>,
    pub(super) figures: BackupFigures,
}

impl Program {
    pub(super) fn new(place: Place, output: Output, stop: Arc<AtomicBool>) -> Self {
        Self { place, output: Arc::new(output), watch: Stopwatch::start(), stop }
    }

    /// Whether it was told to stop.
    pub(super) fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// How long it has been at work.
    pub(super) fn elapsed(&self) -> Duration {
        self.watch.elapsed()
    }

    pub(super) fn started(&self, verb: BackupVerb, policy: Option<&PolicyName>, target: &Target) {
        let (policy, target) = (policy.map(PolicyName::to_string), target.to_string());
        self.output.line(&BackupLine::Started { verb, policy, target, time: clock::now() });
    }

    /// A policy by its name or its file.
    pub(super) fn job(&self, policy: &str) -> Result<Job, BackupError> {
        let is_file = policy.contains('/') || policy.ends_with(POLICY_ENDING);
        let path = if is_file {
            PathBuf::from(policy)
        } else {
            self.policies().join(format!("{policy}{POLICY_ENDING}"))
        };
        let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        match file::read_secret(&path, POLICY_BYTES_MAX as u64) {
            Ok(Some(json)) => Job::parse(&json, &stem).map_err(|source| BackupError::Job { path, source }),
            Ok(None) => Err(BackupError::NoPolicy { name: policy.to_owned(), path }),
            Err(source) => Err(BackupError::Read { path, source }),
        }
    }

    fn policies(&self) -> PathBuf {
        self.place.folder.join("policies")
    }

    /// The place of the repository that is meant, and of which policy. Without a word, the one that all policies of
    /// this node have.
    pub(super) fn target(&self, of: &Of) -> Result<(Target, Option<Job>), BackupError> {
        if let Some(target) = &of.target {
            return Ok((self.named(target)?, None));
        }
        if let Some(policy) = &of.policy {
            let job = self.job(policy)?;
            return Ok((job.target.clone(), Some(job)));
        }
        let mut targets = self.targets()?;
        let count = targets.len();
        match targets.pop() {
            Some(target) if count == 1 => Ok((target, None)),
            _ => Err(BackupError::Ambiguous(count)),
        }
    }

    /// Where the policies of this node save to.
    pub(super) fn targets(&self) -> Result<Vec<Target>, BackupError> {
        let path = self.policies();
        let names = folder::names(&path).map_err(|source| BackupError::Read { path, source })?;
        let mut targets = Vec::new();
        for name in names.iter().filter_map(|name| name.strip_suffix(POLICY_ENDING)) {
            let target = self.job(name)?.target;
            if !targets.contains(&target) {
                targets.push(target);
            }
        }
        Ok(targets)
    }

    /// The place of this name, entered as a policy of this node has it where there is one.
    fn named(&self, text: &str) -> Result<Target, BackupError> {
        let path = self.policies();
        let names = folder::names(&path).map_err(|source| BackupError::Read { path, source })?;
        let jobs = names.iter().filter_map(|name| self.job(name.strip_suffix(POLICY_ENDING)?).ok());
        match jobs.map(|job| job.target).find(|target| target.to_string() == text) {
            Some(target) => Ok(target),
            None => Ok(Target::read(text)?),
        }
    }

    /// How long places on other machines are waited for.
    fn patience(&self) -> Patience {
        let output = Arc::clone(&self.output);
        Patience::new(Arc::new(move |text| output.problem(text)), Arc::clone(&self.stop))
    }

    pub(super) fn keys(&self) -> Result<Keys, KeyError> {
        Keys::open(&self.place.folder, &self.place.sealing_key)
    }

    /// A repository that is there.
    pub(super) fn open(&self, target: &Target) -> Result<Repository, BackupError> {
        let keys = self.keys()?;
        let backend = target.open(&*self.place.connect, self.patience(), false)?;
        if backend.list(ObjectKind::Config)?.is_empty() {
            return Err(RepositoryError::NoRepository.into());
        }
        let lost = || KeyError::Lost { path: keys.path(target, "key") };
        let key = keys.load(target)?.ok_or_else(lost)?;
        Repository::open(backend, key).map_err(|error| BackupError::of_opening(error, target))
    }

    /// The repository that is saved to, made when it is not there. Its key is durable first. Whoever proves what is there
    /// uses [`Program::open`], which reads no copies.
    pub(super) fn open_or_make(
        &self,
        target: &Target,
        write_limit: Option<NonZeroU64>,
    ) -> Result<Repository, BackupError> {
        let keys = self.keys()?;
        let backend = target.open(&*self.place.connect, self.patience(), true)?;
        let backend: Arc<dyn Backend> = match write_limit {
            Some(limit) => Arc::new(Limited::new(backend, limit)),
            None => backend,
        };
        let backend = self.with_copies(backend, target)?;
        let key = match keys.load(target)? {
            Some(key) => key,
            None if backend.list(ObjectKind::Config)?.is_empty() => keys.load_or_make(target)?,
            // Unless another process has just made both.
            None => keys.load(target)?.ok_or_else(|| KeyError::Lost { path: keys.path(target, "key") })?,
        };
        let opened = match Repository::open(Arc::clone(&backend), key.clone()) {
            Err(RepositoryError::NoRepository) => match Repository::create(Arc::clone(&backend), key.clone())
            {
                Err(RepositoryError::Exists) => Repository::open(backend, key),
                made => made,
            },
            opened => opened,
        };
        opened.map_err(|error| BackupError::of_opening(error, target))
    }

    /// Keeps others from removing what is being used, where the target has locks.
    pub(super) fn lock(
        &self,
        repository: &Repository,
        target: &Target,
    ) -> Result<Option<SharedLock>, BackupError> {
        let take = || SharedLock::take(repository, self.holder(), file_time());
        Ok(target.has_locks().then(take).transpose()?)
    }

    /// Who takes locks here.
    pub(super) fn holder(&self) -> Holder {
        let own = user::own();
        Holder {
            hostname: self.place.node.clone(),
            username: own.name,
            pid: u32::try_from(rustix::process::getpid().as_raw_nonzero().get()).unwrap_or(0),
            uid: own.uid,
            gid: own.gid,
        }
    }

    /// Takes one of this node's own locks; held until it is dropped.
    pub(super) fn hold(&self, name: &str) -> Result<folder::Held, BackupError> {
        self.hold_within(name, Duration::ZERO)
    }

    /// The same, after waiting so long at most for whoever has it.
    pub(super) fn hold_within(&self, name: &str, patience: Duration) -> Result<folder::Held, BackupError> {
        let failed = |doing| move |source| BackupError::Io { doing, source };
        folder::make_private(&self.place.folder).map_err(failed("make the folder of backups"))?;
        let path: &Path = &self.place.folder.join(name);
        folder::lock_within(path, patience)
            .map_err(failed("lock the folder of backups"))?
            .ok_or(BackupError::Busy)
    }
}

/// The time, for snapshots and locks.
pub(super) fn file_time() -> FileTime {
    let millis = clock::now().as_millis();
    FileTime {
        seconds: i64::try_from(millis / 1000).unwrap_or(i64::MAX),
        nanoseconds: u32::try_from(millis % 1000 * 1_000_000).unwrap_or(0),
    }
}
