//! The network as QUIC shows it: connections of streams that are each reliable and ordered, and independent of each
//! other. A lost packet is a late one; a path that is cut holds everything back until it is whole again, or until an
//! end has heard nothing for the idle timeout.

use std::collections::VecDeque;

use campanile_tests::random::Random;

/// Silence after which an end gives a connection up.
pub(crate) const IDLE_TIMEOUT: u64 = 2000;
/// An idle end sends at least this often.
pub(crate) const KEEP_ALIVE: u64 = 700;
/// Longest piece of a stream that arrives at once.
const PIECE_BYTES_MAX: usize = 1200;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Agent,
    Aggregator,
}

/// Streams of a connection, by which direction and what for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    ControlUp,
    ControlDown,
    Live,
    Backfill,
}

impl Stream {
    pub(crate) const ALL: [Self; 4] = [Self::ControlUp, Self::ControlDown, Self::Live, Self::Backfill];

    pub(crate) const fn reader(self) -> End {
        match self {
            Self::ControlDown => End::Agent,
            Self::ControlUp | Self::Live | Self::Backfill => End::Aggregator,
        }
    }
}

/// How a path treats packets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quality {
    /// Shortest and longest time of a packet on its way.
    pub(crate) delay: (u64, u64),
    /// One packet in so many is lost, and comes a retransmission later.
    pub(crate) loss_once_in: u64,
    /// Bytes a millisecond.
    pub(crate) bytes_per_ms: u64,
}

impl Quality {
    pub(crate) fn draw(random: &mut Random) -> Self {
        let shortest = random.between(1, 80);
        Self {
            delay: (shortest, shortest + random.between(1, 120)),
            loss_once_in: random.between(3, 200),
            bytes_per_ms: random.between(8, 400),
        }
    }

    pub(crate) fn delay(&self, random: &mut Random) -> u64 {
        let mut delay = random.between(self.delay.0, self.delay.1);
        if random.once_in(self.loss_once_in) {
            // A retransmission; two in a row are lost once in a while.
            delay += random.between(40, 400);
        }
        delay
    }
}

/// Bytes under way on one stream.
#[derive(Debug, Default)]
struct Pipe {
    pieces: VecDeque<(u64, Vec<u8>)>,
    /// When the last piece arrives: later ones come behind it.
    last_arrival: u64,
    bytes: usize,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) agent: usize,
    pipes: [Pipe; 4],
    agent_is_alive: bool,
    aggregator_is_alive: bool,
}

impl Connection {
    pub(crate) fn new(agent: usize) -> Self {
        Self { agent, pipes: Default::default(), agent_is_alive: true, aggregator_is_alive: true }
    }

    pub(crate) const fn is_alive(&self, end: End) -> bool {
        match end {
            End::Agent => self.agent_is_alive,
            End::Aggregator => self.aggregator_is_alive,
        }
    }

    /// An end is gone; false when it was before.
    pub(crate) fn end(&mut self, end: End) -> bool {
        let alive = match end {
            End::Agent => &mut self.agent_is_alive,
            End::Aggregator => &mut self.aggregator_is_alive,
        };
        std::mem::replace(alive, false)
    }

    /// Puts bytes on their way; returns when each piece arrives.
    pub(crate) fn send(
        &mut self,
        now: u64,
        stream: Stream,
        bytes: &[u8],
        quality: &Quality,
        random: &mut Random,
    ) -> Vec<u64> {
        let pipe = &mut self.pipes[stream as usize];
        let (mut rest, mut arrivals) = (bytes, Vec::new());
        while !rest.is_empty() {
            let length = 1 + random.index(rest.len().min(PIECE_BYTES_MAX));
            let (piece, after) = rest.split_at(length);
            rest = after;
            let earliest = pipe.last_arrival + length as u64 / quality.bytes_per_ms;
            let arrival = earliest.max(now + quality.delay(random));
            pipe.last_arrival = arrival;
            pipe.bytes += length;
            pipe.pieces.push_back((arrival, piece.to_vec()));
            arrivals.push(arrival);
        }
        arrivals
    }

    /// What has arrived by now.
    pub(crate) fn arrived(&mut self, now: u64, stream: Stream) -> Option<Vec<u8>> {
        let pipe = &mut self.pipes[stream as usize];
        if pipe.pieces.front()?.0 > now {
            return None;
        }
        let (_, piece) = pipe.pieces.pop_front()?;
        pipe.bytes -= piece.len();
        Some(piece)
    }

    /// Holds everything under way back for at least so long; returns when each stream goes on.
    pub(crate) fn hold(&mut self, until: u64) -> Vec<(Stream, u64)> {
        let mut arrivals = Vec::new();
        for stream in Stream::ALL {
            let pipe = &mut self.pipes[stream as usize];
            for (arrival, _) in &mut pipe.pieces {
                *arrival = (*arrival).max(until);
                arrivals.push((stream, *arrival));
            }
            if !pipe.pieces.is_empty() {
                pipe.last_arrival = pipe.last_arrival.max(until);
            }
        }
        arrivals
    }

    /// Bytes sent and not read yet.
    pub(crate) const fn under_way(&self, stream: Stream) -> usize {
        self.pipes[stream as usize].bytes
    }

    /// When everything on a stream has arrived.
    pub(crate) const fn last_arrival(&self, stream: Stream) -> u64 {
        self.pipes[stream as usize].last_arrival
    }
}
