//! Tests of what happens next.

use std::cell::RefCell;
use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn node(number: usize) -> NodeId {
    NodeId::from_bytes([u8::try_from(number).unwrap(); 8])
}

fn rules() -> Rules {
    Rules {
        parallel: None,
        batch: None,
        max_fail: None,
        waves: Vec::new(),
        wave_pause: Duration::ZERO,
        queue: false,
        not_before: Timestamp::from_millis(0),
        expires: Timestamp::from_millis(600_000),
        timeout: Duration::from_secs(60),
        absence: WORD_TIMEOUT,
    }
}

const HERE: Contact = Contact::Here { takes_orders: true, has_room: true, score: Some(100) };

/// An order over some nodes, on a clock of its own.
struct World {
    course: Course,
    contacts: RefCell<BTreeMap<NodeId, Contact>>,
    up: Duration,
    is_frozen: bool,
}

impl World {
    fn new(rules: Rules, nodes: usize) -> Self {
        let unsent = Known { was_sent: false, state: None };
        Self::known(rules, &vec![unsent; nodes])
    }

    fn known(rules: Rules, known: &[Known]) -> Self {
        let begin = Timestamp::from_millis(0);
        let targets = known.iter().enumerate().map(|(index, known)| (node(index), *known, begin));
        let contacts = (0..known.len()).map(|index| (node(index), HERE)).collect();
        Self {
            course: Course::new(rules, targets, false, false, Duration::ZERO),
            contacts: RefCell::new(contacts),
            up: Duration::from_secs(100),
            is_frozen: false,
        }
    }

    fn now(&self) -> Moment {
        Moment { up: self.up, wall: Timestamp::from_millis(0) + self.up }
    }

    fn go(&mut self, seconds: u64) {
        self.up += Duration::from_secs(seconds);
    }

    fn leaves(&mut self, index: usize) {
        self.contacts.borrow_mut().insert(node(index), Contact::Gone { since: self.up });
        self.course.session_changed(index, self.now());
    }

    fn returns(&mut self, index: usize) {
        self.contacts.borrow_mut().insert(node(index), HERE);
        self.course.session_changed(index, self.now());
    }

    fn step(&mut self) -> Step {
        let now = self.now();
        let contacts = self.contacts.borrow();
        self.course.step(now, self.is_frozen, &|node| contacts[&node])
    }

    fn states(&self) -> Vec<TargetState> {
        self.course.states().collect()
    }

    fn received(&mut self, index: usize) -> bool {
        self.course.received(index, self.now())
    }

    fn unknown(&mut self, index: usize) -> Option<Settled> {
        self.course.unknown(index, self.now())
    }
}

use DeliveryMode::{Report, Start};
use TargetState::{Denied, Failed, Ok as Fine, Queued, Running, Sent, Silent, Skipped, Waiting};

#[test]
fn everybody_who_is_there_gets_it_at_once() {
    let mut world = World::new(rules(), 3);
    assert_eq!(world.step().deliver, [(0, Start), (1, Start), (2, Start)]);
    assert_eq!(world.step().deliver, [], "once");
    assert_eq!(world.course.order_state(), OrderState::Running);
    for index in 0..3 {
        assert!(world.received(index));
        assert!(world.course.ended(index, Fine));
    }
    assert_eq!((world.course.order_state(), world.course.is_open()), (OrderState::Done, false));
}

#[test]
fn never_more_at_work_than_parallel() {
    let mut world = World::new(Rules { parallel: Some(2), ..rules() }, 4);
    assert_eq!(world.step().deliver, [(0, Start), (1, Start)]);
    world.course.ended(1, Failed);
    assert_eq!(world.step().deliver, [(2, Start)]);
    assert_eq!(world.states(), [Sent, Failed, Sent, Waiting]);
}

