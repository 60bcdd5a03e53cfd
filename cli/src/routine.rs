//! `routine`: a command of the signed catalogue, ordered without a key.

use std::collections::BTreeMap;

use anyhow::{anyhow, bail};
use campanile_common::authority::{Action, Catalogue, CatalogueError, Tier};
use clap::Args;

use crate::context::Context;
use crate::exit::{Exit, UsageError};
use crate::node::Selection;
use crate::order::options::Options;
use crate::order::submit;
use crate::{authority, catalogue, profile, targets};

/// Options of `routine`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  campanile routine kernel -l role=web
  campanile routine disk-usage path=/var/log -l 'name=web-*' --parallel 5
  campanile catalogue show disk-usage          what it takes

Needs no key: operators signed the catalogue. A node refuses unless its own policy allows class `command`.
Options, output and exit codes are those of `campanile run`.")]
pub struct Routine {
    /// Name of the command in the catalogue
    name: String,
    /// Values of its parameters
    #[arg(value_name = "KEY=VALUE")]
    arguments: Vec<String>,
    #[command(flatten)]
    selector: Selection,
    #[command(flatten)]
    options: Options,
}

/// Carries it out.
///
/// # Errors
/// When it fails.
pub fn run(context: &mut Context<'_>, arguments: &Routine) -> anyhow::Result<Exit> {
    let values = parse(&arguments.arguments)?;
    let authority = authority::load(context.environment)?;
    let client = profile::client_of_orders(context)?;
    let catalogue = catalogue::in_force(&client, &authority)?
        .ok_or_else(|| anyhow!("there is no catalogue yet; begin with `campanile catalogue init`"))?;
    let action = action(&catalogue, &arguments.name, values)?;
    let nodes = targets::resolve(&client, arguments.selector.selector.as_ref(), &[])?;
    let tier = if arguments.options.critical { Tier::Critical } else { Tier::Routine };
    submit::carry_out(context, &client, &authority, (tier, action), &nodes, &arguments.options)
}

/// Reads `key=value` words.
///
/// # Errors
/// When one is none, or a key comes twice.
pub fn parse(words: &[String]) -> Result<BTreeMap<String, String>, UsageError> {
    let mut values = BTreeMap::new();
    for word in words {
        let (key, value) = word
            .split_once('=')
            .filter(|(key, _)| !key.is_empty())
            .ok_or_else(|| UsageError(format!("`{word}` is no parameter; write key=value")))?;
        if values.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(UsageError(format!("parameter `{key}` is given twice")));
        }
    }
    Ok(values)
}

/// The action, after checking it against the catalogue as every node will.
///
/// # Errors
/// When there is no such command, or an argument is not acceptable.
pub fn action(
    catalogue: &Catalogue,
    name: &str,
    arguments: BTreeMap<String, String>,
) -> anyhow::Result<Action> {
    match catalogue.expand(name, &arguments) {
        Ok(_) => {}
        Err(CatalogueError::NoCommand(_)) => bail!("{}", catalogue::no_command(catalogue, name)),
        Err(error) => return Err(UsageError(format!("{name}: {error}")).into()),
    }
    Ok(Action::Routine { catalogue: catalogue.document().version, name: name.to_owned(), arguments })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_keys_with_values() {
        let words = ["path=/var=x".to_owned(), "empty=".to_owned()];
        let values = parse(&words).unwrap();
        assert_eq!((values["path"].as_str(), values["empty"].as_str()), ("/var=x", ""));
        for wrong in [&["path"][..], &["=x"], &["a=1", "a=2"]] {
            assert!(parse(&wrong.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>()).is_err(), "{wrong:?}");
        }
    }
}
