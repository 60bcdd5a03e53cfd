//! What the processes of this program may still do, once they have confined themselves. Pure.

use std::path::{Path, PathBuf};

use campanile_daemon::confine::{Bounds, Listens};

use crate::settings::{ProxySetting, SETTINGS_PATH, SecretSource, Settings};

/// What programs and libraries need: themselves, the machine's settings, names, sockets, figures.
const SYSTEM: [&str; 12] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/nix/store",
    "/etc",
    "/run",
    "/var/run",
    "/var/lib/sss",
    "/dev/urandom",
];
/// What every program writes to: nothing, and what asks chrony answers through a socket of its own.
const NOTHING: &str = "/dev/null";
const CHRONY: &str = "/run/chrony";

/// `run`: reads the machine's figures and its own settings, writes its state folder, listens on nothing.
pub(super) fn of_run(settings: &Settings, config: Option<&Path>) -> Bounds {
    let mut reads: Vec<PathBuf> = SYSTEM.map(PathBuf::from).into();
    reads.extend(["/proc", "/sys"].map(PathBuf::from));
    reads.extend([settings.proc_root.clone(), settings.sys_root.clone()]);
    reads.extend(folder_of(config.unwrap_or(Path::new(SETTINGS_PATH))));
    if let ProxySetting::Named { user: Some((_, SecretSource::File(password))), .. } = &settings.way.proxy {
        reads.push(password.clone());
    }
    Bounds {
        reads,
        writes: vec![settings.state_dir.clone(), NOTHING.into(), CHRONY.into()],
        starts_programs: true,
        listens: Listens::Nowhere,
    }
}

/// The steward where what it starts runs in units of its own, beyond these bounds: it reads everything, to see what
/// changed, and writes its state folder.
pub(super) fn of_steward(settings: &Settings) -> Bounds {
    let mut writes = vec![settings.steward.state_dir.clone(), PathBuf::from(NOTHING)];
    writes.extend(folder_of(&settings.steward.socket));
    Bounds { reads: vec!["/".into()], writes, starts_programs: true, listens: Listens::Nowhere }
}

/// Editors put another file in the settings' place, so the folder counts.
fn folder_of(path: &Path) -> Option<PathBuf> {
    path.parent().map(|folder| if folder.as_os_str().is_empty() { ".".into() } else { folder.to_owned() })
}
