//! Against an aggregator of the tests' own that plays an event stream.

use super::*;
use crate::context::Environment;
use crate::order::tests::{order, target};
use crate::testing::{self, Script};

fn event(kind: &str, body: &impl serde::Serialize) -> String {
    format!("event: {kind}\ndata: {}\n\n", serde_json::to_string(body).unwrap())
}

fn output(number: usize, text: &str) -> OutputPiece {
    let of = target(number, TargetState::Running);
    let data = data_encoding::BASE64.encode(text.as_bytes());
    OutputPiece { node_id: of.node_id, name: of.name, stream: "stdout".to_owned(), offset: 0, data }
}

fn running() -> Order {
    order(vec![target(1, TargetState::Sent), target(2, TargetState::Sent)])
}

fn followed(
    answers: Vec<String>,
    stop: &StopRequest,
    arguments: &[&str],
) -> (Exit, String, String, Vec<String>) {
    let script = Script::start(answers);
    let client = script.client();
    let mut exit = Exit::Fine;
    let (out, err) = testing::with_both(arguments, &Environment::default(), |context| {
        exit = follow(context, &client, &running(), stop).unwrap();
    });
    drop(client);
    (exit, out, err, script.asked())
}

#[test]
fn output_comes_as_it_is_written_and_the_account_at_the_end() {
    let mut failed = target(2, TargetState::Failed);
    failed.exit_code = Some(1);
    let done = order(vec![target(1, TargetState::Ok), failed.clone()]);
    let stream = [
        ": hello\n\n".to_owned(),
        event("output", &output(1, "one\n")),
        event("output", &output(2, "no end")),
        event("target", &failed),
        event("order", &done),
    ];
    let (exit, out, err, _) = followed(vec![testing::events(&stream.concat())], &StopRequest::never(), &[]);
    assert_eq!(exit, Exit::SomeFailed);
    assert_eq!(out, "node-1 | one\nnode-2 | no end\n");
    assert_eq!(err, "2 targeted: 1 ok, 1 failed\n  node-2  failed   exit code 1\n");
}

#[test]
fn a_stream_that_breaks_is_opened_again_and_nothing_is_printed_twice() {
    let done = order(vec![target(1, TargetState::Ok), target(2, TargetState::Ok)]);
    let first = event("output", &output(1, "one\n"));
    let second = [first.clone(), event("order", &done)].concat();
    let answers = vec![testing::events(&first), testing::events(&second)];
    let (exit, out, err, asked) = followed(answers, &StopRequest::never(), &[]);
    assert_eq!((exit, out.as_str(), err.as_str()), (Exit::Fine, "node-1 | one\n", "2 targeted: 2 ok\n"));
    assert_eq!(asked.len(), 2);
}

#[test]
fn programs_get_the_order_and_no_output_in_between() {
    let done = order(vec![target(1, TargetState::Ok), target(2, TargetState::Silent)]);
    let stream = [event("output", &output(1, "one\n")), event("order", &done)].concat();
    let (exit, out, _, _) = followed(vec![testing::events(&stream)], &StopRequest::never(), &["-o", "json"]);
    assert_eq!(exit, Exit::SomeSilent);
    assert_eq!(serde_json::from_str::<Order>(&out).unwrap(), done);
}

#[test]
fn an_interrupt_withdraws_what_was_not_sent() {
    let mut cancelled = order(vec![target(1, TargetState::Running), target(2, TargetState::Skipped)]);
    cancelled.state = OrderState::Cancelled;
    let answer = testing::answer("200 OK", &serde_json::to_string(&cancelled).unwrap());
    let stop = StopRequest::asked();
    // The stream is opened at the same time: whichever comes first gets the answer that suits both.
    let (exit, _, err, asked) = followed(vec![answer.clone(), answer], &stop, &[]);
    assert_eq!(exit, Exit::Interrupted);
    assert!(asked.iter().any(|line| line.starts_with("POST /api/v1/orders/") && line.contains("/cancel ")));
    assert!(err.contains("1 skipped, 1 pending") && err.contains("--running"), "{err}");
}

#[test]
fn progress_names_a_few_and_counts_the_rest() {
    let targets: Vec<_> =
        (0..12).map(|n| target(n, if n < 2 { TargetState::Ok } else { TargetState::Sent })).collect();
    let text = waiting_for(targets.iter());
    assert!(text.starts_with("... waiting for 10 of 12: node-10, node-11, node-2"), "{text}");
    assert!(text.ends_with("and 2 more"), "{text}");
}
