//! `enroll`: gives this node its identity, tells its steward whom to obey, and starts both.
//!
//! On an installed node root enrols, and the agent runs as a user of its own. Root then writes nothing into that user's
//! folder, where a link could lead anywhere: a child that runs as the user does.

mod policy;
mod start;
mod token;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::Context as _;
use campanile_common::id::InstanceId;
use zeroize::Zeroizing;

use crate::cli::Enroll;
use crate::identity::{Identity, IdentityError, enroll};
use crate::os::lock::Lock;
use crate::os::stopwatch::Stopwatch;
use crate::settings::Settings;
use crate::steward::pin;

/// Longest identity that a child takes: an authority chain of thousands of versions.
const IDENTITY_BYTES_MAX: u64 = 64 << 20;
/// What the child says when it may write.
const READY: &str = "ready";
/// What this program is, also when its file was replaced meanwhile.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// Enrols this node.
pub(super) fn run(settings: &Settings, config: Option<&Path>, arguments: &Enroll) -> anyhow::Result<()> {
    let policy = policy::plan(&settings.policy, &arguments.allow, arguments.replace_policy)?;
    let keeper = Keeper::open(settings, config, arguments.replace)?;
    let token = token::read(arguments.file.as_deref().or(arguments.token_file.as_deref()))?;
    let since = Stopwatch::start();
    let facts = super::sampler(settings, InstanceId::from_bytes([0; 8])).facts();
    let name = arguments.name.clone().unwrap_or_else(|| facts.hostname.clone());
    let ways = super::ways::link_ways(settings)?.ways;
    let identity = super::runtime()?.block_on(enroll::enroll(&token, name, facts, &ways))?;
    keeper.keep(settings, &identity)?;
    pin_steward(settings, &identity);
    println!("enrolled as {} ({}) in fleet {}", identity.name, identity.node, identity.fleet);
    policy.carry_out()?;
    if arguments.no_start { Ok(()) } else { start::start(settings, config, since) }
}

/// The child: takes the state folder, says so, and writes the identity that comes.
pub(super) fn keep(settings: &Settings, is_replaced: bool) -> anyhow::Result<()> {
    let _lock = take(settings, is_replaced)?;
    println!("{READY}");
    let mut text = Zeroizing::new(Vec::new());
    std::io::stdin().take(IDENTITY_BYTES_MAX).read_to_end(&mut text).context("cannot read the identity")?;
    // Nothing comes when the enrolment failed.
    if !text.is_empty() {
        Identity::parse(&text)?.store(&settings.state_dir)?;
    }
    Ok(())
}

/// Takes the state folder of a node that is not enrolled, or is to be enrolled anew.
fn take(settings: &Settings, is_replaced: bool) -> anyhow::Result<Lock> {
    let lock = Lock::take(&settings.state_dir)?;
    match Identity::load(&settings.state_dir) {
        _ if is_replaced => Ok(lock),
        Err(IdentityError::Missing { .. }) => Ok(lock),
        Ok(identity) => anyhow::bail!(
            "this node is enrolled already as {} ({}); give --replace to enrol it anew",
            identity.name,
            identity.node
        ),
        // Nothing is written over what may still be mended, and no token is spent on it.
        Err(error) => {
            Err(anyhow::Error::from(error).context("give --replace to enrol this node anew all the same"))
        }
    }
}

/// Who writes the identity.
enum Keeper {
    /// This process.
    Own { _lock: Lock },
    /// One that runs as the owner of the state folder.
    Child { child: Child, output: BufReader<ChildStdout> },
}

impl Keeper {
    /// Has the state folder taken, before a token is spent.
    fn open(settings: &Settings, config: Option<&Path>, is_replaced: bool) -> anyhow::Result<Self> {
        let Some((uid, gid)) = owner_to_become(&settings.state_dir) else {
            return Ok(Self::Own { _lock: take(settings, is_replaced)? });
        };
        let mut command = Command::new(OWN_PROGRAM);
        if let Some(config) = config {
            command.arg("--config").arg(std::path::absolute(config)?);
        }
        command.arg("keep-identity").args(is_replaced.then_some("--replace"));
        // The groups of root go with its user.
        command.uid(uid).gid(gid).current_dir("/").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot run as user {uid}"))?;
        let mut output = BufReader::new(child.stdout.take().context("a child without its output")?);
        let mut line = String::new();
        output.read_line(&mut line)?;
        if line.trim_end() != READY {
            child.wait()?;
            // The child has said why.
            anyhow::bail!("the state folder {} cannot be used", settings.state_dir.display());
        }
        Ok(Self::Child { child, output })
    }

    fn keep(self, settings: &Settings, identity: &Identity) -> anyhow::Result<()> {
        match self {
            Self::Own { .. } => Ok(identity.store(&settings.state_dir)?),
            Self::Child { mut child, output } => {
                let mut input = child.stdin.take().context("a child without its input")?;
                input.write_all(&identity.to_text()).context("cannot hand over the identity")?;
                drop((input, output));
                anyhow::ensure!(child.wait()?.success(), "the identity was not written");
                Ok(())
            }
        }
    }
}

/// Whom root becomes to write there: none where the folder is its own, or yet to be made.
fn owner_to_become(folder: &Path) -> Option<(u32, u32)> {
    let is_root = rustix::process::geteuid().is_root();
    let found = std::fs::symlink_metadata(folder).ok().filter(|found| is_root && found.is_dir())?;
    (found.uid() != 0).then_some((found.uid(), found.gid()))
}

/// Tells the steward which node this is and whom it may obey. Failing, the node reports all the same: it is enrolled.
fn pin_steward(settings: &Settings, identity: &Identity) {
    let folder = &settings.steward.state_dir;
    if let Err(error) = pin::write_pin(folder, identity.fleet, identity.node, &identity.authority) {
        eprintln!(
            "warning: the steward is not pinned, so this node takes no orders: {:#}; enrol it as the steward's user, root \
             on an installed node, with a new token and --replace",
            anyhow::Error::new(error)
        );
    }
}
