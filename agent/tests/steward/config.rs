//! Generations of the configuration: what the steward takes, what it refuses, and what it does with them.

mod applying;
mod bundle;
mod intake;

use campanile_agent::steward::protocol::{StewardEvent, Tag};

use crate::support::{Client, Node};
use bundle::Bundle;

pub(crate) const POLICY: &str =
    "highest_tier = 2\nclasses = [\"observe\", \"command\", \"shell\", \"config\"]\n";

/// A node that takes generations, and configures what is beneath its folder `root`.
pub(crate) fn node() -> Node {
    let node = Node::with_settings("[config]\nroot = \"@/root\"\ncheck_interval_s = 3600\n");
    node.write_policy(POLICY);
    std::fs::create_dir_all(node.path("root/etc")).unwrap();
    node
}

/// Names of the parts that are on the node, those begun and not ended among them.
pub(crate) fn parts(node: &Node) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(node.state().join("config/parts")) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Offers a generation and sends all that is wanted of it, until its end.
pub(crate) fn hand_over(client: &mut Client, bundle: &Bundle, is_followed: bool) -> Result<(), String> {
    let tag = Tag(40);
    client.send(&bundle.offer(tag, is_followed));
    loop {
        match client.next().expect("the steward is there") {
            StewardEvent::Want(found, digests) if found == tag => {
                for digest in digests {
                    bundle.pieces(tag, digest).iter().for_each(|piece| client.send(piece));
                }
            }
            StewardEvent::Ready(found) if found == tag => return Ok(()),
            StewardEvent::Refused(found, reason) if found == tag => return Err(reason),
            _ => {}
        }
    }
}
