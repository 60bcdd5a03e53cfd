//! What the values of a resource must be beyond their types, and what its name must be.

use crate::backup::{Policy, PolicyName};

use super::{
    Account, Backup, File, Firewall, HostsEntry, Kind, Mount, Package, Presence, Resource, ResourceId, Spec,
    SshKey, Timer,
};

/// Most bytes of a resource's name.
const NAME_BYTES_MAX: usize = 1024;

/// The key that is wrong, where it is one, and what is wrong.
pub(super) type Broken = (Option<&'static str>, String);

fn rule(holds: bool, key: &'static str, problem: &str) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err((Some(key), problem.to_owned())) }
}

/// True for absolute paths without `.`, `..`, empty parts and a slash at the end.
fn is_plain_path(path: &str) -> bool {
    let is_plain = |part: &str| !part.is_empty() && part != "." && part != "..";
    path.strip_prefix('/').is_some_and(|rest| rest.split('/').all(is_plain))
}

fn is_mode(mode: &str) -> bool {
    let is_octal = mode.chars().all(|c| c.is_digit(8));
    is_octal && (3..=5).contains(&mode.len()) && u32::from_str_radix(mode, 8).is_ok_and(|bits| bits <= 0o7777)
}

fn is_line(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_control())
}

/// Names that useradd, groupadd and modprobe take.
fn is_plain_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    (1..=32).contains(&name.len()) && !name.starts_with(['-', '.']) && name.chars().all(allowed)
}

fn is_program(argv: &[String]) -> bool {
    argv.first().is_some_and(|program| is_line(program)) && argv.iter().all(|word| !word.contains('\0'))
}

/// Checks a resource that has its types.
pub(super) fn resource(resource: &Resource) -> Result<(), Broken> {
    name(&resource.id).map_err(|problem| (None, problem.to_owned()))?;
    match &resource.spec {
        Spec::File(file) => check_file(file),
        Spec::Directory(directory) => {
            check_ownership(directory.mode.as_deref(), directory.owner.as_deref(), directory.group.as_deref())
        }
        Spec::Link(link) => {
            let is_needed = link.ensure == Presence::Present;
            rule(!is_needed || is_line(&link.target), "target", "say what the link points at")
        }
        Spec::Package(package) => check_package(package),
        Spec::User(user) => check_user(user),
        Spec::AuthorizedKey(key) => check_key(key),
        Spec::Host(host) => check_host(host),
        Spec::Sysctl(sysctl) => rule(is_line(&sysctl.value), "value", "its value, on one line"),
        Spec::Mount(mount) => check_mount(mount),
        Spec::Firewall(firewall) => check_firewall(firewall),
        Spec::Timer(timer) => check_timer(timer),
        Spec::Command(command) => {
            rule(is_program(&command.run), "run", "program and arguments")?;
            rule(command.user.as_deref().is_none_or(is_plain_name), "user", "the name of a user")?;
            rule(command.timeout_s != Some(0), "timeout_s", "at least one second")
        }
        Spec::Backup(backup) => check_backup(&resource.id.name, backup),
        Spec::Group(_) | Spec::Module(_) | Spec::Service(_) => Ok(()),
    }
}

fn check_ownership(mode: Option<&str>, owner: Option<&str>, group: Option<&str>) -> Result<(), Broken> {
    rule(mode.is_none_or(is_mode), "mode", "permission bits in octal as text, e.g. \"0644\"")?;
    rule(owner.is_none_or(is_plain_name), "owner", "the name of a user")?;
    rule(group.is_none_or(is_plain_name), "group", "the name of a group")
}

fn check_file(file: &File) -> Result<(), Broken> {
    file.source().map_err(|problem| (Some("content"), problem.to_owned()))?;
    check_ownership(file.mode.as_deref(), file.owner.as_deref(), file.group.as_deref())?;
    let is_command = file.validate.is_empty() || is_program(&file.validate);
    rule(is_command, "validate", "program and arguments, `{}` for the path of the new content")?;
    let is_suffix = |suffix: &str| is_line(suffix) && !suffix.contains('/');
    rule(file.backup.as_deref().is_none_or(is_suffix), "backup", "a suffix, e.g. \".bak\"")
}

fn check_package(package: &Package) -> Result<(), Broken> {
    let version = package.version.as_deref();
    let fits = |version: &str| is_line(version) && !version.contains([' ', '=']) && !version.starts_with('-');
    rule(version.is_none_or(fits), "version", "no version of a package")?;
    let is_pinned_absent = package.ensure == Presence::Absent && version.is_some();
    rule(!is_pinned_absent, "version", "a package that is to be absent has no version")
}

fn check_user(user: &Account) -> Result<(), Broken> {
    let is_path = |path: &str| is_plain_path(path) && !path.contains(':');
    rule(user.home.as_deref().is_none_or(is_path), "home", "an absolute path")?;
    rule(user.shell.as_deref().is_none_or(is_path), "shell", "an absolute path")?;
    let is_field = |text: &str| !text.contains(|c: char| c.is_control() || c == ':');
    rule(user.comment.as_deref().is_none_or(is_field), "comment", "one line without a colon")?;
    rule(user.group.as_deref().is_none_or(is_plain_name), "group", "the name of a group")?;
    let mut groups = user.groups.iter().flatten();
    rule(groups.all(|group| is_plain_name(group)), "groups", "names of groups")
}

