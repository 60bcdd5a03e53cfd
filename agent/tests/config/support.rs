//! A node that is a folder: its settings, its pin, generations for it, and the program that applies them.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use campanile_agent::config::confirm;
use campanile_agent::config::state::{self, State};
use campanile_agent::steward::pin::write_pin;
use campanile_common::api::PlanLine;
use campanile_common::authority::{Document, Operator, OperatorKey, Role, SignedAuthority};
use campanile_common::config::{
    FilePart, Generation, Layer, LayerKind, LayerPart, Member, Purpose, SecretPart, part_digest,
};
use campanile_common::id::{Digest, FleetId, NodeId};
use campanile_common::label::Labels;
use campanile_common::time::Timestamp;
use serde_json::{Value, json};
use zeroize::Zeroizing;

const FLEET: FleetId = FleetId::from_bytes([1; 16]);
pub(crate) const NODE: NodeId = NodeId::from_bytes([2; 8]);
/// Longest wait for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap())
}

pub(crate) fn key(seed: u8) -> OperatorKey {
    OperatorKey::from_seed(Zeroizing::new([seed; 32])).unwrap()
}

fn authority() -> SignedAuthority {
    let operator =
        Operator { name: "alice".to_owned(), key: key(1).public(), roles: Role::ALL.into_iter().collect() };
    let day = Duration::from_secs(86_400);
    let mut document = Document::first(FLEET, "fleet".to_owned(), operator, now() - day, now() + day);
    document.recovery.push(key(200).public());
    document.sign(&[&key(1)]).unwrap()
}

/// What a generation says, before it is signed.
pub(crate) struct Draft {
    pub(crate) layer: Layer,
    pub(crate) secrets: BTreeMap<String, SecretPart>,
    pub(crate) purpose: Purpose,
    pub(crate) signer: u8,
}

impl Draft {
    pub(crate) fn new() -> Self {
        let (layer, secrets) = (Layer::default(), BTreeMap::new());
        Self { layer, secrets, purpose: Purpose::Release, signer: 1 }
    }

    /// With a resource, as a bundle would have it.
    pub(crate) fn with(mut self, kind: &str, name: &str, keys: Value) -> Self {
        let Value::Object(keys) = keys else { panic!("the keys of a resource are a table") };
        self.layer.resources.entry(kind.to_owned()).or_default().insert(name.to_owned(), keys);
        self
    }

    /// With a file of this text.
    pub(crate) fn file(self, path: &str, text: &str) -> Self {
        self.with("file", path, json!({ "content": text }))
    }
}

/// How the program ended.
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) text: String,
    pub(crate) lines: Vec<PlanLine>,
}

impl Ended {
    fn of(code: Option<i32>, stdout: &[u8], stderr: &[u8]) -> Self {
        let text = String::from_utf8(stdout.to_vec()).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let complaint = String::from_utf8_lossy(stderr);
        assert!(complaint.is_empty(), "{complaint}");
        Self { code: code.unwrap_or(-1), text, lines }
    }

    /// `VERB KIND:NAME` of each change.
    pub(crate) fn changes(&self) -> Vec<String> {
        let changes = self.lines.iter().filter_map(|line| match line {
            PlanLine::Change(change) => Some(format!("{:?} {}", change.verb, change.resource)),
            _ => None,
        });
        changes.collect()
    }

    pub(crate) fn problems(&self) -> Vec<String> {
        let problems = self.lines.iter().filter_map(|line| match line {
            PlanLine::Problem { message, .. } => Some(message.clone()),
            _ => None,
        });
        problems.collect()
    }

    pub(crate) fn steps(&self) -> Vec<String> {
        let steps = self.lines.iter().filter_map(|line| match line {
            PlanLine::Step { step } => Some(step.clone()),
            _ => None,
        });
        steps.collect()
    }

    /// What the last line says: number of changes, result, and what is left.
    pub(crate) fn summary(&self) -> (u32, String, Vec<String>) {
        match self.lines.last() {
            Some(PlanLine::Summary { changes, result, left, .. }) => (*changes, result.clone(), left.clone()),
            other => panic!("the last line is no summary: {other:?}"),
        }
    }
}

/// A node.
pub(crate) struct Node {
    _folder: tempfile::TempDir,
    pub(crate) root: PathBuf,
    pub(crate) config: PathBuf,
    settings: PathBuf,
    last: Option<(u64, Digest)>,
}

