//! Mounts: a line of `/etc/fstab`, and mounted now.

use campanile_common::api::ChangeVerb;
use campanile_common::config::{Mount, Presence};

use super::super::step::{Ownership, Step, Undo};
use super::lines;
use super::view::{Node, PathSeen, View};
use super::{Draft, Planned, invocation, undo_by};

pub(crate) const PATH: &str = "/etc/fstab";
const MOUNTS: &str = "/proc/self/mounts";
const MOUNTS_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A line of `/proc/self/mounts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mounted {
    pub(crate) device: String,
    pub(crate) fstype: String,
    pub(crate) options: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Observed {
    pub(crate) fstab: PathSeen,
    pub(crate) point: PathSeen,
    /// What is mounted there, on top.
    pub(crate) mounted: Option<Mounted>,
}

pub(crate) fn observe(view: &View<'_>, name: &str) -> Result<Observed, String> {
    view.needs(&["mount", "umount"])?;
    let bytes = view.host.root().read(MOUNTS, MOUNTS_BYTES_MAX).map_err(|error| error.full_text())?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let mounted = text.lines().rev().find_map(|line| {
        let fields: Vec<&str> = line.split(' ').collect();
        let [device, point, fstype, options, ..] = fields.as_slice() else { return None };
        let (device, fstype, options) = (unescape(device), (*fstype).to_owned(), (*options).to_owned());
        (unescape(point) == name).then_some(Mounted { device, fstype, options })
    });
    // A mount point that hangs is not touched where it need not be: what is mounted is a folder.
    let point = match &mounted {
        Some(_) => {
            let seen = super::view::Seen { node: Node::Directory, ..super::view::Seen::absent() };
            PathSeen { seen, missing: Vec::new() }
        }
        None => view.see_path(name)?,
    };
    Ok(Observed { fstab: view.see_path(PATH)?, point, mounted })
}

/// Blanks are written in octal.
fn unescape(field: &str) -> String {
    let pairs = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    pairs.iter().fold(field.to_owned(), |text, (code, plain)| text.replace(code, plain))
}

fn escape(field: &str) -> String {
    field.replace('\\', "\\134").replace(' ', "\\040")
}

pub(crate) fn plan(name: &str, mount: &Mount, observed: &Observed) -> Planned {
    let options = if mount.options.is_empty() { "defaults".to_owned() } else { mount.options.join(",") };
    let wanted = [mount.device.clone(), escape(name), mount.fstype.clone(), options.clone()];
    let line = format!("{} 0 0", wanted.join(" "));
    let line = (mount.ensure == Presence::Present).then_some(line.as_str());
    let fields = |line: &str| -> Vec<String> { line.split_ascii_whitespace().map(str::to_owned).collect() };
    let is_ours = |line: &str| {
        !line.starts_with('#') && fields(line).get(1).is_some_and(|point| unescape(point) == name)
    };
    let text = observed.fstab.seen.text(PATH)?.unwrap_or_default();
    let old: Vec<Vec<String>> = text.lines().filter(|line| is_ours(line)).map(fields).collect();
    let is_listed = match (line, old.as_slice()) {
        (None, []) => true,
        (Some(_), [old]) => old.len() >= 4 && old[..4] == wanted,
        _ => false,
    };
    let mut draft = Draft::new(match (line, &observed.mounted, old.is_empty()) {
        (None, ..) => ChangeVerb::Remove,
        (Some(_), None, true) => ChangeVerb::Create,
        (Some(_), ..) => ChangeVerb::Update,
    });
    let is_automatic = !mount.options.iter().any(|option| option == "noauto");
    let is_other = old.first().is_none_or(|old| old.len() < 3 || old[0] != wanted[0] || old[2] != wanted[2]);
    // What is mounted is as the line says, unless the line changes: the kernel tells devices and types otherwise.
    let is_moved = observed.mounted.as_ref().is_some_and(|mounted| {
        !is_listed && is_other && (mounted.device != mount.device || mounted.fstype != mount.fstype)
    });
    let is_unmounted = observed.mounted.is_some() && (line.is_none() || is_moved);
    if let Some(mounted) = observed.mounted.as_ref().filter(|_| is_unmounted) {
        draft.say(format!("unmount {}", mounted.device));
        draft.run(&["umount", name], undo_by(&mount_again(mounted, name)));
    }
    if !is_listed {
        draft.say(if line.is_some() { "line of /etc/fstab" } else { "no line of /etc/fstab" });
        let text = lines::replace(text, line, is_ours);
        lines::put(&mut draft, PATH, &observed.fstab, text, lines::open_to_all());
    }
    if line.is_none() {
        return Ok(draft.unless_empty());
    }
    match &observed.mounted {
        Some(mounted) if !is_unmounted && !is_listed => {
            draft.say(format!("options {options}"));
            let remount = |options: &str| format!("remount,{options}");
            let back = invocation(&["mount", "-o", &remount(&mounted.options), name]);
            draft.run(&["mount", "-o", &remount(&options), name], Undo::Last(vec![back]));
        }
        Some(_) if !is_unmounted => {}
        Some(_) | None if !is_automatic => {}
        Some(_) | None => {
            make_point(&mut draft, name, &observed.point)?;
            draft.say(format!("mount {}", mount.device));
            draft.run(&["mount", name], undo_by(&["umount", name]));
        }
    }
    Ok(draft.unless_empty())
}

fn mount_again<'a>(mounted: &'a Mounted, name: &'a str) -> [&'a str; 7] {
    ["mount", "-t", &mounted.fstype, "-o", &mounted.options, &mounted.device, name]
}

fn make_point(draft: &mut Draft, name: &str, point: &PathSeen) -> Result<(), String> {
    match point.seen.node {
        Node::Directory => Ok(()),
        Node::Absent => {
            super::file::make_missing(draft, &point.missing);
            draft.say(format!("directory {name}"));
            let ownership = Ownership { mode: Some(0o755), ..Ownership::default() };
            draft.steps.push(Step::Directory { path: name.to_owned(), ownership });
            Ok(())
        }
        Node::File { .. } | Node::Link { .. } | Node::Other => {
            Err(format!("{name} is no directory; a mount needs one"))
        }
    }
}
