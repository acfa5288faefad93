//! `countersign-proof kill`: many flows at once, and the server killed with SIGKILL at random instants, again and again.
//!
//! A batch is one database: flows enroll, sign in, cancel, mistype and lose phones; the server is killed, started, killed;
//! then everybody gets a certain answer, and the whole history is judged, with the log, every object, and the messages
//! that a receiver of webhooks has taken. The log is verified by the server's own verifier and, where one is given, by
//! one that shares no code with it. A run goes on until so many kills were made.

use std::{collections::BTreeSet, time::Duration};

use countersign_simulator::{
    stand_in::{Certificates, Common, system_clock},
    webhook,
};
use serde_json::Value;

use super::{
    frame::{On, in_batches, meanwhile},
    judge::export,
};
use crate::{
    ProofError,
    dice::Dice,
    flows::World,
    report::Report,
    rig::{Node, PATIENCE, Rig, until},
    system,
};

/// What no process may pass, however often and whatever is asked of it (docs/proof.md).
const MAX_RESIDENT_KIB: u64 = 512 * 1024;
const MAX_DESCRIPTORS: u64 = 1_024;
/// Most lives of a server are shorter than this: it is killed while it starts, and while everybody asks at once.
const SHORT_LIFE_MILLIS: u64 = 500;
/// The others: it is killed in the middle of everyday work.
const LONG_LIFE_MILLIS: u64 = 4_000;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    on: On,
    /// How often the server is killed in all.
    #[arg(long, default_value_t = 200)]
    kills: u64,
    /// How often on one database.
    #[arg(long, default_value_t = 200)]
    batch: u64,
    /// Flows at once.
    #[arg(long, default_value_t = 64)]
    flows: u32,
}

pub(crate) async fn run(args: Args) -> Result<Report, ProofError> {
    let mut report = args.on.report("kill");
    let dice = Dice::new(args.on.common.seed);
    in_batches(args.kills, args.batch, &dice, async |kills, dice| batch(&args, kills, dice, &mut report).await).await?;
    Ok(report)
}

async fn batch(args: &Args, kills: u64, mut dice: Dice, report: &mut Report) -> Result<(), ProofError> {
    let certificates = Some(Certificates::generate().map_err(|error| ProofError::Rig(error.to_string()))?);
    let common = Common { clock: system_clock(), certificates, ..Common::default() };
    let receiver = webhook::start(webhook::Options { common }).await?;
    let rig = Rig::new(&args.on.common.rig, args.on.database).await?;
    let authorities = rig.file("receiver.pem");
    std::fs::write(&authorities, receiver.ca_pem().unwrap_or_default())?;
    let rig = rig
        .set("webhooks.additional_ports", &format!("[{}]", receiver.port()))
        .set("webhooks.additional_networks", "[\"127.0.0.0/8\"]")
        .set("webhooks.extra_ca_file", &authorities.display().to_string());
    let node = rig.start().await?;
    let world = World::begin(&rig, Some(&receiver.url("proof"))).await?;
    let flow_dice = dice.part(u64::from(u32::MAX));
    let lives = live_and_die(&rig, node, kills, &mut dice, report);
    let (node, uncertain) = meanwhile(&world, args.flows, &flow_dice, lives).await?;
    report.count("turns of which nothing is certain", uncertain);
    measure(&node, report);
    let told = told(&receiver, &export(&world.idp).await?, report).await;
    args.on.common.conclude(&rig, &world, Some(told), [node], report).await?;
    receiver.stop().await;
    rig.finish().await
}

/// Kills and starts the server so often; the one that runs in the end.
async fn live_and_die(
    rig: &Rig,
    mut node: Node,
    kills: u64,
    dice: &mut Dice,
    report: &mut Report,
) -> Result<Node, ProofError> {
    for _ in 0..kills {
        let longest = if dice.percent(75) { SHORT_LIFE_MILLIS } else { LONG_LIFE_MILLIS };
        system::pause(Duration::from_millis(dice.below(longest))).await;
        measure(&node, report);
        node.kill().await?;
        node = rig.start().await?;
        report.count("kills", 1);
    }
    Ok(node)
}

fn measure(node: &Node, report: &mut Report) {
    let Some(usage) = node.usage() else { return };
    report.highest("resident MiB at most", usage.peak_kib / 1024);
    report.highest("descriptors at most", usage.descriptors);
    if usage.peak_kib > MAX_RESIDENT_KIB || usage.descriptors > MAX_DESCRIPTORS {
        report.violated(format!("bounded: {usage:?}"));
    }
}

/// The messages that a receiver has taken, once it has taken all that are due.
async fn told(receiver: &webhook::Handle, export: &str, report: &mut Report) -> BTreeSet<String> {
    let wanted = wanted(export);
    // What was leased by a server that was killed is sent when its lease ends; a missing one is a violation.
    let all_told = until("each event is told", async || Ok(wanted.is_subset(&taken(receiver)))).await;
    report.count("webhook messages", u64::try_from(wanted.len()).unwrap_or(u64::MAX));
    if all_told.is_err() {
        report.violated(format!("not all events were told within {PATIENCE:?}"));
    }
    taken(receiver)
}

/// The messages that are due.
fn wanted(export: &str) -> BTreeSet<String> {
    let events = export.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let events = events.filter_map(|line| line.get("event").cloned());
    let is_wanted = |event: &Value| event.get("type")?.as_str()?.starts_with("challenge.").then_some(());
    events.filter_map(|event| is_wanted(&event).and(event.get("id")?.as_str().map(str::to_owned))).collect()
}

fn taken(receiver: &webhook::Handle) -> BTreeSet<String> {
    receiver.received().into_iter().filter_map(|message| message.push.id).collect()
}
