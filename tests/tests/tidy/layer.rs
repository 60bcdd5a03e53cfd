//! Who may import whom, and who may touch what.

use crate::source::Source;
use crate::{Exception, Violation};

/// The composition roots of a daemon: may use everything in their crate.
const ROOTS: [&str; 5] = ["main", "lib", "app", "cli", "settings"];
/// Folders whose work is input and output.
const EDGE_FOLDERS: [&str; 7] = ["os", "identity", "link", "listener", "state", "series", "http"];
/// Files whose work is input and output, in any feature.
const EDGE_FILES: [&str; 4] = ["task", "execute", "ledger", "journal"];
/// Edges that are not a folder of their own.
const EDGE_PATHS: [&str; 15] = [
    "agent/src/config/confirm.rs",
    "agent/src/config/load.rs",
    "agent/src/config/state.rs",
    "agent/src/config/undo/",
    "agent/src/metrics/spool/",
    "agent/src/steward/audit/",
    "agent/src/steward/config/parts.rs",
    "agent/src/steward/config/proof.rs",
    "agent/src/steward/config/watch.rs",
    "agent/src/steward/execute/",
    "agent/src/steward/journal/",
    "agent/src/steward/pin.rs",
    "agent/src/steward/policy.rs",
    "aggregator/build.rs",
    "aggregator/src/backup/vault/",
];
/// What every feature may use: the machine, the store, its settings, the audit log (an entry joins the transaction
/// that it is about) and the bus on which events are published.
const SHARED: [&str; 5] = ["os", "state", "settings", "audit", "event"];

/// Imports that the table of layers does not allow.
pub(crate) const IMPORT_EXCEPTIONS: &[Exception] = &[
    Exception {
        path: "aggregator/src/config/task.rs",
        what: "config imports node",
        reason: "generations are offered to nodes of the roster through the handle of their sessions",
    },
    Exception {
        path: "aggregator/src/order/task/deliver.rs",
        what: "order imports node",
        reason: "runs go to nodes through the handle of their sessions",
    },
    Exception {
        path: "aggregator/src/node/task.rs",
        what: "node imports series",
        reason: "nodes are judged by their newest samples, read through the handle of the recent series",
    },
    Exception {
        path: "aggregator/src/order/mod.rs",
        what: "order imports node",
        reason: "an order's targets are nodes of the roster",
    },
    Exception {
        path: "aggregator/src/order/task.rs",
        what: "order imports node",
        reason: "runs go to nodes through the handle of their sessions, which reports what comes of them",
    },
    Exception {
        path: "agent/src/backup/key.rs",
        what: "backup imports config",
        reason: "master keys are sealed with the node's sealing key, which secrets of the configuration use as well",
    },
    Exception { path: "agent/src/steward/backup/", what: "steward imports backup", reason: BACKUP_RUNS },
    Exception {
        path: "agent/src/steward/config/mod.rs",
        what: "steward imports config",
        reason: CONFIG_STATE,
    },
    Exception {
        path: "agent/src/steward/config/proof.rs",
        what: "steward imports config",
        reason: CONFIG_STATE,
    },
    Exception {
        path: "agent/src/steward/config/watch.rs",
        what: "steward imports config",
        reason: CONFIG_STATE,
    },
    Exception {
        path: "agent/src/order/relay/generation.rs",
        what: "order imports steward",
        reason: STEWARD_PROTOCOL,
    },
    Exception { path: "agent/src/order/relay.rs", what: "order imports steward", reason: STEWARD_PROTOCOL },
    Exception {
        path: "agent/src/order/relay/offer.rs",
        what: "order imports steward",
        reason: STEWARD_PROTOCOL,
    },
    Exception { path: "agent/src/order/task.rs", what: "order imports steward", reason: STEWARD_PROTOCOL },
];
const CONFIG_STATE: &str = "the steward and the program that it starts meet in the files of the node's configuration, whose format is there";
const BACKUP_RUNS: &str = "the steward and the program that it starts meet in the record of its runs and in the lines of what notices changes, whose formats are there";
const STEWARD_PROTOCOL: &str =
    "the two processes meet in the protocol of the steward's socket and nowhere else";

/// A name that only some paths may mention.
struct Reserved {
    /// Matched as a path's first parts: `std::fs` matches `std::fs::read` and `std::{fs, io}`.
    name: &'static str,
    /// Crates the rule is about.
    within: &'static [&'static str],
    /// Path prefixes that may.
    only: &'static [&'static str],
    reason: &'static str,
}

