//! Following an order to its end: its output as it comes, then the account of its targets.

use std::collections::BTreeMap;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use campanile_common::api::{Order, OrderState, OrderTarget, OutputPiece, TargetState};
use campanile_common::id::{NodeId, OrderId};
use serde::de::DeserializeOwned;
use ureq::http::Method;

use super::print::Printer;
use super::summary;
use crate::cli::Output;
use crate::client::{Client, ClientError, ServerEvent, ServerEvents};
use crate::context::Context;
use crate::exit::{Exit, Interrupted};
use crate::os::process;
use crate::os::signal::StopRequest;
use crate::render;

/// How often we look whether to stop while nothing comes.
const LOOK: Duration = Duration::from_millis(50);
/// After how long progress is told first, and how often from then on.
const PROGRESS: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(10)];
/// A stream without even a sign of life for so long is dead.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// How long a broken stream is opened again and again.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pause between two attempts.
const PAUSE: Duration = Duration::from_millis(500);
/// Events in flight between the reader and the printer; full means the terminal is slow, and the reader waits.
const EVENTS_MAX: usize = 64;
/// Most names in one line of progress.
const NAMES_MAX: usize = 8;

/// Path of an order in the API.
pub fn path(id: OrderId) -> String {
    format!("/api/v1/orders/{id}")
}

/// Prints the output of the order until it ends, then the account. Ctrl-C withdraws what was not sent yet.
///
/// # Errors
/// When the aggregator is out of reach for too long; the order goes on then.
pub fn follow(
    context: &mut Context<'_>,
    client: &Client,
    order: &Order,
    stop: &StopRequest,
) -> anyhow::Result<Exit> {
    let is_filtered = context.environment.stdout_is_terminal;
    let names = order.targets.iter().map(|target| target.name.as_str());
    let is_printing = matches!(context.global.output, Output::Table | Output::Wide);
    let mut sink = Labelled { printer: Printer::new(names, is_filtered), is_printing };
    let Some(end) = watch(context, client, order, stop, &mut sink)? else {
        return interrupt(context, client, order.order_id);
    };
    account(context, &end)?;
    Ok(summary::exit(&end))
}

