//! Answers that must not be taken: signed for another server, by another phone, in another one's name, about something
//! else, at another time. The challenge waits meanwhile, so that nothing but the rule is in the way; then the right answer
//! is taken all the same.
//!
//! Never judges. To add a trick: its line in `tricks`.

use countersign_proto::jose::{Kind, claims::ResponseClaims, sha256};
use countersign_simulator::phone::{Answer, Phone};

use super::{Asking, Flow, Person, Turn, sign_in::USUAL_SECONDS};
use crate::history::Op;

/// Beyond what honest clocks may differ (protocol 2, rule 7).
const ANOTHER_TIME_SECONDS: i64 = 600;

impl Flow {
    /// All tricks, and then the right answer.
    pub(crate) async fn trick(&mut self, person: &Person) -> Result<(), Turn> {
        if self.stranger.is_none() {
            self.stranger = Some(self.enroll().await?);
        }
        let stranger = self.stranger.clone().ok_or(Turn::Refused)?;
        let (asking, other) = (self.ask(person, USUAL_SECONDS).await?, self.ask(person, USUAL_SECONDS).await?);
        let challenge = self.pull(person, &asking).await?;
        for (note, signer, claims) in tricks(person, &stranger, &asking, &other, challenge.text()) {
            let token = signer.sign(Kind::Response, &claims).map_err(|_| Turn::Refused)?;
            self.post_answer(Op::Trick, &asking.id, signer, &token, note).await?;
        }
        self.read(&asking.id).await?;
        self.answer(person, &challenge, &Answer::approve(Some(&asking.number)), "right").await?;
        self.read(&asking.id).await?;
        self.withdraw(&other.id).await?;
        self.read(&other.id).await
    }
}

/// What is wrong with it, who signs, and what.
fn tricks<'p>(
    person: &'p Person,
    stranger: &'p Person,
    asking: &Asking,
    other: &Asking,
    text: &str,
) -> Vec<(&'static str, &'p Phone, ResponseClaims)> {
    let answer = Answer::approve(Some(&asking.number));
    let right = || person.phone.response_claims(&asking.id, text, &answer);
    let (own, strange) = (&person.phone, &stranger.phone);
    let iat = right().iat;
    vec![
        ("for another server", own, ResponseClaims { aud: "https://elsewhere.example".to_owned(), ..right() }),
        ("by a stranger", strange, strange.response_claims(&asking.id, text, &answer)),
        ("by a stranger in its name", strange, right()),
        ("in a stranger's name", own, ResponseClaims { iss: strange.id().to_string(), ..right() }),
        ("of another text", own, ResponseClaims { challenge_sha256: sha256("something else"), ..right() }),
        ("for another challenge", own, ResponseClaims { sub: other.id.clone(), ..right() }),
        ("without the number", own, own.response_claims(&asking.id, text, &Answer::approve(None))),
        ("from the past", own, ResponseClaims { iat: iat - ANOTHER_TIME_SECONDS, ..right() }),
        ("from the future", own, ResponseClaims { iat: iat + ANOTHER_TIME_SECONDS, ..right() }),
    ]
}