const DAEMONS: &[&str] = &["agent", "aggregator"];
const SHIPPED: &[&str] = &["common", "daemon", "agent", "aggregator", "cli"];
/// What runs in an agent and touches its machine.
const IN_AGENTS: &[&str] = &["daemon", "agent"];
const RESERVED: &[Reserved] = &[
    Reserved {
        name: "bincode",
        within: SHIPPED,
        only: &["common/src/wire/codec.rs"],
        reason: "one module knows the codec, so that it can be replaced",
    },
    Reserved {
        name: "rusqlite",
        within: SHIPPED,
        only: &["aggregator/src/state/"],
        reason: "only `state` knows SQL",
    },
    Reserved {
        name: "quinn",
        within: SHIPPED,
        only: &["agent/src/link", "agent/src/identity", "aggregator/src/listener"],
        reason: "only `link`, `listener` and enrolment know QUIC",
    },
    Reserved {
        name: "axum",
        within: SHIPPED,
        only: &["aggregator/src/http"],
        reason: "only `http` knows HTTP",
    },
    Reserved {
        name: "axum_server",
        within: SHIPPED,
        only: &["aggregator/src/http"],
        reason: "only `http` knows HTTP",
    },
    Reserved {
        name: "tower_http",
        within: SHIPPED,
        only: &["aggregator/src/http"],
        reason: "only `http` knows HTTP",
    },
    Reserved {
        name: "ureq",
        within: &["agent"],
        only: &["agent/src/backup/remote/s3/"],
        reason: "the agent speaks HTTP to buckets alone",
    },
    Reserved { name: "TcpListener", within: IN_AGENTS, only: &[], reason: "the agent listens on nothing" },
    Reserved { name: "UnixListener", within: IN_AGENTS, only: &[], reason: "the agent listens on nothing" },
    Reserved {
        name: "Endpoint::server",
        within: IN_AGENTS,
        only: &[],
        reason: "the agent listens on nothing",
    },
    Reserved { name: "tokio", within: &["common"], only: &[], reason: "`common` has no async runtime" },
    Reserved { name: "std::net", within: &["common"], only: &[], reason: "`common` does no I/O" },
    Reserved { name: "std::env", within: &["common"], only: &[], reason: "`common` does no I/O" },
    Reserved { name: "std::thread", within: &["common"], only: &[], reason: "`common` has no threads" },
    Reserved { name: "ring::rand", within: &["common"], only: &[], reason: "`common` has no randomness" },
];

/// Names through which code touches the machine; edges only.
const MACHINE: [&str; 6] =
    ["std::fs", "std::process", "SystemTime::now", "Instant::now", "std::env::var", "tokio::fs"];

fn is_edge(source: &Source) -> bool {
    EDGE_FOLDERS.contains(&source.top_module())
        || EDGE_FILES.contains(&source.stem())
        || EDGE_PATHS.iter().any(|path| source.path.starts_with(path))
}

fn is_root(source: &Source) -> bool {
    ROOTS.contains(&source.top_module())
}

/// Imports between the features of one crate.
pub(crate) fn imports(source: &Source) -> Vec<Violation> {
    if !DAEMONS.contains(&source.package()) || source.is_test || is_root(source) {
        return within_roots(source);
    }
    let own = source.top_module();
    let mut violations = Vec::new();
    for (line, imported) in crate_imports(&source.code) {
        let is_allowed = match own {
            "os" => imported == "os",
            "state" => ["os", "state", "settings"].contains(&imported.as_str()),
            // The two doors, one for people and one for agents, speak to the features through their handles.
            "http" => !["app", "cli", "listener"].contains(&imported.as_str()),
            "listener" => !["app", "cli", "http"].contains(&imported.as_str()),
            _ => imported == own || SHARED.contains(&imported.as_str()),
        };
        if !is_allowed {
            let what = format!("{own} imports {imported}");
            violations.push(Violation::new("features meet in app", source, line, what));
        }
    }
    violations
}

/// Roots may use everything but the composition root, which only `main` and `cli` start.
fn within_roots(source: &Source) -> Vec<Violation> {
    let may_start = ["main", "cli", "lib", "app"].contains(&source.top_module());
    if !DAEMONS.contains(&source.package()) || source.is_test || may_start {
        return Vec::new();
    }
    let app = crate_imports(&source.code).into_iter().filter(|(_, imported)| imported == "app");
    app.map(|(line, _)| Violation::new("nothing imports app", source, line, "imports app".to_owned()))
        .collect()
}

/// Modules of the crate that the code names behind `crate::`, with their lines.
fn crate_imports(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (start, prefix) in code.match_indices("crate::") {
        // `$crate::` in macros is a path like any other; `my_crate::` is another name.
        if code[..start].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let line = code[..start].matches('\n').count() + 1;
        for name in first_names(&code[start + prefix.len()..]) {
            // Items of the crate's root are written in capitals or are functions there; modules are not.
            if name.starts_with(|c: char| c.is_ascii_lowercase()) {
                found.push((line, name));
            }
        }
    }
    found
}