/// What becomes of the output of nodes while their order is followed. A piece may come twice.
pub trait Sink {
    /// A piece came.
    ///
    /// # Errors
    /// When it cannot be printed.
    fn piece(&mut self, context: &mut Context<'_>, piece: &OutputPiece) -> anyhow::Result<()>;

    /// No more comes of this target. Told more than once.
    ///
    /// # Errors
    /// When what is left cannot be printed.
    fn end(&mut self, context: &mut Context<'_>, target: &OrderTarget) -> anyhow::Result<()>;
}

/// Lets output be: it is fetched once the order is over, or is nobody's business.
#[derive(Debug)]
pub struct Quiet;

impl Sink for Quiet {
    fn piece(&mut self, _: &mut Context<'_>, _: &OutputPiece) -> anyhow::Result<()> {
        Ok(())
    }

    fn end(&mut self, _: &mut Context<'_>, _: &OrderTarget) -> anyhow::Result<()> {
        Ok(())
    }
}

/// Prints lines behind the name of their node.
struct Labelled {
    printer: Printer,
    is_printing: bool,
}

impl Sink for Labelled {
    fn piece(&mut self, context: &mut Context<'_>, piece: &OutputPiece) -> anyhow::Result<()> {
        if self.is_printing {
            self.printer.piece(piece, context.out, context.err)?;
            context.out.flush()?;
        }
        Ok(())
    }

    fn end(&mut self, context: &mut Context<'_>, target: &OrderTarget) -> anyhow::Result<()> {
        if self.is_printing {
            self.printer.end(target, context.out, context.err)?;
            context.out.flush()?;
        }
        Ok(())
    }
}

/// Reads what the order does until it ends, and gives what became of it; none when a stop was asked for.
///
/// # Errors
/// When the aggregator is out of reach for too long; the order goes on then.
pub fn watch(
    context: &mut Context<'_>,
    client: &Client,
    order: &Order,
    stop: &StopRequest,
    sink: &mut dyn Sink,
) -> anyhow::Result<Option<Order>> {
    let mut view = View {
        sink,
        targets: order.targets.iter().map(|target| (target.node_id, target.clone())).collect(),
        end: None,
        began: Instant::now(),
        told: 0,
    };
    if !view.read(context, client, order.order_id, stop)? {
        return Ok(None);
    }
    let mut end = match view.end.take() {
        Some(end) => end,
        None => client.get(&path(order.order_id), &[])?,
    };
    if end.targets.is_empty() {
        end.targets = view.targets.into_values().collect();
        end.targets.sort_by(|a, b| a.name.cmp(&b.name));
    }
    Ok(Some(end))
}

/// Prints how an order ended: the whole of it for programs, the counts and what did not end well for people.
///
/// # Errors
/// When it cannot be printed.
pub fn account(context: &mut Context<'_>, order: &Order) -> anyhow::Result<()> {
    context.out.flush()?;
    render::object(context, order, &order.order_id.to_string(), |_| Ok(()))?;
    context.hint(&summary::counts(&order.counts))?;
    for line in summary::problems(&order.targets) {
        context.hint(&line)?;
    }
    Ok(())
}

/// What is known of the order while it is followed.
struct View<'a> {
    sink: &'a mut dyn Sink,
    targets: BTreeMap<NodeId, OrderTarget>,
    end: Option<Order>,
    began: Instant,
    told: u32,
}

impl View<'_> {
    /// Reads to the end; false when a stop was asked for.
    fn read(
        &mut self,
        context: &mut Context<'_>,
        client: &Client,
        id: OrderId,
        stop: &StopRequest,
    ) -> anyhow::Result<bool> {
        let mut broken_since: Option<Instant> = None;
        loop {
            let events = open(client, id);
            let mut heard = Instant::now();
            let broken = loop {
                if stop.is_asked() {
                    return Ok(false);
                }
                match events.recv_timeout(LOOK) {
                    Ok(Ok(Some(event))) => {
                        (heard, broken_since) = (Instant::now(), None);
                        self.take(context, &event)?;
                        if self.is_over() {
                            return Ok(true);
                        }
                    }
                    Ok(Ok(None)) | Err(RecvTimeoutError::Disconnected) => break None,
                    Ok(Err(error)) => break Some(error),
                    Err(RecvTimeoutError::Timeout) if heard.elapsed() > SILENCE_MAX => break None,
                    Err(RecvTimeoutError::Timeout) => self.tell(context)?,
                }
            };
            let since = *broken_since.get_or_insert_with(Instant::now);
            match broken {
                Some(error) if !may_pass(&error) || since.elapsed() > PATIENCE => {
                    return Err(error).with_context(|| goes_on(id));
                }
                None if since.elapsed() > PATIENCE => anyhow::bail!("{}", goes_on(id)),
                _ => process::pause(PAUSE),
            }
        }
    }

    fn is_over(&self) -> bool {
        self.end.as_ref().is_some_and(|order| order.state != OrderState::Running)
    }

    fn take(&mut self, context: &mut Context<'_>, event: &ServerEvent) -> anyhow::Result<()> {
        match event.kind.as_str() {
            "output" => {
                let piece: OutputPiece = decode(event)?;
                self.sink.piece(context, &piece)?;
            }
            "target" => {
                let target: OrderTarget = decode(event)?;
                self.settle(context, &target)?;
                self.targets.insert(target.node_id, target);
            }
            "order" => {
                let order: Order = decode(event)?;
                for target in &order.targets {
                    self.settle(context, target)?;
                    self.targets.insert(target.node_id, target.clone());
                }
                self.end = Some(order);
            }
            // Kinds of later versions, and signs of life.
            _ => {}
        }
        Ok(())
    }

    fn settle(&mut self, context: &mut Context<'_>, target: &OrderTarget) -> anyhow::Result<()> {
        if !is_pending(target.state) {
            self.sink.end(context, target)?;
        }
        Ok(())
    }

    /// Tells a person who waits what it waits for.
    fn tell(&mut self, context: &mut Context<'_>) -> anyhow::Result<()> {
        if !context.environment.stderr_is_terminal
            || self.began.elapsed() < PROGRESS[0] + PROGRESS[1] * self.told
        {
            return Ok(());
        }
        self.told += 1;
        context.hint(&waiting_for(self.targets.values()))?;
        Ok(())
    }
}