#[test]
fn a_batch_begins_when_the_one_before_is_done() {
    let mut world = World::new(Rules { batch: Some(2), ..rules() }, 5);
    assert_eq!(world.step().deliver, [(0, Start), (1, Start)]);
    world.course.ended(0, Fine);
    assert_eq!(world.step().deliver, []);
    world.course.ended(1, Fine);
    assert_eq!(world.step().deliver, [(2, Start), (3, Start)]);
}

#[test]
fn past_max_fail_the_rest_is_skipped() {
    let mut world = World::new(Rules { parallel: Some(1), max_fail: Some(1), ..rules() }, 4);
    for index in 0..2 {
        assert_eq!(world.step().deliver, [(index, Start)]);
        world.course.ended(index, Failed);
    }
    let step = world.step();
    assert_eq!(step.deliver, []);
    assert_eq!(step.settled, [(2, Settled::TooManyFailed), (3, Settled::TooManyFailed)]);
    assert_eq!(world.states(), [Failed, Failed, Skipped, Skipped]);
    assert_eq!(world.course.order_state(), OrderState::Done);
}

#[test]
fn one_that_is_long_gone_is_silent_at_once_and_one_that_just_left_is_waited_for() {
    let mut world = World::new(rules(), 2);
    world.contacts.borrow_mut().insert(node(0), Contact::Gone { since: Duration::ZERO });
    world.leaves(1);
    let step = world.step();
    assert_eq!(step.settled, [(0, Settled::Absent)]);
    assert_eq!(step.look_at, Some(world.up + WORD_TIMEOUT));
    world.go(5);
    world.returns(1);
    assert_eq!(world.step().deliver, [(1, Start)]);
    assert!(!world.course.is_open() || world.states() == [Silent, Sent]);
}

#[test]
fn an_absent_one_is_queued_where_asked_and_started_when_it_is_back() {
    let mut world = World::new(Rules { queue: true, ..rules() }, 2);
    world.leaves(0);
    assert_eq!(world.step().deliver, [(1, Start)]);
    world.course.ended(1, Fine);
    world.go(200);
    assert_eq!(world.step().settled, []);
    assert_eq!(world.states(), [Queued, Fine]);
    assert_eq!((world.course.order_state(), world.course.is_open()), (OrderState::Done, true));
    world.returns(0);
    assert_eq!(world.step().deliver, [(0, Start)]);
}

#[test]
fn a_queued_one_is_silent_when_the_order_expires() {
    let mut world = World::new(Rules { queue: true, ..rules() }, 1);
    world.leaves(0);
    assert_eq!(world.step().settled, []);
    world.go(600);
    let step = world.step();
    assert_eq!(step.settled, [(0, Settled::Expired)]);
    assert_eq!((world.states(), world.course.is_open()), (vec![Silent], false), "it was never sent");
}

#[test]
fn a_returning_queued_one_takes_no_place_that_is_not_free() {
    let mut world = World::new(Rules { queue: true, parallel: Some(1), ..rules() }, 2);
    assert_eq!(world.step().deliver, [(0, Start)]);
    world.leaves(0);
    assert_eq!(world.step().deliver, [(1, Start)]);
    world.returns(0);
    assert_eq!(world.step().deliver, []);
    assert_eq!(world.states(), [Queued, Sent]);
    world.course.ended(1, Fine);
    assert_eq!(world.step().deliver, [(0, Start)]);
}

#[test]
fn one_without_a_word_is_silent_and_its_late_outcome_counts() {
    let mut world = World::new(rules(), 1);
    let look = world.step().look_at;
    assert_eq!(look, Some(world.up + WORD_TIMEOUT));
    world.go(10);
    assert_eq!(world.step().settled, [(0, Settled::Silent)]);
    assert_eq!((world.states(), world.course.is_open()), (vec![Silent], true));
    assert!(world.course.is_listening());
    assert!(world.course.ended(0, Fine));
    assert_eq!((world.states(), world.course.is_open()), (vec![Fine], false));
}

