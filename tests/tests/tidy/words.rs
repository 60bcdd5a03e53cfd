//! Names that say nothing, marks of unfinished work, files without an opening, paths of one machine.

use crate::source::Source;
use crate::{Exception, Violation};

/// Names that say nothing of what they name.
const BANNED: [&str; 7] = ["util", "utils", "misc", "manager", "data", "info", "helpers"];
/// Macros of unfinished work, matched with what must not stand before them.
const UNFINISHED: [&str; 3] = ["todo!", "unimplemented!", "dbg!"];
/// Marks in comments: an issue says more than they do.
const MARKS: [&str; 3] = ["TODO", "FIXME", "XXX"];
/// Folders of one developer's machine; written in two halves, so that this file does not name them.
const FOREIGN: [[&str; 2]; 4] = [["/wo", "rk/"], ["/ro", "ot/"], ["/ho", "me/"], ["/tmp/b", "rief"]];

/// Names and words that stand for a reason.
pub(crate) const WORD_EXCEPTIONS: &[Exception] = &[];
/// Texts that name such a folder for a reason.
pub(crate) const PATH_EXCEPTIONS: &[Exception] = &[];

pub(crate) fn check(source: &Source) -> Vec<Violation> {
    let mut violations = names(source);
    if !source.text.starts_with("//!") {
        let what = "does not open with a module doc (//!)".to_owned();
        violations.push(Violation::new("module doc", source, 1, what));
    }
    for (line, code) in source.code_lines() {
        for unfinished in UNFINISHED.iter().filter(|name| mentions_macro(code, name)) {
            violations.push(Violation::new("unfinished", source, line, format!("holds {unfinished}")));
        }
    }
    violations.extend(comments(source));
    violations
}

fn mentions_macro(code: &str, name: &str) -> bool {
    code.match_indices(name)
        .any(|(start, _)| !code[..start].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
}

fn names(source: &Source) -> Vec<Violation> {
    let mut violations = Vec::new();
    for part in source.path.trim_end_matches(".rs").split('/').filter(|part| BANNED.contains(part)) {
        violations.push(Violation::new("names", source, 1, format!("a path with `{part}`")));
    }
    for (line, code) in source.code_lines() {
        let words: Vec<&str> =
            code.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty()).collect();
        for pair in words.windows(2) {
            let is_item = ["mod", "struct", "enum", "trait", "type", "fn"].contains(&pair[0]);
            let is_banned = BANNED.contains(&pair[1].to_lowercase().as_str())
                || pair[1].ends_with("Manager")
                || pair[1].ends_with("Util");
            if is_item && is_banned {
                violations.push(Violation::new("names", source, line, format!("{} {}", pair[0], pair[1])));
            }
        }
    }
    violations
}

fn comments(source: &Source) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (index, (text, masked)) in source.text.lines().zip(source.masked.lines()).enumerate() {
        // What the mask took away from here on is a comment if it begins with slashes.
        let code = masked.trim_end().len();
        let Some(comment) = text.get(code..).map(str::trim_start).filter(|rest| rest.starts_with("//"))
        else {
            continue;
        };
        for mark in MARKS.iter().filter(|mark| comment.contains(*mark)) {
            violations.push(Violation::new(
                "unfinished",
                source,
                index + 1,
                format!("a comment says {mark}"),
            ));
        }
        let is_doc = comment.starts_with("///") || comment.starts_with("//!");
        let said = comment.trim_start_matches('/').trim();
        let is_statement = (said.starts_with("let ") || said.starts_with("use ") || said.contains("();"))
            && said.ends_with(';');
        let is_block =
            ["fn ", "if ", "for ", "pub fn ", "match "].iter().any(|start| said.starts_with(start))
                && said.ends_with('{');
        if !is_doc && (is_statement || is_block) {
            violations.push(Violation::new("dead code", source, index + 1, format!("commented out: {said}")));
        }
    }
    violations
}

/// Paths of one machine, in any text of the repository.
pub(crate) fn foreign_paths(path: &str, text: &str) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for halves in FOREIGN.iter().filter(|halves| holds_absolute(line, &halves.concat())) {
            violations.push(Violation {
                rule: "paths of one machine",
                path: path.to_owned(),
                line: index + 1,
                what: format!("names {}", halves.concat()),
            });
        }
    }
    violations
}

/// True when `folder` begins a path here: `framework/` and `https://example/home/` do not count.
fn holds_absolute(line: &str, folder: &str) -> bool {
    line.match_indices(folder)
        .any(|(start, _)| !line[..start].ends_with(|c: char| c.is_alphanumeric() || "_-.}/~".contains(c)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        check(&Source::new(path, text)).into_iter().map(|v| v.what).collect()
    }

    #[test]
    fn names_that_say_nothing_are_found() {
        assert_eq!(found("agent/src/util.rs", "//! a\n"), ["a path with `util`"]);
        assert_eq!(found("agent/src/misc/a.rs", "//! a\n"), ["a path with `misc`"]);
        assert_eq!(found("agent/src/a.rs", "//! a\nstruct LinkManager;\n"), ["struct LinkManager"]);
        assert_eq!(found("agent/src/a.rs", "//! a\nfn info() {}\nmod data;\n"), ["fn info", "mod data"]);
        assert_eq!(found("agent/src/a.rs", "//! a\nfn f() { let data = info(1); }\n"), Vec::<String>::new());
    }

    #[test]
    fn unfinished_and_dead_code_is_found() {
        assert_eq!(found("agent/src/a.rs", "//! a\nfn f() { todo!() }\n"), ["holds todo!"]);
        assert_eq!(found("agent/src/a.rs", "//! a\nfn f() { unimplemented!() }\n"), ["holds unimplemented!"]);
        assert_eq!(found("agent/src/a.rs", "//! a\nf(); // TODO later\n"), ["a comment says TODO"]);
        assert_eq!(found("agent/src/a.rs", "//! a\n// let a = 1;\n"), ["commented out: let a = 1;"]);
        assert_eq!(found("agent/src/a.rs", "//! a\n// run();\n// if a {\n").len(), 2);
        assert_eq!(found("agent/src/a.rs", "//! a\n// Drops it; that is enough.\n"), Vec::<String>::new());
        assert_eq!(
            found("agent/src/a.rs", "//! a\n/// `let a = 1;`\nconst A: &str = \"TODO // x();\";\n"),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_file_without_an_opening_is_found() {
        assert_eq!(found("agent/src/a.rs", "use std::io;\n"), ["does not open with a module doc (//!)"]);
    }

    #[test]
    fn a_path_of_one_machine_is_found() {
        let folder = FOREIGN[1].concat();
        assert_eq!(foreign_paths("README.md", &format!("see {folder}notes")).len(), 1);
        assert_eq!(foreign_paths("README.md", &format!("see `{folder}notes`")).len(), 1);
        assert_eq!(foreign_paths("README.md", &format!("see $DIR{folder} and DIR{folder}")).len(), 0);
    }
}
