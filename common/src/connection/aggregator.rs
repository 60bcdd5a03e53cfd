//! The aggregator's end of the control stream.

use std::time::Duration;

use super::{End, OPENING_TIMEOUT};
use crate::id::{FleetId, NodeId};
use crate::time::Timestamp;
use crate::wire::frame::Frame;
use crate::wire::hello::{
    Hello, Opening, Refusal, RefusalCode, VERSION_MAX, VERSION_MIN, Welcome, choose_version,
};
use crate::wire::v1::config::ConfigReport;
use crate::wire::v1::control::{Control, Facts, GoodbyeReason, TransportReport};
use crate::wire::v1::proof::ProofReport;

/// What happens to the aggregator's end.
#[derive(Debug)]
pub enum AggregatorEvent {
    /// A frame came on the control stream.
    Frame(Frame),
    /// The roster's answer to [`AggregatorEffect::Admit`]; the version in it is overwritten.
    Decided(Result<Welcome, Refusal>),
    /// A message for the agent.
    Send(Control),
    /// The aggregator ends the session.
    Stop {
        /// Why.
        reason: GoodbyeReason,
        /// When the agent shall come back.
        return_after: Duration,
    },
    /// Time passed.
    Tick,
}

/// What the driver does next.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum AggregatorEffect {
    /// Ask the roster whether this agent may come in.
    Admit(Hello),
    /// Send these bytes on the control stream.
    Send(Vec<u8>),
    /// The session stands: sample streams may be read.
    Established,
    /// The node told what it is.
    Facts(Facts),
    /// How the node stands to its configuration.
    Config(Box<ConfigReport>),
    /// How the node proved that its backups restore.
    Proof(Box<ProofReport>),
    /// What carries the session, as the node says.
    Transport(TransportReport),
    /// The node wants a certificate for a new key (DER request).
    Renew(Vec<u8>),
    /// Close the connection; nothing follows.
    End(End),
}

#[derive(Debug)]
enum Phase {
    AwaitHello { deadline: Timestamp },
    Deciding { version: u8 },
    Open,
    Ended,
}

/// The aggregator's end of one session.
#[derive(Debug)]
pub struct AggregatorSession {
    fleet: FleetId,
    node: NodeId,
    phase: Phase,
}

impl AggregatorSession {
    /// Begins a session with the node that the peer's certificate names.
    pub fn new(now: Timestamp, fleet: FleetId, node: NodeId) -> Self {
        Self { fleet, node, phase: Phase::AwaitHello { deadline: now + OPENING_TIMEOUT } }
    }

    /// When [`AggregatorEvent::Tick`] is due.
    pub const fn deadline(&self) -> Option<Timestamp> {
        match self.phase {
            Phase::AwaitHello { deadline } => Some(deadline),
            Phase::Deciding { .. } | Phase::Open | Phase::Ended => None,
        }
    }

    /// Takes one event and says what to do.
    pub fn apply(&mut self, now: Timestamp, event: AggregatorEvent) -> Vec<AggregatorEffect> {
        match (&self.phase, event) {
            (Phase::Ended, _) => Vec::new(),
            (Phase::AwaitHello { deadline }, AggregatorEvent::Tick) if now >= *deadline => {
                self.end(End::OpeningTimeout)
            }
            (_, AggregatorEvent::Tick) => Vec::new(),
            (Phase::AwaitHello { .. }, AggregatorEvent::Frame(frame)) => self.hello(&frame),
            (Phase::Deciding { version }, AggregatorEvent::Decided(decision)) => {
                let version = *version;
                match decision {
                    Ok(welcome) => self.welcome(Welcome { version, ..welcome }),
                    Err(refusal) => self.refuse(refusal),
                }
            }
            (Phase::Deciding { .. }, AggregatorEvent::Frame(_)) => {
                self.end(End::Protocol("a message before the welcome".to_owned()))
            }
            (Phase::Open, AggregatorEvent::Frame(frame)) => match Control::from_frame(&frame) {
                Ok(message) => self.received(message),
                Err(error) => self.end(End::Protocol(error.to_string())),
            },
            (Phase::Open, AggregatorEvent::Send(message)) => self.send(&message),
            (Phase::Open, AggregatorEvent::Stop { reason, return_after }) => {
                let return_after_ms = u32::try_from(return_after.as_millis()).unwrap_or(u32::MAX);
                let mut effects = self.send(&Control::Goodbye { reason, return_after_ms });
                effects.extend(self.end(End::Goodbye { reason, return_after }));
                effects
            }
            (_, AggregatorEvent::Stop { reason, return_after }) => {
                self.end(End::Goodbye { reason, return_after })
            }
            // An answer that came too late, or a message before there is a session for it.
            (_, AggregatorEvent::Decided(_) | AggregatorEvent::Send(_)) => Vec::new(),
        }
    }

