//! Composes the backup program: where its files are, what this node is called, and how the store is reached.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use campanile_backup::backend::{Backend, BackendError};
use campanile_common::api::{EXIT_BACKUP_FAILED, EXIT_BACKUP_FINE};
use campanile_common::id::NodeId;

use crate::backup::ledger::{Ledger, LedgerError};
use crate::backup::runs::{Runs, StartedBy};
use crate::backup::task::{self, Work};
use crate::backup::{Dumped, Foreign, Manner, Of, Place, Wanted, table, watch};
use crate::cli::{BackupWork, RepositoryArgs, RunsOutput};
use crate::config::sealing;
use crate::config::state::{self, State};
use crate::identity::{Identity, tls};
use crate::link::{LinkIdentity, LinkWays, StoreBackend};
use crate::os::clock;
use crate::settings::{SETTINGS_PATH, Settings};

/// Policies, keys and locks, in the steward's state folder.
const FOLDER: &str = "backup";
/// How long one request waits for an aggregator that is away: a backup outlives its restart, and a long one of its
/// machine.
const STORE_PATIENCE: Duration = Duration::from_secs(2 * 3600);

/// Most of what an order brings on standard input: sealed ways into a repository have 2 KiB.
const INPUT_BYTES_MAX: u64 = 64 * 1024;

/// Does it; the exit code.
pub(super) fn run(work: BackupWork, settings: &Settings) -> u8 {
    let place = place(settings);
    let work = match work {
        BackupWork::Runs { output } => return show_runs(&place.folder, output),
        BackupWork::Watch { policy } => return watch::run(&policy, place),
        BackupWork::Run { policy, scheduled, if_changed } => {
            Work::Run(policy, Manner { by: started_by(scheduled), only_changes: if_changed })
        }
        BackupWork::List { files: None, path: _, of } => Work::List(repository(of)),
        BackupWork::List { files: Some(snapshot), path, of } => Work::Files(repository(of), snapshot, path),
        BackupWork::Diff { before, after, of } => Work::Diff(repository(of), before, after),
        BackupWork::Restore { snapshot, paths, to, in_place: _, from_node, is_tried, of } => {
            let wanted = Wanted { snapshot, to, paths };
            match (from_node, of.policy.as_deref().map(str::parse)) {
                (Some(source), Some(Ok(policy))) => {
                    let foreign = Foreign { source, policy, sealed: standard_input(), is_tried };
                    Work::RestoreFrom(foreign, wanted)
                }
                (Some(_), _) => {
                    eprintln!("campanile-agent: --from-node needs the name of a policy");
                    return EXIT_BACKUP_FAILED;
                }
                (None, _) => Work::Restore(repository(of), wanted),
            }
        }
        BackupWork::Dump { snapshot, path, recipient, most, of } => {
            Work::Dump(repository(of), Dumped { snapshot, path, recipient, most })
        }
        BackupWork::Check { share, scheduled, of } => {
            Work::Check(repository(of), share, started_by(scheduled))
        }
        BackupWork::Drill { policy, scheduled } => Work::Drill(policy, started_by(scheduled)),
        BackupWork::Key { of } => Work::Key(repository(of)),
    };
    task::run(&work, place)
}

fn place(settings: &Settings) -> Place {
    let (own, other) = (settings.clone(), settings.clone());
    let settings_dir = Path::new(SETTINGS_PATH).parent().map(Path::to_owned);
    let kept = [settings.state_dir.clone(), settings.steward.state_dir.clone(), settings.policy.clone()];
    Place {
        folder: settings.steward.state_dir.join(FOLDER),
        sealing_key: state::folder_of(&settings.steward.state_dir).join(sealing::KEY_FILE),
        node: node_name(settings),
        connect: Box::new(move || connect(&own, None)),
        connect_to: Box::new(move |source| connect(&other, Some(source))),
        own: kept.into_iter().chain(settings_dir).collect(),
        is_confined: settings.is_confined,
    }
}

