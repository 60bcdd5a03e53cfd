//! People and what they may do.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use campanile_common::api::{CreatedPerson, Grant, Page, Person, PersonRequest, Problem};

use crate::access::Permission;
use crate::http::App;
use crate::http::auth::Caller;
use crate::http::failure::Outcome;
use crate::http::paging::{self, PageParams, Place};
use crate::http::request::{Body, NoParams, Params, Segment};

/// Everybody.
#[utoipa::path(
    get, path = "/api/v1/people", tag = "people", params(PageParams),
    responses((status = 200, body = Page<Person>), (status = "4XX", body = Problem))
)]
pub(super) async fn list(
    State(shared): App,
    caller: Caller,
    Params(params): Params<PageParams>,
) -> Outcome<Json<Page<Person>>> {
    caller.require(&shared, Permission::ManagePeople, "people.list", "people").await?;
    let people = shared.services.access.people().await?;
    let place = |person: &Person| Place::new(person.name.clone(), "");
    Ok(Json(paging::page(people, place, paging::limit(params.limit)?, params.cursor.as_deref())?))
}

/// Adds a person; the answer holds the one-time link with which they sign in first.
#[utoipa::path(
    post, path = "/api/v1/people", tag = "people", request_body = PersonRequest,
    responses((status = 201, body = CreatedPerson), (status = "4XX", body = Problem))
)]
pub(super) async fn add(
    State(shared): App,
    caller: Caller,
    _: Params<NoParams>,
    Body(request): Body<PersonRequest>,
) -> Outcome<(StatusCode, Json<CreatedPerson>)> {
    caller.require(&shared, Permission::ManagePeople, "person.add", "people").await?;
    Ok((StatusCode::CREATED, Json(shared.services.access.add_person(&caller.actor, request).await?)))
}

/// Removes a person and ends their sessions and API tokens.
#[utoipa::path(
    delete, path = "/api/v1/people/{name}", tag = "people", params(("name" = String, Path)),
    responses((status = 204), (status = "4XX", body = Problem))
)]
pub(super) async fn remove(
    State(shared): App,
    caller: Caller,
    Segment(name): Segment,
    _: Params<NoParams>,
) -> Outcome<StatusCode> {
    caller.require(&shared, Permission::ManagePeople, "person.remove", &format!("person/{name}")).await?;
    shared.services.access.remove_person(&caller.actor, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sets what a person may do; live sessions see it at once.
#[utoipa::path(
    put, path = "/api/v1/people/{name}/grants", tag = "people", params(("name" = String, Path)),
    request_body = Vec<Grant>,
    responses((status = 200, body = Person), (status = "4XX", body = Problem))
)]
pub(super) async fn set_grants(
    State(shared): App,
    caller: Caller,
    Segment(name): Segment,
    _: Params<NoParams>,
    Body(grants): Body<Vec<Grant>>,
) -> Outcome<Json<Person>> {
    caller.require(&shared, Permission::ManagePeople, "person.grant", &format!("person/{name}")).await?;
    Ok(Json(shared.services.access.set_grants(&caller.actor, &name, grants).await?))
}

/// Makes a new one-time link for a person who forgot the password.
#[utoipa::path(
    post, path = "/api/v1/people/{name}/link", tag = "people", params(("name" = String, Path)),
    responses((status = 201, body = CreatedPerson), (status = "4XX", body = Problem))
)]
pub(super) async fn new_link(
    State(shared): App,
    caller: Caller,
    Segment(name): Segment,
    _: Params<NoParams>,
) -> Outcome<(StatusCode, Json<CreatedPerson>)> {
    caller.require(&shared, Permission::ManagePeople, "person.link", &format!("person/{name}")).await?;
    Ok((StatusCode::CREATED, Json(shared.services.access.new_link(&caller.actor, &name).await?)))
}
