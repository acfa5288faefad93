//! Receivers that are down, slow, or a trap.

use std::collections::BTreeSet;

use countersign::config::Settings;
use countersign_simulator::stand_in::Behaviour;
use countersign_tests::{
    ApiClient, Db, TestApp, TestAppOptions, TestClock, path_of,
    providers::SOON,
    receiver::{Receiver, both_with_receiver},
    text,
};

use super::{delivery, drain, until_tried};

/// Every event that the webhook wanted: ids with types.
async fn wanted(client: &ApiClient, groups: &[&str]) -> BTreeSet<(String, String)> {
    let mut events = BTreeSet::new();
    let mut path = "/v1/events?limit=200".to_owned();
    loop {
        let page = client.get(&path).await.ok(200);
        let items = page["items"].as_array().unwrap();
        if items.is_empty() {
            return events;
        }
        let of_group = |kind: &str| groups.iter().any(|group| kind.starts_with(group));
        for event in items.iter().filter(|event| of_group(text(event, "type"))) {
            events.insert((text(event, "id").to_owned(), text(event, "type").to_owned()));
        }
        path = format!("/v1/events?limit=200&cursor={}", text(&page, "next_cursor"));
    }
}

/// Tells until nothing waits any more. A message whose answer is lost comes due again later, whoever of those that tell has
/// met the loss: so the clock does not stand still.
async fn drain_as_time_goes_on(app: &TestApp) {
    let nothing_waits = async {
        while app.database.number("SELECT count(*) FROM webhook_deliveries WHERE status = 'pending'").await > 0 {
            app.clock.advance(600);
            app.node().tell().await;
            app.node().turn().await;
        }
    };
    assert!(tokio::time::timeout(SOON, nothing_waits).await.is_ok(), "not everything was told in time");
}

async fn sign_in(client: &ApiClient, phone: &countersign_tests::Device, user: &str) {
    let challenge = client.plain_challenge(user).await;
    phone.approve(&phone.pending_of(&challenge).await, None, None).await.unwrap();
}

#[tokio::test]
async fn after_three_days_of_silence_nothing_is_lost_and_each_message_has_one_id() {
    both_with_receiver(async |app, receiver| {
        let idp = app.admin().await;
        app.ring_without_limit().await;
        let hook = receiver.hook(&idp, "idp", &["challenge.*", "device.*"]).await;
        let phone = idp.enroll("ada").await;
        receiver.hooks.always(Some(Behaviour::status(503)));
        for hour in 0..72 {
            if hour % 6 == 0 {
                sign_in(&idp, &phone, "ada").await;
                let open = idp.plain_challenge("ada").await;
                idp.post_empty(&format!("{}/cancel", path_of(&open))).await.ok(200);
            }
            app.clock.advance(3_600);
            app.node().tell().await;
        }
        let refused = receiver.hooks.attempted_count();
        assert!(refused > 100, "it was down for something: {refused}");
        assert!(idp.get(&hook.path()).await.ok(200)["failing_since"].is_string());
        // Back, and forgetful at first: some answers are lost, so that their messages come twice.
        receiver.hooks.always(None);
        receiver.hooks.script("idp", [Behaviour::LoseAnswer {}, Behaviour::Normal {}, Behaviour::LoseAnswer {}]);
        app.clock.advance(2 * 86_400);
        drain_as_time_goes_on(app).await;
        let wanted = wanted(&idp, &["challenge.", "device."]).await;
        assert!(wanted.len() > 45, "{wanted:?}");
        assert_eq!(receiver.taken(&hook), wanted);
        assert!(idp.get(&hook.path()).await.ok(200).get("failing_since").is_none());
    })
    .await;
}

#[tokio::test]
async fn an_address_that_comes_back_gets_what_waits_at_once() {
    both_with_receiver(async |app, receiver| {
        let idp = app.admin().await;
        let hook = receiver.hook(&idp, "idp", &["user.*"]).await;
        receiver.hooks.always(Some(Behaviour::status(503)));
        for user in ["ada", "grace", "alan"] {
            idp.enroll(user).await;
        }
        until_tried(app, &idp, &hook, "user.created", 1).await;
        for seconds in [5, 400, 800, 2_400] {
            app.clock.advance(seconds);
            app.node().tell().await;
        }
        receiver.hooks.always(None);
        // The first message that arrives brings the others along: they would have waited for an hour.
        idp.post_empty(&format!("{}/test", hook.path())).await.ok(202);
        drain(app).await;
        assert_eq!(receiver.taken(&hook).len(), 4);
    })
    .await;
}

