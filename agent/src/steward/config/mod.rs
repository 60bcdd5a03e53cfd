//! Keeps this node's configuration: takes generations that operators signed, and has them planned and applied.
//!
//! [`Keeper`] holds what came and what runs. What a generation says is never looked at here beyond which parts this
//! node needs: merging, planning and changing is the work of a program of its own, beneath a guard like any order.
//! Invariant: one such program runs at a time, and the highest accepted number is on disk before one may apply it.

mod garbage;
mod intake;
mod needs;
mod parts;
mod program;
mod proof;
mod watch;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use campanile_common::authority::{Authority, ConfigMode, Denial, DenialCode};
use campanile_common::config::{GENERATION_BYTES_MAX, SignedGeneration, VerifiedGeneration};
use campanile_common::id::{Digest, NodeId};
use campanile_common::wire::v1::config::{ConfigOffer, ConfigPhase, ConfigReport, PartPiece};

use super::protocol::{StewardEvent, Tag};
use crate::config::confirm;
use crate::config::sealing::{Identity, KEY_FILE};
use crate::config::state::{self, State, Told};
use crate::os::file::{self, Stamp};
use crate::os::stopwatch::Stopwatch;
use crate::settings::ConfigSettings;
pub(super) use intake::Trust;
use intake::{Intake, Step};
use parts::PartStore;
pub(super) use program::{End, Program, Work};
use proof::Proof;
use watch::Watch;

/// Generations that are kept though nothing was applied of them: those that came last.
const RECENT_MAX: usize = 4;
/// Longest report of drift in one packet, and in one frame to the aggregator.
const REPORT_BYTES_MAX: usize = 48 * 1024;
const STATE_FILE: &str = "state.json";
/// How long after a failure to undo what was cut it is tried again: longer each time. Whoever is just being ended
/// may hold the lock for a moment.
const RECOVER_AGAIN: Duration = Duration::from_millis(200);
const RECOVER_AGAIN_MAX: Duration = Duration::from_secs(30);
/// Orders wait for so many failures; then they are denied.
const RECOVER_FAILURES_MAX: u32 = 6;
/// How long a generation that is followed without an order may take to be confirmed.
const FOLLOW_CONFIRM_S: u32 = 60;

/// What came of an offer, or of a piece.
#[derive(Debug)]
pub(super) enum Taken {
    /// More has to come.
    Nothing,
    /// To be told to whoever offers.
    Tell(StewardEvent),
    /// Everything is here.
    Ready(Tag, Box<VerifiedGeneration>),
    /// It is refused, for this reason.
    Refused(Tag, Digest, String),
}

/// Everything of this node's configuration that the steward knows.
#[derive(Debug)]
pub(super) struct Keeper {
    folder: PathBuf,
    /// The steward's settings file, for the programs.
    settings_file: Option<PathBuf>,
    store: Result<PartStore, String>,
    /// One for each connection.
    intakes: BTreeMap<u64, Intake>,
    state: Result<State, String>,
    stamp: Option<Stamp>,
    /// As it was told last.
    report: ConfigReport,
    sealing_key: Option<String>,
    /// Generations that came last, the newest at the end.
    recent: Vec<Digest>,
    /// To be followed as soon as nothing else runs.
    follow: Option<(u64, Digest)>,
    /// What runs without an order.
    pub(super) program: Option<Program>,
    pub(super) proof: Proof,
    pub(super) watch: Watch,
    /// How often undoing what was cut failed, and since when that is.
    unrecovered: Option<(u32, Stopwatch)>,
}

