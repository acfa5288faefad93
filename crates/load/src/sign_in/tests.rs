//! Whole runs, against a false server in this process. No figure is judged: a machine may be busy.

use super::*;
use crate::testing::false_server::{FalseServer, Fault};

fn arguments(server: &FalseServer) -> Args {
    Args {
        server: server.arguments(),
        flows: 4,
        users: 6,
        sign_ins: Some(20),
        seconds: 1,
        warm_up: 0,
        rate: None,
        arrivals: Arrivals::Fixed,
        seed: 1,
    }
}

async fn sign_in_at(fault: Fault) -> Result<(), LoadError> {
    let server = FalseServer::start(fault).await;
    run(arguments(&server), true).await
}

#[tokio::test]
async fn a_closed_loop_signs_so_many_in_and_verifies_each() {
    let server = FalseServer::start(Fault::Nothing).await;
    let target = Arc::new(Target::find(&server.arguments()).await.unwrap());
    let devices = population::enroll(&target, 6).await.unwrap();
    let load = Load::new(target, devices, arguments(&server).pace(), 4);
    let figures = drive(&load, None).await.unwrap();
    assert_eq!(figures.samples.len(), 20);
    assert!(figures.kept.len() >= 20, "what ends after the last is verified, too");
    assert!(
        figures.samples.iter().all(|sample| sample.response_to_caller <= sample.wait && sample.wait < sample.whole)
    );
    let keys = load.target.keys().await.unwrap();
    let verified = results::verify(&load.target.issuer, &keys, &load.devices, &figures.kept).unwrap();
    assert_eq!(verified, u64::try_from(figures.kept.len()).unwrap());
    run(arguments(&server), false).await.unwrap();
}

#[tokio::test]
async fn an_open_loop_begins_when_it_said_it_would() {
    let server = FalseServer::start(Fault::Nothing).await;
    run(Args { rate: Some(100.0), arrivals: Arrivals::Poisson, ..arguments(&server) }, true).await.unwrap();
}

#[tokio::test]
async fn evidence_that_does_not_hold_fails_the_run() {
    for (fault, why) in [
        (Fault::OldEvidence, "evidence: "),
        (Fault::NoEvidence, "no evidence"),
        (Fault::ForeignResult, "result token: "),
    ] {
        let error = sign_in_at(fault).await.unwrap_err().to_string();
        assert!(error.starts_with("a result does not hold: ") && error.contains(why), "{fault:?}: {error}");
    }
}

#[tokio::test]
async fn a_denied_sign_in_fails_the_run() {
    let error = sign_in_at(Fault::Denies).await.unwrap_err().to_string();
    assert!(error.contains("the challenge is denied"), "{error}");
}

#[tokio::test]
async fn an_approval_that_no_device_gave_fails_the_run() {
    let error = sign_in_at(Fault::Hasty).await.unwrap_err().to_string();
    assert_eq!(error.split(':').next(), Some("a result does not hold"), "{error}");
}

#[tokio::test]
async fn an_unexpected_status_fails_the_run_also_when_it_is_shedding() {
    let error = sign_in_at(Fault::Errors).await.unwrap_err().to_string();
    assert_eq!(error, "a sign-in failed: create: 500 internal");
    let error = sign_in_at(Fault::Sheds).await.unwrap_err().to_string();
    assert_eq!(error, "a sign-in failed: create: 503 with Retry-After");
}

#[tokio::test]
async fn fewer_users_than_flows_are_refused() {
    let server = FalseServer::start(Fault::Nothing).await;
    assert!(run(Args { users: 3, ..arguments(&server) }, true).await.is_err());
}
