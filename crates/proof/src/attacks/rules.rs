//! `countersign-proof rules`: each deed of the flows once in a round, all at once and undisturbed, so that no rule is met
//! by chance only: sign-ins of every outcome, answers at the end of the time, lost phones, wrong codes, tricks, repeats,
//! crowds, strangers.
//!
//! A server that is left alone gets every deed done; the history is judged as after every attack. To add a deed: see
//! [`crate::flows::Deed`].

use std::sync::Arc;

use futures_util::future::join_all;

use super::frame::On;
use crate::{
    ProofError,
    dice::Dice,
    flows::{DEEDS, Deed, Flow, World},
    report::Report,
    rig::Rig,
};

/// What only now and then meets the moment that it is for: as often as makes that certain.
const BY_CHANCE: [Deed; 7] = [Deed::AnswerLate; 7];

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    on: On,
    /// How often each deed is done.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
}

pub(crate) async fn run(args: Args) -> Result<Report, ProofError> {
    let mut report = args.on.report("rules");
    let rig = Rig::new(&args.on.common.rig, args.on.database).await?;
    let node = rig.start().await?;
    let world = World::begin(&rig, None).await?;
    let dice = Dice::new(args.on.common.seed);
    let mut number = 0;
    for _ in 0..args.rounds {
        let deeds = DEEDS.into_iter().chain(BY_CHANCE).map(|deed| {
            number += 1;
            let mut flow = Flow::new(Arc::clone(&world), number, dice.part(u64::from(number)));
            async move {
                let person = flow.somebody().await.map_err(|why| (deed, why))?;
                flow.perform(deed, &person).await.map_err(|why| (deed, why))
            }
        });
        for done in join_all(deeds).await {
            match done {
                Ok(()) => report.count("deeds done", 1),
                Err((deed, why)) => report.violated(format!("{deed:?} came to nothing: {why:?}")),
            }
        }
    }
    args.on.common.conclude(&rig, &world, None, [node], &mut report).await?;
    rig.finish().await?;
    Ok(report)
}