#[test]
fn a_running_one_has_its_own_timeout_and_some() {
    let mut world = World::new(rules(), 1);
    assert_eq!(world.step().deliver.len(), 1);
    world.go(9);
    world.received(0);
    world.go(89);
    assert_eq!(world.step().settled, []);
    assert_eq!(world.states(), [Running]);
    world.go(1);
    assert_eq!(world.step().settled, [(0, Settled::Silent)]);
}

#[test]
fn one_that_leaves_while_it_runs_is_asked_for_a_report_and_never_started_again() {
    let mut world = World::new(rules(), 1);
    assert_eq!(world.step().deliver, [(0, Start)]);
    world.received(0);
    world.leaves(0);
    assert_eq!(world.step().deliver, []);
    world.go(5);
    world.returns(0);
    assert_eq!(world.step().deliver, [(0, Report)]);
}

fn cuts_itself_off() -> Rules {
    let timeout = Duration::from_secs(600);
    Rules { absence: until_undone(Duration::from_secs(60)), timeout, ..rules() }
}

#[test]
fn one_that_may_have_cut_itself_off_is_waited_for_until_it_has_undone_that_and_no_longer() {
    let mut world = World::new(cuts_itself_off(), 1);
    assert_eq!(world.step().deliver, [(0, Start)]);
    world.received(0);
    world.leaves(0);
    assert_eq!(world.step().look_at, Some(world.up + world.course.rules.absence));
    // Its window, then it puts everything back and dials, after its longest wait.
    world.go(60 + 30 + 60);
    assert_eq!((world.step().settled, world.states()), (vec![], vec![Running]));
    assert_eq!(world.course.order_state(), OrderState::Running);
    world.go(10);
    assert_eq!((world.step().settled, world.states()), (vec![(0, Settled::Silent)], vec![Silent]));
}

#[test]
fn one_that_cut_itself_off_is_asked_when_it_is_back_and_its_word_counts() {
    let mut world = World::new(cuts_itself_off(), 2);
    assert_eq!(world.step().deliver, [(0, Start), (1, Start)]);
    world.received(0);
    world.course.ended(1, Fine);
    world.leaves(0);
    world.go(70);
    assert_eq!(world.step().settled, []);
    world.returns(0);
    assert_eq!(world.step().deliver, [(0, Report)]);
    world.course.reverted(0);
    assert!(world.course.ended(0, Failed));
    assert_eq!((world.states(), world.course.order_state()), (vec![Failed, Fine], OrderState::Done));
}

#[test]
fn one_that_was_cut_off_before_it_said_a_word_is_silent_soon() {
    let mut world = World::new(cuts_itself_off(), 1);
    assert_eq!(world.step().deliver, [(0, Start)]);
    world.leaves(0);
    world.go(10);
    assert_eq!(world.step().settled, [(0, Settled::Silent)]);
}

#[test]
fn after_a_restart_one_that_may_have_cut_itself_off_is_waited_for_as_well() {
    let mut world = World::known(cuts_itself_off(), &[Known { was_sent: true, state: None }]);
    world.up = Duration::ZERO;
    world.leaves(0);
    world.go(150);
    assert_eq!((world.step().settled, world.states()), (vec![], vec![Sent]));
    world.go(10);
    assert_eq!(world.step().settled, [(0, Settled::Silent)]);
}

#[test]
fn one_that_left_before_it_said_a_word_is_started_when_it_is_back_in_time() {
    let mut world = World::new(rules(), 1);
    assert_eq!(world.step().deliver, [(0, Start)]);
    world.leaves(0);
    world.course.lost(0, world.now());
    world.go(9);
    assert_eq!(world.step().settled, []);
    world.returns(0);
    assert_eq!(world.step().deliver, [(0, Start)]);
    world.go(9);
    assert_eq!(world.step().settled, [], "its time began anew");
    world.go(1);
    assert_eq!(world.step().settled, [(0, Settled::Silent)]);
}

