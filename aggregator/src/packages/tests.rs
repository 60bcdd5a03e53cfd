//! A folder of packages, as it is served.

#![expect(clippy::disallowed_methods, reason = "tests lay out the files that are read")]

use std::os::unix::fs::symlink;

use super::*;

const DEB: &str = "campanile-agent_0.1.0-1_amd64.deb";

fn packages(files: &[(&str, &str)]) -> (tempfile::TempDir, Packages) {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        std::fs::write(folder.path().join(name), content).unwrap();
    }
    let packages = Packages::new(folder.path().to_owned(), script::tests::site());
    (folder, packages)
}

fn names(packages: &Packages) -> Vec<String> {
    packages.list().iter().map(|package| package.name.file().to_owned()).collect()
}

#[test]
fn only_plain_files_with_names_of_packages_are_served() {
    let (folder, packages) = packages(&[(DEB, "agent"), ("passwd", "x"), ("evil_1_amd64.deb", "x")]);
    symlink("/etc/passwd", folder.path().join("campanile-agent_0.2.0-1_amd64.deb")).unwrap();
    std::fs::create_dir(folder.path().join("campanile-agent_0.3.0-1_amd64.deb")).unwrap();
    assert_eq!(names(&packages), [DEB]);
    for name in ["passwd", "../passwd", "evil_1_amd64.deb", "campanile-agent_0.2.0-1_amd64.deb"] {
        assert!(packages.open(name).unwrap().is_none(), "{name}");
    }
    let (package, _) = packages.open(DEB).unwrap().unwrap();
    assert_eq!((package.size_bytes, package.digest), (5, sha256(&[b"agent"])));
}

#[test]
fn a_package_that_differs_from_the_list_beside_it_is_not_served() {
    let sums = format!("{}  {DEB}\n", sha256(&[b"agent"]));
    let (folder, packages) = packages(&[(DEB, "agent"), (SUMS, &sums)]);
    assert_eq!(names(&packages), [DEB]);
    std::fs::write(folder.path().join(DEB), "other").unwrap();
    assert!(names(&packages).is_empty(), "changed");
    std::fs::write(folder.path().join(DEB), "agent").unwrap();
    std::fs::write(folder.path().join(SUMS), "").unwrap();
    assert!(names(&packages).is_empty(), "not listed");
}

#[test]
fn a_package_that_is_replaced_has_another_digest_and_changes_the_script() {
    let (folder, packages) = packages(&[(DEB, "agent")]);
    let (first, digest) = packages.script().unwrap();
    assert!(first.contains(&sha256(&[b"agent"]).to_string()));
    std::fs::write(folder.path().join(DEB), "another").unwrap();
    let (second, other) = packages.script().unwrap();
    assert!(second.contains(&sha256(&[b"another"]).to_string()) && digest != other);
}

#[test]
fn without_a_folder_there_are_no_packages_and_no_script() {
    let packages = Packages::new("/nonexistent".into(), script::tests::site());
    assert!(packages.list().is_empty() && packages.script().is_none());
}
