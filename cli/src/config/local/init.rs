//! `config init`: a small bundle to begin with.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use campanile_common::config::schema;
use clap::Args;

use crate::context::Context;
use crate::exit::Exit;
use crate::fleet::ESCROW_FILE;
use crate::os::file;

/// Where to write it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  campanile config init
  campanile config init fleet/config

The directory must be empty or not there yet. Keep it in version control.")]
pub struct Init {
    /// The bundle's directory
    #[arg(default_value = ".")]
    dir: PathBuf,
}

const FLEET: &str = r#"#:schema ./bundle.schema.json
# What every node should be. Groups win over this file, and a node's own file over groups: tables merge key by key,
# anything else replaces; a list written as { append = [...] } goes behind the one that is there.
#
#   campanile config lint       finds mistakes, here, without a node
#   campanile config plan       shows what would change, and changes nothing
#   campanile config apply      makes it so
#   campanile config explain    shows where a value of a node comes from

# Variables, for templates.
[vars]
contact = "ops@example.com"

# A file from a template. Its folder, its user and its group are put in place before it.
[file."/etc/motd"]
template = "motd.j2"
mode = "0644"

# A change of another hand is put right here; without this line it is only told.
on_drift = "enforce"

# What is backed up, when, and how long it is kept. `escrow` names who can restore once a node is lost: the recipient of
# the key that `campanile fleet init` made, or of another that age-keygen makes; the key itself is kept off-line.
#
#   [backup.etc]
#   paths = ["/etc"]
#   schedule = "30 2 * * *"
#   keep = { daily = 7, weekly = 4, monthly = 12 }
#   escrow = ["age1..."]
"#;
const GROUP: &str = r#"#:schema ../bundle.schema.json
# What nodes with these labels should be. Where groups disagree, the higher priority wins.
selector = "role=web"
priority = 10

[vars]
contact = "web@example.com"

[directory."/srv/www"]
mode = "0755"

# Bytes from files/, as they are. `validate` must succeed before a file is put in place, `notify` names what reloads:
#
#   [file."/etc/nginx/nginx.conf"]
#   template = "nginx.conf.j2"
#   validate = ["nginx", "-t", "-c", "{}"]
#   notify = ["service:nginx.service"]
#
#   [package.nginx]
#
#   [service."nginx.service"]
#   enabled = true
#   state = "running"
#   on_change = "reload"
#   after = ["package:nginx"]
[file."/srv/www/robots.txt"]
source = "robots.txt"
"#;
const NODE: &str = r#"#:schema ../bundle.schema.json
# What the node named `example` alone should be: name this file after one of yours.
[vars]
contact = "somebody@example.com"
"#;
const TEMPLATE: &str = "{# Jinja; what is not defined is an error. A secret: {{ secret(\"NAME\") }} #}
This is {{ node.name }}, with {{ facts.cpus }} processors. Questions: {{ vars.contact }}
";
const TAPLO: &str = r#"# For editors that know taplo: names of keys, and what they take.
[[rule]]
include = ["fleet.toml", "groups/*.toml", "nodes/*.toml"]

[rule.schema]
path = "./bundle.schema.json"
"#;

/// The fleet's layer, with the recipient that `fleet init` made on this machine.
fn with_escrow(context: &Context<'_>) -> anyhow::Result<String> {
    let Ok(dir) = context.environment.config_dir() else { return Ok(FLEET.to_owned()) };
    let path = dir.join(ESCROW_FILE);
    if !path.exists() {
        return Ok(FLEET.to_owned());
    }
    Ok(FLEET.replace("age1...", file::read_text(&path)?.trim()))
}

/// Carries it out.
///
/// # Errors
/// When the directory has something in it, or cannot be written.
pub(crate) fn run(context: &mut Context<'_>, arguments: &Init) -> anyhow::Result<Exit> {
    let dir = &arguments.dir;
    let shown = dir.display();
    if dir.exists() {
        let mut entries = std::fs::read_dir(dir).with_context(|| format!("cannot read {shown}"))?;
        if entries.next().is_some() {
            bail!("{shown} is not empty; give a directory that is, or that is not there yet");
        }
    }
    let schema = serde_json::to_string_pretty(&schema())? + "\n";
    let fleet = with_escrow(context)?;
    for (path, text) in [
        ("fleet.toml", fleet.as_str()),
        ("groups/web.toml", GROUP),
        ("nodes/example.toml", NODE),
        ("files/robots.txt", "User-agent: *\nDisallow:\n"),
        ("templates/motd.j2", TEMPLATE),
        (".taplo.toml", TAPLO),
        ("bundle.schema.json", &schema),
    ] {
        let path = dir.join(path);
        let folder = path.parent().expect("it is below the directory");
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        file::write_new(&path, text.as_bytes(), file::PUBLIC)?;
    }
    context.hint(&format!("{shown} holds an example to begin with; next: campanile config lint {shown}"))?;
    Ok(Exit::Fine)
}
