//! `freeze` and `unfreeze`: while the fleet is frozen every change is refused and reads work.

use campanile_common::api::{Freeze, FreezeRequest};
use clap::Args;
use ureq::http::Method;

use crate::context::Context;
use crate::exit::Exit;
use crate::profile;
use crate::render::{self, Cell, Tone};

/// Path in the API.
const PATH: &str = "/api/v1/freeze";

/// Options of `freeze`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  campanile freeze --reason 'audit until Friday'
  campanile freeze                                  says whether it is frozen

While frozen, every verb that changes something ends with exit code 8; queued orders and schedules are held.")]
pub struct Options {
    /// Why, for everybody who is refused; without it nothing is changed
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// Options of `unfreeze`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  campanile unfreeze")]
pub struct Unfreeze {}

/// Freezes, or says whether it is frozen.
///
/// # Errors
/// When it fails.
pub fn freeze(context: &mut Context<'_>, options: &Options) -> anyhow::Result<Exit> {
    let client = profile::client(context)?;
    let freeze: Freeze = match &options.reason {
        Some(reason) => client.send(Method::PUT, PATH, &FreezeRequest { reason: reason.clone() })?,
        None => client.get(PATH, &[])?,
    };
    show(context, &freeze)
}

/// Ends the freeze.
///
/// # Errors
/// When it fails.
pub fn unfreeze(context: &mut Context<'_>, _: &Unfreeze) -> anyhow::Result<Exit> {
    let client = profile::client(context)?;
    client.order(Method::DELETE, PATH)?;
    show(context, &Freeze { frozen: false, reason: None, by: None, since: None })
}

fn show(context: &mut Context<'_>, freeze: &Freeze) -> anyhow::Result<Exit> {
    let (text, tone) = if freeze.frozen { ("frozen", Tone::Warning) } else { ("not frozen", Tone::Good) };
    render::object(context, freeze, text, |context| {
        let mut fields = vec![("fleet", Cell::new(text).toned(tone))];
        if freeze.frozen {
            fields.extend([
                ("reason", Cell::maybe(freeze.reason.as_ref())),
                ("by", Cell::maybe(freeze.by.as_ref())),
                ("since", Cell::maybe(freeze.since)),
            ]);
        }
        Ok(render::fields(context, &fields)?)
    })?;
    Ok(Exit::Fine)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Script, answer, campanile, operator};

    #[test]
    fn a_reason_freezes_and_without_one_it_is_only_asked() {
        let folder = operator();
        let script = Script::choosing(Box::new(|line, body| {
            let frozen = line.starts_with("PUT");
            assert_eq!(frozen, body.contains("audit"), "{line}: {body}");
            let freeze = Freeze {
                frozen,
                reason: frozen.then(|| "audit".to_owned()),
                by: frozen.then(|| "person:ada".to_owned()),
                since: None,
            };
            answer("200 OK", &serde_json::to_string(&freeze).unwrap())
        }));
        let (exit, out, _) = campanile(&script, &folder, &["freeze", "--reason", "audit"]);
        assert_eq!(exit, Exit::Fine);
        assert!(out.contains("frozen") && out.contains("person:ada"), "{out}");
        assert!(campanile(&script, &folder, &["freeze"]).1.contains("not frozen"));
        assert_eq!(campanile(&script, &folder, &["unfreeze", "-o", "name"]).1, "not frozen\n");
        assert!(script.asked()[2].starts_with("DELETE /api/v1/freeze "));
    }
}