    fn hello(&mut self, frame: &Frame) -> Vec<AggregatorEffect> {
        let hello = match Opening::from_frame(frame) {
            Ok(Opening::Hello(hello)) => hello,
            Ok(_) => return self.end(End::Protocol("an aggregator's opening from an agent".to_owned())),
            Err(error) => return self.end(End::Protocol(error.to_string())),
        };
        let refuse = |code, reason: String| Refusal { code, reason };
        if hello.fleet != self.fleet {
            let reason = format!("this aggregator serves fleet {}; enrol the node here anew", self.fleet);
            return self.refuse(refuse(RefusalCode::ForeignFleet, reason));
        }
        if hello.node != self.node {
            let reason = format!("the certificate is node {}'s, the hello says {}", self.node, hello.node);
            return self.refuse(refuse(RefusalCode::NotInRoster, reason));
        }
        let theirs = (hello.version_min, hello.version_max);
        let Some(version) = choose_version(theirs, (VERSION_MIN, VERSION_MAX)) else {
            let reason = format!(
                "the agent speaks protocol {} to {}, this aggregator {VERSION_MIN} to {VERSION_MAX}; update the older of the two",
                theirs.0, theirs.1
            );
            return self.refuse(refuse(RefusalCode::Version, reason));
        };
        self.phase = Phase::Deciding { version };
        vec![AggregatorEffect::Admit(hello)]
    }

    fn welcome(&mut self, welcome: Welcome) -> Vec<AggregatorEffect> {
        match Opening::Welcome(welcome).to_bytes() {
            Ok(bytes) => {
                self.phase = Phase::Open;
                vec![AggregatorEffect::Send(bytes), AggregatorEffect::Established]
            }
            Err(error) => self.end(End::Protocol(format!("our welcome does not fit: {error}"))),
        }
    }

    fn refuse(&mut self, refusal: Refusal) -> Vec<AggregatorEffect> {
        let mut effects = match Opening::Refusal(refusal.clone()).to_bytes() {
            Ok(bytes) => vec![AggregatorEffect::Send(bytes)],
            Err(_) => Vec::new(),
        };
        effects.extend(self.end(End::Refused(refusal)));
        effects
    }

    fn received(&mut self, message: Control) -> Vec<AggregatorEffect> {
        match message {
            Control::Facts(facts) => vec![AggregatorEffect::Facts(facts)],
            Control::Renew(request) => vec![AggregatorEffect::Renew(request)],
            Control::Config(report) => vec![AggregatorEffect::Config(report)],
            Control::Proof(report) => vec![AggregatorEffect::Proof(report)],
            Control::Transport(report) => vec![AggregatorEffect::Transport(report)],
            Control::Goodbye { reason, .. } => {
                self.end(End::Goodbye { reason, return_after: Duration::ZERO })
            }
            Control::Ack(_)
            | Control::Renewed { .. }
            | Control::Authority(_)
            | Control::Checkpoint(_)
            | Control::Catalogue(_) => {
                self.end(End::Protocol("an aggregator's message from an agent".to_owned()))
            }
        }
    }

    fn send(&mut self, message: &Control) -> Vec<AggregatorEffect> {
        match message.to_bytes() {
            Ok(bytes) => vec![AggregatorEffect::Send(bytes)],
            Err(error) => self.end(End::Protocol(format!("our message does not fit: {error}"))),
        }
    }

