//! `init`: founds a fleet on the machine that its aggregator is installed on, and says what to do next.
//!
//! What can be found out is not asked. The authority and the operator's key are made by the command line, here or on
//! the operator's own machine: what comes here is a [`Foundation`], without any key that signs orders. Root writes the
//! settings and starts the service; what belongs into the state folder is written by a child that runs as its owner
//! ([`found`]), because a link that the owner made could lead root anywhere. Run again, it destroys nothing: it says what
//! is there and makes a new link and a new line.

#![expect(clippy::disallowed_methods, reason = "a root looks at the machine that it sets up")]

mod found;
pub(super) mod ground;
mod reach;
mod say;
mod service;

use std::fs::Permissions;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};
use campanile_common::fleet::Foundation;
use zeroize::Zeroizing;

use crate::cli::Init;
use crate::settings::{SETTINGS_PATH, Settings, is_addresses_default};
use ground::Owner;

pub(super) use found::found;

/// Longest foundation: an authority of a few hundred operators.
const FOUNDATION_BYTES_MAX: u64 = 1 << 20;
/// What this program is, also when its file was replaced meanwhile.
const OWN_PROGRAM: &str = "/proc/self/exe";
/// What `init` writes, among the drop-ins.
const DROP_IN: &str = "10-init.toml";

/// Founds the fleet, or says what is there.
pub(super) fn run(settings: &Settings, config: Option<&Path>, arguments: &Init) -> anyhow::Result<()> {
    let is_new = !ground::is_founded(&settings.state_dir)?;
    let owner = ground::owner(&settings.state_dir)?;
    let service = service::Service::of(config);
    if service.is_installed() && owner == Owner::Ourselves && rustix::process::geteuid().is_root() {
        bail!(
            "{} belongs to root, and the service runs as a user of its own: chown it to that user, or install the \
             package again",
            settings.state_dir.display()
        );
    }
    ensure!(
        is_new || arguments.foundation.is_none(),
        "a fleet was founded here already: nothing is overwritten"
    );
    let foundation = if is_new { Some(prepare(settings, arguments)?) } else { None };
    let settings = &with_addresses(settings, config, arguments, is_new)?;
    if is_new {
        eprintln!("writing the fleet into {}", settings.state_dir.display());
    }
    let founded = match owner {
        Owner::Ourselves => super::runtime()?.block_on(found::make(settings, foundation.as_ref()))?,
        Owner::Other(uid, gid) => found_as((uid, gid), config, foundation.as_ref())?,
    };
    let is_serving = match service.is_installed() && !arguments.no_start {
        true => {
            eprintln!("starting {}", service::UNIT);
            service.start(settings.listen.port())?;
            true
        }
        false => ground::is_served(&settings.state_dir),
    };
    let report =
        say::Report::new(founded, settings, is_new, is_serving, service::serve_line(&service, config));
    report.print(arguments.output)
}

/// Looks whether a fleet can be founded here, before anything is made; then has it made.
fn prepare(settings: &Settings, arguments: &Init) -> anyhow::Result<Foundation> {
    ground::check(settings)?;
    let text = match &arguments.foundation {
        Some(path) if path == Path::new("-") => read_all(std::io::stdin(), "standard input")?,
        Some(path) => {
            let file =
                std::fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
            read_all(file, &path.display().to_string())?
        }
        None => by_command_line(arguments)?,
    };
    let foundation = Foundation::parse(&text)?;
    found::check(&foundation)?;
    Ok(foundation)
}

fn read_all(source: impl std::io::Read, what: &str) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let mut text = Zeroizing::new(Vec::new());
    source
        .take(FOUNDATION_BYTES_MAX)
        .read_to_end(&mut text)
        .with_context(|| format!("cannot read {what}"))?;
    Ok(text)
}

