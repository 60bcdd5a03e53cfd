//! Backups of the aggregator itself: the commands, and what the task needs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use campanile_common::api::AuditOutcome;
use campanile_common::fleet::FleetFile;
use campanile_common::time::Timestamp;
use tokio::sync::watch;

use super::{OwnState, Stored};
use crate::audit::{Audit, Record};
use crate::authority::AuthorityChain;
use crate::cli::Restore;
use crate::event::Events;
use crate::identity::Ca;
use crate::node::Restored;
use crate::os::clock::Clock;
use crate::os::settings_file;
use crate::self_backup::{self, Figures, Manifest, Receipts, SelfBackupTask, Sources, Staged, Target};
use crate::settings::{SETTINGS_PATH, Settings};
use crate::state::Committed;

fn sources(settings: &Settings, config: Option<&Path>) -> Sources {
    // Settings that cannot be listed were not read either: there are none then.
    let files = settings_file::files(config.unwrap_or(Path::new(SETTINGS_PATH))).unwrap_or_default();
    Sources {
        state_dir: settings.state_dir.clone(),
        backup_dir: settings.backup.dir.clone(),
        settings: files,
    }
}

/// The task of the schedule.
pub(super) fn open(
    settings: &Settings,
    own: &OwnState,
    (fleet, clock): (&FleetFile, &Clock),
    (audit, events): (&Audit, &Events),
) -> (SelfBackupTask, watch::Receiver<Figures>) {
    SelfBackupTask::new(
        settings.self_backup.clone(),
        sources(settings, own.config.as_deref()),
        fleet.clone(),
        clock.clone(),
        (audit.clone(), events.clone()),
    )
}

/// Makes a backup now, beside an aggregator that may serve, and prints where it is.
pub(super) async fn make(
    settings: &Settings,
    config: Option<&Path>,
    to: Option<PathBuf>,
) -> anyhow::Result<()> {
    let Some(own) = settings.self_backup.clone() else {
        anyhow::bail!(
            "there is nobody to encrypt to: set `recipients = [\"age1...\"]` and `dir` in [self_backup] of the settings; \
             `age-keygen -o recovery-key.txt` makes a key and shows its recipient"
        );
    };
    let target = match to {
        None => Target::Folder(own.dir, Some(own.keep)),
        Some(path) if path.is_dir() => Target::Folder(path, None),
        Some(path) => Target::File(path),
    };
    let stored = Stored::beside(settings).await?;
    let (Target::Folder(place, _) | Target::File(place)) = &target;
    stored.audit.record(self_backup::begun("local", &place.display().to_string())).await?;
    let (sources, now) = (sources(settings, config), stored.clock.now());
    let saved = self_backup::save(&sources, &stored.fleet, &own.recipients, &target, now, &|| Ok(()))?;
    println!("{}", saved.path.display());
    eprintln!("{} files, {} bytes, as of {}", saved.files, saved.bytes, saved.at);
    Ok(())
}

/// Becomes the aggregator of a backup, or checks that one could.
pub(super) async fn restore(settings: &Settings, asked: &Restore) -> anyhow::Result<()> {
    let identities = self_backup::read_identities(&asked.identity)?;
    if asked.check {
        let manifest = self_backup::check(&asked.file, &identities)?;
        println!("{} is whole: {}", asked.file.display(), described(&manifest));
        return Ok(());
    }
    let staged = self_backup::unpack(&asked.file, &identities, &settings.state_dir, &settings.backup.dir)?;
    let manifest = staged.manifest().clone();
    let now = Clock::system().now();
    prove(settings, &staged, now)
        .await
        .context("the backup was read, but no aggregator can start from it")?;
    let receipts = staged.place()?;
    print(settings, &manifest, &receipts);
    Ok(())
}

/// Opens what was unpacked as an aggregator does, and notes the restore in it.
async fn prove(settings: &Settings, staged: &Staged, now: Timestamp) -> anyhow::Result<()> {
    let settings = Settings { state_dir: staged.folder().to_owned(), ..settings.clone() };
    let stored = Stored::open(&settings).await?;
    let (fleet, manifest) = (&stored.fleet, staged.manifest());
    anyhow::ensure!(fleet.fleet_id == manifest.fleet_id, "its fleet is not the one of its manifest");
    Ca::load(&settings.state_dir, fleet.fleet_id, settings.certificate_lifetime)?;
    AuthorityChain::load(&settings.state_dir, fleet)?;
    let found = stored.audit.verify().await?;
    anyhow::ensure!(found.intact, "its audit log does not verify: {found:?}");
    let restored = Restored { from: manifest.created, until: now.max(manifest.created) };
    let record = Record {
        actor: "local".to_owned(),
        action: "aggregator.restore",
        target: format!("fleet/{}", fleet.fleet_id),
        outcome: AuditOutcome::Ok,
        detail: format!("from the backup of {}", manifest.created),
    };
    let committed = stored.audit.commit(Vec::new(), vec![restored.write(&stored.keys)], record).await?;
    anyhow::ensure!(committed != Committed::Conflict, "somebody else uses {}", staged.folder().display());
    // Closed before the folder gets its name.
    let store = Arc::downgrade(&stored.store);
    drop(stored);
    anyhow::ensure!(store.upgrade().is_none(), "the state store is still in use");
    Ok(())
}

fn described(manifest: &Manifest) -> String {
    format!(
        "fleet {} ({}) as of {}, made by version {}: {} files, {} bytes",
        manifest.fleet_name,
        manifest.fleet_id,
        manifest.created,
        manifest.version,
        manifest.files.len(),
        manifest.bytes()
    )
}

fn print(settings: &Settings, manifest: &Manifest, receipts: &Receipts) {
    println!("restored {}", described(manifest));
    println!("into {}", settings.state_dir.display());
    if !(receipts.placed.is_empty() && receipts.kept.is_empty()) {
        println!(
            "receipts of nodes' backups: {} put into {}, {} were there and are newer",
            receipts.placed.len(),
            settings.backup.dir.display(),
            receipts.kept.len()
        );
    }
    println!(
        "\nNext:
  1. Make sure that the old aggregator does not run and never starts again: two of one fleet contradict each other.
  2. Compare the settings with those of then, in {}.
  3. Start this one where agents look for it: {}. They come back by themselves.
  4. What happened after {} is unknown here: retire again whom you retired, revoke again what you revoked,
     enrol again what was enrolled since, apply the configuration again. docs/guide/disaster-recovery.md has the list.",
        settings.state_dir.join("settings").display(),
        settings.addresses.join(", "),
        manifest.created
    );
}
