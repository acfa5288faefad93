//! Leases and verdicts.

use std::sync::Arc;

use countersign_core::ports::webhooks::DueWebhook;

use super::*;
use crate::kit::{Wakes, options};

/// A webhook that has so many messages to be told, of as many phones.
pub(super) async fn with_messages(world: &World, count: usize) -> WebhookRecord {
    let webhook = world.webhook(&["device.added"]).await;
    for number in 0..count {
        world.phone(&format!("user-{}-{number}", webhook.id)).await;
    }
    webhook
}

#[tokio::test]
async fn a_leased_message_says_what_happened() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let webhook = world.webhook(&["challenge.*"]).await;
        let id = world.challenge(&[&phone]).await;
        let leased = world.lease_messages(&webhook, 4, NOW).await;
        let [leased] = leased.as_slice() else { panic!("{leased:?}") };
        let Content::Event { event, challenge } = &leased.content else { panic!("{leased:?}") };
        assert_eq!((event.kind, event.subjects.challenge_id), (EventKind::ChallengeCreated, Some(id)));
        assert_eq!((event.id.as_uuid(), event.at), (leased.id.as_uuid(), NOW));
        assert_eq!(*challenge, ChallengeState::There(id));
        assert_eq!((&leased.webhook, leased.tries), (&webhook, 1));
        assert_eq!(leased.leased_until, NOW.plus_seconds(LEASE_SECONDS));
    }
}

#[tokio::test]
async fn what_was_erased_or_is_of_a_disabled_tenant_is_said_to_be_so() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let webhook = world.webhook(&["challenge.*"]).await;
        world.challenge(&[&phone]).await;
        let state = async |now| match world.lease_messages(&webhook, 1, now).await.remove(0).content {
            Content::Event { challenge, .. } => challenge,
            other => panic!("{other:?}"),
        };
        world.database.tamper("UPDATE tenants SET disabled_at = 1").await;
        assert_eq!(state(NOW).await, ChallengeState::TenantDisabled);
        world.database.tamper("UPDATE users SET erased_at = 1").await;
        assert_eq!(state(NOW.plus_seconds(100)).await, ChallengeState::Gone);
        world.database.tamper("UPDATE users SET erased_at = NULL").await;
        world.database.tamper("UPDATE challenges SET erased_at = 1").await;
        assert_eq!(state(NOW.plus_seconds(200)).await, ChallengeState::Gone);
        world.database.tamper("DELETE FROM challenges").await;
        assert_eq!(state(NOW.plus_seconds(300)).await, ChallengeState::Gone);
        world.database.tamper("UPDATE events SET kind = 'challenge.approved'").await;
        let leased = world.lease_messages(&webhook, 1, NOW.plus_seconds(400)).await;
        assert_eq!(leased[0].content, Content::Missing, "another event than the message was queued for");
        world.database.tamper("DELETE FROM events").await;
        let leased = world.lease_messages(&webhook, 1, NOW.plus_seconds(500)).await;
        assert_eq!(leased[0].content, Content::Missing);
    }
}

#[tokio::test]
async fn a_stale_lease_cannot_finish() {
    for world in World::each().await {
        let webhook = with_messages(&world, 1).await;
        let first = world.lease_messages(&webhook, 4, NOW).await.remove(0);
        assert_eq!(world.lease_messages(&webhook, 4, NOW.plus_seconds(LEASE_SECONDS - 1)).await, [], "it is leased");
        let later = NOW.plus_seconds(LEASE_SECONDS);
        let second = world.lease_messages(&webhook, 4, later).await.remove(0);
        assert_eq!((second.id, second.tries), (first.id, 2));
        let stale = finished(&first, DeliveryVerdict::Failed, later);
        assert_eq!(world.other.finish_webhook_deliveries(vec![stale]).await, Ok(0));
        assert_eq!(world.deliveries(&webhook).await[0].status, DeliveryStatus::Pending);
        let fresh = finished(&second, DeliveryVerdict::Delivered, later);
        assert_eq!(world.other.finish_webhook_deliveries(vec![fresh.clone()]).await, Ok(1));
        assert_eq!(world.store.finish_webhook_deliveries(vec![fresh]).await, Ok(0), "once");
        let told = world.deliveries(&webhook).await;
        assert_eq!((told[0].status, told[0].due_at), (DeliveryStatus::Delivered, None));
        assert_eq!(told[0].attempts, [attempt(1)]);
    }
}

