//! Sign-ins: asked for under an idempotency key, pulled, verified, answered with one signed response that is sent again
//! byte for byte until it is certain what became of it.

use std::time::Duration;

use countersign_proto::{api::devices::PendingChallenges, jose::Kind, timestamp::Timestamp, vocabulary::Decision};
use countersign_simulator::phone::{Answer, Phone, VerifiedChallenge};
use reqwest::{Method, header::AUTHORIZATION};
use serde_json::{Value, json};

use super::{Flow, Person, Turn, certain, certain_phone};
use crate::{
    history::{Asked, End, Op},
    system,
};

/// A sign-in that waits for its answer.
#[derive(Debug)]
pub(crate) struct Asking {
    pub(crate) id: String,
    /// What the person has to type.
    pub(crate) number: String,
    pub(crate) expires_at: Timestamp,
}

/// The shortest that a challenge may live (protocol 6.1).
const SHORTEST_SECONDS: i64 = 10;
pub(super) const USUAL_SECONDS: i64 = 300;

impl Flow {
    /// A whole sign-in, and what others may see of it.
    pub(crate) async fn sign_in(&mut self, person: &Person, is_yes: bool) -> Result<(), Turn> {
        self.answered(person, is_yes).await.map(drop)
    }

    /// The same, for whoever goes on with it.
    pub(crate) async fn answered(&mut self, person: &Person, is_yes: bool) -> Result<Asking, Turn> {
        let asking = self.ask(person, USUAL_SECONDS).await?;
        let challenge = self.pull(person, &asking).await?;
        let answer = if is_yes { Answer::approve(Some(&asking.number)) } else { Answer::deny(None) };
        self.answer(person, &challenge, &answer, "right").await?;
        self.read(&asking.id).await?;
        Ok(asking)
    }

    /// Another organisation looks at a sign-in, and would take it back.
    pub(crate) async fn trespass(&mut self, person: &Person) -> Result<(), Turn> {
        let asking = self.ask(person, USUAL_SECONDS).await?;
        let asked = Asked::new(self.number, Op::Trespass, &asking.id);
        let (stranger, path) = (self.world.stranger.clone(), format!("/v1/challenges/{}", asking.id));
        certain(async || stranger.call(asked.clone(), Method::GET, &path, None).await).await?;
        let path = format!("{path}/cancel");
        certain(async || stranger.call(asked.clone(), Method::POST, &path, None).await).await?;
        self.withdraw(&asking.id).await?;
        self.read(&asking.id).await
    }

    /// The caller gives up while the person answers: one of the two comes first.
    pub(crate) async fn cancel(&mut self, person: &Person) -> Result<(), Turn> {
        let asking = self.ask(person, USUAL_SECONDS).await?;
        let challenge = self.pull(person, &asking).await?;
        let answer = Answer::approve(Some(&asking.number));
        let answer = self.answer(person, &challenge, &answer, "right");
        let (cancelled, answered) = tokio::join!(self.withdraw(&asking.id), answer);
        cancelled?;
        answered?;
        self.read(&asking.id).await
    }

    /// A wrong number, and then the right one, which is too late.
    pub(crate) async fn mistype(&mut self, person: &Person) -> Result<(), Turn> {
        let asking = self.ask(person, USUAL_SECONDS).await?;
        let challenge = self.pull(person, &asking).await?;
        let wrong: String = asking.number.chars().map(|digit| if digit == '0' { '1' } else { '0' }).collect();
        self.answer(person, &challenge, &Answer::approve(Some(&wrong)), "wrong").await?;
        self.answer(person, &challenge, &Answer::approve(Some(&asking.number)), "second").await?;
        self.read(&asking.id).await?;
        // A few wrong numbers in a row lock a person: the next one begins anew.
        self.person = None;
        Ok(())
    }

    /// An answer at the very end of its time: before, at, or after it; somebody looks shortly before.
    pub(crate) async fn answer_late(&mut self, person: &Person) -> Result<(), Turn> {
        let asking = self.ask(person, SHORTEST_SECONDS).await?;
        let challenge = self.pull(person, &asking).await?;
        let (before, early) = (200 + self.dice.below(1_000), self.dice.below(200));
        let left = asking.expires_at.millis_since(system::now());
        system::pause(Duration::from_millis(left.saturating_sub(before))).await;
        self.read(&asking.id).await?;
        let left = asking.expires_at.millis_since(system::now());
        system::pause(Duration::from_millis((left + 100).saturating_sub(early))).await;
        self.answer(person, &challenge, &Answer::approve(Some(&asking.number)), "late").await?;
        self.read(&asking.id).await
    }

