//! What is touched, and when it is looked at.

#![expect(clippy::disallowed_methods, reason = "tests touch files")]

use super::*;
use crate::os::packet::{Interest, wait};

const INTERVAL: Duration = Duration::from_secs(3600);

fn watched(config: &Path, paths: &[PathBuf]) -> Watch {
    std::fs::write(config.join(LIST_FILE), serde_json::to_vec(paths).unwrap()).unwrap();
    let mut watch = Watch::new(config, Path::new("/"), INTERVAL);
    assert!(watch.is_due(), "what happened before the start is looked at");
    watch.begun();
    assert!(!watch.is_due());
    watch
}

/// Waits until something is told, and takes it; true when a look follows from it.
fn is_touched(watch: &mut Watch) -> bool {
    let ready = wait(&[(watch.descriptor().unwrap(), Interest::READ)], Some(Duration::from_secs(5)));
    assert!(ready.unwrap()[0].read, "nothing was told");
    watch.touched();
    watch.left() <= SETTLE
}

#[test]
fn a_touch_is_looked_at_once_it_has_settled() {
    let (config, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = there.path().join("motd");
    let mut watch = watched(config.path(), std::slice::from_ref(&path));
    std::fs::write(there.path().join("else"), "not ours").unwrap();
    assert!(!is_touched(&mut watch), "what is not configured is not looked at");
    std::fs::write(&path, "by hand").unwrap();
    assert!(is_touched(&mut watch) && !watch.is_due());
    crate::os::stopwatch::pause(SETTLE);
    assert!(watch.is_due());
    watch.begun();
    assert!(watch.left() > SETTLE_MAX);
}

#[test]
fn a_folder_that_is_missing_is_watched_for_above_it() {
    let (config, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut watch = watched(config.path(), &[there.path().join("conf.d/a/b")]);
    std::fs::create_dir(there.path().join("conf.d")).unwrap();
    assert!(is_touched(&mut watch));
}

#[test]
fn without_a_list_the_interval_alone_counts() {
    let config = tempfile::tempdir().unwrap();
    let watch = Watch::new(config.path(), Path::new("/"), INTERVAL);
    assert!(watch.descriptor().is_none());
    assert!(watch.left() > INTERVAL / 2);
}
