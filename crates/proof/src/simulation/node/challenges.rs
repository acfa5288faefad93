//! What identity providers call: create, read, cancel, type a code.

use std::sync::Arc;

use countersign_core::{
    challenge::{self, ChallengeFacts, client_reference_digest, draw_number, status_at},
    device::is_dormant,
    digest::Digest,
    entropy::secret_bytes,
    limits::REPLAY_SECONDS,
    policy::{EffectivePolicy, effective},
    ports::challenges::{
        Addressee, Close, CloseChallenge, CloseOutcome, CreateChallenge, CreateOutcome, EnterCode, EnterCodeOutcome,
        Idempotency, TypedCode,
    },
    push,
};
use countersign_proto::{
    api::challenges::CreateChallenge as CreateRequest,
    ids::ChallengeId,
    jose::{
        base64url,
        claims::{ChallengeClaims, ChallengeTenant, ChallengeUser, ChallengeVerification},
    },
    push::PushBinding,
    vocabulary::{ChallengeStatus, DeviceStatus, PushChannel, VerificationMode},
};

use super::{Client, Context, ISSUER, Job, Next, Reply, Stage, refused};
use crate::simulation::{
    store::{Command, Outcome, Sabotage},
    tables::{Challenge, Text, User},
};

/// How often a change of the user's devices may come between reading and writing.
const ATTEMPTS: u8 = 4;

/// The server's MAC over a number, as far as anybody in here can tell.
pub(super) fn number_mac(id: ChallengeId, number: &str) -> String {
    Digest::of(format!("number {id} {number}")).to_b64u()
}

