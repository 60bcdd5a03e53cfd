//! Whatever is on a node before: once the steps of a plan are executed, the next plan is empty.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::machine::{Machine, desired};
use crate::config::resource::{Pending, plan};

/// What somebody left at a path.
#[derive(Debug, Clone)]
enum Before {
    Nothing,
    File(String, u32),
    Link(String),
    Directory(u32),
}

fn before() -> impl Strategy<Value = Before> {
    prop_oneof![
        Just(Before::Nothing),
        ("[a-c\n]{0,8}", 0o400_u32..0o777).prop_map(|(text, mode)| Before::File(text, mode)),
        "[a-c]{1,3}".prop_map(Before::Link),
        (0o700_u32..0o777).prop_map(Before::Directory),
    ]
}

fn wanted() -> impl Strategy<Value = (&'static str, Value)> {
    let mode = prop::option::of(0o400_u32..0o777).prop_map(|mode| mode.map(|mode| format!("{mode:04o}")));
    let file = ("[a-c\n]{0,8}", mode.clone()).prop_map(|(content, mode)| match mode {
        Some(mode) => ("file", json!({"content": content, "mode": mode})),
        None => ("file", json!({"content": content})),
    });
    let directory = mode.prop_map(|mode| match mode {
        Some(mode) => ("directory", json!({"mode": mode})),
        None => ("directory", json!({})),
    });
    prop_oneof![
        4 => file,
        2 => directory,
        2 => "[a-c]{1,3}".prop_map(|target| ("link", json!({"target": target}))),
        1 => Just(("file", json!({"ensure": "absent"}))),
        1 => Just(("directory", json!({"ensure": "absent"}))),
        1 => Just(("link", json!({"ensure": "absent"}))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn after_a_plan_is_executed_the_next_is_empty(
        nodes in prop::collection::vec((before(), wanted()), 1..6),
        hosts in prop::collection::vec((0_u8..4, "[a-c]{1,2}"), 0..4),
    ) {
        let machine = Machine::new(&[]);
        let mut all = Vec::new();
        for (index, (before, (kind, table))) in nodes.into_iter().enumerate() {
            let path = format!("/srv/{index}/x");
            fs::create_dir_all(machine.at(&path).parent().unwrap()).unwrap();
            match before {
                Before::Nothing => fs::remove_dir(machine.at(&path).parent().unwrap()).unwrap(),
                Before::File(text, mode) => {
                    machine.write(&path, &text);
                    fs::set_permissions(machine.at(&path), fs::Permissions::from_mode(mode)).unwrap();
                }
                Before::Link(target) => symlink(target, machine.at(&path)).unwrap(),
                Before::Directory(mode) => {
                    fs::create_dir(machine.at(&path)).unwrap();
                    fs::set_permissions(machine.at(&path), fs::Permissions::from_mode(mode)).unwrap();
                }
            }
            all.push(desired(&format!("{kind}:{path}"), table));
        }
        // The last name of an address counts, as it does in a bundle.
        let hosts: std::collections::BTreeMap<_, _> = hosts.into_iter().collect();
        all.extend(hosts.iter().map(|(address, name)| desired(&format!("host:10.0.0.{address}"), json!({"names": [name]}))));
        let mut pending = Pending::default();
        let planned: Vec<_> = all.iter().map(|wanted| plan(&machine.host, &mut pending, wanted, false)).collect();
        for change in planned.iter().flatten().flatten() {
            machine.execute(change);
        }
        let mut pending = Pending::default();
        for (wanted, first) in all.iter().zip(planned) {
            let second = plan(&machine.host, &mut pending, wanted, false);
            match first {
                Ok(_) => prop_assert_eq!(second, Ok(None), "{:?}", wanted),
                // What is in the way stays in the way, and was not touched.
                Err(problem) => prop_assert_eq!(second, Err(problem)),
            }
        }
    }
}
