//! What lies where in the directory of a development fleet, and what is written there.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use campanile_common::label::Labels;
use serde::{Deserialize, Serialize};

use crate::os::file;
use crate::os::socket::PATH_BYTES_MAX;

/// Marks a directory as made by `dev up`.
const MARKER: &str = ".campanile-dev";
/// Present while `dev down` is at work.
const STOPPING: &str = ".campanile-dev-stopping";
/// Format of the marker.
const FORMAT: u16 = 1;
/// Everything that `dev up` makes in the directory, besides the two above.
const MADE: [&str; 5] = ["nodes", "aggregator", "operator", "env", "token"];

/// Roles of seven nodes in a row.
const ROLES: [&str; 7] = ["web", "web", "web", "db", "cache", "worker", "worker"];
/// Regions of the groups of seven.
const REGIONS: [&str; 3] = ["eu-west", "eu-north", "us-east"];

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Marker {
    format: u16,
    /// Whether the directory itself is ours to remove.
    created_directory: bool,
}

/// The directory of a development fleet.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    root: PathBuf,
}

impl Layout {
    /// Takes a directory that is empty or does not exist.
    pub(super) fn claim(dir: &Path) -> anyhow::Result<Self> {
        let existed = dir.is_dir();
        if existed {
            if dir.join(MARKER).exists() {
                bail!(
                    "{} already holds a development fleet; stop and remove it first: campanile dev down --dir {}",
                    dir.display(),
                    dir.display()
                );
            }
            let mut entries = fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
            if entries.next().is_some() {
                bail!(
                    "{} is not empty and was not made by `campanile dev up`; give another --dir",
                    dir.display()
                );
            }
        }
        file::make_private_dir(dir)?;
        let marker = serde_json::to_vec(&Marker { format: FORMAT, created_directory: !existed })?;
        file::write_new(&dir.join(MARKER), &marker, file::PUBLIC)?;
        let layout = Self::absolute(dir)?;
        if layout.root.to_str().is_none() {
            layout.remove()?;
            bail!(
                "the path of {} is not UTF-8 text, which settings files must be; give another --dir",
                dir.display()
            );
        }
        Ok(layout)
    }

    /// Opens a directory that [`Self::claim`] took before; none when it does not exist.
    pub(super) fn open(dir: &Path) -> anyhow::Result<Option<Self>> {
        if !dir.exists() {
            return Ok(None);
        }
        if !dir.join(MARKER).is_file() {
            bail!("{} was not made by `campanile dev up`; nothing was touched", dir.display());
        }
        Self::absolute(dir).map(Some)
    }

    fn absolute(dir: &Path) -> anyhow::Result<Self> {
        let root = dir.canonicalize().with_context(|| format!("cannot find {}", dir.display()))?;
        Ok(Self { root })
    }

    /// The directory itself.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Something in the directory.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The aggregator's state folder.
    pub(super) fn aggregator_state(&self) -> PathBuf {
        self.path("aggregator/state")
    }

    /// The aggregator's settings file.
    pub(super) fn aggregator_settings(&self) -> PathBuf {
        self.path("aggregator/aggregator.toml")
    }

    /// Something in the folder of a node.
    pub(super) fn node(&self, node: &str, name: &str) -> PathBuf {
        self.root.join("nodes").join(node).join(name)
    }

    /// Refuses a directory so deep that the stewards' sockets do not fit the kernel's structure.
    pub(super) fn check_sockets(dir: &Path, nodes: &[PlannedNode]) -> anyhow::Result<()> {
        let absolute = std::path::absolute(dir).with_context(|| format!("cannot find {}", dir.display()))?;
        let layout = Self { root: absolute };
        let longest =
            nodes.iter().map(|node| layout.node(&node.name, STEWARD_SOCKET).as_os_str().len()).max();
        let over = longest.unwrap_or(0).saturating_sub(PATH_BYTES_MAX);
        if over > 0 {
            bail!(
                "the path of {} is {over} bytes too long for the sockets in it; give a --dir nearer to the root",
                dir.display()
            );
        }
        Ok(())
    }

    /// The settings files of all agents that are there.
    pub(super) fn agents_settings(&self) -> io::Result<BTreeSet<PathBuf>> {
        let nodes = match fs::read_dir(self.path("nodes")) {
            Ok(nodes) => nodes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
            Err(error) => return Err(error),
        };
        nodes.map(|node| Ok(node?.path().join("agent.toml"))).collect()
    }

    /// Says that `dev down` is at work, so that a `dev up` in the foreground does not take the end of its processes
    /// for a failure.
    pub(super) fn mark_stopping(&self) -> anyhow::Result<()> {
        Ok(file::replace(&self.path(STOPPING), b"", file::PUBLIC)?)
    }

    /// True while, or after, `dev down` is at work.
    pub(super) fn is_stopping(&self) -> bool {
        self.path(STOPPING).exists() || !self.path(MARKER).exists()
    }

