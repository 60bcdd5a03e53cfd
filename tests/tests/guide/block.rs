//! Fenced blocks of a chapter, by what their marks say of them.
//!
//! | Opening line | What |
//! |---|---|
//! | `console` | commands behind `$ ` and what they print; run in order |
//! | `console run=last` | the same, after all others |
//! | `console needs=box` | needs root, packages or systemd, so a machine of its own; counted, and its commands are read |
//! | `sh form` | the form of commands, with names that a reader puts in; its commands are read |
//! | `toml file=PATH` | a file that the reader writes before going on |
//! | `toml`, `json`, `text` | something to look at |

use crate::{Chapter, chapters};

/// What is to be done with a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Use {
    Run,
    RunLast,
    NeedsBox,
    Form,
    File(String),
    Look,
}

/// One of them.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    pub(crate) chapter: String,
    /// Of its opening line.
    pub(crate) line: usize,
    pub(crate) language: String,
    pub(crate) used: Use,
    pub(crate) lines: Vec<String>,
}

impl Block {
    pub(crate) fn place(&self) -> String {
        format!("docs/guide/{}:{}", self.chapter, self.line)
    }

    pub(crate) fn text(&self) -> String {
        self.lines.iter().map(|line| format!("{line}\n")).collect()
    }
}

fn used(marks: &str) -> Option<Use> {
    let (language, marks) = marks.split_once(' ').unwrap_or((marks, ""));
    Some(match (language, marks) {
        ("console", "") => Use::Run,
        ("console", "run=last") => Use::RunLast,
        ("console", "needs=box") => Use::NeedsBox,
        ("sh", "form") => Use::Form,
        ("toml" | "text", marks) if marks.starts_with("file=") => {
            Use::File(marks["file=".len()..].to_owned())
        }
        ("toml" | "json" | "text", "") => Use::Look,
        _ => return None,
    })
}

/// The blocks of a chapter, or what is wrong with one.
pub(crate) fn blocks(chapter: &Chapter) -> Result<Vec<Block>, String> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut open: Option<usize> = None;
    let mut before_is_blank = true;
    for (index, line) in chapter.text.lines().enumerate() {
        let at = format!("docs/guide/{}:{}", chapter.file, index + 1);
        let bare = line.trim_start();
        let indent = line.len() - bare.len();
        match (open, bare.strip_prefix("```")) {
            (None, Some(marks)) => {
                let used =
                    used(marks).ok_or_else(|| format!("{at}: nobody knows what `{marks}` is to be"))?;
                let language = marks.split(' ').next().unwrap_or_default().to_owned();
                let chapter = chapter.file.clone();
                blocks.push(Block { chapter, line: index + 1, language, used, lines: Vec::new() });
                open = Some(indent);
            }
            (Some(_), Some("")) => open = None,
            (Some(fence), _) => {
                let block = blocks.last_mut().expect("one is open");
                block.lines.push(line.get(fence.min(indent)..).unwrap_or_default().trim_end().to_owned());
            }
            (None, None) => {
                // A list's lines may be indented; after a blank line only a block that nobody marked is so far in.
                if before_is_blank && indent >= 4 && !bare.starts_with(['-', '1', '2', '3', '4', '5']) {
                    return Err(format!("{at}: a block without marks; write it between fences"));
                }
            }
        }
        before_is_blank = line.trim().is_empty();
    }
    if open.is_some() {
        return Err(format!("docs/guide/{}: a block has no end", chapter.file));
    }
    Ok(blocks)
}

/// All blocks of the guide in reading order.
pub(crate) fn all() -> Vec<Block> {
    chapters().iter().flat_map(|chapter| blocks(chapter).unwrap_or_else(|wrong| panic!("{wrong}"))).collect()
}

fn of(text: &str) -> Result<Vec<Block>, String> {
    blocks(&Chapter { file: "x.md".to_owned(), text: text.to_owned() })
}

#[test]
fn a_block_is_used_as_its_marks_say() {
    let found =
        of("a\n\n```console\n$ true\n```\n\n1. b\n\n   ```toml file=a/b.toml\n   x = 1\n\n     y\n   ```\n")
            .unwrap();
    assert_eq!(found[0].used, Use::Run);
    assert_eq!((found[0].line, &found[0].lines[..]), (3, &["$ true".to_owned()][..]));
    assert_eq!(found[1].used, Use::File("a/b.toml".to_owned()));
    assert_eq!(found[1].text(), "x = 1\n\n  y\n");
}

#[test]
fn a_block_that_nobody_would_run_or_count_is_refused() {
    for text in [
        "```sh\ntrue\n```\n",
        "```console needs=luck\n```\n",
        "```\nx\n```\n",
        "a\n\n    campanile status\n",
        "```toml\n",
    ] {
        assert!(of(text).is_err(), "{text}");
    }
}

#[test]
fn every_block_to_look_at_is_what_it_says() {
    for block in all() {
        let text = block.text();
        let wrong = match block.language.as_str() {
            "toml" => text.parse::<toml::Table>().err().map(|error| error.to_string()),
            "json" => serde_json::from_str::<serde_json::Value>(&text).err().map(|error| error.to_string()),
            _ => None,
        };
        assert!(wrong.is_none(), "{}: {}", block.place(), wrong.unwrap_or_default());
    }
}
