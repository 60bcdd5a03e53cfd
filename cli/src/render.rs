//! Printing results: tables for people; JSON, YAML and names for programs.
//!
//! Text that comes from nodes may hold anything: control characters never reach the terminal.

use std::io;

use campanile_common::api::{Liveness, NodeHealth, Severity};
use campanile_common::time::Timestamp;
use serde::Serialize;

use crate::cli::Output;
use crate::context::Context;
use crate::duration;
use crate::os::clock;

/// What a cell means, shown as a colour where there are colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Nothing special.
    Plain,
    /// All is well.
    Good,
    /// Look at it some time.
    Warning,
    /// Look at it now.
    Bad,
}

/// One cell of a table.
#[derive(Debug, Clone)]
pub struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// Text without a tone; empty text shows as `-`.
    pub fn new(text: impl ToString) -> Self {
        let text: String =
            text.to_string().chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
        Self { text: if text.is_empty() { "-".to_owned() } else { text }, tone: Tone::Plain }
    }

    /// A text that may be missing.
    pub fn maybe(text: Option<impl ToString>) -> Self {
        text.map_or_else(|| Self::new(""), Self::new)
    }

    /// The same with a tone.
    pub fn toned(mut self, tone: Tone) -> Self {
        self.tone = tone;
        self
    }

    /// The same with more text behind it.
    pub fn followed_by(mut self, text: &str) -> Self {
        self.text.push_str(text);
        self
    }

    /// How long ago a time was.
    pub fn age(time: Option<Timestamp>, now: Timestamp) -> Self {
        Self::maybe(time.map(|time| duration::short(now.since(time))))
    }

    /// How long until a time; `expired` when it is past.
    pub fn left(time: Timestamp, now: Timestamp) -> Self {
        if time > now { Self::new(duration::short(time.since(now))) } else { Self::new("expired") }
    }

    /// A liveness.
    pub fn liveness(liveness: Liveness) -> Self {
        match liveness {
            Liveness::Online => Self::new("online").toned(Tone::Good),
            Liveness::Late => Self::new("late").toned(Tone::Warning),
            Liveness::Offline => Self::new("offline").toned(Tone::Bad),
        }
    }

    /// A judgement.
    pub fn health(health: NodeHealth) -> Self {
        match health {
            NodeHealth::Healthy => Self::new("healthy").toned(Tone::Good),
            NodeHealth::Warning => Self::new("warning").toned(Tone::Warning),
            NodeHealth::Critical => Self::new("critical").toned(Tone::Bad),
            NodeHealth::Offline => Self::new("offline").toned(Tone::Bad),
        }
    }

    /// A severity.
    pub fn severity(severity: Severity) -> Self {
        match severity {
            Severity::Warning => Self::new("warning").toned(Tone::Warning),
            Severity::Critical => Self::new("critical").toned(Tone::Bad),
        }
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }

    fn painted(&self, colours: bool) -> String {
        let code = match self.tone {
            Tone::Plain => None,
            Tone::Good => Some("32"),
            Tone::Warning => Some("33"),
            Tone::Bad => Some("31"),
        };
        match code.filter(|_| colours) {
            Some(code) => format!("\u{1b}[{code}m{}\u{1b}[0m", self.text),
            None => self.text.clone(),
        }
    }
}

/// A column of a table of `T`.
#[derive(Clone, Copy)]
pub struct Column<T> {
    head: &'static str,
    is_wide: bool,
    cell: fn(&T, Timestamp) -> Cell,
}

impl<T> Column<T> {
    /// What stands above it.
    pub const fn head(&self) -> &'static str {
        self.head
    }

    /// Its cell for one entry.
    pub fn cell(&self, item: &T, now: Timestamp) -> Cell {
        (self.cell)(item, now)
    }
}

/// A column that is always shown; the cell is made from the entry and the time now.
pub const fn column<T>(head: &'static str, cell: fn(&T, Timestamp) -> Cell) -> Column<T> {
    Column { head, is_wide: false, cell }
}

/// A column that `-o wide` alone shows.
pub const fn wide<T>(head: &'static str, cell: fn(&T, Timestamp) -> Cell) -> Column<T> {
    Column { head, is_wide: true, cell }
}

/// Prints a list: an array in JSON.
///
/// # Errors
/// When it cannot be printed.
pub fn list<T: Serialize>(
    context: &mut Context<'_>,
    items: &[T],
    columns: &[Column<T>],
    name: fn(&T) -> String,
) -> anyhow::Result<()> {
    let output = context.global.output;
    match output {
        Output::Table | Output::Wide => {
            let now = clock::now();
            let shown: Vec<_> =
                columns.iter().filter(|column| !column.is_wide || output == Output::Wide).collect();
            let heads: Vec<_> = shown.iter().map(|column| column.head).collect();
            let rows = items.iter().map(|item| shown.iter().map(|c| (c.cell)(item, now)).collect()).collect();
            table(context, &heads, rows)?;
        }
        Output::Json => json(context, &items)?,
        Output::Yaml => yaml(context, &items)?,
        Output::Name => {
            for item in items {
                writeln!(context.out, "{}", Cell::new(name(item)).text)?;
            }
        }
    }
    Ok(())
}

