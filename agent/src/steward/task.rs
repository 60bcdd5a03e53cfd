//! The steward's process: one thread around one wait, no runtime.
//!
//! Each turn takes requests, reads what runs, records what ended, and only then sends.

mod answer;
mod backup;
mod config;

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;
use std::time::Duration;

use campanile_common::api::AuditOutcome;
use campanile_common::authority::RunId;
use campanile_common::wire::v1::order::{Deliver, OutputStream};
use campanile_daemon::watchdog::LoopWatchdog;
use rustix::process::Pid;

use super::backup::Backups;
use super::config::Keeper;
use super::connection::packet_buffer;
use super::execute::{Guarded, Launcher, Port};
use super::observe::{Look, Observation, Programs};
use super::orders::{Orders, Places, local, refused};
use super::protocol::{StewardEvent, StewardRequest};
use super::server::{Arrival, Server};
use crate::os::lock::Lock;
use crate::os::packet::{Interest, Readiness, Received, wait};
use crate::os::stopwatch::Stopwatch;
use crate::os::termination::Termination;
use crate::os::{clock, folder, log, process_tree, release, user};
use crate::settings::{LogFormat, Settings};

/// Requests of one connection before others have their turn.
const REQUESTS_A_TURN: usize = 32;
/// Reads of one pipe before others have their turn.
const READS_A_TURN: usize = 8;
/// How often a guard that is ending is looked at.
const PRESSED_INTERVAL: Duration = Duration::from_millis(10);
/// How often deadlines are looked at while something runs, and the disk is tried while an outcome waits.
const BUSY_INTERVAL: Duration = Duration::from_secs(1);
/// How long what runs may take to be stopped when the steward is.
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// What a descriptor belongs to.
#[derive(Debug, Clone, Copy)]
enum Token {
    Termination,
    Listener,
    Connection(u64),
    Run(RunId, Port),
    Observation(usize, Port),
    Program(Port),
    Watch,
    Backup(Port),
    Noticed(Port),
}

struct Task {
    orders: Orders,
    config: Keeper,
    backups: Backups,
    /// Orders for the configuration that wait for something short, with the connection that delivered them.
    waiting: Vec<(u64, Box<Deliver>)>,
    /// An order planned or applied a generation in the last turn.
    had_config_order: bool,
    server: Server,
    observations: Vec<Observation>,
    /// Guards that nobody listens to any more, until they have ended.
    leaving: Vec<Guarded>,
    /// Since the audit chain was last made durable as a whole.
    synced: Stopwatch,
    programs: Programs,
    launcher: Launcher,
    termination: Termination,
    buffer: Vec<u8>,
    watchdog: LoopWatchdog,
}

/// Runs the steward until it is told to stop. Once it has what lies outside of its bounds it is confined by `confine`,
/// which is told whether orders run in units of their own.
///
/// # Errors
/// When another steward has the state folder, or there is nowhere to listen.
pub fn run(
    settings: &Settings,
    settings_file: Option<&Path>,
    confine: impl FnOnce(bool),
) -> anyhow::Result<()> {
    let _level = log::start(settings.log_level, settings.log_format == LogFormat::Json);
    let termination = Termination::await_signals()?;
    let steward = &settings.steward;
    let _lock = prepare(&steward.state_dir)?;
    process_tree::adopt_orphans()?;
    let own = user::own();
    let launcher = Launcher::new(settings, own.uid);
    let has_units = launcher.systemd_run.is_some();
    let server = Server::listen(&steward.socket, &own, steward.run_user.as_deref())?;
    confine(has_units);
    let places = Places {
        state_dir: steward.state_dir.clone(),
        policy: settings.policy.clone(),
        systemctl: steward.systemctl.clone(),
    };
    let programs = Programs { systemctl: steward.systemctl.clone(), journalctl: steward.journalctl.clone() };
    let config = Keeper::open(&steward.state_dir, settings_file, &settings.config);
    let backups = backup::open(settings, config.settings_arguments());
    let orders = Orders::open(places, launcher.clone(), own, clock::now());
    let mut task = Task {
        orders,
        config,
        backups,
        waiting: Vec::new(),
        had_config_order: false,
        server,
        observations: Vec::new(),
        leaving: Vec::new(),
        synced: Stopwatch::start(),
        programs,
        launcher,
        termination,
        buffer: packet_buffer(),
        watchdog: LoopWatchdog::from_unit(),
    };
    tracing::info!(socket = %steward.socket.display(), has_units, "steward started");
    drop(sd_notify::notify(&[sd_notify::NotifyState::Ready]));
    task.run().inspect(|()| tracing::info!("steward stopped"))
}

/// Makes the state folder, for the steward alone, and takes it unless a newer release used it.
fn prepare(path: &Path) -> anyhow::Result<Lock> {
    folder::claim(path)?;
    let lock = Lock::take_after_predecessor(path)?;
    release::enter(path)?;
    Ok(lock)
}

