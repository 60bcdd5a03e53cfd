//! Resources: the things on a node that configuration speaks of, typed and checked.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

/// Most bytes of a resource's name.
const NAME_BYTES_MAX: usize = 1024;

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident($spec:ty) = $text:literal,)*) => {
        /// The kinds of resources.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind {
            $($(#[$doc])* $kind,)*
        }

        /// What a resource is to be.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Spec {
            $($(#[$doc])* $kind($spec),)*
        }

        impl Kind {
            /// All of them, in the order in which they are applied where nothing else orders them.
            pub const ALL: &[Self] = &[$(Self::$kind,)*];

            /// As bundles, plans and the API name it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$kind => $text,)* }
            }

            fn read(self, table: Value) -> Result<Spec, serde_json::Error> {
                match self {
                    $(Self::$kind => serde_json::from_value(table).map(Spec::$kind),)*
                }
            }
        }

        impl Spec {
            /// Its kind.
            pub const fn kind(&self) -> Kind {
                match self { $(Self::$kind(_) => Kind::$kind,)* }
            }
        }
    };
}

kinds! {
    /// A group of users; the name is its name.
    Group(Group) = "group",
    /// A user; the name is the login name.
    User(Account) = "user",
    /// A package of the distribution; the name is the package's.
    Package(Package) = "package",
    /// A directory; the name is its path.
    Directory(Directory) = "directory",
    /// A regular file; the name is its path.
    File(File) = "file",
    /// A symbolic link; the name is its path.
    Link(Link) = "link",
    /// A line in a user's `authorized_keys`; the name is `USER/LABEL`.
    AuthorizedKey(SshKey) = "authorized_key",
    /// A line in `/etc/hosts`; the name is the address.
    Host(HostsEntry) = "host",
    /// A kernel parameter; the name is its key, e.g. `net.ipv4.ip_forward`.
    Sysctl(Sysctl) = "sysctl",
    /// A kernel module, loaded now and at boot; the name is the module's.
    Module(KernelModule) = "module",
    /// A mount, in `/etc/fstab` and mounted; the name is the mount point.
    Mount(Mount) = "mount",
    /// An nftables table; the name is `FAMILY/TABLE`, e.g. `inet/filter`.
    Firewall(Firewall) = "firewall",
    /// A unit of systemd; the name is the unit's, e.g. `nginx.service`.
    Service(Service) = "service",
    /// A systemd timer with its service; the name is the timer's without a suffix.
    Timer(Timer) = "timer",
    /// A command with a guard; the name is free.
    Command(Command) = "command",
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().copied().find(|kind| kind.as_str() == text);
        found.ok_or_else(|| format!("there is no kind of resource `{text}`"))
    }
}

/// Names a resource: `KIND:NAME`, e.g. `file:/etc/motd`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceId {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind.as_str(), self.name)
    }
}

impl FromStr for ResourceId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, name) = text
            .split_once(':')
            .ok_or_else(|| format!("`{text}` is not of the form KIND:NAME, e.g. file:/etc/motd"))?;
        Ok(Self { kind: kind.parse()?, name: name.to_owned() })
    }
}

impl Serialize for ResourceId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ResourceId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What is done when a node differs from its configuration by another hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Drift {
    /// It is told.
    #[default]
    Report,
    /// It is told and put right.
    Enforce,
}

/// What every resource may say beside what it is to be.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rules {
    /// Applied after these.
    pub after: Vec<ResourceId>,
    /// When this changes, these services reload or restart, and these commands run. They are applied after this.
    pub notify: Vec<ResourceId>,
    /// What drift leads to.
    pub on_drift: Drift,
    /// A change of this takes effect for good only once the node has reached its aggregator anew. Always so for what
    /// can cut a node off: network, firewall, ssh, resolver, the agent's own units.
    pub confirm: bool,
}

impl Rules {
    const KEYS: [&str; 4] = ["after", "notify", "on_drift", "confirm"];
}

/// Whether something is to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Presence {
    /// It is.
    #[default]
    Present,
    /// It is not.
    Absent,
}

