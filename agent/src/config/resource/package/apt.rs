//! Packages of Debian and its kin. A dry run of `apt-get` tells at planning what it would do, with everything that
//! comes along; undoing takes exactly those back.

use campanile_common::api::ChangeVerb;
use campanile_common::config::{Package, Presence};

use super::super::super::step::{Invocation, Step, Undo};
use super::super::view::View;
use super::super::{Draft, Planned};
use super::LONG_S;

/// Files of settings that were changed by hand or by us stay as they are; another run of apt is waited for.
const OPTIONS: [&str; 8] = [
    "-y",
    "-q",
    "--no-install-recommends",
    "-o",
    "Dpkg::Options::=--force-confdef",
    "-o",
    "Dpkg::Options::=--force-confold",
    "-oDPkg::Lock::Timeout=300",
];

/// A package that a dry run installs or removes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Moved {
    pub(crate) name: String,
    pub(crate) old: Option<String>,
    pub(crate) new: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Observed {
    /// Installed version.
    pub(crate) installed: Option<String>,
    /// What a dry run would do, where the package is not as it should be.
    pub(crate) moved: Vec<Moved>,
}

pub(crate) fn observe(view: &View<'_>, name: &str, package: &Package) -> Result<Observed, String> {
    let ran = view.ask(&["dpkg-query", "-W", "-f", "${db:Status-Status} ${Version}\\n", "--", name])?;
    // With several architectures there is a line for each.
    let installed = ran.text().lines().find_map(|line| line.strip_prefix("installed ").map(str::to_owned));
    if is_as_wanted(package, installed.as_deref()) {
        return Ok(Observed { installed, moved: Vec::new() });
    }
    let simulated = view.ask_with(&Invocation {
        argv: argv("-s", name, package, package.version.as_deref()),
        timeout_s: LONG_S,
        ..super::super::invocation(&[])
    })?;
    if !simulated.is_success() {
        // A new source of packages in this plan may bring it.
        if view.pending.puts_below("/etc/apt/") {
            let new = package.version.clone();
            let moved = Moved { name: name.to_owned(), old: installed.clone(), new };
            return Ok(Observed { installed, moved: vec![moved] });
        }
        return Err(format!(
            "apt-get cannot {} `{name}`; check its name and version, or add its repository ({})",
            if package.ensure == Presence::Present { "install" } else { "remove" },
            simulated.last_words()
        ));
    }
    let moved: Vec<Moved> = simulated.text().lines().filter_map(parse).collect();
    let plain = name.split(':').next().unwrap_or(name);
    if !moved.iter().any(|moved| moved.name.split(':').next() == Some(plain)) {
        return Err(format!(
            "apt-get would not change `{name}`; is it a virtual package? Name one that provides it"
        ));
    }
    Ok(Observed { installed, moved })
}

fn is_as_wanted(package: &Package, installed: Option<&str>) -> bool {
    match (package.ensure, &package.version, installed) {
        (Presence::Absent, _, installed) => installed.is_none(),
        (Presence::Present, None, installed) => installed.is_some(),
        (Presence::Present, Some(version), installed) => installed == Some(version),
    }
}

fn argv(first: &str, name: &str, package: &Package, version: Option<&str>) -> Vec<String> {
    let mut argv = vec!["apt-get".to_owned()];
    argv.extend(Some(first).filter(|first| !first.is_empty()).map(str::to_owned));
    argv.extend(OPTIONS.map(str::to_owned));
    let named = version.map_or(name.to_owned(), |version| format!("{name}={version}"));
    match package.ensure {
        Presence::Absent => argv.extend(["remove".to_owned(), "--".to_owned(), name.to_owned()]),
        Presence::Present => {
            if package.version.is_some() {
                argv.push("--allow-downgrades".to_owned());
            }
            argv.extend(["install".to_owned(), "--".to_owned(), named]);
        }
    }
    argv
}

/// `Inst curl [7.74.0-1] (7.88.1-10 Debian:12/stable [amd64])` or `Remv curl [7.74.0-1]`.
fn parse(line: &str) -> Option<Moved> {
    let mut words = line.split(' ');
    let kind = words.next()?;
    let name = words.next()?.to_owned();
    let rest: Vec<&str> = words.collect();
    let old = rest.first().and_then(|word| word.strip_prefix('[')?.strip_suffix(']')).map(str::to_owned);
    match kind {
        "Inst" => {
            let new =
                rest.iter().find_map(|word| word.strip_prefix('(')).map(|word| word.trim_end_matches(')'));
            Some(Moved { name, old, new: new.map(str::to_owned) })
        }
        "Remv" => Some(Moved { name, old, new: None }),
        _ => None,
    }
}

