//! Whether every promise was kept: pure functions over a history and what the server says when all is over.
//!
//! Each finds violations and says where they can be seen; none repairs, guesses or forgives. To add a promise: a file
//! here, its line in [`all`], a test in which a doctored history breaks it, its line in docs/proof.md.

mod barrier;
mod counters;
mod ends;
mod events;
mod expiry;
mod facts;
mod isolation;
mod limits;
mod replies;
mod survives;
#[cfg(test)]
mod testing;
mod tricks;

pub(crate) use self::facts::Facts;
use crate::history::Call;

/// Finds what breaks one promise.
type Check = fn(&[Call], &Facts) -> Vec<String>;

/// All violations, each with the promise's name first.
pub(crate) fn all(history: &[Call], facts: &Facts) -> Vec<String> {
    let promises: [(&str, Check); 10] = [
        ("one end", ends::check),
        ("acknowledged survives", survives::check),
        ("a revoke is a barrier", barrier::check),
        ("no end but at its time", expiry::check),
        ("what must be refused", tricks::check),
        ("no more than may wait", limits::check),
        ("each end has its event, and its webhook", events::check),
        ("counters equal the failures", counters::check),
        ("organisations do not meet", isolation::check),
        ("every answer is one", replies::check),
    ];
    let found = |(name, check): &(&str, Check)| {
        check(history, facts).into_iter().map(|what| format!("{name}: {what}")).collect::<Vec<_>>()
    };
    promises.iter().flat_map(found).collect()
}