/// Where a file's content comes from: exactly one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentSource<'a> {
    /// The text itself.
    Inline(&'a str),
    /// A file of the bundle, by its path below `files/`.
    Bundle(&'a str),
    /// A template of the bundle, by its path below `templates/`.
    Template(&'a str),
}

/// A regular file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    /// Whether it is to be there.
    pub ensure: Presence,
    /// Its text.
    pub content: Option<String>,
    /// Its content is this file below `files/`.
    pub source: Option<String>,
    /// Its content is this template below `templates/`, rendered.
    pub template: Option<String>,
    /// Permission bits in octal, e.g. `0644`; without it those it has, or 0644 for a new one.
    pub mode: Option<String>,
    /// User that owns it; without it the one it has, or the steward's user for a new one.
    pub owner: Option<String>,
    /// Its group, likewise.
    pub group: Option<String>,
    /// A command that must succeed before the file is put in place; `{}` stands for the path of the new content.
    pub validate: Vec<String>,
    /// Old bytes are kept beside it under this suffix, e.g. `.bak`.
    pub backup: Option<String>,
}

impl File {
    /// Where its content comes from; none where the file is to be absent.
    ///
    /// # Errors
    /// When it names none, or more than one.
    pub fn source(&self) -> Result<Option<ContentSource<'_>>, &'static str> {
        let named = (self.content.as_deref(), self.source.as_deref(), self.template.as_deref());
        match (self.ensure, named) {
            (Presence::Absent, (None, None, None)) => Ok(None),
            (Presence::Absent, _) => Err("a file that is to be absent has no content"),
            (Presence::Present, (Some(text), None, None)) => Ok(Some(ContentSource::Inline(text))),
            (Presence::Present, (None, Some(name), None)) => Ok(Some(ContentSource::Bundle(name))),
            (Presence::Present, (None, None, Some(name))) => Ok(Some(ContentSource::Template(name))),
            (Presence::Present, _) => Err("give exactly one of `content`, `source` and `template`"),
        }
    }
}

/// A directory.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Directory {
    /// Whether it is to be there; only an empty one is removed.
    pub ensure: Presence,
    /// Permission bits in octal; without it those it has, or 0755.
    pub mode: Option<String>,
    /// User that owns it.
    pub owner: Option<String>,
    /// Its group.
    pub group: Option<String>,
}

/// A symbolic link.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Link {
    /// Whether it is to be there.
    pub ensure: Presence,
    /// What it points at, as it is written into the link.
    pub target: String,
}

/// A package of apt or dnf.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Package {
    /// Whether it is to be installed.
    pub ensure: Presence,
    /// Exactly this version; without it any.
    pub version: Option<String>,
}

/// Whether a service is to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServiceState {
    /// It runs.
    Running,
    /// It does not.
    Stopped,
}

/// What a service does when something that it was notified of changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnChange {
    /// It stops and starts.
    #[default]
    Restart,
    /// It reads its settings anew.
    Reload,
    /// Nothing.
    Nothing,
}

/// A unit of systemd.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Service {
    /// Whether it starts at boot; without it as it is.
    pub enabled: Option<bool>,
    /// Whether it runs; without it as it is.
    pub state: Option<ServiceState>,
    /// What it does when it is notified, or when its unit file or drop-in changed.
    pub on_change: OnChange,
    /// Content of its unit file in `/etc/systemd/system`; without it the file is not ours.
    pub unit: Option<String>,
    /// Content of our drop-in, `50-campanile.conf`; without it there is none of ours.
    pub drop_in: Option<String>,
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Account {
    /// Whether it is to be there. Its home stays when it is removed.
    pub ensure: Presence,
    /// User id; without it the next free one.
    pub uid: Option<u32>,
    /// Primary group; without it one of its own name.
    pub group: Option<String>,
    /// Further groups, exactly these; without it as they are.
    pub groups: Option<Vec<String>>,
    /// Home directory.
    pub home: Option<String>,
    /// Login shell.
    pub shell: Option<String>,
    /// Full name or purpose.
    pub comment: Option<String>,
    /// A system account, without ageing and with a low id.
    pub system: bool,
}