fn check_key(key: &SshKey) -> Result<(), Broken> {
    if key.ensure == Presence::Absent && key.key.is_empty() {
        return Ok(());
    }
    let mut words = key.key.split(' ');
    let has_two = words.next().is_some_and(is_line) && words.next().is_some_and(is_line);
    rule(has_two && is_line(&key.key), "key", "type and key, as in a .pub file, on one line")?;
    rule(key.options.as_deref().is_none_or(is_line), "options", "one line")
}

fn check_host(host: &HostsEntry) -> Result<(), Broken> {
    let is_host = |name: &String| is_line(name) && !name.contains([' ', '#']);
    let is_needed = host.ensure == Presence::Present;
    rule(!is_needed || !host.names.is_empty(), "names", "at least one host name")?;
    rule(host.names.iter().all(is_host), "names", "host names without blanks")
}

fn check_mount(mount: &Mount) -> Result<(), Broken> {
    if mount.ensure == Presence::Absent {
        return Ok(());
    }
    let fits = |text: &str| is_line(text) && !text.contains([' ', '#']);
    rule(fits(&mount.device), "device", "what is mounted, without blanks")?;
    rule(fits(&mount.fstype), "fstype", "the file system's type, e.g. \"ext4\"")?;
    let is_option = |option: &String| fits(option) && !option.contains(',');
    rule(mount.options.iter().all(is_option), "options", "options, one each, e.g. [\"noatime\"]")
}

fn check_firewall(firewall: &Firewall) -> Result<(), Broken> {
    let count = usize::from(firewall.rules.is_some()) + usize::from(firewall.template.is_some());
    let needed = usize::from(firewall.ensure == Presence::Present);
    let problem = "give exactly one of `rules` and `template`, or none with ensure = \"absent\"";
    rule(count == needed, "rules", problem)
}

fn check_timer(timer: &Timer) -> Result<(), Broken> {
    if timer.ensure == Presence::Absent {
        return Ok(());
    }
    rule(is_line(&timer.on_calendar), "on_calendar", "when, e.g. \"*-*-* 03:00\"")?;
    rule(is_program(&timer.command), "command", "program and arguments")?;
    rule(timer.user.as_deref().is_none_or(is_plain_name), "user", "the name of a user")
}

fn check_backup(name: &str, backup: &Backup) -> Result<(), Broken> {
    if backup.ensure == Presence::Absent {
        return Ok(());
    }
    let name: PolicyName =
        name.parse().map_err(|error: crate::backup::PolicyNameError| (None, error.to_string()))?;
    Policy::read(name, backup).map(drop).map_err(|error| (Some(error.key), error.problem))
}

/// Checks that a name is one for its kind.
pub(super) fn name(id: &ResourceId) -> Result<(), &'static str> {
    let name = id.name.as_str();
    let holds = |holds: bool, problem| if holds { Ok(()) } else { Err(problem) };
    let is_text =
        !name.is_empty() && name.len() <= NAME_BYTES_MAX && !name.contains(|c: char| c.is_control());
    holds(is_text, "its name is empty, too long, or holds a control character")?;
    match id.kind {
        Kind::File | Kind::Directory | Kind::Link | Kind::Mount => {
            holds(is_plain_path(name), "its name is to be an absolute path without `.` and `..`")
        }
        Kind::User | Kind::Group | Kind::Module => holds(is_plain_name(name), "that is no such name"),
        Kind::Package => {
            let allowed = |c: char| c.is_ascii_alphanumeric() || "+-._:".contains(c);
            holds(!name.starts_with('-') && name.chars().all(allowed), "that is no name of a package")
        }
        Kind::AuthorizedKey => {
            let is_label = |label: &str| is_line(label) && !label.contains(' ');
            let fits =
                name.split_once('/').is_some_and(|(user, label)| is_plain_name(user) && is_label(label));
            holds(fits, "its name is to be USER/LABEL, e.g. deploy/laptop")
        }
        Kind::Host => holds(name.parse::<core::net::IpAddr>().is_ok(), "its name is to be an IP address"),
        Kind::Sysctl => {
            let allowed = |c: char| c.is_ascii_alphanumeric() || "._-/*".contains(c);
            let is_plain = !name.contains("..") && !name.starts_with(['/', '.', '-']);
            holds(is_plain && name.chars().all(allowed), "that is no key of sysctl")
        }
        Kind::Firewall => holds(is_table(name), "its name is to be FAMILY/TABLE, e.g. inet/filter"),
        Kind::Service => {
            holds(crate::authority::is_unit_name(name), "its name is to be a unit's, e.g. nginx.service")
        }
        Kind::Timer => {
            let unit = format!("{name}.timer");
            holds(crate::authority::is_unit_name(&unit), "its name is to be a timer's, without a suffix")
        }
        Kind::Command => Ok(()),
        Kind::Backup => holds(
            name.parse::<PolicyName>().is_ok(),
            "its name is to be 1 to 63 letters, digits, `-`, `_` and `.`, the first a letter or digit",
        ),
    }
}

fn is_table(name: &str) -> bool {
    let families = ["ip", "ip6", "inet", "arp", "bridge", "netdev"];
    name.split_once('/').is_some_and(|(family, table)| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        families.contains(&family)
            && table.starts_with(|c: char| c.is_ascii_alphabetic())
            && table.chars().all(allowed)
    })
}
