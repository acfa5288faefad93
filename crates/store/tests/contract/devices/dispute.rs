//! "That was not me": who may dispute what, and what follows.

use countersign_core::{
    actor::Actor,
    device::StatusChange,
    event::EventKind,
    ports::{
        challenges::DecideOutcome,
        devices::{DisputeNotice, DisputeNoticeOutcome as Outcome},
        events::EventRecord,
        notifications::NotificationKind,
    },
    verify::Verdict,
};
use countersign_proto::{
    ids::EventId,
    timestamp::Timestamp,
    vocabulary::{ChallengeReason, ChallengeStatus, DeviceStatus, PushChannel},
};

use super::REVOKE;
use crate::world::{NOW, Phone, World, new_kinds};

impl World {
    fn dispute(&self, phone: &Phone, notice_id: EventId) -> DisputeNotice {
        DisputeNotice {
            stamp: self.stamp(phone.actor()),
            device_id: phone.id,
            key: phone.key.thumbprint.clone(),
            notice_id,
            not_before: NOW.plus_seconds(-60),
            reply: self.reply(),
        }
    }

    /// The newest event of this kind about the phone.
    async fn event_about(&self, kind: EventKind, phone: &Phone) -> EventRecord {
        while self.store.position_events(self.tenant_id, 1000).await.unwrap() > 0 {}
        let events = self.store.events(self.tenant_id, 0, 10_000).await.unwrap();
        let about = |event: &EventRecord| event.kind == kind && event.subjects.device_id == Some(phone.id);
        events.into_iter().rfind(about).unwrap()
    }

    async fn added(&self, phone: &Phone) -> EventId {
        self.event_about(EventKind::DeviceAdded, phone).await.id
    }

    async fn status(&self, phone: &Phone) -> DeviceStatus {
        self.device(phone.id).await.unwrap().status
    }

    async fn is_disputable(&self, phone: &Phone, notice_id: EventId) -> Option<bool> {
        let since = NOW.plus_seconds(-60);
        let notices = self.store.notices(self.tenant_id, phone.user.id, phone.id, since).await.unwrap();
        notices.into_iter().find(|notice| notice.id == notice_id).map(|notice| notice.is_disputable)
    }

    /// Writes when the device became active.
    async fn activated(&self, phone: &Phone, at: Timestamp) {
        let id = self.database.sql_id(phone.id);
        let sql = format!("UPDATE devices SET activated_at = {} WHERE id = {id}", at.as_millis());
        assert_eq!(self.database.tamper(&sql).await, 1);
    }
}

#[tokio::test]
async fn a_disputed_device_is_suspended_with_all_that_follows() {
    for world in World::each().await {
        let (mine, third) = (world.phone("ada").await, world.phone("ada").await);
        let thief = world.phone("ada").await;
        let (only, both) = (world.challenge(&[&thief]).await, world.challenge(&[&mine, &thief]).await);
        world.lease_all(PushChannel::Fcm, NOW).await;
        let version = world.store.addressees(world.tenant_id, "ada").await.unwrap().unwrap().devices_version;
        let before = world.kinds().await;
        let notice = world.added(&thief).await;
        assert_eq!(world.is_disputable(&mine, notice).await, Some(true));

        let dispute = world.dispute(&mine, notice);
        assert_eq!(world.store.dispute_notice(dispute.clone()).await, Ok(Outcome::Suspended(thief.id)));
        assert_eq!(world.status(&thief).await, DeviceStatus::Suspended);
        let new = new_kinds(&before, world.kinds().await);
        assert_eq!(new, [EventKind::ChallengeCancelled, EventKind::DeviceDisputed, EventKind::DeviceSuspended]);
        let event = world.event_about(EventKind::DeviceDisputed, &thief).await;
        assert_eq!((event.subjects.user_id, event.actor_id), (Some(mine.user.id), Some(mine.id.to_string())));
        assert_eq!(event.body.get("notice").and_then(|id| id.as_str()), Some(notice.to_string().as_str()));
        assert_eq!(world.is_disputable(&mine, notice).await, Some(false));
        // The barrier holds, on every node.
        let challenge = world.other.challenge(world.tenant_id, only).await.unwrap().unwrap();
        assert_eq!(
            (challenge.status, challenge.reason),
            (ChallengeStatus::Cancelled, Some(ChallengeReason::DeviceSuspended))
        );
        let approve = world.answer(&thief, both, Verdict::Approve { with_number: true });
        let refused = world.other.decide_challenge(approve).await;
        assert_eq!(refused, Ok(DecideOutcome::DeviceNotActive(DeviceStatus::Suspended)));
        let found = world.store.addressees(world.tenant_id, "ada").await.unwrap().unwrap();
        assert_eq!(found.devices_version, version + 1);
        // A repeat gets the first reply; the others hear of it.
        let reply = dispute.reply;
        assert_eq!(world.other.reply(reply.artefact, NOW).await, Ok(Some(reply.body)));
        let rung: Vec<_> = world.lease_all(PushChannel::Fcm, NOW).await;
        let rung: Vec<_> = rung.iter().map(|job| (job.kind, job.device_id)).collect();
        assert_eq!(rung, [(NotificationKind::Notice, third.id)]);
    }
}