#[tokio::test]
async fn each_webhook_gets_its_share_however_much_another_has_waiting() {
    for world in World::each().await {
        let busy = with_messages(&world, 30).await;
        let quiet = with_messages(&world, 1).await;
        // The first one is told of the second one's phone, too.
        let due_webhooks = |now, after, limit| world.store.due_webhooks(now, Health::Well, after, limit);
        let due = due_webhooks(NOW, None, 10).await.unwrap();
        let due_now = |id| DueWebhook { id, tenant_id: Some(world.tenant_id), has_urgent: false, has_usual: true };
        let mut ids = [busy.id, quiet.id];
        ids.sort_by_key(|id| id.as_uuid());
        assert_eq!(due, ids.map(due_now));
        assert_eq!(due_webhooks(NOW, None, 1).await, Ok(vec![due_now(ids[0])]));
        assert_eq!(due_webhooks(NOW, Some(ids[0]), 10).await, Ok(vec![due_now(ids[1])]));
        assert_eq!(due_webhooks(NOW, Some(ids[1]), 10).await, Ok(vec![]));
        assert_eq!(due_webhooks(NOW.plus_millis(-1), None, 10).await, Ok(vec![]));

        let claim = world.claim_messages(&[(busy.id, 4), (quiet.id, 4)], NOW);
        let leased = readable(world.store.claim_webhook_deliveries(claim).await);
        let of = |webhook: &WebhookRecord| leased.iter().filter(|leased| leased.webhook.id == webhook.id).count();
        assert_eq!((of(&busy), of(&quiet)), (4, 1));
        assert!(leased[..2].iter().any(|leased| leased.webhook.id == quiet.id), "and has its turn");
    }
}

#[tokio::test]
async fn what_somebody_waits_for_is_leased_before_a_backlog_and_each_sort_has_its_share() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let webhook = world.webhook(&["*"]).await;
        for number in 0..10 {
            world.phone(&format!("user-{number}")).await;
        }
        for _ in 0..5 {
            let id = world.challenge(&[&phone]).await;
            world.store.close_challenge(world.cancel(phone.user.id, id)).await.unwrap();
        }
        // The decisions are the newest of all.
        let lease = async |urgent, usual, all| {
            let share = Share { webhook_id: webhook.id, urgent, usual, all };
            let claim = ClaimDeliveries { webhooks: vec![share], ..world.claim_messages(&[], NOW) };
            let leased = readable(world.store.claim_webhook_deliveries(claim).await);
            let is_decision = |leased: &&LeasedDelivery| match &leased.content {
                Content::Event { event, .. } => event.kind == EventKind::ChallengeCancelled,
                _ => false,
            };
            (leased.iter().filter(is_decision).count(), leased.len())
        };
        let due = async || {
            let due = world.store.due_webhooks(NOW, Health::Well, None, 10).await.unwrap().remove(0);
            (due.has_urgent, due.has_usual)
        };
        assert_eq!(due().await, (true, true));
        assert_eq!(lease(3, 3, 4).await, (3, 4), "one is of the rest");
        assert_eq!(lease(0, 1, 1).await, (0, 1));
        assert_eq!(lease(3, 3, 4).await, (2, 4), "no more of them wait: the rest takes their places");
        assert_eq!(lease(1, 3, 4).await, (0, 3), "one place is kept for what somebody will wait for");
        assert_eq!(due().await, (false, true));
    }
}

