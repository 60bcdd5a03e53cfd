//! Access records on a real store, by a clock that the tests set.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use campanile_common::api::{AccessRole, ApiTokenRequest, AuditEntry, PasswordChange, PersonRequest, SignIn};
use campanile_common::id::FleetId;
use tempfile::TempDir;

use super::totp::SecondFactor;
use super::*;
use crate::audit::AuditQuery;
use crate::state::SqliteStore;

const PASSWORD: &str = "correct horse battery";
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

struct Fleet {
    _folder: TempDir,
    store: Store,
    audit: Audit,
    millis: Arc<AtomicU64>,
    access: Access,
}

fn keys() -> Keys {
    Keys::new(FleetId::from_bytes([5; 16]))
}

async fn fleet() -> Fleet {
    let folder = tempfile::tempdir().unwrap();
    let store: Store = Arc::new(SqliteStore::open(&folder.path().join("state.db")).unwrap());
    let millis = Arc::new(AtomicU64::new(1_800_000_000_000));
    let source = millis.clone();
    let clock = Clock::from_fn(move || Timestamp::from_millis(source.load(Ordering::SeqCst)));
    let audit = Audit::open(store.clone(), keys(), clock.clone(), [1; 32]).await.unwrap();
    let access = Access::open(store.clone(), keys(), audit.clone(), clock).await.unwrap();
    Fleet { _folder: folder, store, audit, millis, access }
}

fn grant(role: AccessRole, selector: &str) -> Grant {
    Grant { role, selector: selector.to_owned() }
}

fn secret_of(link: &str) -> &str {
    link.strip_prefix("/signin#link=").unwrap()
}

fn sign_in(name: &str, password: &str, totp: Option<String>) -> SignIn {
    SignIn { name: name.to_owned(), password: password.to_owned(), totp }
}

impl Fleet {
    fn advance(&self, duration: Duration) {
        self.millis.fetch_add(u64::try_from(duration.as_millis()).unwrap(), Ordering::SeqCst);
    }

    fn now(&self) -> Timestamp {
        self.access.clock.now()
    }

    /// Another process on the same store: it shares neither caches nor locks.
    async fn other_process(&self) -> Access {
        let clock = self.access.clock.clone();
        let audit = Audit::open(self.store.clone(), keys(), clock.clone(), [1; 32]).await.unwrap();
        Access::open(self.store.clone(), keys(), audit, clock).await.unwrap()
    }

    /// The first person, signed in with the link.
    async fn admin(&self) -> NewSession {
        let created = self.access.ensure_first_person().await.unwrap().unwrap();
        self.access.sign_in_with_link(secret_of(&created.link), "10.0.0.1").await.unwrap()
    }

    /// A person who is signed in with a link.
    async fn person(&self, admin: &Actor, name: &str, grants: Vec<Grant>) -> NewSession {
        let request = PersonRequest { name: name.to_owned(), grants };
        let created = self.access.add_person(admin, request).await.unwrap();
        self.access.sign_in_with_link(secret_of(&created.link), "10.0.0.2").await.unwrap()
    }

    async fn set_password(&self, by: &Actor) {
        let change = PasswordChange { current: None, new: PASSWORD.to_owned() };
        self.access.set_password(by, change).await.unwrap();
    }

    async fn token(&self, by: &Actor, grants: Vec<Grant>, ttl: Duration) -> Result<String, AccessError> {
        let request = ApiTokenRequest { name: "test".to_owned(), grants, ttl_seconds: ttl.as_secs() };
        self.access.create_api_token(by, request).await.map(|created| created.token)
    }

    async fn audited(&self, action: &str) -> Vec<AuditEntry> {
        let query = AuditQuery { limit: 1000, action: Some(action.to_owned()), ..AuditQuery::default() };
        self.audit.list(query).await.unwrap()
    }
}

fn is_unauthenticated<T>(result: Result<T, AccessError>) -> bool {
    matches!(result, Err(AccessError::Unauthenticated))
}

