//! `node`: listing, showing and changing nodes.

mod change;
mod label;
mod rebuild;
mod show;

use campanile_common::api::Node;
use campanile_common::selector::Selector;
use clap::{Args, Subcommand, ValueEnum};

use crate::client::{Client, ClientError, segment};
use crate::context::Context;
use crate::exit::{Exit, UsageError};
use crate::render::{self, Cell, Column, Tone, column, wide};
use crate::watch::Watch;
use crate::{profile, suggest};

pub use label::LabelChange;

/// Verbs of `node`.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List nodes
    #[command(after_help = "Examples:
  campanile node ls
  campanile node ls -l 'role=web,region!=us-*' -o wide
  campanile node ls --state retired -o json")]
    Ls(Ls),
    /// Show one node
    #[command(after_help = "Examples:
  campanile node show web-01
  campanile node show 000102030405feff -o json

Also says which orders the node would accept, and why: its own policy decides, and nobody changes that from here.")]
    Show {
        /// Name or id
        node: String,
        /// How often it is drawn.
        #[command(flatten)]
        watch: Watch,
    },
    /// Give a node another name
    #[command(after_help = "Examples:
  campanile node rename node-07 web-07")]
    Rename {
        /// Name or id
        node: String,
        /// New name
        name: String,
    },
    /// Set and remove labels
    #[command(after_help = "Examples:
  campanile node label web-01 tier=gold rack=b3      sets two
  campanile node label web-01 tier-                  removes one
  campanile node label -l role=web tier=gold old-    of every node the selector names")]
    Label(Label),
    /// Take nodes out of the fleet for good
    #[command(after_help = "Examples:
  campanile node retire web-07
  campanile node retire -l role=web --yes --expect 3

A retired node's key is refused at once and its id is never used again; to come back it enrols anew.
With --yes, several nodes are retired only if --expect gives their exact number.")]
    Retire(Retire),
    /// Have a fresh node take the place of one that is lost: labels, configuration, files
    Rebuild(Box<rebuild::Rebuild>),
}

/// Which nodes to list.
#[derive(Debug, Args)]
pub struct Ls {
    #[command(flatten)]
    selector: Selection,
    /// Active nodes, retired ones, or all
    #[arg(long, value_enum, default_value_t = State::Active)]
    state: State,
    #[command(flatten)]
    watch: Watch,
}

/// Which labels of which nodes.
#[derive(Debug, Args)]
pub struct Label {
    #[command(flatten)]
    selector: Selection,
    /// A node, unless -l is given; then `key=value` to set and `key-` to remove
    #[arg(required = true, value_name = "NODE | CHANGE")]
    words: Vec<String>,
}

/// Which nodes to retire.
#[derive(Debug, Args)]
pub struct Retire {
    #[command(flatten)]
    selector: Selection,
    /// Names or ids
    #[arg(required_unless_present = "selector", conflicts_with = "selector")]
    nodes: Vec<String>,
    /// With --yes: how many nodes it must be
    #[arg(long, value_name = "N", requires = "yes")]
    expect: Option<usize>,
}

/// Nodes by their labels.
#[derive(Debug, Args)]
pub struct Selection {
    /// Only nodes that it names, e.g. `role=web,region!=us-*`, `role in (web,db)`, `!gpu`, `name=web-*`
    #[arg(short = 'l', long)]
    pub selector: Option<Selector>,
}

impl Selection {
    /// As the API takes it.
    pub fn to_text(&self) -> String {
        self.selector.as_ref().map(Selector::to_string).unwrap_or_default()
    }
}

/// Which part of the roster.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum State {
    /// In the fleet
    Active,
    /// Taken out
    Retired,
    /// Both
    All,
}

impl State {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Retired => "retired",
            Self::All => "all",
        }
    }
}

const COLUMNS: [Column<Node>; 10] = [
    column("NAME", |node, _| Cell::new(&node.name)),
    column("LIVENESS", |node, _| Cell::liveness(node.liveness)),
    column("STATUS", |node, _| Cell::health(node.status)),
    column("SCORE", |node, _| score(node.score)),
    column("HEARD", |node, now| Cell::age(node.last_heartbeat, now)),
    wide("AGENT", |node, _| Cell::maybe(node.agent_version.as_ref())),
    wide("ID", |node, _| Cell::new(node.node_id)),
    wide("ENROLLED", |node, now| Cell::age(Some(node.enrolled_at), now)),
    wide("OS", |node, _| Cell::maybe(node.facts.as_ref().map(|facts| &facts.os))),
    column("LABELS", |node, _| Cell::new(&node.labels)),
];