impl Context<'_> {
    pub(super) fn create(
        &mut self,
        job: &mut Job,
        client: Client,
        key: Option<String>,
        body: &CreateRequest,
        outcome: Option<Outcome>,
    ) -> Next {
        let digest = Digest::of(format!("{body:?}"));
        match outcome {
            None => self.attempt(job, client, key, body, digest),
            Some(Outcome::Created(CreateOutcome::Created(_))) => match &job.stage {
                Stage::Replying(reply) => Next::Answer(reply.clone()),
                _ => Next::Stop,
            },
            Some(Outcome::Created(CreateOutcome::Stored(stored))) if stored.body == digest => {
                replay(&stored.reply, stored.number)
            }
            Some(Outcome::Created(CreateOutcome::Stored(_))) => refused("idempotency-key-reused"),
            Some(Outcome::Created(CreateOutcome::DevicesChanged)) if job.tries < ATTEMPTS => {
                job.tries += 1;
                self.attempt(job, client, key, body, digest)
            }
            Some(Outcome::Created(CreateOutcome::TooManyPending(_))) => refused("too-many-pending"),
            Some(_) => refused("unavailable"),
        }
    }

    /// One round of read, sign, write.
    fn attempt(
        &mut self,
        job: &mut Job,
        client: Client,
        key: Option<String>,
        body: &CreateRequest,
        digest: Digest,
    ) -> Next {
        let now = self.now;
        if let Some(key) = &key {
            let stored = self.store.tables.idempotency.get(&(client.id, key.clone()));
            let live = stored.filter(|_| !self.store.is_sabotaged(Sabotage::KeyTakenOver));
            if let Some(stored) = live.filter(|stored| stored.expires_at > now) {
                if stored.body != digest {
                    return refused("idempotency-key-reused");
                }
                let challenge = self.store.tables.challenges.get(&stored.challenge);
                let is_pending = |row: &&Challenge| {
                    status_at(row.status, row.text.facts.expires_at, now) == ChallengeStatus::Pending
                };
                let number = challenge.filter(is_pending).and_then(|row| row.number.clone());
                return replay(&stored.challenge.to_string(), number);
            }
        }
        let Ok(request) = challenge::check(body.clone()) else { return refused("invalid-request") };
        let Some(policy) = self.policies.get(&client.tenant) else { return refused("unavailable") };
        let Ok(effective) = effective(policy, &request.policy) else { return refused("below-policy-floor") };
        let found = self.store.tables.users.values().find(|user| {
            user.tenant == client.tenant && user.name.external_id == request.external_id && !user.is_erased
        });
        let Some(user) = found.cloned() else { return refused("no-eligible-device") };
        let mut devices = self.addressees(&user);
        devices.retain(|device| !is_dormant(device.last_used_at, policy.dormant_after_days, now));
        if devices.is_empty() {
            return refused("no-eligible-device");
        }
        let rings = request.push && effective.rings;
        let deliveries = devices.iter().map(|device| push::first_delivery(device, rings, now)).collect();
        let (text, number) = self.sign(client, &request.text, effective, &user, &devices);
        let facts = text.facts.clone();
        let idempotency = key.map(|key| Idempotency {
            key,
            body: digest,
            reply: facts.id.to_string(),
            suppressed_reply: facts.id.to_string(),
            expires_at: now.plus_seconds(REPLAY_SECONDS),
        });
        let text = Arc::new(text);
        self.node.known.insert(facts.id, Arc::clone(&text));
        job.stage = Stage::Replying(Reply::Created { id: facts.id, number: number.clone() });
        let stamp = self.client_stamp(client, now);
        let devices_version = user.devices_version;
        let command = CreateChallenge { stamp, facts, devices_version, number, deliveries, idempotency };
        Next::Write(Command::Create(Box::new(command), text))
    }

    /// Active devices of the user, in the order of their ids.
    fn addressees(&self, user: &User) -> Vec<Addressee> {
        let own = self.store.tables.devices.iter().filter(|(_, device)| device.user == user.name.id);
        let active = own.filter(|(_, device)| device.status == DeviceStatus::Active);
        let addressee =
            |(id, device): (&countersign_proto::ids::DeviceId, &crate::simulation::tables::Device)| Addressee {
                device_id: *id,
                has_uv_key: device.uv_key.is_some(),
                push: PushBinding::None,
                channel: PushChannel::Fcm,
                is_token_gone: device.is_token_gone,
                undeliverable: None,
                last_used_at: self.now,
            };
        active.map(addressee).collect()
    }

    fn sign(
        &self,
        client: Client,
        text: &challenge::ChallengeText,
        policy: EffectivePolicy,
        user: &User,
        devices: &[Addressee],
    ) -> (Text, Option<String>) {
        let id: ChallengeId = self.id();
        let created_at = self.now.floor_to_second();
        let expires_at = created_at.plus_seconds(policy.ttl_seconds);
        let drawn = draw_number(&policy, self.entropy);
        let nonce = base64url::encode(secret_bytes(self.entropy));
        let jws = format!("challenge {id} {nonce}");
        let name = &user.name;
        let signed = ChallengeClaims {
            iss: ISSUER.to_owned(),
            aud: devices.iter().map(|device| device.device_id.to_string()).collect(),
            sub: name.id.to_string(),
            jti: id.to_string(),
            iat: created_at.as_seconds(),
            exp: expires_at.as_seconds(),
            nonce,
            tenant: ChallengeTenant { id: client.tenant.to_string(), name: String::new() },
            user: ChallengeUser { external_id: name.external_id.clone(), display_name: None },
            application: text.application.clone(),
            action: text.action.clone(),
            message: text.message.clone(),
            context: None,
            details: None,
            verification: ChallengeVerification { mode: policy.mode, digits: policy.digits, choices: drawn.choices },
            user_verification: policy.user_verification,
            user_verification_methods: None,
            profile: None,
            policy_version: policy.version,
            azp: client.id.to_string(),
            client_reference_sha256: text.client_reference.as_deref().map(client_reference_digest),
            number_mac: drawn.number.as_deref().map(|number| number_mac(id, number)),
        };
        let (tenant_id, client_id) = (client.tenant, client.id);
        let (user, text) = (name.clone(), text.clone());
        let facts = ChallengeFacts { id, tenant_id, client_id, user, text, policy, jws, created_at, expires_at };
        (Text { facts, signed }, drawn.number)
    }

    pub(super) fn read(&self, job: &mut Job, client: Client, id: ChallengeId, outcome: Option<Outcome>) -> Next {
        let challenge = match self.find(client, id) {
            Ok(challenge) => challenge,
            Err(reply) => return Next::Answer(reply),
        };
        if let Some(command) = self.settling(challenge).filter(|_| outcome.is_none()) {
            if self.store.is_sabotaged(Sabotage::ExpirySaid) {
                return Next::Answer(Reply::Shown { id, status: ChallengeStatus::Expired, reason: None });
            }
            job.stage = Stage::Settling;
            return Next::Write(command);
        }
        Next::Answer(Reply::Shown { id, status: challenge.status, reason: challenge.reason })
    }

    pub(super) fn cancel(&self, job: &mut Job, client: Client, id: ChallengeId, outcome: Option<Outcome>) -> Next {
        let challenge = match self.find(client, id) {
            Ok(challenge) => challenge,
            Err(reply) => return Next::Answer(reply),
        };
        match (&job.stage, outcome) {
            (Stage::Wrote, Some(Outcome::Closed(closed))) => match closed {
                CloseOutcome::Closed | CloseOutcome::AlreadyClosed(ChallengeStatus::Cancelled) => {
                    self.read(job, client, id, None)
                }
                // The end came between the look and the write: the row has the last word, not the clock.
                CloseOutcome::AlreadyClosed(_) | CloseOutcome::NotDue => match self.settling(challenge) {
                    Some(command) => {
                        job.stage = Stage::SettlingAnswer;
                        Next::Write(command)
                    }
                    None => Next::Answer(Reply::Closed(id, challenge.status)),
                },
                CloseOutcome::NotFound => refused("not-found"),
            },
            (Stage::SettlingAnswer, _) => Next::Answer(Reply::Closed(id, challenge.status)),
            (Stage::Start, None) if self.settling(challenge).is_some() => {
                job.stage = Stage::Settling;
                self.settling(challenge).map_or(Next::Stop, Next::Write)
            }
            _ => {
                job.stage = Stage::Wrote;
                let (stamp, user_id) = (self.client_stamp(client, self.now), challenge.text.facts.user.id);
                let how = Close::CancelByClient;
                Next::Write(Command::Close(CloseChallenge { stamp, challenge_id: id, user_id, how }))
            }
        }
    }

    pub(super) fn code(
        &self,
        job: &mut Job,
        client: Client,
        id: ChallengeId,
        code: &str,
        outcome: Option<Outcome>,
    ) -> Next {
        let challenge = match self.find(client, id) {
            Ok(challenge) => challenge,
            Err(reply) => return Next::Answer(reply),
        };
        match outcome {
            Some(Outcome::Code(EnterCodeOutcome::Approved | EnterCodeOutcome::Closed(_))) => {
                return self.read(job, client, id, None);
            }
            Some(Outcome::Code(_)) => return refused("wrong-code"),
            Some(_) => return self.read(job, client, id, None),
            None => {}
        }
        let shown = (challenge.response.clone(), challenge.device, challenge.code.clone());
        let (Some(response), Some(device_id), Some(shown)) = shown else { return refused("not-awaiting-code") };
        if challenge.status != ChallengeStatus::Pending || challenge.text.facts.policy.mode != VerificationMode::Display
        {
            return refused("not-awaiting-code");
        }
        job.stage = Stage::Wrote;
        let policy = &challenge.text.facts.policy;
        let is_right = shown.code == code;
        let typed = if is_right { TypedCode::Right { entered_seal: code.to_owned() } } else { TypedCode::Wrong };
        Next::Write(Command::Code(Box::new(EnterCode {
            stamp: self.client_stamp(client, self.now),
            challenge_id: id,
            user_id: challenge.text.facts.user.id,
            device_id,
            response,
            seal: shown.seal,
            typed,
            wrong_numbers_before_lock: policy.wrong_numbers_before_lock,
            lock_seconds: policy.lock_seconds,
        })))
    }
}

fn replay(id: &str, number: Option<String>) -> Next {
    id.parse().map_or(refused("unavailable"), |id| Next::Answer(Reply::Created { id, number }))
}
