//! `campanile-agent doctor`: looks at everything a node needs to report and to take orders, and says what to do.
//!
//! This file gathers what is so; `check` judges it. It changes nothing.

mod backup;
mod bearing;
mod check;
mod keeper;
mod network;
mod place;
pub(super) mod service;
mod transport;

use std::path::Path;
use std::time::Duration;

use campanile_common::authority::Policy;
use campanile_common::checkup;
use campanile_common::time::Timestamp;
use campanile_common::wire::v1::request::StewardDescription;

use super::confinement;
use super::link_state::LinkState;
use super::starts::Starts;
use super::witness::Witness;
use crate::config::state;
use crate::identity::Identity;
use crate::order::{StewardError, ask_once};
use crate::os::{clock, lock, statvfs};
use crate::settings::{Settings, SettingsError};
use crate::steward::protocol::{StewardEvent, StewardRequest, Tag};
use check::Check;

/// Longest wait for the steward, which answers from memory.
const STEWARD_TIMEOUT: Duration = Duration::from_secs(3);

/// Prints every check; fails when one of them does.
pub(super) fn run(settings: Result<&Settings, &SettingsError>, is_json: bool) -> anyhow::Result<()> {
    let checks = match settings {
        Ok(settings) => examine(settings)?,
        Err(error) => vec![check::settings(Some(&whole_text(error)))],
    };
    println!("{}", checkup::shown(&checks, is_json));
    checkup::failures(&checks).map_or(Ok(()), |failed| Err(anyhow::anyhow!(failed)))
}

fn examine(settings: &Settings) -> anyhow::Result<Vec<Check>> {
    let now = clock::now();
    let identity = Identity::load(&settings.state_dir);
    let steward = super::runtime()?.block_on(describe(settings));
    let mut checks = vec![check::settings(None)];
    match &identity {
        Ok(identity) => {
            checks.push(check::identity(Ok((&identity.name, identity.node, identity.fleet))));
            checks.push(check::certificate(identity.issued, identity.not_after, now));
        }
        Err(error) => checks.push(check::identity(Err(&whole_text(error)))),
    }
    let is_running = lock::is_held(&settings.state_dir);
    checks.push(check::agent(is_running));
    checks.extend(transport::check(settings));
    checks.push(bearing::safe_mode(Starts::new(&settings.state_dir).safe_mode()));
    checks.push(bearing::confinement("agent", confinement::last(&settings.state_dir), is_running));
    checks.extend(service::check(settings));
    if let Ok(identity) = &identity {
        // What a killed agent said last counts for nothing.
        let said = LinkState::load(&settings.state_dir).filter(|_| is_running);
        checks.extend(super::runtime()?.block_on(network::check(identity, said)));
    }
    checks.push(check::clock(clock_skew_ms(&settings.state_dir)));
    checks.extend(keeper::check());
    checks.push(check::steward(
        steward.as_ref().map(|found| found.running).map_err(|error| whole_text(error)),
        &settings.steward.socket,
    ));
    let pin = settings.steward.state_dir.join("pin");
    checks.push(check::pin(steward.is_ok(), pin.try_exists().map_err(|error| error.to_string()), &pin));
    checks.push(match &steward {
        Ok(found) => check::policy(&found.policy, &found.policy_source),
        Err(_) => policy_on_disk(&settings.policy),
    });
    if let Ok(identity) = &identity
        && let Ok(authority) = identity.authority()
    {
        let document = authority.document();
        let steward_version = steward.as_ref().ok().map(|found| found.authority_version);
        checks.push(check::authority(document.version, document.expires, steward_version, now));
    }
    if let Ok(found) = &steward {
        checks.push(check::catalogue(found.catalogue_version));
        checks.push(check::units(found.has_units, settings.steward.units));
        checks.push(bearing::confinement("steward", confinement::last(&settings.steward.state_dir), true));
    }
    let config = state::State::load(&state::folder_of(&settings.steward.state_dir));
    checks.push(check::config(config.as_ref()));
    checks.extend(backup::check(&super::backup::runs(settings), now));
    for folder in [&settings.state_dir, &settings.steward.state_dir] {
        checks.push(space(folder));
    }
    checks.extend(folders(settings));
    Ok(checks)
}

/// Whose the folders are: where the package is installed the agent's belongs to a user of its own.
fn folders(settings: &Settings) -> [Check; 2] {
    let is_packaged = service::is_installed(settings);
    let (agent, steward) = if is_packaged { ("campanile-agent", "root") } else { ("", "") };
    [
        place::check("folder", &settings.state_dir, agent),
        place::check("folder", &settings.steward.state_dir, steward),
    ]
}

/// What the steward would accept; also for `status`.
pub(super) async fn describe(settings: &Settings) -> Result<StewardDescription, StewardError> {
    let request = StewardRequest::Describe(Tag(1));
    match ask_once(&settings.steward.socket, &request, STEWARD_TIMEOUT).await? {
        StewardEvent::Description(_, description) => Ok(*description),
        _ => Err(StewardError::Silent { socket: settings.steward.socket.clone() }),
    }
}

/// How far this node's clock is ahead of the aggregator's, by the newest checkpoint: it carries the aggregator's time,
/// its file the time at which it came.
fn clock_skew_ms(state_dir: &Path) -> Option<i64> {
    let witness = Witness::new(state_dir);
    let newest = witness.read(1).ok()?.pop()?;
    let ours = witness.written().ok()?;
    let signed = |time: Timestamp| i64::try_from(time.as_millis()).ok();
    signed(ours)?.checked_sub(signed(newest.time)?)
}

/// The policy as the steward would read it, where the steward cannot be asked.
fn policy_on_disk(path: &Path) -> Check {
    match std::fs::read_to_string(path) {
        Ok(text) => match toml::from_str::<Policy>(&text) {
            Ok(policy) => check::policy(&policy, &path.display().to_string()),
            Err(error) => check::broken_policy(path, &error.to_string()),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            check::policy(&Policy::default(), &format!("built in: {} does not exist", path.display()))
        }
        Err(error) => check::unseen_policy(path, &error.to_string()),
    }
}

fn space(folder: &Path) -> Check {
    let found = statvfs::space(&folder.to_string_lossy());
    check::space(folder, found.map(|space| (space.avail_bytes, space.size_bytes)).map_err(|e| e.to_string()))
}

/// An error with everything behind it, on one line.
fn whole_text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text.replace('\n', " ")
}
