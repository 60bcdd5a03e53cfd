//! Kernel modules: loaded now and at boot, or kept from loading.

use campanile_common::api::ChangeVerb;
use campanile_common::config::{KernelModule, Presence};

use super::super::step::{Ownership, Step, Undo};
use super::file::make_missing;
use super::view::{Node, PathSeen, View};
use super::{Draft, Planned, undo_by};
use crate::os::stopwatch::kernel_release;

const LIST_BYTES_MAX: usize = 4 * 1024 * 1024;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Observed {
    pub(crate) at_boot: PathSeen,
    pub(crate) kept_out: PathSeen,
    pub(crate) is_loaded: bool,
    /// It is part of the kernel itself.
    pub(crate) is_built_in: bool,
}

pub(crate) fn paths(name: &str) -> [String; 2] {
    [format!("/etc/modules-load.d/campanile-{name}.conf"), format!("/etc/modprobe.d/campanile-{name}.conf")]
}

pub(crate) fn observe(view: &View<'_>, name: &str, module: &KernelModule) -> Result<Observed, String> {
    let can_ask = view.needs(&["modprobe"])?;
    let [at_boot, kept_out] = paths(name);
    let root = view.host.root();
    let plain = name.replace('-', "_");
    let is_loaded = root.stat(&format!("/sys/module/{plain}")).map_err(|error| error.full_text())?.is_some();
    let list = format!("/lib/modules/{}/modules.builtin", kernel_release());
    let list = root.read(&list, LIST_BYTES_MAX).unwrap_or_default();
    let is_built_in = String::from_utf8_lossy(&list).lines().any(|line| {
        let file = line.rsplit('/').next().unwrap_or_default();
        file.strip_suffix(".ko").is_some_and(|known| known.replace('-', "_") == plain)
    });
    let is_wanted = module.ensure == Presence::Present && !is_loaded && !is_built_in;
    if is_wanted && can_ask && !view.pending.makes_packages() {
        let ran = view.ask(&["modprobe", "-n", "-q", name])?;
        if !ran.is_success() {
            return Err(format!("this kernel has no module `{name}`; check its name ({})", ran.last_words()));
        }
    }
    let (at_boot, kept_out) = (view.see_path(&at_boot)?, view.see_path(&kept_out)?);
    Ok(Observed { at_boot, kept_out, is_loaded, is_built_in })
}

pub(crate) fn plan(name: &str, module: &KernelModule, observed: &Observed) -> Planned {
    let [at_boot, kept_out] = paths(name);
    let mut draft = Draft::new(ChangeVerb::Update);
    match module.ensure {
        Presence::Present => {
            remove(&mut draft, &kept_out, &observed.kept_out, "no longer kept out");
            put(&mut draft, &at_boot, &observed.at_boot, format!("{name}\n"), "at boot");
            if !observed.is_loaded && !observed.is_built_in {
                draft.verb = ChangeVerb::Create;
                draft.say("load");
                draft.run(&["modprobe", name], undo_by(&["modprobe", "-r", name]));
            }
        }
        Presence::Absent if observed.is_built_in => {
            return Err(format!("`{name}` is part of this kernel and cannot be kept out"));
        }
        Presence::Absent => {
            remove(&mut draft, &at_boot, &observed.at_boot, "not at boot");
            let text = format!("blacklist {name}\ninstall {name} /bin/false\n");
            put(&mut draft, &kept_out, &observed.kept_out, text, "kept out");
            if observed.is_loaded {
                draft.verb = ChangeVerb::Remove;
                draft.say("unload");
                // Loaded again once our file no longer keeps it out.
                let load = super::invocation(&["modprobe", name]);
                draft.run(&["modprobe", "-r", name], Undo::Last(vec![load]));
            }
        }
    }
    Ok(draft.unless_empty())
}

fn put(draft: &mut Draft, path: &str, observed: &PathSeen, text: String, what: &str) {
    let is_same =
        matches!(&observed.seen.node, Node::File { bytes: Some(bytes), .. } if *bytes == text.as_bytes());
    if !is_same {
        draft.say(what);
        make_missing(draft, &observed.missing);
        let ownership = Ownership { mode: Some(0o644), ..Ownership::default() };
        let (path, bytes) = (path.to_owned(), text.into_bytes());
        draft.steps.push(Step::Put { path, bytes, ownership, validate: Vec::new(), backup: None });
    }
}

fn remove(draft: &mut Draft, path: &str, observed: &PathSeen, what: &str) {
    if observed.seen.node != Node::Absent {
        draft.say(what);
        draft.steps.push(Step::Remove { path: path.to_owned() });
    }
}
