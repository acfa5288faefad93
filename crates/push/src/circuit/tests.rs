//! When it opens, whom it lets in, when it closes.

use super::*;
use crate::testing::{NOW, id};

const WHY: Reason = Reason::answered("unexpected-status", 500);

fn opened() -> Circuit {
    let mut circuit = Circuit::new(1);
    assert_eq!(circuit.record(NOW, id(1), Health::Refused(WHY)), Some(Change::Opened(WHY)));
    circuit
}

#[test]
fn refused_credentials_open_it_at_once() {
    assert!(opened().is_open());
}

#[test]
fn five_failures_in_a_row_open_it_once_and_four_do_not() {
    let mut circuit = Circuit::new(1);
    for _ in 0..3 {
        for _ in 0..4 {
            assert_eq!(circuit.record(NOW, id(1), Health::Failing(WHY)), None);
            assert_eq!(circuit.record(NOW, id(1), Health::Unknown), None, "says nothing either way");
        }
        assert_eq!(circuit.record(NOW, id(1), Health::Alive), None);
    }
    let changes: Vec<_> = (0..8).filter_map(|_| circuit.record(NOW, id(1), Health::Failing(WHY))).collect();
    assert_eq!(changes, [Change::Opened(WHY)]);
}

#[test]
fn where_devices_choose_the_paths_one_or_two_of_them_open_nothing() {
    let mut circuit = Circuit::new(3);
    for _ in 0..50 {
        assert_eq!(circuit.record(NOW, id(1), Health::Failing(WHY)), None);
        assert_eq!(circuit.record(NOW, id(2), Health::Failing(WHY)), None);
    }
    assert_eq!(circuit.record(NOW, id(3), Health::Alive), None);
    for device in [1, 2, 1, 2] {
        assert_eq!(circuit.record(NOW, id(device), Health::Failing(WHY)), None);
    }
    assert_eq!(circuit.record(NOW, id(3), Health::Failing(WHY)), Some(Change::Opened(WHY)));
}

#[test]
fn while_open_one_probe_a_second_goes_through() {
    let mut circuit = opened();
    assert_eq!(circuit.admit(NOW, id(1)), Err(Shut::Open(1_000)));
    assert_eq!(circuit.admit(NOW.plus_millis(999), id(1)), Err(Shut::Open(1)));
    let mut probes = 0;
    for millis in 1_000..11_000 {
        let now = NOW.plus_millis(millis);
        probes += u32::from(circuit.admit(now, id(1)).is_ok());
        assert_eq!(circuit.record(now, id(1), Health::Refused(WHY)), None, "told once");
    }
    assert_eq!(probes, 10);
}

#[test]
fn a_device_that_did_not_close_it_is_not_the_probe_while_others_ask() {
    let mut circuit = opened();
    let later = |millis| NOW.plus_millis(millis);
    assert_eq!(circuit.admit(later(500), id(2)), Err(Shut::Open(500)));
    assert_eq!(circuit.admit(later(1_000), id(1)), Err(Shut::Open(1_000)), "kept for the other");
    assert_eq!(circuit.admit(later(1_100), id(2)), Ok(()));
    // One that says nothing has spent a probe, too.
    assert_eq!(circuit.record(later(1_200), id(2), Health::Unknown), None);
    assert_eq!(circuit.admit(later(1_300), id(3)), Err(Shut::Open(800)));
    for tried in [1, 2] {
        assert_eq!(circuit.admit(later(2_100), id(tried)), Err(Shut::Open(1_000)));
    }
    // Whoever asked may not come back: the probe is not kept for ever.
    assert_eq!(circuit.admit(later(4_101), id(2)), Ok(()));
    assert_eq!(circuit.admit(later(5_101), id(1)), Ok(()), "nobody else has asked since");
}

#[test]
fn a_success_closes_it() {
    let mut circuit = opened();
    assert_eq!(circuit.record(NOW, id(1), Health::Alive), Some(Change::Closed));
    assert!(!circuit.is_open());
    assert_eq!(circuit.admit(NOW, id(1)), Ok(()));
    assert_eq!(circuit.record(NOW, id(1), Health::Failing(WHY)), None, "it counts from the beginning");
}

#[test]
fn a_clock_that_was_put_back_does_not_hold_the_probes() {
    let mut circuit = opened();
    assert_eq!(circuit.admit(NOW.plus_seconds(-3_600), id(1)), Ok(()));
    assert_eq!(circuit.admit(NOW.plus_seconds(-3_600), id(1)), Err(Shut::Open(1_000)));
}

#[test]
fn a_destination_that_asks_for_time_is_left_alone_by_all_and_not_for_ever() {
    let mut circuit = Circuit::new(1);
    assert_eq!(circuit.record(NOW, id(1), Health::Waits(30_000)), None);
    assert_eq!(circuit.admit(NOW.plus_millis(1), id(2)), Err(Shut::Waits(29_999)));
    assert_eq!(circuit.record(NOW, id(3), Health::Waits(1_000)), None, "a shorter wait shortens nothing");
    assert_eq!(circuit.admit(NOW.plus_millis(29_999), id(2)), Err(Shut::Waits(1)));
    assert_eq!(circuit.admit(NOW.plus_millis(30_000), id(2)), Ok(()));
    assert!(!circuit.is_open());
    circuit.record(NOW, id(1), Health::Waits(i64::MAX));
    assert_eq!(circuit.admit(NOW, id(2)), Err(Shut::Waits(WAIT_MILLIS)));
    assert_eq!(circuit.admit(NOW.plus_millis(-1), id(2)), Ok(()), "the clock was put back");
}

#[test]
fn where_devices_choose_the_paths_one_of_them_asks_for_itself_only() {
    let mut circuit = Circuit::new(3);
    for device in [1, 1, 1, 2] {
        circuit.record(NOW, id(device), Health::Waits(30_000));
        assert_eq!(circuit.admit(NOW, id(3)), Ok(()));
    }
    circuit.record(NOW, id(3), Health::Waits(30_000));
    assert_eq!(circuit.admit(NOW, id(4)), Err(Shut::Waits(30_000)));
}

#[test]
fn what_is_worth_keeping_is_an_open_circuit_that_somebody_asks_about_and_a_wait() {
    let mut circuit = Circuit::new(1);
    assert!(!circuit.is_worth_keeping(NOW));
    circuit.record(NOW, id(1), Health::Waits(1_000));
    assert!(circuit.is_worth_keeping(NOW) && !circuit.is_worth_keeping(NOW.plus_millis(1_000)));
    let circuit = opened();
    assert!(circuit.is_worth_keeping(NOW.plus_seconds(600)) && !circuit.is_worth_keeping(NOW.plus_seconds(601)));
}