#[test]
fn the_end_of_an_older_stream_is_not_taken_for_the_end_of_the_new_one() {
    let mut world = World::new(rules(), 1);
    assert_eq!(world.step().deliver, [(0, Start)]);
    world.leaves(0);
    world.returns(0);
    assert_eq!(world.step().deliver, [(0, Start)]);
    world.course.lost(0, world.now());
    assert!(world.course.is_under_way(0));
    world.course.lost(0, world.now());
    assert!(!world.course.is_under_way(0), "this was its own");
}

#[test]
fn a_broken_delivery_is_tried_again_at_growing_intervals() {
    let mut world = World::new(rules(), 1);
    assert_eq!(world.step().deliver.len(), 1);
    let mut tries = Vec::new();
    world.course.lost(0, world.now());
    for _ in 0..9 {
        if !world.step().deliver.is_empty() {
            tries.push(world.up);
            world.course.lost(0, world.now());
        }
        world.go(1);
    }
    let gaps: Vec<_> = tries.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps.is_sorted() && gaps.len() >= 2, "{gaps:?}");
    world.go(1);
    assert_eq!(world.step().settled, [(0, Settled::Silent)], "trying does not put off the deadline");
}

#[test]
fn nothing_is_started_while_frozen_and_what_may_run_is_asked_for() {
    let mut world = World::new(rules(), 2);
    world.leaves(1);
    assert_eq!(world.step().deliver, [(0, Start)]);
    world.leaves(0);
    world.is_frozen = true;
    world.returns(0);
    world.returns(1);
    assert_eq!(world.step().deliver, [(0, Report)]);
    assert_eq!(world.unknown(0), None);
    assert_eq!(world.states(), [Waiting, Waiting], "it was never started");
    assert_eq!(world.step().deliver, []);
    world.is_frozen = false;
    assert_eq!(world.step().deliver, [(0, Start), (1, Start)]);
}

#[test]
fn a_withdrawn_order_starts_nothing_and_waits_for_what_runs() {
    let mut world = World::new(Rules { parallel: Some(1), ..rules() }, 2);
    assert_eq!(world.step().deliver, [(0, Start)]);
    world.received(0);
    world.course.withdraw();
    assert_eq!(world.step().settled, [(1, Settled::Withdrawn)]);
    assert_eq!(world.course.order_state(), OrderState::Running);
    world.course.ended(0, Fine);
    assert_eq!(world.course.order_state(), OrderState::Cancelled);
    assert_eq!(world.states(), [Fine, Skipped]);
}

#[test]
fn a_withdrawn_one_that_may_be_there_is_asked_for_and_skipped_when_it_never_came() {
    let mut world = World::new(rules(), 1);
    assert_eq!(world.step().deliver, [(0, Start)]);
    world.leaves(0);
    world.course.withdraw();
    assert_eq!(world.step().settled, []);
    world.returns(0);
    assert_eq!(world.step().deliver, [(0, Report)]);
    assert_eq!(world.unknown(0), Some(Settled::Withdrawn));
    assert_eq!(world.states(), [Skipped]);
}

#[test]
fn a_run_that_its_node_had_and_forgot_is_indeterminate() {
    let mut world = World::new(rules(), 1);
    assert_eq!(world.step().deliver.len(), 1);
    world.received(0);
    world.leaves(0);
    world.returns(0);
    assert_eq!(world.step().deliver, [(0, Report)]);
    assert_eq!(world.unknown(0), Some(Settled::Forgotten));
    assert_eq!(world.states(), [Failed]);
}

#[test]
fn after_a_restart_what_was_sent_is_sent_again_and_what_is_known_stays() {
    let sent = Known { was_sent: true, state: None };
    let silent = Known { was_sent: true, state: Some(Silent) };
    let done = Known { was_sent: true, state: Some(Fine) };
    let absent = Known { was_sent: false, state: Some(Silent) };
    let mut world = World::known(rules(), &[sent, silent, done, absent]);
    world.up = Duration::ZERO;
    assert_eq!(world.step().deliver, [(0, Start), (1, Report)]);
    assert_eq!(world.states(), [Sent, Silent, Fine, Silent]);
    assert!(!world.course.ended(2, Failed), "the first outcome stands");
    assert!(!world.course.ended(3, Fine), "it was never sent there");
}

