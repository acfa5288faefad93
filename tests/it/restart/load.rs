//! One client of the load: enrolls, asks, answers, revokes, and writes down what was acknowledged.

use std::sync::Arc;

use countersign_proto::vocabulary::DenyReason;
use countersign_simulator::{
    Phone,
    phone::{Answer, EnrollOptions, EnrollmentUri, PhoneError},
};
use countersign_tests::{ApiClient, text};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::ledger::{Fact, Ledger};

/// Why a flow ended early.
#[derive(Debug)]
pub(super) enum Ended {
    /// Nobody answers any more: killed.
    Silence,
    /// An answer that should not have been.
    Refused(String),
}

impl From<reqwest::Error> for Ended {
    fn from(_: reqwest::Error) -> Self {
        Self::Silence
    }
}

impl From<PhoneError> for Ended {
    fn from(error: PhoneError) -> Self {
        match error {
            PhoneError::Unreachable(_) => Self::Silence,
            error => Self::Refused(error.to_string()),
        }
    }
}

/// Small, seeded, and good enough to choose what to do next (xorshift64*).
#[derive(Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(super) fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 16) % limit
    }
}

/// Flow after flow until the server is silent.
pub(super) async fn run(client: ApiClient, ledger: Arc<Ledger>, mut random: Random, user: String) {
    for number in 0_u64.. {
        match flow(&client, &ledger, &mut random, &format!("{user}-{number}")).await {
            Ok(()) => {}
            Err(Ended::Silence) => return,
            Err(Ended::Refused(why)) => panic!("{user}-{number}: {why}"),
        }
    }
}

async fn call(request: RequestBuilder) -> Result<Value, Ended> {
    let reply = request.send().await?;
    let status = reply.status();
    let body = reply.text().await?;
    if status.is_success() {
        serde_json::from_str(&body).map_err(|error| Ended::Refused(format!("{error}: {body}")))
    } else {
        Err(Ended::Refused(format!("{status}: {body}")))
    }
}

/// A phone, two or three sign-ins, and now and then the phone's end.
pub(super) async fn flow(client: &ApiClient, ledger: &Ledger, random: &mut Random, user: &str) -> Result<(), Ended> {
    let post = |path: &str, body: Value| call(client.request(Method::POST, path).json(&body));
    let enrollment = post("/v1/enrollments", json!({"user": {"external_id": user}})).await?;
    let uri = EnrollmentUri::parse(text(&enrollment, "enrollment_uri"))?;
    let (server, surroundings) = client.phones();
    let options = EnrollOptions::named("Phone");
    let phone = Phone::enroll_at(server.clone(), uri.ticket(), options, surroundings.clone()).await?;
    let device = phone.id().to_string();
    let confirmation = format!("/v1/enrollments/{}/confirmation", text(&enrollment, "id"));
    post(&confirmation, json!({"code": phone.registration().confirmation_code})).await?;
    ledger.add(Fact::DeviceActive(device.clone()));

    for _ in 0..2 {
        sign_in(client, ledger, random, user, &phone).await?;
    }
    if random.below(3) == 0 {
        // One challenge stays open, so that the revocation has something to cancel.
        let open = post("/v1/challenges", json!({"user": {"external_id": user}})).await?;
        ledger.add(Fact::ChallengeCreated(text(&open, "id").to_owned()));
        ledger.add(Fact::RevokeBegun(device.clone()));
        call(client.request(Method::DELETE, &format!("/v1/devices/{device}?reason=lost"))).await?;
        ledger.add(Fact::DeviceRevoked(device));
        ledger.add(Fact::Decided(text(&open, "id").to_owned(), "cancelled"));
    }
    Ok(())
}

async fn sign_in(
    client: &ApiClient,
    ledger: &Ledger,
    random: &mut Random,
    user: &str,
    phone: &Phone,
) -> Result<(), Ended> {
    let body = json!({"user": {"external_id": user}});
    let created = call(client.request(Method::POST, "/v1/challenges").json(&body)).await?;
    let id = text(&created, "id").to_owned();
    ledger.add(Fact::ChallengeCreated(id.clone()));
    let set = phone.pending(0, None).await?;
    let pending = set.into_iter().flat_map(|set| set.challenges).find(|pending| pending.id.to_string() == id);
    let pending = pending.ok_or_else(|| Ended::Refused(format!("{id} is acknowledged, but not pending")))?;
    let challenge = phone.verify(&pending).await?;
    let (answer, status) = match random.below(4) {
        0 => (Answer::deny(Some(DenyReason::Mistake)), "denied"),
        _ => (Answer::approve(created["number"].as_str()), "approved"),
    };
    phone.respond(&challenge, &answer).await?;
    ledger.add(Fact::Decided(id, status));
    Ok(())
}
