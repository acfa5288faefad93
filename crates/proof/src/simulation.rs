//! `countersign-proof simulate`: the rules of `core` over a simulated store, a million times in another order.
//!
//! Each seed is a world of its own (`world`): nodes whose clocks differ, drift and jump, people who call them (`people`)
//! over a network that delays, reorders, repeats and loses, and a store (`store`) whose transactions meet between any two
//! steps. Every decision is made by the code of `core` that the server runs; an oracle (`oracle`) that knows the promises
//! and not the code judges what came of it. A failure is one number. No network, no database, no thread, no clock of the
//! machine but to say how long it took.
//!
//! What is not simulated is said in docs/proof.md. To add something: see the module that it belongs to.

mod keys;
mod node;
mod oracle;
mod people;
mod store;
mod tables;
#[cfg(test)]
mod tests;
mod world;

use std::io::{self, Write as _};

use self::{
    keys::Keys,
    store::Sabotage,
    world::{Options, Tally, run as run_seed},
};
use crate::{ProofError, report::Report, system::Stopwatch};

/// Steps of the storm of one seed.
const STEPS: u64 = 1_200;
/// Failing seeds that are told; then it stops.
const TOLD: usize = 5;

/// Plays the rules through in a random order of everything.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many seeds.
    #[arg(long, default_value_t = 10_000)]
    seeds: u64,
    /// The first one.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Only this one.
    #[arg(long, conflicts_with_all = ["seeds", "first"])]
    seed: Option<u64>,
    /// How many steps before the calm.
    #[arg(long, default_value_t = STEPS)]
    steps: u64,
    /// Says every step of the one seed.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Forgets a condition of the store: the run must fail.
    #[arg(long, value_enum)]
    sabotage: Option<Sabotage>,
}

/// Runs them.
///
/// # Errors
/// The trace cannot be written.
pub(crate) fn run(args: &Args) -> Result<Report, ProofError> {
    let keys = Keys::make()?;
    let options = Options { steps: args.steps, sabotage: args.sabotage, trace: args.trace };
    let (first, count) = args.seed.map_or((args.first, args.seeds), |seed| (seed, 1));
    let stopwatch = Stopwatch::start();
    let mut report = Report::new("simulate");
    let (mut seeds, mut failed) = (0_u64, 0);
    for seed in first..first.saturating_add(count) {
        let tally = run_seed(seed, &keys, options);
        let mut out = io::stdout().lock();
        for line in &tally.trace {
            writeln!(out, "{line}")?;
        }
        seeds += 1;
        add(&mut report, &tally);
        if let Some((step, what)) = tally.violations.first() {
            let fewest = shrink(seed, &keys, options, *step);
            report.violated(format!("seed {seed}, step {step}: {what} (--seed {seed} --steps {fewest} --trace)"));
            failed += 1;
        }
        if failed >= TOLD {
            break;
        }
    }
    let micros = stopwatch.micros().max(1);
    report.figure("seconds", micros / 1_000_000);
    report.figure("seeds_per_second", seeds.saturating_mul(1_000_000) / micros);
    Ok(report)
}

fn add(report: &mut Report, tally: &Tally) {
    let counts = [
        ("seeds", 1_u64),
        ("steps", tally.steps),
        ("commits", tally.commits),
        ("responses_decided", tally.decisions),
        ("approvals", tally.approvals),
        ("crashes", tally.crashes),
        ("clocks_set", tally.jumps),
    ];
    for (name, more) in counts {
        report.count(name, more);
    }
}

/// Fewer steps after which the same seed still fails: found by halving, which need not find the fewest.
fn shrink(seed: u64, keys: &Keys, options: Options, step: u64) -> u64 {
    let fails = |steps| !run_seed(seed, keys, Options { steps, trace: false, ..options }).violations.is_empty();
    let (mut holds, mut breaks) = (0, step.min(options.steps));
    if !fails(breaks) {
        return options.steps;
    }
    while breaks - holds > 1 {
        let middle = holds + (breaks - holds) / 2;
        if fails(middle) { breaks = middle } else { holds = middle }
    }
    breaks
}
