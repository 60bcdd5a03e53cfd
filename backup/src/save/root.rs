//! Which folders lead to the roots of a save: the tree of a snapshot begins at `/`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

/// A path that cannot be a root.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RootError {
    /// Relative, or with `..` in it.
    #[error("{0:?} cannot be saved: give an absolute path without `..`")]
    Path(PathBuf),
    /// There is none.
    #[error("no path to save was given")]
    None,
}

/// What is saved of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Branch {
    /// All of it: a root.
    Whole,
    /// These entries alone: it leads to roots.
    Through(Branches),
}

/// Entries of a folder that leads to roots.
pub(super) type Branches = BTreeMap<OsString, Branch>;

/// What is saved of `/`. A root below another one is part of that one.
pub(super) fn plan(roots: &[PathBuf]) -> Result<Branch, RootError> {
    let mut top = Branch::Through(Branches::new());
    for root in roots {
        let mut branch = &mut top;
        for name in names(root)? {
            let Branch::Through(entries) = branch else { break };
            branch = entries.entry(name).or_insert_with(|| Branch::Through(Branches::new()));
        }
        *branch = Branch::Whole;
    }
    if top == Branch::Through(Branches::new()) { Err(RootError::None) } else { Ok(top) }
}

fn names(root: &Path) -> Result<Vec<OsString>, RootError> {
    let refused = || RootError::Path(root.to_owned());
    if !root.is_absolute() {
        return Err(refused());
    }
    let mut names = Vec::new();
    for component in root.components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => names.push(name.to_owned()),
            Component::ParentDir | Component::Prefix(_) => return Err(refused()),
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(roots: &[&str]) -> Result<Branch, RootError> {
        plan(&roots.iter().map(PathBuf::from).collect::<Vec<_>>())
    }

    fn through<const N: usize>(entries: [(&str, Branch); N]) -> Branch {
        Branch::Through(entries.map(|(name, branch)| (OsString::from(name), branch)).into())
    }

    #[test]
    fn roots_hang_below_the_folders_that_lead_to_them() {
        let tree = planned(&["/srv/www/", "/etc", "/srv//./db"]).unwrap();
        let srv = through([("db", Branch::Whole), ("www", Branch::Whole)]);
        assert_eq!(tree, through([("etc", Branch::Whole), ("srv", srv)]));
    }

    #[test]
    fn a_root_below_another_is_part_of_it_in_either_order() {
        let tree = through([("srv", Branch::Whole)]);
        assert_eq!(planned(&["/srv", "/srv/www"]).unwrap(), tree);
        assert_eq!(planned(&["/srv/www/a", "/srv"]).unwrap(), tree);
        assert_eq!(planned(&["/etc", "/"]).unwrap(), Branch::Whole);
        assert_eq!(planned(&["/", "/etc"]).unwrap(), Branch::Whole);
    }

    #[test]
    fn what_is_not_absolute_is_refused() {
        for root in ["etc", "", "../etc", "/etc/../root"] {
            assert_eq!(planned(&[root]), Err(RootError::Path(root.into())), "{root}");
        }
        assert_eq!(planned(&[]), Err(RootError::None));
    }
}
