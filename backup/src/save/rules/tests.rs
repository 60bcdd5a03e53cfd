//! Patterns, and which of two that speak of one path counts.

use proptest::prelude::*;

use super::*;

fn rules(patterns: &[&str]) -> Rules {
    Rules::new(patterns.iter().map(|pattern| pattern.as_bytes())).unwrap()
}

fn is_out(patterns: &[&str], path: &str) -> bool {
    rules(patterns).excludes(path.as_bytes(), false, 0)
}

#[test]
fn a_name_matches_wherever_it_lies() {
    for path in ["/a.tmp", "/var/a.tmp", "/var/lib/.tmp"] {
        assert!(is_out(&["*.tmp"], path), "{path}");
    }
    for path in ["/a.tmp.txt", "/a.tmp/b", "/A.TMP", "/tmp"] {
        assert!(!is_out(&["*.tmp"], path), "{path}");
    }
}

#[test]
fn a_leading_slash_is_the_root_and_without_it_the_end_counts() {
    assert!(is_out(&["/var/cache"], "/var/cache"));
    assert!(!is_out(&["/var/cache"], "/srv/var/cache") && !is_out(&["/var/cache"], "/var/cache/apt"));
    assert!(is_out(&["var/cache"], "/srv/var/cache") && is_out(&["var/cache"], "/var/cache"));
    assert!(!is_out(&["var/cache"], "/srv/xvar/cache"));
}

#[test]
fn two_stars_stand_for_any_number_of_folders() {
    for path in ["/srv/log", "/srv/a/log", "/srv/a/b/c/log"] {
        assert!(is_out(&["/srv/**/log"], path), "{path}");
    }
    assert!(!is_out(&["/srv/**/log"], "/log") && !is_out(&["/srv/**/log"], "/srv/a/logs"));
    assert!(is_out(&["/srv/**"], "/srv/a") && is_out(&["/srv/**"], "/srv/a/b"));
    assert!(is_out(&["a/**/b/**/c"], "/x/a/b/q/b/c") && !is_out(&["a/**/b/**/c"], "/x/a/c/b"));
    assert!(is_out(&["**"], "/anything"));
}

#[test]
fn one_star_stays_within_a_name() {
    assert!(is_out(&["/srv/*/.cache"], "/srv/ann/.cache"));
    assert!(!is_out(&["/srv/*/.cache"], "/srv/ann/x/.cache") && !is_out(&["/srv/*/.cache"], "/srv/.cache"));
    assert!(is_out(&["a*b*c"], "/aXbYbZc") && !is_out(&["a*b*c"], "/aXbYbZ"));
}

#[test]
fn classes_and_single_characters_match_text_and_bytes() {
    assert!(is_out(&["[a-c]?.log"], "/bü.log") && !is_out(&["[a-c]?.log"], "/dü.log"));
    assert!(is_out(&["[!a-c]"], "/d") && is_out(&["[^a-c]"], "/ß") && !is_out(&["[!a-c]"], "/b"));
    assert!(is_out(&["[]-]"], "/]") && is_out(&["[]-]"], "/-"));
    assert!(is_out(&["[ä-ü]"], "/ö") && !is_out(&["[ä-ü]"], "/o"));
    assert!(is_out(&[r"\*\[x]"], "/*[x]") && !is_out(&[r"\*\[x]"], "/a[x]"));
    let bytes = Rules::new([&b"\xff*?"[..]]).unwrap();
    assert!(bytes.excludes(b"/a/\xff\xfe", false, 0) && !bytes.excludes(b"/a/\xff", false, 0));
}

#[test]
fn the_last_pattern_that_matches_decides() {
    let patterns = ["*.log", "!keep.log", "/tmp/keep.log"];
    assert!(is_out(&patterns, "/var/a.log") && !is_out(&patterns, "/var/keep.log"));
    assert!(is_out(&patterns, "/tmp/keep.log"));
}

#[test]
fn a_trailing_slash_is_about_folders() {
    let rules = rules(&["node_modules/"]);
    assert!(rules.excludes(b"/srv/node_modules", true, 0));
    assert!(!rules.excludes(b"/srv/node_modules", false, 0));
}

#[test]
fn a_size_is_about_files() {
    let rules = Rules::default().exclude_larger_than(100);
    assert!(rules.excludes(b"/a", false, 101) && !rules.excludes(b"/a", false, 100));
    assert!(!rules.excludes(b"/a", true, 4096));
}

#[test]
fn what_is_not_understood_is_refused_with_its_text() {
    for pattern in ["", "!", "/", "[a", "a\\", "[z-a]", "[", "[]"] {
        let error = Rules::new([pattern.as_bytes()]).unwrap_err();
        assert!(error.to_string().contains(&format!("`{pattern}`").escape_default().to_string()), "{error}");
    }
}

#[test]
fn a_pattern_of_many_stars_takes_no_longer_than_its_length_times_the_path() {
    let pattern = "*a".repeat(200);
    let folders = "**/a/".repeat(200);
    let path = format!("/{}", "a/".repeat(1500));
    assert!(!is_out(&[&pattern, &folders], &format!("{path}{}b", "a".repeat(255))));
}

/// By definition, with recursion: slow and plain.
fn plainly(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => {
            plainly(rest, name) || name.split_first().is_some_and(|(_, behind)| plainly(pattern, behind))
        }
        (Some((b'?', rest)), Some((_, behind))) => plainly(rest, behind),
        (Some((byte, rest)), Some((other, behind))) => byte == other && plainly(rest, behind),
        _ => false,
    }
}

proptest! {
    #[test]
    fn names_match_as_defined(pattern in "[ab*?]{1,8}", name in "[ab]{1,10}") {
        prop_assume!(pattern != "**");
        prop_assert_eq!(is_out(&[&pattern], &format!("/x/{name}")), plainly(pattern.as_bytes(), name.as_bytes()));
    }

    #[test]
    fn no_pattern_and_no_path_stop_the_matcher(pattern: Vec<u8>, path: Vec<u8>) {
        if let Ok(rules) = Rules::new([pattern.as_slice()]) {
            let _out = rules.excludes(&path, true, 0);
        }
    }
}