/// Prints one thing: an object in JSON, `people` for people.
///
/// # Errors
/// When it cannot be printed.
pub fn object<T: Serialize>(
    context: &mut Context<'_>,
    item: &T,
    name: &str,
    people: impl FnOnce(&mut Context<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    match context.global.output {
        Output::Table | Output::Wide => people(context)?,
        Output::Json => json(context, item)?,
        Output::Yaml => yaml(context, item)?,
        Output::Name => writeln!(context.out, "{}", Cell::new(name).text)?,
    }
    Ok(())
}

/// Prints named values, one a line.
///
/// # Errors
/// When they cannot be printed.
pub fn fields(context: &mut Context<'_>, fields: &[(&str, Cell)]) -> io::Result<()> {
    let colours = context.environment.colours();
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, cell) in fields {
        writeln!(context.out, "{name:width$}  {}", cell.painted(colours))?;
    }
    Ok(())
}

/// Prints rows under heads, each column as wide as it must be; the last one runs free.
///
/// # Errors
/// When they cannot be printed.
pub fn table(context: &mut Context<'_>, heads: &[&str], rows: Vec<Vec<Cell>>) -> io::Result<()> {
    let colours = context.environment.colours();
    let head: Vec<_> = heads.iter().map(Cell::new).collect();
    let rows: Vec<_> = std::iter::once(head).chain(rows).collect();
    let widths: Vec<usize> = (0..heads.len())
        .map(|column| rows.iter().map(|row| row[column].width()).max().unwrap_or(0))
        .collect();
    for row in rows {
        let mut line = String::new();
        for (index, (cell, width)) in row.iter().zip(&widths).enumerate() {
            line.push_str(&cell.painted(colours));
            if index + 1 < row.len() {
                line.push_str(&" ".repeat(width - cell.width() + 2));
            }
        }
        writeln!(context.out, "{}", line.trim_end())?;
    }
    Ok(())
}

fn json<T: Serialize>(context: &mut Context<'_>, item: &T) -> anyhow::Result<()> {
    serde_json::to_writer_pretty(&mut *context.out, item)?;
    writeln!(context.out)?;
    Ok(())
}

fn yaml<T: Serialize>(context: &mut Context<'_>, item: &T) -> anyhow::Result<()> {
    Ok(context.out.write_all(serde_norway::to_string(item)?.as_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::Environment;
    use crate::testing;

    #[derive(Serialize)]
    struct Bell {
        name: &'static str,
        tone: &'static str,
    }

    const BELLS: [Bell; 2] = [Bell { name: "Marangona", tone: "A" }, Bell { name: "Trottiera", tone: "" }];

    fn columns() -> [Column<Bell>; 3] {
        [
            column("NAME", |bell, _| Cell::new(bell.name)),
            wide("LENGTH", |bell, _| Cell::new(bell.name.len())),
            column("TONE", |bell, _| Cell::new(bell.tone).toned(Tone::Good)),
        ]
    }

    fn printed(arguments: &[&str], environment: &Environment) -> String {
        testing::with_context(arguments, environment, |context| {
            list(context, &BELLS, &columns(), |bell| bell.name.to_owned()).unwrap();
        })
    }

    #[test]
    fn every_format_prints_the_same_bells() {
        let environment = Environment::default();
        insta::assert_snapshot!("table", printed(&[], &environment));
        insta::assert_snapshot!("wide", printed(&["-o", "wide"], &environment));
        insta::assert_snapshot!("json", printed(&["-o", "json"], &environment));
        insta::assert_snapshot!("yaml", printed(&["-o", "yaml"], &environment));
        assert_eq!(printed(&["-o", "name"], &environment), "Marangona\nTrottiera\n");
    }

    #[test]
    fn an_empty_list_is_an_empty_array_and_a_bare_head() {
        let empty = |arguments: &[&str]| {
            testing::with_context(arguments, &Environment::default(), |context| {
                list(context, &[], &columns(), |bell: &Bell| bell.name.to_owned()).unwrap();
            })
        };
        assert_eq!(empty(&["-o", "json"]), "[]\n");
        assert_eq!(empty(&[]), "NAME  TONE\n");
    }

    #[test]
    fn colours_are_for_terminals_that_want_them() {
        let mut terminal = Environment { stdout_is_terminal: true, ..Environment::default() };
        assert!(printed(&[], &terminal).contains("\u{1b}[32mA\u{1b}[0m"));
        terminal.variables.insert("NO_COLOR".to_owned(), "1".to_owned());
        assert!(!printed(&[], &terminal).contains('\u{1b}'));
        assert!(!printed(&[], &Environment::default()).contains('\u{1b}'));
    }

    #[test]
    fn a_nodes_text_cannot_steer_the_terminal() {
        assert_eq!(Cell::new("a\u{1b}[2Jb\n").text, "a\u{fffd}[2Jb\u{fffd}");
    }
}