    /// Asks for a sign-in, under one idempotency key however often.
    pub(crate) async fn ask(&mut self, person: &Person, ttl_seconds: i64) -> Result<Asking, Turn> {
        let key = self.fresh("key");
        let body = json!({"user": {"external_id": person.external_id}, "push": false, "ttl_seconds": ttl_seconds,
            "verification": {"mode": "enter"}});
        let idp = self.world.idp.clone();
        let asked = Asked::new(self.number, Op::CreateChallenge, &key).device(person.device().to_string());
        let create = async || {
            let request = idp.request(Method::POST, "/v1/challenges", Some(&body)).header("idempotency-key", &key);
            idp.http.send(asked.clone(), request).await
        };
        let End::Ok { said, .. } = certain(create).await? else { return Err(Turn::Refused) };
        let member = |name: &str| said.get(name).and_then(Value::as_str).ok_or(Turn::Refused);
        let (id, number) = (member("id")?.to_owned(), member("number")?.to_owned());
        let expires_at = said.get("expires_at").cloned().and_then(|at| serde_json::from_value(at).ok());
        Ok(Asking { id, number, expires_at: expires_at.ok_or(Turn::Refused)? })
    }

    /// The phone finds it, and verifies what it would show.
    pub(crate) async fn pull(&mut self, person: &Person, asking: &Asking) -> Result<VerifiedChallenge, Turn> {
        let (http, phone) = (self.http(), &person.phone);
        let url = phone.server().endpoints().device_challenges.clone();
        let asked = Asked::new(self.number, Op::Pull, phone.id().to_string()).device(phone.id().to_string());
        let pull = async || {
            // A proof is a minute good, an outage may last longer.
            let Ok(proof) = phone.proof("GET", &url) else { return End::NotAsked };
            http.send(asked.clone(), http.request(Method::GET, &url).header(AUTHORIZATION, proof)).await
        };
        let End::Ok { said, .. } = certain(pull).await? else { return Err(Turn::Refused) };
        let pending: PendingChallenges = serde_json::from_value(said).map_err(|_| Turn::Refused)?;
        let found = pending.challenges.into_iter().find(|challenge| challenge.id.to_string() == asking.id);
        let found = found.ok_or(Turn::Refused)?;
        certain_phone(async || phone.verify(&found).await).await
    }

    /// Signs once, and sends the same bytes until it is certain what became of them.
    pub(crate) async fn answer(
        &self,
        person: &Person,
        challenge: &VerifiedChallenge,
        answer: &Answer,
        note: &str,
    ) -> Result<End, Turn> {
        let id = challenge.id().to_string();
        let claims = person.phone.response_claims(&id, challenge.text(), answer);
        let token = person.phone.sign(Kind::Response, &claims).map_err(|_| Turn::Refused)?;
        let op = if answer.decision == Decision::Approve { Op::Approve } else { Op::Deny };
        self.post_answer(op, &id, &person.phone, &token, note).await
    }

    /// Sends these bytes to where this challenge is answered, until it is certain what became of them.
    pub(crate) async fn post_answer(
        &self,
        op: Op,
        id: &str,
        phone: &Phone,
        token: &str,
        note: &str,
    ) -> Result<End, Turn> {
        let http = self.http();
        let url = format!("{}/{id}/response", phone.server().endpoints().device_challenges);
        let asked = Asked::new(self.number, op, id).device(phone.id().to_string()).note(note);
        certain(async || http.send(asked.clone(), http.artefact(Method::POST, &url, token)).await).await
    }

    /// The caller takes it back.
    pub(crate) async fn withdraw(&self, id: &str) -> Result<End, Turn> {
        let asked = Asked::new(self.number, Op::CancelChallenge, id);
        let (idp, path) = (self.world.idp.clone(), format!("/v1/challenges/{id}/cancel"));
        certain(async || idp.call(asked.clone(), Method::POST, &path, None).await).await
    }

    /// The caller looks.
    pub(crate) async fn read(&self, id: &str) -> Result<(), Turn> {
        let asked = Asked::new(self.number, Op::ReadChallenge, id);
        let (idp, path) = (self.world.idp.clone(), format!("/v1/challenges/{id}"));
        certain(async || idp.call(asked.clone(), Method::GET, &path, None).await).await.map(drop)
    }
}
