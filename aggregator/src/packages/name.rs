//! Names of package files: what they say, and which of two versions is newer.

use std::cmp::Ordering;

/// Packages that there are.
const PACKAGES: [&str; 3] = ["campanile-agent", "campanile-aggregator", "campanile"];
/// Longest name of a file; real ones have fifty letters.
const NAME_BYTES_MAX: usize = 128;

/// How a distribution packs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PackageKind {
    /// Debian and what descends from it.
    Deb,
    /// Fedora, Red Hat, SUSE and what descends from them.
    Rpm,
}

impl PackageKind {
    /// As files end.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deb => "deb",
            Self::Rpm => "rpm",
        }
    }
}

/// What the name of a package file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageName {
    file: String,
    package: &'static str,
    version: String,
    kind: PackageKind,
    architecture: String,
}

impl PackageName {
    /// Reads `campanile-agent_0.1.0-1_amd64.deb` or `campanile-agent-0.1.0-1.x86_64.rpm`; none for any other name.
    pub fn parse(file: &str) -> Option<Self> {
        if file.len() > NAME_BYTES_MAX {
            return None;
        }
        let (package, version, architecture, kind) = if let Some(name) = file.strip_suffix(".deb") {
            let (package, rest) = name.split_once('_')?;
            let (version, architecture) = rest.split_once('_')?;
            (package, version, architecture, PackageKind::Deb)
        } else {
            let (name, architecture) = file.strip_suffix(".rpm")?.rsplit_once('.')?;
            // The release has no hyphen, the version has none either, names may.
            let (name_version, release) = name.rsplit_once('-')?;
            let (package, _) = name_version.rsplit_once('-')?;
            let version = name.strip_prefix(package)?.strip_prefix('-')?;
            (!release.is_empty()).then_some((package, version, architecture, PackageKind::Rpm))?
        };
        let package = PACKAGES.into_iter().find(|known| *known == package)?;
        let is_version = |c: char| c.is_ascii_alphanumeric() || ".+~-".contains(c);
        let is_architecture = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let fits = version.starts_with(|c: char| c.is_ascii_digit())
            && version.chars().all(is_version)
            && !architecture.is_empty()
            && architecture.chars().all(is_architecture);
        fits.then(|| Self {
            file: file.to_owned(),
            package,
            version: version.to_owned(),
            kind,
            architecture: architecture.to_owned(),
        })
    }

    /// The whole name.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Which package.
    pub const fn package(&self) -> &'static str {
        self.package
    }

    /// Its version and build.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// How it is packed.
    pub const fn kind(&self) -> PackageKind {
        self.kind
    }

    /// For which machines, as its kind calls them.
    pub fn architecture(&self) -> &str {
        &self.architecture
    }

    /// Which of two versions is newer: numbers count as numbers, and `~` comes before the end.
    pub fn newer(&self, other: &Self) -> Ordering {
        compare(&self.version, &other.version)
    }
}

fn compare(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        let (word_a, word_b) = (take(&mut a, |c| !c.is_ascii_digit()), take(&mut b, |c| !c.is_ascii_digit()));
        let rank = |word: &str| word.bytes().map(rank_of).chain([rank_of(b' ')]).collect::<Vec<_>>();
        let (number_a, number_b) =
            (take(&mut a, |c| c.is_ascii_digit()), take(&mut b, |c| c.is_ascii_digit()));
        let (number_a, number_b) = (number_a.trim_start_matches('0'), number_b.trim_start_matches('0'));
        let order = rank(word_a)
            .cmp(&rank(word_b))
            .then(number_a.len().cmp(&number_b.len()))
            .then(number_a.cmp(number_b));
        if order != Ordering::Equal || (a.is_empty() && b.is_empty()) {
            return order;
        }
    }
}

/// `~` before the end of a word, the end before letters, letters before all other signs.
fn rank_of(byte: u8) -> u16 {
    match byte {
        b'~' => 0,
        b' ' => 1,
        letter if letter.is_ascii_alphabetic() => 2 + u16::from(letter),
        sign => 300 + u16::from(sign),
    }
}

/// Takes the longest begin of `text` whose letters fit.
fn take<'a>(text: &mut &'a str, fits: impl Fn(char) -> bool) -> &'a str {
    let at = text.find(|c| !fits(c)).unwrap_or(text.len());
    let (head, tail) = text.split_at(at);
    *text = tail;
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_both_kinds_are_read() {
        let deb = PackageName::parse("campanile-agent_0.1.0-1_amd64.deb").unwrap();
        assert_eq!((deb.package(), deb.version()), ("campanile-agent", "0.1.0-1"));
        assert_eq!((deb.kind(), deb.architecture()), (PackageKind::Deb, "amd64"));
        let rpm = PackageName::parse("campanile-0.1.0-1.x86_64.rpm").unwrap();
        assert_eq!((rpm.package(), rpm.version()), ("campanile", "0.1.0-1"));
        assert_eq!((rpm.kind(), rpm.architecture()), (PackageKind::Rpm, "x86_64"));
        let rpm = PackageName::parse("campanile-agent-0.1.0-1.aarch64.rpm").unwrap();
        assert_eq!(rpm.package(), "campanile-agent");
    }

    #[test]
    fn other_names_are_none() {
        let long = format!("campanile_{}_amd64.deb", "1".repeat(200));
        for name in [
            "",
            ".deb",
            "SHA256SUMS",
            "bash_1_amd64.deb",
            "campanile_1.deb",
            "campanile__amd64.deb",
            "campanile_1_.deb",
            "campanile_1/../2_amd64.deb",
            "../campanile_1_amd64.deb",
            "campanile_1_amd64.deb\n",
            "campanile_$(id)_amd64.deb",
            "campanile_1 2_amd64.deb",
            "campanile-1.x86_64.rpm",
            "campanile-agent-x-1.x86_64.rpm",
            "campanile-agent-1-1.x86'64.rpm",
            "campanile_1_amd64.deb.exe",
            &long,
        ] {
            assert_eq!(PackageName::parse(name), None, "{name}");
        }
    }

    #[test]
    fn versions_are_compared_as_people_mean_them() {
        let ascending =
            ["0.1.0~rc1-1", "0.1.0-1", "0.1.0-2", "0.1.0-10", "0.1.1-1", "0.9.0-1", "0.10.0-1", "1.0.0-1"];
        for pair in ascending.windows(2) {
            assert_eq!(compare(pair[0], pair[1]), Ordering::Less, "{pair:?}");
            assert_eq!(compare(pair[1], pair[0]), Ordering::Greater, "{pair:?}");
            assert_eq!(compare(pair[0], pair[0]), Ordering::Equal);
        }
    }
}