pub(crate) fn plan(name: &str, package: &Package, observed: &Observed) -> Planned {
    if is_as_wanted(package, observed.installed.as_deref()) {
        return Ok(None);
    }
    let plain = name.split(':').next().unwrap_or(name);
    let own = observed.moved.iter().find(|moved| moved.name.split(':').next() == Some(plain));
    let version = own.and_then(|moved| moved.new.as_deref());
    let mut draft = Draft::new(match (package.ensure, &observed.installed) {
        (Presence::Absent, _) => ChangeVerb::Remove,
        (Presence::Present, None) => ChangeVerb::Create,
        (Presence::Present, Some(_)) => ChangeVerb::Update,
    });
    match (package.ensure, &observed.installed) {
        (Presence::Absent, installed) => {
            draft.say(format!("remove {}", installed.as_deref().unwrap_or_default()));
        }
        (Presence::Present, None) => {
            draft.say(format!("install {}", version.unwrap_or("the newest version")))
        }
        (Presence::Present, Some(old)) => draft.say(format!("{old} -> {}", version.unwrap_or_default())),
    }
    for moved in observed.moved.iter().filter(|moved| moved.name.split(':').next() != Some(plain)) {
        let verb = if moved.new.is_some() { "install" } else { "remove" };
        draft.say(format!("also {verb} {}", moved.name));
    }
    let argv = argv("", name, package, version);
    let undo = Undo::Run(undo(&observed.moved));
    draft.steps.push(Step::Run { invocation: long(argv), undo });
    Ok(Some(draft))
}

/// New ones go with their settings, old versions come back.
fn undo(moved: &[Moved]) -> Vec<Invocation> {
    let options = || OPTIONS.map(str::to_owned);
    let mut purge: Vec<String> = vec!["apt-get".to_owned()];
    let mut install = purge.clone();
    purge.extend(options());
    purge.extend(["purge".to_owned(), "--".to_owned()]);
    install.extend(options());
    install.extend(["--allow-downgrades", "install", "--"].map(str::to_owned));
    let (empty_purge, empty_install) = (purge.len(), install.len());
    for moved in moved {
        match &moved.old {
            Some(old) => install.push(format!("{}={old}", moved.name)),
            None => purge.push(moved.name.clone()),
        }
    }
    let is_used = |argv: &Vec<String>, empty: usize| argv.len() > empty;
    let used = [(purge, empty_purge), (install, empty_install)];
    used.into_iter().filter(|(argv, empty)| is_used(argv, *empty)).map(|(argv, _)| long(argv)).collect()
}

fn long(argv: Vec<String>) -> Invocation {
    Invocation { argv, stdin: Vec::new(), user: None, timeout_s: LONG_S }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_dry_run_say_what_moves() {
        let moved = |name: &str, old: Option<&str>, new: Option<&str>| Moved {
            name: name.to_owned(),
            old: old.map(str::to_owned),
            new: new.map(str::to_owned),
        };
        assert_eq!(
            parse("Inst curl (7.88.1-10 Debian:12/stable [amd64])"),
            Some(moved("curl", None, Some("7.88.1-10")))
        );
        assert_eq!(
            parse("Inst libc6 [2.31-1] (2.31-2 Debian:11 [amd64]) []"),
            Some(moved("libc6", Some("2.31-1"), Some("2.31-2")))
        );
        assert_eq!(parse("Remv curl [7.88.1-10]"), Some(moved("curl", Some("7.88.1-10"), None)));
        assert_eq!(parse("Conf curl (7.88.1-10 Debian:12/stable [amd64])"), None);
        assert_eq!(parse("Reading package lists..."), None);
    }

    #[test]
    fn undoing_takes_back_all_that_came_along_and_nothing_else() {
        let line = |line| parse(line).unwrap();
        let moved = [
            line("Inst dep (1.0 Debian [amd64])"),
            line("Remv rival [3.0]"),
            line("Inst curl [7.0] (8.0 Debian [amd64])"),
        ];
        let commands: Vec<String> = undo(&moved).into_iter().map(|command| command.argv.join(" ")).collect();
        assert_eq!(commands.len(), 2);
        assert!(commands[0].ends_with(" purge -- dep"), "{commands:?}");
        assert!(commands[1].ends_with(" install -- rival=3.0 curl=7.0"), "{commands:?}");
    }
}