#[tokio::test]
async fn two_nodes_never_lease_the_same_message() {
    for world in World::each().await {
        let webhook = with_messages(&world, 12).await;
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..3 {
            let claim = || world.claim_messages(&[(webhook.id, 2)], NOW);
            let (one, other) = tokio::join!(
                world.store.claim_webhook_deliveries(claim()),
                world.other.claim_webhook_deliveries(claim())
            );
            for leased in readable(one).into_iter().chain(readable(other)) {
                assert!(seen.insert(leased.id.as_uuid()), "{} is leased twice", leased.id);
            }
        }
        assert_eq!(seen.len(), 12);
    }
}

#[tokio::test]
async fn an_address_fails_until_something_arrives_and_then_gets_what_waited() {
    for world in World::each().await {
        let webhook = with_messages(&world, 4).await;
        let leased = world.lease_messages(&webhook, 4, NOW).await;
        let hour = NOW.plus_seconds(3_600);
        let fail = |leased: &LeasedDelivery| finished(leased, DeliveryVerdict::RetryAt(hour), NOW.plus_seconds(1));
        world.store.finish_webhook_deliveries(leased.iter().map(fail).collect()).await.unwrap();
        assert_eq!(world.webhook_now(&webhook).await.failing_since, Some(NOW.plus_seconds(1)));
        let due = async |health, now| world.store.due_webhooks(now, health, None, 10).await.unwrap().len();
        assert_eq!(
            (due(Health::Well, NOW.plus_seconds(60)).await, due(Health::Failing, NOW.plus_seconds(60)).await),
            (0, 0)
        );
        assert_eq!((due(Health::Well, hour).await, due(Health::Failing, hour).await), (0, 1));
        let leased = world.lease_messages(&webhook, 2, hour).await;
        let again = finished(&leased[0], DeliveryVerdict::RetryAt(hour.plus_seconds(7_200)), hour.plus_seconds(1));
        world.store.finish_webhook_deliveries(vec![again]).await.unwrap();
        let since = world.webhook_now(&webhook).await.failing_since;
        assert_eq!(since, Some(NOW.plus_seconds(1)), "since when it fails does not move");
        // It is back: nothing waits for its own time any more.
        let back = hour.plus_seconds(2);
        let arrived = finished(&leased[1], DeliveryVerdict::Delivered, back);
        world.store.finish_webhook_deliveries(vec![arrived]).await.unwrap();
        assert_eq!(world.webhook_now(&webhook).await.failing_since, None);
        assert_eq!(world.lease_messages(&webhook, 10, back).await.len(), 3);
    }
}

#[tokio::test]
async fn one_bad_answer_does_not_make_an_address_one_that_fails() {
    for world in World::each().await {
        let webhook = with_messages(&world, 2).await;
        let leased = world.lease_messages(&webhook, 1, NOW).await.remove(0);
        let failed = finished(&leased, DeliveryVerdict::RetryAt(NOW.plus_seconds(5)), NOW);
        world.store.finish_webhook_deliveries(vec![failed]).await.unwrap();
        let due = async |health, seconds| {
            world.store.due_webhooks(NOW.plus_seconds(seconds), health, None, 10).await.unwrap().len()
        };
        assert_eq!((due(Health::Well, 59).await, due(Health::Failing, 59).await), (1, 0));
        assert_eq!((due(Health::Well, 60).await, due(Health::Failing, 60).await), (0, 1));
    }
}

