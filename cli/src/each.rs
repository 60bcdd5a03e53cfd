//! Asking many nodes the same at the same time, through one aggregator.

use std::sync::Mutex;
use std::thread;

use crate::client::{Client, ClientError};
use crate::exit::Exit;

/// Requests at the same time: enough to hide a slow node, few enough for one aggregator.
const AT_ONCE: usize = 8;

/// Asks every node; the answers come in the order of the nodes.
pub fn node<N: Sync, T: Send>(client: &Client, nodes: &[N], ask: impl Fn(&Client, &N) -> T + Sync) -> Vec<T> {
    let next = Mutex::new(nodes.iter().enumerate());
    let answers = Mutex::new(Vec::with_capacity(nodes.len()));
    thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(nodes.len()) {
            scope.spawn(|| {
                loop {
                    let taken = next.lock().expect("no holder of this lock panics").next();
                    let Some((index, node)) = taken else { break };
                    let answer = ask(client, node);
                    answers.lock().expect("no holder of this lock panics").push((index, answer));
                }
            });
        }
    });
    let mut answers = answers.into_inner().expect("no holder of this lock panics");
    answers.sort_by_key(|(index, _)| *index);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

/// The exit code of one node's failure: absent nodes are silent, refusals denied.
pub fn exit(error: &ClientError) -> Exit {
    match error {
        ClientError::Denied { .. } => Exit::Denied,
        ClientError::Frozen { .. } => Exit::Frozen,
        ClientError::Timeout { .. } => Exit::SomeSilent,
        other if matches!(other.code(), Some("unavailable" | "timeout" | "offline")) => Exit::SomeSilent,
        _ => Exit::SomeFailed,
    }
}
