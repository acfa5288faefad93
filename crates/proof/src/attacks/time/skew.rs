//! Two nodes whose clocks differ by an hour, and one phone that answers at both.
//!
//! What each of them makes of a challenge may differ (the one takes it for over, or for not yet made); that they decide it
//! twice, or tell of two ends, must not be.

use std::path::Path;

use countersign_proto::{jose::Kind, vocabulary::Decision};
use countersign_simulator::phone::Answer;
use futures_util::future::join_all;
use reqwest::{Method, RequestBuilder};

use super::{Stage, WrongClock};
use crate::{
    ProofError,
    flows::{Asking, Person, Turn},
    history::{Asked, Call, End, Op},
    report::Report,
    rig::{Node, Rig, free_port},
};

const HOUR_MILLIS: i64 = 3_600_000;

/// Each sign at both nodes; the second node, which the caller stops.
pub(super) async fn run(
    rig: &Rig,
    stage: &mut Stage,
    libfaketime: Option<&Path>,
    rounds: u64,
    report: &mut Report,
) -> Result<Node, ProofError> {
    let clock = WrongClock::new(rig.file("other-clock"), libfaketime)?;
    let other = clock.start(rig, free_port()?).await?;
    let mut pair = Pair { rig, stage, clock, base: format!("http://127.0.0.1:{}", other.port) };
    for millis in [HOUR_MILLIS, -HOUR_MILLIS] {
        for _ in 0..rounds {
            let found = pair.round(millis).await;
            // That its time is over says the node whose clock is ahead; the other one believes it.
            let by = |call: &Call| if call.said("status") == Some("expired") { millis.max(0) } else { 0 };
            pair.stage.keep_calls_by(by);
            match found {
                Ok(found) => report.absorb(found),
                Err(_) => report.count("refused at nodes whose clocks differ", 1),
            }
            report.count("asked at nodes whose clocks differ", 1);
        }
    }
    // The history's times are those of the first node, whose clock is right.
    pair.clock.set(0)?;
    if let Err(why) = pair.stage.signs_in().await {
        report.violated(format!("nobody signs in when both clocks are right again: {why}"));
    }
    Ok(other)
}

struct Pair<'r> {
    rig: &'r Rig,
    stage: &'r mut Stage,
    clock: WrongClock,
    /// Of the other node.
    base: String,
}

impl Pair<'_> {
    /// The first node asks; the phone says yes at the one and no at the other, each by that node's time.
    async fn round(&mut self, ahead: i64) -> Result<Vec<String>, Turn> {
        self.clock.set(0).map_err(|_| Turn::Refused)?;
        let person = self.stage.flow.enroll().await?;
        let asking = self.stage.flow.ask(&person, 300).await?;
        let challenge = self.stage.flow.pull(&person, &asking).await?;
        self.clock.set(ahead).map_err(|_| Turn::Refused)?;
        let (text, yes, first) = (challenge.text(), Answer::approve(Some(&asking.number)), self.rig.url());
        let yes = self.response(&person, &asking, text, &yes, &first)?;
        // Signed by the other node's time.
        self.stage.clock.have_phones_believe(ahead);
        let no = self.response(&person, &asking, text, &Answer::deny(None), &self.base);
        self.stage.clock.have_phones_believe(0);
        let (http, no) = (self.stage.flow.http(), no?);
        let ends = join_all([yes, no].map(|(asked, request)| http.send(asked, request))).await;
        self.stage.flow.read(&asking.id).await?;
        let path = format!("/v1/challenges/{}", asking.id);
        let asked = Asked::new(0, Op::ReadChallenge, &asking.id);
        self.stage.world.idp.at(&self.base).call(asked, Method::GET, &path, None).await;
        self.stage.flow.read(&asking.id).await?;
        let own = ["approved", "denied"];
        let is_won = |(end, own): (&End, &str)| match end {
            End::Ok { said, .. } => said.get("status").and_then(|status| status.as_str()) == Some(own),
            _ => false,
        };
        let winners = ends.iter().zip(own).filter(|racer| is_won(*racer)).count();
        Ok(if winners <= 1 { Vec::new() } else { vec![format!("challenge {} was decided twice: {ends:?}", asking.id)] })
    }

    fn response(
        &self,
        person: &Person,
        asking: &Asking,
        text: &str,
        answer: &Answer,
        base: &str,
    ) -> Result<(Asked, RequestBuilder), Turn> {
        let phone = &person.phone;
        let claims = phone.response_claims(&asking.id, text, answer);
        let token = phone.sign(Kind::Response, &claims).map_err(|_| Turn::Refused)?;
        let url = format!("{}/{}/response", phone.server().endpoints().device_challenges, asking.id);
        let url = url.replacen(&self.rig.url(), base, 1);
        let op = if answer.decision == Decision::Approve { Op::Approve } else { Op::Deny };
        let asked = Asked::new(0, op, &asking.id).device(phone.id().to_string());
        Ok((asked, self.stage.flow.http().artefact(Method::POST, &url, &token)))
    }
}