impl Task {
    fn run(&mut self) -> anyhow::Result<()> {
        let mut stopping: Option<Stopwatch> = None;
        loop {
            self.watchdog.feed();
            for (token, ready) in self.wait(stopping.is_some())? {
                self.serve(token, ready);
            }
            let now = clock::now();
            if stopping.is_none() && self.termination.has_come() {
                drop(sd_notify::notify(&[sd_notify::NotifyState::Stopping]));
                stopping = Some(Stopwatch::start());
                self.leave(|_| true);
                self.orders.stop();
                self.stop_config();
                self.backups.stop(self.launcher.systemd_run.is_some());
            }
            let others = self.spared();
            self.orders.finish(&others, now);
            self.tend_config(stopping.is_some(), now);
            self.tend_backups(now);
            self.finish_observations();
            if self.synced.elapsed() >= BUSY_INTERVAL {
                self.sync();
            }
            self.pump();
            if let Some(watch) = &stopping {
                let is_done = self.orders.runs().is_empty()
                    && !self.orders.has_unrecorded()
                    && self.config.program.is_none()
                    && self.backups.running.is_none();
                if is_done || watch.elapsed() >= STOP_WITHIN {
                    let act = local("steward.stop", "steward", AuditOutcome::Ok, String::new());
                    if let Err(error) = self.orders.audit.append(now, vec![act]) {
                        tracing::warn!(%error, "the stop is not in the audit chain");
                    }
                    return Ok(());
                }
            }
        }
    }

    /// Processes beneath this one that are none of an order whose guard was killed.
    fn spared(&self) -> Vec<Pid> {
        let looks = self.observations.iter().map(|look| &look.guarded);
        let program = self.config.program.as_ref().map(|program| &program.guarded);
        let others = program.into_iter().chain(self.backups.guards());
        let guards = looks.chain(&self.leaving).chain(others).filter_map(Guarded::pid);
        guards.chain(self.config.proof.guardians()).collect()
    }

