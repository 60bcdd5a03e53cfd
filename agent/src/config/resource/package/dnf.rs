//! Packages of Fedora and its kin.

use campanile_common::api::ChangeVerb;
use campanile_common::config::{Package, Presence};

use super::super::super::step::{Invocation, Step, Undo};
use super::super::view::View;
use super::super::{Draft, Planned};
use super::LONG_S;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Observed {
    /// Installed `VERSION-RELEASE`.
    pub(crate) installed: Option<String>,
    /// The one that would be installed, where one is to be.
    pub(crate) available: Option<String>,
}

const FORMAT: &str = "%{VERSION}-%{RELEASE}\\n";
/// Of `dnf repoquery`, which knows the tags in small letters alone.
const QUERY_FORMAT: &str = "%{version}-%{release}\\n";

pub(crate) fn observe(view: &View<'_>, name: &str, package: &Package) -> Result<Observed, String> {
    let ran = view.ask(&["rpm", "-q", "--qf", FORMAT, "--", name])?;
    let installed = if ran.is_success() { ran.text().lines().last().map(str::to_owned) } else { None };
    if is_as_wanted(package, installed.as_deref()) || package.ensure == Presence::Absent {
        return Ok(Observed { installed, available: None });
    }
    let wanted = package.version.as_ref().map_or(name.to_owned(), |version| format!("{name}-{version}"));
    let query = ["dnf", "-q", "repoquery", "--latest-limit", "1", "--qf", QUERY_FORMAT, "--", &wanted];
    let ran = view.ask_with(&Invocation { timeout_s: LONG_S, ..super::super::invocation(&query) })?;
    let available = ran.text().lines().map(str::trim).rfind(|line| !line.is_empty()).map(str::to_owned);
    let available = available.filter(|_| ran.is_success());
    if available.is_none() && !view.pending.puts_below("/etc/yum.repos.d/") {
        return Err(format!(
            "dnf knows no package `{wanted}`; check its name and version, or add its repository"
        ));
    }
    Ok(Observed { installed, available })
}

/// A version with or without its release.
fn is_as_wanted(package: &Package, installed: Option<&str>) -> bool {
    match (package.ensure, &package.version, installed) {
        (Presence::Absent, _, installed) => installed.is_none(),
        (Presence::Present, None, installed) => installed.is_some(),
        (Presence::Present, Some(version), Some(installed)) => {
            // The epoch is no part of what is compared.
            let version = version.split_once(':').map_or(version.as_str(), |(_, version)| version);
            installed == version || installed.rsplit_once('-').is_some_and(|(plain, _)| plain == version)
        }
        (Presence::Present, Some(_), None) => false,
    }
}

pub(crate) fn plan(name: &str, package: &Package, observed: &Observed) -> Planned {
    if is_as_wanted(package, observed.installed.as_deref()) {
        return Ok(None);
    }
    let versioned = |version: &str| format!("{name}-{version}");
    let old = observed.installed.as_deref().map(versioned);
    let dnf = |verb: &str, what: &str| Invocation {
        argv: ["dnf", "-y", verb, "--", what].map(str::to_owned).to_vec(),
        stdin: Vec::new(),
        user: None,
        timeout_s: LONG_S,
    };
    let version = observed.available.as_deref().or(package.version.as_deref());
    let new = version.map_or(name.to_owned(), versioned);
    let (verb, what, invocation, back) = match (package.ensure, old) {
        (Presence::Absent, old) => {
            let old = old.unwrap_or_else(|| name.to_owned());
            (ChangeVerb::Remove, format!("remove {old}"), dnf("remove", name), dnf("install", &old))
        }
        (Presence::Present, None) => {
            (ChangeVerb::Create, format!("install {new}"), dnf("install", &new), dnf("remove", name))
        }
        (Presence::Present, Some(old)) => {
            // Of a version that is named, `install` goes up and down.
            let what = format!("{old} -> {new}");
            (ChangeVerb::Update, what, dnf("install", &new), dnf("install", &old))
        }
    };
    let mut draft = Draft::new(verb);
    draft.say(what);
    draft.steps.push(Step::Run { invocation, undo: Undo::Run(vec![back]) });
    Ok(Some(draft))
}