fn is_denied<T>(result: Result<T, AccessError>) -> bool {
    matches!(result, Err(AccessError::Denied { .. }))
}

#[tokio::test]
async fn the_first_person_is_an_admin_and_made_once() {
    let fleet = fleet().await;
    let admin = fleet.admin().await;
    assert_eq!(admin.actor.id, "person:admin");
    assert!(Permission::ALL.into_iter().all(|permission| admin.actor.may(permission, None)));
    assert!(fleet.access.ensure_first_person().await.unwrap().is_none());
    let people = fleet.access.people().await.unwrap();
    assert_eq!(people.len(), 1);
    assert!(!people[0].has_password && !people[0].has_totp);
}

#[tokio::test]
async fn a_local_link_works_before_the_first_start_and_replaces_the_one_before() {
    let fleet = fleet().await;
    assert!(matches!(fleet.access.issue_local_link("ada").await, Err(AccessError::NotFound(_))));
    let first = fleet.access.issue_local_link("admin").await.unwrap();
    let second = fleet.access.issue_local_link("admin").await.unwrap();
    assert!(is_unauthenticated(fleet.access.sign_in_with_link(secret_of(&first.link), "s").await));
    assert!(fleet.access.sign_in_with_link(secret_of(&second.link), "s").await.is_ok());
    assert!(is_unauthenticated(fleet.access.sign_in_with_link(secret_of(&second.link), "s").await));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_fifty_that_use_a_link_at_once_one_gets_a_session() {
    let fleet = fleet().await;
    let created = fleet.access.ensure_first_person().await.unwrap().unwrap();
    let other = fleet.other_process().await;
    let tasks: Vec<_> = (0..50)
        .map(|index| {
            let access = if index % 2 == 0 { fleet.access.clone() } else { other.clone() };
            let link = secret_of(&created.link).to_owned();
            tokio::spawn(async move { access.sign_in_with_link(&link, "10.0.0.1").await })
        })
        .collect();
    let mut sessions = Vec::new();
    for task in tasks {
        match task.await.unwrap() {
            Ok(session) => sessions.push(session),
            Err(error) => assert!(matches!(error, AccessError::Unauthenticated), "{error}"),
        }
    }
    assert_eq!(sessions.len(), 1);
    assert!(fleet.access.session(&sessions[0].secret).await.is_ok());
}

#[tokio::test]
async fn a_link_ends_after_a_day() {
    let fleet = fleet().await;
    let created = fleet.access.ensure_first_person().await.unwrap().unwrap();
    fleet.advance(DAY);
    assert!(is_unauthenticated(fleet.access.sign_in_with_link(secret_of(&created.link), "s").await));
}

#[tokio::test]
async fn a_password_signs_in_and_nothing_else_does() {
    let fleet = fleet().await;
    let admin = fleet.admin().await;
    fleet.set_password(&admin.actor).await;
    let session = fleet.access.sign_in(sign_in("Admin", PASSWORD, None), "10.0.0.9").await.unwrap();
    assert_eq!(fleet.access.session(&session.secret).await.unwrap().name, "admin");
    let other = "correct horse batterie";
    for (name, password) in [("admin", other), ("nobody", PASSWORD), ("../x y", PASSWORD), ("admin", "")] {
        let error = fleet.access.sign_in(sign_in(name, password, None), "10.0.0.9").await.unwrap_err();
        assert_eq!(error.to_string(), AccessError::Unauthenticated.to_string(), "{name}");
    }
    let entries = fleet.audited("session.start").await;
    let failed: Vec<_> = entries.iter().filter(|entry| entry.outcome == AuditOutcome::Failed).collect();
    assert_eq!((entries.len(), failed.len()), (6, 4));
    assert!(failed.iter().all(|entry| entry.detail.contains("10.0.0.9")));
    assert!(entries.iter().all(|entry| !entry.detail.contains(PASSWORD)));
}

#[tokio::test]
async fn brute_force_locks_the_name_even_for_the_right_password() {
    let fleet = fleet().await;
    let admin = fleet.admin().await;
    fleet.set_password(&admin.actor).await;
    let tasks = (0..8).map(|index| {
        let source = format!("10.0.1.{index}");
        let access = fleet.access.clone();
        async move { access.sign_in(sign_in("admin", "wrong password", None), &source).await }
    });
    let mut locked = 0;
    for task in tasks {
        match task.await {
            Err(AccessError::Unauthenticated) => {}
            Err(AccessError::Locked { seconds }) => {
                assert!(seconds >= 1);
                locked += 1;
            }
            other => panic!("{:?}", other.map(|session| session.actor)),
        }
    }
    assert_eq!(locked, 3);
    let right = || fleet.access.sign_in(sign_in("admin", PASSWORD, None), "10.0.2.1");
    assert!(matches!(right().await, Err(AccessError::Locked { .. })));
    assert!(fleet.access.people().await.unwrap()[0].locked_until.is_some());
    assert!(fleet.access.session(&admin.secret).await.is_ok(), "who is signed in stays so");
    fleet.advance(Duration::from_secs(1));
    right().await.unwrap();
    assert_eq!(fleet.access.people().await.unwrap()[0].locked_until, None);
}

#[tokio::test]
async fn a_second_factor_is_needed_once_it_is_confirmed_and_each_code_once() {
    let fleet = fleet().await;
    let admin = fleet.admin().await;
    fleet.set_password(&admin.actor).await;
    let setup = fleet.access.begin_totp(&admin.actor).await.unwrap();
    assert!(setup.uri.contains(&setup.secret));
    let code = |fleet: &Fleet| SecondFactor::code(&setup.secret, fleet.now());
    fleet.access.sign_in(sign_in("admin", PASSWORD, None), "s").await.expect("not yet confirmed");
    let wrong = fleet.access.confirm_totp(&admin.actor, "nonsense").await;
    assert!(matches!(wrong, Err(AccessError::SecondFactor)));
    fleet.access.confirm_totp(&admin.actor, &code(&fleet)).await.unwrap();
    let enter =
        async |totp: Option<String>| fleet.access.sign_in(sign_in("admin", PASSWORD, totp), "s").await;
    assert!(matches!(enter(None).await, Err(AccessError::SecondFactor)));
    assert!(matches!(enter(Some(code(&fleet))).await, Err(AccessError::SecondFactor)), "used to confirm");
    fleet.advance(Duration::from_secs(30));
    let current = code(&fleet);
    enter(Some(current.clone())).await.unwrap();
    assert!(matches!(enter(Some(current)).await, Err(AccessError::SecondFactor)), "used to sign in");
    assert!(fleet.access.people().await.unwrap()[0].has_totp);
    for _ in 0..10 {
        let wrong = fleet.access.sign_in(sign_in("admin", "wrong password", Some(code(&fleet))), "s").await;
        assert!(!matches!(wrong, Err(AccessError::SecondFactor)), "tells nothing without the password");
    }
}

#[tokio::test]
async fn wrong_codes_lock_and_missing_ones_do_not() {
    let fleet = fleet().await;
    let admin = fleet.admin().await;
    fleet.set_password(&admin.actor).await;
    let setup = fleet.access.begin_totp(&admin.actor).await.unwrap();
    fleet.access.confirm_totp(&admin.actor, &SecondFactor::code(&setup.secret, fleet.now())).await.unwrap();
    let enter = async |totp: Option<&str>| {
        fleet.access.sign_in(sign_in("admin", PASSWORD, totp.map(str::to_owned)), "s").await
    };
    for _ in 0..6 {
        assert!(matches!(enter(None).await, Err(AccessError::SecondFactor)));
    }
    for _ in 0..5 {
        assert!(matches!(enter(Some("nonsense")).await, Err(AccessError::SecondFactor)));
    }
    assert!(matches!(enter(None).await, Err(AccessError::Locked { .. })));
}

#[tokio::test]
async fn sessions_end_when_idle_and_when_old() {
    let fleet = fleet().await;
    let admin = fleet.admin().await;
    for _ in 0..15 {
        fleet.advance(11 * HOUR);
        fleet.access.session(&admin.secret).await.expect("in use");
    }
    fleet.advance(3 * HOUR);
    assert!(is_unauthenticated(fleet.access.session(&admin.secret).await), "a week old");
    let created = fleet.access.issue_local_link("admin").await.unwrap();
    let session = fleet.access.sign_in_with_link(secret_of(&created.link), "s").await.unwrap();
    fleet.advance(12 * HOUR);
    assert!(is_unauthenticated(fleet.access.session(&session.secret).await), "idle");
}

#[tokio::test]
async fn a_session_ends_when_signed_out_and_the_oldest_of_too_many() {
    let fleet = fleet().await;
    let admin = fleet.admin().await;
    fleet.set_password(&admin.actor).await;
    fleet.access.session(&admin.secret).await.unwrap();
    fleet.access.sign_out(&admin.secret).await.unwrap();
    assert!(is_unauthenticated(fleet.access.session(&admin.secret).await));
    fleet.access.sign_out(&admin.secret).await.unwrap();
    let mut sessions = Vec::new();
    for _ in 0..17 {
        let created = fleet.access.issue_local_link("admin").await.unwrap();
        sessions.push(fleet.access.sign_in_with_link(secret_of(&created.link), "s").await.unwrap());
    }
    assert!(is_unauthenticated(fleet.access.session(&sessions[0].secret).await));
    assert!(fleet.access.session(&sessions[1].secret).await.is_ok());
    for nonsense in ["", "x", &sessions[1].secret[1..], &"A".repeat(100_000)] {
        assert!(is_unauthenticated(fleet.access.session(nonsense).await));
    }
}

#[tokio::test]
async fn a_new_password_needs_the_old_one_and_ends_other_sessions() {
    let fleet = fleet().await;
    let admin = fleet.admin().await;
    let change = |current: Option<&str>, new: &str| PasswordChange {
        current: current.map(str::to_owned),
        new: new.to_owned(),
    };
    let short = fleet.access.set_password(&admin.actor, change(None, "too short")).await;
    assert!(matches!(short, Err(AccessError::Invalid(_))));
    fleet.set_password(&admin.actor).await;
    let other = fleet.access.sign_in(sign_in("admin", PASSWORD, None), "s").await.unwrap();
    let new = "another good password";
    let missing = fleet.access.set_password(&admin.actor, change(None, new)).await;
    assert!(matches!(missing, Err(AccessError::Invalid(_))), "the link counts for one change alone");
    let wrong = fleet.access.set_password(&admin.actor, change(Some("wrong password"), new)).await;
    assert!(is_unauthenticated(wrong));
    fleet.access.set_password(&admin.actor, change(Some(PASSWORD), new)).await.unwrap();
    assert!(fleet.access.session(&admin.secret).await.is_ok());
    assert!(is_unauthenticated(fleet.access.session(&other.secret).await));
    assert!(is_unauthenticated(fleet.access.sign_in(sign_in("admin", PASSWORD, None), "s").await));
    assert!(fleet.access.sign_in(sign_in("admin", new, None), "s").await.is_ok());
}

#[tokio::test]
async fn a_link_lets_set_a_password_for_a_quarter_of_an_hour() {
    let fleet = fleet().await;
    let admin = fleet.admin().await;
    fleet.advance(Duration::from_secs(901));
    let change = PasswordChange { current: None, new: PASSWORD.to_owned() };
    let late = fleet.access.set_password(&admin.actor, change).await;
    assert!(matches!(late, Err(AccessError::Invalid(_))));
}

#[tokio::test]
async fn removing_a_person_ends_sessions_tokens_and_links_for_good() {
    let fleet = fleet().await;
    let admin = fleet.admin().await;
    let ada = fleet.person(&admin.actor, "ada", vec![grant(AccessRole::Operator, "")]).await;
    let token = fleet.token(&ada.actor, vec![grant(AccessRole::Viewer, "")], HOUR).await.unwrap();
    let child_maker = fleet.access.bearer(&token).await.unwrap();
    let child = fleet.token(&child_maker, vec![grant(AccessRole::Viewer, "")], HOUR / 2).await.unwrap();
    let link = fleet.access.new_link(&admin.actor, "ada").await.unwrap().link;
    fleet.access.session(&ada.secret).await.unwrap();
    fleet.access.bearer(&child).await.unwrap();
    fleet.access.remove_person(&admin.actor, "ada").await.unwrap();
    assert!(is_unauthenticated(fleet.access.session(&ada.secret).await));
    // A later person of the same name inherits nothing.
    fleet.person(&admin.actor, "ada", vec![grant(AccessRole::Admin, "")]).await;
    assert!(is_unauthenticated(fleet.access.session(&ada.secret).await));
    for token in [&token, &child] {
        assert!(is_unauthenticated(fleet.access.bearer(token).await));
    }
    assert!(is_unauthenticated(fleet.access.sign_in_with_link(secret_of(&link), "s").await));
    assert!(is_unauthenticated(fleet.access.begin_totp(&ada.actor).await));
    assert!(is_unauthenticated(fleet.token(&ada.actor, vec![], HOUR).await));
    let gone = fleet.access.remove_person(&admin.actor, "nobody").await;
    assert!(matches!(gone, Err(AccessError::NotFound(_))));
}

#[tokio::test]
async fn grants_change_for_live_sessions_and_tokens_at_once() {
    let fleet = fleet().await;
    let admin = fleet.admin().await;
    let security = vec![grant(AccessRole::Security, "")];
    let ada = fleet.person(&admin.actor, "ada", security.clone()).await;
    let token = fleet.token(&ada.actor, security, HOUR).await.unwrap();
    assert!(fleet.access.bearer(&token).await.unwrap().may(Permission::Enroll, None));
    let viewer = vec![grant(AccessRole::Viewer, "role=web")];
    fleet.access.set_grants(&admin.actor, "ada", viewer).await.unwrap();
    let (session, bearer) =
        (fleet.access.session(&ada.secret).await.unwrap(), fleet.access.bearer(&token).await.unwrap());
    for actor in [session, bearer] {
        assert!(!actor.may(Permission::Enroll, None) && !actor.may(Permission::Read, None));
        assert!(actor.may_somewhere(Permission::Read));
    }
    let entry = fleet.audited("person.grant").await.remove(0);
    assert_eq!((entry.actor.as_str(), entry.target.as_str()), ("person:admin", "person/ada"));
    assert!(
        entry.detail.contains("viewer over role=web") && entry.detail.contains("security over all nodes")
    );
}

#[tokio::test]
async fn the_last_admin_stays() {
    let fleet = fleet().await;
    let admin = fleet.admin().await;
    let is_refused = |result: Result<(), AccessError>| matches!(result, Err(AccessError::Invalid(_)));
    fleet.person(&admin.actor, "ada", vec![grant(AccessRole::Admin, "role=web")]).await;
    assert!(is_refused(fleet.access.remove_person(&admin.actor, "admin").await));
    let demote = fleet.access.set_grants(&admin.actor, "admin", vec![grant(AccessRole::Security, "")]).await;
    assert!(is_refused(demote.map(drop)));
    let narrow = fleet.access.set_grants(&admin.actor, "admin", vec![grant(AccessRole::Admin, "a=b")]).await;
    assert!(is_refused(narrow.map(drop)));
    let everything = vec![grant(AccessRole::Viewer, ""), grant(AccessRole::Admin, " ")];
    fleet.access.set_grants(&admin.actor, "ada", everything).await.unwrap();
    fleet.access.remove_person(&admin.actor, "admin").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_admins_that_remove_each_other_at_once_leave_one() {
    for _ in 0..5 {
        let fleet = fleet().await;
        let admin = fleet.admin().await;
        let ada = fleet.person(&admin.actor, "ada", vec![grant(AccessRole::Admin, "")]).await;
        let (one, two) = (fleet.access.clone(), fleet.other_process().await);
        let first = tokio::spawn(async move { one.remove_person(&admin.actor, "ada").await });
        let second = tokio::spawn(async move { two.remove_person(&ada.actor, "admin").await });
        let (first, second) = (first.await.unwrap(), second.await.unwrap());
        assert_eq!(fleet.access.people().await.unwrap().len(), 1, "{first:?} {second:?}");
    }
}

#[tokio::test]
async fn only_admins_manage_people_and_every_denial_is_recorded() {
    let fleet = fleet().await;
    let admin = fleet.admin().await;
    let roles = [
        grant(AccessRole::Viewer, ""),
        grant(AccessRole::Operator, ""),
        grant(AccessRole::Deployer, ""),
        grant(AccessRole::Backup, ""),
        grant(AccessRole::Security, ""),
        grant(AccessRole::Admin, "role=web"),
    ];
    let eve = fleet.person(&admin.actor, "eve", roles.to_vec()).await.actor;
    let request = PersonRequest { name: "mallory".to_owned(), grants: vec![] };
    assert!(is_denied(fleet.access.add_person(&eve, request).await));
    assert!(is_denied(fleet.access.set_grants(&eve, "eve", vec![grant(AccessRole::Admin, "")]).await));
    assert!(is_denied(fleet.access.remove_person(&eve, "admin").await));
    assert!(is_denied(fleet.access.new_link(&eve, "admin").await));
    for action in ["person.add", "person.grant", "person.remove", "person.link"] {
        let entries = fleet.audited(action).await;
        let denied = entries.iter().filter(|entry| entry.outcome == AuditOutcome::Denied);
        assert_eq!(denied.map(|entry| entry.actor.as_str()).collect::<Vec<_>>(), ["person:eve"], "{action}");
    }
}

#[tokio::test]
async fn a_token_never_goes_beyond_its_maker() {
    let fleet = fleet().await;
    let admin = fleet.admin().await;
    let own = vec![grant(AccessRole::Operator, "role=web"), grant(AccessRole::Viewer, "")];
    let ada = fleet.person(&admin.actor, "ada", own).await.actor;
    for (role, selector) in [
        (AccessRole::Admin, ""),
        (AccessRole::Security, "role=web"),
        (AccessRole::Operator, ""),
        (AccessRole::Operator, "role=*"),
        (AccessRole::Operator, "role in (web,db)"),
        (AccessRole::Operator, "role!=db"),
    ] {
        assert!(is_denied(fleet.token(&ada, vec![grant(role, selector)], HOUR).await), "{role:?} {selector}");
    }
    let narrow = vec![grant(AccessRole::Operator, "role=web,zone=a")];
    let token = fleet.token(&ada, narrow.clone(), HOUR).await.unwrap();
    let bearer = fleet.access.bearer(&token).await.unwrap();
    assert!(is_denied(fleet.token(&bearer, vec![grant(AccessRole::Operator, "role=web")], HOUR).await));
    assert!(is_denied(fleet.token(&bearer, vec![grant(AccessRole::Viewer, "")], HOUR).await));
    let longer = fleet.token(&bearer, narrow.clone(), 2 * HOUR).await;
    assert!(matches!(longer, Err(AccessError::Invalid(_))), "nor outlives it");
    let child = fleet.token(&bearer, narrow.clone(), HOUR).await.unwrap();
    let child = fleet.access.bearer(&child).await.unwrap();
    assert!(is_denied(fleet.token(&child, narrow, HOUR / 2).await), "no chains");
    let change = PasswordChange { current: None, new: PASSWORD.to_owned() };
    assert!(is_denied(fleet.access.set_password(&bearer, change).await));
    assert!(is_denied(fleet.access.begin_totp(&bearer).await));
    let unreadable = fleet.token(&ada, vec![grant(AccessRole::Viewer, "role=(")], HOUR).await;
    assert!(matches!(unreadable, Err(AccessError::Invalid(_))));
}

#[tokio::test]
async fn a_token_ends_when_it_expires_or_is_revoked() {
    let fleet = fleet().await;
    let admin = fleet.admin().await.actor;
    let all = vec![grant(AccessRole::Admin, "")];
    let short = fleet.token(&admin, all.clone(), HOUR).await.unwrap();
    let long = fleet.token(&admin, all.clone(), DAY).await.unwrap();
    let bearer = fleet.access.bearer(&long).await.unwrap();
    let child = fleet.token(&bearer, all.clone(), 2 * HOUR).await.unwrap();
    fleet.access.bearer(&short).await.unwrap();
    fleet.advance(HOUR);
    assert!(is_unauthenticated(fleet.access.bearer(&short).await));
    assert_eq!(fleet.access.api_tokens(&admin).await.unwrap().len(), 2);
    fleet.access.bearer(&child).await.unwrap();
    let id = bearer.id.strip_prefix("token:").unwrap();
    fleet.access.revoke_api_token(&admin, id).await.unwrap();
    assert!(is_unauthenticated(fleet.access.bearer(&long).await));
    assert!(is_unauthenticated(fleet.access.bearer(&child).await), "ends with the one that made it");
    assert!(is_unauthenticated(fleet.token(&bearer, all, 60 * Duration::from_secs(1)).await));
    let again = fleet.access.revoke_api_token(&admin, id).await;
    assert!(matches!(again, Err(AccessError::NotFound(_))));
}

#[tokio::test]
async fn a_revocation_by_another_process_is_seen_within_seconds() {
    let fleet = fleet().await;
    let grants = vec![grant(AccessRole::Admin, "")];
    let created = fleet.access.issue_local_api_token("demo", grants, DAY).await.unwrap();
    let bearer = fleet.access.bearer(&created.token).await.unwrap();
    assert!(bearer.may(Permission::Administer, None));
    let other = fleet.other_process().await;
    other.revoke_api_token(&bearer, &created.details.token_id).await.unwrap();
    fleet.advance(Duration::from_secs(3));
    assert!(is_unauthenticated(fleet.access.bearer(&created.token).await));
}

#[tokio::test]
async fn a_token_with_the_right_id_and_another_secret_is_refused() {
    let fleet = fleet().await;
    let grants = || vec![grant(AccessRole::Viewer, "")];
    let one = fleet.access.issue_local_api_token("one", grants(), DAY).await.unwrap();
    let two = fleet.access.issue_local_api_token("two", grants(), DAY).await.unwrap();
    let decode = |text: &str| data_encoding::BASE64URL_NOPAD.decode(&text.as_bytes()[5..]).unwrap();
    let mixed = [&decode(&one.token)[..8], &decode(&two.token)[8..]].concat();
    let mixed = format!("cmpa_{}", data_encoding::BASE64URL_NOPAD.encode(&mixed));
    fleet.access.bearer(&two.token).await.unwrap();
    assert!(is_unauthenticated(fleet.access.bearer(&mixed).await));
    let entry = fleet.audited("api-token.use").await.remove(0);
    assert_eq!(entry.target, format!("api-token/{}", one.details.token_id));
}

#[tokio::test]
async fn people_see_and_revoke_their_own_tokens_alone() {
    let fleet = fleet().await;
    let admin = fleet.admin().await.actor;
    let viewer = || vec![grant(AccessRole::Viewer, "")];
    let ada = fleet.person(&admin, "ada", viewer()).await.actor;
    let eve = fleet.person(&admin, "eve", viewer()).await.actor;
    let token = fleet.token(&ada, viewer(), HOUR).await.unwrap();
    let id = fleet.access.bearer(&token).await.unwrap().id.split_off("token:".len());
    assert_eq!(fleet.access.api_tokens(&ada).await.unwrap().len(), 1);
    assert_eq!(fleet.access.api_tokens(&admin).await.unwrap().len(), 1);
    assert!(fleet.access.api_tokens(&eve).await.unwrap().is_empty());
    for odd in [id.as_str(), "ffff", "../person/admin", ""] {
        assert!(matches!(fleet.access.revoke_api_token(&eve, odd).await, Err(AccessError::NotFound(_))));
    }
    fleet.access.bearer(&token).await.unwrap();
    fleet.access.revoke_api_token(&ada, &id).await.unwrap();
    assert!(is_unauthenticated(fleet.access.bearer(&token).await));
}

#[tokio::test]
async fn odd_names_lives_and_grants_are_refused() {
    let fleet = fleet().await;
    let admin = fleet.admin().await.actor;
    for name in ["", "Ada", "a b", "ada/../x", "-ada", "ä", &"a".repeat(65), "admin"] {
        let request = PersonRequest { name: name.to_owned(), grants: vec![] };
        let result = fleet.access.add_person(&admin, request).await;
        assert!(matches!(result, Err(AccessError::Invalid(_))), "{name}");
    }
    for ttl in [Duration::ZERO, Duration::from_secs(59), 367 * DAY] {
        assert!(matches!(fleet.token(&admin, vec![], ttl).await, Err(AccessError::Invalid(_))));
    }
    let many = vec![grant(AccessRole::Viewer, ""); 33];
    assert!(matches!(fleet.token(&admin, many, HOUR).await, Err(AccessError::Invalid(_))));
}

#[tokio::test]
async fn a_flood_of_failures_is_recorded_at_a_bounded_rate_with_its_count() {
    let fleet = fleet().await;
    for _ in 0..100 {
        assert!(is_unauthenticated(fleet.access.bearer("cmpa_nonsense").await));
    }
    assert_eq!(fleet.audited("api-token.use").await.len(), 20);
    fleet.access.audit_suppressed().await;
    let entries = fleet.audited("api-token.use").await;
    assert!(entries.last().unwrap().detail.contains("80 more"), "{:?}", entries.last());
    fleet.access.audit_suppressed().await;
    assert_eq!(fleet.audited("api-token.use").await.len(), 21);
}

#[tokio::test]
async fn everything_survives_opening_again_and_no_secret_is_in_the_store() {
    let fleet = fleet().await;
    let admin = fleet.admin().await;
    fleet.set_password(&admin.actor).await;
    let token = fleet.token(&admin.actor, vec![grant(AccessRole::Viewer, "")], HOUR).await.unwrap();
    let link = fleet.access.new_link(&admin.actor, "admin").await.unwrap().link;
    let again = fleet.other_process().await;
    assert!(again.session(&admin.secret).await.is_ok());
    assert!(again.bearer(&token).await.is_ok());
    assert!(again.sign_in(sign_in("admin", PASSWORD, None), "s").await.is_ok());
    let range = Range { prefix: String::new(), after: None, limit: 10_000, descending: false };
    let entries = fleet.store.range(range).await.unwrap();
    assert!(entries.len() > 10);
    for entry in entries {
        let text = format!("{} {}", entry.key, String::from_utf8(entry.value).unwrap());
        for secret in [PASSWORD, &admin.secret, &token, secret_of(&link)] {
            assert!(!text.contains(secret), "{}", entry.key);
        }
    }
    assert!(again.audit.verify().await.unwrap().intact);
}

#[tokio::test]
async fn a_damaged_person_is_found_when_opening() {
    let fleet = fleet().await;
    fleet.admin().await;
    let write = Write::put(keys().of("person", "admin"), "{}");
    let transaction = crate::state::Transaction { compares: vec![], writes: vec![write] };
    assert!(matches!(fleet.store.commit(transaction).await.unwrap(), Committed::Done(_)));
    let clock = fleet.access.clock.clone();
    let refused = Access::open(fleet.store.clone(), keys(), fleet.audit.clone(), clock).await;
    assert!(matches!(refused, Err(AccessError::State(StateError::Unreadable { .. }))));
}
