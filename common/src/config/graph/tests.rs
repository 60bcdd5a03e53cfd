//! Orders of resources, and circles.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn resource(id: &str, table: Value) -> Resource {
    let Value::Object(table) = table else { panic!("{table} is no table") };
    Resource::read(id.parse().unwrap(), table).unwrap()
}

fn ordered(resources: &[Resource]) -> Vec<String> {
    order(resources).unwrap().into_iter().map(|index| resources[index].id.to_string()).collect()
}

fn errors(resources: &[Resource]) -> Vec<String> {
    order(resources).unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn what_needs_no_saying_orders_users_folders_files_mounts_and_units() {
    let resources = [
        resource("service:a.service", json!({})),
        resource("file:/etc/systemd/system/a.service.d/x.conf", json!({"content": ""})),
        resource("file:/srv/www/index", json!({"content": "", "owner": "web", "group": "www"})),
        resource("directory:/srv/www", json!({})),
        resource("mount:/srv", json!({"device": "a", "fstype": "ext4"})),
        resource("directory:/srv", json!({})),
        resource("authorized_key:web/a", json!({"key": "ssh-rsa AAAA"})),
        resource("user:web", json!({"groups": ["www"]})),
        resource("group:www", json!({})),
    ];
    assert_eq!(
        ordered(&resources),
        [
            "group:www",
            "user:web",
            "directory:/srv",
            "file:/etc/systemd/system/a.service.d/x.conf",
            "authorized_key:web/a",
            "mount:/srv",
            "directory:/srv/www",
            "file:/srv/www/index",
            "service:a.service",
        ]
    );
}

#[test]
fn what_is_to_go_goes_before_what_it_lies_in() {
    let absent = || json!({"ensure": "absent"});
    let resources = [
        resource("directory:/srv/a", absent()),
        resource("file:/srv/a/b", absent()),
        resource("group:www", absent()),
        resource("user:web", json!({"ensure": "absent", "group": "www"})),
    ];
    assert_eq!(ordered(&resources), ["user:web", "group:www", "file:/srv/a/b", "directory:/srv/a"]);
}

#[test]
fn after_and_notify_win_over_the_order_of_kinds() {
    let resources = [
        resource("package:nginx", json!({"after": ["file:/etc/apt/x"]})),
        resource("file:/etc/apt/x", json!({"content": "", "notify": ["command:update"]})),
        resource("command:update", json!({"run": ["true"]})),
    ];
    assert_eq!(ordered(&resources), ["file:/etc/apt/x", "package:nginx", "command:update"]);
}

#[test]
fn a_name_that_is_not_there_is_told_with_the_one_that_was_meant() {
    let resources = [
        resource("file:/etc/a", json!({"content": "", "notify": ["service:ngnix.service"]})),
        resource("service:nginx.service", json!({"after": ["package:nginx"]})),
    ];
    assert_eq!(
        errors(&resources),
        [
            "file:/etc/a: `notify` names service:ngnix.service, which is not there; did you mean service:nginx.service?",
            "service:nginx.service: `after` names package:nginx, which is not there",
        ]
    );
}

#[test]
fn a_cycle_is_named_in_its_order() {
    let command = |name: &str, after: &str| {
        resource(&format!("command:{name}"), json!({"run": ["true"], "after": [format!("command:{after}")]}))
    };
    let resources = [command("a", "c"), command("b", "a"), command("c", "b"), command("d", "c")];
    let found = order(&resources).unwrap_err();
    let [GraphError::Cycle(cycle)] = found.as_slice() else { panic!("{found:?}") };
    let names: Vec<&str> = cycle.iter().map(|id| id.name.as_str()).collect();
    assert!(["abc", "bca", "cab"].contains(&names.concat().as_str()), "{names:?}");
    let alone = [resource("command:a", json!({"run": ["true"], "after": ["command:a"]}))];
    assert_eq!(errors(&alone), ["these wait for each other: command:a -> command:a"]);
}

#[test]
fn contradictions_about_a_path_are_found() {
    let file = || resource("file:/etc/a", json!({"content": ""}));
    for (other, problem) in [
        (resource("link:/etc/a", json!({"target": "b"})), "one path"),
        (resource("directory:/etc/a", json!({})), "one path"),
        (resource("mount:/etc/a", json!({"device": "a", "fstype": "b"})), "one path"),
        (resource("file:/etc/a/b", json!({"content": ""})), "no directory"),
        (resource("directory:/etc", json!({"ensure": "absent"})), "absent"),
    ] {
        for resources in [[file(), other.clone()], [other.clone(), file()]] {
            let found = errors(&resources);
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].contains(problem), "{found:?}");
        }
    }
    let deaf = [resource("package:a", json!({"notify": ["file:/etc/a"]})), file()];
    assert!(errors(&deaf)[0].contains("only services and commands"));
}

proptest! {
    /// Edges go from lower to higher ranks, so that there is no cycle; names and positions say nothing about ranks.
    #[test]
    fn every_acyclic_order_is_kept_and_does_not_depend_on_where_things_are_written(
        edges in prop::collection::vec((0_usize..24, 0_usize..24, any::<bool>()), 0..80),
        names in Just((0..24).collect::<Vec<usize>>()).prop_shuffle(),
        positions in Just((0..24).collect::<Vec<usize>>()).prop_shuffle(),
    ) {
        let id = |rank: usize| format!("command:c{:02}", names[rank]);
        let mut tables: Vec<Value> = (0..24).map(|_| json!({"run": ["true"], "after": [], "notify": []})).collect();
        let edges: Vec<_> = edges.into_iter().filter(|(a, b, _)| a < b).collect();
        for (first, then, is_notify) in &edges {
            let (at, key, to) = if *is_notify { (*first, "notify", *then) } else { (*then, "after", *first) };
            tables[at][key].as_array_mut().unwrap().push(json!(id(to)));
        }
        let resources: Vec<Resource> =
            tables.into_iter().enumerate().map(|(rank, table)| resource(&id(rank), table)).collect();
        let order = ordered(&resources);
        let place = |rank: usize| order.iter().position(|found| *found == id(rank)).unwrap();
        for (first, then, _) in &edges {
            prop_assert!(place(*first) < place(*then));
        }
        let shuffled: Vec<Resource> = positions.iter().map(|rank| resources[*rank].clone()).collect();
        prop_assert_eq!(ordered(&shuffled), order);
    }
}
