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
use crate::os::stopwatch::pause;
use eye::Eye;

/// Rest between two looks: whoever writes all the time costs two wake-ups a second at most, one here and one in the
/// steward.
const REST: Duration = Duration::from_secs(1);

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

/// Watches what these policies save; the exit code.
pub fn run(policies: &[PolicyName], place: Place) -> u8 {
    background::stand_back();
    let program = Program::new(place, Output::standard(), Arc::new(AtomicBool::new(false)));
    let mut eyes = Vec::new();
    for policy in policies {
        let opened = program.job(policy.as_str()).map_err(|error| error.line());
        let opened = opened.and_then(|job| Eye::open(job, &program.place.folder));
        let noticed = match opened {
            Ok(eye) => {
                let folders = eye.folders();
                eyes.push(eye);
                Noticed::Watching { policy: policy.clone(), folders }
            }
            Err(why) => Noticed::Blind { policy: policy.clone(), why },
        };
        if tell(&noticed).is_err() {
            return 0;
        }
    }
    while look(&mut eyes).is_ok() {
        pause(REST);
    }
    0
}

/// Waits for something to happen and tells of it.
fn look(eyes: &mut Vec<Eye>) -> std::io::Result<()> {
    let awaited: Vec<(BorrowedFd<'_>, Interest)> =
        eyes.iter().map(|eye| (eye.descriptor(), Interest::READ)).collect();
    let timeout = eyes.iter().filter_map(Eye::timeout).min();
    let ready = wait(&awaited, timeout)?;
    drop(awaited);
    let mut seen = Vec::new();
    for (mut eye, ready) in std::mem::take(eyes).into_iter().zip(ready) {
        if !ready.read && eye.timeout().is_none_or(|left| !left.is_zero()) {
            eyes.push(eye);
            continue;
        }
        let policy = eye.policy().clone();
        match eye.take() {
            Ok(is_changed) => {
                seen.extend(is_changed.then_some(Noticed::Changed { policy }));
                eyes.push(eye);
            }
            Err(why) => seen.push(Noticed::Blind { policy, why }),
        }
    }
    seen.iter().try_for_each(tell)
}

fn tell(noticed: &Noticed) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(noticed).expect("names and text");
    line.push(b'\n');
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(&line)?;
    stdout.flush()
}