#[tokio::test]
async fn a_dead_a_slow_and_a_trapping_receiver_delay_no_other() {
    for db in [Db::Sqlite, Db::Postgres] {
        let clock = TestClock::default();
        // Addresses of their own: who shares one shares its connections.
        let well = Receiver::start(&clock).await;
        let mut receivers = Vec::new();
        for _ in 0..4 {
            receivers.push(well.beside().await);
        }
        let options = TestAppOptions { clock, ..TestAppOptions::new(db) };
        let configure = |settings: &mut Settings| {
            receivers.iter().chain([&well]).for_each(|receiver| receiver.configure(settings));
        };
        let app = TestApp::start_as(options, configure).await;
        let behaviours = [
            Behaviour::ResetConnection {},
            Behaviour::NeverAnswer {},
            Behaviour::Slow { millis: 120_000 },
            Behaviour::Silent {},
        ];
        for (number, (receiver, behaviour)) in receivers.iter().zip(behaviours).enumerate() {
            let tenant = app.tenant(&format!("tenant-{number}")).await;
            let client = app.client_of(&tenant, "admin").await;
            receiver.hooks.always(Some(behaviour));
            receiver.hook(&client, "trouble", &["*"]).await;
            // More than may be in flight to one address.
            for user in 0..3 {
                client.enroll(&format!("user-{user}")).await;
            }
            app.node().until(|_| receiver.hooks.connections() > 0).await;
        }
        let idp = app.admin().await;
        let hook = well.hook(&idp, "well", &["challenge.*"]).await;
        let phone = idp.enroll("ada").await;
        let neighbours = format!("tenant_id <> {}", app.database.id(&idp.tenant_id));
        // Those that never answer, and those that do so after minutes: until they are given up, all their places are taken.
        let occupied = format!(
            "SELECT count(DISTINCT webhook_id) FROM webhook_deliveries WHERE lease IS NOT NULL AND {neighbours}"
        );
        let ended = format!("SELECT count(*) FROM webhook_deliveries WHERE attempts <> '[]' AND {neighbours}");
        let mut rounds = 0;
        loop {
            rounds += 1;
            let before = (app.database.number(&occupied).await, app.database.number(&ended).await);
            sign_in(&idp, &phone, "ada").await;
            // By the server's own worker, which is busy with the others all the time.
            well.next(&hook, "challenge.approved").await;
            // One made, one approved.
            app.node().until(|_| well.taken(&hook).len() == 2 * rounds).await;
            // While others were on their way, and none of them had to end for it. A busy machine may take so long that
            // one does: then once more. If messages waited for another's end, there would be one each time.
            if before.0 >= 2 && app.database.number(&ended).await == before.1 {
                break;
            }
            assert!(rounds < 8, "each message has waited for another's, or none was on its way: {before:?}");
        }
        let in_flight = "SELECT COALESCE(MAX(number), 0) FROM (SELECT count(*) AS number FROM webhook_deliveries \
                         WHERE lease IS NOT NULL GROUP BY webhook_id) AS webhooks";
        assert!(app.database.number(in_flight).await <= 4);
        for receiver in &receivers {
            assert!(receiver.hooks.connections() > 0);
        }
        app.finish().await;
    }
}

#[tokio::test]
async fn an_address_that_fails_for_a_week_is_disabled_and_its_messages_are_kept() {
    both_with_receiver(async |app, receiver| {
        let idp = app.admin().await;
        let hook = receiver.hook(&idp, "idp", &["user.created"]).await;
        receiver.hooks.always(Some(Behaviour::status(500)));
        idp.enroll("ada").await;
        until_tried(app, &idp, &hook, "user.created", 1).await;
        let disabled = async {
            while idp.get(&hook.path()).await.ok(200)["enabled"] == true {
                app.clock.advance(6 * 3_600);
                app.node().tell().await;
                app.node().turn().await;
            }
        };
        tokio::time::timeout(SOON, disabled).await.expect("it is disabled");
        let shown = idp.get(&hook.path()).await.ok(200);
        assert_eq!(shown["disabled_reason"], "failing");
        let message = delivery(&idp, &hook, "user.created").await;
        assert!(message["attempts"].as_array().unwrap().len() > 8, "{message}");
        receiver.hooks.always(None);
        idp.patch(&hook.path(), serde_json::json!({"enabled": true})).await.ok(200);
        idp.post(&format!("{}/replay", hook.path()), serde_json::json!({})).await.ok(202);
        receiver.next(&hook, "user.created").await;
        drain(app).await;
    })
    .await;
}
