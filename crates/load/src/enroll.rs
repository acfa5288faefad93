//! `countersign-load enroll`: an enrollment storm, closed loop. So many flows each invite a user, register the user's
//! device under a key of its own, and with `--confirmation code` type the code back.
//!
//! The run fails at the first answer that is not the expected one.

use std::{sync::Arc, time::Duration};

use countersign_simulator::process::{Process, Usage};
use serde_json::{Map, Value, json};

use crate::{
    LoadError,
    population::{Confirmation, Steps, enroll_in_flows},
    say,
    statistics::{Latencies, rounded},
    target::{Server, Target},
};

/// How many, how many at once.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    server: Server,
    /// Enrollments in all.
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    enrollments: u32,
    /// How many at once; each flow has two connections.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=9_000))]
    flows: u16,
    /// Whether the person types a code back.
    #[arg(long, value_enum, default_value_t = Confirmation::None)]
    confirmation: Confirmation,
}

/// How long a step took, if it was taken.
type Took = fn(&Steps) -> Option<Duration>;

/// Each latency with its name.
const LATENCIES: [(&str, Took); 4] = [
    ("invite", |steps| Some(steps.invited.saturating_sub(steps.begun))),
    ("register", |steps| Some(steps.registered.saturating_sub(steps.invited))),
    ("confirm", |steps| Some(steps.confirmed?.saturating_sub(steps.registered))),
    ("whole", |steps| Some(steps.confirmed.unwrap_or(steps.registered).saturating_sub(steps.begun))),
];

pub(crate) async fn run(arguments: Args, json: bool) -> Result<(), LoadError> {
    let target = Arc::new(Target::find(&arguments.server).await?);
    let Args { ref server, enrollments, flows, confirmation } = arguments;
    let count = usize::try_from(enrollments).unwrap_or(usize::MAX);
    let usage = || server.pid.map(Process::Id).and_then(Usage::of);
    let (began, before) = (target.began.elapsed(), usage());
    let enrolled = enroll_in_flows(&target, count, usize::from(flows), confirmation).await?;
    let took = target.began.elapsed().saturating_sub(began).as_secs_f64();
    let per_second = f64::from(enrollments) / took;
    let latencies: Vec<(&str, Latencies)> = LATENCIES
        .iter()
        .map(|(name, of)| (*name, enrolled.iter().filter_map(|(_, steps)| of(steps)).collect::<Latencies>()))
        .filter(|(_, latencies)| !latencies.is_empty())
        .collect();
    let micros =
        before.zip(usage()).map(|(before, after)| after.since(before).as_secs_f64() * 1e6 / f64::from(enrollments));
    if json {
        let latencies: Map<String, Value> =
            latencies.iter().map(|(name, latencies)| ((*name).to_owned(), latencies.to_json())).collect();
        say(&json!({
            "enrollments": enrollments, "flows": flows, "seconds": rounded(took),
            "enrollments_per_second": rounded(per_second), "latency_millis": latencies,
            "server_processor_micros_per_enrollment": micros.map(rounded),
        })
        .to_string())?;
    } else {
        let lines: String =
            latencies.iter().map(|(name, latencies)| format!("\n{name:>12}  {}", latencies.to_text())).collect();
        say(&format!(
            "{enrollments} enrollments in {took:.2} s, {flows} at a time: {per_second:.0} per second{lines}"
        ))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::false_server::{FalseServer, Fault};

    #[tokio::test]
    async fn a_storm_enrolls_so_many() {
        let server = FalseServer::start(Fault::Nothing).await;
        let target = Arc::new(Target::find(&server.arguments()).await.unwrap());
        let enrolled = enroll_in_flows(&target, 30, 4, Confirmation::None).await.unwrap();
        assert_eq!(enrolled.len(), 30);
        let arguments = Args { server: server.arguments(), enrollments: 5, flows: 8, confirmation: Confirmation::None };
        run(arguments, true).await.unwrap();
    }
}