/// A group.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Group {
    /// Whether it is to be there.
    pub ensure: Presence,
    /// Group id; without it the next free one.
    pub gid: Option<u32>,
    /// A low id.
    pub system: bool,
}

/// A key that may sign in by ssh.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SshKey {
    /// Whether it is to be there.
    pub ensure: Presence,
    /// Type and key as in a `.pub` file, e.g. `ssh-ed25519 AAAA...`; a comment is ignored.
    pub key: String,
    /// Options as sshd takes them, e.g. `from="10.0.0.0/8"`.
    pub options: Option<String>,
}

/// A line of `/etc/hosts`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HostsEntry {
    /// Whether it is to be there.
    pub ensure: Presence,
    /// Host names of the address, the canonical one first.
    pub names: Vec<String>,
}

/// A kernel parameter, set now and in `/etc/sysctl.d/50-campanile.conf`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sysctl {
    /// Its value as `sysctl` prints it.
    pub value: String,
}

/// A kernel module.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KernelModule {
    /// Present: loaded, and at each boot. Absent: kept from loading and unloaded.
    pub ensure: Presence,
}

/// A mount.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mount {
    /// Whether it is to be there.
    pub ensure: Presence,
    /// Device, `UUID=...`, `server:/path` or `tmpfs`.
    pub device: String,
    /// File system type.
    pub fstype: String,
    /// Options, e.g. `noatime`.
    pub options: Vec<String>,
}

/// A table of nftables. Other tables are left alone.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Firewall {
    /// Whether it is to be there.
    pub ensure: Presence,
    /// The table's content in nft syntax, without the `table FAMILY NAME { }` around it.
    pub rules: Option<String>,
    /// The same, from a template below `templates/`.
    pub template: Option<String>,
}

/// A timer and the service that it starts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timer {
    /// Whether it is to be there.
    pub ensure: Presence,
    /// `OnCalendar=` of the timer.
    pub on_calendar: String,
    /// The command that runs.
    pub command: Vec<String>,
    /// As whom; without it root.
    pub user: Option<String>,
    /// Runs that were missed are made up for.
    pub persistent: bool,
    /// Seconds by which each run is put off at random at most.
    pub splay_s: u32,
}

/// A command that runs when its guard says so: once where `creates` is missing, whenever `unless` fails, when `only_if`
/// succeeds, and, with none of them, only when it is notified.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Command {
    /// Program and arguments; no shell.
    pub run: Vec<String>,
    /// It does not run while this path exists.
    pub creates: Option<String>,
    /// It does not run while this command succeeds.
    pub unless: Vec<String>,
    /// It runs only while this command succeeds.
    pub only_if: Vec<String>,
    /// As whom; without it the steward's user.
    pub user: Option<String>,
    /// Seconds it may take.
    pub timeout_s: Option<u32>,
}

/// A resource of a node: merged, typed and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// Its kind and name.
    pub id: ResourceId,
    /// Order, notification, drift, confirmation.
    pub rules: Rules,
    /// What it is to be.
    pub spec: Spec,
}

/// A resource that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{id}: {problem}")]
pub struct ResourceError {
    /// Which.
    pub id: ResourceId,
    /// The key that is wrong, where it is one.
    pub key: Option<String>,
    /// What is wrong.
    pub problem: String,
}

impl Resource {
    /// Types and checks a merged table.
    ///
    /// # Errors
    /// When a key is unknown or missing, or a value is of the wrong type or outside its range.
    pub fn read(id: ResourceId, table: Map<String, Value>) -> Result<Self, ResourceError> {
        let (rules, own): (Map<_, _>, Map<_, _>) =
            table.into_iter().partition(|(key, _)| Rules::KEYS.contains(&key.as_str()));
        let wrong = |error: serde_json::Error| {
            let problem = error.to_string();
            // The codec quotes the name of an unknown key first.
            let key = problem.starts_with("unknown field").then(|| problem.split('`').nth(1));
            ResourceError { id: id.clone(), key: key.flatten().map(str::to_owned), problem: problem.clone() }
        };
        let rules: Rules = serde_json::from_value(Value::Object(rules)).map_err(wrong)?;
        let spec = id.kind.read(Value::Object(own)).map_err(wrong)?;
        let resource = Self { id, rules, spec };
        resource.check().map_err(|(key, problem)| ResourceError {
            id: resource.id.clone(),
            key: key.map(str::to_owned),
            problem,
        })?;
        Ok(resource)
    }
}

