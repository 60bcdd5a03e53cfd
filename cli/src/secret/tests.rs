//! Secrets: sealed, pinned, never shown.

use super::*;
use campanile_common::config::part_digest;
use clap::Parser as _;

/// `secret set` with a value that does not come from standard input, which tests share.
pub(crate) fn set_from(context: &mut Context<'_>, line: &[&str], value: &[u8]) -> Exit {
    let line = ["campanile"].iter().chain(line);
    let crate::cli::Command::Secret(Verb::Set(arguments)) =
        crate::cli::Cli::try_parse_from(line).unwrap().command
    else {
        panic!("no `secret set`")
    };
    set(context, &arguments, || checked(Zeroizing::new(value.to_vec()))).unwrap()
}

#[test]
fn names_can_be_written_in_templates_and_files() {
    for good in ["db-password", "a", "tls.key_2"] {
        assert_eq!(parse_name(good).as_deref(), Ok(good));
    }
    for bad in ["", "-x", ".x", "a b", "a/b", "é", "\"", &"x".repeat(65)] {
        assert!(parse_name(bad).is_err(), "{bad}");
    }
}

#[test]
fn one_newline_is_no_part_of_a_value() {
    let value = |text: &str| checked(Zeroizing::new(text.as_bytes().to_vec())).map(|value| value.to_vec());
    assert_eq!(value("x\n").unwrap(), b"x");
    assert_eq!(value("x\n\n").unwrap(), b"x\n");
    assert_eq!(value(" x").unwrap(), b" x");
    for wrong in ["", "\n", &"x".repeat(VALUE_BYTES_MAX + 1)] {
        assert!(value(wrong).unwrap_err().downcast_ref::<UsageError>().is_some());
    }
    assert!(value(&"x".repeat(VALUE_BYTES_MAX)).is_ok());
}

fn secret(numbers: &[usize], value: &[u8]) -> SecretPart {
    let copy = |number: &usize| (crate::testing::node(*number).node_id, part_digest(value));
    let sealed = numbers.iter().map(copy).collect();
    SecretPart { selector: "name!=node-4".to_owned(), set: Timestamp::from_millis(1), sealed }
}

#[test]
fn a_change_concerns_nodes_whose_copy_comes_goes_or_is_another() {
    let nodes: Vec<Node> = (1..=4).map(crate::testing::node).collect();
    let concerned = |before: Option<&SecretPart>, after: Option<&SecretPart>| {
        names(&super::work::concerned(&nodes, before, after)).join(" ")
    };
    let (old, new) = (secret(&[1, 2], b"old"), secret(&[2, 3], b"new"));
    assert_eq!(concerned(Some(&old), Some(&new)), "node-1 node-2 node-3");
    assert_eq!(concerned(None, Some(&new)), "node-2 node-3");
    assert_eq!(concerned(Some(&old), None), "node-1 node-2");
    assert_eq!(concerned(Some(&old), Some(&secret(&[1, 2, 3], b"old"))), "node-3", "the other copies stay");
}

#[test]
fn a_node_lacks_what_is_for_it_today_and_was_not_sealed_to_it() {
    let nodes: Vec<Node> = (1..=4).map(crate::testing::node).collect();
    let lacking = |numbers: &[usize]| names(&super::lacking(&nodes, &secret(numbers, b"x")));
    assert_eq!(lacking(&[1]), ["node-2", "node-3"]);
    assert!(lacking(&[1, 2, 3]).is_empty());
}
