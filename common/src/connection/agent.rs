//! The agent's end of the control stream.

use std::time::Duration;

use super::{End, OPENING_TIMEOUT};
use crate::authority::{SignedAuthority, SignedCatalogue};
use crate::time::Timestamp;
use crate::wire::frame::Frame;
use crate::wire::hello::{Hello, Opening, VERSION_MAX, VERSION_MIN, Welcome};
use crate::wire::v1::config::ConfigReport;
use crate::wire::v1::control::{Ack, Checkpoint, Control, Facts, GoodbyeReason, TransportReport};
use crate::wire::v1::proof::ProofReport;

/// What happens to the agent's end.
#[derive(Debug)]
pub enum AgentEvent {
    /// A frame came on the control stream.
    Frame(Frame),
    /// The node's facts are to be told.
    Facts(Facts),
    /// The node stands otherwise to its configuration: tell.
    Config(Box<ConfigReport>),
    /// The node proved that its backups restore, or that they do not: tell.
    Proof(Box<ProofReport>),
    /// What carries the session is to be told.
    Transport(TransportReport),
    /// A new key wants a certificate (DER request).
    Renew(Vec<u8>),
    /// The agent ends the session.
    Stop(GoodbyeReason),
    /// Time passed.
    Tick,
}

/// What the driver does next.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum AgentEffect {
    /// Send these bytes on the control stream.
    Send(Vec<u8>),
    /// The session stands: samples may go.
    Established(Welcome),
    /// Samples are durable.
    Acked(Ack),
    /// Store this certificate and come back with it.
    Certificate {
        /// DER.
        certificate: Vec<u8>,
        /// Its last second.
        not_after: Timestamp,
    },
    /// Verify this authority and follow it.
    Authority(SignedAuthority),
    /// Keep this as a witness.
    Checkpoint(Checkpoint),
    /// Verify this catalogue and keep it.
    Catalogue(SignedCatalogue),
    /// Close the connection; nothing follows.
    End(End),
}

#[derive(Debug)]
enum Phase {
    Opening { deadline: Timestamp },
    Open,
    Ended,
}

/// The agent's end of one session.
#[derive(Debug)]
pub struct AgentSession {
    phase: Phase,
}

impl AgentSession {
    /// Begins a session with this hello.
    pub fn open(now: Timestamp, hello: &Hello) -> (Self, Vec<AgentEffect>) {
        let session = Self { phase: Phase::Opening { deadline: now + OPENING_TIMEOUT } };
        match Opening::Hello(hello.clone()).to_bytes() {
            Ok(bytes) => (session, vec![AgentEffect::Send(bytes)]),
            Err(error) => {
                let end = AgentEffect::End(End::Protocol(format!("our hello does not fit: {error}")));
                (Self { phase: Phase::Ended }, vec![end])
            }
        }
    }

    /// When [`AgentEvent::Tick`] is due.
    pub const fn deadline(&self) -> Option<Timestamp> {
        match self.phase {
            Phase::Opening { deadline } => Some(deadline),
            Phase::Open | Phase::Ended => None,
        }
    }

    /// True once the session stands.
    pub const fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open)
    }

    /// Takes one event and says what to do.
    pub fn apply(&mut self, now: Timestamp, event: AgentEvent) -> Vec<AgentEffect> {
        match (&self.phase, event) {
            (Phase::Ended, _) => Vec::new(),
            (Phase::Opening { deadline }, AgentEvent::Tick) if now >= *deadline => {
                self.end(End::OpeningTimeout)
            }
            (_, AgentEvent::Tick) => Vec::new(),
            (Phase::Opening { .. }, AgentEvent::Frame(frame)) => self.opened(&frame),
            (Phase::Open, AgentEvent::Frame(frame)) => match Control::from_frame(&frame) {
                Ok(message) => self.received(message),
                Err(error) => self.end(End::Protocol(error.to_string())),
            },
            (Phase::Opening { .. }, AgentEvent::Stop(reason)) => self.end(goodbye(reason)),
            (Phase::Open, AgentEvent::Stop(reason)) => {
                let mut effects = self.send(&Control::Goodbye { reason, return_after_ms: 0 });
                effects.extend(self.end(goodbye(reason)));
                effects
            }
            (Phase::Open, AgentEvent::Facts(facts)) => self.send(&Control::Facts(facts)),
            (Phase::Open, AgentEvent::Renew(request)) => self.send(&Control::Renew(request)),
            (Phase::Open, AgentEvent::Config(report)) => self.send(&Control::Config(report)),
            (Phase::Open, AgentEvent::Proof(report)) => self.send(&Control::Proof(report)),
            (Phase::Open, AgentEvent::Transport(report)) => self.send(&Control::Transport(report)),
            // Told again after the next opening.
            (
                Phase::Opening { .. },
                AgentEvent::Facts(_)
                | AgentEvent::Renew(_)
                | AgentEvent::Config(_)
                | AgentEvent::Proof(_)
                | AgentEvent::Transport(_),
            ) => Vec::new(),
        }
    }

    fn opened(&mut self, frame: &Frame) -> Vec<AgentEffect> {
        match Opening::from_frame(frame) {
            Ok(Opening::Welcome(welcome)) if (VERSION_MIN..=VERSION_MAX).contains(&welcome.version) => {
                self.phase = Phase::Open;
                vec![AgentEffect::Established(welcome)]
            }
            Ok(Opening::Welcome(welcome)) => {
                self.end(End::Protocol(format!("aggregator chose unknown version {}", welcome.version)))
            }
            Ok(Opening::Refusal(refusal)) => self.end(End::Refused(refusal)),
            Ok(Opening::Hello(_)) => self.end(End::Protocol("a hello from the aggregator".to_owned())),
            Err(error) => self.end(End::Protocol(error.to_string())),
        }
    }

    fn received(&mut self, message: Control) -> Vec<AgentEffect> {
        match message {
            Control::Ack(ack) => vec![AgentEffect::Acked(ack)],
            Control::Renewed { certificate, not_after } => {
                vec![AgentEffect::Certificate { certificate, not_after }]
            }
            Control::Authority(signed) => vec![AgentEffect::Authority(signed)],
            Control::Checkpoint(checkpoint) => vec![AgentEffect::Checkpoint(checkpoint)],
            Control::Catalogue(signed) => vec![AgentEffect::Catalogue(signed)],
            Control::Goodbye { reason, return_after_ms } => {
                self.end(End::Goodbye { reason, return_after: Duration::from_millis(return_after_ms.into()) })
            }
            Control::Facts(_)
            | Control::Renew(_)
            | Control::Config(_)
            | Control::Proof(_)
            | Control::Transport(_) => {
                self.end(End::Protocol("an agent's message from the aggregator".to_owned()))
            }
        }
    }

    fn send(&mut self, message: &Control) -> Vec<AgentEffect> {
        match message.to_bytes() {
            Ok(bytes) => vec![AgentEffect::Send(bytes)],
            Err(error) => self.end(End::Protocol(format!("our message does not fit: {error}"))),
        }
    }

    fn end(&mut self, end: End) -> Vec<AgentEffect> {
        self.phase = Phase::Ended;
        vec![AgentEffect::End(end)]
    }
}

const fn goodbye(reason: GoodbyeReason) -> End {
    End::Goodbye { reason, return_after: Duration::ZERO }
}