    /// Removes everything that was made here, the marker last, and the directory if it is ours and now empty.
    pub(super) fn remove(&self) -> anyhow::Result<()> {
        let marker: Option<Marker> =
            file::read(&self.path(MARKER)).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        for name in MADE.iter().chain(&[STOPPING, MARKER]) {
            let path = self.path(name);
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            match removed {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other.with_context(|| format!("cannot remove {}", path.display()))?,
            }
        }
        if marker.is_some_and(|marker| marker.created_directory) {
            match fs::remove_dir(&self.root) {
                // Somebody put something of their own there.
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other.with_context(|| format!("cannot remove {}", self.root.display()))?,
            }
        }
        Ok(())
    }
}

/// A node that is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PlannedNode {
    /// Its name.
    pub(super) name: String,
    /// Its labels.
    pub(super) labels: Labels,
}

/// Names and labels of `count` nodes: groups of seven with the usual roles, each group in a region, every fourth
/// group a staging environment.
pub(super) fn plan_nodes(count: u16) -> Vec<PlannedNode> {
    let width = count.to_string().len().max(2);
    (0..usize::from(count))
        .map(|index| {
            let group = index / ROLES.len();
            let environment = if group % 4 == 3 { "staging" } else { "prod" };
            let mut labels = Labels::default();
            for (key, value) in [
                ("role", ROLES[index % ROLES.len()]),
                ("region", REGIONS[group % REGIONS.len()]),
                ("env", environment),
            ] {
                labels.set(key, value).expect("the constants above are well-formed labels");
            }
            PlannedNode { name: format!("node-{:0width$}", index + 1), labels }
        })
        .collect()
}

/// The aggregator's settings.
pub(super) fn aggregator_settings(layout: &Layout, port: u16) -> String {
    format!(
        "# Written by `campanile dev up`.\n\
         state_dir = {}\n\
         listen = \"127.0.0.1:{port}\"\n\
         addresses = [\"127.0.0.1:{port}\"]\n\
         log_level = \"info\"\n\
         log_format = \"text\"\n",
        quoted(&layout.aggregator_state())
    )
}

/// Settings of an agent and its steward. Commands run in process groups: a development fleet makes no units of the
/// machine's service manager, whoever runs it.
pub(super) fn agent_settings(layout: &Layout, node: &str) -> String {
    format!(
        "# Written by `campanile dev up`.\n\
         state_dir = {}\n\
         log_level = \"info\"\n\
         log_format = \"text\"\n\
         policy = {}\n\
         \n\
         [steward]\n\
         state_dir = {}\n\
         socket = {}\n\
         units = \"never\"\n\
         \n\
         [config]\n\
         root = {}\n\
         check_interval_s = 30\n",
        quoted(&layout.node(node, "state")),
        quoted(&layout.node(node, POLICY)),
        quoted(&layout.node(node, "steward")),
        quoted(&layout.node(node, STEWARD_SOCKET)),
        quoted(&layout.node(node, ROOT)),
    )
}

