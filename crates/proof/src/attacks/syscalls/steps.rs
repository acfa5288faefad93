//! The steps that are struck: each is prepared, taken until it is certain, and looked at afterwards.
//!
//! What may not have come of it is said as a violation; all else is in the history. To add a step: a variant of [`Step`]
//! and of [`Prepared`], and its arms.

use countersign_simulator::phone::{Answer, VerifiedChallenge};

use crate::{
    flows::{Asking, Flow, Person, Turn},
    history::End,
};

/// Longer than a round.
const ASKED_SECONDS: i64 = 300;

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Step {
    /// A sign-in is asked for, under an idempotency key.
    Ask,
    /// A phone approves.
    Approve,
    /// A new person gets a phone: invitation, registration, confirmation.
    Enroll,
    /// A phone is revoked; then its finder tries to approve.
    Revoke,
}

/// A step whose moment has come.
pub(super) enum Prepared {
    Ask(Person),
    Approve(Waiting),
    Enroll,
    Revoke(Waiting),
}

/// Somebody who is asked.
pub(super) struct Waiting {
    person: Person,
    asking: Asking,
    challenge: VerifiedChallenge,
}

impl Waiting {
    async fn make(flow: &mut Flow, person: Person) -> Result<Self, Turn> {
        let asking = flow.ask(&person, 300).await?;
        let challenge = flow.pull(&person, &asking).await?;
        Ok(Self { person, asking, challenge })
    }

    async fn approve(&self, flow: &Flow, note: &str) -> Result<End, Turn> {
        flow.answer(&self.person, &self.challenge, &Answer::approve(Some(&self.asking.number)), note).await
    }
}

impl Prepared {
    /// All that comes before.
    pub(super) async fn make(step: Step, flow: &mut Flow) -> Result<Self, Turn> {
        match step {
            // Somebody new each time: of one person only so many may wait.
            Step::Ask => flow.enroll().await.map(Self::Ask),
            Step::Approve => {
                let person = flow.somebody().await?;
                Waiting::make(flow, person).await.map(Self::Approve)
            }
            Step::Enroll => Ok(Self::Enroll),
            Step::Revoke => {
                let person = flow.enroll().await?;
                Waiting::make(flow, person).await.map(Self::Revoke)
            }
        }
    }

    /// The step itself.
    pub(super) async fn take(&self, flow: &mut Flow) -> Vec<String> {
        match self {
            Self::Ask(person) => match flow.ask(person, ASKED_SECONDS).await {
                Ok(_) => Vec::new(),
                Err(why) => vec![format!("nobody was asked: {why:?}")],
            },
            Self::Approve(waiting) => match waiting.approve(flow, "right").await {
                Ok(End::Ok { said, .. }) if said.get("status").and_then(|is| is.as_str()) == Some("approved") => {
                    Vec::new()
                }
                other => vec![format!("{} was not approved: {other:?}", waiting.asking.id)],
            },
            Self::Enroll => match flow.enroll().await {
                Ok(_) => Vec::new(),
                Err(why) => vec![format!("nobody was enrolled: {why:?}")],
            },
            Self::Revoke(waiting) => match flow.revoke(&waiting.person).await {
                Ok(End::Ok { .. }) => Vec::new(),
                other => vec![format!("{} was not revoked: {other:?}", waiting.person.device())],
            },
        }
    }

    /// What must be so from now on.
    pub(super) async fn afterwards(&self, flow: &mut Flow) -> Vec<String> {
        match self {
            Self::Approve(waiting) => match flow.read(&waiting.asking.id).await {
                Ok(()) => Vec::new(),
                Err(why) => vec![format!("{} cannot be read: {why:?}", waiting.asking.id)],
            },
            Self::Ask(_) | Self::Enroll => Vec::new(),
            Self::Revoke(waiting) => match waiting.approve(flow, "lost").await {
                Ok(End::Refused { .. }) => Vec::new(),
                other => vec![format!("{} answers after its end: {other:?}", waiting.person.device())],
            },
        }
    }
}
