//! Every command of ours that the guide shows is one that the programs take: their own parsers read it.

use campanile_agent::cli::Cli as Agent;
use campanile_aggregator::cli::Cli as Aggregator;
use campanile_cli::cli::Cli as Campanile;
use clap::CommandFactory as _;
use clap::error::ErrorKind;

use crate::block::{self, Block, Use};

/// The commands in a block: lines behind a prompt, or all lines of a form; a line that ends in `\` goes on.
fn commands(block: &Block) -> Vec<String> {
    let mut commands: Vec<String> = Vec::new();
    let mut is_open = false;
    for line in &block.lines {
        let typed = match block.used {
            Use::Form => line.as_str(),
            _ if is_open => line.strip_prefix("> ").unwrap_or_default(),
            _ => line.strip_prefix("$ ").unwrap_or_default(),
        };
        // A form may say who types: `ada$ campanile ...`.
        let typed = match typed.split_once("$ ") {
            Some((name, rest)) if name.chars().all(char::is_alphanumeric) => rest,
            _ => typed,
        };
        match commands.last_mut().filter(|_| is_open) {
            Some(last) => last.push_str(&format!(" {}", typed.trim())),
            None => commands.push(typed.trim().to_owned()),
        }
        is_open = commands.last().is_some_and(|last| last.ends_with('\\'));
        if let Some(last) = commands.last_mut().filter(|_| is_open) {
            last.pop();
        }
    }
    commands
}

/// The words of each program that a line starts, as a shell would split them; quotes are taken off.
fn words(line: &str) -> Vec<Vec<String>> {
    let (mut all, mut words, mut word) = (Vec::new(), Vec::new(), None::<String>);
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (Some(end), _) if c == end => quote = None,
            (Some(_), _) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => break,
            (None, '|' | ';' | '&' | '>' | '<') => {
                words.extend(word.take());
                all.push(std::mem::take(&mut words));
                if c == '>' || c == '<' {
                    // Where it goes is no word of the program.
                    words.push(String::new());
                }
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    all.push(words);
    all
}

/// The program of ours that these words start, and its words.
fn ours(words: &[String]) -> Option<&[String]> {
    let is_before =
        |word: &String| word == "sudo" || word == "$" || word.contains('=') && !word.starts_with('-');
    let start = words.iter().position(|word| !is_before(word))?;
    ["campanile", "campanile-agent", "campanile-aggregator"]
        .contains(&words[start].as_str())
        .then(|| &words[start..])
}

fn wrong(words: &[String]) -> Option<String> {
    let command = match words[0].as_str() {
        "campanile-agent" => Agent::command(),
        "campanile-aggregator" => Aggregator::command(),
        _ => Campanile::command(),
    };
    let error = command.try_get_matches_from(words).err()?;
    let is_fine = match error.kind() {
        // Names that the reader puts in need not be values that the programs take.
        ErrorKind::ValueValidation | ErrorKind::InvalidValue | ErrorKind::InvalidUtf8 => true,
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => true,
        _ => false,
    };
    (!is_fine).then(|| error.to_string())
}

#[test]
fn every_command_that_the_guide_shows_is_one_that_the_programs_take() {
    let mut read = 0;
    let mut mistakes = Vec::new();
    for block in block::all().iter().filter(|block| !matches!(block.used, Use::Look | Use::File(_))) {
        // A mistake is shown on purpose, with the code that it ends with.
        for line in commands(block).into_iter().filter(|line| !line.ends_with("# exit code 2")) {
            for words in words(&line).iter().filter_map(|words| ours(words)) {
                read += 1;
                mistakes.extend(wrong(words).map(|error| format!("{}: {line}\n  {error}", block.place())));
            }
        }
    }
    assert!(mistakes.is_empty(), "{}", mistakes.join("\n"));
    assert!(read > 100, "only {read} commands found");
    println!("guide: {read} commands read by the programs' own parsers");
}

#[test]
fn mistakes_in_commands_are_found_and_names_to_put_in_are_none() {
    let judged = |line: &str| words(line).iter().filter_map(|words| ours(words)).filter_map(wrong).count();
    assert_eq!(judged("campanile node ls -l role=web -o wide | head # what there is"), 0);
    assert_eq!(judged("FOO=1 campanile order show ID > 'a file'; sudo campanile-agent doctor"), 0);
    assert_eq!(judged("campanile nodes ls"), 1);
    assert_eq!(judged("true && campanile node ls --colour"), 1);
    assert_eq!(judged("campanile-agent enrol | campanile run"), 2);
    assert_eq!(judged("echo 'campanile nonsense'"), 0);
}