type Broken = (Option<&'static str>, String);

fn rule(holds: bool, key: &'static str, problem: &str) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err((Some(key), problem.to_owned())) }
}

/// True for absolute paths without `.`, `..`, empty parts and a slash at the end.
pub(super) fn is_plain_path(path: &str) -> bool {
    let is_plain = |part: &str| !part.is_empty() && part != "." && part != "..";
    path.strip_prefix('/').is_some_and(|rest| rest.split('/').all(is_plain))
}

fn is_mode(mode: &str) -> bool {
    (3..=5).contains(&mode.len()) && u32::from_str_radix(mode, 8).is_ok_and(|bits| bits <= 0o7777)
}

fn is_line(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_control())
}

/// Names that useradd, groupadd and modprobe take.
fn is_plain_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    (1..=32).contains(&name.len()) && !name.starts_with(['-', '.']) && name.chars().all(allowed)
}

impl Resource {
    fn check(&self) -> Result<(), Broken> {
        let name = &self.id.name;
        if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains(|c: char| c.is_control()) {
            return Err((None, "its name is empty, too long, or holds a control character".to_owned()));
        }
        self.check_name().map_err(|problem| (None, problem.to_owned()))?;
        match &self.spec {
            Spec::File(file) => {
                file.source().map_err(|problem| (Some("content"), problem.to_owned()))?;
                check_modes(file.mode.as_deref())?;
                let is_suffix = |suffix: &str| is_line(suffix) && !suffix.contains('/');
                rule(file.backup.as_deref().is_none_or(is_suffix), "backup", "a suffix, e.g. \".bak\"")
            }
            Spec::Directory(directory) => check_modes(directory.mode.as_deref()),
            Spec::Link(link) => {
                let is_needed = link.ensure == Presence::Present;
                rule(!is_needed || is_line(&link.target), "target", "say what the link points at")
            }
            Spec::Package(package) => {
                let version = package.version.as_deref();
                let fits = |version: &str| {
                    is_line(version) && !version.contains([' ', '=']) && !version.starts_with('-')
                };
                rule(version.is_none_or(fits), "version", "no version of a package")?;
                let is_pinned_absent = package.ensure == Presence::Absent && version.is_some();
                rule(!is_pinned_absent, "version", "a package that is to be absent has no version")
            }
            Spec::User(user) => {
                let is_path = |path: &str| is_plain_path(path) && !path.contains(':');
                rule(user.home.as_deref().is_none_or(is_path), "home", "an absolute path")?;
                rule(user.shell.as_deref().is_none_or(is_path), "shell", "an absolute path")?;
                let is_field = |text: &str| !text.contains(|c: char| c.is_control() || c == ':');
                rule(user.comment.as_deref().is_none_or(is_field), "comment", "one line without a colon")?;
                let mut groups = user.groups.iter().flatten().chain(&user.group);
                rule(groups.all(|group| is_plain_name(group)), "groups", "names of groups")
            }
            Spec::AuthorizedKey(key) => {
                let mut words = key.key.split(' ');
                let has_two = words.next().is_some_and(is_line) && words.next().is_some_and(is_line);
                rule(has_two && is_line(&key.key), "key", "type and key, as in a .pub file, on one line")?;
                rule(key.options.as_deref().is_none_or(is_line), "options", "one line")
            }
            Spec::Host(host) => {
                let is_host = |name: &String| is_line(name) && !name.contains([' ', '#']);
                let is_needed = host.ensure == Presence::Present;
                rule(!is_needed || !host.names.is_empty(), "names", "at least one host name")?;
                rule(host.names.iter().all(is_host), "names", "host names without blanks")
            }
            Spec::Sysctl(sysctl) => rule(is_line(&sysctl.value), "value", "its value, on one line"),
            Spec::Mount(mount) if mount.ensure == Presence::Present => {
                let fits = |text: &str| is_line(text) && !text.contains([' ', '#']);
                rule(fits(&mount.device), "device", "what is mounted, without blanks")?;
                rule(fits(&mount.fstype), "fstype", "the file system's type, e.g. \"ext4\"")?;
                let is_option = |option: &String| fits(option) && !option.contains(',');
                rule(mount.options.iter().all(is_option), "options", "options, one each, e.g. [\"noatime\"]")
            }
            Spec::Firewall(firewall) => {
                let count = usize::from(firewall.rules.is_some()) + usize::from(firewall.template.is_some());
                let needed = usize::from(firewall.ensure == Presence::Present);
                rule(
                    count == needed,
                    "rules",
                    "give exactly one of `rules` and `template`, or none with ensure = \"absent\"",
                )
            }
            Spec::Timer(timer) if timer.ensure == Presence::Present => {
                rule(is_line(&timer.on_calendar), "on_calendar", "when, e.g. \"*-*-* 03:00\"")?;
                rule(is_program(&timer.command), "command", "program and arguments")
            }
            Spec::Command(command) => rule(is_program(&command.run), "run", "program and arguments"),
            Spec::Group(_) | Spec::Module(_) | Spec::Service(_) | Spec::Mount(_) | Spec::Timer(_) => Ok(()),
        }
    }

