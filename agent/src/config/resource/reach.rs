//! What a resource reaches: the paths whose change may be drift, and whether it can cut the node off.

use campanile_common::config::{Presence, Spec};

use super::super::step::Desired;
use super::account::HOMES;
use super::{authorized_key, firewall, host_line, module, mount, service, sysctl, timer};

/// Files and folders of the network, of name resolution, of ssh, and of the agent.
const PATHS: [&str; 20] = [
    "/etc/network",
    "/etc/netplan",
    "/etc/systemd/network",
    "/etc/systemd/networkd.conf",
    "/etc/systemd/networkd.conf.d",
    "/etc/NetworkManager",
    "/etc/sysconfig/network-scripts",
    "/etc/resolv.conf",
    "/etc/resolvconf",
    "/etc/systemd/resolved.conf",
    "/etc/systemd/resolved.conf.d",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/ssh",
    "/etc/nftables.conf",
    "/etc/nftables.d",
    "/etc/sysconfig/nftables.conf",
    "/etc/firewalld",
    "/etc/campanile",
    "/etc/iptables",
];
/// Programs of the same: units and packages bear these names.
const PROGRAMS: [&str; 18] = [
    "ssh",
    "sshd",
    "openssh-server",
    "networking",
    "network",
    "systemd-networkd",
    "systemd-resolved",
    "resolvconf",
    "NetworkManager",
    "network-manager",
    "wpa_supplicant",
    "ifupdown",
    "netplan.io",
    "nftables",
    "firewalld",
    "iptables",
    "ufw",
    "netfilter-persistent",
];
/// Folders whose mount takes programs and settings with it.
const MOUNTS: [&str; 7] = ["/", "/etc", "/usr", "/var", "/run", "/var/lib", "/boot"];
const UNIT_FOLDERS: [&str; 3] = ["/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];

/// Whether a mistake in this can cut the node off from its aggregator or from its people: it takes effect for good
/// only after the node has reached its aggregator anew.
pub fn cuts_off(desired: &Desired) -> bool {
    let name = desired.resource.id.name.as_str();
    match &desired.resource.spec {
        Spec::File(_) | Spec::Directory(_) | Spec::Link(_) => is_critical_path(name),
        Spec::Host(_) | Spec::Firewall(_) => true,
        Spec::Sysctl(_) => name.starts_with("net.") || name.starts_with("net/"),
        Spec::Service(_) => is_critical_unit(name),
        Spec::Package(_) => {
            let plain = name.split(':').next().unwrap_or(name);
            PROGRAMS.contains(&plain) || plain.starts_with("campanile")
        }
        Spec::Module(module) => module.ensure == Presence::Absent,
        Spec::Mount(_) => MOUNTS.contains(&name),
        Spec::Group(_) | Spec::User(_) | Spec::AuthorizedKey(_) => false,
        Spec::Timer(_) | Spec::Command(_) | Spec::Backup(_) => false,
    }
}

fn is_critical_path(path: &str) -> bool {
    let is_within =
        |folder: &str| path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    // A link or folder that stands for one of them counts as well: `/etc` itself.
    let holds = |folder: &str| folder.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'));
    let is_unit = UNIT_FOLDERS.iter().any(|folder| {
        let unit = path.strip_prefix(folder).and_then(|rest| rest.strip_prefix('/'));
        // A unit file, or a drop-in: `ssh.service.d/10-port.conf`.
        let unit = unit.map(|rest| rest.split('/').next().unwrap_or(rest));
        unit.is_some_and(|unit| is_critical_unit(unit.strip_suffix(".d").unwrap_or(unit)))
    });
    is_unit || PATHS.iter().any(|folder| is_within(folder) || holds(folder))
}

fn is_critical_unit(unit: &str) -> bool {
    let plain = unit.rsplit_once('.').map_or(unit, |(plain, _)| plain);
    let plain = plain.split('@').next().unwrap_or(plain);
    PROGRAMS.contains(&plain) || plain.starts_with("campanile")
}

/// Paths whose change by another hand may be drift. What is no file (a running service, a package) has none, or the
/// file that changes with it; it is looked at from time to time.
pub fn watched_paths(desired: &Desired) -> Vec<String> {
    let name = desired.resource.id.name.clone();
    match &desired.resource.spec {
        Spec::File(_) | Spec::Directory(_) | Spec::Link(_) => vec![name],
        Spec::Group(_) => vec!["/etc/group".to_owned()],
        Spec::User(_) => vec!["/etc/passwd".to_owned(), "/etc/group".to_owned()],
        Spec::AuthorizedKey(_) => {
            // The home of a user is the machine's to say; this is where it is by default.
            let user = authorized_key::user_of(&name);
            let home = if user == "root" { "/root".to_owned() } else { format!("{HOMES}/{user}") };
            vec![format!("{home}/.ssh/authorized_keys")]
        }
        Spec::Host(_) => vec![host_line::PATH.to_owned()],
        Spec::Sysctl(_) => vec![sysctl::PATH.to_owned()],
        Spec::Module(_) => module::paths(&name).to_vec(),
        Spec::Mount(_) => vec![mount::PATH.to_owned()],
        Spec::Firewall(_) => vec![firewall::path(&name)],
        Spec::Service(_) => vec![service::unit_path(&name), service::drop_in_path(&name)],
        Spec::Timer(_) => timer::paths(&name).to_vec(),
        Spec::Package(_) => vec!["/var/lib/dpkg/status".to_owned()],
        Spec::Command(command) => command.creates.iter().cloned().collect(),
        // In the steward's own state, where nobody else writes; it is looked at from time to time.
        Spec::Backup(_) => Vec::new(),
    }
}
