//! The formats that the code writes, as its constants say, and the number of each state folder, which covers them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Crates that keep something on disk.
const CRATES: [&str; 4] = ["agent", "aggregator", "cli", "common"];
/// What the agent's folders say of themselves.
const LEVEL_FILE: &str = "agent/src/os/release.rs";
const MIGRATIONS: &str = "aggregator/migrations";

/// What one version of the code writes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Formats {
    /// Numbers of the folders: `agent` and `aggregator`.
    pub folders: BTreeMap<String, u32>,
    /// The format constants of each file, in their order.
    pub files: BTreeMap<String, Vec<u32>>,
}

impl Formats {
    /// Those of the code below `root`.
    ///
    /// # Panics
    /// When the code is not there.
    pub fn of_code(root: &Path) -> Self {
        let mut found = Self::default();
        for name in CRATES {
            found.add_folder(root, &root.join(name).join("src"));
        }
        let level = fs::read_to_string(root.join(LEVEL_FILE)).expect("the agent notes its release");
        let level = level.lines().find_map(|line| number(line, "LEVEL")).expect("it has a level");
        let migrations = fs::read_dir(root.join(MIGRATIONS)).expect("the aggregator has a schema").count();
        let schema = u32::try_from(migrations).expect("migrations are few");
        found.folders = [("agent".to_owned(), level), ("aggregator".to_owned(), schema)].into();
        found
    }

    fn add_folder(&mut self, root: &Path, folder: &Path) {
        for entry in fs::read_dir(folder).expect("a folder of code") {
            let path = entry.expect("a name").path();
            if path.is_dir() {
                self.add_folder(root, &path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("code is text");
                let formats: Vec<u32> = text.lines().filter_map(|line| number(line, "FORMAT")).collect();
                if !formats.is_empty() {
                    let name = path.strip_prefix(root).expect("below the root").display().to_string();
                    self.files.insert(name, formats);
                }
            }
        }
    }

    /// A line for each.
    pub fn to_text(&self) -> String {
        let folders = self.folders.iter().map(|(name, level)| format!("folder {name} {level}\n"));
        let files = self.files.iter().map(|(name, formats)| {
            let formats: Vec<String> = formats.iter().map(u32::to_string).collect();
            format!("file {name} {}\n", formats.join(" "))
        });
        folders.chain(files).collect()
    }

    /// What [`Self::to_text`] wrote; none when it did not.
    pub fn parse(text: &str) -> Option<Self> {
        let mut found = Self::default();
        for line in text.lines() {
            let mut words = line.split(' ');
            let (kind, name) = (words.next()?, words.next()?.to_owned());
            let numbers: Vec<u32> = words.map(str::parse).collect::<Result<_, _>>().ok()?;
            match (kind, numbers.as_slice()) {
                ("folder", [level]) => drop(found.folders.insert(name, *level)),
                ("file", [_, ..]) => drop(found.files.insert(name, numbers)),
                _ => return None,
            }
        }
        Some(found)
    }

    /// What is wrong with this code after a release: formats that rose, of folders whose number did not.
    pub fn misses_since(&self, released: &Self) -> Vec<String> {
        let rose = |name: &str| self.folders.get(name) > released.folders.get(name);
        let mut wrong = Vec::new();
        for (file, formats) in &self.files {
            let newest = formats.iter().max();
            let Some(before) = released.files.get(file) else { continue };
            if newest <= before.iter().max() {
                continue;
            }
            let folders: &[&str] = match file.split('/').next() {
                Some("agent") => &["agent"],
                Some("aggregator") => &["aggregator"],
                // Both keep what both must read.
                Some("common") => &["agent", "aggregator"],
                _ => &[],
            };
            wrong.extend(folders.iter().filter(|name| !rose(name)).map(|name| {
                format!(
                    "{file} writes format {newest:?} now, and the number of the {name}'s folder did not rise"
                )
            }));
        }
        wrong
    }
}

/// The number of a constant of this name, when the line declares one.
fn number(line: &str, name: &str) -> Option<u32> {
    let (head, value) = line.split_once(" = ")?;
    let declared = head.trim_start().rsplit_once("const ")?.1.split_once(':')?.0;
    (declared == name).then(|| value.trim_end_matches(';').parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn formats(text: &str) -> Formats {
        Formats::parse(text).expect("well formed")
    }

    #[test]
    fn a_format_that_rises_alone_is_noticed() {
        let before =
            formats("folder agent 1\nfolder aggregator 2\nfile agent/a.rs 1\nfile common/c.rs 1 2\n");
        assert_eq!(formats(&before.to_text()), before);
        assert!(before.misses_since(&before).is_empty());
        let rose = |text: &str| formats(text).misses_since(&before).len();
        assert_eq!(rose("folder agent 1\nfolder aggregator 2\nfile agent/a.rs 2\n"), 1);
        assert_eq!(rose("folder agent 2\nfolder aggregator 2\nfile agent/a.rs 2\n"), 0);
        assert_eq!(rose("folder agent 1\nfolder aggregator 3\nfile common/c.rs 1 3\n"), 1);
        assert_eq!(
            rose("folder agent 1\nfolder aggregator 2\nfile agent/new.rs 4\n"),
            0,
            "nobody wrote it before"
        );
        assert_eq!(Formats::parse("folder agent\n"), None);
    }

    #[test]
    fn constants_are_read_from_their_lines() {
        assert_eq!(number("const FORMAT: u16 = 3;", "FORMAT"), Some(3));
        assert_eq!(number("    pub(super) const FORMAT: u16 = 1;", "FORMAT"), Some(1));
        assert_eq!(number("    pub const FORMAT: u16 = FORMAT;", "FORMAT"), None);
        assert_eq!(number("const FORMATS: u16 = 1;", "FORMAT"), None);
    }
}