#[test]
fn after_its_expiry_an_order_only_asks_and_at_last_stops_listening() {
    let mut world = World::known(rules(), &[Known { was_sent: true, state: None }]);
    world.up = Duration::from_secs(600);
    world.course.targets[0].phase = Phase::Sent { at: world.up };
    assert_eq!(world.step().deliver, [(0, Report)]);
    assert_eq!(world.unknown(0), Some(Settled::Expired));
    let mut world = World::known(rules(), &[Known { was_sent: true, state: Some(Silent) }]);
    world.leaves(0);
    world.up = Duration::from_secs(600) + LATE_OUTCOME - Duration::from_secs(1);
    assert!(world.step().settled.is_empty() && world.course.is_open());
    world.go(1);
    assert!(world.step().settled.is_empty() && !world.course.is_open());
}

#[test]
fn an_agent_that_takes_no_orders_denies_for_its_node() {
    let mut world = World::new(rules(), 1);
    world
        .contacts
        .borrow_mut()
        .insert(node(0), Contact::Here { takes_orders: false, has_room: true, score: None });
    assert_eq!(world.step().settled, [(0, Settled::AgentTooOld)]);
    assert_eq!(world.states(), [Denied]);
}

#[test]
fn a_node_with_no_room_gets_it_later() {
    let mut world = World::new(rules(), 1);
    world
        .contacts
        .borrow_mut()
        .insert(node(0), Contact::Here { takes_orders: true, has_room: false, score: None });
    assert_eq!(world.step().deliver, []);
    assert_eq!(world.states(), [Waiting]);
    world.contacts.borrow_mut().insert(node(0), HERE);
    assert_eq!(world.step().deliver, [(0, Start)]);
}

#[test]
fn a_proposal_is_sent_to_nobody_until_it_is_approved_and_ends_when_it_expires() {
    let unsent = Known { was_sent: false, state: None };
    let begin = Timestamp::from_millis(0);
    let proposal = || Course::new(rules(), [(node(0), unsent, begin)], true, false, Duration::ZERO);
    let now = Moment { up: Duration::ZERO, wall: begin };
    let mut approved = proposal();
    assert_eq!(approved.step(now, false, &|_| HERE).deliver, []);
    assert_eq!(approved.order_state(), OrderState::Proposed);
    approved.approve();
    assert_eq!(approved.step(now, false, &|_| HERE).deliver, [(0, Start)]);
    let mut expired = proposal();
    let late = Moment { up: Duration::ZERO, wall: rules().expires };
    assert_eq!(expired.step(late, false, &|_| HERE).settled, [(0, Settled::NotApproved)]);
    assert_eq!((expired.order_state(), expired.state(0)), (OrderState::Cancelled, Skipped));
}

#[test]
fn nothing_begins_before_its_time_or_its_part_of_the_splay() {
    let unsent = Known { was_sent: false, state: None };
    let at = |seconds: u64| Timestamp::from_millis(seconds * 1000);
    let early = Rules { not_before: at(50), ..rules() };
    let targets = [(node(0), unsent, at(0)), (node(1), unsent, at(70))];
    let mut course = Course::new(early, targets, false, false, Duration::ZERO);
    let moment = |seconds: u64| Moment { up: Duration::from_secs(seconds), wall: at(seconds) };
    let step = course.step(moment(10), false, &|_| HERE);
    assert_eq!((step.deliver, step.look_at), (vec![], Some(Duration::from_secs(50))));
    assert_eq!(course.step(moment(50), false, &|_| HERE).deliver, [(0, Start)]);
    assert_eq!(course.step(moment(70), false, &|_| HERE).deliver, [(1, Start)]);
}

