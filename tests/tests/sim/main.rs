//! A fleet of 28 agents and its aggregator in virtual time: one thread, no sockets, no real clock, no runtime.
//!
//! Both ends of every session, their frames, the agents' outboxes and spools, the aggregator's journal, account,
//! presence and judges are the production code. Around it a seed draws a network (delay, loss, reordering between
//! streams) and what goes wrong in it: cut paths, kills and stops of agents and aggregator, frozen agents, full disks,
//! stalled readers, clocks that jump an hour. What must hold is checked at each step against the truth, which
//! `oracle` keeps; in the end everything heals, and nothing may be missing.
//!
//! `CAMPANILE_SIM_SEED` repeats one seed and shows what happens, `CAMPANILE_SIM_SEEDS` sets how many run.

mod agent;
mod aggregator;
mod fault;
mod net;
mod oracle;
mod session;
mod trace;
mod world;

use std::path::Path;

use world::{Outcome, World};

/// Seeds of a whole run when nobody asks for another number.
const SEEDS: u64 = 1000;
/// Tests that share them; each is one thread or process.
const SHARES: u64 = 4;

/// Failed seeds after which a share goes no further.
const FAILURES_MAX: usize = 5;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a whole number, not `{text}`")))
}

/// Says how to repeat the seed that failed.
struct Replay(u64);

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("repeat with CAMPANILE_SIM_SEED={} cargo test -p campanile-tests --test sim", self.0);
        }
    }
}

fn run_seed(seed: u64, is_shown: bool) -> Outcome {
    let _replay = Replay(seed);
    // Thousands of small synced files: in memory where there is such a place.
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    let folder = folder.expect("a place for temporary files");
    World::new(seed, folder.path(), is_shown).run()
}

fn run_share(share: u64) {
    if let Some(seed) = number("CAMPANILE_SIM_SEED") {
        if seed % SHARES == share {
            println!("{:?}", run_seed(seed, true));
        }
        return;
    }
    let seeds = number("CAMPANILE_SIM_SEEDS").unwrap_or(SEEDS);
    let mut total = Outcome::default();
    let (mut longest, mut failed) = (0, Vec::new());
    for seed in (0..seeds).filter(|seed| seed % SHARES == share) {
        let Ok(outcome) = std::panic::catch_unwind(|| run_seed(seed, false)) else {
            failed.push(seed);
            if failed.len() == FAILURES_MAX {
                break;
            }
            continue;
        };
        longest = longest.max(outcome.healed_in);
        total.steps += outcome.steps;
        total.durable += outcome.durable;
        total.declared += outcome.declared;
        total.lost += outcome.lost;
        total.again += outcome.again;
    }
    println!("{total:?}, longest healing {longest} ms");
    assert!(failed.is_empty(), "seeds {failed:?} failed");
    if seeds >= SEEDS {
        // A run in which nothing goes wrong shows nothing.
        assert!(total.declared > 0 && total.lost > 0 && total.again > 0, "{total:?}");
    }
}

#[test]
fn nothing_is_lost_without_a_count_in_the_first_share_of_seeds() {
    run_share(0);
}

#[test]
fn nothing_is_lost_without_a_count_in_the_second_share_of_seeds() {
    run_share(1);
}

#[test]
fn nothing_is_lost_without_a_count_in_the_third_share_of_seeds() {
    run_share(2);
}

#[test]
fn nothing_is_lost_without_a_count_in_the_fourth_share_of_seeds() {
    run_share(3);
}

#[test]
fn a_seed_repeats_itself_to_the_last_step() {
    for seed in [1, 2, 1_000_003] {
        assert_eq!(run_seed(seed, false), run_seed(seed, false), "seed {seed}");
    }
    assert_ne!(run_seed(1, false).hash, run_seed(2, false).hash);
}
