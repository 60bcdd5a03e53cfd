//! Which crate depends on which, and what comes from outside: licences, bans, sources. The lists of `deny.toml`
//! are the ones checked here, so that the two cannot drift apart.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use toml::Table;

/// Crates of this workspace and those of ours that each may depend on.
const DIRECTION: [(&str, &[&str]); 8] = [
    ("common", &[]),
    ("backup", &[]),
    ("daemon", &["common"]),
    ("tunnel", &[]),
    ("agent", &["common", "backup", "daemon", "tunnel"]),
    ("aggregator", &["common", "daemon", "tunnel"]),
    ("cli", &["common"]),
    ("tests", &["common", "backup", "daemon", "tunnel", "agent", "aggregator", "cli"]),
];
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

fn read(path: &Path) -> Table {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.parse().unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Dependencies against the direction.
pub(crate) fn directions(root: &Path) -> Vec<String> {
    let workspace = read(&root.join("Cargo.toml"));
    let members = workspace["workspace"]["members"].as_array().expect("members are a list");
    let mut wrong = Vec::new();
    for member in members {
        let member = member.as_str().expect("a member is text");
        wrong.extend(direction(member, &read(&root.join(member).join("Cargo.toml"))));
    }
    wrong
}

fn direction(member: &str, manifest: &Table) -> Vec<String> {
    let Some((_, allowed)) = DIRECTION.iter().find(|(name, _)| *name == member) else {
        return vec![format!("{member} has no place in the direction of dependencies: give it one")];
    };
    let mut tables: Vec<&Table> = vec![manifest];
    if let Some(targets) = manifest.get("target").and_then(|target| target.as_table()) {
        tables.extend(targets.values().filter_map(|target| target.as_table()));
    }
    let kinds = ["dependencies", "dev-dependencies", "build-dependencies"];
    let named = tables.iter().flat_map(|table| kinds.iter().filter_map(|kind| table.get(*kind)?.as_table()));
    named
        .flat_map(|dependencies| dependencies.keys())
        .filter_map(|name| name.strip_prefix("campanile-"))
        .filter(|name| !allowed.contains(name))
        .map(|name| format!("{member} depends on {name}"))
        .collect()
}

/// What is allowed from outside.
struct Rules {
    licences: BTreeSet<String>,
    /// Name and, where only one major version is banned, that version.
    banned: Vec<(String, Option<String>)>,
}

fn rules(deny: &Table) -> Rules {
    let list = |section: &str, key: &str| deny[section][key].as_array().expect("a list").clone();
    let licences = list("licenses", "allow").iter().filter_map(|l| l.as_str().map(str::to_owned)).collect();
    let banned = list("bans", "deny")
        .iter()
        .filter_map(|ban| ban["crate"].as_str())
        .map(|ban| match ban.split_once('@') {
            Some((name, version)) => (name.to_owned(), Some(version.to_owned())),
            None => (ban.to_owned(), None),
        })
        .collect();
    Rules { licences, banned }
}

/// Packages that `deny.toml` does not allow.
pub(crate) fn outsiders(root: &Path) -> Vec<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--locked", "--all-features"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(root)
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    let packages = metadata["packages"].as_array().expect("packages are a list");
    let rules = rules(&read(&root.join("deny.toml")));
    assert!(packages.len() > 50, "only {} packages: the list is not whole", packages.len());
    packages.iter().flat_map(|package| outsider(package, root, &rules)).collect()
}

fn outsider(package: &serde_json::Value, root: &Path, rules: &Rules) -> Vec<String> {
    let text = |key: &str| package[key].as_str().unwrap_or_default();
    let (name, version) = (text("name"), text("version"));
    let mut wrong = Vec::new();
    if !is_licensed(text("license"), &rules.licences) {
        wrong.push(format!("{name} {version}: licence `{}` is not allowed", text("license")));
    }
    let is_version = |major: &String| version.split('.').next() == Some(major);
    if rules.banned.iter().any(|(banned, major)| banned == name && major.as_ref().is_none_or(is_version)) {
        wrong.push(format!("{name} {version} is banned"));
    }
    if name == "bincode" && version != "2.0.1" {
        wrong.push(format!("bincode {version}: 2.0.1 is the pinned version"));
    }
    let is_ours = package["source"].is_null() && Path::new(text("manifest_path")).starts_with(root);
    if !is_ours && text("source") != REGISTRY {
        wrong.push(format!("{name} {version} comes from {}", package["source"]));
    }
    wrong
}

