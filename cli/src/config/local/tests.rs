//! The verbs as they are typed.

use std::fs;

use crate::context::Environment;
use crate::exit::Exit;

fn run(words: &[&str]) -> (Exit, String, String) {
    let line = ["campanile", "config"].iter().chain(words).map(Into::into);
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let exit = crate::run_with(line, &Environment::default(), &mut out, &mut err);
    (exit, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

#[test]
fn the_example_has_no_mistake_for_anybody_and_is_not_written_over_anything() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("config");
    let dir = dir.to_str().unwrap();
    assert_eq!(run(&["init", dir]).0, Exit::Fine);
    let (exit, out, err) = run(&["lint", dir]);
    assert_eq!((exit, out.as_str()), (Exit::Fine, ""), "{err}");
    let (exit, out, _) = run(&["lint", dir, "--node", "example", "--labels", "role=web"]);
    assert_eq!((exit, out.as_str()), (Exit::Fine, ""));
    let (exit, _, err) = run(&["init", dir]);
    assert_eq!(exit, Exit::Failed);
    assert!(err.contains("is not empty"), "{err}");
}

#[test]
fn a_mistake_is_told_with_its_line_and_in_json() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    fs::write(folder.path().join("fleet.toml"), "[file.\"/etc/motd\"]\nmoed = \"1\"\n").unwrap();
    fs::write(folder.path().join("catalogue.toml"), "none of a bundle's business").unwrap();
    fs::create_dir(folder.path().join("group")).unwrap();
    fs::write(folder.path().join("group/web.toml"), "").unwrap();
    let (exit, out, _) = run(&["lint", dir]);
    assert_eq!(exit, Exit::Failed);
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 2, "{out}");
    assert!(
        lines[0].starts_with("fleet.toml:2: error: ") && lines[0].ends_with("did you mean mode?"),
        "{out}"
    );
    assert!(
        lines[1].starts_with("group/web.toml:1: error: ") && lines[1].ends_with("did you mean groups?"),
        "{out}"
    );
    let (exit, out, _) = run(&["lint", dir, "-o", "json"]);
    assert_eq!(exit, Exit::Failed);
    let errors: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&errors[0]["path"], &errors[0]["line"]), (&"fleet.toml".into(), &2.into()));
}

#[test]
fn a_link_in_a_bundle_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("fleet.toml"), "").unwrap();
    fs::create_dir(folder.path().join("files")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", folder.path().join("files/x")).unwrap();
    let (exit, _, err) = run(&["lint", folder.path().to_str().unwrap()]);
    assert_eq!(exit, Exit::Failed);
    assert!(err.contains("neither a file nor a folder"), "{err}");
}

#[test]
fn a_value_is_explained_layer_by_layer() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("config");
    let dir = dir.to_str().unwrap();
    assert_eq!(run(&["init", dir]).0, Exit::Fine);
    let (exit, out, err) = run(&["explain", "web-1", "contact", dir, "--labels", "role=web"]);
    assert_eq!(exit, Exit::Fine, "{err}");
    let lines: Vec<Vec<&str>> = out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[1], ["vars.contact", "\"ops@example.com\"", "fleet.toml", "no"]);
    assert_eq!(lines[2], ["vars.contact", "\"web@example.com\"", "groups/web.toml", "yes"]);
    let (exit, _, err) = run(&["explain", "web-1", "contakt", dir, "--labels", "role=web"]);
    assert_eq!(exit, Exit::Failed);
    assert!(err.contains("did you mean vars.contact?"), "{err}");
}

#[test]
fn the_schema_is_json() {
    let (exit, out, _) = run(&["schema"]);
    assert_eq!(exit, Exit::Fine);
    let schema: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(schema["type"], "object");
}
