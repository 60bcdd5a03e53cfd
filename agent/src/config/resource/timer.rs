//! Timers: a timer unit and the service that it starts.

use campanile_common::api::ChangeVerb;
use campanile_common::config::{Presence, Timer};

use super::super::step::{Step, Undo};
use super::service::{UnitState, put_text, reload_units, unit_path};
use super::view::{Node, PathSeen, View};
use super::{Draft, Planned, invocation, undo_by};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Observed {
    pub(crate) timer: PathSeen,
    pub(crate) service: PathSeen,
    pub(crate) state: UnitState,
}

pub(crate) fn paths(name: &str) -> [String; 2] {
    [unit_path(&format!("{name}.timer")), unit_path(&format!("{name}.service"))]
}

pub(crate) fn observe(view: &View<'_>, name: &str) -> Result<Observed, String> {
    let state = UnitState::observe(view, &format!("{name}.timer"))?;
    let [timer, service] = paths(name);
    Ok(Observed { timer: view.see_path(&timer)?, service: view.see_path(&service)?, state })
}

pub(crate) fn plan(name: &str, timer: &Timer, observed: &Observed) -> Planned {
    let unit = format!("{name}.timer");
    let [timer_path, service_path] = paths(name);
    let verbs = |verb| ["systemctl", verb, "--", unit.as_str()];
    let last = |verb| Undo::Last(vec![invocation(&verbs(verb))]);
    let mut draft = Draft::new(ChangeVerb::Update);
    if timer.ensure == Presence::Absent {
        draft.verb = ChangeVerb::Remove;
        if observed.state.is_active() {
            draft.say("stop");
            draft.run(&verbs("stop"), last("start"));
        }
        if observed.state.file == "enabled" {
            draft.say("disable");
            draft.run(&verbs("disable"), last("enable"));
        }
        let mut has_removed = false;
        for (path, seen) in [(timer_path, &observed.timer), (service_path, &observed.service)] {
            if seen.seen.node != Node::Absent {
                has_removed = true;
                draft.say(format!("without {path}"));
                draft.steps.push(Step::Remove { path });
            }
        }
        if has_removed {
            reload_units(&mut draft);
        }
        return Ok(draft.unless_empty());
    }
    if observed.timer.seen.node == Node::Absent {
        draft.verb = ChangeVerb::Create;
    }
    put_text(&mut draft, "service unit", &service_path, &service_text(name, timer), &observed.service);
    let before = draft.steps.len();
    put_text(&mut draft, "timer unit", &timer_path, &timer_text(name, timer), &observed.timer);
    let has_new_times = draft.steps.len() > before;
    if !draft.steps.is_empty() {
        reload_units(&mut draft);
    }
    if observed.state.file != "enabled" {
        draft.say("enable");
        draft.run(&verbs("enable"), undo_by(&verbs("disable")));
    }
    if !observed.state.is_active() {
        draft.say("start");
        draft.run(&verbs("start"), undo_by(&verbs("stop")));
    } else if has_new_times {
        draft.say("restart");
        draft.run(&verbs("restart"), last("restart"));
    }
    Ok(draft.unless_empty())
}

fn timer_text(name: &str, timer: &Timer) -> String {
    let calendar = &timer.on_calendar;
    let splay =
        if timer.splay_s > 0 { format!("RandomizedDelaySec={}\n", timer.splay_s) } else { String::new() };
    let persistent = if timer.persistent { "Persistent=true\n" } else { "" };
    format!(
        "# Managed by Campanile.\n[Unit]\nDescription=Timer {name}\n\n[Timer]\nOnCalendar={calendar}\n{persistent}{splay}\n\
         [Install]\nWantedBy=timers.target\n"
    )
}

fn service_text(name: &str, timer: &Timer) -> String {
    let words: Vec<String> = timer.command.iter().map(|word| quoted(word)).collect();
    let user = timer.user.as_ref().map(|user| format!("User={user}\n")).unwrap_or_default();
    let command = words.join(" ");
    format!(
        "# Managed by Campanile.\n[Unit]\nDescription=Started by {name}.timer\n\n[Service]\nType=oneshot\n\
         {user}ExecStart={command}\n"
    )
}

/// One word as systemd reads it back: no specifier, no variable, no escape of its own.
fn quoted(word: &str) -> String {
    let mut out = String::from("\"");
    for c in word.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '%' | '$' => out.extend([c, c]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
