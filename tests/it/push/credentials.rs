//! Credentials: chosen by topic, project and tenant; shared by nodes; changed without a restart.

use countersign::{config::Apns, pushing::Reload, worker};
use countersign_proto::vocabulary::ApnsEnvironment;
use countersign_simulator::apns::DeveloperKey;
use countersign_tests::{
    Db, TestApp, TestAppOptions, TestClock,
    providers::{Providers, TOPIC, apns_options, apns_token, both_with_providers, fcm_options, with_push},
};
use reqwest::Method;
use serde_json::json;

use super::until_state;

#[tokio::test]
async fn a_channel_that_cannot_be_rung_is_refused_at_registration_and_update() {
    both_with_providers(async |app, _| {
        let idp = app.admin().await;
        let token = apns_token('a');
        let refused = [
            (
                json!({"channel": "apns", "token": token, "topic": "org.other", "environment": "production"}),
                "/push/topic",
            ),
            (json!({"channel": "apns", "token": token, "topic": TOPIC, "environment": "sandbox"}), "/push/topic"),
            (json!({"channel": "fcm", "token": "t", "project": "another"}), "/push/project"),
        ];
        let phone = idp.enroll("ada").await;
        for (binding, pointer) in refused {
            let claims = phone.claims_with(json!({"push": binding}));
            let token = phone.sign(countersign_proto::jose::Kind::PushUpdate, &claims).unwrap();
            let reply = app.http.artefact(Method::PUT, "/v1/device/push", token).await;
            assert_eq!(reply.problem("invalid-request")["errors"][0]["pointer"], pointer);
            let enrollment = idp.create_enrollment(json!({"user": {"external_id": "ada"}})).await;
            let (server, surroundings) = idp.phones();
            let uri = enrollment["enrollment_uri"].as_str().unwrap();
            let ticket = uri.split_once("#t=").unwrap().1;
            let options = with_push("Phone", binding);
            let claimed =
                countersign_simulator::Phone::enroll_at(server.clone(), ticket, options, surroundings.clone()).await;
            assert!(claimed.unwrap_err().is_problem("invalid-request"));
            // The ticket is still good.
            idp.claim(&enrollment, fcm_options("fcm-token-1")).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_credential_of_one_tenant_rings_no_device_of_another() {
    for db in [Db::Sqlite, Db::Postgres] {
        let clock = TestClock::default();
        let providers = Providers::start(&clock).await;
        let options = TestAppOptions { clock, ..TestAppOptions::new(db) };
        let app = TestApp::start_as(options, |settings| {
            providers.configure(settings);
            settings.push.apns.get_mut("main").unwrap().tenants = vec!["default".to_owned()];
        })
        .await;
        let other = app.client_of(&app.tenant("other").await, "admin").await;
        let enrollment = other.create_enrollment(json!({"user": {"external_id": "ada"}})).await;
        let (server, surroundings) = other.phones();
        let ticket = enrollment["enrollment_uri"].as_str().unwrap().split_once("#t=").unwrap().1;
        let options = apns_options(&apns_token('a'));
        let claimed =
            countersign_simulator::Phone::enroll_at(server.clone(), ticket, options.clone(), surroundings.clone())
                .await;
        assert!(claimed.unwrap_err().is_problem("invalid-request"));
        let idp = app.admin().await;
        let phone = idp.enroll_with("ada", options).await;
        let challenge = idp.plain_challenge("ada").await;
        until_state(&app, &idp, &challenge, &phone.device_id(), "delivered").await;
        app.finish().await;
        providers.stop().await;
    }
}

#[tokio::test]
async fn one_provider_token_serves_all_nodes_and_survives_a_restart() {
    for db in [Db::Sqlite, Db::Postgres] {
        let clock = TestClock::default();
        let providers = Providers::start(&clock).await;
        let options = TestAppOptions { clock, ..TestAppOptions::new(db) };
        let app = TestApp::start_as(options, |settings| providers.configure(settings)).await;
        let idp = app.admin().await;
        let phone = idp.enroll_with("ada", apns_options(&apns_token('a'))).await;
        let second = app.second_node().await;
        for client in [&idp, &idp.at(&second.http)] {
            let challenge = client.plain_challenge("ada").await;
            until_state(&app, &idp, &challenge, &phone.device_id(), "delivered").await;
        }
        second.stop().await;
        let app = app.restart().await;
        let challenge = idp.plain_challenge("ada").await;
        until_state(&app, &idp, &challenge, &phone.device_id(), "delivered").await;
        assert_eq!(providers.apns.provider_tokens_seen(), 1, "{db:?}");
        assert!(providers.apns.attempts().iter().all(|attempt| attempt.answer.accepted));
        // Not older than an hour, and not newer than 20 minutes after the last.
        for _ in 0..6 {
            app.clock.advance(19 * 60);
            app.sweep().await;
            let challenge = idp.plain_challenge("ada").await;
            until_state(&app, &idp, &challenge, &phone.device_id(), "delivered").await;
        }
        assert!((2..=4).contains(&providers.apns.provider_tokens_seen()));
        assert!(providers.apns.attempts().iter().all(|attempt| attempt.answer.accepted));
        app.finish().await;
        providers.stop().await;
    }
}

#[tokio::test]
async fn a_changed_key_is_used_without_a_restart_and_a_broken_one_changes_nothing() {
    both_with_providers(async |app, providers| {
        let idp = app.admin().await;
        let phone = idp.enroll_with("ada", apns_options(&apns_token('a'))).await;
        let server = app.node().app();
        assert_eq!(worker::reload::round(server).await.unwrap(), Reload::Unchanged);
        let old = std::fs::read_to_string(providers.file("apns.p8")).unwrap();

        std::fs::write(providers.file("apns.p8"), "no key").unwrap();
        let error = worker::reload::round(server).await.unwrap_err().to_string();
        assert!(error.contains("main") && !error.contains("no key"), "{error}");
        let challenge = idp.plain_challenge("ada").await;
        until_state(app, &idp, &challenge, &phone.device_id(), "delivered").await;

        // A key that Apple does not know: it is used, and refused.
        let other = DeveloperKey::generate("KEY0000001", "TEAM000001").unwrap();
        std::fs::write(providers.file("apns.p8"), &other.private_pem).unwrap();
        assert_eq!(worker::reload::round(server).await.unwrap(), Reload::Changed);
        let challenge = idp.plain_challenge("ada").await;
        let refused = until_state(app, &idp, &challenge, &phone.device_id(), "retrying").await;
        assert_eq!(refused["last_error"], "invalid-provider-token 403");
        assert_eq!(server.pushing.senders().open_circuits(), ["apns:main"]);

        std::fs::write(providers.file("apns.p8"), old).unwrap();
        assert_eq!(worker::reload::round(server).await.unwrap(), Reload::Changed);
        app.clock.advance(5);
        until_state(app, &idp, &challenge, &phone.device_id(), "delivered").await;
    })
    .await;
}

#[tokio::test]
async fn refused_credentials_of_one_provider_leave_the_others_alone() {
    for db in [Db::Sqlite, Db::Postgres] {
        let clock = TestClock::default();
        let providers = Providers::start(&clock).await;
        let stranger = DeveloperKey::generate("KEY0000009", "TEAM000001").unwrap();
        std::fs::write(providers.file("other.p8"), &stranger.private_pem).unwrap();
        let options = TestAppOptions { clock, ..TestAppOptions::new(db) };
        let app = TestApp::start_as(options, |settings| {
            providers.configure(settings);
            let main = settings.push.apns["main"].clone();
            let wrong = Apns {
                key_file: providers.file("other.p8"),
                key_id: "KEY0000009".to_owned(),
                environment: ApnsEnvironment::Sandbox,
                ..main
            };
            settings.push.apns.insert("wrong".to_owned(), wrong);
        })
        .await;
        let idp = app.admin().await;
        app.ring_without_limit().await;
        let binding = json!({"channel": "apns", "token": apns_token('b'), "topic": TOPIC, "environment": "sandbox"});
        let unlucky = idp.enroll_with("ada", with_push("iPad", binding)).await;
        let well = idp.enroll_with("ada", apns_options(&apns_token('a'))).await;
        let pixel = idp.enroll_with("ada", fcm_options("fcm-token-1")).await;
        for _ in 0..4 {
            let challenge = idp.plain_challenge("ada").await;
            until_state(&app, &idp, &challenge, &well.device_id(), "delivered").await;
            until_state(&app, &idp, &challenge, &pixel.device_id(), "delivered").await;
            until_state(&app, &idp, &challenge, &unlucky.device_id(), "retrying").await;
            assert_eq!(idp.show(&challenge).await["push_status"], "ok");
        }
        assert_eq!(app.node().app().pushing.senders().open_circuits(), ["apns:wrong"]);
        // The clock stands still: after the one that opened the circuit no probe is due.
        let refused = providers.apns.attempts();
        let refused = refused.iter().filter(|attempt| attempt.answer.status == Some(403)).count();
        assert!((1..=3).contains(&refused), "{refused} requests while the circuit is open");
        app.finish().await;
        providers.stop().await;
    }
}

#[tokio::test]
async fn a_credential_that_cannot_be_used_at_start_costs_its_pushes_and_no_sign_in() {
    for db in [Db::Sqlite, Db::Postgres] {
        let clock = TestClock::default();
        let providers = Providers::start(&clock).await;
        let key = std::fs::read_to_string(providers.file("apns.p8")).unwrap();
        std::fs::remove_file(providers.file("apns.p8")).unwrap();
        let options = TestAppOptions { clock, ..TestAppOptions::new(db) };
        let app = TestApp::start_as(options, |settings| providers.configure(settings)).await;
        let idp = app.admin().await;
        let pixel = idp.enroll_with("ada", fcm_options("fcm-token-1")).await;
        let challenge = idp.plain_challenge("ada").await;
        until_state(&app, &idp, &challenge, &pixel.device_id(), "delivered").await;
        pixel.approve(&pixel.only_pending().await, None, None).await.unwrap();
        assert!(worker::reload::round(app.node().app()).await.is_err(), "still not there");
        // It comes, and is used.
        std::fs::write(providers.file("apns.p8"), key).unwrap();
        assert_eq!(worker::reload::round(app.node().app()).await.unwrap(), Reload::Changed);
        let phone = idp.enroll_with("ada", apns_options(&apns_token('a'))).await;
        let challenge = idp.plain_challenge("ada").await;
        until_state(&app, &idp, &challenge, &phone.device_id(), "delivered").await;
        app.finish().await;
        providers.stop().await;
    }
}
