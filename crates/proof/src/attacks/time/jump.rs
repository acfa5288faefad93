//! One jump of the clock, what must not come of it, and the way back.
//!
//! To add something that a jump must not do: prepare it in `Before`, look at it in `there` or `back`.

use std::time::Duration;

use countersign_proto::jose::Kind;
use countersign_simulator::phone::{Answer, VerifiedChallenge};
use reqwest::Method;
use serde_json::Value;
use tokio::task::JoinHandle;

use super::{Stage, WORKS, unprepared};
use crate::{
    ProofError,
    flows::{Asking, Person, Turn},
    history::{Asked, End, Op},
    report::Report,
    system::{Stopwatch, pause},
};

/// The shortest that a challenge may live (protocol 6.1).
const SHORTEST: i64 = 10;
/// One wrong number more, and a person is locked (the default policy).
const WRONG: usize = 4;
/// A held read may last so long, by the time that passes.
const HELD_SECONDS: u64 = 5;

/// One jump.
pub(super) struct Jump {
    seconds: i64,
}

/// A challenge, and whose it is.
struct Waiting {
    person: Person,
    asking: Asking,
    challenge: VerifiedChallenge,
}

/// All that was there before.
struct Before {
    /// Waits, and has time left by what passes.
    waiting: Waiting,
    /// Signed while the clock was right, sent afterwards.
    signed: String,
    /// Waits, and its time passes while the clock is wrong; `since` it was made.
    short: Waiting,
    since: Stopwatch,
    /// Was approved, and had expired.
    approved: String,
    expired: Waiting,
    /// Has typed [`WRONG`] wrong numbers.
    guesser: Person,
    /// Reads, and is held.
    held: JoinHandle<End>,
}

impl Jump {
    pub(super) fn new(seconds: i64) -> Self {
        Self { seconds }
    }

    pub(super) async fn run(&self, stage: &mut Stage, report: &mut Report) -> Result<(), ProofError> {
        let mut before = Before::make(stage).await?;
        // The held read is under way.
        pause(Duration::from_millis(300)).await;
        stage.set(self.seconds.saturating_mul(1_000))?;
        let mut found = self.there(&mut before, stage, report).await?;
        stage.set(0)?;
        found.extend(self.back(before, stage, report).await?);
        report.absorb(found.into_iter().map(|what| format!("a jump by {} s: {what}", self.seconds)));
        Ok(())
    }

    /// While the clock is wrong.
    async fn there(
        &self,
        before: &mut Before,
        stage: &mut Stage,
        report: &mut Report,
    ) -> Result<Vec<String>, ProofError> {
        let mut found = Vec::new();
        let unanswered = Waiting::make(stage, SHORTEST).await;
        let waiting = &before.waiting;
        if self.seconds > 0 {
            let old = post(stage, waiting, &before.signed).await;
            let new = approve(stage, waiting).await;
            if is_ok(&old) || is_ok(&new) {
                found.push(format!("an approval was taken after the end: {old:?}, {new:?}"));
            }
            let status = status(stage, &waiting.asking.id).await?;
            if status.as_deref() != Some("expired") {
                found.push(format!("a challenge that is over by the clock is {status:?}"));
            }
        }
        found.extend(ended(stage, before).await?);
        found.extend(guess(stage, &before.guesser).await);
        match stage.signs_in().await {
            Ok(_) => report.count("sign-ins at a wrong time", 1),
            Err(_) => report.count("no sign-in at a wrong time", 1),
        }
        // Its own time passes, whatever the wall says.
        let life = Duration::from_secs(SHORTEST.unsigned_abs() + 1);
        pause(life.saturating_sub(before.since.elapsed())).await;
        let late = approve(stage, &before.short).await;
        if is_ok(&late) {
            found.push(format!("an approval was taken after the time that has passed: {late:?}"));
        }
        match tokio::time::timeout(WORKS, &mut before.held).await {
            Ok(Ok(End::Ok { .. })) => report.count("held reads", 1),
            other => found.push(format!("a held read of {HELD_SECONDS} s: {other:?}")),
        }
        // Nobody has looked at it: the server's own work goes on.
        if let Ok(unanswered) = unanswered
            && !stage.is_logged("challenge.expired", &unanswered.asking.id).await?
        {
            found.push(format!("{} does not end at a wrong time", unanswered.asking.id));
        }
        Ok(found)
    }

    /// When it is right again.
    async fn back(&self, before: Before, stage: &mut Stage, report: &mut Report) -> Result<Vec<String>, ProofError> {
        let mut found = Vec::new();
        let late = approve(stage, &before.short).await;
        if is_ok(&late) {
            found.push(format!("an approval was taken after the end, when the clock was right again: {late:?}"));
        }
        if self.seconds > 0 {
            let revived = approve(stage, &before.waiting).await;
            let status = status(stage, &before.waiting.asking.id).await?;
            if is_ok(&revived) || status.as_deref() != Some("expired") {
                found.push(format!("what had expired by the clock is {status:?} again: {revived:?}"));
            }
        }
        found.extend(ended(stage, &before).await?);
        match stage.signs_in().await {
            Ok(person) => {
                report.count("sign-ins when it was right again", 1);
                if !stage.is_logged("device.confirmed", &person.device().to_string()).await? {
                    found.push("the log stands still when the clock is right again".to_owned());
                }
            }
            Err(why) => found.push(format!("nobody signs in when the clock is right again: {why}")),
        }
        Ok(found)
    }
}

