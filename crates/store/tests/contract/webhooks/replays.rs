//! What was told is told again by wish.

use super::{work::with_messages, *};

#[tokio::test]
async fn a_message_is_sent_again_by_wish_as_if_it_were_new() {
    for world in World::each().await {
        let webhook = with_messages(&world, 2).await;
        let leased = world.lease_messages(&webhook, 2, NOW).await;
        let on_its_way = &leased[1];
        let delivered = finished(&leased[0], DeliveryVerdict::Delivered, NOW);
        world.store.finish_webhook_deliveries(vec![delivered]).await.unwrap();

        let stamp = || world.stamp_at(world.client, NOW.plus_seconds(100));
        assert_eq!(world.store.replay_webhook_delivery(stamp(), webhook.id, leased[0].id).await, Ok(true));
        let soon = world.stamp_at(world.client, NOW.plus_seconds(LEASE_SECONDS - 1));
        assert_eq!(world.store.replay_webhook_delivery(soon, webhook.id, on_its_way.id).await, Ok(true));
        assert_eq!(world.store.replay_webhook_delivery(stamp(), webhook.id, world.id()).await, Ok(false));
        let told = world.store.webhook_delivery(world.tenant_id, webhook.id, leased[0].id).await.unwrap().unwrap();
        assert_eq!((told.status, told.due_at), (DeliveryStatus::Pending, Some(NOW.plus_seconds(100))));
        assert_eq!(told.attempts.len(), 1, "what was is still shown");
        let still = finished(on_its_way, DeliveryVerdict::Delivered, NOW);
        assert_eq!(world.store.finish_webhook_deliveries(vec![still]).await, Ok(1), "its lease was not touched");
        let again = world.lease_messages(&webhook, 4, NOW.plus_seconds(100)).await.remove(0);
        assert_eq!((again.id, again.tries, again.queued_at), (leased[0].id, 1, NOW.plus_seconds(100)));
        assert_eq!(again.attempts.len(), 1);
    }
}

#[tokio::test]
async fn many_are_sent_again_by_what_became_of_them_and_when_they_happened() {
    for world in World::each().await {
        let webhook = with_messages(&world, 5).await;
        let leased = world.lease_messages(&webhook, 5, NOW).await;
        let verdict = |(number, leased): (usize, &LeasedDelivery)| {
            let verdict = if number < 3 { DeliveryVerdict::Failed } else { DeliveryVerdict::Delivered };
            finished(leased, verdict, NOW)
        };
        world.store.finish_webhook_deliveries(leased.iter().enumerate().map(verdict).collect()).await.unwrap();
        assert_eq!(world.deliveries_in(&webhook, Some(DeliveryStatus::Failed)).await.len(), 3);
        let replay = |command: ReplayDeliveries| world.store.replay_webhook_deliveries(command);
        let failed = || world.replay_of(&webhook, DeliveryStatus::Failed);
        let early = ReplayDeliveries { to: NOW, ..failed() };
        assert_eq!(replay(early).await, Ok(0));
        let late = ReplayDeliveries { from: NOW.plus_millis(1), ..failed() };
        assert_eq!(replay(late).await, Ok(0));
        assert_eq!(replay(ReplayDeliveries { limit: 2, ..failed() }).await, Ok(2));
        assert_eq!(replay(failed()).await, Ok(1));
        assert_eq!(replay(failed()).await, Ok(0));
        assert_eq!(replay(world.replay_of(&webhook, DeliveryStatus::Delivered)).await, Ok(2));
        assert_eq!(world.lease_messages(&webhook, 10, NOW.plus_seconds(100)).await.len(), 5);
    }
}
