//! What an agent says of what carries its session.

use campanile_common::id::NodeId;
use campanile_common::wire::v1::control::TransportReport;

use super::NodeTask;
use crate::node::view;

impl NodeTask {
    /// Notes it with the session that it is about, unless another took its place.
    pub(super) fn transport(&mut self, node: NodeId, session: u64, told: TransportReport) {
        let live = self.live(node);
        if live.presence.is_current(session)
            && let Some(session) = &mut live.session
        {
            session.facts.told = view::shown(told);
        }
    }
}