/// Reads a licence expression: `OR` needs one side, `AND` both; `/` is an old way to write `OR`.
fn is_licensed(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let text = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words = text.split_whitespace().peekable();
    let is_allowed = any_of(&mut words, allowed);
    is_allowed && words.peek().is_none()
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any_of(words: &mut Words<'_>, allowed: &BTreeSet<String>) -> bool {
    let mut is_allowed = all_of(words, allowed);
    while words.next_if_eq(&"OR").is_some() {
        is_allowed |= all_of(words, allowed);
    }
    is_allowed
}

fn all_of(words: &mut Words<'_>, allowed: &BTreeSet<String>) -> bool {
    let mut is_allowed = one(words, allowed);
    while words.next_if_eq(&"AND").is_some() {
        is_allowed &= one(words, allowed);
    }
    is_allowed
}

fn one(words: &mut Words<'_>, allowed: &BTreeSet<String>) -> bool {
    if words.next_if_eq(&"(").is_some() {
        let is_allowed = any_of(words, allowed);
        return words.next_if_eq(&")").is_some() && is_allowed;
    }
    let Some(name) = words.next() else { return false };
    if words.next_if_eq(&"WITH").is_some() {
        let exception = words.next().unwrap_or_default();
        return allowed.contains(&format!("{name} WITH {exception}"));
    }
    allowed.contains(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dependency_against_the_direction_is_found() {
        let manifest = |text: &str| text.parse::<Table>().unwrap();
        let wrong = manifest("[dev-dependencies]\ncampanile-agent.workspace = true\nserde = \"1\"\n");
        assert_eq!(direction("cli", &wrong), ["cli depends on agent"]);
        assert_eq!(direction("common", &wrong), ["common depends on agent"]);
        assert_eq!(direction("tests", &wrong), Vec::<String>::new());
        let hidden = manifest("[target.'cfg(unix)'.dependencies]\ncampanile-aggregator = { path = \"x\" }\n");
        assert_eq!(direction("agent", &hidden), ["agent depends on aggregator"]);
        assert_eq!(direction("plugins", &wrong).len(), 1, "a new crate needs a place");
    }

    fn package(name: &str, version: &str, licence: &str, source: Option<&str>) -> serde_json::Value {
        serde_json::json!({
            "name": name, "version": version, "license": licence, "source": source,
            "manifest_path": "/elsewhere/Cargo.toml",
        })
    }

    #[test]
    fn what_may_not_come_in_is_found() {
        let deny = "[licenses]\nallow = [\"MIT\"]\n[bans]\ndeny = [{ crate = \"openssl-sys\" }, { crate = \"a@3\" }]\n";
        let rules = rules(&deny.parse().unwrap());
        let found = |name: &str, version: &str, licence: &str, source| {
            outsider(&package(name, version, licence, source), Path::new("/here"), &rules).len()
        };
        assert_eq!(found("good", "1.0.0", "MIT OR GPL-3.0", Some(REGISTRY)), 0);
        assert_eq!(found("copyleft", "1.0.0", "GPL-3.0", Some(REGISTRY)), 1);
        assert_eq!(found("unlicensed", "1.0.0", "", Some(REGISTRY)), 1);
        assert_eq!(found("openssl-sys", "0.9.1", "MIT", Some(REGISTRY)), 1);
        assert_eq!(found("a", "3.1.0", "MIT", Some(REGISTRY)), 1);
        assert_eq!(found("a", "2.1.0", "MIT", Some(REGISTRY)), 0);
        assert_eq!(found("bincode", "2.0.2", "MIT", Some(REGISTRY)), 1);
        assert_eq!(found("forked", "1.0.0", "MIT", Some("git+https://example.com/forked")), 1);
        assert_eq!(found("outside", "1.0.0", "MIT", None), 1);
    }

    #[test]
    fn licence_expressions_are_read_as_written() {
        let allowed: BTreeSet<String> =
            ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned).into();
        for good in [
            "MIT",
            "MIT/Apache-2.0",
            "GPL-3.0 OR MIT",
            "MIT AND ISC",
            "(GPL-3.0 OR ISC) AND MIT",
            "Apache-2.0 WITH LLVM-exception OR GPL-2.0",
        ] {
            assert!(is_licensed(good, &allowed), "{good}");
        }
        for bad in
            ["", "Apache-2.0", "MIT AND GPL-3.0", "(MIT OR ISC) AND GPL-3.0", "MIT WITH X", "(MIT", "MIT ISC"]
        {
            assert!(!is_licensed(bad, &allowed), "{bad}");
        }
    }
}
