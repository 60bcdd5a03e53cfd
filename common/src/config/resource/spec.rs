//! What each kind of resource may say: its keys, as a bundle writes them.

use serde::{Deserialize, Serialize};

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

/// A backup policy. What each key means once it is read: [`crate::backup::Policy`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Backup {
    /// Whether it is to be there. Its snapshots stay when it is removed.
    pub ensure: Presence,
    /// Absolute paths that are backed up.
    pub paths: Vec<String>,
    /// Patterns of paths that are left out.
    pub exclude: Vec<String>,
    /// Folders with a valid `CACHEDIR.TAG` are left out.
    pub exclude_caches: bool,
    /// Folders that hold a file of one of these names are left out.
    pub exclude_if_present: Vec<String>,
    /// Longer files are left out, e.g. `100 MiB`.
    pub exclude_larger_than: Option<String>,
    /// What is mounted below the paths is left out.
    pub one_file_system: bool,
    /// A command whose standard output is backed up, in place of `paths`.
    pub command: Vec<String>,
    /// Name of the file that its output becomes.
    pub file_name: Option<String>,
    /// Commands before a run; when one fails, nothing is backed up.
    pub run_before: Vec<Vec<String>>,
    /// Commands after a run, however it ended.
    pub run_after: Vec<Vec<String>>,
    /// How long each of them may take; 10 minutes without it.
    pub hook_timeout: Option<String>,
    /// When: as in cron, `@daily`, `@every 6h`, or `continuous`.
    pub schedule: Option<String>,
    /// Nodes are spread over so long; without it over a tenth of the interval, half an hour at most.
    pub splay: Option<String>,
    /// Runs begin within this part of the day, e.g. `01:00-05:00`.
    pub window: Option<String>,
    /// Which snapshots are kept.
    pub keep: KeepKeys,
    /// Older than this the newest snapshot is late; without it one and a half intervals.
    pub max_age: Option<String>,
    /// Where to: `aggregator`, which is the default, `dir:/PATH`, `s3:https://HOST/BUCKET` or `sftp:USER@HOST:/PATH`.
    pub target: Option<String>,
    /// Age recipients who can restore without the node.
    pub escrow: Vec<String>,
    /// Most that is read in a second, e.g. `20 MiB/s`.
    pub read_limit: Option<String>,
    /// Most that is sent in a second.
    pub write_limit: Option<String>,
    /// How restoring is tried.
    pub drill: Option<DrillKeys>,
    /// Most that the aggregator's store takes for this node, e.g. `50 GiB`.
    pub quota: Option<String>,
    /// File on the node with the credentials for S3.
    pub credentials: Option<String>,
    /// File on the node with the private key for SFTP.
    pub identity: Option<String>,
    /// File on the node with the keys of machines that SFTP knows.
    pub known_hosts: Option<String>,
    /// Within this time the node decrypts everything that is in the repository once; 30 days without it.
    pub check_cycle: Option<String>,
}

/// Which snapshots of a policy are kept: all that any of these keeps.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KeepKeys {
    /// So many of the newest.
    #[serde(skip_serializing_if = "is_zero")]
    pub last: u32,
    /// The newest of so many hours.
    #[serde(skip_serializing_if = "is_zero")]
    pub hourly: u32,
    /// Of so many days.
    #[serde(skip_serializing_if = "is_zero")]
    pub daily: u32,
    /// Of so many weeks.
    #[serde(skip_serializing_if = "is_zero")]
    pub weekly: u32,
    /// Of so many months.
    #[serde(skip_serializing_if = "is_zero")]
    pub monthly: u32,
    /// Of so many years.
    #[serde(skip_serializing_if = "is_zero")]
    pub yearly: u32,
    /// All that are at most so much older than the newest, e.g. `48h`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub within: Option<String>,
}

/// How restoring is tried.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DrillKeys {
    /// When: as in cron, or `@every 30d`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// The application's own check; `{}` stands for the folder of what was restored.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
const fn is_zero(count: &u32) -> bool {
    *count == 0
}