#[tokio::test]
async fn a_second_dispute_changes_nothing_unless_it_suspends_again() {
    for world in World::each().await {
        let (mine, third, thief) = (world.phone("ada").await, world.phone("ada").await, world.phone("ada").await);
        let notice = world.added(&thief).await;
        let version = async || world.store.addressees(world.tenant_id, "ada").await.unwrap().unwrap().devices_version;
        world.store.dispute_notice(world.dispute(&mine, notice)).await.unwrap();
        let (before, moved) = (world.kinds().await, version().await);
        let again = world.dispute(&mine, notice);
        assert_eq!(world.other.dispute_notice(again.clone()).await, Ok(Outcome::Already(thief.id)));
        assert_eq!(new_kinds(&before, world.kinds().await), []);
        assert_eq!(world.store.reply(again.reply.artefact, NOW).await, Ok(Some(again.reply.body)));
        assert_eq!(world.store.dispute_notice(world.dispute(&third, notice)).await, Ok(Outcome::Already(thief.id)));
        assert_eq!(new_kinds(&before, world.kinds().await), []);
        assert_eq!(version().await, moved);
        // Also one that was revoked meanwhile; and one that was resumed goes again, and not silently.
        world.change(thief.id, StatusChange::Resume).await;
        assert_eq!(world.is_disputable(&mine, notice).await, Some(true));
        assert_eq!(world.store.dispute_notice(world.dispute(&mine, notice)).await, Ok(Outcome::Suspended(thief.id)));
        let new = new_kinds(&before, world.kinds().await);
        assert_eq!(new, [EventKind::DeviceDisputed, EventKind::DeviceResumed, EventKind::DeviceSuspended]);
        world.change(thief.id, REVOKE).await;
        assert_eq!(world.store.dispute_notice(world.dispute(&mine, notice)).await, Ok(Outcome::Already(thief.id)));
        assert_eq!(world.status(&thief).await, DeviceStatus::Revoked);
    }
}

#[tokio::test]
async fn whoever_came_later_cannot_turn_off_whoever_was_there() {
    for world in World::each().await {
        let (mine, thief) = (world.phone("ada").await, world.phone("ada").await);
        world.activated(&thief, NOW.plus_seconds(1)).await;
        let notice = world.added(&mine).await;
        assert_eq!(world.is_disputable(&thief, notice).await, Some(false));
        assert_eq!(world.store.dispute_notice(world.dispute(&thief, notice)).await, Ok(Outcome::NotDisputable));
        assert_eq!(world.status(&mine).await, DeviceStatus::Active);
        // The other way round it goes.
        let notice = world.added(&thief).await;
        assert_eq!(world.store.dispute_notice(world.dispute(&mine, notice)).await, Ok(Outcome::Suspended(thief.id)));
    }
}

#[tokio::test]
async fn a_broker_disputes_nothing() {
    for world in World::each().await {
        let (broker, other) = (world.phone("ada").await, world.phone("ada").await);
        let id = world.database.sql_id(broker.id);
        world.database.tamper(&format!("UPDATE devices SET purpose = 'broker' WHERE id = {id}")).await;
        let notice = world.added(&other).await;
        assert_eq!(world.is_disputable(&broker, notice).await, Some(false));
        let before = world.kinds().await;
        assert_eq!(world.store.dispute_notice(world.dispute(&broker, notice)).await, Ok(Outcome::NotDisputable));
        assert_eq!(world.status(&other).await, DeviceStatus::Active);
        assert_eq!(new_kinds(&before, world.kinds().await), []);
    }
}

