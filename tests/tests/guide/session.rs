//! A reader at a terminal: types the guide's commands one after the other, in a folder of their own.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use campanile_tests::support::{CAMPANILE, patience, program, within};
use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

use crate::block::{self, Block, Use};
use crate::{metric, pattern};

/// Longest that a command of the guide takes on a machine that does nothing else.
const COMMAND_TIME: Duration = Duration::from_secs(60);
/// Runs one command with what the commands before it left: exported variables and the folder.
const STEP: &str = r#"
typed=$TYPED
unset TYPED
if [ -e "$STATE/variables" ]; then . "$STATE/variables"; cd "$(cat "$STATE/folder")"; fi
eval "$typed"
code=$?
export -p > "$STATE/variables"
pwd > "$STATE/folder"
exit $code"#;

/// A command as the guide shows it.
#[derive(Debug, PartialEq, Eq)]
struct Step {
    typed: String,
    /// What it ends with, `# exit code 10` behind it.
    code: i32,
    /// What it prints; checked where the guide shows something.
    expected: Vec<String>,
}

fn steps(block: &Block) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for line in &block.lines {
        if let Some(typed) = line.strip_prefix("$ ") {
            let (typed, code) = match typed.rsplit_once("# exit code ") {
                Some((typed, code)) => (typed.trim_end(), code.parse().expect("a number")),
                None => (typed, 0),
            };
            steps.push(Step { typed: typed.to_owned(), code, expected: Vec::new() });
        } else {
            let step = steps.last_mut().unwrap_or_else(|| panic!("{}: begins without `$ `", block.place()));
            match line.strip_prefix("> ").or((line == ">").then_some("")) {
                Some(more) if step.expected.is_empty() => step.typed = format!("{}\n{more}", step.typed),
                _ => step.expected.push(line.clone()),
            }
        }
    }
    for step in &mut steps {
        while step.expected.last().is_some_and(String::is_empty) {
            step.expected.pop();
        }
    }
    assert!(!steps.is_empty(), "{}: nothing to type; commands stand behind `$ `", block.place());
    steps
}

struct Session {
    folder: TempDir,
    home: TempDir,
}

impl Session {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), home: tempfile::tempdir().unwrap() }
    }

    /// Types a command; gives its exit code and what it printed, as it stood on the terminal.
    fn run(&self, step: &Step) -> (Option<i32>, String) {
        let output = self.home.path().join("output");
        let file = File::create(&output).unwrap();
        let programs = program(CAMPANILE).parent().unwrap().to_owned();
        let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
        let mut child = Command::new("bash")
            .args(["--norc", "-c", STEP])
            .env_clear()
            .envs([
                ("PATH", path.as_str()),
                ("TERM", "dumb"),
                ("LANG", "C.UTF-8"),
                ("COLUMNS", "160"),
                ("USER", "ada"),
            ])
            .env("HOME", self.home.path())
            .env("STATE", self.home.path())
            .env("TYPED", &step.typed)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .process_group(0)
            .spawn()
            .unwrap();
        let ended = within(patience(COMMAND_TIME), || child.try_wait().unwrap());
        if ended.is_none() {
            let group = Pid::from_child(&child);
            kill_process_group(group, Signal::KILL).ok();
            child.wait().unwrap();
        }
        let said = String::from_utf8_lossy(&fs::read(&output).unwrap()).into_owned();
        (ended.and_then(|status| status.code()), said)
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.folder.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        File::create(path).unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// Ends of the logs of the fleet, for who looks at a failure.
    fn logs(&self) -> String {
        let mut found = Vec::new();
        collect_logs(self.folder.path(), &mut found);
        let end = |path: &PathBuf| {
            let text = fs::read_to_string(path).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            format!("{}:\n{}\n", path.display(), lines[lines.len().saturating_sub(15)..].join("\n"))
        };
        found.iter().map(end).collect()
    }
}

fn collect_logs(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect_logs(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "log") {
            found.push(path);
        }
    }
}