/// What an order brought. Nothing, where it cannot be read: then it opens nothing, which is said.
fn standard_input() -> Vec<u8> {
    let mut input = Vec::new();
    match std::io::stdin().take(INPUT_BYTES_MAX).read_to_end(&mut input) {
        Ok(_) => input,
        Err(_) => Vec::new(),
    }
}

/// A guard tells what it runs of which order that is.
fn started_by(is_scheduled: bool) -> StartedBy {
    match (is_scheduled, std::env::var_os("CAMPANILE_ORDER")) {
        (true, _) => StartedBy::Schedule,
        (false, Some(_)) => StartedBy::Order,
        (false, None) => StartedBy::Hand,
    }
}

/// What ran on this node; the exit code.
fn show_runs(folder: &Path, output: RunsOutput) -> u8 {
    match (Ledger::new(folder).read(), output) {
        (Ok(runs), RunsOutput::Text) => print!("{}", table(&runs, clock::now())),
        (Ok(runs), RunsOutput::Json) => {
            println!("{}", serde_json::to_string_pretty(&runs).expect("a record has no odd keys"));
        }
        (Err(error), _) => {
            eprintln!("campanile-agent: {error}");
            return EXIT_BACKUP_FAILED;
        }
    }
    EXIT_BACKUP_FINE
}

/// What ran on this node, for `doctor`.
pub(super) fn runs(settings: &Settings) -> Result<Runs, LedgerError> {
    Ledger::new(&settings.steward.state_dir.join(FOLDER)).read()
}

fn connect(settings: &Settings, source: Option<NodeId>) -> Result<Arc<dyn Backend>, BackendError> {
    let opened = super::ways::link_ways(settings)
        .and_then(|ways| open_store(&settings.state_dir, ways, STORE_PATIENCE));
    match opened {
        Ok(backend) => Ok(match source {
            Some(source) => Arc::new(backend.reading(source)),
            None => Arc::new(backend),
        }),
        Err(error) => Err(BackendError::Unreachable(format!("{error:#}"))),
    }
}

/// This node's backup store. The identity is read before each dial, as `run` renews it; `patience` is how long one
/// request may wait for an aggregator that is away.
///
/// # Errors
/// When the node is not enrolled, or its identity cannot be used.
pub fn store_backend(state_dir: &Path, patience: Duration) -> anyhow::Result<StoreBackend> {
    open_store(state_dir, LinkWays::default(), patience)
}

fn open_store(state_dir: &Path, ways: LinkWays, patience: Duration) -> anyhow::Result<StoreBackend> {
    // Told now, and not as a store that cannot be reached.
    link_identity(state_dir)?;
    let state_dir: PathBuf = state_dir.to_owned();
    let identity = move || link_identity(&state_dir).map_err(|error| format!("{error:#}"));
    StoreBackend::new(Box::new(identity), ways, patience).context("cannot use the backup store")
}

fn link_identity(state_dir: &Path) -> anyhow::Result<LinkIdentity> {
    let identity = Identity::load(state_dir)?;
    Ok(LinkIdentity {
        fleet: identity.fleet,
        node: identity.node,
        addresses: identity.addresses.clone(),
        tls: Arc::new(tls::store_config(&identity)?),
        authority_version: identity.authority()?.document().version,
    })
}

/// What the aggregator calls this node; where it was never told, what it was enrolled as, or its host name.
fn node_name(settings: &Settings) -> String {
    let told = State::load(&state::folder_of(&settings.steward.state_dir)).ok().and_then(|state| state.told);
    let enrolled = || Identity::load(&settings.state_dir).ok().map(|identity| identity.name);
    let host = || rustix::system::uname().nodename().to_string_lossy().into_owned();
    told.map(|told| told.name).or_else(enrolled).unwrap_or_else(host)
}

fn repository(of: RepositoryArgs) -> Of {
    Of { policy: of.policy, target: of.target }
}
