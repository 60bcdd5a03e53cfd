//! What of content is shown in a plan: a unified diff where everybody may see both sides, else sizes.

use std::time::Duration;

use similar::TextDiff;

/// Most bytes of a diff; the rest is counted.
const DIFF_BYTES_MAX: usize = 64 * 1024;
/// Longest content that is compared line by line.
const TEXT_BYTES_MAX: usize = 1024 * 1024;
/// Two long texts that have nothing in common would take minutes: after this the rest is shown as replaced.
const PATIENCE: Duration = Duration::from_millis(500);
/// Permission bit: others may read.
pub(super) const OTHERS_READ: u32 = 0o004;

/// A unified diff; none where it holds nothing that people read.
pub(super) fn unified(path: &str, old: Option<&[u8]>, new: Option<&[u8]>) -> Option<String> {
    let text = |bytes: Option<&[u8]>| -> Option<String> {
        let bytes = bytes.unwrap_or_default();
        let is_short = bytes.len() <= TEXT_BYTES_MAX && !bytes.contains(&0);
        str::from_utf8(bytes).ok().filter(|_| is_short).map(str::to_owned)
    };
    let (before, after) = (text(old)?, text(new)?);
    let diff = TextDiff::configure().timeout(PATIENCE).diff_lines(&before, &after);
    let from = old.map_or("/dev/null".to_owned(), |_| format!("a{path}"));
    let to = new.map_or("/dev/null".to_owned(), |_| format!("b{path}"));
    Some(bounded(diff.unified_diff().context_radius(3).header(&from, &to).to_string()))
}

fn bounded(diff: String) -> String {
    if diff.len() <= DIFF_BYTES_MAX {
        return diff;
    }
    let end = diff.floor_char_boundary(DIFF_BYTES_MAX);
    let end = diff[..end].rfind('\n').map_or(end, |index| index + 1);
    format!("{}... {} more lines\n", &diff[..end], diff[end..].lines().count())
}

/// `content (12 -> 340 bytes)`.
pub(super) fn sizes(old: Option<usize>, new: usize) -> String {
    let old = old.map_or("more".to_owned(), |old| old.to_string());
    format!("content ({old} -> {new} bytes)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diff_is_unified_with_context() {
        let old = b"1\n2\n3\n4\n5\n6\n7\n8\n";
        let new = b"1\n2\n3\n4\nfive\n6\n7\n8\n";
        let expected = "--- a/etc/x\n+++ b/etc/x\n@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n";
        assert_eq!(unified("/etc/x", Some(old), Some(new)).unwrap(), expected);
        let created = unified("/etc/x", None, Some(b"a\n")).unwrap();
        assert!(created.starts_with("--- /dev/null\n+++ b/etc/x\n"), "{created}");
    }

    #[test]
    fn what_nobody_reads_has_no_diff_and_a_long_one_is_cut() {
        assert_eq!(unified("/x", Some(b"a\0b"), Some(b"c")), None);
        assert_eq!(unified("/x", Some(b"\xff"), Some(b"c")), None);
        let long = "a line that is new\n".repeat(10_000);
        let diff = unified("/x", None, Some(long.as_bytes())).unwrap();
        assert!(diff.len() < DIFF_BYTES_MAX + 40 && diff.ends_with(" more lines\n"), "{}", diff.len());
    }
}