/// A score with the tone of its height.
pub fn score(score: Option<u8>) -> Cell {
    let tone = match score {
        None => Tone::Plain,
        Some(90..) => Tone::Good,
        Some(60..) => Tone::Warning,
        Some(_) => Tone::Bad,
    };
    Cell::maybe(score).toned(tone)
}

/// Carries out a verb.
///
/// # Errors
/// When it fails.
pub fn run(context: &mut Context<'_>, verb: &Verb) -> anyhow::Result<Exit> {
    if let Verb::Rebuild(arguments) = verb {
        return rebuild::run(context, arguments);
    }
    let client = profile::client(context)?;
    match verb {
        // Done above: its --timeout means something else.
        Verb::Rebuild(_) => Ok(Exit::Fine),
        Verb::Ls(arguments) => arguments.watch.run(context, |context| {
            let nodes = list(&client, &arguments.selector, arguments.state)?;
            render::list(context, &nodes, &COLUMNS, |node| node.name.clone())?;
            Ok(Exit::Fine)
        }),
        Verb::Show { node, watch } => watch.run(context, |context| {
            show::show(context, &client, &find(&client, node)?)?;
            Ok(Exit::Fine)
        }),
        Verb::Rename { node, name } => change::rename(context, &client, node, name),
        Verb::Label(arguments) => {
            let (targets, changes) = match (&arguments.selector.selector, arguments.words.split_first()) {
                (Some(_), _) => (Targets::Selected(&arguments.selector), arguments.words.as_slice()),
                (None, Some((node, changes))) => (Targets::Named(std::slice::from_ref(node)), changes),
                (None, None) => return Err(UsageError("name a node or give -l".to_owned()).into()),
            };
            change::label(context, &client, &targets, changes)
        }
        Verb::Retire(arguments) => {
            let targets = match arguments.selector.selector {
                Some(_) => Targets::Selected(&arguments.selector),
                None => Targets::Named(&arguments.nodes),
            };
            change::retire(context, &client, &targets, arguments.expect)
        }
    }
}

/// Nodes a verb is for.
enum Targets<'a> {
    Named(&'a [String]),
    Selected(&'a Selection),
}

impl Targets<'_> {
    fn find(&self, client: &Client) -> anyhow::Result<Vec<Node>> {
        let mut nodes = match self {
            Self::Named(names) => {
                names.iter().map(|name| find(client, name)).collect::<Result<Vec<_>, _>>()?
            }
            Self::Selected(selection) => list(client, selection, State::Active)?,
        };
        // The same node may be named twice, by name and by id.
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        nodes.dedup_by_key(|node| node.node_id);
        if nodes.is_empty() {
            anyhow::bail!("the selector names no active node");
        }
        Ok(nodes)
    }
}

fn list(client: &Client, selection: &Selection, state: State) -> Result<Vec<Node>, ClientError> {
    client.pages("/api/v1/nodes", &[("selector", &selection.to_text()), ("state", state.as_str())])
}

/// The node with this name or id; the error names the close ones.
///
/// # Errors
/// When there is none.
pub fn find(client: &Client, name: &str) -> anyhow::Result<Node> {
    client.get(&path(name), &[]).map_err(|error| unknown(client, name, error))
}

/// Adds the close names to a refusal for a node that does not exist.
pub fn unknown(client: &Client, name: &str, error: ClientError) -> anyhow::Error {
    if error.code() != Some("not_found") {
        return error.into();
    }
    // Only a courtesy: without the list the answer is the same.
    let nodes: Vec<Node> = client.pages("/api/v1/nodes", &[]).unwrap_or_default();
    if nodes.iter().any(|node| node.name == name || node.node_id.to_string() == name) {
        // The node is there: something else was not found.
        return error.into();
    }
    let close = suggest::close(name, nodes.iter().map(|node| node.name.as_str()));
    anyhow::anyhow!("there is no node `{name}`{}", suggest::question(&close))
}

/// Path of a node in the API.
pub fn path(name: &str) -> String {
    format!("/api/v1/nodes/{}", segment(name))
}
