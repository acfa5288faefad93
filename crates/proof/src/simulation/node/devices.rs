//! What administrators call, and what devices say of themselves: status, keys, enrollment.

use countersign_core::{
    actor::Actor,
    device::{NewKey, StatusChange, StoredBinding, check_registration},
    digest::Digest,
    enrollment::{Ticket, check as check_enrollment, confirmation_code},
    limits::{REGISTRATION_SKEW_SECONDS, REPLAY_SECONDS, SKEW_SECONDS},
    ports::{
        Reply as KeptReply,
        devices::{ChangeDeviceStatus, RotateKeys, RotateKeysOutcome},
        enrollments::{Activation, ClaimOutcome, ClaimTicket, ConfirmEnrollment, ConfirmOutcome},
    },
    rotation::check_rotation,
};
use countersign_proto::{
    api::{enrollments::CreateEnrollment, users::NewUser},
    ids::{BindingId, DeviceId, EnrollmentId, UserId},
    jose::{check_audience, check_iat},
    vocabulary::{DeviceStatus, EnrollmentPurpose},
};

use super::{Client, Context, ISSUER, Job, Next, Reply, Stage, refused};
use crate::simulation::store::{Command, Invitation, Outcome, StatusOutcome};

impl Context<'_> {
    pub(super) fn status(
        &self,
        job: &mut Job,
        client: Client,
        device_id: DeviceId,
        change: StatusChange,
        outcome: Option<Outcome>,
    ) -> Next {
        let to = match change {
            StatusChange::Suspend => DeviceStatus::Suspended,
            StatusChange::Resume => DeviceStatus::Active,
            StatusChange::Revoke(_) => DeviceStatus::Revoked,
        };
        match outcome {
            None => {
                job.stage = Stage::Wrote;
                let stamp = self.client_stamp(client, self.now);
                let command = ChangeDeviceStatus { stamp, device_id, change, key: None, reply: None };
                Next::Write(Command::Status(Box::new(command)))
            }
            Some(Outcome::Status(StatusOutcome::Changed(_) | StatusOutcome::Already(_))) => {
                Next::Answer(Reply::Changed(device_id, to))
            }
            Some(_) => refused("not-found"),
        }
    }

    /// Unlocks or erases somebody.
    pub(super) fn person(
        &self,
        job: &mut Job,
        client: Client,
        user: UserId,
        erases: bool,
        outcome: Option<Outcome>,
    ) -> Next {
        let command = if erases { Command::Erase } else { Command::Unlock };
        match outcome {
            None => {
                job.stage = Stage::Wrote;
                Next::Write(command(self.client_stamp(client, self.now), user))
            }
            Some(Outcome::Done(true)) if erases => Next::Answer(Reply::Erased(user)),
            Some(Outcome::Done(true)) => Next::Answer(Reply::Unlocked),
            Some(_) => refused("not-found"),
        }
    }

    /// A new binding: the server's statement that keys are a device's.
    fn binding(&self, device: DeviceId) -> StoredBinding {
        let id: BindingId = self.id();
        StoredBinding { id, jws: format!("binding {id} {device}") }
    }

    fn kept(&self, artefact: &str, body: String) -> KeptReply {
        let expires_at = self.now.plus_seconds(REPLAY_SECONDS);
        KeptReply { artefact: Digest::of(artefact), body, expires_at }
    }

    pub(super) fn rotate(&mut self, job: &mut Job, text: &str, outcome: Option<Outcome>) -> Next {
        let Some((thumbprint, claims)) = self.vault.rotations.get(text).cloned() else {
            return refused("invalid-device-signature");
        };
        match (&job.stage, outcome) {
            (Stage::Replying(reply), Some(Outcome::Rotated(RotateKeysOutcome::Rotated))) => {
                return Next::Answer(reply.clone());
            }
            (Stage::Start, None) => {}
            _ => return refused("not-rotated"),
        }
        if self.store.tables.replies.contains_key(&Digest::of(text).0) {
            return Next::Answer(Reply::Rotated);
        }
        // As the real one: never by what is remembered.
        self.node.bound.remove(&thumbprint);
        let Some(bound) = self.bound(&thumbprint) else { return refused("device-not-active") };
        if check_iat(claims.iat, self.now.as_seconds(), SKEW_SECONDS).is_err() {
            return Next::Answer(Reply::Skewed(self.now));
        }
        let (device_id, role) = (bound.signer.device_id, bound.signer.role);
        let Ok(rotation) = check_rotation(&claims, role, device_id, ISSUER, self.now) else {
            return refused("invalid-request");
        };
        job.stage = Stage::Replying(Reply::Rotated);
        Next::Write(Command::Rotate(Box::new(RotateKeys {
            stamp: self.stamp(Actor::Device(device_id), bound.signer.tenant_id, self.now),
            device_id,
            user_id: bound.signer.user_id,
            key: thumbprint,
            binding_id: bound.binding.id,
            device_key: rotation.device_key.as_ref().map(NewKey::from),
            uv_key: rotation.uv_key.as_ref().map(NewKey::from),
            binding: self.binding(device_id),
            reply: self.kept(text, device_id.to_string()),
        })))
    }

    pub(super) fn invite(&self, job: &mut Job, client: Client, user: UserId, outcome: Option<Outcome>) -> Next {
        if let (Stage::Replying(reply), Some(outcome)) = (&job.stage, outcome) {
            return match outcome {
                Outcome::Done(true) => Next::Answer(reply.clone()),
                _ => refused("not-found"),
            };
        }
        let (Some(policy), Some(row)) = (self.policies.get(&client.tenant), self.store.tables.users.get(&user)) else {
            return refused("not-found");
        };
        let request = CreateEnrollment {
            user: NewUser { external_id: row.name.external_id.clone(), display_name: None },
            confirmation: None,
            ttl_seconds: Some(60),
            purpose: None,
            qr: None,
            approval: None,
            override_reason: None,
        };
        let Ok(request) = check_enrollment(&request, policy) else { return refused("invalid-request") };
        let ticket = Ticket::generate(self.entropy);
        let id: EnrollmentId = self.id();
        job.stage = Stage::Replying(Reply::Invited(id, ticket.reveal().to_owned()));
        Next::Write(Command::Invite(Box::new(Invitation {
            stamp: self.client_stamp(client, self.now),
            id,
            user,
            ticket: Ticket::digest_of(ticket.reveal()),
            expires_at: self.now.floor_to_second().plus_seconds(request.ttl_seconds),
        })))
    }

    pub(super) fn register(&self, job: &mut Job, text: &str, outcome: Option<Outcome>) -> Next {
        if let (Stage::Replying(reply), Some(outcome)) = (&job.stage, outcome) {
            return match outcome {
                Outcome::Claimed(ClaimOutcome::Claimed) => Next::Answer(reply.clone()),
                // Somebody may have been faster with the very same bytes.
                _ => self.first_registration(text).unwrap_or_else(|| refused("enrollment-not-found")),
            };
        }
        let Some((key, claims)) = self.vault.registrations.get(text) else {
            return refused("invalid-device-signature");
        };
        if let Some(first) = self.first_registration(text) {
            return first;
        }
        let Some(public) = self.keys.get(*key).map(|key| &key.public) else { return refused("unavailable") };
        if check_audience(&claims.aud, ISSUER).is_err() {
            return refused("invalid-device-signature");
        }
        if check_iat(claims.iat, self.now.as_seconds(), REGISTRATION_SKEW_SECONDS).is_err() {
            return Next::Answer(Reply::Skewed(self.now));
        }
        let Ok(registration) = check_registration(claims, public) else { return refused("invalid-request") };
        let ticket = Ticket::digest_of(&claims.ticket);
        let found = self.store.tables.enrollments.iter().find(|(_, row)| row.ticket == ticket);
        let Some((id, enrollment)) = found else { return refused("enrollment-not-found") };
        let (device_id, code): (DeviceId, _) = (self.id(), confirmation_code(self.entropy));
        let reply = Reply::Registered { device: device_id, enrollment: *id, code: code.clone() };
        job.stage = Stage::Replying(reply);
        let max_devices = self.policies.get(&enrollment.tenant).map_or(0, |policy| policy.max_devices_per_user);
        Next::Write(Command::Claim(Box::new(ClaimTicket {
            stamp: self.stamp(Actor::Device(device_id), enrollment.tenant, self.now),
            ticket,
            enrollment_id: *id,
            user_id: enrollment.user,
            device_id,
            description: registration.description,
            push: registration.push,
            purpose: EnrollmentPurpose::Approval,
            device_key: NewKey::from(public),
            uv_key: None,
            activation: Activation::ByCode(code.clone()),
            claim_seal: String::new(),
            max_devices_per_user: max_devices,
            is_guarded: false,
            reply: self.kept(text, format!("{device_id} {id} {code}")),
        })))
    }

    fn first_registration(&self, text: &str) -> Option<Next> {
        let first = self.store.tables.replies.get(&Digest::of(text).0)?;
        let mut words = first.split(' ');
        let (device, enrollment, code) = (words.next()?, words.next()?, words.next()?);
        let (device, enrollment) = (device.parse().ok()?, enrollment.parse().ok()?);
        Some(Next::Answer(Reply::Registered { device, enrollment, code: code.to_owned() }))
    }

    pub(super) fn confirm(
        &self,
        job: &mut Job,
        client: Client,
        id: EnrollmentId,
        code: &str,
        outcome: Option<Outcome>,
    ) -> Next {
        match outcome {
            Some(Outcome::Confirmed(ConfirmOutcome::Completed | ConfirmOutcome::AlreadyCompleted)) => {
                return Next::Answer(Reply::Confirmed);
            }
            Some(_) => return refused("wrong-code"),
            None => {}
        }
        let claimed = self.store.tables.enrollments.get(&id).and_then(|enrollment| enrollment.device);
        let Some(device_id) = claimed else { return refused("enrollment-not-claimed") };
        job.stage = Stage::Wrote;
        Next::Write(Command::Confirm(Box::new(ConfirmEnrollment {
            stamp: self.client_stamp(client, self.now),
            id,
            device_id,
            code: code.to_owned(),
            binding: self.binding(device_id),
            is_guarded: false,
        })))
    }
}
