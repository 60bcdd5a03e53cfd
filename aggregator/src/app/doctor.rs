//! `doctor`: looks at what an aggregator needs to serve, and says what to do. It changes nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use campanile_common::checkup::{self, Check, fail, ok, warn};
use campanile_common::time::Timestamp;
use x509_parser::prelude::FromDer as _;

use super::init::ground;
use super::{Stored, load_ca, packages};
use crate::authority::Authorities;
use crate::event::Events;
use crate::identity::{Ca, load_fleet};
use crate::os::clock::Clock;
use crate::settings::{Settings, SettingsError, is_addresses_default};

/// How long the aggregator's own port may take to answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Below it nothing durable can be promised, and the aggregator refuses changes.
const SPACE_FAIL_BYTES: u64 = 64 << 20;
/// Below it a few days of samples may be too much.
const SPACE_WARN_BYTES: u64 = 1 << 30;
/// Below it new files may find no inode.
const FILES_WARN: u64 = 1000;
/// What expires is renewed in time.
const EXPIRY_WARN: Duration = Duration::from_secs(30 * 86_400);

/// Prints every check; fails when one of them does.
pub(super) fn run(settings: Result<&Settings, &SettingsError>, is_json: bool) -> anyhow::Result<()> {
    let checks = match settings {
        Ok(settings) => super::runtime()?.block_on(examine(settings)),
        Err(error) => vec![fail("settings", error.brief(), "correct the file; the rest was not looked at")],
    };
    println!("{}", checkup::shown(&checks, is_json));
    checkup::failures(&checks).map_or(Ok(()), |failed| Err(anyhow::anyhow!(failed)))
}

async fn examine(settings: &Settings) -> Vec<Check> {
    let now = Clock::system().now();
    let mut checks = vec![ok("settings", "can be used")];
    checks.push(match ground::check_clock(now) {
        Ok(()) => ok("clock", format!("says {now}")),
        Err(error) => fail("clock", error.to_string(), "certificates are made by it"),
    });
    checks.extend(space(&settings.state_dir, "space"));
    if !settings.backup.dir.starts_with(&settings.state_dir) {
        checks.extend(space(&settings.backup.dir, "space"));
    }
    match load_fleet(&settings.state_dir) {
        Ok(fleet) => {
            checks.push(ok("fleet", format!("{} ({})", fleet.fleet_name, fleet.fleet_id)));
            match load_ca(settings, &fleet) {
                Ok(ca) => {
                    checks.push(term("ca", ca_expiry(&ca), now));
                    checks.push(served(packages(settings, &fleet, &ca).list().len(), &settings.packages_dir));
                }
                Err(error) => {
                    checks.push(fail("ca", format!("{error:#}"), "restore the state folder from a backup"))
                }
            }
            checks.push(authority(settings, now).await);
        }
        Err(error) => checks.push(fail(
            "fleet",
            format!("{:#}", anyhow::Error::new(error)),
            "nothing is served without it",
        )),
    }
    checks.push(addresses(&settings.addresses, settings.listen));
    checks.push(port(settings.listen, ground::is_served(&settings.state_dir)));
    checks
}

/// Opens what is stored, which checks it, and says how long the authority is valid.
async fn authority(settings: &Settings, now: Timestamp) -> Check {
    let opened = async {
        let Stored { fleet, store, keys, audit, clock, .. } = Stored::open(settings).await?;
        let stored = (Arc::clone(&store), keys);
        let opened =
            Authorities::open(&settings.state_dir, &fleet, stored, audit, Events::default(), clock).await?;
        anyhow::Ok(opened.current().document().expires)
    };
    match opened.await {
        Ok(expires) => term("authority", Some(expires), now),
        Err(error) => fail("state", format!("{error:#}"), "restore it: campanile-aggregator restore"),
    }
}

fn ca_expiry(ca: &Ca) -> Option<Timestamp> {
    let (_, parsed) = x509_parser::certificate::X509Certificate::from_der(ca.certificate()).ok()?;
    let seconds = u64::try_from(parsed.validity().not_after.timestamp()).ok()?;
    Some(Timestamp::from_millis(seconds.saturating_mul(1000)))
}

fn term(name: &'static str, expires: Option<Timestamp>, now: Timestamp) -> Check {
    let Some(expires) = expires else { return fail(name, "cannot be read", "restore it from a backup") };
    let detail = format!("valid until {expires}");
    if expires <= now {
        return fail(name, format!("expired on {expires}"), "an operator must renew it");
    }
    if expires.since(now) < EXPIRY_WARN {
        return warn(name, detail, "an operator must renew it");
    }
    ok(name, detail)
}

