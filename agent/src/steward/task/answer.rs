//! Answers one request of a connection.

use campanile_common::wire::v1::request::AUDIT_ENTRIES_MAX;

use super::Task;
use crate::os::clock;
use crate::steward::observe::{self, OBSERVATIONS_MAX};
use crate::steward::protocol::{StewardEvent, StewardRequest};

impl Task {
    pub(super) fn answer(&mut self, number: u64, request: StewardRequest) {
        let now = clock::now();
        let followed = |tag, result: Result<(u64, Option<u64>), String>| match result {
            Ok((authority, catalogue)) => StewardEvent::Followed(tag, authority, catalogue),
            Err(reason) => StewardEvent::Refused(tag, reason),
        };
        let event = match request {
            StewardRequest::Describe(tag) => {
                self.sync();
                StewardEvent::Description(tag, Box::new(self.orders.describe(now)))
            }
            StewardRequest::Deliver(deliver) => return self.deliver(number, deliver, now),
            StewardRequest::Reported(run) => return self.orders.reported(run, now),
            StewardRequest::Authority(tag, offered) => followed(tag, self.orders.follow(offered, now)),
            StewardRequest::Catalogue(tag, offered) => {
                followed(tag, self.orders.take_catalogue(offered, now))
            }
            StewardRequest::Unit(tag, _) | StewardRequest::Journal(tag, _)
                if self.observations.len() >= OBSERVATIONS_MAX =>
            {
                let most = OBSERVATIONS_MAX;
                StewardEvent::Refused(tag, format!("{most} others look already, as many as may; try again"))
            }
            StewardRequest::Unit(tag, unit) => {
                self.orders.look_around(now);
                let policy = self.orders.policy.policy();
                let look = observe::unit(&self.programs, &self.launcher, policy, number, tag, unit);
                return self.begin_look(number, look);
            }
            StewardRequest::Journal(tag, query) => {
                self.orders.look_around(now);
                let policy = self.orders.policy.policy();
                let look = observe::journal(&self.programs, &self.launcher, policy, number, tag, &query);
                return self.begin_look(number, look);
            }
            StewardRequest::Offer(tag, offer) => return self.take_offer(number, tag, offer, now),
            StewardRequest::Piece(tag, piece) => return self.take_piece(number, tag, &piece, now),
            StewardRequest::Reached(nonce) => return self.take_proof(nonce, now),
            StewardRequest::Stop(tag) => {
                self.config.give_up(number, Some(tag));
                return self.leave(|look| look.connection == number && look.tag == tag);
            }
            StewardRequest::Audit(tag, after, limit) => {
                self.sync();
                match self.orders.audit.entries(after, limit.min(AUDIT_ENTRIES_MAX)) {
                    Ok(entries) => StewardEvent::Audit(tag, entries),
                    Err(error) => StewardEvent::Refused(tag, error.to_string()),
                }
            }
        };
        self.tell(number, &event);
    }
}