impl Drop for Session {
    /// Whatever happened, no fleet stays behind.
    fn drop(&mut self) {
        let folder = self.folder.path().join("demo");
        if folder.exists() {
            let down = Command::new(program(CAMPANILE)).args(["dev", "down", "--dir"]).arg(folder).output();
            drop(down);
        }
    }
}

/// What was done with the guide's blocks.
#[derive(Debug, Default)]
struct Tally {
    ran: usize,
    commands: usize,
    needy: usize,
    forms: usize,
}

impl Tally {
    /// Does with a block what its marks say.
    fn take(&mut self, session: &Session, block: &Block) {
        match &block.used {
            Use::NeedsBox => self.needy += 1,
            Use::Form => self.forms += 1,
            Use::Look => {}
            Use::File(file) => session.write(file, &block.text()),
            Use::Run | Use::RunLast => {
                self.ran += 1;
                for step in steps(block) {
                    self.commands += 1;
                    let (place, (code, said)) = (block.place(), session.run(&step));
                    assert_eq!(code, Some(step.code), "{place}: {}\n{said}\n{}", step.typed, session.logs());
                    let is_checked = !step.expected.is_empty();
                    let fits = pattern::fits(&step.expected, &said.lines().collect::<Vec<_>>());
                    let shown = step.expected.join("\n");
                    assert!(
                        fits || !is_checked,
                        "{place}: {}\nthe guide shows:\n{shown}\nit printed:\n{said}",
                        step.typed
                    );
                }
            }
        }
    }
}

/// Asks the fleet that the guide made for all its metrics: the chapter has every one.
fn look_at_metrics(session: &Session) {
    let typed = "curl -s --cacert \"$CAMPANILE_CA\" -H \"Authorization: Bearer $CAMPANILE_TOKEN\" \"$CAMPANILE_URL/metrics\"";
    let (code, said) = session.run(&Step { typed: typed.to_owned(), code: 0, expected: Vec::new() });
    assert_eq!(code, Some(0), "{said}");
    let (listed, exposed) = (metric::listed(), metric::exposed(&said));
    assert!(exposed.len() > 80, "{exposed:?}");
    let missing: Vec<_> = exposed.difference(&listed).collect();
    assert!(missing.is_empty(), "docs/guide/metrics.md lacks {missing:?}");
}

#[test]
fn the_commands_of_the_guide_do_what_it_says() {
    let (last, first): (Vec<Block>, Vec<Block>) =
        block::all().into_iter().partition(|block| block.used == Use::RunLast);
    let session = Session::new();
    let began = Instant::now();
    let mut tally = Tally::default();
    first.iter().for_each(|block| tally.take(&session, block));
    look_at_metrics(&session);
    last.iter().for_each(|block| tally.take(&session, block));
    let Tally { ran, commands, needy, forms } = tally;
    let took = began.elapsed().as_secs();
    println!(
        "guide: {ran} blocks run ({commands} commands, {took} s), {needy} need a machine of their own, {forms} show forms"
    );
    assert!(ran >= 40 && needy > 0, "the guide has lost its commands: {ran} blocks run");
}

#[test]
fn a_block_is_typed_line_by_line() {
    let chapter = crate::Chapter {
        file: "x.md".to_owned(),
        text: "```console\n$ a |\n> b\nout\n\n$ c   # exit code 10\n```\n".to_owned(),
    };
    let block = block::blocks(&chapter).unwrap().remove(0);
    let step = |typed: &str, code, expected: &[&str]| Step {
        typed: typed.to_owned(),
        code,
        expected: expected.iter().map(|line| (*line).to_owned()).collect(),
    };
    assert_eq!(steps(&block), [step("a |\nb", 0, &["out"]), step("c", 10, &[])]);
}

#[test]
fn a_command_finds_what_the_one_before_it_left() {
    let session = Session::new();
    let typed = |typed: &str| session.run(&Step { typed: typed.to_owned(), code: 0, expected: Vec::new() });
    assert_eq!(typed("mkdir below && cd below && export SEEN='a b'").0, Some(0));
    assert_eq!(typed("echo \"$SEEN\"; basename \"$PWD\"; false"), (Some(1), "a b\nbelow\n".to_owned()));
}
