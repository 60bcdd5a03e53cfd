//! Resources: the things on a node that configuration speaks of, typed and checked.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

mod check;
mod spec;

pub use spec::{
    Account, Backup, Command, ContentSource, Directory, DrillKeys, File, Firewall, Group, HostsEntry,
    KeepKeys, KernelModule, Link, Mount, OnChange, Package, Presence, Service, ServiceState, SshKey, Sysctl,
    Timer,
};

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

            /// A resource of which nothing is said, with every key.
            fn blank(self) -> Value {
                let blank = match self { $(Self::$kind => serde_json::to_value(<$spec>::default()),)* };
                blank.expect("plain values")
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
    /// A backup policy; the name is the policy's.
    Backup(Box<Backup>) = "backup",
}

impl Kind {
    /// The keys that a resource of this kind takes, those of [`Rules`] last.
    pub fn keys(self) -> Vec<String> {
        let own = match self.blank() {
            Value::Object(own) => own.into_iter().map(|(key, _)| key).collect(),
            _ => Vec::new(),
        };
        own.into_iter().chain(Rules::KEYS.map(str::to_owned)).collect()
    }

    /// Keys of which a resource has at most one: a layer that says one of them takes back the others.
    pub const fn exclusive_keys(self) -> &'static [&'static str] {
        match self {
            Self::File => &["content", "source", "template"],
            Self::Firewall => &["rules", "template"],
            _ => &[],
        }
    }

    /// Checks one value by itself: whether there is such a key, and whether it takes such a value.
    ///
    /// # Errors
    /// When not; why.
    pub fn check_key(self, key: &str, value: &Value) -> Result<(), String> {
        let one = Value::Object(Map::from_iter([(key.to_owned(), value.clone())]));
        let read = if Rules::KEYS.contains(&key) {
            serde_json::from_value::<Rules>(one).map(drop)
        } else {
            self.read(one).map(drop)
        };
        read.map_err(|error| error.to_string())
    }
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
    /// Its keys.
    pub const KEYS: [&str; 4] = ["after", "notify", "on_drift", "confirm"];
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

impl ResourceId {
    /// Checks that the name is one for its kind.
    ///
    /// # Errors
    /// When it is not; what it is to be.
    pub fn check(&self) -> Result<(), &'static str> {
        check::name(self)
    }
}

impl Resource {
    /// Types and checks a merged table.
    ///
    /// # Errors
    /// When a key is unknown or missing, or a value is of the wrong type or outside its range.
    pub fn read(id: ResourceId, table: Map<String, Value>) -> Result<Self, ResourceError> {
        let wrong = |key: Option<&str>, problem: String| ResourceError {
            id: id.clone(),
            key: key.map(str::to_owned),
            problem,
        };
        for (key, value) in &table {
            id.kind.check_key(key, value).map_err(|problem| wrong(Some(key), problem))?;
        }
        let (rules, own): (Map<_, _>, Map<_, _>) =
            table.into_iter().partition(|(key, _)| Rules::KEYS.contains(&key.as_str()));
        let codec = |error: serde_json::Error| wrong(None, error.to_string());
        let rules: Rules = serde_json::from_value(Value::Object(rules)).map_err(codec)?;
        let spec = id.kind.read(Value::Object(own)).map_err(codec)?;
        let resource = Self { id, rules, spec };
        match check::resource(&resource) {
            Ok(()) => Ok(resource),
            Err((key, problem)) => {
                Err(ResourceError { id: resource.id, key: key.map(str::to_owned), problem })
            }
        }
    }

    /// Whether it is to be there. Kinds that cannot be absent are present.
    pub const fn presence(&self) -> Presence {
        match &self.spec {
            Spec::Group(group) => group.ensure,
            Spec::User(user) => user.ensure,
            Spec::Package(package) => package.ensure,
            Spec::Directory(directory) => directory.ensure,
            Spec::File(file) => file.ensure,
            Spec::Link(link) => link.ensure,
            Spec::AuthorizedKey(key) => key.ensure,
            Spec::Host(host) => host.ensure,
            Spec::Module(module) => module.ensure,
            Spec::Mount(mount) => mount.ensure,
            Spec::Firewall(firewall) => firewall.ensure,
            Spec::Timer(timer) => timer.ensure,
            Spec::Backup(backup) => backup.ensure,
            Spec::Sysctl(_) | Spec::Service(_) | Spec::Command(_) => Presence::Present,
        }
    }
}

#[cfg(test)]
mod tests;
