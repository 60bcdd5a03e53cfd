//! Composes the backup program: where its files are, what this node is called, and how the store is reached.

use campanile_backup::backend::BackendError;

use crate::backup::task::{self, Work};
use crate::backup::{Of, Place, Wanted};
use crate::cli::{BackupWork, RepositoryArgs};
use crate::config::sealing;
use crate::config::state::{self, State};
use crate::identity::Identity;
use crate::settings::Settings;

/// Policies, keys and locks, in the steward's state folder.
const FOLDER: &str = "backup";

/// Does it; the exit code.
pub(super) fn run(work: BackupWork, settings: &Settings) -> u8 {
    let place = Place {
        folder: settings.steward.state_dir.join(FOLDER),
        sealing_key: state::folder_of(&settings.steward.state_dir).join(sealing::KEY_FILE),
        node: node_name(settings),
        connect: Box::new(|| Err(no_store())),
    };
    task::run(&of_cli(work), place)
}

fn no_store() -> BackendError {
    BackendError::Unreachable(
        "this agent knows no way to it; give the policy a target `dir:/path`".to_owned(),
    )
}

/// What the aggregator calls this node; where it was never told, what it was enrolled as, or its host name.
fn node_name(settings: &Settings) -> String {
    let told = State::load(&state::folder_of(&settings.steward.state_dir)).ok().and_then(|state| state.told);
    let enrolled = || Identity::load(&settings.state_dir).ok().map(|identity| identity.name);
    let host = || rustix::system::uname().nodename().to_string_lossy().into_owned();
    told.map(|told| told.name).or_else(enrolled).unwrap_or_else(host)
}

fn of_cli(work: BackupWork) -> Work {
    match work {
        BackupWork::Run { policy } => Work::Run(policy),
        BackupWork::List { of } => Work::List(repository(of)),
        BackupWork::Restore { snapshot, paths, to, in_place: _, of } => {
            Work::Restore(repository(of), Wanted { snapshot, to, paths })
        }
        BackupWork::Check { share, of } => Work::Check(repository(of), share),
        BackupWork::Drill { policy } => Work::Drill(policy),
        BackupWork::Key { of } => Work::Key(repository(of)),
    }
}

fn repository(of: RepositoryArgs) -> Of {
    Of { policy: of.policy, target: of.target }
}
