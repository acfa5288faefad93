//! Who is let in, who waits, who is forgotten.

use super::*;
use crate::testing::{TestClock, id};

const NOT_AT_ALL: Duration = Duration::ZERO;

fn provider() -> (Gate, TestClock) {
    let clock = TestClock::default();
    (Gate::of_provider(Destination::Apns("main".into()), Arc::new(clock.clone())), clock)
}

fn origin() -> (Gate, TestClock) {
    let clock = TestClock::default();
    (Gate::of_stranger(Destination::WebPush("https://push.example".into()), Arc::new(clock.clone())), clock)
}

async fn enter(gate: &Gate, device: u8) -> Pass<'_> {
    gate.enter(id(device), NOT_AT_ALL).await.unwrap_or_else(|outcome| panic!("{outcome:?}"))
}

async fn code(gate: &Gate, device: u8) -> &'static str {
    let outcome = gate.enter(id(device), NOT_AT_ALL).await.err();
    outcome.and_then(|outcome| outcome.reason()).map_or("entered", |reason| reason.code)
}

async fn room(gate: &Gate) -> usize {
    let mut held = Vec::new();
    while let Ok(pass) = gate.enter(id(1), NOT_AT_ALL).await {
        held.push(pass);
    }
    held.len()
}

const WHY: Reason = Reason::of("timeout");

#[tokio::test]
async fn a_full_gate_has_tried_nothing_and_a_place_comes_back() {
    let (gate, _) = provider();
    let mut held = Vec::new();
    for _ in 0..400 {
        held.push(enter(&gate, 1).await);
    }
    let busy = gate.enter(id(1), NOT_AT_ALL).await.err();
    assert_eq!(busy, Some(Outcome::NotTried { after_millis: 200, reason: Reason::of("busy") }));
    held.pop();
    assert_eq!(code(&gate, 1).await, "entered");
}

#[tokio::test]
async fn an_origin_that_works_has_many_places_until_its_circuit_opens_or_it_is_long_ago() {
    let (gate, clock) = origin();
    assert_eq!(room(&gate).await, 16);
    enter(&gate, 1).await.record(&Outcome::TokenGone(Reason::of("subscription-gone")), Health::Alive);
    assert_eq!(room(&gate).await, 16, "an answer is no success");
    enter(&gate, 1).await.record(&Outcome::Accepted, Health::Alive);
    assert!(gate.may_repeat());
    assert_eq!(room(&gate).await, 256);
    clock.advance_millis(600_000);
    assert!(!gate.may_repeat());
    assert_eq!(room(&gate).await, 16);
    enter(&gate, 1).await.record(&Outcome::Accepted, Health::Alive);
    for device in [1, 2, 3, 1, 2] {
        enter(&gate, device).await.record(&Outcome::retry(WHY), Health::Failing(WHY));
    }
    assert!(gate.is_open() && !gate.may_repeat());
    enter_after(&clock, &gate).await.record(&Outcome::TokenGone(WHY), Health::Alive);
    assert_eq!(room(&gate).await, 16);
}

async fn enter_after<'a>(clock: &TestClock, gate: &'a Gate) -> Pass<'a> {
    clock.advance_millis(1_000);
    enter(gate, 1).await
}

#[tokio::test]
async fn one_device_shuts_an_origin_for_nobody() {
    let (gate, _) = origin();
    for _ in 0..50 {
        enter(&gate, 1).await.record(&Outcome::retry(WHY), Health::Failing(WHY));
    }
    assert_eq!(code(&gate, 2).await, "entered");
    let (gate, _) = provider();
    for _ in 0..5 {
        enter(&gate, 1).await.record(&Outcome::retry(WHY), Health::Failing(WHY));
    }
    assert_eq!(code(&gate, 2).await, "circuit-open");
}

#[tokio::test]
async fn a_shut_gate_lets_one_probe_a_second_in_and_repeats_nothing() {
    let (gate, clock) = provider();
    assert!(gate.may_repeat());
    enter(&gate, 1).await.record(&Outcome::retry(WHY), Health::Refused(WHY));
    assert!(gate.is_open() && gate.is_in_trouble() && !gate.may_repeat());
    assert_eq!(code(&gate, 1).await, "circuit-open");
    clock.advance_millis(1_000);
    let probe = enter(&gate, 2).await;
    assert_eq!(code(&gate, 3).await, "circuit-open");
    probe.record(&Outcome::Accepted, Health::Alive);
    assert!(!gate.is_open());
    assert_eq!(code(&gate, 1).await, "entered");
}

#[tokio::test]
async fn a_destination_that_asks_for_time_is_in_trouble_for_so_long() {
    let (gate, clock) = provider();
    enter(&gate, 1).await.record(&Outcome::retry(WHY), Health::Waits(5_000));
    clock.advance_millis(1_000);
    let expected = Outcome::Retry { after_millis: Some(4_000), reason: Reason::of("provider-asked-to-wait") };
    assert_eq!(gate.enter(id(2), NOT_AT_ALL).await.err(), Some(expected));
    assert!(gate.is_in_trouble() && !gate.is_open() && gate.is_worth_keeping());
    clock.advance_millis(4_000);
    assert_eq!(code(&gate, 2).await, "entered");
    assert!(!gate.is_in_trouble());
}

#[test]
fn the_table_forgets_what_was_unused_for_longest_and_nothing_that_is_held_or_kept() {
    let recent = Recent::new(2);
    let put = |name: &str, value: u8| recent.get_or_make(name, |kept| *kept == 9, |_| value);
    assert!(put("a", 1).is_some() && put("b", 2).is_some());
    assert_eq!(put("a", 7).as_deref(), Some(&1), "known");
    let held = put("c", 3);
    let known = |names: [&str; 4]| names.map(|name| recent.peek(name).is_some());
    assert_eq!(known(["a", "b", "c", "d"]), [true, false, true, false]);
    assert!(put("d", 9).is_some(), "the one that nobody holds goes");
    assert_eq!(known(["a", "b", "c", "d"]), [false, false, true, true]);
    assert_eq!(put("e", 5), None, "one is held, one is kept");
    drop(held);
    assert_eq!(put("e", 5).as_deref(), Some(&5));
    assert_eq!(recent.all().len(), 2);
}
