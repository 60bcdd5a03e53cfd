//! Live events over SSE, to their end.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::fleet::{Fleet, PATIENCE, wait_for};
use crate::wire::{Connection, Request};

/// A stream of events.
pub(crate) struct Stream(Connection);

#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) kind: String,
    pub(crate) body: Value,
}

impl Event {
    /// The run of the aggregator and the number within it.
    fn place(&self) -> (&str, u64) {
        let (run, number) = self.id.split_once('-').unwrap();
        (run, number.parse().unwrap())
    }
}

impl Stream {
    pub(crate) fn open(fleet: &Fleet, token: &str, last: Option<&str>) -> Self {
        let mut connection = fleet.connect();
        // Closing the connection with the stream makes its end plain to see.
        let request = Request::new("GET", "/api/v1/events").bearing(token).with("connection", "close");
        let answer = connection.begin(&match last {
            Some(last) => request.with("last-event-id", last),
            None => request,
        });
        assert_eq!((answer.status, answer.header("content-type")), (200, "text/event-stream"));
        Self(connection)
    }

    /// The next event; none when the stream ended.
    pub(crate) fn next(&mut self) -> Option<Event> {
        loop {
            // Sizes of chunks are lines without a colon, and comments begin with one.
            let text = String::from_utf8(self.0.read_until(b"\n\n")?).unwrap();
            let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
            if let (Some(id), Some(kind), Some(body)) = (field("id:"), field("event:"), field("data:")) {
                let body = serde_json::from_str(body).unwrap_or(Value::Null);
                return Some(Event { id: id.to_owned(), kind: kind.to_owned(), body });
            }
        }
    }
}

fn events_flow_and_go_on_where_a_reader_left(fleet: &Fleet) {
    let mut stream = Stream::open(fleet, &fleet.token, None);
    let first = stream.next().unwrap();
    let label = serde_json::json!({ "labels": { "seen": "yes" } });
    fleet.ask("PATCH", "/api/v1/nodes/node-01", Some(label)).expect(200);
    let mut seen = vec![first.place().1];
    let changed = loop {
        let event = stream.next().unwrap();
        seen.push(event.place().1);
        if event.kind == "node.changed" {
            break event;
        }
    };
    assert!(seen.windows(2).all(|pair| pair[1] == pair[0] + 1), "{seen:?}");
    drop(stream);

    let mut stream = Stream::open(fleet, &fleet.token, Some(&first.id));
    let again: Vec<Event> = (0..seen.len() - 1).map(|_| stream.next().unwrap()).collect();
    assert_eq!(again.iter().map(|event| event.place().1).collect::<Vec<_>>(), seen[1..]);
    assert_eq!(
        (again.last().unwrap().kind.as_str(), &again.last().unwrap().body),
        ("node.changed", &changed.body)
    );
}

fn a_reader_who_missed_something_is_told_to_start_over(fleet: &Fleet) {
    for last in ["1-1", "nonsense"] {
        assert_eq!(Stream::open(fleet, &fleet.token, Some(last)).next().unwrap().kind, "reset", "{last}");
    }
}

fn a_revoked_token_loses_its_stream(fleet: &Fleet) {
    let (id, token) = fleet.api_token("viewer", "");
    let mut stream = Stream::open(fleet, &token, None);
    stream.next().unwrap();
    fleet.ask("DELETE", &format!("/api/v1/api-tokens/{id}"), None).expect(204);
    let revoked = Instant::now();
    while stream.next().is_some() {}
    assert!(revoked.elapsed() < Duration::from_secs(6), "{:?}", revoked.elapsed());
    fleet.send(Request::new("GET", "/api/v1/events").bearing(&token)).expect(401);
}

/// Gone, or dead and not yet waited for by whoever adopted it.
fn has_ended(pid: rustix::process::Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    stat.map_or(true, |stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z')))
}

fn a_stop_ends_streams_and_the_process(fleet: &Fleet) {
    let mut stream = Stream::open(fleet, &fleet.token, None);
    let mut idle = fleet.connect();
    stream.next().unwrap();
    let pid = fleet.aggregator();
    let asked = Instant::now();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    while stream.next().is_some() {}
    assert!(idle.wait_for_end(PATIENCE).is_some());
    wait_for("the end of the process", PATIENCE, || has_ended(pid).then_some(()));
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
}

#[test]
fn events_flow_until_the_reader_may_no_longer_or_the_server_stops() {
    let fleet = Fleet::start(1);
    events_flow_and_go_on_where_a_reader_left(&fleet);
    a_reader_who_missed_something_is_told_to_start_over(&fleet);
    a_revoked_token_loses_its_stream(&fleet);
    a_stop_ends_streams_and_the_process(&fleet);
}