    fn wait(&self, is_stopping: bool) -> io::Result<Vec<(Token, Readiness)>> {
        let mut tokens = Vec::new();
        let mut awaited: Vec<(BorrowedFd<'_>, Interest)> = Vec::new();
        let mut add = |token, descriptor, interest| {
            tokens.push(token);
            awaited.push((descriptor, interest));
        };
        if !is_stopping {
            add(Token::Termination, self.termination.as_fd(), Interest::READ);
            add(Token::Listener, self.server.listener(), Interest::READ);
        }
        for (number, connection) in self.server.connections() {
            add(Token::Connection(*number), connection.socket().as_fd(), connection.interest());
        }
        for (run, state) in self.orders.runs() {
            for (port, descriptor) in state.guarded.ports(true) {
                add(Token::Run(*run, port), descriptor, Interest::READ);
            }
        }
        if let Some(program) = &self.config.program {
            for (port, descriptor) in program.guarded.ports(true) {
                add(Token::Program(port), descriptor, Interest::READ);
            }
        }
        for (token, descriptor) in self.backup_ports() {
            add(token, descriptor, Interest::READ);
        }
        if let Some(descriptor) = self.config.watch.descriptor() {
            add(Token::Watch, descriptor, Interest::READ);
        }
        let mut is_throttled = false;
        for (index, observation) in self.observations.iter().enumerate() {
            let connection = self.server.connections().get(&observation.connection);
            let has_room = connection.is_some_and(|connection| connection.takes_pieces());
            is_throttled |= has_room && !observation.may_read();
            for (port, descriptor) in observation.guarded.ports(has_room && observation.may_read()) {
                add(Token::Observation(index, port), descriptor, Interest::READ);
            }
        }
        let is_pressed = self.orders.is_pressed()
            || !self.leaving.is_empty()
            || self.config.program.as_ref().is_some_and(|program| program.guarded.is_ending())
            || self.observations.iter().any(|observation| observation.guarded.is_ending());
        let is_busy = is_stopping
            || self.orders.audit.is_dirty()
            || !self.orders.runs().is_empty()
            || self.orders.has_unrecorded();
        let timeout = match () {
            () if is_pressed => Some(PRESSED_INTERVAL),
            () if is_throttled => Some(PRESSED_INTERVAL * 10),
            () if is_busy || !self.observations.is_empty() => Some(BUSY_INTERVAL),
            () => None,
        };
        let timeout = [timeout, self.config_timeout(), self.backups.left(clock::now()), self.watchdog.left()];
        let timeout = timeout.into_iter().flatten().min();
        let ready = wait(&awaited, timeout)?;
        let ready = tokens.into_iter().zip(ready).filter(|(_, ready)| ready.read || ready.write);
        Ok(ready.collect())
    }

    fn serve(&mut self, token: Token, ready: Readiness) {
        match token {
            // Looked at by the loop.
            Token::Termination => {}
            Token::Listener => self.accept(),
            Token::Connection(number) => {
                if ready.write
                    && let Some(connection) = self.server.get_mut(number)
                {
                    connection.has_drained();
                }
                if ready.read {
                    self.take_requests(number);
                }
            }
            Token::Run(run, port) => {
                let Some(state) = self.orders.run_mut(run) else { return };
                match port {
                    Port::Socket => state.guarded.listen(),
                    Port::Output(stream) => {
                        let output = &mut state.output;
                        state.guarded.read(stream, READS_A_TURN, |bytes| output.push(stream, bytes));
                    }
                }
            }
            Token::Program(port) => {
                let Some(program) = &mut self.config.program else { return };
                match port {
                    Port::Socket => program.guarded.listen(),
                    Port::Output(stream) => program.read(stream, READS_A_TURN),
                }
            }
            Token::Watch => self.config.watch.touched(),
            Token::Backup(port) => self.serve_backup(port),
            Token::Noticed(port) => self.serve_noticed(port),
            Token::Observation(index, port) => {
                let Some(observation) = self.observations.get_mut(index) else { return };
                match port {
                    Port::Socket => observation.guarded.listen(),
                    Port::Output(stream) => self.pass_on(index, stream),
                }
            }
        }
    }

    fn sync(&mut self) {
        if let Err(error) = self.orders.audit.sync() {
            tracing::error!(%error, "orders are refused");
        }
        self.synced = Stopwatch::start();
    }

    fn accept(&mut self) {
        match self.server.accept() {
            Arrival::Refused(peer) => {
                let detail =
                    format!("process {} of user {} may not speak to the steward", peer.pid, peer.uid);
                let act = local("connection.refuse", "steward", AuditOutcome::Denied, detail);
                self.orders.audit.note(clock::now(), act);
            }
            Arrival::Welcome => self.greet(),
            Arrival::Gone => {}
        }
    }

    fn take_requests(&mut self, number: u64) {
        for _ in 0..REQUESTS_A_TURN {
            let Some(connection) = self.server.get_mut(number).filter(|c| c.takes_requests()) else { return };
            let problem = match connection.receive(&mut self.buffer) {
                Ok(Received::Nothing) => return,
                Ok(Received::Packet(length)) => match StewardRequest::from_packet(&self.buffer[..length]) {
                    Ok(request) => {
                        self.answer(number, request);
                        continue;
                    }
                    Err(error) => Some(error.to_string()),
                },
                Ok(Received::TooLong) => Some("it is longer than a packet may be".to_owned()),
                Ok(Received::Closed) | Err(_) => None,
            };
            if let Some(problem) = problem {
                let detail = format!("{problem}; the connection was closed");
                self.orders.audit.note(clock::now(), refused("packet.refuse", "steward", detail));
            }
            return self.close(number);
        }
    }

    /// Closes a connection, and ends what it alone wanted.
    fn close(&mut self, number: u64) {
        self.server.close(number);
        self.leave(|look| look.connection == number);
        self.config.give_up(number, None);
        self.waiting.retain(|(connection, _)| *connection != number);
    }

    /// Ends observations that nobody wants any more.
    fn leave(&mut self, is_unwanted: impl Fn(&Observation) -> bool) {
        for mut observation in self.observations.extract_if(.., |look| is_unwanted(look)) {
            observation.guarded.abandon();
            self.leaving.push(observation.guarded);
        }
    }

    fn tell(&mut self, number: u64, event: &StewardEvent) {
        if let Some(connection) = self.server.get_mut(number) {
            connection.tell(event);
        }
    }

    fn begin_look(&mut self, number: u64, look: Look) {
        match look {
            Look::Answer(event) => self.tell(number, &event),
            Look::UnderWay(observation) => self.observations.push(*observation),
        }
    }

    fn pass_on(&mut self, index: usize, stream: OutputStream) {
        let observation = &mut self.observations[index];
        let number = observation.connection;
        for piece in observation.read(stream) {
            self.tell(number, &piece);
        }
    }

    fn finish_observations(&mut self) {
        self.leaving.retain_mut(|guarded| !guarded.is_over());
        let mut index = 0;
        while index < self.observations.len() {
            if self.observations[index].guarded.is_over() {
                let observation = self.observations.remove(index);
                self.tell(observation.connection, &observation.last_answer());
            } else {
                index += 1;
            }
        }
    }

    fn pump(&mut self) {
        let numbers: Vec<u64> = self.server.connections().keys().copied().collect();
        for number in numbers {
            let Some(connection) = self.server.get_mut(number) else { continue };
            if connection.pump(&self.orders).is_err() {
                self.close(number);
            }
        }
    }
}
