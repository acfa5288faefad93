//! Protocol 7: approve or deny what was verified.

use countersign_proto::api::devices::ResponseRecorded;
use countersign_proto::jose::claims::ResponseClaims;
use countersign_proto::jose::{self, Kind};
use countersign_proto::vocabulary::{Decision, DenyReason, UvMethod};
use reqwest::Method;

use super::{Phone, PhoneError, Reply, VerifiedChallenge};

/// What the person decided. Its `Debug` leaves the number out.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    /// Yes or no.
    pub decision: Decision,
    /// The number that was typed or chosen.
    pub number: Option<String>,
    /// Why not.
    pub reason: Option<DenyReason>,
    /// How the platform verified the user: if given, the uv key signs.
    pub uv: Option<UvMethod>,
}

impl Answer {
    /// Yes, with the number where one is due.
    pub fn approve(number: Option<&str>) -> Self {
        Self { decision: Decision::Approve, number: number.map(str::to_owned), reason: None, uv: None }
    }

    /// No.
    pub fn deny(reason: Option<DenyReason>) -> Self {
        Self { decision: Decision::Deny, number: None, reason, uv: None }
    }

    /// The same, signed with the uv key.
    #[must_use]
    pub fn verified_by(self, uv: UvMethod) -> Self {
        Self { uv: Some(uv), ..self }
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { decision, number: _, reason, uv } = self;
        let mut answer = f.debug_struct("Answer");
        answer.field("decision", decision).field("reason", reason).field("uv", uv).finish_non_exhaustive()
    }
}

impl Phone {
    /// Approves. With `uv` the user verification key signs, else the device key.
    ///
    /// # Errors
    /// [`PhoneError`]: the problems `number-mismatch`, `challenge-closed`, `device-not-active`, `user-locked`
    /// and `user-verification-required` among them.
    pub async fn approve(
        &self,
        challenge: &VerifiedChallenge,
        number: Option<&str>,
        uv: Option<UvMethod>,
    ) -> Result<ResponseRecorded, PhoneError> {
        let answer = Answer { uv, ..Answer::approve(number) };
        self.respond(challenge, &answer).await
    }

    /// Denies.
    ///
    /// # Errors
    /// As [`Self::approve`].
    pub async fn deny(
        &self,
        challenge: &VerifiedChallenge,
        reason: Option<DenyReason>,
    ) -> Result<ResponseRecorded, PhoneError> {
        self.respond(challenge, &Answer::deny(reason)).await
    }

    /// Signs and sends an answer.
    ///
    /// # Errors
    /// As [`Self::approve`].
    pub async fn respond(
        &self,
        challenge: &VerifiedChallenge,
        answer: &Answer,
    ) -> Result<ResponseRecorded, PhoneError> {
        let token = self.sign_response(challenge, answer)?;
        self.send_response(&challenge.id().to_string(), &token).await?.read()
    }

    /// The signed response, to be sent (and sent again) with [`Self::send_response`].
    ///
    /// # Errors
    /// [`PhoneError::Signing`], [`PhoneError::NoUserVerificationKey`].
    pub fn sign_response(&self, challenge: &VerifiedChallenge, answer: &Answer) -> Result<String, PhoneError> {
        let claims = self.response_claims(&challenge.id().to_string(), challenge.text(), answer);
        match answer.uv {
            Some(_) => self.sign_with_user_verification(Kind::Response, &claims),
            None => self.sign(Kind::Response, &claims),
        }
    }

    /// The claims of an answer to any challenge and text, verified or not; sign them with [`Phone::sign`].
    pub fn response_claims(&self, challenge_id: &str, challenge_text: &str, answer: &Answer) -> ResponseClaims {
        let (iss, aud, iat, jti) = self.common_claims();
        let Answer { decision, number, reason, uv } = answer.clone();
        let challenge_sha256 = jose::sha256(challenge_text);
        ResponseClaims {
            iss,
            aud,
            sub: challenge_id.to_owned(),
            iat,
            jti,
            challenge_sha256,
            decision,
            number,
            reason,
            uv,
        }
    }

    /// Posts anything as the response to a challenge; the reply as it came.
    ///
    /// # Errors
    /// [`PhoneError`] if there is no reply.
    pub async fn send_response(&self, challenge_id: &str, token: &str) -> Result<Reply, PhoneError> {
        let url = format!("{}/{challenge_id}/response", self.server.endpoints().device_challenges);
        self.server.send_artifact(Method::POST, &url, token).await
    }
}