impl Node {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        std::fs::create_dir(&root).unwrap();
        Self::beneath(folder, root)
    }

    /// With its root somewhere else.
    pub(crate) fn beneath(folder: tempfile::TempDir, root: PathBuf) -> Self {
        let steward = folder.path().join("steward");
        let settings = folder.path().join("agent.toml");
        let text = format!(
            "[steward]\nstate_dir = {:?}\nunits = \"never\"\n[config]\nroot = {:?}\n",
            steward.display().to_string(),
            root.display().to_string()
        );
        std::fs::write(&settings, text).unwrap();
        write_pin(&steward, FLEET, NODE, &[authority()]).unwrap();
        let config = state::folder_of(&steward);
        std::fs::create_dir_all(state::parts_of(&config)).unwrap();
        std::fs::create_dir_all(root.join("etc")).unwrap();
        Self { _folder: folder, root, config, settings, last: None }
    }

    /// Keeps a part as the steward does.
    pub(crate) fn part(&self, bytes: &[u8]) -> Digest {
        let digest = part_digest(bytes);
        std::fs::write(state::parts_of(&self.config).join(digest.to_string()), bytes).unwrap();
        digest
    }

    pub(crate) fn file_part(&self, bytes: &[u8]) -> FilePart {
        FilePart { digest: self.part(bytes), size: u64::try_from(bytes.len()).unwrap() }
    }

    /// Signs a generation and keeps its parts as the steward does.
    pub(crate) fn generation(&mut self, draft: Draft) -> Digest {
        let number = self.last.map_or(1, |(number, _)| number + 1);
        let layer = self.part(&draft.layer.to_bytes());
        let member = Member { name: "web-1".to_owned(), labels: Labels::default(), layers: vec![0] };
        let generation = Generation {
            format: Generation::FORMAT,
            fleet: FLEET,
            number,
            parent: self.last.map(|(_, digest)| digest),
            authority_version: 1,
            created: now(),
            author: "alice".to_owned(),
            message: "test".to_owned(),
            purpose: draft.purpose,
            layers: vec![LayerPart {
                kind: LayerKind::Fleet,
                name: "fleet".to_owned(),
                selector: None,
                priority: 0,
                digest: layer,
                is_for_members_only: false,
            }],
            members: [(NODE, member)].into(),
            secrets: draft.secrets,
        };
        let signed = generation.sign(&[&key(draft.signer)]).unwrap();
        let digest = signed.digest();
        std::fs::write(state::parts_of(&self.config).join(digest.to_string()), signed.encode()).unwrap();
        if draft.purpose == Purpose::Release {
            self.last = Some((number, digest));
        }
        digest
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_campanile-agent"));
        command.args(["guard", "config"]).args(arguments).arg("--config").arg(&self.settings);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        let output = self.command(arguments).output().unwrap();
        Ended::of(output.status.code(), &output.stdout, &output.stderr)
    }

    pub(crate) fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments).spawn().unwrap()
    }

    pub(crate) fn plan(&self, generation: Digest) -> Ended {
        self.run(&["plan", &generation.to_string()])
    }

    pub(crate) fn apply(&self, generation: Digest) -> Ended {
        self.run(&["apply", &generation.to_string()])
    }

    pub(crate) fn state(&self) -> State {
        State::load(&self.config).unwrap()
    }

    pub(crate) fn undo(&self) -> PathBuf {
        confirm::undo_folder(&self.config)
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.root.join(path.trim_start_matches('/'));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub(crate) fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.root.join(path.trim_start_matches('/'))).unwrap()
    }

    /// Everything beneath the root, with content, mode and owner.
    pub(crate) fn tree(&self) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        walk(&self.root, &self.root, &mut found);
        found
    }
}

pub(crate) fn end(child: Child) -> Ended {
    let output = child.wait_with_output().unwrap();
    Ended::of(output.status.code(), &output.stdout, &output.stderr)
}

fn walk(root: &Path, folder: &Path, found: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let stat = std::fs::symlink_metadata(&path).unwrap();
        let name = path.strip_prefix(root).unwrap().display().to_string();
        let owned = format!("{:o} {}:{}", stat.permissions().mode(), stat.uid(), stat.gid());
        let content = if stat.is_symlink() {
            format!("-> {}", std::fs::read_link(&path).unwrap().display())
        } else if stat.is_dir() {
            walk(root, &path, found);
            "directory".to_owned()
        } else {
            part_digest(&std::fs::read(&path).unwrap()).to_string()
        };
        found.insert(name, format!("{owned} {content}"));
    }
}

/// Waits for something to be so.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
