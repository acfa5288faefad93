//! A sign-in never depends on a provider being well.

use countersign_simulator::stand_in::Behaviour;
use countersign_tests::{
    at_once,
    providers::{apns_options, apns_token, both_with_providers, fcm_options},
};

use super::{delivery, drain_notices, until_state};

#[tokio::test]
async fn with_every_provider_dead_for_an_hour_every_sign_in_completes_by_pull() {
    both_with_providers(async |app, providers| {
        let idp = app.admin().await;
        app.ring_without_limit().await;
        let phone = idp.enroll_with("ada", apns_options(&apns_token('a'))).await;
        let other = idp.enroll_with("ada", fcm_options("fcm-token-1")).await;
        drain_notices(app).await;
        providers.apns.always(Some(Behaviour::ResetConnection {}));
        providers.fcm.always(Some(Behaviour::status(503)));
        // As many failures as open both circuits.
        for _ in 0..12 {
            let challenge = idp.plain_challenge("ada").await;
            until_state(app, &idp, &challenge, &phone.device_id(), "retrying").await;
            until_state(app, &idp, &challenge, &other.device_id(), "retrying").await;
            assert_eq!(idp.show(&challenge).await["push_status"], "degraded");
            phone.approve(&phone.pending_of(&challenge).await, None, None).await.unwrap();
            assert_eq!(idp.show(&challenge).await["status"], "approved");
        }
        let senders = app.node().app().pushing.senders();
        assert_eq!(senders.open_circuits().len(), 2, "{:?}", senders.open_circuits());
        for _ in 0..30 {
            app.clock.advance(120);
            let challenge = idp.plain_challenge("ada").await;
            assert_eq!(challenge["push_status"], "degraded", "told at once");
            app.node().dispatch().await;
            phone.approve(&phone.pending_of(&challenge).await, None, None).await.unwrap();
            assert_eq!(idp.show(&challenge).await["status"], "approved");
            app.sweep().await;
        }
        // Back again: what is over is not sent, what is new rings.
        providers.apns.always(None);
        providers.fcm.always(None);
        let before = providers.apns.received().len();
        app.clock.advance(120);
        app.sweep().await;
        app.node().dispatch().await;
        let challenge = idp.plain_challenge("ada").await;
        let delivered = async {
            while delivery(&idp, &challenge, &phone.device_id()).await["state"] != "delivered" {
                app.clock.advance(1);
                app.node().dispatch().await;
            }
        };
        tokio::time::timeout(countersign_tests::providers::SOON, delivered).await.expect("it rings again");
        let since = providers.apns.received().split_off(before);
        let alerts = since.iter().filter(|push| push.push.payload["kind"] == "challenge").count();
        assert_eq!(alerts, 1, "no flood of what is long over");
    })
    .await;
}

#[tokio::test]
async fn a_slow_provider_and_a_dead_token_delay_no_other_phone() {
    both_with_providers(async |app, providers| {
        let idp = app.admin().await;
        let dead = apns_token('d');
        providers.apns.always(None);
        let gone = idp.enroll_with("ada", apns_options(&dead)).await;
        let well = idp.enroll_with("ada", apns_options(&apns_token('a'))).await;
        let slow = idp.enroll_with("ada", fcm_options("fcm-token-1")).await;
        drain_notices(app).await;
        let since = app.clock.time().as_millis();
        providers.apns.script(&dead, [Behaviour::Gone { timestamp_millis: Some(since) }]);
        providers.fcm.always(Some(Behaviour::NeverAnswer {}));
        let challenge = idp.plain_challenge("ada").await;
        until_state(app, &idp, &challenge, &well.device_id(), "delivered").await;
        let ended = until_state(app, &idp, &challenge, &gone.device_id(), "token_gone").await;
        assert_eq!(ended["last_error"], "unregistered 410");
        assert_eq!(delivery(&idp, &challenge, &slow.device_id()).await["state"], "queued", "still being tried");
        slow.approve(&slow.only_pending().await, None, None).await.unwrap();
        providers.fcm.always(None);
    })
    .await;
}

#[tokio::test]
async fn a_push_is_leased_by_one_of_many_nodes_and_sent_once() {
    both_with_providers(async |app, providers| {
        let idp = app.admin().await;
        app.ring_without_limit().await;
        let mut phones = Vec::new();
        for number in 0..6 {
            phones.push(idp.enroll_with(&format!("user-{number}"), fcm_options(&format!("fcm-token-{number}"))).await);
        }
        let second = app.second_node().await;
        let clients = [idp.clone(), idp.at(&second.http)];
        let created = at_once((0..24).map(|round| {
            let client = clients[round % 2].clone();
            async move { client.plain_challenge(&format!("user-{}", round % 6)).await }
        }))
        .await;
        assert!(providers.fcm.wait_for_accepted(24, countersign_tests::providers::SOON).await);
        for challenge in &created {
            let mut rung = providers.fcm.received();
            rung.retain(|push| push.push.data["challenge_id"] == challenge["id"]);
            assert_eq!(rung.len(), 1, "{challenge}");
        }
        let tokens = providers.fcm.assertions();
        assert!((1..=2).contains(&tokens), "one access token for each node that sent, however many pushes: {tokens}");
        second.stop().await;
    })
    .await;
}
