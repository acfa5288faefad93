//! What attacks have in common: what they are told, how a run is cut into batches, what goes on meanwhile, how it ends.
//!
//! Never attacks by itself. To tell all attacks something more: a member of [`Common`]; to have something hold after each
//! of them: a line of [`Common::conclude`].

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use super::judge::{JudgeArgs, judge};
use crate::{
    ProofError,
    dice::Dice,
    flows::{self, Flow, World},
    report::Report,
    rig::{Db, Node, Rig, RigArgs},
    system::Stopwatch,
};

/// Once the database answers, a whole enrollment works again within this.
const RECOVERY: Duration = Duration::from_secs(30);

/// What every attack is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Common {
    #[command(flatten)]
    pub(crate) rig: RigArgs,
    /// Repeats the run, as far as the machine lets it.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) judge: JudgeArgs,
}

/// What is told to those who attack either database.
#[derive(Debug, clap::Args)]
pub(crate) struct On {
    #[command(flatten)]
    pub(crate) common: Common,
    #[arg(long, value_enum)]
    pub(crate) database: Db,
}

impl Common {
    /// A report that says with what it was run.
    pub(crate) fn report(&self, attack: &'static str) -> Report {
        let mut report = Report::new(attack);
        report.figure("seed", self.seed);
        report.figure("verified by a second verifier", self.judge.has_second_verifier());
        report
    }

    /// Judges all that has happened; whoever still runs must also stop by itself, and nobody may have panicked. `told`:
    /// as in [`judge`].
    pub(crate) async fn conclude(
        &self,
        rig: &Rig,
        world: &World,
        told: Option<BTreeSet<String>>,
        nodes: impl IntoIterator<Item = Node>,
        report: &mut Report,
    ) -> Result<(), ProofError> {
        judge(&self.judge, rig, world, told, report).await?;
        self.end(rig, nodes, report).await
    }

    /// The same for whoever has judged: only the end.
    pub(crate) async fn end(
        &self,
        rig: &Rig,
        nodes: impl IntoIterator<Item = Node>,
        report: &mut Report,
    ) -> Result<(), ProofError> {
        for node in nodes {
            if node.stop().await? != Some(0) {
                report.violated("a server that was asked to stop did not end well");
            }
        }
        report.absorb(rig.panics()?.into_iter().map(|line| format!("a panic: {line}")));
        Ok(())
    }
}

impl On {
    /// A report that says with what it was run, and on what.
    pub(crate) fn report(&self, attack: &'static str) -> Report {
        let mut report = self.common.report(attack);
        report.figure("database", self.database.name());
        report
    }
}

/// One after the other, each of at most `size` of the `total`, each with dice of its own.
pub(crate) async fn in_batches(
    total: u64,
    size: u64,
    dice: &Dice,
    mut batch: impl AsyncFnMut(u64, Dice) -> Result<(), ProofError>,
) -> Result<(), ProofError> {
    let (mut left, mut number) = (total, 0);
    while left > 0 {
        let count = left.min(size.max(1));
        batch(count, dice.part(number)).await?;
        (left, number) = (left - count, number + 1);
    }
    Ok(())
}

/// Does something to the server while so many flows go about their day; when it is done everybody goes home. What it
/// came to, and how many turns were never certain.
pub(crate) async fn meanwhile<T>(
    world: &Arc<World>,
    flows: u32,
    dice: &Dice,
    deed: impl Future<Output = Result<T, ProofError>>,
) -> Result<(T, u64), ProofError> {
    let deed = async {
        let done = deed.await;
        world.end();
        done
    };
    let (done, uncertain) = tokio::join!(deed, flows::run(world, flows, dice));
    Ok((done?, uncertain))
}

/// Somebody enrolls: the server has got over it, by itself.
pub(crate) async fn works_again(witness: &mut Flow, report: &mut Report) {
    let began = Stopwatch::start();
    match tokio::time::timeout(RECOVERY, witness.enroll()).await {
        Ok(Ok(_)) => report.highest("milliseconds until an enrollment works again at most", began.micros() / 1_000),
        other => report.violated(format!("the server did not get over it within {RECOVERY:?}: {:?}", other.is_ok())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_run_is_cut_into_batches_that_throw_their_own_dice() {
        let mut batches = Vec::new();
        in_batches(5, 2, &Dice::new(1), async |count, mut dice| {
            batches.push((count, dice.next()));
            Ok(())
        })
        .await
        .unwrap();
        let of = |number| Dice::new(1).part(number).next();
        assert_eq!(batches, [(2, of(0)), (2, of(1)), (1, of(2))]);
    }
}