#[tokio::test]
async fn what_the_address_put_off_is_not_brought_forward_and_the_rest_once_a_minute() {
    for world in World::each().await {
        let webhook = with_messages(&world, 5).await;
        let leased = world.lease_messages(&webhook, 5, NOW).await;
        let hour = NOW.plus_seconds(3_600);
        let verdicts = [
            DeliveryVerdict::NotBefore(hour),
            DeliveryVerdict::RetryAt(hour),
            DeliveryVerdict::RetryAt(NOW.plus_seconds(100)),
            DeliveryVerdict::RetryAt(NOW.plus_seconds(100)),
            DeliveryVerdict::RetryAt(NOW.plus_seconds(100)),
        ];
        let first = leased.iter().zip(verdicts).map(|(leased, verdict)| finished(leased, verdict, NOW)).collect();
        world.store.finish_webhook_deliveries(first).await.unwrap();
        let again = world.lease_messages(&webhook, 5, NOW.plus_seconds(100)).await;
        assert_eq!(again.len(), 3);
        let arrive = async |index: usize, seconds| {
            let at = NOW.plus_seconds(seconds);
            let arrived: LeasedDelivery = again[index].clone();
            world.store.finish_webhook_deliveries(vec![finished(&arrived, DeliveryVerdict::Delivered, at)]).await
        };
        let due_at = async |index: usize| {
            let message = world.store.webhook_delivery(world.tenant_id, webhook.id, leased[index].id).await;
            message.unwrap().unwrap().due_at.unwrap()
        };
        arrive(0, 101).await.unwrap();
        assert_eq!((due_at(0).await, due_at(1).await), (hour, NOW.plus_seconds(101)));
        // It fails once more, and the next arrival within the minute does not bring it along.
        let brought = world.lease_messages(&webhook, 5, NOW.plus_seconds(101)).await.remove(0);
        let failed = finished(&brought, DeliveryVerdict::RetryAt(hour), NOW.plus_seconds(102));
        world.store.finish_webhook_deliveries(vec![failed]).await.unwrap();
        arrive(1, 103).await.unwrap();
        assert_eq!((due_at(0).await, due_at(1).await), (hour, hour));
        arrive(2, 161).await.unwrap();
        assert_eq!((due_at(0).await, due_at(1).await), (hour, NOW.plus_seconds(161)));
    }
}

#[tokio::test]
async fn what_nobody_was_asked_for_is_no_attempt() {
    for world in World::each().await {
        let webhook = with_messages(&world, 1).await;
        let leased = world.lease_messages(&webhook, 1, NOW).await.remove(0);
        let soon = NOW.plus_seconds(2);
        let not_tried = finished(&leased, DeliveryVerdict::NotTried(soon), NOW);
        let not_tried = FinishDelivery { was_sent: false, ..not_tried };
        world.store.finish_webhook_deliveries(vec![not_tried]).await.unwrap();
        let message = world.deliveries(&webhook).await.remove(0);
        assert_eq!((message.status, message.due_at), (DeliveryStatus::Pending, Some(soon)));
        assert_eq!(message.attempts, []);
        assert_eq!(world.lease_messages(&webhook, 1, soon).await[0].tries, 1);
    }
}

#[tokio::test]
async fn a_row_that_cannot_be_read_keeps_no_other_from_being_leased() {
    for world in World::each().await {
        let spoilt = world.webhook(&["device.*"]).await;
        let neighbour = with_messages(&world, 2).await;
        let messages = world.deliveries(&neighbour).await;
        let newest = "SELECT message_id FROM webhook_deliveries ORDER BY message_id DESC LIMIT 1";
        let edit = format!("UPDATE webhook_deliveries SET attempts = 'nonsense' WHERE message_id = ({newest})");
        assert_eq!(world.database.tamper(&edit).await, 2);
        let edit = "UPDATE webhooks SET events = ' challenge.won ' WHERE events = ' device.* '";
        assert_eq!(world.database.tamper(edit).await, 1);
        let claim = world.claim_messages(&[(spoilt.id, 4), (neighbour.id, 4)], NOW);
        let leased = world.store.claim_webhook_deliveries(claim).await.unwrap();
        let (good, bad): (Vec<_>, Vec<_>) = leased.into_iter().partition(Result::is_ok);
        let good: Vec<_> = good.into_iter().map(|leased| leased.unwrap().id).collect();
        assert_eq!(good, [messages[1].id]);
        let is_corrupt =
            |leased: &Result<LeasedDelivery, StoreError>| matches!(leased, Err(StoreError::Corrupt { .. }));
        assert!(bad.len() == 3 && bad.iter().all(is_corrupt), "{bad:?}");
    }
}

