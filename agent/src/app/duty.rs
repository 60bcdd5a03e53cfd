//! What this agent does for the aggregator: answers by itself what it can, and passes the rest to the steward.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use campanile_common::authority::RunId;
use campanile_common::wire::v1::config::ConfigOffer;
use campanile_common::wire::v1::order::{Deliver, OrderReply};
use campanile_common::wire::v1::request::{CHECKPOINTS_MAX, PROCESSES_MAX, Reply, Request};
use tokio::sync::{Semaphore, mpsc};

use super::witness::Witness;
use crate::link::{Duties, Intake};
use crate::metrics::top;
use crate::order::OrderHandle;

/// Time over which `top` measures processor use.
const TOP_INTERVAL: Duration = Duration::from_millis(500);

/// Everything that a stream of the aggregator can ask for.
pub(super) struct AgentDuties {
    proc_root: PathBuf,
    witness: Witness,
    orders: OrderHandle,
    /// One scan of processes, or reading of checkpoints, at a time.
    turn: Arc<Semaphore>,
}

impl AgentDuties {
    pub(super) fn new(proc_root: PathBuf, witness: Witness, orders: OrderHandle) -> Self {
        Self { proc_root, witness, orders, turn: Arc::new(Semaphore::new(1)) }
    }
}

impl Duties for AgentDuties {
    fn answer(
        &self,
        request: Request,
        replies: mpsc::Sender<Reply>,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        match request {
            Request::Ping => Box::pin(async move { drop(replies.send(Reply::Pong).await) }),
            Request::TopProcesses { count } => {
                let count = usize::from(count.min(PROCESSES_MAX));
                let proc_root = self.proc_root.clone();
                let scan = move || match top::top_processes(&proc_root, count, TOP_INTERVAL) {
                    Ok(processes) => Reply::TopProcesses(processes),
                    Err(error) => Reply::Failed(error.to_string()),
                };
                Box::pin(in_turn(Arc::clone(&self.turn), scan, replies))
            }
            Request::Checkpoints { limit } => {
                let (witness, limit) = (self.witness.clone(), usize::from(limit.min(CHECKPOINTS_MAX)));
                let read = move || match witness.read(limit) {
                    Ok(checkpoints) => Reply::Checkpoints(checkpoints),
                    Err(error) => Reply::Failed(format!("the checkpoints cannot be read: {error}")),
                };
                Box::pin(in_turn(Arc::clone(&self.turn), read, replies))
            }
            Request::Describe | Request::Unit { .. } | Request::Journal { .. } | Request::Audit { .. } => {
                self.orders.ask(request, replies);
                Box::pin(std::future::ready(()))
            }
        }
    }

    fn deliver(&self, deliver: Box<Deliver>) -> mpsc::Receiver<OrderReply> {
        self.orders.deliver(deliver)
    }

    fn reported(&self, run: RunId) {
        self.orders.reported(run);
    }

    fn offer(&self, offer: ConfigOffer) -> Intake {
        let (answers, pieces) = self.orders.offer(offer);
        Intake { answers, pieces }
    }
}

/// Does what blocks on a thread for that, one at a time.
async fn in_turn(
    turn: Arc<Semaphore>,
    work: impl FnOnce() -> Reply + Send + 'static,
    replies: mpsc::Sender<Reply>,
) {
    let Ok(_turn) = turn.acquire().await else { return };
    let reply = tokio::task::spawn_blocking(work).await;
    let reply = reply.unwrap_or_else(|_| Reply::Failed("the answer failed on this node".to_owned()));
    drop(replies.send(reply).await);
}
