//! What operators see: what became of a device's pushes, when it asked, when each challenge reached it.

use countersign_core::{
    device::PushHealth,
    ports::{
        challenges::NewDelivery,
        notifications::{NotificationVerdict, Sightings},
    },
};
use countersign_proto::vocabulary::{DeliveryState, PushChannel};

use crate::world::{NOW, World};

#[tokio::test]
async fn each_push_leaves_its_mark_in_the_devices_health() {
    for world in World::each().await {
        let (phone, other) = (world.phone("ada").await, world.phone("bob").await);
        assert_eq!(world.device(phone.id).await.unwrap().push_health, PushHealth::default());
        let at = |seconds| NOW.plus_seconds(seconds);
        let error = |text: &str, seconds| Some((text.to_owned(), at(seconds)));
        let verdicts = [
            (NotificationVerdict::RetryAt(at(9), "busy 503".to_owned()), None, error("busy 503", 1)),
            (NotificationVerdict::Delivered, Some(at(2)), error("busy 503", 1)),
            (NotificationVerdict::Expired(None), Some(at(2)), error("busy 503", 1)),
            (NotificationVerdict::Expired(Some("late 503".to_owned())), Some(at(2)), error("late 503", 4)),
            (NotificationVerdict::Rejected("large 413".to_owned()), Some(at(2)), error("large 413", 5)),
            (NotificationVerdict::Undeliverable("bad 400".to_owned()), Some(at(2)), error("bad 400", 6)),
            (NotificationVerdict::TokenGone("gone 410".to_owned()), Some(at(2)), error("gone 410", 7)),
        ];
        for ((verdict, accepted_at, last_error), seconds) in verdicts.into_iter().zip(1..) {
            let job = world.job(&phone, at(8)).await;
            world.finish(&job, verdict, at(seconds)).await;
            let health = world.device(phone.id).await.unwrap().push_health;
            assert_eq!(health, PushHealth { accepted_at, last_error, ..PushHealth::default() });
        }
        assert_eq!(world.device(other.id).await.unwrap().push_health, PushHealth::default());
    }
}

#[tokio::test]
async fn a_verdict_that_comes_late_does_not_hide_a_newer_one() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let (one, two) = (world.job(&phone, NOW).await, world.job(&phone, NOW).await);
        let at = |seconds| NOW.plus_seconds(seconds);
        world.finish(&two, NotificationVerdict::Rejected("newer".to_owned()), at(5)).await;
        world.finish(&one, NotificationVerdict::Rejected("older".to_owned()), at(4)).await;
        let health = world.device(phone.id).await.unwrap().push_health;
        assert_eq!(health.last_error, Some(("newer".to_owned(), at(5))));
    }
}

#[tokio::test]
async fn a_push_that_ran_out_of_time_keeps_its_last_reason() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let busy = || NotificationVerdict::RetryAt(NOW, "busy 503".to_owned());
        for ending in [Some(NotificationVerdict::Expired(None)), None] {
            let job = world.job(&phone, NOW).await;
            let id = job.challenge_id.unwrap();
            world.finish(&job, busy(), NOW).await;
            match ending {
                Some(verdict) => {
                    let job = world.lease(NOW).await.remove(0);
                    world.finish(&job, verdict, NOW).await;
                }
                None => assert_eq!(world.store.expire_notifications(job.expires_at, 10).await, Ok(1)),
            }
            let (state, _, error) = world.delivery(id, phone.id).await;
            assert_eq!((state, error.as_deref()), (DeliveryState::Expired, Some("busy 503")));
        }
    }
}