#[tokio::test]
async fn what_was_never_sent_says_nothing_of_the_address() {
    for world in World::each().await {
        let webhook = with_messages(&world, 1).await;
        let leased = world.lease_messages(&webhook, 4, NOW).await.remove(0);
        let finished = finished(&leased, DeliveryVerdict::RetryAt(NOW.plus_seconds(5)), NOW);
        let finished = FinishDelivery { was_sent: false, ..finished };
        world.store.finish_webhook_deliveries(vec![finished]).await.unwrap();
        assert_eq!(world.webhook_now(&webhook).await.failing_since, None);
    }
}

#[tokio::test]
async fn an_address_that_is_gone_is_disabled_once_and_the_others_are_told() {
    for world in World::each().await {
        let witness = world.webhook(&["webhook.disabled"]).await;
        let webhook = with_messages(&world, 3).await;
        let leased = world.lease_messages(&webhook, 2, NOW).await;
        let gone = |leased: &LeasedDelivery| FinishDelivery {
            disable: Some((world.system_stamp(), DisabledReason::Gone)),
            ..finished(leased, DeliveryVerdict::Failed, NOW)
        };
        world.store.finish_webhook_deliveries(leased.iter().map(gone).collect()).await.unwrap();
        let now = world.webhook_now(&webhook).await;
        assert_eq!(now.status, WebhookStatus::Disabled(DisabledReason::Gone));
        assert_eq!(now.version, webhook.version + 1);
        assert_eq!(world.told(&witness).await, ["webhook.disabled"]);
        assert_eq!(world.lease_messages(&webhook, 4, NOW).await, []);
    }
}

#[tokio::test]
async fn an_address_that_has_been_replaced_meanwhile_is_not_disabled_for_the_old_one() {
    for world in World::each().await {
        let webhook = with_messages(&world, 1).await;
        let leased = world.lease_messages(&webhook, 1, NOW).await.remove(0);
        let mut moved = changed(&world, &webhook, WebhookStatus::Enabled);
        moved.target.url = "https://new.example/".to_owned();
        world.store.change_webhook(moved).await.unwrap();
        let gone = FinishDelivery {
            disable: Some((world.system_stamp(), DisabledReason::Gone)),
            ..finished(&leased, DeliveryVerdict::Failed, NOW)
        };
        world.store.finish_webhook_deliveries(vec![gone]).await.unwrap();
        assert_eq!(world.webhook_now(&webhook).await.status, WebhookStatus::Enabled);
        assert_eq!(world.count(EventKind::WebhookDisabled).await, 0);
    }
}

#[tokio::test]
async fn messages_to_a_deleted_webhook_are_dropped_and_no_others() {
    for world in World::each().await {
        let kept = world.webhook(&["device.added"]).await;
        let deleted = with_messages(&world, 3).await;
        world.store.delete_webhook(world.stamp(world.client), deleted.id).await.unwrap();
        let due = world.store.due_webhooks(NOW, Health::Well, None, 10).await.unwrap();
        assert!(due.contains(&DueWebhook { id: deleted.id, tenant_id: None, has_urgent: false, has_usual: true }));
        assert_eq!(world.lease_messages(&deleted, 4, NOW).await, []);
        assert_eq!(world.store.drop_webhook_deliveries(deleted.id, 2).await, Ok(2));
        assert_eq!(world.other.drop_webhook_deliveries(deleted.id, 2).await, Ok(1));
        assert_eq!(world.store.drop_webhook_deliveries(kept.id, 10).await, Ok(0));
        assert_eq!(world.deliveries(&kept).await.len(), 3);
    }
}

#[tokio::test]
async fn the_node_that_queued_a_message_is_woken_and_no_other() {
    for world in World::each().await {
        world.webhook(&["*"]).await;
        let (here, there) = (Arc::new(Wakes::default()), Arc::new(Wakes::default()));
        let store = world.database.open_with(options(), here.clone()).await.unwrap();
        let other = world.database.open_with(options(), there.clone()).await.unwrap();
        let invitation = world.invite("ada").await;
        let claim = world.claim(&invitation);
        store.claim_ticket(claim).await.unwrap();
        here.hear(WakeKey::Webhooks).await;
        assert!(!there.take().contains(&WakeKey::Webhooks));
        store.close().await;
        other.close().await;
    }
}