/// What each node accepts: everything that is built, so that it can be tried out.
pub(super) const NODE_POLICY: &str = "\
# Written by `campanile dev up`: this node takes every order. Change it and see what is denied.
highest_tier = 3
classes = [\"observe\", \"backup\", \"command\", \"config\", \"shell\"]

[units]
observe = [\"*\"]
change = [\"*\"]
";
/// Name of the folder below which configuration writes, within a node's folder: a development fleet leaves the
/// machine's own files alone.
const ROOT: &str = "root";
/// What is there before any configuration, so that there is something to change and to go back to.
const ROOT_FILES: [(&str, &str); 4] = [
    ("etc/motd", "A node of a development fleet.\n"),
    ("etc/hosts", "127.0.0.1 localhost\n"),
    ("etc/hostname", "{node}\n"),
    ("etc/nginx/nginx.conf", "worker_processes 1;\n"),
];

/// Makes the folder below which a node is configured.
pub(super) fn make_root(folder: &Path, node: &str) -> anyhow::Result<()> {
    for (name, content) in ROOT_FILES {
        let path = folder.join(ROOT).join(name);
        if let Some(parent) = path.parent() {
            file::make_private_dir(parent)?;
        }
        file::write_new(&path, content.replace("{node}", node).as_bytes(), file::PUBLIC)?;
    }
    Ok(())
}

/// Name of the policy file within a node's folder.
pub(super) const POLICY: &str = "policy.toml";
/// Name of the steward's socket within a node's folder.
const STEWARD_SOCKET: &str = "steward.sock";

/// The file that a shell sources.
pub(super) fn environment(layout: &Layout, port: u16, token: &str) -> String {
    let lines = [
        ("CAMPANILE_URL", format!("https://127.0.0.1:{port}")),
        ("CAMPANILE_CA", layout.path("operator/ca.pem").display().to_string()),
        ("CAMPANILE_TOKEN", token.to_owned()),
        ("CAMPANILE_CONFIG_DIR", layout.path("operator").display().to_string()),
        ("CAMPANILE_PASSPHRASE_FILE", layout.path("operator/passphrase").display().to_string()),
    ];
    lines.map(|(name, value)| format!("export {name}={}\n", shell_quoted(&value))).concat()
}

/// A TOML string; JSON's strings are a subset of TOML's basic ones.
fn quoted(path: &Path) -> String {
    serde_json::Value::from(path.to_string_lossy()).to_string()
}

pub(super) fn shell_quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_has_a_name_of_its_own_and_realistic_labels() {
        let nodes = plan_nodes(28);
        let names: BTreeSet<_> = nodes.iter().map(|node| &node.name).collect();
        assert_eq!(names.len(), 28);
        assert_eq!((nodes[0].name.as_str(), nodes[27].name.as_str()), ("node-01", "node-28"));
        assert_eq!(nodes[0].labels.to_string(), "env=prod,region=eu-west,role=web");
        assert_eq!(nodes[27].labels.to_string(), "env=staging,region=eu-west,role=worker");
        assert_eq!(plan_nodes(100)[0].name, "node-001");
    }

    #[test]
    fn a_directory_too_deep_for_sockets_is_refused_before_anything_is_made() {
        let nodes = plan_nodes(3);
        let fits = "x".repeat(PATH_BYTES_MAX - "//nodes/node-01/steward.sock".len());
        assert!(Layout::check_sockets(&Path::new("/").join(&fits), &nodes).is_ok());
        let error = Layout::check_sockets(&Path::new("/").join(format!("{fits}x")), &nodes).unwrap_err();
        assert!(error.to_string().contains("1 bytes too long"), "{error}");
    }

    #[test]
    fn the_policy_of_a_node_is_one_that_stewards_read() {
        let policy: campanile_common::authority::Policy = toml::from_str(NODE_POLICY).unwrap();
        assert_eq!(policy.highest_tier, campanile_common::authority::Tier::Critical);
        assert_eq!(policy.units.change, ["*"]);
    }

    #[test]
    fn a_node_is_configured_below_a_folder_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::claim(&folder.path().join("demo")).unwrap();
        let settings: toml::Table = toml::from_str(&agent_settings(&layout, "node-01")).unwrap();
        let root = layout.node("node-01", ROOT);
        assert_eq!(settings["config"]["root"].as_str(), root.to_str());
        make_root(&layout.node("node-01", ""), "node-01").unwrap();
        assert_eq!(fs::read_to_string(root.join("etc/hostname")).unwrap(), "node-01\n");
        let policy: campanile_common::authority::Policy = toml::from_str(NODE_POLICY).unwrap();
        assert!(policy.classes.contains(&campanile_common::authority::Class::Config));
    }

    #[test]
    fn a_directory_that_is_not_ours_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let theirs = folder.path().join("letters.txt");
        fs::write(&theirs, "dear").unwrap();
        assert!(Layout::claim(folder.path()).is_err());
        assert!(Layout::open(folder.path()).is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_directory_is_taken_once() {
        let folder = tempfile::tempdir().unwrap();
        Layout::claim(folder.path()).unwrap();
        let error = Layout::claim(folder.path()).unwrap_err();
        assert!(error.to_string().contains("campanile dev down"), "{error}");
    }

    #[test]
    fn removal_leaves_a_directory_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        for existed in [true, false] {
            let dir = folder.path().join("demo");
            if existed {
                fs::create_dir(&dir).unwrap();
            }
            let layout = Layout::claim(&dir).unwrap();
            fs::create_dir_all(layout.node("node-01", "state")).unwrap();
            fs::write(layout.path("env"), "").unwrap();
            layout.remove().unwrap();
            assert_eq!(dir.exists(), existed);
            if existed {
                assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
                fs::remove_dir(&dir).unwrap();
            }
        }
    }

    #[test]
    fn removal_spares_what_somebody_else_put_there() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("demo");
        let layout = Layout::claim(&dir).unwrap();
        fs::write(dir.join("notes"), "mine").unwrap();
        layout.remove().unwrap();
        assert_eq!(fs::read_to_string(dir.join("notes")).unwrap(), "mine");
    }

    #[test]
    fn odd_characters_in_the_path_survive_settings_and_shell() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::claim(&folder.path().join("it's \"odd\" $HOME")).unwrap();
        let settings: toml::Table = toml::from_str(&agent_settings(&layout, "node-01")).unwrap();
        assert_eq!(settings["state_dir"].as_str(), layout.node("node-01", "state").to_str());
        let script = format!("{}printf %s \"$CAMPANILE_CA\"", environment(&layout, 1, "t"));
        let printed = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
        assert_eq!(
            String::from_utf8(printed.stdout).unwrap(),
            layout.path("operator/ca.pem").to_str().unwrap()
        );
    }
}