    fn end(&mut self, end: End) -> Vec<AggregatorEffect> {
        self.phase = Phase::Ended;
        vec![AggregatorEffect::End(end)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::{AgentEffect, AgentEvent, AgentSession};
    use crate::id::{AggregatorId, InstanceId};
    use crate::wire::frame::FrameDecoder;

    const FLEET: FleetId = FleetId::from_bytes([1; 16]);
    const NODE: NodeId = NodeId::from_bytes([2; 8]);
    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    fn hello() -> Hello {
        Hello {
            fleet: FLEET,
            node: NODE,
            instance: InstanceId::from_bytes([3; 8]),
            version_min: VERSION_MIN,
            version_max: VERSION_MAX,
            capabilities: vec![],
            agent_version: "0.1.0".to_owned(),
            authority_version: 1,
            interval_ms: 1000,
            clock: NOW,
        }
    }

    fn welcome() -> Welcome {
        Welcome {
            aggregator: AggregatorId::from_bytes([4; 8]),
            version: 0,
            capabilities: vec![],
            interval_ms: 1000,
            durable: None,
            authority_version: 1,
            clock: NOW,
        }
    }

    fn frame(bytes: &[u8]) -> Frame {
        let mut decoder = FrameDecoder::default();
        decoder.push(bytes);
        decoder.next().unwrap().unwrap()
    }

    fn sent(effects: &[AggregatorEffect]) -> Frame {
        let AggregatorEffect::Send(bytes) = &effects[0] else { panic!("nothing sent: {effects:?}") };
        frame(bytes)
    }

    fn greet(hello: &Hello) -> (AgentSession, AggregatorSession, Vec<AggregatorEffect>) {
        let (agent, effects) = AgentSession::open(NOW, hello);
        let AgentEffect::Send(bytes) = &effects[0] else { panic!("no hello") };
        let mut aggregator = AggregatorSession::new(NOW, FLEET, NODE);
        let effects = aggregator.apply(NOW, AggregatorEvent::Frame(frame(bytes)));
        (agent, aggregator, effects)
    }

    #[test]
    fn both_ends_open_with_the_chosen_version() {
        let (mut agent, mut aggregator, effects) = greet(&hello());
        assert_eq!(effects, [AggregatorEffect::Admit(hello())]);
        let effects = aggregator.apply(NOW, AggregatorEvent::Decided(Ok(welcome())));
        assert_eq!(effects[1], AggregatorEffect::Established);
        let effects = agent.apply(NOW, AgentEvent::Frame(sent(&effects)));
        assert_eq!(effects, [AgentEffect::Established(Welcome { version: 1, ..welcome() })]);
    }

    #[test]
    fn a_foreign_fleet_another_nodes_id_and_unknown_versions_are_refused_with_a_reason() {
        let foreign = Hello { fleet: FleetId::from_bytes([9; 16]), ..hello() };
        let other = Hello { node: NodeId::from_bytes([9; 8]), ..hello() };
        let newer = Hello { version_min: 7, version_max: 9, ..hello() };
        for (hello, code) in [
            (foreign, RefusalCode::ForeignFleet),
            (other, RefusalCode::NotInRoster),
            (newer, RefusalCode::Version),
        ] {
            let (mut agent, _, effects) = greet(&hello);
            let effects = agent.apply(NOW, AgentEvent::Frame(sent(&effects)));
            assert!(
                matches!(&effects[..], [AgentEffect::End(End::Refused(refusal))] if refusal.code == code),
                "{effects:?}"
            );
        }
    }

    #[test]
    fn a_silent_peer_is_given_up_after_the_deadline_and_not_before() {
        let mut session = AggregatorSession::new(NOW, FLEET, NODE);
        let deadline = session.deadline().unwrap();
        assert_eq!(session.apply(deadline - Duration::from_millis(1), AggregatorEvent::Tick), []);
        assert_eq!(
            session.apply(deadline, AggregatorEvent::Tick),
            [AggregatorEffect::End(End::OpeningTimeout)]
        );
        assert_eq!(session.apply(deadline, AggregatorEvent::Tick), [], "a session ends once");
    }

    #[test]
    fn messages_out_of_turn_end_the_session() {
        let (_, mut aggregator, _) = greet(&hello());
        let facts = Control::Facts(Facts::default()).to_bytes().unwrap();
        let effects = aggregator.apply(NOW, AggregatorEvent::Frame(frame(&facts)));
        assert!(matches!(effects[..], [AggregatorEffect::End(End::Protocol(_))]));
    }

    #[test]
    fn an_aggregators_message_from_an_agent_ends_the_session() {
        let (_, mut aggregator, _) = greet(&hello());
        let _opened = aggregator.apply(NOW, AggregatorEvent::Decided(Ok(welcome())));
        let forged = Control::Renewed { certificate: vec![1], not_after: NOW }.to_bytes().unwrap();
        let effects = aggregator.apply(NOW, AggregatorEvent::Frame(frame(&forged)));
        assert!(matches!(effects[..], [AggregatorEffect::End(End::Protocol(_))]));
    }

    #[test]
    fn goodbye_ends_both_sides_with_the_time_to_return() {
        let (mut agent, mut aggregator, _) = greet(&hello());
        let opened = aggregator.apply(NOW, AggregatorEvent::Decided(Ok(welcome())));
        let _welcomed = agent.apply(NOW, AgentEvent::Frame(sent(&opened)));
        let return_after = Duration::from_millis(1500);
        let stop = AggregatorEvent::Stop { reason: GoodbyeReason::Restarting, return_after };
        let effects = aggregator.apply(NOW, stop);
        let end = End::Goodbye { reason: GoodbyeReason::Restarting, return_after };
        assert_eq!(effects[1], AggregatorEffect::End(end.clone()));
        assert_eq!(agent.apply(NOW, AgentEvent::Frame(sent(&effects))), [AgentEffect::End(end)]);
    }
}
