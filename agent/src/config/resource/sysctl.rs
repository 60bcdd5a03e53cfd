//! Kernel parameters: a line in our file of `sysctl.d`, and the value now.

use campanile_common::api::ChangeVerb;
use campanile_common::config::Sysctl;

use super::lines;
use super::view::{PathSeen, View};
use super::{Draft, Planned, undo_by};

pub(crate) const PATH: &str = "/etc/sysctl.d/50-campanile.conf";
/// Longer than any value.
const VALUE_BYTES_MAX: usize = 64 * 1024;
/// Most parameters that one pattern may name.
const MATCHES_MAX: usize = 4096;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Observed {
    pub(crate) file: PathSeen,
    /// Parameters that the name stands for, as `sysctl` takes them, with their values.
    pub(crate) live: Vec<(String, String)>,
}

pub(crate) fn observe(view: &View<'_>, name: &str) -> Result<Observed, String> {
    view.needs(&["sysctl"])?;
    let mut live = Vec::new();
    for parts in expand(view, &parts_of(name))? {
        let path = format!("/proc/sys/{}", parts.join("/"));
        match view.host.root().read(&path, VALUE_BYTES_MAX) {
            Ok(value) => live.push((parts.join("/"), plain(&String::from_utf8_lossy(&value)))),
            Err(error) if error.is_missing() => {}
            Err(error) => return Err(error.full_text()),
        }
    }
    let may_come = view.pending.makes_modules() || view.pending.makes_packages();
    if live.is_empty() && !may_come && !name.contains('*') {
        return Err(format!("this kernel has no parameter `{name}`; check it, or load its module first"));
    }
    Ok(Observed { file: view.see_path(PATH)?, live })
}

/// `net.ipv4.conf.eth0/1.rp_filter`: where a dot comes first, slashes stand for dots within a part.
fn parts_of(name: &str) -> Vec<String> {
    match name.find(['.', '/']) {
        Some(first) if name[first..].starts_with('/') => name.split('/').map(str::to_owned).collect(),
        _ => name.split('.').map(|part| part.replace('/', ".")).collect(),
    }
}

fn expand(view: &View<'_>, parts: &[String]) -> Result<Vec<Vec<String>>, String> {
    let mut found: Vec<Vec<String>> = vec![Vec::new()];
    for part in parts {
        let mut next = Vec::new();
        for known in found {
            if !part.contains('*') {
                next.push([known.as_slice(), std::slice::from_ref(part)].concat());
                continue;
            }
            let folder = format!("/proc/sys/{}", known.join("/"));
            let names = view.list(folder.trim_end_matches('/'))?;
            for name in names.into_iter().filter(|name| matches(part, name)) {
                next.push([known.as_slice(), &[name]].concat());
            }
        }
        if next.len() > MATCHES_MAX {
            return Err(format!("it names more than {MATCHES_MAX} parameters; be more exact"));
        }
        found = next;
    }
    Ok(found)
}

/// `*` stands for anything.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, rest)) => name.strip_prefix(start).is_some_and(|left| {
            (0..=left.len()).any(|at| left.is_char_boundary(at) && matches(rest, &left[at..]))
        }),
    }
}

/// The kernel separates numbers by tabs.
fn plain(value: &str) -> String {
    value.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

pub(crate) fn plan(name: &str, sysctl: &Sysctl, observed: &Observed) -> Planned {
    let value = plain(&sysctl.value);
    let line = format!("{name} = {value}");
    let is_ours = |old: &str| {
        let key = old.split_once('=').map(|(key, _)| key.trim());
        !old.trim_start().starts_with(['#', ';']) && key == Some(name)
    };
    let text = observed.file.seen.text(PATH)?.unwrap_or_default();
    let mut draft = Draft::new(ChangeVerb::Update);
    if !lines::is_as_wanted(text, Some(&line), is_ours) {
        draft.say("at boot");
        let text = lines::replace(text, Some(&line), is_ours);
        lines::put(&mut draft, PATH, &observed.file, text, lines::open_to_all());
    }
    let mut others = 0;
    for (key, old) in observed.live.iter().filter(|(_, old)| *old != value) {
        if draft.what.len() < 8 {
            draft.say(format!("{key} {old} -> {value}"))
        } else {
            others += 1
        }
        let set = |value: &str| format!("{key}={value}");
        draft.run(&["sysctl", "-q", "-w", &set(&value)], undo_by(&["sysctl", "-q", "-w", &set(old)]));
    }
    if others > 0 {
        draft.say(format!("and {others} more"));
    }
    Ok(draft.unless_empty())
}
