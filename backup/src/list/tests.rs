//! Walks through snapshots, and what a selection takes of them.

use super::*;
use crate::fixture::Made;

fn told(walk: Walk<'_>) -> Vec<String> {
    let line = |step: Result<Step, WalkError>| match step {
        Ok(Step::Enter { path, choice, .. }) => format!("{choice:?} {}/", path.display()),
        Ok(Step::Entry { folder, node }) => folder.join(&node.name).display().to_string(),
        Ok(Step::Leave { path }) => format!("left {}", path.display()),
        Err(error) => error.to_string(),
    };
    walk.map(line).collect()
}

/// `a/{b/{c.txt,d.log},e.txt}`, `f.txt` and `g/`.
fn made() -> ((Repository, Index), ObjectId) {
    let mut made = Made::new();
    let [c, d, e, f] = ["c.txt", "d.log", "e.txt", "f.txt"].map(|name| made.file(name, name.as_bytes()));
    let b = made.folder("b", vec![c, d]);
    let a = made.folder("a", vec![b, e]);
    let g = made.folder("g", vec![]);
    made.finish(vec![a, f, g])
}

#[test]
fn a_walk_goes_through_everything_in_order_of_names() {
    let ((repository, index), tree) = made();
    let walk = Walk::new(&repository, &index, tree, Selection::default()).unwrap();
    let expected = [
        "Chosen a/",
        "Chosen a/b/",
        "a/b/c.txt",
        "a/b/d.log",
        "left a/b",
        "a/e.txt",
        "left a",
        "f.txt",
        "Chosen g/",
        "left g",
    ];
    assert_eq!(told(walk), expected);
}

#[test]
fn only_what_is_selected_is_met_and_the_folders_on_the_way() {
    let ((repository, index), tree) = made();
    let selection = Selection::new(&["/a/b".into(), "g".into()], &["*.log".to_owned()]);
    let walk = Walk::new(&repository, &index, tree, selection).unwrap();
    let expected = ["OnTheWay a/", "Chosen a/b/", "a/b/c.txt", "left a/b", "left a", "Chosen g/", "left g"];
    assert_eq!(told(walk), expected);
    let selection = Selection::new(&[], &["/a/b".to_owned(), "?/*.txt".to_owned()]);
    let walk = Walk::new(&repository, &index, tree, selection).unwrap();
    assert_eq!(told(walk), ["Chosen a/", "left a", "f.txt", "Chosen g/", "left g"]);
}

#[test]
fn a_skipped_folder_is_left_without_a_word() {
    let ((repository, index), tree) = made();
    let mut walk = Walk::new(&repository, &index, tree, Selection::default()).unwrap();
    assert!(matches!(walk.next(), Some(Ok(Step::Enter { .. }))));
    assert_eq!(walk.remaining().unwrap().len(), 2);
    walk.pass_over();
    assert_eq!(told(walk), ["f.txt", "Chosen g/", "left g"]);
}

#[test]
fn a_folder_that_cannot_be_read_is_named_and_the_walk_goes_on() {
    let mut made = Made::new();
    let mut broken = made.folder("broken", vec![]);
    broken.subtree = Some(ObjectId([9; 32]));
    let mut without = made.folder("none", vec![]);
    without.subtree = None;
    let file = made.file("z", b"z");
    let ((repository, index), tree) = made.finish(vec![broken, without, file]);
    let mut walk = Walk::new(&repository, &index, tree, Selection::default()).unwrap();
    assert!(matches!(walk.next(), Some(Ok(Step::Enter { .. }))));
    assert!(walk.remaining().is_none());
    let expected = [
        "the content of the folder /broken cannot be told",
        "left broken",
        "Chosen none/",
        "the folder /none has no tree in the snapshot",
        "left none",
        "z",
    ];
    assert_eq!(told(walk), expected);
}

#[test]
fn folders_deeper_than_any_path_end_the_way_down_and_not_the_stack() {
    let mut made = Made::new();
    let mut inner = made.folder("d", vec![]);
    for _ in 0..DEPTH_MAX + 10 {
        inner = made.folder("d", vec![inner]);
    }
    let ((repository, index), tree) = made.finish(vec![inner]);
    let mut walk = Walk::new(&repository, &index, tree, Selection::default()).unwrap();
    let errors: Vec<_> = walk.by_ref().filter_map(Result::err).collect();
    assert!(matches!(errors.as_slice(), [WalkError::TooDeep(_)]));
}

#[test]
fn a_path_is_looked_up() {
    let ((repository, index), tree) = made();
    let find = |path: &str| lookup(&repository, &index, tree, Path::new(path));
    assert_eq!(find("/a/b/c.txt").unwrap().unwrap().name, "c.txt");
    assert_eq!(find("a").unwrap().unwrap().kind, NodeKind::Directory);
    assert!(find("/").unwrap().is_none());
    for absent in ["b", "/a/b/c.txt/d", "/f.txt/x"] {
        assert!(matches!(find(absent), Err(LookupError::Absent(_))), "{absent}");
    }
}

#[test]
fn patterns_stand_for_names_and_paths() {
    let is = |pattern: &str, text: &str| matches(pattern.as_bytes(), OsStr::new(text));
    for (pattern, text) in [
        ("", ""),
        ("*", ""),
        ("*.txt", "a.txt"),
        ("a*b*c", "a--b-b-c"),
        ("?", "x"),
        ("**", "ab"),
        ("a/*/c", "a/b/c"),
    ] {
        assert!(is(pattern, text), "{pattern} {text}");
    }
    for (pattern, text) in
        [("", "a"), ("?", ""), ("*.txt", "a.txt.gz"), ("a/*", "a/b/c"), ("a?c", "a/c"), ("*a", "b")]
    {
        assert!(!is(pattern, text), "{pattern} {text}");
    }
    let long = "a".repeat(4000);
    assert!(!is(&format!("{}b", "*a".repeat(50)), &long));
}
