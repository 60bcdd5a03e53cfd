//! Units of systemd: unit file and drop-in, enabled, running.

use campanile_common::api::ChangeVerb;
use campanile_common::config::{OnChange, Service, ServiceState};

use super::super::step::{Ownership, Step, Undo};
use super::diff;
use super::file::make_missing;
use super::view::{Node, PathSeen, View};
use super::{Draft, Planned, invocation, undo_by};

const UNITS: &str = "/etc/systemd/system";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Observed {
    pub(crate) unit: PathSeen,
    pub(crate) drop_in: PathSeen,
    pub(crate) state: UnitState,
    /// A package or a file of this plan may bring it.
    pub(crate) is_coming: bool,
}

/// What systemd says of a unit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct UnitState {
    /// `loaded`, `not-found`, `masked`...
    pub(crate) load: String,
    /// `active`, `inactive`, `failed`...
    pub(crate) active: String,
    /// `enabled`, `disabled`, `static`...
    pub(crate) file: String,
}

impl UnitState {
    pub(crate) fn observe(view: &View<'_>, unit: &str) -> Result<Self, String> {
        if !view.needs(&["systemctl"])? {
            return Ok(Self { load: "not-found".to_owned(), ..Self::default() });
        }
        let ran =
            view.ask(&["systemctl", "show", "-p", "LoadState,ActiveState,UnitFileState", "--", unit])?;
        let text = ran.text();
        let field = |name: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            value.unwrap_or_default().to_owned()
        };
        let state =
            Self { load: field("LoadState"), active: field("ActiveState"), file: field("UnitFileState") };
        if state.load.is_empty() {
            return Err(format!("systemd does not answer for {unit}: {}", ran.last_words()));
        }
        Ok(state)
    }

    pub(crate) fn is_active(&self) -> bool {
        ["active", "reloading", "activating"].contains(&self.active.as_str())
    }

    /// Enabled, or one that has nothing to enable.
    pub(crate) fn is_enabled(&self) -> bool {
        ["enabled", "static", "alias", "indirect", "generated", "linked"].contains(&self.file.as_str())
    }

    pub(crate) fn is_masked(&self) -> bool {
        self.file.starts_with("masked") || self.load == "masked"
    }
}

pub(crate) fn unit_path(unit: &str) -> String {
    format!("{UNITS}/{unit}")
}

pub(crate) fn drop_in_path(unit: &str) -> String {
    format!("{UNITS}/{unit}.d/50-campanile.conf")
}

pub(crate) fn observe(view: &View<'_>, name: &str) -> Result<Observed, String> {
    let state = UnitState::observe(view, name)?;
    let folders = [UNITS, "/usr/lib/systemd/system", "/lib/systemd/system", "/run/systemd/system"];
    let is_put = folders.iter().any(|folder| view.pending.puts_below(&format!("{folder}/{name}")));
    let (unit, drop_in) = (view.see_path(&unit_path(name))?, view.see_path(&drop_in_path(name))?);
    Ok(Observed { unit, drop_in, state, is_coming: is_put || view.pending.makes_packages() })
}

