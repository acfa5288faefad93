//! The same answer, byte for byte, when it is too old to be taken for the first time: a phone that was out of reach while
//! its reply came. It is told what it would have been told then (protocol 7.2, step 2).

use std::time::Duration;

use countersign_proto::jose::Kind;
use countersign_simulator::phone::Answer;

use super::{Flow, Person, Turn, sign_in::USUAL_SECONDS};
use crate::{
    history::{End, Op},
    system,
};

/// Signed so long ago by the phone's clock: just within what is taken (60 seconds).
const SLOW_SECONDS: i64 = 56;
/// Then it is not any more.
const LATER: Duration = Duration::from_secs(6);

impl Flow {
    /// An approval by a phone whose clock is slow, and again.
    pub(crate) async fn repeat(&mut self, person: &Person) -> Result<(), Turn> {
        let asking = self.ask(person, USUAL_SECONDS).await?;
        let challenge = self.pull(person, &asking).await?;
        let answer = Answer::approve(Some(&asking.number));
        let mut claims = person.phone.response_claims(&asking.id, challenge.text(), &answer);
        claims.iat -= SLOW_SECONDS;
        let token = person.phone.sign(Kind::Response, &claims).map_err(|_| Turn::Refused)?;
        let first = self.post_answer(Op::Approve, &asking.id, &person.phone, &token, "right").await?;
        system::pause(LATER).await;
        // A server that was away for seconds may have refused it as too old.
        if matches!(first, End::Ok { .. }) {
            self.post_answer(Op::Repeat, &asking.id, &person.phone, &token, "right").await?;
        }
        self.read(&asking.id).await
    }
}
