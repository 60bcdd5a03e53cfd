//! Packages of apt or dnf, whichever the node has. What is not to be had fails in the plan.

mod apt;
mod dnf;

use campanile_common::config::Package;

use super::Planned;
use super::view::View;

/// Seconds that a change of packages may take.
const LONG_S: u32 = 1800;

/// What the node's package manager says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Observed {
    Apt(apt::Observed),
    Dnf(dnf::Observed),
}

pub(crate) fn observe(view: &View<'_>, name: &str, package: &Package) -> Result<Observed, String> {
    let is_available = |program: &str| {
        let is_ours = view.host.is_real_root() || view.host.is_named(program);
        is_ours && view.host.program(program).is_some()
    };
    if !is_available("apt-get") && is_available("dnf") {
        view.needs(&["dnf", "rpm"])?;
        return dnf::observe(view, name, package).map(Observed::Dnf);
    }
    view.needs(&["apt-get", "dpkg-query"])?;
    apt::observe(view, name, package).map(Observed::Apt)
}

pub(crate) fn plan(name: &str, package: &Package, observed: &Observed) -> Planned {
    match observed {
        Observed::Apt(observed) => apt::plan(name, package, observed),
        Observed::Dnf(observed) => dnf::plan(name, package, observed),
    }
}
