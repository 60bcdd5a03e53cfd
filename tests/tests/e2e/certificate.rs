//! Certificates that live for seconds.

use std::fs;
use std::time::Duration;

use campanile_tests::support::{FleetOptions, LocalFleet, patience, until};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

fn short_lived() -> LocalFleet {
    LocalFleet::with(FleetOptions {
        aggregator_settings: "[certificates]\nlifetime_s = 20\n".to_owned(),
        ..FleetOptions::default()
    })
}

#[test]
fn a_certificate_is_renewed_on_the_live_link_and_the_old_key_is_refused() {
    let mut fleet = short_lived();
    fleet.add_nodes(&["a"]);
    let identity = |fleet: &LocalFleet| fs::read(fleet.node_path("a", "state/identity.json")).unwrap();
    let key = |identity: &[u8]| serde_json::from_slice::<Value>(identity).unwrap()["key"].clone();
    let old = identity(&fleet);
    let expires = fleet.node("a")["certificateExpiresAt"].clone();
    until("a renewal", patience(Duration::from_secs(12)), || {
        fleet.node("a")["certificateExpiresAt"] != expires && key(&identity(&fleet)) != key(&old)
    });
    fleet.wait_liveness("a", "online");
    fleet.agent("a").stop();
    let new = identity(&fleet);
    fs::write(fleet.node_path("a", "state/identity.json"), &old).unwrap();
    let before = fleet.agent("a").log().len();
    fleet.run_agent("a");
    until("the old key is refused", patience(Duration::from_secs(10)), || {
        fleet.agent("a").log()[before..].contains("link down")
    });
    let log = fleet.agent("a").log();
    assert!(log[before..].contains("roster"), "says why: {}", &log[before..]);
    assert_eq!(fleet.liveness("a").as_deref(), Some("offline"));
    fleet.agent("a").stop();
    fs::write(fleet.node_path("a", "state/identity.json"), &new).unwrap();
    fleet.run_agent("a");
    fleet.wait_liveness("a", "online");
}

#[test]
fn an_agent_back_after_its_certificate_expired_renews_and_goes_on() {
    let mut fleet = LocalFleet::with(FleetOptions {
        aggregator_settings: "[certificates]\nlifetime_s = 10\n".to_owned(),
        ..FleetOptions::default()
    });
    fleet.add_nodes(&["a"]);
    fleet.agent("a").stop();
    let node = fleet.node("a");
    let expires = node["certificateExpiresAt"].clone();
    let expiry = OffsetDateTime::parse(expires.as_str().unwrap(), &Rfc3339).unwrap();
    // Certificates know whole seconds.
    until("the certificate expires", Duration::from_secs(30), || {
        OffsetDateTime::now_utc() > expiry + Duration::from_secs(1)
    });
    fleet.run_agent("a");
    fleet.wait_liveness("a", "online");
    let log = fleet.agent("a").log();
    assert!(log.contains("must_renew=true"), "{log}");
    assert_ne!(fleet.node("a")["certificateExpiresAt"], expires);
    assert_eq!(fleet.node("a")["nodeId"], node["nodeId"]);
}
