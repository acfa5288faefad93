//! A device's response (protocol 7.2; the comments' numbers are its), and the list of what waits for it.

use std::sync::Arc;

use countersign_core::{
    actor::Actor,
    digest::Digest,
    entropy,
    limits::{REPLAY_SECONDS, SKEW_SECONDS},
    ports::challenges::{DecideChallenge, DecideOutcome, DisplayedCode, RecordedResponse},
    verify::{self, DecisionState, Obstacle, Refusal, Signer, Verdict},
};
use countersign_proto::{
    ids::ChallengeId,
    jose::{Thumbprint, check_audience, check_iat, check_jti, claims::ResponseClaims},
    vocabulary::{ChallengeReason, ChallengeStatus, Decision, DeviceStatus},
};

use super::{BoundKey, Context, ISSUER, Job, Next, Reply, Stage, challenges::number_mac, refused};
use crate::simulation::{
    store::{Command, Outcome, Sabotage, recorded},
    tables::Text,
};

impl Context<'_> {
    pub(super) fn respond(&mut self, job: &mut Job, path: ChallengeId, text: &str, outcome: Option<Outcome>) -> Next {
        if let Stage::Recording(command, tries) = job.stage.clone() {
            return match outcome {
                Some(Outcome::Decided(outcome)) => self.recorded(job, *command, tries, outcome),
                _ => refused("unavailable"),
            };
        }
        if let Stage::SettlingAnswer = job.stage {
            return self.closed(path, text);
        }
        // 1. Only the holder of the key has made this text.
        let Some((thumbprint, claims)) = self.vault.responses.get(text).cloned() else {
            return refused("invalid-device-signature");
        };
        let Some(bound) = self.bound(&thumbprint) else {
            return self.first_reply(path, text).unwrap_or_else(|| refused("device-not-active"));
        };
        if claims.iss != bound.signer.device_id.to_string()
            || check_audience(&claims.aud, ISSUER).is_err()
            || check_jti(&claims.jti).is_err()
        {
            return refused("invalid-device-signature");
        }
        // 2. Before the iat check.
        if check_iat(claims.iat, self.now.as_seconds(), SKEW_SECONDS).is_err() {
            return self.first_reply(path, text).unwrap_or(Next::Answer(Reply::Skewed(self.now)));
        }
        self.decide(job, path, text, &thumbprint, bound, &claims)
    }

    fn decide(
        &mut self,
        job: &mut Job,
        path: ChallengeId,
        text: &str,
        thumbprint: &Thumbprint,
        bound: BoundKey,
        claims: &ResponseClaims,
    ) -> Next {
        // 4. What is not of the device's tenant and user is answered like what does not exist.
        let Some(challenge) = self.challenge_of(path, &bound.signer) else { return refused("not-found") };
        let (facts, signed) = (&challenge.facts, &challenge.signed);
        if !verify::is_within_lifetime(signed, claims.iat) {
            return Next::Answer(Reply::Skewed(self.now));
        }
        let judged = verify::judge(facts, signed, &bound.signer, claims, |number| {
            signed.number_mac.as_deref() == Some(number_mac(facts.id, number).as_str())
        });
        let verdict = match judged {
            Ok(verdict) => verdict,
            Err(refusal) => return self.refuse(job, path, thumbprint, &bound, claims, refusal),
        };
        let command = DecideChallenge {
            stamp: self.stamp(Actor::Device(bound.signer.device_id), bound.signer.tenant_id, job.at),
            challenge_id: facts.id,
            user_id: bound.signer.user_id,
            device_id: bound.signer.device_id,
            key: thumbprint.clone(),
            binding: bound.binding,
            response: text.to_owned(),
            verdict,
            wrong_numbers_before_lock: facts.policy.wrong_numbers_before_lock,
            lock_seconds: facts.policy.lock_seconds,
            quiet_seconds_after_report: facts.policy.quiet_seconds_after_report,
            on_report: facts.policy.on_report,
            flags: Vec::new(),
            code: (verdict == Verdict::ShowCode).then(|| self.draw_code(facts.policy.digits.unwrap_or_default(), text)),
        };
        job.stage = Stage::Recording(Box::new(command.clone()), 0);
        Next::Write(Command::Decide(Box::new(command)))
    }

    fn draw_code(&self, digits: u8, response: &str) -> DisplayedCode {
        let code = entropy::digits(digits, self.entropy);
        let seal = Digest::of(format!("code {code} {response}")).to_b64u();
        DisplayedCode { code, seal }
    }

    /// The key, as this process believes it: what is remembered may be out of date.
    pub(super) fn bound(&mut self, thumbprint: &Thumbprint) -> Option<BoundKey> {
        if let Some(bound) = self.node.bound.get(thumbprint) {
            return Some(bound.clone());
        }
        let (device_id, role) = *self.store.tables.keys.get(thumbprint)?;
        let device = self.store.tables.devices.get(&device_id)?;
        let is_current = device.key == *thumbprint || device.uv_key.as_ref() == Some(thumbprint);
        let binding = device.binding.clone().filter(|_| is_current)?;
        let signer = Signer { device_id, tenant_id: device.tenant, user_id: device.user, role };
        let bound = BoundKey { signer, binding };
        self.node.bound.insert(thumbprint.clone(), bound.clone());
        Some(bound)
    }

    fn challenge_of(&mut self, id: ChallengeId, signer: &Signer) -> Option<Arc<Text>> {
        let known = self.node.known.get(&id).cloned();
        let text = known.or_else(|| Some(Arc::clone(&self.store.tables.challenges.get(&id)?.text)))?;
        let is_own = text.facts.tenant_id == signer.tenant_id && text.facts.user.id == signer.user_id;
        let text = Some(text).filter(|_| is_own)?;
        self.node.known.insert(id, Arc::clone(&text));
        Some(text)
    }

    /// What came of the write.
    fn recorded(&mut self, job: &mut Job, command: DecideChallenge, tries: u8, outcome: DecideOutcome) -> Next {
        let id = command.challenge_id;
        match outcome {
            DecideOutcome::StaleKey if tries == 0 => {
                self.node.bound.remove(&command.key);
                let Some(bound) = self.bound(&command.key) else {
                    return self.first_reply(id, &command.response).unwrap_or_else(|| refused("stale-key"));
                };
                let stamp = self.stamp(Actor::Device(bound.signer.device_id), bound.signer.tenant_id, job.at);
                let command = DecideChallenge { stamp, binding: bound.binding, ..command };
                job.stage = Stage::Recording(Box::new(command.clone()), 1);
                Next::Write(Command::Decide(Box::new(command)))
            }
            DecideOutcome::Repeat(recorded) => reply(id, &recorded),
            DecideOutcome::Won { .. } => match (command.verdict, command.end().0) {
                (Verdict::WrongNumber, _) => Next::Answer(Reply::NumberMismatch(id)),
                (_, status) => {
                    let code = command.code.map(|displayed| displayed.code);
                    Next::Answer(Reply::Recorded { id, status, code })
                }
            },
            DecideOutcome::Closed(_) => {
                let first = self.first_reply(id, &command.response);
                first.unwrap_or_else(|| self.settle_closed(job, id, &command.response))
            }
            DecideOutcome::DeviceNotActive(_) => self.told(id, &command.response, "device-not-active"),
            DecideOutcome::Locked(_) => self.told(id, &command.response, "user-locked"),
            DecideOutcome::AwaitingCode => self.told(id, &command.response, "awaiting-code"),
            DecideOutcome::TenantDisabled | DecideOutcome::StaleKey | DecideOutcome::NotFound => {
                self.told(id, &command.response, "not-found")
            }
        }
    }

    fn told(&self, id: ChallengeId, text: &str, reason: &'static str) -> Next {
        self.first_reply(id, text).unwrap_or_else(|| refused(reason))
    }

    /// Nobody hears `expired` of a row that is pending: it is ended first.
    fn settle_closed(&self, job: &mut Job, id: ChallengeId, text: &str) -> Next {
        let Some(challenge) = self.store.tables.challenges.get(&id) else { return refused("not-found") };
        match self.settling(challenge) {
            Some(_) if self.store.is_sabotaged(Sabotage::ExpirySaid) => {
                Next::Answer(Reply::Closed(id, ChallengeStatus::Expired))
            }
            Some(command) => {
                job.stage = Stage::SettlingAnswer;
                Next::Write(command)
            }
            None => self.closed(id, text),
        }
    }

    fn closed(&self, id: ChallengeId, text: &str) -> Next {
        let status = self.store.tables.challenges.get(&id).map(|challenge| challenge.status);
        self.first_reply(id, text).unwrap_or_else(|| match status {
            Some(ChallengeStatus::Pending) | None => refused("unavailable"),
            Some(status) => Next::Answer(Reply::Closed(id, status)),
        })
    }

    /// 2. The reply that this very response got when it was recorded, less than a day ago.
    fn first_reply(&self, id: ChallengeId, text: &str) -> Option<Next> {
        let challenge = self.store.tables.challenges.get(&id)?;
        let recorded = recorded(challenge);
        let is_same = challenge.response.as_deref() == Some(text);
        let is_kept = self.now < recorded.decided_at.plus_seconds(REPLAY_SECONDS);
        (is_same && is_kept).then(|| reply(id, &recorded))
    }

    /// Refused by what never changes: the first obstacle in the protocol's order is told.
    fn refuse(
        &self,
        job: &mut Job,
        id: ChallengeId,
        key: &Thumbprint,
        bound: &BoundKey,
        claims: &ResponseClaims,
        refusal: Refusal,
    ) -> Next {
        let device = self.store.tables.devices.get(&bound.signer.device_id);
        let (Some(device), Some(challenge)) = (device, self.store.tables.challenges.get(&id)) else {
            return refused("not-found");
        };
        let user = self.store.tables.users.get(&bound.signer.user_id);
        let is_current = device.key == *key || device.uv_key.as_ref() == Some(key);
        let state = DecisionState {
            device_status: device.status,
            key_is_current: is_current && device.binding.as_ref() == Some(&bound.binding),
            challenge_status: challenge.status,
            expires_at: challenge.text.facts.expires_at,
            locked_until: user.and_then(|user| user.locked_until),
        };
        let says_approve = claims.decision == Decision::Approve;
        match verify::first_obstacle(Err(refusal), says_approve, &state, self.now) {
            Some(Obstacle::Closed(_)) => self.settle_closed(job, id, ""),
            _ => refused("refused"),
        }
    }

    /// Pending, addressed to this device, and only if it is active.
    pub(super) fn inbox(&self, job: &Job, thumbprint: &Thumbprint) -> Next {
        let tables = &self.store.tables;
        let device = tables.keys.get(thumbprint).map(|(device, _)| *device);
        let row = device.and_then(|id| tables.devices.get(&id));
        let is_active = row.is_some_and(|row| row.status == DeviceStatus::Active && row.key == *thumbprint);
        let Some(device) = device.filter(|_| is_active) else { return refused("device-not-active") };
        let waits = tables.challenges.iter().filter(|(id, challenge)| {
            challenge.status == ChallengeStatus::Pending
                && challenge.text.facts.expires_at > job.at
                && tables.deliveries.contains_key(&(**id, device))
        });
        Next::Answer(Reply::Inbox(waits.map(|(_, challenge)| Arc::clone(&challenge.text)).collect()))
    }
}

/// The first reply to a recorded response: a 200, or the 403 of a wrong number.
fn reply(id: ChallengeId, recorded: &RecordedResponse) -> Next {
    Next::Answer(match (recorded.status, recorded.reason) {
        (ChallengeStatus::Denied, Some(ChallengeReason::WrongNumber)) => Reply::NumberMismatch(id),
        (status @ (ChallengeStatus::Approved | ChallengeStatus::Denied), _) => {
            Reply::Recorded { id, status, code: None }
        }
        (status @ ChallengeStatus::Pending, _) => {
            let code = recorded.code.as_ref().map(|displayed| displayed.code.clone());
            Reply::Recorded { id, status, code }
        }
        (status, _) => Reply::Closed(id, status),
    })
}
