//! Connects the link with sampling, identity and steward: passes samples' events on, follows the authority, renews
//! the certificate.

use std::path::PathBuf;
use std::time::Duration;

use campanile_common::time::Timestamp;
use campanile_common::wire::v1::control::GoodbyeReason;
use campanile_daemon::watchdog::Pulse;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::link_identity;
use super::link_state::LinkState;
use super::witness::Witness;
use crate::identity::enroll::KeyRequest;
use crate::identity::{Identity, renew, tls};
use crate::link::{LinkCommand, LinkEvent, LinkIdentity};
use crate::metrics::task::MetricsEvent;
use crate::order::{Offer, OrderHandle, Told};
use crate::os::{clock, random};

/// How often the wall clock is held against the time of the next renewal.
const RENEW_LOOK: Duration = Duration::from_secs(60);
/// Retry of a renewal that got no answer.
const RENEW_RETRY: Duration = Duration::from_secs(300);

/// When to renew, and the key that waits for its certificate.
pub(super) struct Renewal {
    due: Timestamp,
    pending: Option<KeyRequest>,
}

impl Renewal {
    pub(super) fn new(identity: &Identity) -> Self {
        let due = renew::renew_at(identity.issued, identity.not_after, random::number());
        Self { due, pending: None }
    }
}

/// The steward asks whether the aggregator can be reached anew.
struct Proof {
    /// What it calls the question.
    number: u64,
    /// When it asked first: a session that was dialled before proves nothing.
    asked: Instant,
}

/// Connects the link with sampling, identity and steward.
pub(super) struct Hub {
    pub(super) state_dir: PathBuf,
    pub(super) identity: Identity,
    pub(super) identity_sender: watch::Sender<LinkIdentity>,
    pub(super) metrics: mpsc::Sender<MetricsEvent>,
    pub(super) commands: mpsc::Sender<LinkCommand>,
    pub(super) renewal: Renewal,
    pub(super) witness: Witness,
    pub(super) orders: OrderHandle,
}

impl Hub {
    pub(super) async fn run(mut self, mut events: mpsc::Receiver<LinkEvent>, pulse: Pulse) {
        // When the session that stands was dialled.
        let mut session: Option<Instant> = None;
        let mut told = self.orders.told();
        let mut proof: Option<Proof> = None;
        self.tell_link(false);
        loop {
            // Looked at now and then rather than slept for: the wall clock may be set meanwhile.
            let look = self.renewal.due.since(clock::now()).clamp(Duration::from_millis(500), RENEW_LOOK);
            let event = tokio::select! {
                event = events.recv() => event,
                () = pulse.next() => continue,
                Ok(()) = told.changed() => {
                    let news = told.borrow_and_update().clone();
                    self.steward_told(news, &mut proof, session).await;
                    continue;
                }
                () = tokio::time::sleep(look) => {
                    if session.is_some() && clock::now() >= self.renewal.due {
                        self.renew().await;
                    }
                    continue;
                }
            };
            let Some(event) = event else { return };
            let opened = match &event {
                LinkEvent::Opened { dialled, must_renew, .. } => {
                    session = Some(*dialled);
                    self.tell_link(!must_renew);
                    !must_renew
                }
                LinkEvent::Closed => {
                    session = None;
                    self.tell_link(false);
                    false
                }
                _ => false,
            };
            self.handle(event).await;
            if opened {
                let news = told.borrow_and_update().clone();
                self.steward_told(news, &mut proof, session).await;
            }
        }
    }

    /// Tells `doctor` and `enroll` whether a session stands that samples travel on.
    fn tell_link(&self, is_connected: bool) {
        LinkState { is_connected, since: clock::now() }.store(&self.state_dir);
    }