pub(crate) fn plan(name: &str, service: &Service, observed: &Observed, is_notified: bool) -> Planned {
    let state = &observed.state;
    let is_wanted = service.enabled == Some(true) || service.state == Some(ServiceState::Running);
    let is_there = state.load != "not-found" || service.unit.is_some() || observed.is_coming;
    if is_wanted && !is_there {
        return Err(format!("there is no unit {name}; add the package that brings it, or give `unit`"));
    }
    let mut draft = Draft::new(ChangeVerb::Update);
    if let Some(text) = &service.unit {
        if observed.unit.seen.node == Node::Absent {
            draft.verb = ChangeVerb::Create;
        }
        put_text(&mut draft, "unit file", &unit_path(name), text, &observed.unit);
    }
    match &service.drop_in {
        Some(text) => put_text(&mut draft, "drop-in", &drop_in_path(name), text, &observed.drop_in),
        None if observed.drop_in.seen.node != Node::Absent => {
            draft.say("no drop-in");
            draft.steps.push(Step::Remove { path: drop_in_path(name) });
        }
        None => {}
    }
    let has_changed = !draft.steps.is_empty();
    if has_changed {
        reload_units(&mut draft);
    }
    if is_wanted && state.is_masked() && service.unit.is_none() {
        draft.say("unmask");
        draft.run(&["systemctl", "unmask", "--", name], undo_by(&["systemctl", "mask", "--", name]));
    }
    plan_boot(&mut draft, name, service, state);
    let is_only_notified = draft.steps.is_empty();
    plan_state(&mut draft, name, service, observed, is_notified || has_changed);
    if is_only_notified && draft.what.iter().all(|what| what == "restart" || what == "reload") {
        draft.verb = ChangeVerb::Run;
    }
    Ok(draft.unless_empty())
}

fn plan_boot(draft: &mut Draft, name: &str, service: &Service, state: &UnitState) {
    let (enable, disable) = (["systemctl", "enable", "--", name], ["systemctl", "disable", "--", name]);
    match service.enabled {
        Some(true) if !state.is_enabled() => {
            draft.say("enable");
            draft.run(&enable, undo_by(&disable));
        }
        Some(false) if state.file == "enabled" => {
            draft.say("disable");
            draft.run(&disable, undo_by(&enable));
        }
        Some(_) | None => {}
    }
}

fn plan_state(draft: &mut Draft, name: &str, service: &Service, observed: &Observed, is_notified: bool) {
    let is_active = observed.state.is_active();
    let verbs = |verb| ["systemctl", verb, "--", name];
    let last = |verb| Undo::Last(vec![invocation(&verbs(verb))]);
    match (service.state, is_active) {
        (Some(ServiceState::Stopped), true) => {
            draft.say("stop");
            // It starts again with its old settings.
            draft.run(&verbs("stop"), last("start"));
        }
        (Some(ServiceState::Stopped), false) => {}
        (Some(ServiceState::Running), false) => {
            // What a package started by itself has to read what came after it: a restart starts as well.
            let verb = if is_notified && observed.is_coming { "restart" } else { "start" };
            draft.say(verb);
            draft.run(&verbs(verb), undo_by(&verbs("stop")));
        }
        (Some(ServiceState::Running) | None, true) if is_notified => match service.on_change {
            OnChange::Restart => {
                draft.say("restart");
                draft.run(&verbs("restart"), last("restart"));
            }
            OnChange::Reload => {
                draft.say("reload");
                draft.run(&verbs("reload"), last("reload"));
            }
            OnChange::Nothing => {}
        },
        (Some(ServiceState::Running) | None, _) => {}
    }
}

/// Adds `daemon-reload`, which happens once more when old unit files are back.
pub(super) fn reload_units(draft: &mut Draft) {
    let reload = ["systemctl", "daemon-reload"];
    draft.run(&reload, Undo::Last(vec![invocation(&reload)]));
}

/// Puts a unit file or a drop-in in place, where it differs.
pub(super) fn put_text(draft: &mut Draft, what: &str, path: &str, text: &str, observed: &PathSeen) {
    let old = match &observed.seen.node {
        Node::File { bytes: Some(bytes), .. } => Some(bytes.as_slice()),
        _ => None,
    };
    if old == Some(text.as_bytes()) {
        return;
    }
    draft.say(what);
    let shown = diff::unified(path, old, Some(text.as_bytes()));
    draft.diff = match (draft.diff.take(), shown) {
        (Some(before), Some(shown)) => Some(before + &shown),
        (before, shown) => before.or(shown),
    };
    make_missing(draft, &observed.missing);
    draft.steps.push(Step::Put {
        path: path.to_owned(),
        bytes: text.as_bytes().to_vec(),
        ownership: Ownership { mode: Some(0o644), ..Ownership::default() },
        validate: Vec::new(),
        backup: None,
    });
}