#[tokio::test]
async fn sightings_keep_the_last_pull_and_the_first_fetch() {
    for world in World::each().await {
        let (phone, watch) = (world.phone("ada").await, world.phone("ada").await);
        let (one, two) = (world.challenge(&[&phone, &watch]).await, world.challenge(&[&phone]).await);
        let at = |seconds| NOW.plus_seconds(seconds);
        let see = async |pulls: &[_], fetches: &[_]| {
            let sightings = Sightings { pulls: pulls.to_vec(), fetches: fetches.to_vec(), ..Sightings::default() };
            assert_eq!(world.store.record_sightings(sightings).await, Ok(()));
        };
        see(&[], &[]).await;
        let (tenant_id, nobody, nothing) = (world.tenant_id, world.id(), world.id());
        let neighbour = world.tenant("neighbour").await;
        // In any order, repeated, and with strangers among them.
        see(
            &[
                (tenant_id, phone.id, at(3)),
                (tenant_id, nobody, at(3)),
                (tenant_id, phone.id, at(5)),
                (tenant_id, phone.id, at(4)),
                (neighbour, watch.id, at(9)),
            ],
            &[
                (two, phone.id, at(4)),
                (one, phone.id, at(7)),
                (one, phone.id, at(3)),
                (nothing, phone.id, at(1)),
                (two, watch.id, at(1)),
            ],
        )
        .await;
        see(&[(tenant_id, phone.id, at(2))], &[(one, phone.id, at(8))]).await;
        see(&[], &[(two, phone.id, at(2))]).await;
        assert_eq!(world.device(phone.id).await.unwrap().push_health.pulled_at, Some(at(5)));
        assert_eq!(world.device(watch.id).await.unwrap().push_health, PushHealth::default());
        let fetched = async |id, device_id| {
            let deliveries = world.store.deliveries(tenant_id, id).await.unwrap();
            deliveries.into_iter().find(|delivery| delivery.device_id == device_id).unwrap().fetched_at
        };
        assert_eq!(fetched(one, phone.id).await, Some(at(3)));
        assert_eq!(fetched(one, watch.id).await, None);
        assert_eq!(fetched(two, phone.id).await, Some(at(2)));
        assert_eq!(world.database.number("SELECT count(*) FROM push_health").await, 1);

        // A pull and a push do not overwrite one another.
        let job = world.lease(NOW).await.into_iter().find(|job| job.challenge_id == Some(two)).unwrap();
        world.finish(&job, NotificationVerdict::Delivered, at(6)).await;
        let health = world.device(phone.id).await.unwrap().push_health;
        assert_eq!((health.accepted_at, health.pulled_at), (Some(at(6)), Some(at(5))));
    }
}

#[tokio::test]
async fn the_last_decision_of_a_device_is_known_whatever_else_it_does() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let at = |seconds| NOW.plus_seconds(seconds);
        let used_at = async || {
            let addressees = world.store.addressees(world.tenant_id, "ada").await.unwrap().unwrap();
            addressees.devices[0].last_used_at
        };
        assert_eq!(used_at().await, NOW, "it became active then");
        let see = async |pulls: &[i64], answers: &[i64]| {
            let of = |times: &[i64]| -> Vec<_> {
                times.iter().map(|seconds| (world.tenant_id, phone.id, at(*seconds))).collect()
            };
            let sightings = Sightings { pulls: of(pulls), answers: of(answers), ..Sightings::default() };
            assert_eq!(world.store.record_sightings(sightings).await, Ok(()));
        };
        see(&[1], &[5, 3]).await;
        // Beside a pull that tells nothing new; then a pull alone, and a decision that comes late.
        see(&[2], &[7]).await;
        see(&[30], &[]).await;
        see(&[], &[6]).await;
        let health = world.device(phone.id).await.unwrap().push_health;
        assert_eq!((health.answered_at, health.pulled_at), (Some(at(7)), Some(at(30))));
        assert_eq!(used_at().await, at(7));
    }
}

#[tokio::test]
async fn a_pull_is_written_down_if_the_one_that_is_known_is_older_than_ten_seconds() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        for (millis, known) in [(0, 0), (1, 0), (10_000, 0), (10_001, 10_001), (20_000, 10_001), (30_000, 30_000)] {
            let pulls = vec![(world.tenant_id, phone.id, NOW.plus_millis(millis))];
            assert_eq!(world.store.record_sightings(Sightings { pulls, ..Sightings::default() }).await, Ok(()));
            let health = world.device(phone.id).await.unwrap().push_health;
            assert_eq!(health.pulled_at, Some(NOW.plus_millis(known)), "at {millis}");
        }
    }
}