/// What may happen to one target or to the whole.
#[derive(Debug, Clone)]
enum Happens {
    Received(usize),
    Ends(usize, TargetState),
    Unknown(usize),
    Lost(usize),
    Leaves(usize),
    Returns(usize),
    Waits(u64),
    Freezes(bool),
    Withdrawn,
}

fn happens(nodes: usize) -> impl Strategy<Value = Happens> {
    let state = prop_oneof![Just(Fine), Just(Failed), Just(Denied)];
    prop_oneof![
        4 => (0..nodes).prop_map(Happens::Received),
        4 => (0..nodes, state).prop_map(|(index, state)| Happens::Ends(index, state)),
        1 => (0..nodes).prop_map(Happens::Unknown),
        2 => (0..nodes).prop_map(Happens::Lost),
        2 => (0..nodes).prop_map(Happens::Leaves),
        3 => (0..nodes).prop_map(Happens::Returns),
        3 => (0_u64..40).prop_map(Happens::Waits),
        1 => any::<bool>().prop_map(Happens::Freezes),
        1 => Just(Happens::Withdrawn),
    ]
}

/// What must hold after each step.
#[derive(Default)]
struct Watcher {
    /// Targets that said that they have the run.
    received: Vec<usize>,
    sent: Vec<usize>,
    is_withdrawn: bool,
}

impl Watcher {
    fn check(&mut self, world: &World, step: &Step, rules: &Rules) {
        let counts = world.course.counts();
        let sum = counts.ok + counts.failed + counts.silent + counts.denied + counts.skipped;
        assert_eq!(counts.targeted, sum + counts.queued + counts.pending);
        let at_work = world.states().iter().filter(|s| matches!(s, Sent | Running)).count();
        // Once withdrawn or expired nothing starts, and a queued target that may have the run counts as sent until
        // it is heard of or silent.
        let may_start = !self.is_withdrawn && world.now().wall < rules.expires;
        for most in [rules.parallel, rules.batch].into_iter().flatten().filter(|_| may_start) {
            assert!(at_work <= most as usize, "{at_work} at work, {most} is the most");
        }
        let is_expired = world.now().wall >= rules.expires;
        for (index, mode) in &step.deliver {
            assert!(matches!(world.contacts.borrow()[&node(*index)], Contact::Here { .. }));
            if *mode == Start {
                assert!(!self.received.contains(index), "started again after it was received");
                assert!(!world.is_frozen && !is_expired && !self.is_withdrawn);
                self.sent.push(*index);
            }
        }
        let starts = step.deliver.iter().any(|(_, mode)| *mode == Start);
        let failures = counts.failed + counts.denied + counts.silent;
        if let Some(most) = rules.max_fail
            && failures > most
        {
            let fresh = step
                .deliver
                .iter()
                .filter(|(index, _)| self.sent.iter().filter(|s| *s == index).count() == 1);
            assert!(
                !starts
                    || fresh.count() == 0
                    || step.settled.iter().any(|(_, s)| *s == Settled::Absent || *s == Settled::AgentTooOld)
            );
            assert!(!world.states().contains(&Waiting), "the rest is skipped");
        }
        for (index, state) in world.states().into_iter().enumerate() {
            if state == Skipped && !self.is_withdrawn {
                assert!(!self.received.contains(&index), "what ran is not skipped");
            }
        }
    }
}

fn waves(ends: &[usize], pause: u64) -> Rules {
    Rules { waves: ends.to_vec(), wave_pause: Duration::from_secs(pause), max_fail: Some(1), ..rules() }
}

impl World {
    fn feels(&mut self, index: usize, score: u8) {
        let contact = Contact::Here { takes_orders: true, has_room: true, score: Some(score) };
        self.contacts.borrow_mut().insert(node(index), contact);
    }
}

