//! What `serve` may still do, once it has confined itself.

use std::path::{Path, PathBuf};

use campanile_common::api::Confinement;
use campanile_daemon::confine::{self, Bounds, Listens};

use crate::settings::{SETTINGS_PATH, Settings};

/// What libraries need: the machine's settings, names, time zones, its own figures. SQLite's files for a moment are in
/// the last two.
const SYSTEM: [&str; 11] = [
    "/usr",
    "/lib",
    "/lib64",
    "/nix/store",
    "/etc",
    "/run",
    "/var/run",
    "/var/lib/sss",
    "/proc",
    "/sys",
    "/dev/urandom",
];
const SCRATCH: [&str; 3] = ["/tmp", "/var/tmp", "/dev/null"];

/// Confines this process, which has one thread still, unless the settings say otherwise; how far.
pub(super) fn confine(settings: &Settings, config: Option<&Path>) -> Confinement {
    if settings.is_confined {
        confine::confine(&of_serve(settings, config))
    } else {
        confine::unconfined("the setting `confine` is false")
    }
}

/// Its settings, certificates and packages to read; its state, and where backups are, to write.
fn of_serve(settings: &Settings, config: Option<&Path>) -> Bounds {
    let mut reads: Vec<PathBuf> = SYSTEM.map(PathBuf::from).into();
    reads.extend(parent(config.unwrap_or(Path::new(SETTINGS_PATH))));
    reads.push(settings.packages_dir.clone());
    let mut writes: Vec<PathBuf> = SCRATCH.map(PathBuf::from).into();
    writes.push(settings.state_dir.clone());
    for folder in elsewhere(settings) {
        // A disk that is mounted there later, and a folder that is made anew, are others than the folder there now.
        writes.extend(parent(folder).filter(|parent| parent != Path::new("/")));
        writes.push(folder.to_owned());
    }
    Bounds { reads, writes, starts_programs: false, listens: Listens::On(settings.listen.port()) }
}

/// Folders of backups that lie outside of the state folder.
fn elsewhere(settings: &Settings) -> Vec<&Path> {
    let backup = &settings.backup;
    let mut folders = vec![backup.dir.as_path()];
    folders.extend(backup.replica.as_ref().map(|replica| replica.dir.as_path()));
    folders.extend(settings.self_backup.as_ref().map(|own| own.dir.as_path()));
    folders.retain(|folder| !folder.starts_with(&settings.state_dir));
    folders
}

fn parent(path: &Path) -> Option<PathBuf> {
    path.parent().map(|folder| if folder.as_os_str().is_empty() { ".".into() } else { folder.to_owned() })
}
