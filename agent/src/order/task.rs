//! Owns the connection to the steward: dials, sends, receives, dials again.
//!
//! Idle it waits on a descriptor and costs nothing. One packet of the steward is held at a time: when the stream that it
//! belongs to has no room, no further one is read, and the steward waits with everything it has to say.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use campanile_common::backoff::Backoff;
use campanile_common::time::Timestamp;
use campanile_common::wire::v1::config::PartPiece;
use campanile_daemon::watchdog::Pulse;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::handle::{Command, Ends, OrderHandle, Standing, Told};
use super::relay::{Answer, Relay};
use crate::os::{clock, file, packet_async::AsyncPacketSocket, random};
use crate::steward::protocol::{PACKET_BYTES_MAX, PacketError, StewardEvent, StewardRequest, Tag};

/// How long runs wait for a steward that was there before.
const STEWARD_WAIT: Duration = Duration::from_secs(10);
/// Pause between two attempts while runs wait.
const RETRY: Duration = Duration::from_millis(200);
/// In the agent's state folder once a steward has been reached: from then on one may have got what we do not remember.
const SEEN_FILE: &str = "steward-seen";

/// The steward gives no answer.
#[derive(Debug, thiserror::Error)]
pub enum StewardError {
    /// It does not run, or does not let us in.
    #[error("the steward cannot be reached at {socket}")]
    Unreachable {
        /// Its socket.
        socket: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It closed the connection.
    #[error("the steward at {socket} closed the connection; it takes only the agent's user and its own")]
    Closed {
        /// Its socket.
        socket: PathBuf,
    },
    /// It took too long.
    #[error("the steward at {socket} does not answer")]
    Silent {
        /// Its socket.
        socket: PathBuf,
    },
    /// It is of another version.
    #[error("the steward speaks another protocol; restart it after an update")]
    Protocol(#[from] PacketError),
}

/// Holds the connection to the steward.
pub struct OrderTask {
    socket: PathBuf,
    seen_file: PathBuf,
    inbox: mpsc::Receiver<Command>,
    standing: watch::Receiver<Standing>,
    told: watch::Sender<Told>,
    /// The generation that is being handed over, and its pieces.
    offer: Option<(Tag, mpsc::Receiver<PartPiece>)>,
    relay: Relay,
    /// A steward was reached, by this run of the agent or an earlier one.
    is_seen: bool,
    /// The steward was told to be away since it was last there.
    is_told: bool,
    backoff: Backoff,
    /// Until when runs wait for a steward.
    patience: Option<Instant>,
    /// One for each request that goes on until it is stopped; ends when nobody takes its answers.
    watchers: JoinSet<Tag>,
    watched: BTreeMap<Tag, AbortHandle>,
}

impl OrderTask {
    /// A task that has not begun, and its handle. `state_dir` is the agent's.
    pub fn new(socket: &Path, state_dir: &Path, standing: Standing) -> (Self, OrderHandle) {
        let (handle, Ends { inbox, standing, told }) = OrderHandle::new(standing);
        let seen_file = state_dir.join(SEEN_FILE);
        let is_seen = seen_file.exists();
        let unsure_before = if is_seen { clock::now() } else { Timestamp::from_millis(0) };
        let task = Self {
            socket: socket.to_owned(),
            seen_file,
            inbox,
            standing,
            told,
            offer: None,
            relay: Relay::new(unsure_before),
            is_seen,
            is_told: false,
            backoff: Backoff::default(),
            patience: None,
            watchers: JoinSet::new(),
            watched: BTreeMap::new(),
        };
        (task, handle)
    }

    /// Works until cancelled.
    pub async fn run(mut self, pulse: Pulse, stop: CancellationToken) {
        tokio::select! {
            () = self.work(&pulse) => {}
            () = stop.cancelled() => {}
        }
    }

    /// Ends when nobody has a handle any more.
    async fn work(&mut self, pulse: &Pulse) {
        let mut wait = Duration::ZERO;
        while let Some(socket) = self.dial(wait, pulse).await {
            let has_spoken = self.serve(&socket, pulse).await;
            self.relay.disconnected();
            self.offer = None;
            self.watchers.abort_all();
            self.watched.clear();
            // One that lets us in and closes at once is not dialled at once.
            wait = if has_spoken { Duration::ZERO } else { self.pause() };
        }
    }

    /// Pause before the next attempt.
    fn pause(&mut self) -> Duration {
        if self.patience.is_some() { RETRY } else { self.backoff.next_wait(random::number()) }
    }

    async fn dial(&mut self, first_wait: Duration, pulse: &Pulse) -> Option<AsyncPacketSocket> {
        let mut next = Instant::now() + first_wait;
        loop {
            let is_asked = tokio::select! {
                () = tokio::time::sleep_until(next) => false,
                () = pulse.next() => continue,
                command = self.inbox.recv() => {
                    self.command(command?);
                    true
                }
            };
            // A request is worth an attempt; a flood of deliveries to a steward that is away is not.
            if is_asked && self.patience.is_some() {
                continue;
            }
            match AsyncPacketSocket::connect(&self.socket) {
                Ok(socket) => {
                    self.note_seen();
                    return Some(socket);
                }
                Err(error) => self.without_steward(&error).await,
            }
            next = Instant::now() + self.pause();
        }
    }

    /// Answers what cannot wait for a steward.
    async fn without_steward(&mut self, error: &io::Error) {
        let socket = self.socket.display();
        if !std::mem::replace(&mut self.is_told, true) {
            tracing::info!(%socket, %error, "no steward: this node takes no orders");
        }
        let reason = format!(
            "the steward of this node cannot be reached at {socket} ({error}); start it there with `systemctl \
             enable --now campanile-steward.socket`, `campanile-agent doctor` tells more"
        );
        self.relay.refuse_all(&reason);
        self.offer = None;
        if !self.relay.has_runs() {
            self.patience = None;
            return;
        }
        let until = *self.patience.get_or_insert_with(|| Instant::now() + STEWARD_WAIT);
        if !self.is_seen || Instant::now() >= until {
            self.patience = None;
            for answer in self.relay.give_up(&reason, clock::now()) {
                // The outcome is the first reply of its run: there is room.
                drop(pass(answer));
            }
        }
    }

    /// From now on it counts that a steward may have got what this agent does not remember.
    fn note_seen(&mut self) {
        if self.is_seen {
            return;
        }
        match file::replace(&self.seen_file, b"") {
            Ok(()) => self.is_seen = true,
            Err(error) => tracing::warn!(%error, "cannot note that there is a steward"),
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Deliver(deliver, replies) => self.relay.deliver(deliver, replies),
            Command::Reported(run) => self.relay.reported(run),
            Command::Show(offer) => self.relay.show(offer),
            Command::Reached(number) => self.relay.reached(number),
            Command::Offer(offer, answers, pieces) => {
                if let Some((old, _)) = self.offer.take() {
                    self.relay.stop(old);
                }
                self.offer = self.relay.take_offer(offer, answers).map(|tag| (tag, pieces));
            }
            Command::Ask(request, replies) => {
                if let Some(tag) = self.relay.ask(request, replies.clone()) {
                    let watcher = self.watchers.spawn(async move {
                        replies.closed().await;
                        tag
                    });
                    self.watched.insert(tag, watcher);
                }
            }
        }
    }

    /// Speaks with a steward until it is gone; true when it has said something.
    async fn serve(&mut self, socket: &AsyncPacketSocket, pulse: &Pulse) -> bool {
        self.relay.connected();
        let (mut has_spoken, mut is_gone) = (false, false);
        let mut packet: Option<Vec<u8>> = None;
        let mut held: Option<Answer> = None;
        loop {
            if packet.is_none() && !is_gone {
                packet = self.next_packet(&mut held);
            }
            tokio::select! {
                received = socket.receive(PACKET_BYTES_MAX), if held.is_none() => {
                    let event = match received.map(|packet| packet.map(|packet| StewardEvent::from_packet(&packet))) {
                        Ok(Some(Ok(event))) => event,
                        Ok(Some(Err(error))) => {
                            tracing::error!(%error, "the steward speaks another protocol: restart both");
                            return false;
                        }
                        Ok(None) | Err(_) => {
                            tracing::info!("the steward closed the connection");
                            return has_spoken;
                        }
                    };
                    if !std::mem::replace(&mut has_spoken, true) {
                        tracing::info!("connected to the steward");
                        (self.backoff, self.patience, self.is_told) = (Backoff::default(), None, false);
                    }
                    held = self.event(event);
                }
                sent = socket.send(packet.as_deref().unwrap_or_default()), if packet.is_some() => {
                    packet = None;
                    // What it said before it went away is still read.
                    is_gone |= sent.is_err();
                }
                () = pulse.next() => {}
                () = room(held.as_ref()), if held.is_some() => held = held.take().and_then(pass),
                command = self.inbox.recv(), if self.relay.has_room() && !is_gone => match command {
                    Some(command) => self.command(command),
                    None => return has_spoken,
                },
                piece = next_piece(&mut self.offer), if packet.is_none() && held.is_none() && !is_gone => self.piece(piece),
                Ok(()) = self.standing.changed() => self.relay.look(),
                Some(ended) = self.watchers.join_next() => {
                    // Those that were aborted have their answer.
                    if let Ok(tag) = ended {
                        self.watched.remove(&tag);
                        self.relay.stop(tag);
                    }
                }
            }
        }
    }

    /// The next packet, made when there is room for it, so that what waits costs no memory twice.
    fn next_packet(&mut self, held: &mut Option<Answer>) -> Option<Vec<u8>> {
        while held.is_none()
            && let Some(request) = self.relay.next()
        {
            match request.to_packet() {
                Ok(packet) => {
                    self.relay.handing(&request, clock::now());
                    return Some(packet);
                }
                Err(error) => {
                    *held = self.relay.too_long(request, &error.to_string(), clock::now()).and_then(pass)
                }
            }
        }
        None
    }

    /// Passes a piece of the generation on; without one, whoever sent them has gone.
    fn piece(&mut self, piece: Option<PartPiece>) {
        match (&self.offer, piece) {
            (Some((tag, _)), Some(piece)) => self.relay.piece(*tag, piece),
            (Some((tag, _)), None) => {
                self.relay.stop(*tag);
                self.offer = None;
            }
            (None, _) => {}
        }
    }

    fn event(&mut self, event: StewardEvent) -> Option<Answer> {
        match event {
            StewardEvent::Config(report) => {
                self.told.send_modify(|told| told.report = Some(report));
                return None;
            }
            StewardEvent::Proof(report) => {
                self.told.send_modify(|told| told.proof = Some(report));
                return None;
            }
            StewardEvent::Reach(number) => {
                self.told.send_modify(|told| told.reach = Some(number));
                return None;
            }
            _ => {}
        }
        if let StewardEvent::Ready(tag) | StewardEvent::Refused(tag, _) = &event
            && self.offer.as_ref().is_some_and(|(own, _)| own == tag)
        {
            self.offer = None;
        }
        if let StewardEvent::Ended(tag) | StewardEvent::Denied(tag, _) | StewardEvent::Refused(tag, _) =
            &event
            && let Some(watcher) = self.watched.remove(tag)
        {
            watcher.abort();
        }
        let standing = self.standing.borrow();
        self.relay.event(event, &standing).and_then(pass)
    }
}

/// Passes an answer on, or gives it back when there is no room.
fn pass(answer: Answer) -> Option<Answer> {
    use mpsc::error::TrySendError::Full;
    match answer {
        Answer::Order(channel, reply) => match channel.try_send(reply) {
            Err(Full(reply)) => Some(Answer::Order(channel, reply)),
            _ => None,
        },
        Answer::Request(channel, reply) => match channel.try_send(reply) {
            Err(Full(reply)) => Some(Answer::Request(channel, reply)),
            _ => None,
        },
        Answer::Config(channel, reply) => match channel.try_send(reply) {
            Err(Full(reply)) => Some(Answer::Config(channel, reply)),
            _ => None,
        },
    }
}

/// The next piece of the generation that is being handed over, or its end. Losing the future loses nothing.
async fn next_piece(offer: &mut Option<(Tag, mpsc::Receiver<PartPiece>)>) -> Option<PartPiece> {
    match offer {
        Some((_, pieces)) => pieces.recv().await,
        None => std::future::pending().await,
    }
}

/// Waits until there is room for an answer, or nobody wants it. Losing the future loses nothing.
async fn room(answer: Option<&Answer>) {
    match answer {
        Some(Answer::Order(channel, _)) => drop(channel.reserve().await),
        Some(Answer::Request(channel, _)) => drop(channel.reserve().await),
        Some(Answer::Config(channel, _)) => drop(channel.reserve().await),
        None => std::future::pending().await,
    }
}

/// Asks the steward one thing on a connection of its own; for commands that look at a node from beside the agent.
///
/// # Errors
/// When it cannot be reached or does not answer within `deadline`.
pub async fn ask_once(
    socket: &Path,
    request: &StewardRequest,
    deadline: Duration,
) -> Result<StewardEvent, StewardError> {
    let path = || socket.to_owned();
    let unreachable = |source| StewardError::Unreachable { socket: path(), source };
    let connected = AsyncPacketSocket::connect(socket).map_err(unreachable)?;
    let packet = request.to_packet().map_err(PacketError::from)?;
    let exchange = async {
        connected.send(&packet).await.map_err(unreachable)?;
        loop {
            let packet = connected.receive(PACKET_BYTES_MAX).await.map_err(unreachable)?;
            let packet = packet.ok_or_else(|| StewardError::Closed { socket: path() })?;
            match StewardEvent::from_packet(&packet)? {
                // Told to everybody.
                StewardEvent::Config(_) | StewardEvent::Reach(_) | StewardEvent::Proof(_) => {}
                answer => return Ok(answer),
            }
        }
    };
    tokio::time::timeout(deadline, exchange).await.map_err(|_| StewardError::Silent { socket: path() })?
}

#[cfg(test)]
mod tests;
