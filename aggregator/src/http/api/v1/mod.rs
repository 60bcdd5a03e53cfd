//! Version 1 of the API, one file per feature. Every route is in the OpenAPI document because both come from the
//! same macro.

mod api_tokens;
mod approvals;
mod audit;
mod authority;
mod backups;
mod catalogue;
mod config;
mod connections;
pub(in crate::http) mod events;
mod floor;
mod freeze;
mod health;
mod journal;
mod log_level;
mod nodes;
mod order_output;
mod orders;
mod people;
mod ping;
mod schedules;
mod series;
mod session;
mod stewardship;
mod tokens;

use std::sync::Arc;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::super::Shared;

/// All routes of this version.
pub(in crate::http) fn routes() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new()
        .routes(routes!(session::sign_in, session::show, session::sign_out))
        .routes(routes!(session::sign_in_with_link))
        .routes(routes!(session::set_password))
        .routes(routes!(session::begin_totp))
        .routes(routes!(session::confirm_totp))
        .routes(routes!(people::list, people::add))
        .routes(routes!(people::remove))
        .routes(routes!(people::set_grants))
        .routes(routes!(people::new_link))
        .routes(routes!(api_tokens::list, api_tokens::create))
        .routes(routes!(api_tokens::revoke))
        .routes(routes!(health::health))
        .routes(routes!(health::status))
        .routes(routes!(nodes::list))
        .routes(routes!(nodes::show, nodes::change))
        .routes(routes!(nodes::retire))
        .routes(routes!(nodes::top))
        .routes(routes!(series::values))
        .routes(routes!(series::points))
        .routes(routes!(series::coverage))
        .routes(routes!(connections::list))
        .routes(routes!(config::show))
        .routes(routes!(config::missing))
        .routes(routes!(config::put_part, config::part))
        .routes(routes!(config::list))
        .routes(routes!(config::submit, config::generation))
        .routes(routes!(config::signed))
        .routes(routes!(config::nodes))
        .routes(routes!(config::node))
        .routes(routes!(backups::list))
        .routes(routes!(floor::show, floor::submit, floor::withdraw))
        .routes(routes!(backups::show))
        .routes(routes!(backups::snapshots))
        .routes(routes!(backups::keys))
        .routes(routes!(backups::undelete))
        .routes(routes!(backups::settle))
        .routes(routes!(orders::list, orders::submit))
        .routes(routes!(orders::show))
        .routes(routes!(orders::events))
        .routes(routes!(order_output::output))
        .routes(routes!(orders::cancel))
        .routes(routes!(approvals::list))
        .routes(routes!(approvals::show))
        .routes(routes!(approvals::sign))
        .routes(routes!(tokens::list, tokens::create))
        .routes(routes!(tokens::revoke))
        .routes(routes!(audit::list))
        .routes(routes!(audit::verify))
        .routes(routes!(audit::key))
        .routes(routes!(authority::show, authority::submit))
        .routes(routes!(catalogue::show, catalogue::submit))
        .routes(routes!(freeze::show, freeze::freeze, freeze::thaw))
        .routes(routes!(schedules::list, schedules::create))
        .routes(routes!(schedules::show, schedules::remove))
        .routes(routes!(schedules::run))
        .routes(routes!(ping::ping))
        .routes(routes!(stewardship::stewardship))
        .routes(routes!(stewardship::unit))
        .routes(routes!(stewardship::audit))
        .routes(routes!(stewardship::checkpoints))
        .routes(routes!(journal::journal))
        .routes(routes!(events::stream))
        .routes(routes!(log_level::show, log_level::change))
}
