//! The catalogue as operators keep it: a TOML file in their version control. Read, checked, and made a document.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use campanile_common::authority::{
    Authority, CatalogueCommand, CatalogueDocument, CatalogueError, ServiceRule,
};
use campanile_common::id::FleetId;
use campanile_common::time::Timestamp;
use serde::Deserialize;
use toml::Spanned;

use crate::{duration, suggest};

/// How long a catalogue is valid unless its file says otherwise: a year.
const VALIDITY: Duration = Duration::from_secs(366 * 86_400);
/// Shells, which read a script in an argument.
const SHELLS: [&str; 5] = ["sh", "bash", "dash", "zsh", "ksh"];

/// A commented example, which `catalogue init` writes.
pub(super) const EXAMPLE: &str = r#"# The catalogue: what people and schedules may order without a key (tier 1), because operators signed it.
#
#   campanile catalogue lint catalogue.toml     finds mistakes
#   campanile catalogue push catalogue.toml     signs the next version and puts it in force
#
# A node runs a command only if its own policy allows class `command` as well, and acts on a unit only if
# the policy lists it under units.change.

# From when on it permits nothing any more, counted from the signature.
valid_for = "365d"

# A command is started without a shell. `{path}` stands for the parameter's value, which never becomes more than one
# argument.
[commands.disk-usage]
description = "Which folders are large"
argv = ["du", "--max-depth=1", "--human-readable", "{path}"]

[commands.disk-usage.parameters.path]
description = "Where to look"
kind = { path = { beneath = "/var" } }
default = "/var"

[commands.kernel]
description = "Which kernel runs"
argv = ["uname", "-r"]
user = "nobody"

# The other kinds of parameters:
#   kind = "name"                             letters, digits and ._-@:
#   kind = "unit"                             the name of a unit
#   kind = { integer = { min = 1, max = 10 } }
#   kind = { choice = ["fast", "full"] }

# Units that `campanile svc` may act on without a key: start, stop, restart, reload.
[[services]]
unit = "nginx.service"
verbs = ["restart", "reload"]
"#;

/// A catalogue's source, read and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) valid_for: Duration,
    pub(super) commands: BTreeMap<String, CatalogueCommand>,
    pub(super) services: Vec<ServiceRule>,
}

/// Something to be said of one line of the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) line: usize,
    pub(super) is_error: bool,
    pub(super) text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.line, if self.is_error { "error" } else { "warning" }, self.text)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    valid_for: Option<Spanned<String>>,
    #[serde(default)]
    commands: BTreeMap<String, Spanned<CatalogueCommand>>,
    #[serde(default)]
    services: Vec<Spanned<ServiceRule>>,
}

/// Reads a source. Every finding is told; there is no source when one of them is an error.
pub(super) fn read(text: &str) -> (Option<Source>, Vec<Finding>) {
    let raw: Raw = match toml::from_str(text) {
        Ok(raw) => raw,
        Err(error) => {
            let line = line_of(text, error.span().map_or(0, |span| span.start));
            let text = with_suggestion(error.message());
            return (None, vec![Finding { line, is_error: true, text }]);
        }
    };
    let mut findings = Vec::new();
    let valid_for = match &raw.valid_for {
        None => VALIDITY,
        Some(given) => duration::parse(given.as_ref()).unwrap_or_else(|error| {
            let line = line_of(text, given.span().start);
            findings.push(Finding { line, is_error: true, text: format!("valid_for: {error}") });
            VALIDITY
        }),
    };
    for (name, command) in &raw.commands {
        let line = line_of(text, command.span().start);
        findings.extend(judge_command(name, command.as_ref(), line));
    }
    for service in &raw.services {
        let line = line_of(text, service.span().start);
        findings.extend(judge_service(service.as_ref(), line));
    }
    let source = Source {
        valid_for,
        commands: raw.commands.into_iter().map(|(name, command)| (name, command.into_inner())).collect(),
        services: raw.services.into_iter().map(Spanned::into_inner).collect(),
    };
    if findings.is_empty()
        && let Err(error) = probe(source.commands.clone(), source.services.clone())
    {
        findings.push(Finding { line: 1, is_error: true, text: error.to_string() });
    }
    findings.sort_by_key(|finding| finding.line);
    let is_bad = findings.iter().any(|finding| finding.is_error);
    ((!is_bad).then_some(source), findings)
}

fn judge_command(name: &str, command: &CatalogueCommand, line: usize) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut say = |is_error, text: String| {
        findings.push(Finding { line, is_error, text: format!("command `{name}`: {text}") });
    };
    if let Err(error) = probe([(name.to_owned(), command.clone())].into(), Vec::new()) {
        let text = match error {
            CatalogueError::Inconsistent { rule, .. } => rule.to_owned(),
            other => other.to_string(),
        };
        say(true, text + &unknown_parameters(command));
        return findings;
    }
    let is_used =
        |parameter: &String| command.argv.iter().any(|word| word.contains(&format!("{{{parameter}}}")));
    for parameter in command.parameters.keys().filter(|parameter| !is_used(parameter)) {
        say(false, format!("its parameter `{parameter}` is used nowhere"));
    }
    let program = command.argv.first().and_then(|program| program.rsplit('/').next()).unwrap_or_default();
    let runs_script = SHELLS.contains(&program) && command.argv.iter().any(|word| word == "-c");
    if runs_script && command.argv.iter().any(|word| word.contains('{')) {
        say(
            false,
            "a parameter inside a shell's script is read by the shell; pass it as an argument of its own: \
             [\"sh\", \"-c\", \"... \\\"$1\\\"\", \"-\", \"{name}\"]"
                .to_owned(),
        );
    }
    findings
}

