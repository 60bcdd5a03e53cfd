//! The structure rules of the code, as tests: who may import whom, who may touch what, how long things may be,
//! what may come in from outside. Each rule is a function over a made-up or real tree, and has a test that it
//! finds what it forbids. An exception stands in a list beside its rule with its reason, and must be needed.
//!
//! `CAMPANILE_TIDY_ROOT` checks another checkout.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod layer;
mod package;
mod size;
mod source;
mod words;

use std::fmt;
use std::path::{Path, PathBuf};

use source::Source;

/// A broken rule.
#[derive(Debug)]
struct Violation {
    rule: &'static str,
    path: String,
    line: usize,
    what: String,
}

impl Violation {
    fn new(rule: &'static str, source: &Source, line: usize, what: String) -> Self {
        Self { rule, path: source.path.clone(), line, what }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {} [{}]", self.path, self.line, self.what, self.rule)
    }
}

/// A violation that stands: `what` begins what the rule would say of a file at or below `path`.
struct Exception {
    path: &'static str,
    what: &'static str,
    reason: &'static str,
}

fn root() -> PathBuf {
    let own = || Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("in the workspace").to_owned();
    std::env::var_os("CAMPANILE_TIDY_ROOT").map_or_else(own, PathBuf::from)
}

/// What is left of the violations, and the exceptions that nothing needs any more.
fn judge(violations: Vec<Violation>, exceptions: &[Exception]) -> Vec<String> {
    let covers = |exception: &Exception, violation: &Violation| {
        violation.path.starts_with(exception.path) && violation.what.starts_with(exception.what)
    };
    let mut left: Vec<String> = exceptions
        .iter()
        .filter(|exception| exception.reason.is_empty() || !violations.iter().any(|v| covers(exception, v)))
        .map(|exception| {
            format!("{}: the exception `{}` is needless or has no reason", exception.path, exception.what)
        })
        .collect();
    let uncovered = violations.iter().filter(|v| !exceptions.iter().any(|exception| covers(exception, v)));
    left.extend(uncovered.map(Violation::to_string));
    left
}

fn check(rule: impl Fn(&Source) -> Vec<Violation>, exceptions: &[Exception]) {
    let sources = source::sources(&root());
    assert!(sources.len() > 20, "only {} files found: the rules have nothing to look at", sources.len());
    let left = judge(sources.iter().flat_map(rule).collect(), exceptions);
    assert!(left.is_empty(), "{} broken rules:\n{}", left.len(), left.join("\n"));
}

#[test]
fn features_meet_in_app_alone() {
    check(layer::imports, layer::IMPORT_EXCEPTIONS);
}

#[test]
fn names_stay_with_their_owners() {
    check(layer::reserved_names, &[]);
}

#[test]
fn files_and_functions_stay_short() {
    check(size::check, size::SIZE_EXCEPTIONS);
}

#[test]
fn names_and_comments_say_something() {
    check(words::check, words::WORD_EXCEPTIONS);
}

#[test]
fn no_text_speaks_of_one_machine() {
    let texts = source::texts(&root());
    let found: Vec<Violation> =
        texts.iter().flat_map(|(path, text)| words::foreign_paths(path, text)).collect();
    let left = judge(found, words::PATH_EXCEPTIONS);
    assert!(left.is_empty(), "{} broken rules:\n{}", left.len(), left.join("\n"));
}

#[test]
fn crates_depend_in_one_direction() {
    assert_eq!(package::directions(&root()), Vec::<String>::new());
}

#[test]
fn what_comes_from_outside_is_licensed_and_wanted() {
    let left = package::outsiders(&root());
    assert!(left.is_empty(), "{}", left.join("\n"));
}

#[test]
fn an_exception_that_nothing_needs_is_found() {
    let violation = || Violation {
        rule: "size",
        path: "agent/src/a.rs".to_owned(),
        line: 1,
        what: "fn long has 90 lines".to_owned(),
    };
    let exception = |what, reason| Exception { path: "agent/src/a.rs", what, reason };
    assert_eq!(judge(vec![violation()], &[]).len(), 1);
    assert_eq!(judge(vec![violation()], &[exception("fn long", "a table")]).len(), 0);
    assert_eq!(judge(vec![], &[exception("fn long", "a table")]).len(), 1, "needless");
    assert_eq!(judge(vec![violation()], &[exception("fn long", "")]).len(), 1, "without a reason");
}