impl Before {
    async fn make(stage: &mut Stage) -> Result<Self, ProofError> {
        // Over by a small jump that is taken back: then it has ended for good.
        let expired = Waiting::make(stage, SHORTEST).await.map_err(unprepared)?;
        stage.set(SHORTEST.saturating_add(2).saturating_mul(1_000))?;
        status(stage, &expired.asking.id).await?;
        stage.set(0)?;
        let approved = Waiting::make(stage, 300).await.map_err(unprepared)?;
        approve(stage, &approved).await;
        let guesser = stage.flow.enroll().await.map_err(unprepared)?;
        for _ in 0..WRONG {
            wrong(stage, &guesser).await.map_err(unprepared)?;
        }
        let waiting = Waiting::make(stage, 300).await.map_err(unprepared)?;
        let signed = sign(&waiting).map_err(unprepared)?;
        let since = Stopwatch::start();
        let short = Waiting::make(stage, SHORTEST).await.map_err(unprepared)?;
        let (idp, id) = (stage.world.idp.clone(), waiting.asking.id.clone());
        let held = tokio::spawn(async move {
            let path = format!("/v1/challenges/{id}?wait={HELD_SECONDS}");
            idp.call(Asked::new(0, Op::ReadChallenge, &id), Method::GET, &path, None).await
        });
        let approved = approved.asking.id;
        Ok(Self { waiting, signed, short, since, approved, expired, guesser, held })
    }
}

impl Waiting {
    async fn make(stage: &mut Stage, ttl_seconds: i64) -> Result<Self, Turn> {
        let person = stage.flow.enroll().await?;
        let asking = stage.flow.ask(&person, ttl_seconds).await?;
        let challenge = stage.flow.pull(&person, &asking).await?;
        Ok(Self { person, asking, challenge })
    }
}

/// What has ended stays as it ended.
async fn ended(stage: &Stage, before: &Before) -> Result<Vec<String>, ProofError> {
    let mut found = Vec::new();
    let again = approve(stage, &before.expired).await;
    if is_ok(&again) {
        found.push(format!("an approval was taken of what had expired before: {again:?}"));
    }
    for (id, was) in [(&before.approved, "approved"), (&before.expired.asking.id, "expired")] {
        let is = status(stage, id).await?;
        if is.as_deref() != Some(was) {
            found.push(format!("challenge {id} was {was}, and is {is:?}"));
        }
    }
    Ok(found)
}

/// One wrong number more locks: those before the jump count.
async fn guess(stage: &mut Stage, guesser: &Person) -> Vec<String> {
    let guess = async {
        wrong(stage, guesser).await?;
        let asking = stage.flow.ask(guesser, 300).await?;
        let challenge = stage.flow.pull(guesser, &asking).await?;
        Ok::<_, Turn>(approve(stage, &Waiting { person: guesser.clone(), asking, challenge }).await)
    };
    match guess.await {
        Ok(end) if is_ok(&end) => vec![format!("wrong numbers were forgotten: {end:?}")],
        _ => Vec::new(),
    }
}

/// Somebody types a wrong number.
async fn wrong(stage: &mut Stage, person: &Person) -> Result<End, Turn> {
    let asking = stage.flow.ask(person, 300).await?;
    let challenge = stage.flow.pull(person, &asking).await?;
    let number: String = asking.number.chars().map(|digit| if digit == '0' { '1' } else { '0' }).collect();
    stage.flow.answer(person, &challenge, &Answer::approve(Some(&number)), "wrong").await
}

/// Approves with a fresh signature; `None` if it is not certain what became of it.
async fn approve(stage: &Stage, waiting: &Waiting) -> Option<End> {
    let answer = Answer::approve(Some(&waiting.asking.number));
    let answered = stage.flow.answer(&waiting.person, &waiting.challenge, &answer, "right");
    tokio::time::timeout(WORKS, answered).await.ok()?.ok()
}

fn sign(waiting: &Waiting) -> Result<String, Turn> {
    let (phone, challenge) = (&waiting.person.phone, &waiting.challenge);
    let answer = Answer::approve(Some(&waiting.asking.number));
    let claims = phone.response_claims(&waiting.asking.id, challenge.text(), &answer);
    phone.sign(Kind::Response, &claims).map_err(|_| Turn::Refused)
}

/// Sends what was signed before.
async fn post(stage: &Stage, waiting: &Waiting, signed: &str) -> Option<End> {
    let (id, phone) = (&waiting.asking.id, &waiting.person.phone);
    let url = format!("{}/{id}/response", phone.server().endpoints().device_challenges);
    let asked = Asked::new(0, Op::Approve, id).device(phone.id().to_string()).note("right");
    let http = stage.flow.http();
    Some(http.send(asked, http.artefact(Method::POST, &url, signed)).await)
}

fn is_ok(end: &Option<End>) -> bool {
    matches!(end, Some(End::Ok { .. }))
}

async fn status(stage: &Stage, id: &str) -> Result<Option<String>, ProofError> {
    let shown = stage.flow.idp().read_json(&format!("/v1/challenges/{id}")).await?;
    Ok(shown.get("status").and_then(Value::as_str).map(str::to_owned))
}
