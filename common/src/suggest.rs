//! Names close to one that does not exist.

/// Most names that are suggested.
const SUGGESTIONS_MAX: usize = 3;

/// The closest of `names` to `wanted`, best first: few edits away, or containing it.
pub fn close<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let limit = wanted.chars().count() / 3 + 1;
    let mut ranked: Vec<(usize, &str)> = names
        .into_iter()
        .filter_map(|name| {
            let distance = distance(wanted, name);
            let is_part = wanted.len() >= 3 && name.contains(wanted);
            (distance <= limit || is_part).then_some((distance, name))
        })
        .collect();
    ranked.sort_unstable();
    ranked.dedup();
    ranked.into_iter().take(SUGGESTIONS_MAX).map(|(_, name)| name).collect()
}

/// `; did you mean a, b?`, or nothing when nothing is close.
pub fn question(close: &[&str]) -> String {
    if close.is_empty() { String::new() } else { format!("; did you mean {}?", close.join(", ")) }
}

/// Levenshtein's distance, one row of the matrix at a time.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_count_edits() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", "abc"), 0);
    }

    #[test]
    fn a_slip_finds_its_name_and_nonsense_finds_none() {
        let names = ["node-01", "node-02", "node-11", "db-primary"];
        assert_eq!(close("node-1", names)[..2], ["node-01", "node-11"]);
        assert_eq!(close("primary", names), ["db-primary"]);
        assert!(close("zzzzzz", names).is_empty());
        assert_eq!(question(&["a", "b"]), "; did you mean a, b?");
    }
}