#[test]
fn the_next_wave_begins_when_the_one_before_was_well_for_the_pause() {
    let mut world = World::new(waves(&[1, 3, 4], 10), 4);
    assert_eq!(world.step().deliver, [(0, Start)]);
    world.go(60);
    assert_eq!(world.step().deliver, []);
    world.course.ended(0, Fine);
    let step = world.step();
    assert_eq!((step.deliver, step.look_at), (vec![], Some(world.up + Duration::from_secs(1))));
    world.go(9);
    assert_eq!(world.step().deliver, []);
    world.go(1);
    assert_eq!(world.step().deliver, [(1, Start), (2, Start)]);
    world.course.ended(1, Fine);
    world.course.ended(2, Failed);
    let _wait = world.step();
    world.go(10);
    assert_eq!(world.step().deliver, [(3, Start)], "one may fail");
}

#[test]
fn a_node_that_took_the_change_back_stops_the_waves_at_once() {
    let mut world = World::new(waves(&[2, 4], 10), 4);
    assert_eq!(world.step().deliver, [(0, Start), (1, Start)]);
    world.course.ended(0, Failed);
    world.course.reverted(0);
    let step = world.step();
    assert_eq!(step.settled, [(2, Settled::WaveReverted), (3, Settled::WaveReverted)]);
    assert_eq!(world.states(), [Failed, Sent, Skipped, Skipped]);
}

#[test]
fn a_run_that_one_took_back_or_fell_silent_over_is_not_known_to_be_harmless() {
    let mut world = World::new(cuts_itself_off(), 3);
    world.contacts.borrow_mut().insert(node(2), Contact::Gone { since: Duration::ZERO });
    assert_eq!(world.step().settled, [(2, Settled::Absent)]);
    assert!(world.course.is_known_to_be_harmless(), "one that was away says nothing against it");
    world.go(10);
    assert_eq!(world.step().settled.len(), 2);
    assert!(!world.course.is_known_to_be_harmless());
    world.course.ended(0, Fine);
    world.course.ended(1, Fine);
    assert!(world.course.is_known_to_be_harmless(), "their late outcomes were good");
    world.course.reverted(1);
    assert!(!world.course.is_known_to_be_harmless());
}

#[test]
fn a_node_that_stays_away_after_its_change_stops_the_waves_and_one_that_returns_does_not() {
    for comes_back in [true, false] {
        let mut world = World::new(waves(&[1, 2], 0), 2);
        assert_eq!(world.step().deliver, [(0, Start)]);
        world.course.ended(0, Fine);
        world.leaves(0);
        assert_eq!(world.step().deliver, []);
        world.go(9);
        assert_eq!(world.step().deliver, []);
        if comes_back {
            world.returns(0);
        }
        world.go(2);
        let step = world.step();
        if comes_back {
            assert_eq!(step.deliver, [(1, Start)]);
        } else {
            assert_eq!(step.settled, [(1, Settled::WaveLost)]);
        }
    }
}

#[test]
fn a_node_whose_health_fell_stops_the_waves_also_over_a_restart() {
    let mut world = World::new(waves(&[1, 2], 5), 2);
    world.feels(0, 90);
    assert_eq!(world.step().deliver, [(0, Start)]);
    world.course.ended(0, Fine);
    let scores = world.course.scores();
    assert_eq!(scores, [90, UNKNOWN_SCORE]);
    let known = [Known { was_sent: true, state: Some(Fine) }, Known { was_sent: false, state: None }];
    for (score, begins) in [(85, true), (84, false)] {
        let mut world = World::known(waves(&[1, 2], 5), &known);
        world.course.set_scores(&scores);
        world.feels(0, score);
        let _wait = world.step();
        world.go(5);
        let step = world.step();
        assert_eq!(step.deliver.is_empty(), !begins, "{score}");
        assert_eq!(step.settled.is_empty(), begins, "{score}");
    }
}

