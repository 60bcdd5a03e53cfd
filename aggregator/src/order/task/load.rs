//! Reads the orders of before the start: all are listed, those with anything left to do or to hear go on.
//!
//! What was sent and has no record may be on its node: it is delivered again, and the node's journal sees to it that
//! it is not started twice.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use campanile_common::api::OrderState;
use campanile_common::authority::RunId;
use campanile_common::id::NodeId;
use data_encoding::BASE64;

use super::{LiveOrder, OrderTask};
use crate::order::board::Entry as BoardEntry;
use crate::order::plan::Known;
use crate::order::read::{damaged, target_records};
use crate::order::record::{OrderRecord, StateRecord, TargetRecord, Witness, order_key, read_bits};
use crate::state::{Entry, Range, StateError, from_json, read_json};

/// Records read at a time.
const PAGE: usize = 512;

impl OrderTask {
    /// Reads everything.
    pub(super) async fn load(&mut self) -> Result<(), StateError> {
        let prefix = self.parts.keys.prefix("node-audit");
        for entry in self.everything(&prefix).await? {
            let node: NodeId = entry.key[prefix.len()..]
                .parse()
                .map_err(|_| damaged(&entry.key, "its key names no node"))?;
            let witness: Witness = from_json(&entry.key, &entry.value)?;
            self.witnesses.insert(node, witness);
            self.board.put_witness(node, witness);
        }
        let mut known = HashMap::new();
        for entry in self.everything(&self.parts.keys.prefix("order-state")).await? {
            let state: StateRecord = from_json(&entry.key, &entry.value)?;
            let run = RunId { order: state.order_id, occurrence: state.occurrence };
            known.insert(run, state.submitted_at);
            self.board.note(run, BoardEntry { submitted: state.submitted_at, state: state.state });
            if state.is_open {
                self.resume(run, state).await?;
            }
        }
        let outputs = self.parts.outputs.clone();
        let stock = tokio::task::spawn_blocking(move || outputs.take_stock(&known)).await;
        let unavailable = |detail: String| StateError::Unavailable { detail: format!("outputs: {detail}") };
        stock.map_err(|error| unavailable(error.to_string()))?.map_err(|error| unavailable(error.to_string()))
    }

    async fn everything(&self, prefix: &str) -> Result<Vec<Entry>, StateError> {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let range = Range { prefix: prefix.to_owned(), after, limit: PAGE, descending: false };
            let page = self.parts.store.range(range).await?;
            after = page.last().map(|entry| entry.key.clone());
            let is_last = page.len() < PAGE;
            found.extend(page);
            if is_last {
                return Ok(found);
            }
        }
    }

    async fn resume(&mut self, run: RunId, state: StateRecord) -> Result<(), StateError> {
        let key = order_key(&self.parts.keys, run);
        let record = read_json::<OrderRecord>(&*self.parts.store, &key).await?;
        let (record, _) = record.ok_or_else(|| damaged(&key, "it is gone, but its state is there"))?;
        let records: BTreeMap<NodeId, TargetRecord> =
            target_records(&self.parts.store, &self.parts.keys, run).await?.into_iter().collect();
        let signed = record.signed_order().ok_or_else(|| damaged(&key, "its order is no base64"))?;
        let order = signed.read().map_err(|error| damaged(&key, &error.to_string()))?;
        let nodes = crate::order::admission::targets(&order, &record.nodes).to_vec();
        let sent = read_bits(&state.sent, nodes.len());
        let sent = sent.ok_or_else(|| damaged(&key, "its state does not tell whom it was sent to"))?;
        let known = |node: NodeId| Known {
            was_sent: nodes.binary_search(&node).is_ok_and(|index| sent[index]),
            state: records.get(&node).map(|record| record.state),
        };
        let is_proposed = state.state == OrderState::Proposed;
        let up = self.now().up;
        let mut live = LiveOrder::new(record, known, is_proposed, state.withdrawn.clone(), up)
            .map_err(|detail| damaged(&key, &detail))?;
        live.shown.change(|shown, _| {
            for target in &mut shown.targets {
                target.record = records.get(&target.node).cloned().map(Arc::new);
            }
        });
        for (index, node) in nodes.iter().enumerate() {
            let exit_code = records.get(node).and_then(|record| record.exit_code);
            live.note_exit(index, exit_code);
        }
        let scores = BASE64.decode(state.scores.as_bytes());
        live.course
            .set_scores(&scores.map_err(|_| damaged(&key, "its state does not tell how targets were"))?);
        live.stored = Some(state);
        self.insert_live(run, live);
        Ok(())
    }
}
