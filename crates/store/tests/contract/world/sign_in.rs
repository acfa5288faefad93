//! Challenges for the phones of the world, and answers to them.

use countersign_core::{
    actor::Actor,
    challenge::{ChallengeFacts, ChallengeText},
    policy::{EffectivePolicy, Policy, PolicyRequest, PushBudget, effective},
    ports::challenges::{CreateChallenge, CreateOutcome, DecideChallenge, NewDelivery},
    verify::Verdict,
};
use countersign_proto::{
    ids::ChallengeId,
    vocabulary::{DeliveryState, PushChannel, ReportAction},
};

use super::{NOW, Phone, World};

/// No user is rung too often here, but where a test says so.
const RINGS_ALWAYS: PushBudget = PushBudget { per_10_minutes: u32::MAX, since_approval: u32::MAX };

impl World {
    /// A pending challenge for these phones of one user, with a push to each.
    pub(crate) async fn challenge(&self, phones: &[&Phone]) -> ChallengeId {
        let command = self.new_challenge(phones).await;
        let id = command.facts.id;
        assert!(matches!(self.store.create_challenge(command).await, Ok(CreateOutcome::Created(_))));
        id
    }

    pub(crate) async fn new_challenge(&self, phones: &[&Phone]) -> CreateChallenge {
        let Actor::ApiClient { client_id, .. } = self.client else { panic!("no client") };
        let user = phones[0].user.clone();
        let addressees = self.store.addressees(self.tenant_id, &user.external_id).await.unwrap().unwrap();
        let id: ChallengeId = self.id();
        let policy = effective(&Policy::default(), &PolicyRequest::default()).unwrap();
        let deliver = |phone: &&Phone| NewDelivery {
            device_id: phone.id,
            channel: PushChannel::Fcm,
            state: DeliveryState::Queued,
            last_error: None,
        };
        CreateChallenge {
            stamp: self.stamp(self.client),
            facts: ChallengeFacts {
                id,
                tenant_id: self.tenant_id,
                client_id,
                user,
                text: ChallengeText::of_action("sign_in"),
                policy: EffectivePolicy { pushes_per_user: RINGS_ALWAYS, max_pending_per_user: 20, ..policy },
                jws: format!("challenge.{id}"),
                created_at: NOW,
                expires_at: NOW.plus_seconds(120),
            },
            devices_version: addressees.devices_version,
            number: Some("123456".to_owned()),
            deliveries: phones.iter().map(deliver).collect(),
            idempotency: None,
        }
    }

    pub(crate) fn answer(&self, phone: &Phone, challenge_id: ChallengeId, verdict: Verdict) -> DecideChallenge {
        DecideChallenge {
            stamp: self.stamp(phone.actor()),
            challenge_id,
            user_id: phone.user.id,
            device_id: phone.id,
            key: phone.key.thumbprint.clone(),
            binding: phone.binding.clone(),
            response: format!("response.{challenge_id}.{}", self.id::<()>()),
            verdict,
            wrong_numbers_before_lock: 5,
            lock_seconds: 900,
            quiet_seconds_after_report: 1_800,
            on_report: ReportAction::Flag,
            flags: Vec::new(),
            code: None,
        }
    }
}
