//! Finding the programs under test: they lie beside the test's own folder, as cargo puts them.

use std::path::PathBuf;

/// The agent.
pub const AGENT: &str = "campanile-agent";
/// The aggregator.
pub const AGGREGATOR: &str = "campanile-aggregator";
/// The operator's command line.
pub const CAMPANILE: &str = "campanile";

/// Where a program of this build is.
///
/// # Panics
/// When it was not built.
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    // target/debug/deps/e2e-0123456789abcdef
    let folder = test.parent().and_then(|deps| deps.parent()).expect("cargo puts tests two folders deep");
    let path = folder.join(name);
    assert!(path.is_file(), "{} is missing: build it with `cargo build --workspace --bins`", path.display());
    path
}
