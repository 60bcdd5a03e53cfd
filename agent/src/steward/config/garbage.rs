//! Parts that may go: those that no generation names which may be wanted again.

use std::collections::BTreeSet;

use campanile_common::authority::Authority;
use campanile_common::config::Purpose;
use campanile_common::id::{Digest, NodeId};

use super::{Keeper, Told, intake, needs};

impl Keeper {
    /// Removes parts that no generation names any more that may be wanted again.
    pub(in crate::steward) fn collect_garbage(&self, authority: &Authority, node: NodeId) {
        let (Ok(store), Ok(state)) = (&self.store, &self.state) else { return };
        if !self.intakes.is_empty() {
            return;
        }
        let named = [state.highest, state.current, state.previous, state.tried, self.follow];
        let mut kept: BTreeSet<Digest> = named.into_iter().flatten().map(|(_, digest)| digest).collect();
        kept.extend(&self.recent);
        let told = state.told.clone().unwrap_or_else(|| Told { name: String::new(), labels: <_>::default() });
        for digest in kept.clone() {
            // One that is not here, or holds no more, needs nothing.
            let Ok(verified) = self.verified(digest, authority) else { continue };
            let generation = verified.generation();
            let layers = needs::layers(generation, node, &told.name, &told.labels);
            kept.extend(layers.iter().map(|need| need.digest));
            match intake::needs_of(generation, store, node, |_| layers) {
                Ok(needs) => kept.extend(needs.iter().map(|need| need.digest)),
                // Of a draft that came half; of what is applied everything is here.
                Err(_) if generation.purpose == Purpose::Draft => {}
                Err(problem) => {
                    tracing::warn!(generation = %digest, problem, "old parts are kept");
                    return;
                }
            }
        }
        match store.sweep(&kept) {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "old parts of the configuration removed"),
            Err(error) => tracing::warn!(%error, "old parts of the configuration are left"),
        }
    }
}
