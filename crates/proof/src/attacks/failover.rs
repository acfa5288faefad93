//! `countersign-proof failover`: the primary is killed while people sign in, and its synchronous standby takes its place.
//!
//! Both clusters are the attack's own, with one address before them that follows the primary. The server is never
//! restarted, and told nothing: it must get over each failover by itself, and nothing that it acknowledged may be lost,
//! also where the standby was cut off a moment before, and where the old connections never hear that nobody is there any
//! more. The control is the same with a standby that no commit waits for: it has to lose what was acknowledged, each time
//! this runs. To fail over in another way: a member of [`Manner`].

use std::{sync::Arc, time::Duration};

use countersign_simulator::switch::Farewell;

use super::frame::{Common, meanwhile, works_again};
use crate::{
    ProofError,
    dice::Dice,
    flows::{Flow, World},
    report::Report,
    rig::{Db, Pair, Replication, Rig},
    system::{Stopwatch, pause},
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    common: Common,
    /// How often the standby takes the primary's place.
    #[arg(long, default_value_t = 4)]
    failovers: u64,
    /// The same of a standby that no commit waits for, in which losses must be found.
    #[arg(long, default_value_t = 2)]
    controls: u64,
    /// No standby is waited for: its losses are told as violations.
    #[arg(long)]
    asynchronous: bool,
    /// Flows at once.
    #[arg(long, default_value_t = 16)]
    flows: u32,
}

/// How the primary goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Manner {
    /// The standby has been cut off for a moment: what is committed in it must not be acknowledged.
    is_separated: bool,
    /// What is heard by whoever was connected.
    farewell: Farewell,
}

impl Manner {
    /// All ways in turn.
    fn number(round: u64) -> Self {
        let farewell = if round % 4 < 2 { Farewell::Cut } else { Farewell::Silence };
        Self { is_separated: round % 2 == 1, farewell }
    }

    /// The way in which an asynchronous standby certainly lacks something.
    fn losing() -> Self {
        Self { is_separated: true, farewell: Farewell::Cut }
    }
}

pub(crate) async fn run(args: Args) -> Result<Report, ProofError> {
    let mut report = args.common.report("failover");
    let dice = Dice::new(args.common.seed);
    if args.asynchronous {
        play(&args, Replication::Asynchronous, args.failovers, dice, &mut report).await?;
        return Ok(report);
    }
    let control = dice.part(u64::MAX);
    play(&args, Replication::Synchronous, args.failovers, dice, &mut report).await?;
    if args.controls > 0 {
        let mut found = Report::new("failover");
        let judged = play(&args, Replication::Asynchronous, args.controls, control, &mut found).await;
        let found = found.into_violations();
        let lost = losses(&found);
        if lost == 0 {
            return Err(ProofError::Rig(format!(
                "could not judge: an asynchronous standby has lost nothing that was acknowledged: {found:?}, {judged:?}"
            )));
        }
        report.figure("acknowledged things that an asynchronous standby has lost", lost);
    }
    Ok(report)
}

/// How many of these tell of something that was acknowledged, and is gone.
fn losses(violations: &[String]) -> usize {
    violations.iter().filter(|what| what.starts_with("acknowledged survives")).count()
}

/// One deployment, from its beginning to its judgement.
async fn play(
    args: &Args,
    replication: Replication,
    failovers: u64,
    mut dice: Dice,
    report: &mut Report,
) -> Result<(), ProofError> {
    let mut pair = Pair::start(replication, &mut dice).await?;
    let rig = Rig::new(&args.common.rig.at(&pair.url()?), Db::Postgres).await?;
    let mut node = rig.start().await?;
    let world = World::begin(&rig, None).await?;
    let flow_dice = dice.part(u64::from(u32::MAX));
    let mut witness = Flow::new(Arc::clone(&world), args.flows, dice.part(1));
    let manner = if replication == Replication::Synchronous { Manner::number } else { |_| Manner::losing() };
    let deed = async {
        pair.renew().await?;
        for round in 0..failovers {
            pause(Duration::from_millis(500 + dice.below(2_000))).await;
            fail_over(&mut pair, manner(round), &mut dice, report).await?;
            works_again(&mut witness, report).await;
            pair.renew().await?;
            if let Err(why) = pair.is_listened_to().await {
                report.violated(format!("no wake-up from another node would be heard any more: {why}"));
            }
        }
        Ok(())
    };
    let ((), uncertain) = meanwhile(&world, args.flows, &flow_dice, deed).await?;
    report.count("turns of which nothing is certain", uncertain);
    if node.has_ended()? {
        return Err(ProofError::Rig(format!("the server has ended by itself: {}", node.own_log()?)));
    }
    if replication == Replication::Asynchronous {
        // One that has seen more than its database has now is not ready until it is started again (docs/audit.md).
        node.kill().await?;
        node = rig.start().await?;
    }
    args.common.conclude(&rig, &world, None, [node], report).await?;
    rig.finish().await?;
    pair.stop().await
}

async fn fail_over(pair: &mut Pair, manner: Manner, dice: &mut Dice, report: &mut Report) -> Result<(), ProofError> {
    if manner.is_separated {
        pair.separate();
        pause(Duration::from_millis(300 + dice.below(500))).await;
        report.count("of them with the standby cut off before", 1);
    }
    let began = Stopwatch::start();
    pair.fail_over(manner.farewell).await?;
    report.count("failovers", 1);
    report.highest("milliseconds until the standby is the primary at most", began.micros() / 1_000);
    if manner.farewell == Farewell::Silence {
        report.count("of them without a word to those who were connected", 1);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_failovers_are_of_each_way() {
        let ways: Vec<_> = (0..4).map(Manner::number).collect();
        for (index, way) in ways.iter().enumerate() {
            assert!(!ways[..index].contains(way), "{way:?}");
        }
        assert_eq!(Manner::number(4), ways[0]);
    }

    #[test]
    fn the_control_counts_only_what_was_acknowledged_and_is_gone() {
        let found = ["acknowledged survives: challenge c was created, and is gone", "every answer is one: 500"];
        assert_eq!(losses(&found.map(str::to_owned)), 1);
        assert_eq!(losses(&found[1..].iter().map(|what| (*what).to_owned()).collect::<Vec<_>>()), 0);
    }
}