#[test]
fn a_node_that_is_back_and_not_heard_of_holds_the_waves_up_and_is_lost_in_the_end() {
    for is_heard in [true, false] {
        let mut world = World::new(waves(&[1, 2], 2), 2);
        world.feels(0, 90);
        assert_eq!(world.step().deliver, [(0, Start)]);
        world.course.ended(0, Fine);
        let _wait = world.step();
        let silent = Contact::Here { takes_orders: true, has_room: true, score: None };
        world.contacts.borrow_mut().insert(node(0), silent);
        world.go(9);
        let step = world.step();
        assert_eq!((step.deliver, step.settled), (vec![], vec![]), "it says nothing against the change");
        if is_heard {
            world.feels(0, 90);
        }
        world.go(1);
        let step = world.step();
        assert_eq!(step.deliver.is_empty(), !is_heard);
        assert_eq!(step.settled.is_empty(), is_heard);
    }
}

#[test]
fn a_restart_in_the_middle_of_a_wave_goes_on_with_that_wave() {
    let sent = Known { was_sent: true, state: None };
    let done = Known { was_sent: true, state: Some(Fine) };
    let unsent = Known { was_sent: false, state: None };
    let mut world = World::known(waves(&[1, 3, 4], 10), &[done, sent, unsent, unsent]);
    // Right after the start, before anybody counts as silent.
    world.up = Duration::from_secs(1);
    assert_eq!(world.step().deliver, [(1, Start), (2, Start)]);
    world.course.ended(1, Fine);
    world.course.ended(2, Fine);
    let _wait = world.step();
    world.go(10);
    assert_eq!(world.step().deliver, [(3, Start)]);
}

const UNKNOWN_SCORE: u8 = u8::MAX;

proptest! {
    #[test]
    fn whatever_happens_the_limits_hold_and_everybody_is_accounted_for(
        nodes in 1_usize..7,
        (parallel, batch, max_fail, queue) in (
            proptest::option::of(1_u32..4), proptest::option::of(1_u32..4), proptest::option::of(0_u32..3), any::<bool>()
        ),
        script in proptest::collection::vec(happens(6), 0..60),
    ) {
        let rules = Rules { parallel, batch, max_fail, queue, ..rules() };
        let mut world = World::new(rules.clone(), nodes);
        let mut watcher = Watcher::default();
        let step = world.step();
        watcher.check(&world, &step, &rules);
        for event in script {
            match event {
                Happens::Received(index) if index < nodes && world.course.is_under_way(index) => {
                    world.received(index);
                    watcher.received.push(index);
                }
                Happens::Ends(index, state) if index < nodes && world.course.is_under_way(index) => {
                    world.course.ended(index, state);
                }
                Happens::Unknown(index) if index < nodes && world.course.is_under_way(index) => {
                    world.unknown(index);
                    watcher.received.retain(|known| *known != index);
                }
                Happens::Lost(index) if index < nodes => world.course.lost(index, world.now()),
                Happens::Leaves(index) if index < nodes => world.leaves(index),
                Happens::Returns(index) if index < nodes => world.returns(index),
                Happens::Waits(seconds) => world.go(seconds),
                Happens::Freezes(is_frozen) => world.is_frozen = is_frozen,
                Happens::Withdrawn => {
                    world.course.withdraw();
                    watcher.is_withdrawn = true;
                }
                _ => {}
            }
            let step = world.step();
            watcher.check(&world, &step, &rules);
        }
        // In the end everybody is accounted for, whoever never came back.
        world.is_frozen = false;
        for _ in 0..nodes + 2 {
            world.go(600);
            let step = world.step();
            watcher.check(&world, &step, &rules);
        }
        prop_assert_eq!(world.course.counts().pending, 0);
        prop_assert_eq!(world.course.counts().queued, 0);
        world.up += LATE_OUTCOME;
        let step = world.step();
        watcher.check(&world, &step, &rules);
        prop_assert!(!world.course.is_open());
    }
}