    fn check_name(&self) -> Result<(), &'static str> {
        let name = self.id.name.as_str();
        let holds = |holds: bool, problem| if holds { Ok(()) } else { Err(problem) };
        match self.id.kind {
            Kind::File | Kind::Directory | Kind::Link | Kind::Mount => {
                holds(is_plain_path(name), "its name is to be an absolute path without `.` and `..`")
            }
            Kind::User | Kind::Group | Kind::Module => holds(is_plain_name(name), "that is no such name"),
            Kind::Package => {
                let allowed = |c: char| c.is_ascii_alphanumeric() || "+-._:".contains(c);
                holds(!name.starts_with('-') && name.chars().all(allowed), "that is no name of a package")
            }
            Kind::AuthorizedKey => {
                let parts = name.split_once('/');
                let fits = parts.is_some_and(|(user, label)| {
                    is_plain_name(user) && is_line(label) && !label.contains(' ')
                });
                holds(fits, "its name is to be USER/LABEL, e.g. deploy/laptop")
            }
            Kind::Host => holds(name.parse::<core::net::IpAddr>().is_ok(), "its name is to be an IP address"),
            Kind::Sysctl => {
                let allowed = |c: char| c.is_ascii_alphanumeric() || "._-/*".contains(c);
                let fits =
                    name.chars().all(allowed) && !name.contains("..") && !name.starts_with(['/', '.', '-']);
                holds(fits, "that is no key of sysctl")
            }
            Kind::Firewall => {
                let families = ["ip", "ip6", "inet", "arp", "bridge", "netdev"];
                let fits = name.split_once('/').is_some_and(|(family, table)| {
                    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
                    families.contains(&family)
                        && table.starts_with(|c: char| c.is_ascii_alphabetic())
                        && table.chars().all(allowed)
                });
                holds(fits, "its name is to be FAMILY/TABLE, e.g. inet/filter")
            }
            Kind::Service => {
                holds(crate::authority::is_unit_name(name), "its name is to be a unit's, e.g. nginx.service")
            }
            Kind::Timer => {
                let unit = format!("{name}.timer");
                holds(crate::authority::is_unit_name(&unit), "its name is to be a timer's, without a suffix")
            }
            Kind::Command => Ok(()),
        }
    }
}

fn check_modes(mode: Option<&str>) -> Result<(), Broken> {
    rule(mode.is_none_or(is_mode), "mode", "permission bits in octal as text, e.g. \"0644\"")
}

fn is_program(argv: &[String]) -> bool {
    argv.first().is_some_and(|program| is_line(program)) && argv.iter().all(|word| !word.contains('\0'))
}