/// `a` of `a::b`; `a` and `b` of `{a::{x, y}, b}`.
fn first_names(text: &str) -> Vec<String> {
    let name_of = |text: &str| -> String {
        text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    let Some(group) = text.strip_prefix('{') else { return vec![name_of(text)] };
    let (mut depth, mut names, mut start) = (0_usize, Vec::new(), 0);
    for (index, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                names.push(name_of(&group[start..index]));
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                names.push(name_of(&group[start..index]));
                start = index + 1;
            }
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

/// Names that only some modules may mention.
pub(crate) fn reserved_names(source: &Source) -> Vec<Violation> {
    if source.is_test {
        return Vec::new();
    }
    let mut violations = Vec::new();
    for rule in RESERVED.iter().filter(|rule| rule.within.contains(&source.package())) {
        if rule.only.iter().any(|prefix| source.path.starts_with(prefix)) {
            continue;
        }
        for line in mentions(source, rule.name) {
            let what = format!("mentions {}: {}", rule.name, rule.reason);
            violations.push(Violation::new("names with one owner", source, line, what));
        }
    }
    let is_pure = source.package() == "common"
        || DAEMONS.contains(&source.package()) && !is_edge(source) && !is_root(source);
    for name in MACHINE.iter().filter(|_| is_pure) {
        for line in mentions(source, name) {
            let what = format!("mentions {name}: only `os` and edge files touch the machine");
            violations.push(Violation::new("the machine", source, line, what));
        }
    }
    violations
}

/// Lines that name `name` by its whole path, through a group import, or behind an import of its parent.
fn mentions(source: &Source, name: &str) -> Vec<usize> {
    let grouped = name.split_once("::");
    source
        .code_lines()
        .filter(|(_, line)| {
            has_path(line, name)
                || grouped.is_some_and(|(parent, child)| {
                    let group = line.split_once(&format!("{parent}::{{")).map(|(_, group)| group);
                    group.is_some_and(|group| first_names(&format!("{{{group}")).iter().any(|n| n == child))
                })
        })
        .map(|(line, _)| line)
        .collect()
}

/// True when `path` stands in the line with no letter, digit or underscore next to it.
fn has_path(line: &str, path: &str) -> bool {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(path).any(|(start, _)| {
        let (before, after) = (&line[..start], &line[start + path.len()..]);
        !before.ends_with(is_name) && !after.starts_with(is_name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> usize {
        let source = Source::new(path, text);
        imports(&source).len() + reserved_names(&source).len()
    }

    #[test]
    fn a_feature_that_imports_another_is_found() {
        assert_eq!(found("agent/src/metrics/task.rs", "use crate::link::Handle;"), 1);
        assert_eq!(found("agent/src/metrics/task.rs", "use crate::{os::clock, link::{Handle, dial}};"), 1);
        assert_eq!(found("agent/src/metrics/task.rs", "fn f() { crate::link::dial() }"), 1);
        assert_eq!(found("agent/src/os/fs.rs", "use crate::metrics::spool;"), 1);
        assert_eq!(found("aggregator/src/http/mod.rs", "use crate::app::run;"), 1);
        assert_eq!(found("agent/src/settings.rs", "use crate::app::run;"), 1);
        assert_eq!(
            found("agent/src/metrics/task.rs", "use crate::metrics::sampler; use crate::os::clock;"),
            0
        );
        assert_eq!(found("aggregator/src/http/mod.rs", "use crate::node::Registry;"), 0);
        assert_eq!(found("agent/src/app.rs", "use crate::{link, metrics};"), 0);
    }

    #[test]
    fn a_name_outside_its_module_is_found() {
        assert_eq!(found("aggregator/src/node/mod.rs", "use rusqlite::Connection;"), 1);
        assert_eq!(found("aggregator/src/state/sqlite.rs", "use rusqlite::Connection;"), 0);
        assert_eq!(found("agent/src/metrics/task.rs", "fn f(c: quinn::Connection) {}"), 1);
        assert_eq!(found("common/src/token.rs", "use bincode::config;"), 1);
        assert_eq!(found("agent/src/link/dial.rs", "let e = Endpoint::server(config, address);"), 1);
        assert_eq!(found("aggregator/src/node/mod.rs", "use axum::Router; // rusqlite"), 1);
        assert_eq!(found("aggregator/src/node/mod.rs", "let taxum = 1;"), 0);
    }

    #[test]
    fn a_clock_or_file_outside_the_edges_is_found() {
        for text in [
            "let now = SystemTime::now();",
            "let now = std::time::Instant::now();",
            "use std::fs;",
            "use std::{fs, io};",
            "use std::{io, fs::File};",
            "let child = std::process::Command::new(name);",
        ] {
            assert_eq!(found("agent/src/metrics/sampler.rs", text), 1, "{text}");
            assert_eq!(found("common/src/health/mod.rs", text), 1, "{text}");
            assert_eq!(found("agent/src/os/fs.rs", text), 0, "{text}");
            assert_eq!(found("agent/src/metrics/task.rs", text), 0, "{text}");
            assert_eq!(found("agent/src/metrics/sampler/tests.rs", text), 0, "{text}");
        }
        assert_eq!(found("agent/src/metrics/sampler.rs", "use std::time::{Duration, SystemTime};"), 0);
    }

    #[test]
    fn an_import_of_crate_by_tests_counts_for_nothing() {
        assert_eq!(found("agent/src/metrics/a.rs", "#[cfg(test)]\nmod tests { use crate::link::x; }"), 0);
    }
}