fn space(folder: &Path, name: &'static str) -> Option<Check> {
    let place = folder.display();
    let found = match rustix::fs::statvfs(folder) {
        Ok(found) => found,
        // The service makes it, or it was said that there is no fleet.
        Err(rustix::io::Errno::NOENT) => return None,
        Err(error) => return Some(warn(name, format!("{place}: {error}"), "run doctor as root to see it")),
    };
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    let files_free = (found.f_files > 0).then_some(found.f_ffree);
    Some(judge_space(&place.to_string(), name, free, files_free))
}

fn judge_space(place: &str, name: &'static str, free: u64, files_free: Option<u64>) -> Check {
    let detail = format!("{} MiB are free for {place}", free >> 20);
    if free < SPACE_FAIL_BYTES {
        return fail(name, detail, "free some: nothing durable can be promised");
    }
    if free < SPACE_WARN_BYTES {
        return warn(name, detail, "free some soon");
    }
    match files_free.filter(|free| *free < FILES_WARN) {
        Some(free) => {
            warn(name, format!("only {free} more files fit into the file system of {place}"), "remove some")
        }
        None => ok(name, detail),
    }
}

fn served(count: usize, folder: &Path) -> Check {
    match count {
        0 => warn(
            "packages",
            format!("none in {}", folder.display()),
            "nodes cannot be installed from here; put packages and their SHA256SUMS there",
        ),
        count => ok("packages", format!("{count} are served from {}", folder.display())),
    }
}

fn addresses(addresses: &[String], listen: SocketAddr) -> Check {
    if is_addresses_default(addresses, listen) {
        return warn(
            "addresses",
            format!("nodes elsewhere do not reach {}", addresses.join(", ")),
            "say in the setting `addresses` how this machine is reached",
        );
    }
    ok("addresses", addresses.join(", "))
}

fn port(listen: SocketAddr, is_served: bool) -> Check {
    if !is_served {
        return match ground::check_port(listen) {
            Ok(()) => {
                fail("port", "no aggregator serves", "start it: systemctl enable --now campanile-aggregator")
            }
            Err(error) => fail("port", format!("no aggregator serves, and {error}"), "then start it"),
        };
    }
    let own = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    match TcpStream::connect_timeout(&(own, listen.port()).into(), CONNECT_TIMEOUT) {
        Ok(_) => ok("port", format!("{listen} is served")),
        Err(error) => fail("port", format!("{listen}: {error}"), "see journalctl -u campanile-aggregator"),
    }
}

#[cfg(test)]
mod tests {
    use campanile_common::checkup::State;

    use super::*;

    #[test]
    fn what_expires_warns_a_month_ahead() {
        let (now, day) = (Timestamp::from_millis(1_800_000_000_000), Duration::from_secs(86_400));
        assert_eq!(term("ca", Some(now + day * 31), now).state, State::Ok);
        assert_eq!(term("ca", Some(now + day * 29), now).state, State::Warn);
        assert_eq!(term("ca", Some(now), now).state, State::Fail);
        assert_eq!(term("ca", None, now).state, State::Fail);
    }

    #[test]
    fn little_room_is_named_before_it_is_none() {
        assert_eq!(judge_space("/s", "space", SPACE_WARN_BYTES, None).state, State::Ok);
        assert_eq!(judge_space("/s", "space", SPACE_WARN_BYTES - 1, None).state, State::Warn);
        assert_eq!(judge_space("/s", "space", SPACE_FAIL_BYTES - 1, None).state, State::Fail);
        assert_eq!(judge_space("/s", "space", SPACE_WARN_BYTES, Some(5)).state, State::Warn);
    }

    #[test]
    fn a_port_that_is_not_served_fails_and_says_whether_something_else_has_it() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(port(address, true).state, State::Ok);
        let taken = port(address, false);
        assert!(taken.state == State::Fail && taken.detail.contains("cannot listen on TCP"), "{taken}");
        drop(listener);
        assert!(port(address, false).detail.ends_with("no aggregator serves"));
        assert_eq!(port(address, true).state, State::Fail);
    }

    #[test]
    fn an_aggregator_that_only_its_own_machine_reaches_is_worth_a_word() {
        let listen = "0.0.0.0:8443".parse().unwrap();
        assert_eq!(addresses(&["localhost:8443".to_owned()], listen).state, State::Warn);
        assert_eq!(addresses(&["a.example:8443".to_owned()], listen).state, State::Ok);
    }
}
