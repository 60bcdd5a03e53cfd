//! How long files, functions and tests beside the code may be.

use crate::source::{Source, item_length};
use crate::{Exception, Violation};

/// Longest file, without its tests.
const FILE_LINES_MAX: usize = 400;
/// Longest function, from its first line to its closing brace.
const FUNCTION_LINES_MAX: usize = 70;
/// Longest tests module in the file of what it tests; longer ones move to `<module>/tests.rs`.
const TEST_LINES_MAX: usize = 150;

/// Files and functions that are longer for a reason.
pub(crate) const SIZE_EXCEPTIONS: &[Exception] = &[];

pub(crate) fn check(source: &Source) -> Vec<Violation> {
    if source.is_test {
        return Vec::new();
    }
    let all = source.text.lines().count();
    let tests = test_blocks(source);
    let without_tests = all - tests.iter().map(|(_, lines)| lines).sum::<usize>();
    let mut violations = Vec::new();
    if without_tests > FILE_LINES_MAX {
        let what = format!("{without_tests} lines without tests, {FILE_LINES_MAX} is the most");
        violations.push(Violation::new("size", source, 1, what));
    }
    for (line, lines) in tests.into_iter().filter(|(_, lines)| *lines > TEST_LINES_MAX) {
        let what = format!("{lines} lines of tests belong into {}/tests.rs", source.stem());
        violations.push(Violation::new("size", source, line, what));
    }
    for (line, name, lines) in functions(source) {
        if lines > FUNCTION_LINES_MAX {
            let what = format!("fn {name} has {lines} lines, {FUNCTION_LINES_MAX} is the most");
            violations.push(Violation::new("size", source, line, what));
        }
    }
    violations
}

/// First line and number of lines of each stretch that only tests compile.
fn test_blocks(source: &Source) -> Vec<(usize, usize)> {
    let mut blocks: Vec<(usize, usize)> = Vec::new();
    let mut is_inside = false;
    for (index, (masked, code)) in source.masked.lines().zip(source.code.lines()).enumerate() {
        let is_blanked = masked.trim() != code.trim();
        // Empty lines and comments belong to what they stand in.
        is_inside = is_blanked || is_inside && masked.trim().is_empty();
        match blocks.last_mut() {
            Some((first, lines)) if is_inside && *first + *lines == index + 1 => *lines += 1,
            _ if is_inside => blocks.push((index + 1, 1)),
            _ => {}
        }
    }
    blocks
}

/// Line, name and length of each function with a body.
fn functions(source: &Source) -> Vec<(usize, String, usize)> {
    let mut functions = Vec::new();
    for (start, prefix) in source.code.match_indices("fn ") {
        let rest = &source.code[start + prefix.len()..];
        let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let is_word = !source.code[..start].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        if is_word && !name.is_empty() {
            let line = source.code[..start].matches('\n').count() + 1;
            let lines = rest[..item_length(rest)].matches('\n').count() + 1;
            functions.push((line, name, lines));
        }
    }
    functions
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        check(&Source::new("agent/src/a.rs", text)).into_iter().map(|v| v.what).collect()
    }

    fn lines(count: usize) -> String {
        "    step();\n".repeat(count)
    }

    #[test]
    fn a_long_file_is_found_and_its_tests_do_not_count() {
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", lines(100));
        assert_eq!(found(&format!("{}{tests}", "const A: u8 = 1;\n".repeat(400))), Vec::<String>::new());
        assert_eq!(found(&format!("{}{tests}", "const A: u8 = 1;\n".repeat(401))).len(), 1);
    }

    #[test]
    fn a_long_function_is_found() {
        let function =
            |count| format!("fn long(a: [u8; 2]) -> u8\nwhere\n{{\n{}}}\nfn short() {{}}\n", lines(count));
        assert_eq!(found(&function(66)), Vec::<String>::new());
        assert_eq!(found(&function(67)), ["fn long has 71 lines, 70 is the most"]);
    }

    #[test]
    fn long_tests_beside_the_code_are_found() {
        let tests =
            |count| format!("fn a() {{}}\n\n#[cfg(test)]\nmod tests {{\n\n    // why\n{}}}\n", lines(count));
        assert_eq!(found(&tests(144)), Vec::<String>::new());
        assert_eq!(found(&tests(146)).len(), 1);
    }
}
