//! `countersign-load floor`: what a sign-in costs at the very least on this machine, by parts, each measured alone.
//!
//! - *echo*: the same four calls, requests and replies as long as the real ones, between the same client code with as
//!   many flows and a bare HTTP server in a process of its own, which does nothing else.
//! - *signatures*: the four that are made (the device's proof and response, the server's challenge and result) and the
//!   two that the server must verify, on all cores, with nothing around them.
//! - *batches*: the same commands, create and decide, given to the store directly with as many flows, on a fresh
//!   database of the same kind.
//!
//! A server that did nothing but these, one after another, would do 1 / (1/echo + 1/signatures + 1/batches) sign-ins a
//! second: the floor. It is no bound that cannot be passed, for what waits for the disk leaves the cores to others.
//! To add a part: a file here that returns sign-ins per second, and its term in [`combined`].

mod batches;
pub(crate) mod echo;
mod signatures;

use std::time::Duration;

use countersign_core::clock::Clock as _;
use countersign_proto::{evidence::Evidence, jose::SigningKey};
use serde_json::json;

use crate::{
    LoadError,
    device::Device,
    sample::{self, NUMBER, Sample},
    say,
    statistics::rounded,
    system::SystemClock,
    target::Target,
};

/// With what.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A fresh database: sqlite://PATH (the file is made) or postgres://…
    #[arg(long)]
    database: String,
    /// As many at once as the sign-ins that are compared.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=9_000))]
    flows: u16,
    /// How long each part is measured, after a second of warm-up.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
}

/// Before each part counts.
const WARM_UP: Duration = Duration::from_secs(1);

pub(crate) async fn run(arguments: Args, json: bool) -> Result<(), LoadError> {
    let Args { ref database, flows, seconds } = arguments;
    let (flows, length) = (usize::from(flows), Duration::from_secs(seconds));
    let exchange = Exchange::new()?;
    let echo = echo::measure(&exchange, flows, length).await?;
    let signatures = signatures::measure(&exchange, length)?;
    let batches = batches::measure(&exchange, database, flows, length).await?;
    let floor = combined(&[echo, signatures, batches]);
    if json {
        say(&json!({
            "flows": flows, "seconds": seconds, "echo_per_second": rounded(echo),
            "signatures_per_second": rounded(signatures), "batches_per_second": rounded(batches),
            "floor_per_second": rounded(floor),
        })
        .to_string())
    } else {
        say(&format!(
            "sign-ins per second with {flows} flows: echoed {echo:.0}, signatures alone {signatures:.0}, \
             batches alone {batches:.0}; one after another: {floor:.0}"
        ))
    }
    .map_err(LoadError::from)
}

/// What comes of doing all parts for each sign-in, one after another.
fn combined(per_second: &[f64]) -> f64 {
    let seconds: f64 = per_second.iter().map(|rate| rate.recip()).sum();
    if seconds.is_finite() && seconds > 0.0 { seconds.recip() } else { 0.0 }
}

/// A sign-in's four requests with their replies, and its artefacts.
#[derive(Debug)]
struct Exchange {
    /// Create, wait, pull, respond: the request and the length of the reply.
    calls: [(String, usize); 4],
    sample: Sample,
    device: Device,
    proof: String,
    challenge: String,
    response: String,
    binding: String,
    result: String,
}

