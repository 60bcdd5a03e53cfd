//! `backup watch`: tells the steward when files of policies change, a line of JSON each time, until nobody listens.
//!
//! A process of its own, so that a file system that hangs holds up nobody else, and that without a policy that follows
//! changes nothing of it is there. What it cannot watch it says: then the steward has the files looked at regularly.

mod eye;

use std::io::Write as _;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use campanile_common::backup::PolicyName;
use serde::{Deserialize, Serialize};

use super::output::Output;
use super::place::{Place, Program};
use crate::os::background;
use crate::os::packet::{Interest, wait};
use crate::os::stopwatch::{Stopwatch, pause};
use eye::Eye;

/// Rest between two looks: whoever writes all the time costs two wake-ups a second at most, one here and one in the
/// steward.
const REST: Duration = Duration::from_secs(1);

/// How soon it is tried again to watch what could not be: folders go, and limits of the kernel are raised.
const BLIND_INTERVAL: Duration = Duration::from_secs(600);

/// What it tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "noticed")]
pub enum Noticed {
    /// Changes of its files are noticed from now on.
    Watching {
        /// Which policy's.
        policy: PolicyName,
        /// In so many folders.
        folders: u64,
    },
    /// Something changed.
    Changed {
        /// Which policy's.
        policy: PolicyName,
    },
    /// Changes of its files are not noticed.
    Blind {
        /// Which policy's.
        policy: PolicyName,
        /// Why not.
        why: String,
    },
}

/// What is watched, and what is not.
struct Watch {
    program: Program,
    eyes: Vec<Eye>,
    /// Policies whose changes are not noticed, and since when they were tried.
    blind: Vec<(PolicyName, Stopwatch)>,
}

/// Watches what these policies save; the exit code.
pub fn run(policies: &[PolicyName], place: Place) -> u8 {
    background::stand_back();
    let program = Program::new(place, Output::standard(), Arc::new(AtomicBool::new(false)));
    let mut watch = Watch { program, eyes: Vec::new(), blind: Vec::new() };
    for policy in policies {
        if tell(&watch.open(policy)).is_err() {
            return 0;
        }
    }
    while watch.look().is_ok() {
        pause(REST);
    }
    0
}

impl Watch {
    fn open(&mut self, policy: &PolicyName) -> Noticed {
        let opened = self.program.job(policy.as_str()).map_err(|error| error.line());
        match opened.and_then(|job| Eye::open(job, &self.program.place.folder)) {
            Ok(eye) => {
                let folders = eye.folders();
                self.eyes.push(eye);
                Noticed::Watching { policy: policy.clone(), folders }
            }
            Err(why) => self.give_up(policy.clone(), why),
        }
    }

    fn give_up(&mut self, policy: PolicyName, why: String) -> Noticed {
        self.blind.push((policy.clone(), Stopwatch::start()));
        Noticed::Blind { policy, why }
    }

    /// Tries what could not be watched for `after`: what is watched now. What still is not is known.
    fn try_again(&mut self, after: Duration) -> Vec<Noticed> {
        let is_due = |(_, tried): &mut (PolicyName, Stopwatch)| tried.elapsed() >= after;
        let due: Vec<_> = self.blind.extract_if(.., is_due).collect();
        let tried = due.into_iter().map(|(policy, _)| self.open(&policy));
        tried.filter(|noticed| matches!(noticed, Noticed::Watching { .. })).collect()
    }

    /// Waits for something to happen and tells of it.
    fn look(&mut self) -> std::io::Result<()> {
        let awaited: Vec<(BorrowedFd<'_>, Interest)> =
            self.eyes.iter().map(|eye| (eye.descriptor(), Interest::READ)).collect();
        let blind = self.blind.iter().map(|(_, tried)| BLIND_INTERVAL.saturating_sub(tried.elapsed()));
        let timeout = self.eyes.iter().filter_map(Eye::timeout).chain(blind).min();
        let ready = wait(&awaited, timeout)?;
        drop(awaited);
        let mut seen = Vec::new();
        for (mut eye, ready) in std::mem::take(&mut self.eyes).into_iter().zip(ready) {
            if !ready.read && eye.timeout().is_none_or(|left| !left.is_zero()) {
                self.eyes.push(eye);
                continue;
            }
            let policy = eye.policy().clone();
            match eye.take() {
                Ok(is_changed) => {
                    seen.extend(is_changed.then_some(Noticed::Changed { policy }));
                    self.eyes.push(eye);
                }
                Err(why) => seen.push(self.give_up(policy, why)),
            }
        }
        seen.extend(self.try_again(BLIND_INTERVAL));
        seen.iter().try_for_each(tell)
    }
}

fn tell(noticed: &Noticed) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(noticed).expect("names and text");
    line.push(b'\n');
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(&line)?;
    stdout.flush()
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests lay out files")]
mod tests {
    use campanile_backup::backend::BackendError;
    use serde_json::json;

    use super::*;
    use crate::os::file;

    #[test]
    fn what_could_not_be_watched_is_tried_again_and_watched_then() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("policies")).unwrap();
        let place = Place {
            folder: folder.path().to_owned(),
            sealing_key: folder.path().join("key"),
            node: "web-1".to_owned(),
            connect: Box::new(|| Err(BackendError::Unreachable("there is none".to_owned()))),
            connect_to: Box::new(|_| Err(BackendError::Unreachable("there is none".to_owned()))),
            own: Vec::new(),
            is_confined: false,
        };
        let program = Program::new(place, Output::standard(), Arc::new(AtomicBool::new(false)));
        let mut watch = Watch { program, eyes: Vec::new(), blind: Vec::new() };
        let work: PolicyName = "work".parse().unwrap();
        assert!(matches!(watch.open(&work), Noticed::Blind { .. }), "there is no such policy");
        assert!(watch.try_again(BLIND_INTERVAL).is_empty() && watch.blind.len() == 1);
        let tried = watch.try_again(Duration::ZERO);
        assert!(tried.is_empty() && watch.blind.len() == 1, "nothing is new: {tried:?}");
        let policy = json!({ "format": 1, "name": "work", "policy": {
            "paths": [folder.path()], "schedule": "continuous", "keep": { "last": 3 }, "target": "dir:/srv/b",
        }});
        file::replace(&folder.path().join("policies/work.json"), policy.to_string().as_bytes()).unwrap();
        let tried = watch.try_again(Duration::ZERO);
        assert!(matches!(&tried[..], [Noticed::Watching { policy, .. }] if *policy == work), "{tried:?}");
        assert!(watch.blind.is_empty() && watch.eyes.len() == 1);
    }
}
