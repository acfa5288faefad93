//! A server process: it reads, lets the rules of `core` judge, writes, and replies, in steps between which anything may
//! happen elsewhere. What it holds in memory is gone when it dies.
//!
//! Repeats the order of the real handlers (`server/src/http`), not their rules. To add a call: a variant of [`Request`],
//! its arm in [`Context::step`], its handler in the module of its noun.

mod answers;
mod challenges;
mod devices;
mod workers;

use std::{collections::BTreeMap, sync::Arc};

use countersign_core::{
    actor::{Actor, Stamp},
    device::{StatusChange, StoredBinding},
    entropy::{Entropy, new_id},
    policy::Policy,
    ports::{
        challenges::{Close, CloseChallenge, DecideChallenge},
        leases::HolderId,
        notifications::LeasedNotification,
    },
    verify::Signer,
};
use countersign_proto::{
    api::challenges::CreateChallenge as CreateRequest,
    ids::{ApiClientId, ApiKeyId, ChallengeId, DeviceId, EnrollmentId, Id, TenantId, UserId},
    jose::{
        Thumbprint,
        claims::{KeyRotationClaims, RegistrationClaims, ResponseClaims},
    },
    timestamp::Timestamp,
    vocabulary::{ChallengeReason, ChallengeStatus, DeviceStatus},
};

use super::{
    keys::Keys,
    store::{Command, LeasedMessage, Outcome, Sabotage, Store},
    tables::{Challenge, Text},
};
use crate::dice::{Dice, SharedDice};

/// The issuer of the simulated service.
pub(crate) const ISSUER: &str = "https://mfa.example";

/// Randomness of a seed.
pub(crate) struct Seeded(pub(crate) SharedDice);

impl Entropy for Seeded {
    fn fill(&self, buffer: &mut [u8]) {
        self.0.fill(buffer);
    }
}

/// What was signed, by its text: nobody but the holder of a key adds an entry under it, and a text that is not here has
/// no good signature.
#[derive(Debug, Default)]
pub(crate) struct Vault {
    pub(crate) responses: BTreeMap<String, (Thumbprint, ResponseClaims)>,
    pub(crate) rotations: BTreeMap<String, (Thumbprint, KeyRotationClaims)>,
    /// With the number of the key in the header.
    pub(crate) registrations: BTreeMap<String, (usize, RegistrationClaims)>,
}

/// Who asks, in which organisation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Client {
    pub(crate) tenant: TenantId,
    pub(crate) id: ApiClientId,
}

/// A call.
#[derive(Debug, Clone)]
pub(crate) enum Request {
    Create { client: Client, key: Option<String>, body: Box<CreateRequest> },
    Read(Client, ChallengeId),
    Cancel(Client, ChallengeId),
    Code(Client, ChallengeId, String),
    Respond(ChallengeId, String),
    Inbox(Thumbprint),
    Rotate(String),
    Status(Client, DeviceId, StatusChange),
    Unlock(Client, UserId),
    Erase(Client, UserId),
    Invite(Client, UserId),
    Register(String),
    Confirm(Client, EnrollmentId, String),
    Sweep,
    Push,
    Tell,
}

/// What is answered.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    Created { id: ChallengeId, number: Option<String> },
    Shown { id: ChallengeId, status: ChallengeStatus, reason: Option<ChallengeReason> },
    Recorded { id: ChallengeId, status: ChallengeStatus, code: Option<String> },
    NumberMismatch(ChallengeId),
    Closed(ChallengeId, ChallengeStatus),
    Skewed(Timestamp),
    Inbox(Vec<Arc<Text>>),
    Rotated,
    Changed(DeviceId, DeviceStatus),
    Erased(UserId),
    Unlocked,
    Invited(EnrollmentId, String),
    Registered { device: DeviceId, enrollment: EnrollmentId, code: String },
    Confirmed,
    Refused(#[expect(dead_code, reason = "people read it in a trace")] &'static str),
    Unavailable,
}

/// How far a call has come.
#[derive(Debug, Clone, Default)]
pub(crate) enum Stage {
    #[default]
    Start,
    /// A write of the call's own.
    Wrote,
    /// A pending row past its end is ended before it is shown.
    Settling,
    /// The response that is being recorded.
    Recording(Box<DecideChallenge>, u8),
    /// As [`Self::Settling`], for a response that came too late.
    SettlingAnswer,
    /// What is left to be written.
    Sweeping(Vec<Command>),
    Pushing(Vec<LeasedNotification>),
    Telling(Vec<LeasedMessage>),
    /// The reply, should the write hold.
    Replying(Reply),
}

/// A call that a node works at.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) node: usize,
    /// Of which life of the node.
    pub(crate) life: u32,
    /// Which caller waits; `None`: a worker of the node's own.
    pub(crate) caller: Option<usize>,
    pub(crate) request: Request,
    pub(crate) stage: Stage,
    /// How often it began again.
    pub(crate) tries: u8,
    /// The node's time when it took the call up.
    pub(crate) at: Timestamp,
    /// The step at which it last read what it is about to say.
    pub(crate) read_at: u64,
}

/// What comes of a step.
#[derive(Debug)]
pub(crate) enum Next {
    Write(Command),
    Answer(Reply),
    /// Goes on so many milliseconds later.
    Later(i64),
    /// A message arrived at its webhook; then the worker goes on.
    Arrived(countersign_proto::ids::EventId, Command),
    Stop,
}