#[tokio::test]
async fn many_sightings_are_written_in_portions_that_let_others_through() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let id = world.challenge(&[&phone]).await;
        // Strangers around the one that is known: it is in one of many portions, its sightings far apart.
        let mut sightings = Sightings::default();
        for number in 0..2_600 {
            sightings.pulls.push((world.tenant_id, world.id(), NOW));
            sightings.fetches.push((id, world.id(), NOW));
            if number % 1_000 == 500 {
                sightings.pulls.push((world.tenant_id, phone.id, NOW.plus_seconds(number)));
                sightings.fetches.push((id, phone.id, NOW.plus_seconds(number)));
            }
        }
        let writing = tokio::spawn({
            let store = world.store.clone();
            async move { store.record_sightings(sightings).await }
        });
        world.register(&phone, countersign_proto::push::PushBinding::None, NOW).await;
        assert_eq!(writing.await.unwrap(), Ok(()));
        assert_eq!(world.device(phone.id).await.unwrap().push_health.pulled_at, Some(NOW.plus_seconds(2_500)));
        let delivery = world.store.deliveries(world.tenant_id, id).await.unwrap().remove(0);
        assert_eq!(delivery.fetched_at, Some(NOW.plus_seconds(500)));
        assert_eq!(world.database.number("SELECT count(*) FROM push_health").await, 1);
    }
}

#[tokio::test]
async fn a_delivery_says_when_the_provider_took_it_first() {
    for world in World::each().await {
        let (phone, watch) = (world.phone("ada").await, world.phone("ada").await);
        let id = world.challenge(&[&phone, &watch]).await;
        let at = NOW.plus_seconds(2);
        for job in world.lease(NOW).await {
            world.finish(&job, NotificationVerdict::Delivered, at).await;
        }
        world.store.close_challenge(world.cancel(phone.user.id, id)).await.unwrap();
        for job in world.lease(at).await {
            world.finish(&job, NotificationVerdict::Delivered, NOW.plus_seconds(9)).await;
        }
        for delivery in world.store.deliveries(world.tenant_id, id).await.unwrap() {
            assert_eq!((delivery.state, delivery.accepted_at), (DeliveryState::Withdrawn, Some(at)));
        }
    }
}

#[tokio::test]
async fn a_delivery_that_is_not_even_tried_says_why() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let mut command = world.new_challenge(&[&phone]).await;
        let reason = Some("bad_token 400".to_owned());
        command.deliveries = vec![NewDelivery {
            device_id: phone.id,
            channel: PushChannel::Fcm,
            state: DeliveryState::Rejected,
            last_error: reason.clone(),
        }];
        let id = command.facts.id;
        world.store.create_challenge(command).await.unwrap();
        assert_eq!(world.lease(NOW).await, []);
        assert_eq!(world.delivery(id, phone.id).await, (DeliveryState::Rejected, 0, reason));
    }
}

#[tokio::test]
async fn a_challenge_says_how_its_pushes_fare() {
    for world in World::each().await {
        let (phone, watch) = (world.phone("ada").await, world.phone("ada").await);
        let (both, one) = (world.challenge(&[&phone, &watch]).await, world.challenge(&[&watch]).await);
        let job = world.lease(NOW).await.into_iter().find(|job| job.device_id == phone.id).unwrap();
        world.finish(&job, NotificationVerdict::RetryAt(NOW, "x".to_owned()), NOW).await;
        let mut empty = world.new_challenge(&[&phone]).await;
        empty.deliveries.clear();
        let none = empty.facts.id;
        world.store.create_challenge(empty).await.unwrap();

        let page = countersign_core::ports::PageRequest { before: None, limit: 10 };
        let listed = world.store.challenges(world.tenant_id, Default::default(), page).await.unwrap();
        let wanted = [
            (both, vec![DeliveryState::Queued, DeliveryState::Retrying]),
            (one, vec![DeliveryState::Queued]),
            (none, vec![]),
        ];
        for (id, states) in wanted {
            let mut found = world.store.challenge(world.tenant_id, id).await.unwrap().unwrap();
            found.delivery_states.sort_by_key(|state| format!("{state:?}"));
            assert_eq!(found.delivery_states, states);
            let mut found = listed.iter().find(|record| record.facts.id == id).unwrap().delivery_states.clone();
            found.sort_by_key(|state| format!("{state:?}"));
            assert_eq!(found, states);
        }
    }
}
