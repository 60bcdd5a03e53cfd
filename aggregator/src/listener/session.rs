//! Drives one enrolled agent: feeds `common::connection` and carries out what it says.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use campanile_common::connection::{AggregatorEffect, AggregatorEvent, AggregatorSession, End};
use campanile_common::time::Timestamp;
use campanile_common::wire::frame::{FRAME_BYTES_MAX, FrameDecoder};
use campanile_common::wire::hello::{
    CAPABILITY_RENEW_ONLY, CAPABILITY_TRANSPORT, Hello, Refusal, RefusalCode, Welcome,
};
use campanile_common::wire::v1::config::ConfigOffer;
use campanile_common::wire::v1::control::{Ack, Control, GoodbyeReason};
use campanile_common::wire::v1::request::{Reply, Request};
use quinn::{Connection, SendStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::peer::{Peer, peer};
use super::restart::restarting;
use super::{Carrier, Context, lane, offer, order, request};
use crate::node::{ConfigState, DeliverySlip, NodeEvent, OfferEnd, SessionCommand, SessionSeed};
use crate::series::SessionKey;

/// Commands that wait for one session. Full means a stuck session: whoever asks is told that it is not connected.
const COMMANDS_MAX: usize = 32;
/// Acknowledgements that wait for one session; later ones cover earlier ones.
const ACKS_MAX: usize = 8;
/// Requests in flight at one agent, as it allows beside the orders, and the two streams of samples that it opens.
const REQUESTS_MAX: usize = 8 + 2;
/// How long a last message may take to arrive.
const GOODBYE_TIMEOUT: Duration = Duration::from_millis(500);
/// Certificates one session may renew; an agent needs one.
const RENEWALS_MAX: u32 = 4;
/// Longest wait for an agent to make room for a message. One that does not read would otherwise hold its session, and
/// everything that waits for it, past its own retirement.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// What this aggregator knows to use of what an agent can do.
const CAPABILITIES: [&str; 3] = ["top", "orders", CAPABILITY_TRANSPORT];
/// Longest session with an expired certificate: it renews and comes back.
const RENEW_ONLY_MAX: Duration = Duration::from_secs(10);
/// Longest reason in a close frame, which has to fit one packet.
const REASON_BYTES_MAX: usize = 240;

/// Serves one connection until it ends.
pub(super) async fn run(
    connection: Connection,
    carrier: Carrier,
    context: Arc<Context>,
    stop: CancellationToken,
) {
    let remote = connection.remote_address();
    let Some(peer) = peer(&connection, &context) else {
        tracing::warn!(%remote, "connection without a node's certificate");
        connection.close(2_u32.into(), b"a node's certificate is needed");
        return;
    };
    let session = SessionKey(context.next_session.fetch_add(1, Ordering::Relaxed));
    let node = peer.node;
    let state = AggregatorSession::new(context.clock.now(), context.fleet.fleet_id, node);
    let mut driver = Driver {
        connection: &connection,
        carrier,
        context: &context,
        peer,
        session,
        state,
        send: None,
        agent_version: String::new(),
        tasks: JoinSet::new(),
        orders: JoinSet::new(),
        commands: None,
        acks: None,
        renewals: 0,
    };
    let end = driver.run(&stop).await;
    let (commands, orders) = (driver.commands.take(), std::mem::take(&mut driver.orders));
    drop(driver);
    if commands.is_some() {
        context.ingest.unregister(session).await;
        let is_orderly = matches!(
            end,
            Some(End::Goodbye { reason: GoodbyeReason::Stopping | GoodbyeReason::Rebooting, .. })
                | Some(End::Goodbye { reason: GoodbyeReason::Retired, .. })
        );
        context.nodes.tell(NodeEvent::Ended { node, session: session.0, is_orderly }).await;
    }
    match &end {
        Some(End::Protocol(problem)) => tracing::warn!(%node, %remote, problem, "session ended"),
        Some(End::Refused(refusal)) => {
            tracing::warn!(%node, %remote, code = refusal.code.as_str(), "session refused");
        }
        Some(end) => tracing::debug!(%node, ?end, "session ended"),
        None => tracing::debug!(%node, "connection lost"),
    }
    match end {
        Some(End::Protocol(problem)) => {
            let reason = problem.as_bytes();
            connection.close(3_u32.into(), &reason[..reason.len().min(REASON_BYTES_MAX)]);
        }
        _ => connection.close(0_u32.into(), b""),
    }
    if let Some(commands) = commands {
        order::report_all(node, commands, orders).await;
    }
}

struct Driver<'a> {
    connection: &'a Connection,
    carrier: Carrier,
    context: &'a Arc<Context>,
    peer: Peer,
    session: SessionKey,
    state: AggregatorSession,
    send: Option<SendStream>,
    agent_version: String,
    /// Readers of sample streams and requests in flight; they end with the session.
    tasks: JoinSet<Result<(), String>>,
    /// Orders in flight; they outlive the session for as long as it takes to report them.
    orders: JoinSet<Result<(), String>>,
    /// Present once the session has begun.
    commands: Option<mpsc::Receiver<SessionCommand>>,
    acks: Option<mpsc::Receiver<Ack>>,
    renewals: u32,
}