/// This machine is the operator's as well: the command line makes everything, as the person who typed this.
fn by_command_line(arguments: &Init) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let Some(program) = ground::command_line() else {
        bail!(
            "the operator's key is made by `campanile`, which is not installed here. On the operator's machine:\n    \
             campanile fleet init --name {0} --operator NAME --foundation - | ssh root@{0} campanile-aggregator init \
             --foundation -\nOr install the package `campanile` here and run this again: then the key is kept here",
            ground::host_name()
        );
    };
    let operator = ground::operator();
    let name = arguments.name.clone().unwrap_or_else(ground::host_name);
    eprintln!(
        "making fleet {name} with the keys of its first operator, {}. They stay on this machine, in the home of {0}: \
         whoever takes it over and learns the passphrase commands every node. To keep them elsewhere, end this and run \
         on your own machine:\n    campanile fleet init --name {name} --operator {0} --foundation - | ssh root@{1} \
         campanile-aggregator init --foundation -",
        operator.name,
        ground::host_name()
    );
    let mut command = Command::new(program);
    command.args(["fleet", "init", "--name", &name, "--operator"]);
    command.arg(arguments.operator.as_ref().unwrap_or(&operator.name)).args(["--foundation", "-"]);
    if let Some(file) = &arguments.passphrase_file {
        command.arg("--passphrase-file").arg(std::path::absolute(file)?);
    }
    operator.become_in(&mut command);
    let child = command.stdout(Stdio::piped()).spawn().context("cannot start `campanile fleet init`")?;
    let done = child.wait_with_output()?;
    ensure!(done.status.success(), "`campanile fleet init` did not make a fleet; see above");
    Ok(Zeroizing::new(done.stdout))
}

/// Sees to it that tokens and the certificate name this machine as others reach it.
fn with_addresses(
    settings: &Settings,
    config: Option<&Path>,
    arguments: &Init,
    is_new: bool,
) -> anyhow::Result<Settings> {
    let is_said = !is_addresses_default(&settings.addresses, settings.listen);
    if !is_new || is_said && arguments.address.is_empty() {
        return Ok(settings.clone());
    }
    let port = settings.listen.port();
    let addresses = if arguments.address.is_empty() {
        reach::addresses(&ground::reach(), settings.listen)
    } else {
        arguments.address.iter().map(|host| reach::with_port(host, port)).collect()
    };
    let path = drop_in(config, &addresses).context("cannot write the addresses into the settings")?;
    eprintln!("reached as {} (setting `addresses` in {})", addresses.join(", "), path.display());
    Ok(Settings::load(config)?)
}

fn drop_in(config: Option<&Path>, addresses: &[String]) -> std::io::Result<PathBuf> {
    let main = config.unwrap_or(Path::new(SETTINGS_PATH));
    // The service reads them as another user, whatever the umask here.
    let permit = |path: &Path, mode| std::fs::set_permissions(path, Permissions::from_mode(mode));
    // Drop-ins count beside a file alone.
    if !main.exists() {
        std::fs::write(main, "# Settings of campanile-aggregator.\n")?;
        permit(main, 0o644)?;
    }
    let folder = main.with_extension("d");
    if !folder.exists() {
        std::fs::create_dir(&folder)?;
        permit(&folder, 0o755)?;
    }
    let path = folder.join(DROP_IN);
    let list = addresses.iter().map(|address| format!("{address:?}")).collect::<Vec<_>>().join(", ");
    let text = format!(
        "# Written by `campanile-aggregator init`: how agents and people reach the aggregator.\naddresses = [{list}]\n"
    );
    crate::os::file::write_durably(&path, text.as_bytes())?;
    permit(&path, 0o644)?;
    Ok(path)
}

/// Has a child that runs as the owner of the state folder write there.
fn found_as(
    (uid, gid): (u32, u32),
    config: Option<&Path>,
    foundation: Option<&Foundation>,
) -> anyhow::Result<found::Founded> {
    use std::os::unix::process::CommandExt as _;

    let mut command = Command::new(OWN_PROGRAM);
    if let Some(config) = config {
        command.arg("--config").arg(std::path::absolute(config)?);
    }
    // The groups of root go with its user.
    command.arg("found").uid(uid).gid(gid).current_dir("/").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot run as user {uid}"))?;
    let mut input = child.stdin.take().context("a child without its input")?;
    if let Some(foundation) = foundation {
        // A child that ended says why by itself.
        drop(input.write_all(foundation.to_text().as_bytes()));
    }
    drop(input);
    let done = child.wait_with_output()?;
    ensure!(done.status.success(), "the fleet was not written; see above");
    serde_json::from_slice(&done.stdout).context("the child that founds gave no answer")
}