impl Keeper {
    /// Opens everything in the steward's state folder.
    pub(super) fn open(state_dir: &Path, settings_file: Option<&Path>, settings: &ConfigSettings) -> Self {
        let folder = state::folder_of(state_dir);
        let store = PartStore::open(&state::parts_of(&folder));
        let store = store.map_err(|error| format!("the folder of parts cannot be used: {error}"));
        let undo = confirm::undo_folder(&folder);
        let mut keeper = Self {
            settings_file: settings_file.map(|path| std::path::absolute(path).unwrap_or(path.to_owned())),
            store,
            intakes: BTreeMap::new(),
            state: Ok(State::default()),
            stamp: None,
            report: ConfigReport::default(),
            sealing_key: sealing_key(&folder.join(KEY_FILE)),
            recent: Vec::new(),
            follow: None,
            program: None,
            proof: Proof::new(undo),
            watch: Watch::new(&folder, &settings.root, settings.check_interval),
            unrecovered: None,
            folder,
        };
        keeper.read_state();
        keeper
    }

    fn read_state(&mut self) {
        self.stamp = file::stamp(&self.folder.join(STATE_FILE)).ok().flatten();
        self.state = State::load(&self.folder).map_err(|error| error.to_string());
    }

    /// What it stands on, for whoever judges what came.
    pub(super) fn trust<'a>(&self, authority: &'a Authority, node: NodeId) -> Result<Trust<'a>, String> {
        let highest = self.state.as_ref().map_err(Clone::clone)?.highest;
        Ok(Trust { authority, node, highest })
    }

    /// Takes an offer of a connection. An earlier one of the same is given up.
    pub(super) fn offer(&mut self, number: u64, tag: Tag, offer: ConfigOffer, trust: Trust<'_>) -> Taken {
        self.intakes.remove(&number);
        let digest = offer.generation;
        let mut intake = Intake::new(tag, offer);
        let step = match &self.store {
            Ok(store) => intake.begin(store, trust),
            Err(problem) => Err(problem.clone()),
        };
        self.intakes.insert(number, intake);
        self.stepped(number, tag, digest, step)
    }

    /// Takes a piece. One that belongs to no intake came late, and is nothing.
    pub(super) fn piece(&mut self, number: u64, tag: Tag, piece: &PartPiece, trust: Trust<'_>) -> Taken {
        let Some(intake) = self.intakes.get_mut(&number).filter(|intake| intake.tag == tag) else {
            return Taken::Nothing;
        };
        let digest = intake.offer.generation;
        let step = match &mut self.store {
            Ok(store) => intake.piece(piece, store, trust),
            Err(problem) => Err(problem.clone()),
        };
        self.stepped(number, tag, digest, step)
    }

    fn stepped(&mut self, number: u64, tag: Tag, digest: Digest, step: Result<Step, String>) -> Taken {
        match step {
            Ok(Step::Wait) => Taken::Nothing,
            Ok(Step::Want(digests)) => Taken::Tell(StewardEvent::Want(tag, digests)),
            Ok(Step::Ready(generation)) => {
                let Some(intake) = self.intakes.remove(&number) else { return Taken::Nothing };
                match self.arrived(intake.offer, &generation) {
                    Ok(()) => Taken::Ready(tag, generation),
                    Err(problem) => Taken::Refused(tag, digest, problem),
                }
            }
            Err(problem) => {
                self.intakes.remove(&number);
                Taken::Refused(tag, digest, problem)
            }
        }
    }

    /// Gives up what a connection offered: all of it, or what it called so.
    pub(super) fn give_up(&mut self, number: u64, tag: Option<Tag>) {
        if self.intakes.get(&number).is_some_and(|intake| tag.is_none_or(|tag| intake.tag == tag)) {
            self.intakes.remove(&number);
        }
    }

    fn arrived(&mut self, offer: ConfigOffer, generation: &VerifiedGeneration) -> Result<(), String> {
        let told = Told { name: offer.name, labels: offer.labels };
        let written = State::update(&self.folder, |state| state.told = Some(told));
        self.state = Ok(written.map_err(|error| error.to_string())?);
        let digest = generation.digest();
        self.recent.retain(|known| *known != digest);
        self.recent.push(digest);
        let excess = self.recent.len().saturating_sub(RECENT_MAX);
        self.recent.drain(..excess);
        if offer.is_followed {
            let named = (generation.generation().number, digest);
            let state = self.state.as_ref().map_err(Clone::clone)?;
            let is_there = state.current == Some(named) && state.phase == ConfigPhase::Applied;
            if !is_there && !state.has_given_up(digest) {
                self.follow = Some(named);
            }
        }
        Ok(())
    }

    /// The generation, if it is here and operators' signatures on it hold.
    fn verified(&self, digest: Digest, authority: &Authority) -> Result<VerifiedGeneration, String> {
        let store = self.store.as_ref().map_err(Clone::clone)?;
        let bytes = store.read(digest, GENERATION_BYTES_MAX);
        let bytes = bytes.ok_or("the generation is not here: offer it first, then send the order again")?;
        let signed = SignedGeneration::decode(&bytes).map_err(|error| error.to_string())?;
        if signed.digest() != digest {
            return Err(format!("what is stored as generation {digest} is something else"));
        }
        signed.verify(authority).map_err(|error| error.to_string())
    }

    /// Whether a generation may be planned or applied now, whoever wants it.
    pub(super) fn permit(
        &self,
        digest: Digest,
        mode: ConfigMode,
        authority: &Authority,
    ) -> Result<VerifiedGeneration, Denial> {
        let denied = |code, reason: String| Denial { code, reason };
        if let Some(program) = &self.program {
            let reason = format!("this node {} now; send the order again later", program.work);
            return Err(denied(DenialCode::Busy, reason));
        }
        if self.is_cut() {
            let reason =
                "what an earlier apply changed could not be undone yet; see the steward's log on the node";
            return Err(denied(DenialCode::Busy, reason.to_owned()));
        }
        let refused = |reason| denied(DenialCode::Generation, reason);
        let state = self.state.as_ref().map_err(|problem| refused(problem.clone()))?;
        let generation = self.verified(digest, authority).map_err(refused)?;
        if matches!(mode, ConfigMode::Apply { .. }) {
            generation.may_follow(state.highest).map_err(|error| refused(error.to_string()))?;
        }
        Ok(generation)
    }

    /// From now on nothing older is applied.
    pub(super) fn accept(&mut self, generation: &VerifiedGeneration) -> Result<(), String> {
        let named = (generation.generation().number, generation.digest());
        let written = State::update(&self.folder, |state| state.accept(named));
        self.state = Ok(written.map_err(|error| error.to_string())?);
        self.stamp = None;
        Ok(())
    }

    /// Arguments of the program that plans or applies.
    pub(super) fn arguments(&self, digest: Digest, mode: ConfigMode) -> Vec<String> {
        let mut verb = vec![mode.as_str().to_owned(), digest.to_string()];
        if let ConfigMode::Apply { is_confirmed, confirm_within_s } = mode {
            verb.extend(["--confirm-within".to_owned(), confirm_within_s.to_string()]);
            verb.extend(is_confirmed.then(|| "--confirm".to_owned()));
        }
        self.with_settings(verb)
    }

    fn with_settings(&self, verb: Vec<String>) -> Vec<String> {
        let mut arguments: Vec<String> = ["guard", "config"].map(str::to_owned).into();
        arguments.extend(verb);
        self.with_settings_behind(arguments)
    }

    fn with_settings_behind(&self, mut arguments: Vec<String>) -> Vec<String> {
        if let Some(path) = &self.settings_file {
            arguments.extend(["--config".to_owned(), path.to_string_lossy().into_owned()]);
        }
        arguments
    }

    /// Which settings file programs of the steward are to read.
    pub(super) fn settings_arguments(&self) -> Vec<String> {
        self.with_settings_behind(Vec::new())
    }

    /// Arguments of the guardian.
    pub(super) fn guardian_arguments(&self) -> Vec<String> {
        self.with_settings(vec!["guardian".to_owned()])
    }

    /// True when an apply is under way or was cut: which of them, whoever asks knows by what runs.
    fn is_cut(&self) -> bool {
        let phase = self.state.as_ref().map_or(ConfigPhase::Applied, |state| state.phase);
        self.proof.is_pending() || matches!(phase, ConfigPhase::Applying | ConfigPhase::Confirming)
    }

    /// True while an order for the configuration has to wait for something short; asked while no order plans or
    /// applies.
    pub(super) fn must_wait(&self) -> bool {
        let failures = self.unrecovered.map_or(0, |(failures, _)| failures);
        match &self.program {
            Some(program) => !matches!(program.work, Work::Follow(..)),
            None => self.is_cut() && failures < RECOVER_FAILURES_MAX,
        }
    }

    /// What is to be run without an order, when nothing else of the configuration runs: first what was cut is undone.
    pub(super) fn next_work(&mut self, is_permitted: bool) -> Option<(Work, Vec<String>)> {
        if self.is_cut() {
            let is_due = self.unrecovered.is_none_or(|(failures, watch)| watch.elapsed() >= again(failures));
            return is_due.then(|| (Work::Recover, self.with_settings(vec!["recover".to_owned()])));
        }
        self.unrecovered = None;
        if !is_permitted {
            return None;
        }
        if let Some((number, digest)) = self.follow.take() {
            let mode = ConfigMode::Apply { is_confirmed: false, confirm_within_s: FOLLOW_CONFIRM_S };
            return Some((Work::Follow(number, digest), self.arguments(digest, mode)));
        }
        let is_configured = self.state.as_ref().is_ok_and(|state| state.current.is_some());
        if is_configured && self.watch.is_due() {
            self.watch.begun();
            let verb = ["check", "--enforce"].map(str::to_owned).into();
            return Some((Work::Check, self.with_settings(verb)));
        }
        None
    }

    /// How long nothing needs to be done.
    pub(super) fn idle(&self) -> Option<Duration> {
        let is_configured = self.state.as_ref().is_ok_and(|state| state.current.is_some());
        if self.is_cut() {
            return Some(self.unrecovered.map_or(RECOVER_AGAIN, |(failures, _)| again(failures)));
        }
        is_configured.then(|| self.watch.left())
    }

    /// A program of the configuration has ended, of an order or without one.
    pub(super) fn ended(&mut self, work: Option<&Work>) {
        self.read_state();
        self.watch.arm();
        if matches!(work, Some(Work::Recover)) && self.is_cut() {
            let failures = self.unrecovered.map_or(0, |(failures, _)| failures);
            self.unrecovered = Some((failures.saturating_add(1), Stopwatch::start()));
        }
    }

    /// The report, when it is another than was told last. `denied` is why this node follows nothing.
    pub(super) fn news(&mut self, denied: String) -> Option<&ConfigReport> {
        if file::stamp(&self.folder.join(STATE_FILE)).ok().flatten() != self.stamp {
            self.read_state();
        }
        let report = match &self.state {
            Ok(state) => state.report(self.sealing_key.clone(), denied),
            Err(problem) => ConfigReport {
                sealing_key: self.sealing_key.clone(),
                detail: problem.clone(),
                denied: problem.clone(),
                ..ConfigReport::default()
            },
        };
        let report = fitted(report);
        if report == self.report {
            return None;
        }
        self.report = report;
        Some(&self.report)
    }

    /// As it was told last.
    pub(super) const fn report(&self) -> &ConfigReport {
        &self.report
    }
}

fn again(failures: u32) -> Duration {
    RECOVER_AGAIN.saturating_mul(1 << failures.min(10)).min(RECOVER_AGAIN_MAX)
}

/// Made at the first start; without it, secrets cannot be sealed to this node.
fn sealing_key(path: &Path) -> Option<String> {
    match Identity::load_or_create(path) {
        Ok(identity) => Some(identity.recipient()),
        Err(error) => {
            tracing::error!(%error, "this node takes no secrets");
            None
        }
    }
}

/// With as many of the drifted as fit.
fn fitted(mut report: ConfigReport) -> ConfigReport {
    let mut room = REPORT_BYTES_MAX;
    report.drifted.retain(|drifted| {
        let bytes = drifted.detail.len() + drifted.resource.to_string().len() + 64;
        let is_in = bytes <= room;
        room = if is_in { room - bytes } else { 0 };
        is_in
    });
    report
}