fn is_pending(state: TargetState) -> bool {
    matches!(state, TargetState::Waiting | TargetState::Sent | TargetState::Running)
}

fn waiting_for<'a>(targets: impl Iterator<Item = &'a OrderTarget> + Clone) -> String {
    let all = targets.clone().count();
    let mut names: Vec<&str> =
        targets.filter(|target| is_pending(target.state)).map(|target| target.name.as_str()).collect();
    names.sort_unstable();
    let more = names.len().saturating_sub(NAMES_MAX);
    let listed = names.iter().take(NAMES_MAX).copied().collect::<Vec<_>>().join(", ");
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("... waiting for {} of {all}: {listed}{more}", names.len())
}

fn goes_on(id: OrderId) -> String {
    format!("the order goes on without us; `campanile order watch {id}` follows it again")
}

fn decode<T: DeserializeOwned>(event: &ServerEvent) -> anyhow::Result<T> {
    serde_json::from_str(&event.body)
        .with_context(|| format!("an event `{}` of the aggregator makes no sense", event.kind))
}

type Heard = Result<Option<ServerEvent>, ClientError>;

/// Reads the events of the order on a thread of its own, because a read cannot be interrupted. It ends with the
/// stream, or at the next event after nobody listens any more.
fn open(client: &Client, id: OrderId) -> Receiver<Heard> {
    let (sender, events) = mpsc::sync_channel(EVENTS_MAX);
    let client = client.clone();
    thread::spawn(move || pump(&client, id, &sender));
    events
}

fn pump(client: &Client, id: OrderId, sender: &SyncSender<Heard>) {
    let path = format!("{}/events", path(id));
    let mut events = match client.stream(&path, &[], "text/event-stream") {
        Ok(body) => ServerEvents::new(body),
        Err(error) => {
            // Whoever listened is gone: then nobody needs to know.
            sender.send(Err(error)).ok();
            return;
        }
    };
    loop {
        // A stream that breaks is opened again by the listener, as one that ends is.
        let event = events.read_event().unwrap_or(None);
        let is_end = event.is_none();
        if sender.send(Ok(event)).is_err() || is_end {
            return;
        }
    }
}

/// True for failures that end by themselves, such as a restart of the aggregator.
fn may_pass(error: &ClientError) -> bool {
    matches!(
        error,
        ClientError::Unreachable { .. } | ClientError::Timeout { .. } | ClientError::NotUnderstood { .. }
    ) || error.code() == Some("unavailable")
}

/// Withdraws what was not sent, and says what still runs.
///
/// # Errors
/// When it cannot be withdrawn.
pub fn interrupt(context: &mut Context<'_>, client: &Client, id: OrderId) -> anyhow::Result<Exit> {
    let cancelled = withdraw(client, id)
        .with_context(|| format!("interrupted, and order {id} could not be withdrawn"))
        // Whoever pressed Ctrl-C is told by the exit code, whatever became of the rest.
        .map_err(|error| anyhow::Error::new(Interrupted).context(format!("{error:#}")))?;
    context.hint("interrupted: what was not sent yet is withdrawn")?;
    account(context, &cancelled)?;
    still_runs(context, &cancelled)?;
    Ok(Exit::Interrupted)
}

/// Withdraws what was not sent; an order of which everything was sent stays as it is.
///
/// # Errors
/// When the aggregator refuses for another reason, or is out of reach.
pub fn withdraw(client: &Client, id: OrderId) -> Result<Order, ClientError> {
    match client.call(Method::POST, &format!("{}/cancel", path(id))) {
        Err(error) if error.code() == Some("conflict") => client.get(&path(id), &[]),
        other => other,
    }
}

/// Says what withdrawing does not stop.
///
/// # Errors
/// When it cannot be printed.
pub fn still_runs(context: &mut Context<'_>, order: &Order) -> anyhow::Result<()> {
    if order.counts.pending > 0 {
        let (count, id) = (order.counts.pending, order.order_id);
        context.hint(&format!(
            "it still runs on {count} nodes; `campanile order cancel {id} --running` orders them to stop it"
        ))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
