//! Lines of `/etc/hosts`: one for each address.

use core::net::IpAddr;

use campanile_common::api::ChangeVerb;
use campanile_common::config::{HostsEntry, Presence};

use super::lines;
use super::view::{PathSeen, View};
use super::{Draft, Planned};

pub(crate) const PATH: &str = "/etc/hosts";

pub(crate) fn observe(view: &View<'_>) -> Result<PathSeen, String> {
    view.see_path(PATH)
}

/// All lines of the address are this resource's.
pub(crate) fn plan(name: &str, entry: &HostsEntry, observed: &PathSeen) -> Planned {
    let address: IpAddr = name.parse().map_err(|_| "its name is no address".to_owned())?;
    let text = observed.seen.text(PATH)?.unwrap_or_default();
    let words = |line: &str| -> Vec<String> {
        let code = line.split('#').next().unwrap_or_default();
        code.split_ascii_whitespace().map(str::to_owned).collect()
    };
    let is_ours = |line: &str| words(line).first().is_some_and(|word| word.parse() == Ok(address));
    let old: Vec<Vec<String>> = text.lines().filter(|line| is_ours(line)).map(words).collect();
    let wanted =
        (entry.ensure == Presence::Present).then(|| [&[name.to_owned()], entry.names.as_slice()].concat());
    // Blanks, and how the address is written, make no difference.
    let is_same = match (&wanted, old.as_slice()) {
        (None, []) => true,
        (Some(wanted), [line]) => line[1..] == wanted[1..],
        _ => false,
    };
    if is_same {
        return Ok(None);
    }
    let line = wanted.map(|words| words.join(" "));
    let verb = match (&line, old.is_empty()) {
        (None, _) => ChangeVerb::Remove,
        (Some(_), true) => ChangeVerb::Create,
        (Some(_), false) => ChangeVerb::Update,
    };
    let mut draft = Draft::new(verb);
    draft.say(line.as_ref().map_or_else(|| format!("without {name}"), |_| entry.names.join(" ")));
    lines::put(
        &mut draft,
        PATH,
        observed,
        lines::replace(text, line.as_deref(), is_ours),
        lines::open_to_all(),
    );
    Ok(Some(draft))
}
