//! The simulation itself: that it finds what is broken, finds it again, and finds nothing in what is whole.

use clap::ValueEnum as _;

use super::*;

fn options(sabotage: Option<Sabotage>) -> Options {
    Options { steps: STEPS, sabotage, trace: false }
}

fn first_failure(sabotage: Sabotage, seeds: u64) -> Option<(u64, String)> {
    let keys = Keys::make().unwrap();
    (0..seeds).find_map(|seed| {
        let tally = run_seed(seed, &keys, options(Some(sabotage)));
        tally.violations.into_iter().next().map(|(_, what)| (seed, what))
    })
}

#[test]
fn nothing_is_broken() {
    let keys = Keys::make().unwrap();
    let mut approvals = 0;
    // All 10,000 are a run of the command (docs/proof.md): unoptimised they take minutes.
    for seed in 0..300 {
        let tally = run_seed(seed, &keys, options(None));
        assert_eq!(tally.violations, [], "seed {seed}");
        approvals += tally.approvals;
    }
    assert!(approvals > 300, "{approvals} approvals prove little");
}

#[test]
fn every_condition_that_the_store_forgets_is_missed() {
    for sabotage in Sabotage::value_variants() {
        let found = first_failure(*sabotage, 2_000);
        assert!(found.is_some(), "{sabotage:?} is not seen");
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    let keys = Keys::make().unwrap();
    let run = |seed| {
        let tally = run_seed(seed, &keys, Options { trace: true, ..options(None) });
        (tally.steps, tally.commits, tally.trace)
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7).2, run(8).2);
}

#[test]
fn a_failure_is_shrunk_to_fewer_steps_that_still_fail() {
    let keys = Keys::make().unwrap();
    let broken = options(Some(Sabotage::CounterRolledBack));
    let failing = (0..500).find_map(|seed| {
        let tally = run_seed(seed, &keys, broken);
        Some((seed, tally.violations.first()?.0))
    });
    let (seed, step) = failing.unwrap();
    let fewest = shrink(seed, &keys, broken, step);
    assert!(fewest <= step);
    assert!(!run_seed(seed, &keys, Options { steps: fewest, ..broken }).violations.is_empty());
}