#[tokio::test]
async fn what_is_no_notice_of_the_device_is_not_found() {
    for world in World::each().await {
        let (mine, other, stranger) = (world.phone("ada").await, world.phone("ada").await, world.phone("bob").await);
        world.change(other.id, StatusChange::Suspend).await;
        world.change(other.id, StatusChange::Resume).await;
        let not_found = async |dispute: DisputeNotice| {
            assert_eq!(world.store.dispute_notice(dispute).await, Ok(Outcome::NotFound));
        };
        not_found(world.dispute(&mine, world.id())).await;
        // Another user's, one's own, no notice at all, forgotten.
        not_found(world.dispute(&mine, world.added(&stranger).await)).await;
        not_found(world.dispute(&mine, world.added(&mine).await)).await;
        let resumed = world.event_about(EventKind::DeviceResumed, &other).await.id;
        not_found(world.dispute(&mine, resumed)).await;
        let notice = world.added(&other).await;
        not_found(DisputeNotice { not_before: NOW.plus_millis(1), ..world.dispute(&mine, notice) }).await;
        // Another tenant's.
        let mut foreign = world.dispute(&mine, notice);
        foreign.stamp = world.stamp_in(world.tenant("neighbour").await);
        foreign.stamp.actor = Actor::Device(mine.id);
        assert_eq!(world.store.dispute_notice(foreign).await, Ok(Outcome::StaleKey));
        assert_eq!(world.status(&other).await, DeviceStatus::Active);
        assert_eq!(world.count(EventKind::DeviceDisputed).await, 0);
        // The same notice, asked for rightly.
        assert_eq!(world.store.dispute_notice(world.dispute(&mine, notice)).await, Ok(Outcome::Suspended(other.id)));
    }
}

#[tokio::test]
async fn a_notice_whose_cause_cannot_be_undone_is_not_disputable() {
    for world in World::each().await {
        let (mine, other) = (world.phone("ada").await, world.phone("ada").await);
        world.change(other.id, StatusChange::Suspend).await;
        let suspended = world.event_about(EventKind::DeviceSuspended, &other).await.id;
        world.change(other.id, StatusChange::Resume).await;
        assert_eq!(world.is_disputable(&mine, suspended).await, Some(false));
        let dispute = world.dispute(&mine, suspended);
        let reply = dispute.reply.artefact;
        assert_eq!(world.store.dispute_notice(dispute).await, Ok(Outcome::NotDisputable));
        assert_eq!(world.store.reply(reply, NOW).await, Ok(None));
        assert_eq!(world.status(&other).await, DeviceStatus::Active);
    }
}

#[tokio::test]
async fn only_the_current_key_of_an_active_device_disputes() {
    for world in World::each().await {
        let (mine, thief) = (world.phone("ada").await, world.phone("ada").await);
        let notice = world.added(&thief).await;
        let stale = DisputeNotice { key: world.key().thumbprint, ..world.dispute(&mine, notice) };
        assert_eq!(world.store.dispute_notice(stale).await, Ok(Outcome::StaleKey));
        let nobody = DisputeNotice { device_id: world.id(), ..world.dispute(&mine, notice) };
        assert_eq!(world.store.dispute_notice(nobody).await, Ok(Outcome::StaleKey));
        for (change, status) in [(StatusChange::Suspend, DeviceStatus::Suspended), (REVOKE, DeviceStatus::Revoked)] {
            world.change(mine.id, change).await;
            let refused = world.store.dispute_notice(world.dispute(&mine, notice)).await;
            assert_eq!(refused, Ok(Outcome::NotActive(status)));
        }
        assert_eq!(world.status(&thief).await, DeviceStatus::Active);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_devices_that_dispute_each_other_at_once_one_goes() {
    for world in World::each().await {
        for _ in 0..15 {
            // Registered in the same millisecond: each may dispute the other.
            let (one, two) = (world.phone("ada").await, world.phone("ada").await);
            let (about_one, about_two) = (world.added(&one).await, world.added(&two).await);
            let (first, second) = (world.dispute(&one, about_two), world.dispute(&two, about_one));
            let (first, second) = tokio::join!(world.store.dispute_notice(first), world.other.dispute_notice(second));
            let outcomes = [first.unwrap(), second.unwrap()];
            assert!(outcomes.contains(&Outcome::NotActive(DeviceStatus::Suspended)), "{outcomes:?}");
            let suspended = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Suspended(_))).count();
            assert_eq!(suspended, 1, "{outcomes:?}");
            world.change(one.id, REVOKE).await;
            world.change(two.id, REVOKE).await;
        }
    }
}

#[tokio::test]
async fn a_disputed_device_that_waits_for_its_confirmation_is_revoked() {
    for world in World::each().await {
        let (mine, thief) = (world.phone("ada").await, world.phone("ada").await);
        let notice = world.added(&thief).await;
        world
            .database
            .tamper(&format!(
                "UPDATE devices SET status = 'pending_confirmation' WHERE key_thumbprint = '{}'",
                thief.key.thumbprint.as_str()
            ))
            .await;
        assert_eq!(world.is_disputable(&mine, notice).await, Some(true));
        assert_eq!(world.store.dispute_notice(world.dispute(&mine, notice)).await, Ok(Outcome::Suspended(thief.id)));
        assert_eq!(world.status(&thief).await, DeviceStatus::Revoked);
        assert_eq!(world.count(EventKind::DeviceRevoked).await, 1);
        assert_eq!(world.count(EventKind::DeviceDeregistered).await, 0);
    }
}