impl Exchange {
    fn new() -> Result<Self, LoadError> {
        let failed = |what: &str| LoadError::Failed(format!("the sample of a sign-in: {what}"));
        let signing = |error: countersign_proto::jose::SigningError| failed(&error.to_string());
        let json = |error: serde_json::Error| failed(&error.to_string());
        let at = std::net::SocketAddr::from(([127, 0, 0, 1], 8080));
        let sample = Sample::new("http://127.0.0.1:8080").map_err(signing)?;
        let key = format!("csk_{}", "A".repeat(43));
        let target = Target::at(at, at, sample.issuer.clone(), &key)?;
        let device = Device {
            id: sample.device_id.to_string(),
            external_id: sample.external_id.clone(),
            key: SigningKey::generate().map_err(signing)?,
        };
        let (id, now) = (sample::id(), SystemClock.now().floor_to_second());
        let challenge = sample.challenge(id, now).map_err(signing)?;
        let binding = sample.binding(&device.key.public_key(), now).map_err(signing)?;
        let result = sample.result(id, now).map_err(signing)?;

        let [mut create, mut wait, mut pull, mut respond] = [const { String::new() }; 4];
        target.create_challenge(&mut create, &device.external_id);
        target.await_challenge(&mut wait, &id.to_string());
        device.pull(&target, &mut pull, 0).map_err(signing)?;
        device.approve(&target, &mut respond, &id.to_string(), &challenge, Some(NUMBER)).map_err(signing)?;
        let after = |request: &str, before: &str| request.split_once(before).map(|(_, rest)| rest.trim().to_owned());
        let proof = after(&pull, "DeviceProof ").ok_or_else(|| failed("no proof"))?;
        let response = after(&respond, "\r\n\r\n").ok_or_else(|| failed("no response"))?;

        let evidence = Evidence { challenge: challenge.clone(), response: response.clone(), binding: binding.clone() };
        let approved = sample.approved(id, evidence, now).map_err(signing)?;
        let lengths = [
            serde_json::to_vec(&sample.created(id, now)).map_err(json)?.len(),
            serde_json::to_vec(&approved).map_err(json)?.len(),
            serde_json::to_vec(&sample.inbox(id, &challenge, now)).map_err(json)?.len(),
            serde_json::to_vec(&sample.recorded(id, now)).map_err(json)?.len(),
        ];
        let [created, waited, pulled, responded] = lengths;
        let calls = [(create, created), (wait, waited), (pull, pulled), (respond, responded)];
        Ok(Self { calls, sample, device, proof, challenge, response, binding, result })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up_by_their_time_not_by_their_rate() {
        assert_eq!(combined(&[3_000.0, 3_000.0, 3_000.0]), 1_000.0);
        assert_eq!(combined(&[1_000.0]), 1_000.0);
        assert!((combined(&[10_000.0, 10_000.0, 1_000.0]) - 833.333).abs() < 0.001);
        assert_eq!(combined(&[1_000.0, 0.0]), 0.0, "with a part that does nothing nothing is done");
        assert_eq!(combined(&[]), 0.0);
    }

    #[test]
    fn the_sample_is_a_sign_in_that_verifies() {
        let exchange = Exchange::new().unwrap();
        let server = exchange.sample.server_key.public_key();
        let keys = countersign_proto::jose::Jwks { keys: vec![countersign_proto::jose::ServerJwk::of(&server)] };
        let evidence = Evidence {
            challenge: exchange.challenge.clone(),
            response: exchange.response.clone(),
            binding: exchange.binding.clone(),
        };
        countersign_proto::evidence::verify(&evidence, &|kid| keys.find(kid)).unwrap();
        let [(_, created), (_, waited), (_, pulled), (_, responded)] = exchange.calls;
        assert!(created > 300 && pulled > 700 && waited > 3_000 && responded > 100, "replies of a real size");
    }

    #[tokio::test]
    async fn each_part_is_measured_and_ends() {
        let exchange = Exchange::new().unwrap();
        let short = Duration::from_millis(50);
        assert!(signatures::measure(&exchange, short).unwrap() > 0.0);
        let folder = tempfile::TempDir::new().unwrap();
        let database = format!("sqlite://{}", folder.path().join("floor.db").display());
        assert!(batches::measure(&exchange, &database, 4, short).await.unwrap() > 0.0);
        let server = echo::Server::here().await.unwrap();
        assert!(echo::drive(&exchange, server.address(), 4, short).await.unwrap() > 0.0);
    }
}
