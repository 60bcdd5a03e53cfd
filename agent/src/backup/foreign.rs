//! `backup restore --from-node`: files that another node saved, restored here.
//!
//! The key of that node's repository comes with the order, sealed to this node's sealing key: it is opened in memory and
//! is gone with this program. The store gives that node's objects out only while the order is at work.

use std::path::Path;
use std::sync::Arc;

use campanile_backup::backend::{Backend, BackendError, Object, ObjectKind};
use campanile_backup::choose::{self, Filter, Which};
use campanile_backup::id::ObjectId;
use campanile_backup::key_file::KeyFile;
use campanile_backup::repository::{Repository, RepositoryError};
use campanile_backup::restore::Request;
use campanile_common::api::{BackupLine, BackupResult, BackupVerb};
use campanile_common::backup::PolicyName;
use campanile_common::id::{Digest, NodeId};
use serde::Deserialize;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::error::BackupError;
use super::key::{KeyError, open_sealed};
use super::pace::Pace;
use super::place::{Done, Program};
use super::restore::{Wanted, figures};
use crate::os::{clock, folder};

/// What a command finds that looks at what was restored in place.
const ROOT: &str = "/";

/// What another node saved.
#[derive(Debug, Clone)]
pub struct Foreign {
    /// Which node.
    pub source: NodeId,
    /// Its policy.
    pub policy: PolicyName,
    /// Ways into its repository, sealed to this node.
    pub sealed: Vec<u8>,
    /// Have this node's own policy of that name say whether it is right.
    pub is_tried: bool,
}

/// A way into a repository: a key file and its password.
#[derive(Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
struct WayIn {
    #[zeroize(skip)]
    key: Digest,
    password: String,
}

impl Program {
    pub(super) fn restore_from(&self, from: &Foreign, wanted: &Wanted) -> Result<Done, BackupError> {
        let Foreign { source, policy, .. } = from;
        self.output.line(&BackupLine::Started {
            verb: BackupVerb::Restore,
            policy: Some(policy.to_string()),
            target: format!("aggregator, node {source}"),
            time: clock::now(),
        });
        let repository = self.open_foreign(from)?;
        let filter = Filter { tags: vec![policy.tag()], ..Filter::default() };
        let snapshots = repository.snapshots()?;
        let (id, snapshot) = choose::choose(&snapshots, &Which::parse(&wanted.snapshot), &filter)?.clone();
        let mut request = Request::new(wanted.to.clone().unwrap_or_else(|| ROOT.into()));
        request.only.clone_from(&wanted.paths);
        match &wanted.to {
            Some(to) => {
                folder::make_empty(to).map_err(|source| BackupError::Folder { path: to.clone(), source })?;
            }
            None => request.excludes.extend(self.place.own.iter().map(|path| literal(path.as_path()))),
        }
        let outcome = self.restore_into(&repository, &snapshot, &request, &Pace::new(self, None))?;
        let is_fine = !from.is_tried || self.is_found_right(policy, id, wanted.to.as_deref())?;
        let result = match (is_fine, outcome.is_complete()) {
            (false, _) => BackupResult::Failed,
            (true, false) => BackupResult::Partial,
            (true, true) => BackupResult::Ok,
        };
        let (repository, figures) = (repository.config().id.to_string(), figures(&outcome));
        Ok(Done { result, repository, snapshot: Some(id.to_string()), figures })
    }

    /// The first way in that opens it: a node may have stored key files of which one is none.
    fn open_foreign(&self, from: &Foreign) -> Result<Repository, BackupError> {
        let opened = open_sealed(&self.place.sealing_key, &from.sealed)?;
        let ways: Vec<WayIn> = serde_json::from_slice(&opened).map_err(|_| KeyError::NoWays)?;
        let backend = (self.place.connect_to)(from.source)?;
        if backend.list(ObjectKind::Config)?.is_empty() {
            return Err(RepositoryError::NoRepository.into());
        }
        let mut last = BackupError::from(KeyError::NoWays);
        for way in &ways {
            match enter(&backend, way) {
                Ok(repository) => return Ok(repository),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Whether the command says so by which drills of this node's own policy are judged. Without one nothing is said
    /// against it.
    fn is_found_right(
        &self,
        policy: &PolicyName,
        snapshot: ObjectId,
        to: Option<&Path>,
    ) -> Result<bool, BackupError> {
        let job = match self.job(policy.as_str()) {
            Ok(job) => job,
            Err(BackupError::NoPolicy { .. }) => {
                let message =
                    format!("this node has no policy `{policy}`: no command looked at what was restored");
                self.output.problem(message);
                return Ok(true);
            }
            Err(error) => return Err(error),
        };
        let folder = to.unwrap_or(Path::new(ROOT)).to_string_lossy().into_owned();
        let Some(argv) = job.drill_command(&folder) else { return Ok(true) };
        let environment = [("CAMPANILE_DRILL", folder), ("CAMPANILE_SNAPSHOT", snapshot.to_string())];
        Ok(self.run_hook(&job, "drill", &argv, &environment).is_ok())
    }
}

fn enter(backend: &Arc<dyn Backend>, way: &WayIn) -> Result<Repository, BackupError> {
    let object = Object::new(ObjectKind::Key, ObjectId(*way.key.as_bytes()));
    let bytes = backend.get(object, None)?;
    if ObjectId::of(&bytes) != object.id {
        return Err(BackendError::Missing(object).into());
    }
    let master = KeyFile::from_json(&bytes)?.open(way.password.as_bytes())?;
    Ok(Repository::open(Arc::clone(backend), master)?)
}

/// A pattern that matches this path and no other: what stands for more in one matches one byte at most.
fn literal(path: &Path) -> String {
    path.to_string_lossy().replace('*', "?")
}