/// A key that this process has verified against its binding: what is remembered may be out of date.
#[derive(Debug, Clone)]
pub(crate) struct BoundKey {
    pub(crate) signer: Signer,
    pub(crate) binding: StoredBinding,
}

/// A process.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) life: u32,
    pub(crate) is_up: bool,
    pub(crate) holder: HolderId,
    pub(crate) bound: BTreeMap<Thumbprint, BoundKey>,
    pub(crate) known: BTreeMap<ChallengeId, Arc<Text>>,
    /// How far its clock is from the true time, in milliseconds, and how it drifts, in millionths.
    pub(crate) offset: i64,
    pub(crate) drift: i64,
}

/// What a step may look at.
pub(crate) struct Context<'w> {
    pub(crate) store: &'w Store,
    pub(crate) node: &'w mut Node,
    pub(crate) entropy: &'w Seeded,
    pub(crate) vault: &'w Vault,
    pub(crate) keys: &'w Keys,
    pub(crate) policies: &'w BTreeMap<TenantId, Policy>,
    pub(crate) dice: &'w mut Dice,
    pub(crate) now: Timestamp,
    pub(crate) step: u64,
    /// Providers and webhooks answer as they should, and at once.
    pub(crate) is_calm: bool,
}

impl Context<'_> {
    /// Goes on with a call. `outcome`: of the write that it asked for.
    pub(crate) fn step(&mut self, job: &mut Job, outcome: Option<Outcome>) -> Next {
        job.read_at = self.step;
        if let (Stage::Start, None) = (&job.stage, &outcome) {
            job.at = self.now;
        }
        if matches!(outcome, Some(Outcome::Unavailable)) {
            return if job.caller.is_some() { Next::Answer(Reply::Unavailable) } else { Next::Stop };
        }
        match job.request.clone() {
            Request::Create { client, key, body } => self.create(job, client, key, &body, outcome),
            Request::Read(client, id) => self.read(job, client, id, outcome),
            Request::Cancel(client, id) => self.cancel(job, client, id, outcome),
            Request::Code(client, id, code) => self.code(job, client, id, &code, outcome),
            Request::Respond(path, text) => self.respond(job, path, &text, outcome),
            Request::Inbox(thumbprint) => self.inbox(job, &thumbprint),
            Request::Rotate(text) => self.rotate(job, &text, outcome),
            Request::Status(client, device, change) => self.status(job, client, device, change, outcome),
            Request::Unlock(client, user) => self.person(job, client, user, false, outcome),
            Request::Erase(client, user) => self.person(job, client, user, true, outcome),
            Request::Invite(client, user) => self.invite(job, client, user, outcome),
            Request::Register(text) => self.register(job, &text, outcome),
            Request::Confirm(client, id, code) => self.confirm(job, client, id, &code, outcome),
            Request::Sweep => self.sweep(job, outcome),
            Request::Push => self.push(job, outcome),
            Request::Tell => self.tell(job, outcome),
        }
    }

    pub(crate) fn id<K>(&self) -> Id<K> {
        new_id(self.now, self.entropy)
    }

    fn stamp(&self, actor: Actor, tenant_id: TenantId, at: Timestamp) -> Stamp {
        Stamp { command_id: self.id(), actor, tenant_id, request_id: String::new(), at }
    }

    fn client_stamp(&self, client: Client, at: Timestamp) -> Stamp {
        let key_id: ApiKeyId = Id::from_uuid(client.id.as_uuid());
        self.stamp(Actor::ApiClient { client_id: client.id, key_id }, client.tenant, at)
    }

    /// The client's own challenge.
    fn find(&self, client: Client, id: ChallengeId) -> Result<&Challenge, Reply> {
        let found = self.store.tables.challenges.get(&id).filter(|challenge| {
            let facts = &challenge.text.facts;
            let is_own = facts.tenant_id == client.tenant && facts.client_id == client.id;
            is_own || self.store.is_sabotaged(Sabotage::TenantUnchecked)
        });
        let challenge = found.ok_or(refusal("not-found"))?;
        let is_erased = self.store.tables.users.get(&challenge.text.facts.user.id).is_some_and(|user| user.is_erased);
        if is_erased { Err(refusal("erased")) } else { Ok(challenge) }
    }

    /// What ends a challenge whose time is up before anybody is told so; `None` if there is nothing to settle.
    fn settling(&self, challenge: &Challenge) -> Option<Command> {
        let facts = &challenge.text.facts;
        let is_due = challenge.status == ChallengeStatus::Pending && self.now >= facts.expires_at;
        is_due.then(|| self.expiry(facts.tenant_id, facts.user.id, facts.id))
    }

    fn expiry(&self, tenant: TenantId, user_id: UserId, challenge_id: ChallengeId) -> Command {
        let stamp = self.stamp(Actor::System, tenant, self.now);
        Command::Close(CloseChallenge { stamp, challenge_id, user_id, how: Close::Expire })
    }
}

fn refusal(reason: &'static str) -> Reply {
    Reply::Refused(reason)
}

fn refused(reason: &'static str) -> Next {
    Next::Answer(refusal(reason))
}