impl Driver<'_> {
    /// Runs until the protocol ends the session, or gives none when the connection went away.
    async fn run(&mut self, stop: &CancellationToken) -> Option<End> {
        let opening = campanile_common::connection::OPENING_TIMEOUT;
        let streams = tokio::time::timeout(opening, self.connection.accept_bi()).await;
        let Ok(Ok((send, mut receive))) = streams else { return Some(End::OpeningTimeout) };
        self.send = Some(send);
        let mut decoder = FrameDecoder::default();
        let deadline = tokio::time::sleep(opening);
        tokio::pin!(deadline);
        let renewed_by = tokio::time::sleep(RENEW_ONLY_MAX);
        tokio::pin!(renewed_by);
        loop {
            let event = tokio::select! {
                chunk = receive.read_chunk(FRAME_BYTES_MAX, true) => {
                    let Ok(chunk) = chunk else { return None };
                    let Some(chunk) = chunk else {
                        return decoder.finish().err().map(|error| End::Protocol(error.to_string()));
                    };
                    decoder.push(&chunk.bytes);
                    if let Some(end) = self.frames(&mut decoder).await {
                        return end;
                    }
                    continue;
                }
                stream = self.connection.accept_uni(), if self.commands.is_some() => {
                    let Ok(stream) = stream else { return None };
                    let (connection, context) = (self.connection.clone(), Arc::clone(self.context));
                    self.tasks.spawn(lane::read(stream, connection, context, self.peer.node, self.session));
                    continue;
                }
                Some(ended) = self.tasks.join_next() => match ended {
                    Ok(Ok(())) => continue,
                    Ok(Err(problem)) => return Some(End::Protocol(problem)),
                    Err(error) => return Some(End::Protocol(format!("a stream task failed: {error}"))),
                },
                Some(ended) = self.orders.join_next() => match ended {
                    Ok(Ok(())) => continue,
                    Ok(Err(problem)) => return Some(End::Protocol(problem)),
                    Err(error) => return Some(End::Protocol(format!("an order's task failed: {error}"))),
                },
                command = receive_from(&mut self.commands) => match self.command(command) {
                    Some(event) => event,
                    None => continue,
                },
                ack = receive_from(&mut self.acks) => match ack {
                    Some(ack) => AggregatorEvent::Send(Control::Ack(ack)),
                    None => restarting(),
                },
                () = stop.cancelled() => restarting(),
                () = &mut renewed_by, if self.peer.must_renew => {
                    return Some(End::Protocol("an expired certificate was not renewed in time".to_owned()));
                }
                () = &mut deadline, if self.state.deadline().is_some() => AggregatorEvent::Tick,
            };
            let effects = self.state.apply(self.context.clock.now(), event);
            if let Some(end) = self.carry_out(effects).await {
                return end;
            }
        }
    }

    /// Begins what is asked of the session; gives the event, where it is one for the protocol.
    fn command(&mut self, command: Option<SessionCommand>) -> Option<AggregatorEvent> {
        match command {
            Some(SessionCommand::Send(message)) => return Some(AggregatorEvent::Send(message)),
            Some(SessionCommand::Close(reason)) => {
                return Some(AggregatorEvent::Stop { reason, return_after: Duration::ZERO });
            }
            None => return Some(restarting()),
            Some(SessionCommand::Ask { request, answer }) => self.ask(request, answer),
            Some(SessionCommand::AskStream { request, replies }) => self.ask_stream(request, replies),
            Some(SessionCommand::Deliver(slip)) => self.deliver(slip),
            Some(SessionCommand::Offer { offer, answer }) => self.offer(offer, answer),
        }
        None
    }

    /// The outer option tells that the session is over, the inner one how.
    async fn frames(&mut self, decoder: &mut FrameDecoder) -> Option<Option<End>> {
        loop {
            let frame = match decoder.next() {
                Ok(Some(frame)) => frame,
                Ok(None) => return None,
                Err(error) => return Some(Some(End::Protocol(error.to_string()))),
            };
            let effects = self.state.apply(self.context.clock.now(), AggregatorEvent::Frame(frame));
            if let Some(end) = self.carry_out(effects).await {
                return Some(end);
            }
        }
    }

    async fn carry_out(&mut self, effects: Vec<AggregatorEffect>) -> Option<Option<End>> {
        let mut effects = std::collections::VecDeque::from(effects);
        while let Some(effect) = effects.pop_front() {
            match effect {
                AggregatorEffect::Send(bytes) => {
                    let send = self.send.as_mut().expect("opened before the first event");
                    match tokio::time::timeout(WRITE_TIMEOUT, send.write_all(&bytes)).await {
                        Ok(Ok(())) => {}
                        Ok(Err(_)) => return Some(None),
                        Err(_) => return Some(Some(End::Protocol("the agent does not read".to_owned()))),
                    }
                }
                AggregatorEffect::Admit(hello) => {
                    let decision = self.admit(&hello).await;
                    effects.extend(self.apply(AggregatorEvent::Decided(decision)));
                    for signed in self.context.authority.after(hello.authority_version) {
                        effects.extend(self.apply(AggregatorEvent::Send(Control::Authority(signed))));
                    }
                    // After the authority that it hangs on. It is the node's to refuse one that it has.
                    let catalogue = self.context.catalogue.borrow().clone();
                    if let Some(signed) = catalogue.filter(|_| self.commands.is_some()) {
                        effects.extend(self.apply(AggregatorEvent::Send(Control::Catalogue(signed))));
                    }
                }
                AggregatorEffect::Established => {}
                AggregatorEffect::Facts(facts) => {
                    let (node, agent_version) = (self.peer.node, self.agent_version.clone());
                    self.context.nodes.tell(NodeEvent::Facts { node, agent_version, facts }).await;
                }
                AggregatorEffect::Transport(told) => {
                    let (node, session) = (self.peer.node, self.session.0);
                    self.context.nodes.tell(NodeEvent::Transport { node, session, told }).await;
                }
                AggregatorEffect::Config(report) => {
                    let (node, state) = (self.peer.node, ConfigState::of(&report));
                    self.context.nodes.tell(NodeEvent::Config { node, state }).await;
                    self.context.config.report(node, *report).await;
                }
                AggregatorEffect::Proof(report) => {
                    self.context.store.take_proof(self.peer.node, *report).await;
                }
                AggregatorEffect::Renew(request) => match self.renew(&request).await {
                    Ok(message) => effects.extend(self.apply(AggregatorEvent::Send(message))),
                    Err(problem) => tracing::warn!(node = %self.peer.node, problem, "renewal refused"),
                },
                AggregatorEffect::End(end) => {
                    if let Some(send) = self.send.as_mut()
                        && send.finish().is_ok()
                    {
                        drop(tokio::time::timeout(GOODBYE_TIMEOUT, send.stopped()).await);
                    }
                    return Some(Some(end));
                }
            }
        }
        None
    }

    fn apply(&mut self, event: AggregatorEvent) -> Vec<AggregatorEffect> {
        self.state.apply(self.context.clock.now(), event)
    }

    /// Asks the roster, then the task that knows who is connected.
    async fn admit(&mut self, hello: &Hello) -> Result<Welcome, Refusal> {
        let (node, context) = (self.peer.node, self.context);
        let registry = context.nodes.registry();
        let unavailable = |_| Refusal {
            code: RefusalCode::Unavailable,
            reason: "the aggregator's roster cannot be reached now".to_owned(),
        };
        if !registry.admit(node, self.peer.key, self.peer.certificate).await.map_err(unavailable)? {
            return Err(Refusal {
                code: RefusalCode::NotInRoster,
                reason: "this node was retired, or its key replaced; enrol it anew with a token".to_owned(),
            });
        }
        let mut capabilities: Vec<String> =
            hello.capabilities.iter().filter(|name| CAPABILITIES.contains(&name.as_str())).cloned().collect();
        if self.peer.must_renew {
            capabilities = vec![CAPABILITY_RENEW_ONLY.to_owned()];
        } else {
            self.begin(hello).await?;
        }
        Ok(Welcome {
            aggregator: context.fleet.aggregator_id,
            version: 0,
            capabilities,
            interval_ms: u32::try_from(context.interval.as_millis()).unwrap_or(u32::MAX),
            durable: context.series.accounted_to(node, hello.instance),
            authority_version: context.authority.current().document().version,
            clock: context.clock.now(),
        })
    }

    async fn begin(&mut self, hello: &Hello) -> Result<(), Refusal> {
        let (sender, commands) = mpsc::channel(COMMANDS_MAX);
        let (answer, decision) = oneshot::channel();
        let seed = SessionSeed {
            node: self.peer.node,
            session: self.session.0,
            instance: hello.instance,
            remote_address: self.connection.remote_address().to_string(),
            transport: self.carrier.as_str(),
            protocol_version: hello.version_max.min(campanile_common::wire::hello::VERSION_MAX),
            agent_version: hello.agent_version.chars().take(32).collect(),
            takes_orders: hello.capabilities.iter().any(|name| name == "orders"),
            commands: sender,
        };
        self.agent_version.clone_from(&seed.agent_version);
        self.context.nodes.tell(NodeEvent::Begin { seed, answer }).await;
        let stopping = Refusal { code: RefusalCode::Busy, reason: "the aggregator is stopping".to_owned() };
        decision.await.unwrap_or(Err(stopping))?;
        let (ack_sender, acks) = mpsc::channel(ACKS_MAX);
        self.context.ingest.register(self.session, ack_sender).await;
        (self.commands, self.acks) = (Some(commands), Some(acks));
        Ok(())
    }

    async fn renew(&mut self, request: &[u8]) -> Result<Control, String> {
        self.renewals += 1;
        if self.renewals > RENEWALS_MAX {
            return Err(format!("more than {RENEWALS_MAX} renewals in one session"));
        }
        let (ca, node) = (&self.context.ca, self.peer.node);
        let checked = ca.check_request(request).map_err(|error| error.to_string())?;
        let now: Timestamp = self.context.clock.now();
        let registry = self.context.nodes.registry();
        registry.renew(node, checked.key_digest, ca.expiry(now)).await.map_err(|error| error.to_string())?;
        let leaf = ca.issue_node(node, &checked, now).map_err(|error| error.to_string())?;
        Ok(Control::Renewed { certificate: leaf.certificate, not_after: leaf.not_after })
    }

    /// Passes a request on; when too many are in flight the dropped channel says that it was not.
    fn ask(&mut self, request: Request, answer: oneshot::Sender<Reply>) {
        if self.tasks.len() < REQUESTS_MAX {
            self.tasks.spawn(request::ask(self.connection.clone(), request, answer));
        }
    }

    /// Delivers a run; over the agent's limit it is lost, and comes again.
    fn deliver(&mut self, slip: DeliverySlip) {
        let node = self.peer.node;
        if self.orders.len() < order::ORDERS_MAX {
            let config = self.context.config.clone();
            self.orders.spawn(order::deliver(self.connection.clone(), config, node, slip));
        } else {
            self.orders.spawn(order::lost(node, slip));
        }
    }

    /// Offers a generation; when too much is in flight the dropped channel says that it was not.
    fn offer(&mut self, offer: Box<ConfigOffer>, answer: oneshot::Sender<OfferEnd>) {
        if self.tasks.len() < REQUESTS_MAX {
            let (connection, config) = (self.connection.clone(), self.context.config.clone());
            self.tasks.spawn(offer::serve(connection, config, self.peer.node, offer, answer));
        }
    }

    /// The same for a request with several replies.
    fn ask_stream(&mut self, request: Request, replies: mpsc::Sender<Reply>) {
        if self.tasks.len() < REQUESTS_MAX {
            self.tasks.spawn(request::ask_stream(self.connection.clone(), request, replies));
        } else {
            drop(replies.try_send(Reply::Failed("too many requests wait for this node".to_owned())));
        }
    }
}

/// The next of a channel that may not be there yet.
async fn receive_from<T>(channel: &mut Option<mpsc::Receiver<T>>) -> Option<T> {
    match channel {
        Some(channel) => channel.recv().await,
        None => std::future::pending().await,
    }
}
