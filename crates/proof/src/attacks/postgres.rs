//! `countersign-proof postgres`: PostgreSQL is killed, stalled and robbed of COMMITs while people sign in.
//!
//! The cluster is the attack's own, with a proxy before it. The server is never restarted: it must get over everything by
//! itself, and answer everybody in time meanwhile. To add a fault: a method of the cluster or the thief, its line in
//! `disturb`.

use std::{sync::Arc, time::Duration};

use countersign_simulator::commit_thief::{CommitThief, Loss};

use super::frame::{Common, meanwhile, works_again};
use crate::{
    ProofError,
    dice::Dice,
    flows::{Flow, World},
    report::Report,
    rig::{Cluster, Db, Death, Rig},
    system::pause,
};

/// COMMITs are lost in such a burst.
const BURST: u64 = 4;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    common: Common,
    /// How often each thing happens to PostgreSQL.
    #[arg(long, default_value_t = 3)]
    rounds: u64,
    /// How long it is stalled.
    #[arg(long, default_value_t = 4)]
    stall_seconds: u64,
    /// Flows at once.
    #[arg(long, default_value_t = 16)]
    flows: u32,
}

pub(crate) async fn run(args: Args) -> Result<Report, ProofError> {
    let mut report = args.common.report("postgres");
    let mut dice = Dice::new(args.common.seed);
    let mut cluster = Cluster::start(&mut dice).await?;
    let thief = CommitThief::start("127.0.0.1", cluster.port).await?;
    let rig = Rig::new(&args.common.rig.at(&cluster.url()), Db::Postgres).await?;
    let through = thief.url(&rig.database.url).ok_or_else(|| ProofError::Rig("no URL of a database".to_owned()))?;
    let rig = rig.set("database.url", &through);
    let mut node = rig.start().await?;
    let world = World::begin(&rig, None).await?;
    let flow_dice = dice.part(u64::from(u32::MAX));
    let mut witness = Flow::new(Arc::clone(&world), args.flows, dice.part(1));
    let disturbed = disturb(&args, &mut cluster, &thief, &mut witness, &mut dice, &mut report);
    let ((), uncertain) = meanwhile(&world, args.flows, &flow_dice, disturbed).await?;
    report.count("turns of which nothing is certain", uncertain);
    report.count("COMMITs lost", thief.lost());
    if node.has_ended()? {
        return Err(ProofError::Rig(format!("the server has ended by itself: {}", node.own_log()?)));
    }
    args.common.conclude(&rig, &world, None, [node], &mut report).await?;
    rig.finish().await?;
    cluster.die(Death::Immediate).await?;
    Ok(report)
}

async fn disturb(
    args: &Args,
    cluster: &mut Cluster,
    thief: &CommitThief,
    witness: &mut Flow,
    dice: &mut Dice,
    report: &mut Report,
) -> Result<(), ProofError> {
    for _ in 0..args.rounds {
        for death in [Death::Kill, Death::Immediate] {
            pause(Duration::from_millis(500 + dice.below(2_000))).await;
            cluster.die(death).await?;
            pause(Duration::from_millis(dice.below(1_000))).await;
            cluster.start_again().await?;
            report.count(&format!("{death:?} of PostgreSQL").to_lowercase(), 1);
            works_again(witness, report).await;
        }
        pause(Duration::from_millis(dice.below(1_000))).await;
        cluster.halt().await?;
        pause(Duration::from_secs(args.stall_seconds)).await;
        cluster.go_on().await?;
        report.count("stalls", 1);
        works_again(witness, report).await;
        for loss in [Loss::Request, Loss::Answer] {
            for _ in 0..BURST {
                pause(Duration::from_millis(dice.below(200))).await;
                thief.lose(loss, 1);
            }
            works_again(witness, report).await;
        }
    }
    Ok(())
}
