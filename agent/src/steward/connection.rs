//! One connection of a `run` process: what it is owed, and in which order it gets it.
//!
//! Nothing waits for it: answers queue up to a bound, past which no more requests are taken from it; output is read
//! from where it is kept, when there is room.

use std::collections::{BTreeMap, VecDeque};
use std::io;

use campanile_common::authority::RunId;

use super::orders::{Answer, Orders};
use super::output::{KeptOutput, length};
use super::protocol::{PACKET_BYTES_MAX, StewardEvent};
use crate::os::packet::{Interest, PacketSocket, Received};

/// Answers that wait to be sent; with more, no further request is taken.
const QUEUE_MAX: usize = 64;
/// Runs that it is told of at once; with more, no further request is taken. All that may run, and as many again.
const ATTACHED_MAX: usize = 32;

/// A connection.
#[derive(Debug)]
pub(super) struct Connection {
    socket: PacketSocket,
    queue: VecDeque<Vec<u8>>,
    /// Runs that it is told of, with the offset of the next output.
    attached: BTreeMap<RunId, u64>,
    /// The output of a run that has ended, while it is told.
    loaded: Option<(RunId, KeptOutput)>,
    /// Where the next turn of the attached begins, so that one that writes much does not silence the others.
    turn: Option<RunId>,
    has_room: bool,
}

impl Connection {
    pub(super) fn new(socket: PacketSocket) -> Self {
        Self {
            socket,
            queue: VecDeque::new(),
            attached: BTreeMap::new(),
            loaded: None,
            turn: None,
            has_room: true,
        }
    }

    pub(super) fn socket(&self) -> &PacketSocket {
        &self.socket
    }

    /// What is to be waited for.
    pub(super) fn interest(&self) -> Interest {
        Interest { read: self.takes_requests(), write: !self.has_room }
    }

    /// True when another request may be taken from it.
    pub(super) fn takes_requests(&self) -> bool {
        self.queue.len() < QUEUE_MAX && self.attached.len() < ATTACHED_MAX
    }

    /// True when there is room for more of a journal.
    pub(super) fn takes_pieces(&self) -> bool {
        self.queue.len() < QUEUE_MAX / 2
    }

    /// One packet, if there is one.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        self.socket.receive(buffer)
    }

    /// Room appeared.
    pub(super) fn has_drained(&mut self) {
        self.has_room = true;
    }

    /// Queues an answer.
    pub(super) fn tell(&mut self, event: &StewardEvent) {
        match event.to_packet() {
            Ok(packet) => self.queue.push_back(packet),
            Err(error) => tracing::error!(%error, "an answer does not fit a packet"),
        }
    }

    /// Queues the answer to a delivery.
    pub(super) fn answer(&mut self, run: RunId, answer: Answer) {
        match answer {
            Answer::Tell(outcome) => self.tell(&StewardEvent::Outcome(*outcome)),
            Answer::Attach(position) => {
                self.tell(&StewardEvent::Received(run, position));
                self.attached.insert(run, 0);
                if self.loaded.as_ref().is_some_and(|(loaded, _)| *loaded == run) {
                    self.loaded = None;
                }
            }
        }
    }

    /// Sends as much as there is room for.
    ///
    /// # Errors
    /// When the peer is gone.
    pub(super) fn pump(&mut self, orders: &Orders) -> io::Result<()> {
        while self.has_room {
            if self.queue.is_empty() {
                match self.next_event(orders) {
                    Some(event) => self.tell(&event),
                    None => return Ok(()),
                }
            }
            while let Some(packet) = self.queue.front() {
                if !self.socket.send(packet)? {
                    self.has_room = false;
                    break;
                }
                self.queue.pop_front();
            }
        }
        Ok(())
    }

    /// The next piece of output or outcome that can be told.
    fn next_event(&mut self, orders: &Orders) -> Option<StewardEvent> {
        let after = self.turn.unwrap_or(*self.attached.keys().next()?);
        let later: Vec<RunId> =
            self.attached.range(after..).map(|(run, _)| *run).filter(|run| *run > after).collect();
        let earlier: Vec<RunId> = self.attached.range(..=after).map(|(run, _)| *run).collect();
        for run in later.into_iter().chain(earlier) {
            if let Some(event) = self.event_of(run, orders) {
                self.turn = Some(run);
                return Some(event);
            }
        }
        None
    }

    fn event_of(&mut self, run: RunId, orders: &Orders) -> Option<StewardEvent> {
        let offset = *self.attached.get(&run)?;
        let chunk = match (orders.runs().get(&run), orders.outcome(run)) {
            (Some(running), _) => running.output.chunk(offset)?,
            (None, Some(outcome)) => {
                match &self.loaded {
                    // One at a time: an output is up to a megabyte.
                    Some((loaded, _)) if *loaded != run => return None,
                    None if outcome.output_kept > offset => self.loaded = Some((run, orders.output(run))),
                    _ => {}
                }
                match self.loaded.as_ref().and_then(|(_, output)| output.chunk(offset)) {
                    Some(chunk) => chunk,
                    None => {
                        let outcome = outcome.clone();
                        self.attached.remove(&run);
                        self.loaded = None;
                        return Some(StewardEvent::Outcome(outcome));
                    }
                }
            }
            // It has ended and waits for the disk.
            (None, None) => return None,
        };
        self.attached.insert(run, offset + length(&chunk));
        Some(StewardEvent::Output(run, chunk))
    }
}

/// Room for one packet, and a byte more, by which too long ones are told.
pub(super) fn packet_buffer() -> Vec<u8> {
    vec![0; PACKET_BYTES_MAX + 1]
}
