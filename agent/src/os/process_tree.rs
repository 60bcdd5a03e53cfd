//! Processes beneath this one: found in `/proc`, and ended whatever they do to get away.
//!
//! A process that makes itself a *subreaper* inherits every descendant whose parent ended, so that a daemon which
//! forked twice is still found beneath it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitOptions, WaitStatus, getpid, pidfd_open,
    pidfd_send_signal, set_child_subreaper, wait, waitid, waitpid,
};

use super::stopwatch::{Stopwatch, pause};

/// Rounds of stopping before killing begins: a process that forks faster than it can be stopped meets its limit of
/// tasks, and is killed while it runs.
const FREEZE_ROUNDS: usize = 8;
/// How often is looked whether the killed are gone.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// `__WALL` of the kernel's `wait.h`.
const WALL: u32 = 0x4000_0000;

/// A process as `/proc` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    parent: i32,
    /// Ticks after boot at which it started: with the number, it names a process for good.
    started: u64,
    is_zombie: bool,
}

/// Makes this process inherit its orphaned descendants.
///
/// # Errors
/// When the kernel refuses.
pub fn adopt_orphans() -> io::Result<()> {
    Ok(set_child_subreaper(Some(getpid()))?)
}

/// Takes leave of one child that has ended, if there is any. Children that others wait for must not be: use it where
/// nobody else does.
pub fn reap() -> Option<(Pid, WaitStatus)> {
    wait(WaitOptions::NOHANG).unwrap_or_default()
}

/// Takes leave of ended children that nobody else waits for: all but `waited_for`.
pub fn reap_orphans(waited_for: &[Pid]) {
    let own = getpid().as_raw_pid();
    for (pid, seen) in processes() {
        let Some(pid) = Pid::from_raw(pid).filter(|pid| !waited_for.contains(pid)) else { continue };
        if seen.parent == own && seen.is_zombie {
            // It is gone either way.
            waitpid(Some(pid), WaitOptions::NOHANG).ok();
        }
    }
}

/// Sends `signal` to every living descendant but those beneath `spared`; returns how many there are.
fn signal_descendants(signal: Signal, spared: &[Pid]) -> usize {
    let all = processes();
    let descendants = beneath(&all, getpid().as_raw_pid(), spared);
    for (pid, seen) in &descendants {
        send(*pid, seen, signal);
    }
    descendants.len()
}

/// Asks every living descendant to end that was not asked before; returns how many live. One that was born while the
/// others were asked is asked the next time.
pub fn ask_descendants_to_end(asked: &mut BTreeSet<(i32, u64)>) -> usize {
    let descendants = beneath(&processes(), getpid().as_raw_pid(), &[]);
    for (pid, seen) in &descendants {
        if asked.insert((*pid, seen.started)) {
            send(*pid, seen, Signal::TERM);
            // One that was stopped could not hear it.
            send(*pid, seen, Signal::CONT);
        }
    }
    descendants.len()
}

/// True while this process has a child, ended or not. One that inherits its orphaned descendants and has no child has
/// no descendant either: the parents of any would lead to it.
fn has_children() -> bool {
    // Children of every kind, also those that would not be told of by SIGCHLD.
    let any = WaitIdOptions::from_bits_retain(WALL);
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT | any;
    !matches!(waitid(WaitId::All, options), Err(Errno::CHILD))
}

/// Ends every descendant but those beneath `spared`: they are stopped first, so that they cannot go on forking, and
/// then killed. Reaps nothing itself: `reap` is called between the rounds. False when some are left after `patience`:
/// those hang in the kernel. To be called after [`adopt_orphans`].
pub fn kill_descendants(spared: &[Pid], patience: Duration, mut reap: impl FnMut()) -> bool {
    // The common end of a command. Looking at every process of the machine takes longer than most commands do.
    if !has_children() {
        return true;
    }
    let mut known = 0;
    for _ in 0..FREEZE_ROUNDS {
        let found = signal_descendants(Signal::STOP, spared);
        if found == known {
            break;
        }
        known = found;
    }
    let watch = Stopwatch::start();
    loop {
        let left = signal_descendants(Signal::KILL, spared);
        reap();
        if left == 0 {
            return true;
        }
        if watch.elapsed() >= patience {
            return false;
        }
        pause(LOOK_INTERVAL);
    }
}

/// Through a descriptor of the process, checked again behind it: the number may be another's by now.
fn send(pid: i32, seen: &Seen, signal: Signal) {
    let Some(pid) = Pid::from_raw(pid) else { return };
    let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { return };
    if look(pid.as_raw_pid()).is_some_and(|now| now.started == seen.started) {
        match pidfd_send_signal(process, signal) {
            // It is gone, or became another user's by a program of that user's: killing it is then root's to do.
            Ok(()) | Err(Errno::SRCH | Errno::PERM) => {}
            Err(error) => tracing::debug!(%error, "process not signalled"),
        }
    }
}

fn look(pid: i32) -> Option<Seen> {
    parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Fields of `stat`; the name, in parentheses, may hold anything.
fn parse(stat: &str) -> Option<Seen> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    Some(Seen {
        parent: fields.get(1)?.parse().ok()?,
        started: fields.get(19)?.parse().ok()?,
        is_zombie: matches!(*fields.first()?, "Z" | "X"),
    })
}

fn processes() -> BTreeMap<i32, Seen> {
    let Ok(entries) = fs::read_dir("/proc") else { return BTreeMap::new() };
    let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    numbers.filter_map(|pid| Some((pid, look(pid)?))).collect()
}

/// Living processes whose parents lead to `root` without passing one of `spared`.
fn beneath(all: &BTreeMap<i32, Seen>, root: i32, spared: &[Pid]) -> Vec<(i32, Seen)> {
    let is_spared = |pid: i32| spared.iter().any(|other| other.as_raw_pid() == pid);
    let leads_to_root = |mut pid: i32| {
        // As many steps as there are processes: a table read while it changes may hold a circle.
        for _ in 0..all.len() {
            if is_spared(pid) {
                return false;
            }
            match all.get(&pid) {
                Some(seen) if seen.parent == root => return true,
                Some(seen) => pid = seen.parent,
                None => return false,
            }
        }
        false
    };
    let living = all.iter().filter(|(_, seen)| !seen.is_zombie);
    living.filter(|(pid, _)| leads_to_root(**pid)).map(|(pid, seen)| (*pid, *seen)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let stat = "7 (a) (b) R) S 5 7 7 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4711 0 0";
        assert_eq!(parse(stat), Some(Seen { parent: 5, started: 4711, is_zombie: false }));
        assert_eq!(parse("7 (x"), None);
    }

    #[test]
    fn descendants_are_found_through_every_generation_and_the_spared_are_left_out() {
        let seen = |parent| Seen { parent, started: 1, is_zombie: false };
        let mut all: BTreeMap<i32, Seen> =
            [(1, seen(0)), (5, seen(1)), (10, seen(1)), (11, seen(10)), (12, seen(11)), (20, seen(10))]
                .into();
        all.insert(21, Seen { is_zombie: true, ..seen(10) });
        let found = |spared: &[Pid]| -> Vec<i32> {
            beneath(&all, 10, spared).into_iter().map(|(pid, _)| pid).collect()
        };
        assert_eq!(found(&[]), [11, 12, 20]);
        assert_eq!(found(&[Pid::from_raw(11).unwrap()]), [20]);
        // Two that claim to be each other's parent end the search all the same.
        all.insert(30, seen(31));
        all.insert(31, seen(30));
        assert_eq!(beneath(&all, 10, &[]).len(), 3);
    }
}