    /// Passes on how the node stands to its configuration, and proves that the aggregator can be reached where that is
    /// asked: by a session that was dialled after the question.
    async fn steward_told(&mut self, told: Told, proof: &mut Option<Proof>, session: Option<Instant>) {
        if let Some(number) = told.reach
            && proof.as_ref().is_none_or(|known| known.number != number)
        {
            *proof = Some(Proof { number, asked: Instant::now() });
            if session.is_some() {
                tracing::info!(number, "the session ends, to prove that a new one comes about");
                drop(self.commands.send(LinkCommand::Goodbye(GoodbyeReason::Proving)).await);
            }
            return;
        }
        let Some(dialled) = session else { return };
        if let Some(report) = told.report {
            drop(self.commands.send(LinkCommand::Config(report)).await);
        }
        if let Some(report) = told.proof {
            drop(self.commands.send(LinkCommand::Proof(report)).await);
        }
        match proof {
            Some(proof) if dialled > proof.asked => self.orders.reached(proof.number),
            // It was being dialled when the question came.
            Some(_) => drop(self.commands.send(LinkCommand::Goodbye(GoodbyeReason::Proving)).await),
            None => {}
        }
    }

    async fn handle(&mut self, event: LinkEvent) {
        // A closed channel means that the agent stops.
        match event {
            LinkEvent::Opened { live, interval, durable, must_renew, dialled: _, transport } => {
                if must_renew {
                    self.renew().await;
                    return;
                }
                drop(self.metrics.send(MetricsEvent::Interval(interval)).await);
                drop(
                    self.metrics
                        .send(MetricsEvent::Opened { live, durable, transport: transport.as_str() })
                        .await,
                );
            }
            LinkEvent::Closed => drop(self.metrics.send(MetricsEvent::Closed).await),
            LinkEvent::Acked(ack) => drop(self.metrics.send(MetricsEvent::Acked(ack)).await),
            LinkEvent::NextBatch(answer) => drop(self.metrics.send(MetricsEvent::NextBatch(answer)).await),
            LinkEvent::Certificate { certificate, not_after } => self.certified(certificate, not_after).await,
            LinkEvent::Authority(signed) => match self.identity.follow(signed.clone()) {
                Ok(true) => {
                    // The steward verifies the chain from its own pin on.
                    self.orders.authority(&self.identity.authority);
                    self.keep("authority followed").await;
                }
                Ok(false) => {}
                Err(error) => {
                    tracing::error!(error = %anyhow::Error::new(error), "authority refused");
                    self.orders.show(Offer::Authority(signed));
                }
            },
            LinkEvent::Catalogue(signed) => self.orders.catalogue(signed),
            LinkEvent::Checkpoint(checkpoint) => {
                if let Err(error) = self.witness.keep(&checkpoint) {
                    tracing::warn!(%error, "audit checkpoint not kept");
                }
            }
        }
    }

    async fn renew(&mut self) {
        self.renewal.due = clock::now() + RENEW_RETRY;
        match KeyRequest::generate() {
            Ok(key) => {
                let request = key.request.clone();
                self.renewal.pending = Some(key);
                drop(self.commands.send(LinkCommand::Renew(request)).await);
                tracing::info!("certificate renewal asked for");
            }
            Err(error) => tracing::error!(%error, "cannot make a new key"),
        }
    }

    async fn certified(&mut self, certificate: Vec<u8>, not_after: Timestamp) {
        let Some(key) = self.renewal.pending.take() else { return };
        let renewed = self.identity.renewed(key.key, certificate, clock::now(), not_after);
        // A certificate that does not fit the key must not replace one that does.
        if let Err(error) = tls::link_config(&renewed) {
            tracing::error!(%error, "the new certificate cannot be used; the old one stays");
            return;
        }
        self.identity = renewed;
        self.renewal = Renewal::new(&self.identity);
        if self.keep("certificate renewed").await {
            drop(self.commands.send(LinkCommand::Goodbye(GoodbyeReason::Renewed)).await);
        }
    }

    /// Stores the identity and gives it to the link.
    async fn keep(&mut self, what: &'static str) -> bool {
        let (identity, state_dir) = (self.identity.clone(), self.state_dir.clone());
        let stored = tokio::task::spawn_blocking(move || identity.store(&state_dir)).await;
        match stored {
            Ok(Ok(())) => tracing::info!(not_after = %self.identity.not_after, "{what}"),
            Ok(Err(error)) => tracing::error!(error = %anyhow::Error::new(error), "identity not stored"),
            Err(_) => tracing::error!("identity not stored"),
        }
        match link_identity(&self.identity) {
            Ok(identity) => self.identity_sender.send_replace(identity),
            Err(error) => {
                tracing::error!(%error, "identity cannot be used");
                return false;
            }
        };
        true
    }
}