/// Names in braces that are no parameters, with the close ones.
fn unknown_parameters(command: &CatalogueCommand) -> String {
    let known: Vec<&str> = command.parameters.keys().map(String::as_str).collect();
    let used = command.argv.iter().flat_map(|word| {
        word.split('{').skip(1).filter_map(|rest| rest.split_once('}').map(|(name, _)| name))
    });
    used.filter(|name| !known.contains(name))
        .map(|name| {
            let close = suggest::question(&suggest::close(name, known.iter().copied()));
            format!(" (`{{{name}}}`{close})")
        })
        .collect()
}

fn judge_service(service: &ServiceRule, line: usize) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Err(CatalogueError::Inconsistent { place, rule }) = probe(BTreeMap::new(), vec![service.clone()]) {
        let text = format!("service `{place}`: {rule}");
        findings.push(Finding { line, is_error: true, text });
    } else if !service.unit.contains(['.', '*']) {
        let text = format!(
            "service `{0}`: units have a suffix, so this names none; write `{0}.service`",
            service.unit
        );
        findings.push(Finding { line, is_error: false, text });
    }
    findings
}

/// Checks parts as a document would be.
fn probe(
    commands: BTreeMap<String, CatalogueCommand>,
    services: Vec<ServiceRule>,
) -> Result<(), CatalogueError> {
    let document = CatalogueDocument {
        format: CatalogueDocument::FORMAT,
        fleet: FleetId::from_bytes([0; FleetId::BYTES]),
        version: 1,
        authority_version: 1,
        issued: Timestamp::from_millis(0),
        expires: Timestamp::from_millis(1),
        commands,
        services,
    };
    document.to_bytes().map(drop)
}

impl Source {
    /// The document of this version, as it is signed.
    pub(super) fn document(&self, authority: &Authority, version: u64, now: Timestamp) -> CatalogueDocument {
        CatalogueDocument {
            format: CatalogueDocument::FORMAT,
            fleet: authority.document().fleet,
            version,
            authority_version: authority.document().version,
            issued: now,
            expires: now + self.valid_for,
            commands: self.commands.clone(),
            services: self.services.clone(),
        }
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.get(..offset).map_or(1, |before| before.matches('\n').count() + 1)
}

/// Adds the close one of the names that the parser expected.
fn with_suggestion(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let close = match quoted.next() {
        Some(wrong) if message.starts_with("unknown") => suggest::close(wrong, quoted),
        _ => Vec::new(),
    };
    format!("{}{}", message.trim_end(), suggest::question(&close))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn found(text: &str) -> Vec<String> {
        read(text).1.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_example_is_a_whole_catalogue() {
        let (source, findings) = read(EXAMPLE);
        assert_eq!(findings, []);
        let source = source.unwrap();
        assert_eq!(source.commands.len(), 2);
        assert_eq!(source.valid_for, Duration::from_secs(365 * 86_400));
    }

    #[test]
    fn a_misspelt_key_is_named_with_its_line_and_what_was_meant() {
        let found = found("[commands.a]\nargv = [\"true\"]\ndescripton = \"x\"\n");
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("3: error: unknown field `descripton`"), "{found:?}");
        assert!(found[0].ends_with("did you mean description?"), "{found:?}");
    }

    #[test]
    fn every_mistake_is_told_with_its_line() {
        let text = "valid_for = \"5\"\n\n[commands.a]\nargv = []\n\n[commands.b]\nargv = [\"ls\", \"{pth}\"]\n\
                    [commands.b.parameters.path]\nkind = \"name\"\n\n[[services]]\nunit = \"nginx.service\"\nverbs = []\n";
        let found = found(text);
        assert_eq!(found.len(), 4, "{found:?}");
        assert!(found[0].starts_with("1: error: valid_for"), "{found:?}");
        assert!(found[1].starts_with("3: error: command `a`: it names no program"), "{found:?}");
        assert!(
            found[2].starts_with("6: error: command `b`") && found[2].contains("did you mean path?"),
            "{found:?}"
        );
        assert!(found[3].starts_with("11: error: service `nginx.service`"), "{found:?}");
        assert!(read(text).0.is_none());
    }

    #[test]
    fn what_is_risky_is_a_warning_and_no_error() {
        let text = "[commands.a]\nargv = [\"sh\", \"-c\", \"ls {p}\"]\n[commands.a.parameters.p]\nkind = \"name\"\n\
                    [commands.a.parameters.q]\nkind = \"name\"\ndefault = \"x\"\n[[services]]\nunit = \"nginx\"\nverbs = [\"stop\"]\n";
        let (source, findings) = read(text);
        assert!(source.is_some(), "{findings:?}");
        let lines: Vec<_> = findings.iter().map(|finding| (finding.line, finding.is_error)).collect();
        assert_eq!(lines, [(1, false), (1, false), (8, false)], "{findings:?}");
    }

    #[test]
    fn a_catalogue_too_long_for_a_frame_is_refused() {
        let long: String = (0..200)
            .map(|n| format!("[commands.c{n}]\nargv = [\"true\", \"{}\"]\n", "x".repeat(400)))
            .collect();
        let found = found(&long);
        assert!(found[0].contains("does not fit a frame"), "{found:?}");
    }
}
