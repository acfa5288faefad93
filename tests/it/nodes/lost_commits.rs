//! A COMMIT that gets lost, or whose answer does: the one moment in which the server cannot know what it has done.
//!
//! Commands that share a transaction are run again and find themselves by their ids; a plain command is not repeated:
//! its caller is told 503, and may repeat it. Either way one thing happened, once, with one event.

use countersign_simulator::{
    commit_thief::{CommitThief, Loss},
    phone::Answer,
};
use countersign_tests::{ApiClient, Db, Reply, TestApp, commit_thief, path_of, text};
use reqwest::Method;
use serde_json::json;

use crate::display;

async fn behind(thief: &CommitThief) -> TestApp {
    TestApp::start_with(Db::Postgres, |settings| settings.database.url = thief.url(&settings.database.url).unwrap())
        .await
}

async fn events(app: &TestApp, kind: &str) -> i64 {
    app.database.number(&format!("SELECT count(*) FROM events WHERE kind = '{kind}'")).await
}

async fn create(idp: &ApiClient, key: &str) -> Reply {
    let request = idp.request(Method::POST, "/v1/challenges").header("idempotency-key", key);
    idp.send(request.json(&json!({"user": {"external_id": "ada"}}))).await
}

#[tokio::test]
async fn commands_in_a_batch_find_themselves_and_count_once() {
    let thief = commit_thief().await;
    let app = behind(&thief).await;
    let idp = app.admin().await;
    let phone = idp.enroll("ada").await;
    let pending = "SELECT pending_challenges FROM users";
    for (round, loss) in (1..).zip([Loss::Answer, Loss::Request, Loss::Answer, Loss::Request]) {
        let lost = thief.lost();
        thief.lose(loss, 1);
        let challenge = create(&idp, &format!("key-{round}")).await.ok(201);
        assert_eq!(thief.lost(), lost + 1, "{loss:?}");
        assert_eq!(events(&app, "challenge.created").await, 2 * round - 1);
        assert_eq!(app.database.number("SELECT count(*) FROM challenges").await, 2 * round - 1);
        assert_eq!(app.database.number(pending).await, 1, "{loss:?}: the counter moved once");
        assert_eq!(app.database.number("SELECT count(*) FROM deliveries").await, 2 * round - 1);

        thief.lose(loss, 1);
        let shown = phone.only_pending().await;
        let answer = Answer::approve(Some(text(&challenge, "number")));
        let token = phone.sign_response(&shown, &answer).unwrap();
        phone.respond_with(text(&challenge, "id"), &token).await.ok(200);
        assert_eq!(thief.lost(), lost + 2, "{loss:?}");
        assert_eq!(idp.show(&challenge).await["status"], "approved");
        assert_eq!(events(&app, "challenge.approved").await, round);
        assert_eq!(app.database.number(pending).await, 0, "{loss:?}: the counter moved back once");

        let cancelled = create(&idp, &format!("cancelled-{round}")).await.ok(201);
        thief.lose(loss, 1);
        idp.post_empty(&format!("{}/cancel", path_of(&cancelled))).await.ok(200);
        assert_eq!(thief.lost(), lost + 3, "{loss:?}");
        assert_eq!(events(&app, "challenge.cancelled").await, round);
        assert_eq!(app.database.number(pending).await, 0);
    }
    app.finish().await;
}

#[tokio::test]
async fn many_at_once_whose_commits_are_lost_again_and_again_are_each_done_once() {
    let thief = commit_thief().await;
    let app = behind(&thief).await;
    let idp = app.admin().await;
    idp.enroll("ada").await;
    for loss in [Loss::Answer, Loss::Request] {
        let before = events(&app, "challenge.created").await;
        // As often as a transaction is repeated.
        thief.lose(loss, 3);
        let asks = (0..8).map(|number| {
            let (idp, key) = (idp.clone(), format!("{loss:?}-{number}"));
            async move { create(&idp, &key).await.ok(201)["id"].clone() }
        });
        let mut ids = countersign_tests::at_once(asks).await;
        ids.sort_by_key(ToString::to_string);
        ids.dedup();
        assert_eq!(ids.len(), 8);
        assert_eq!(events(&app, "challenge.created").await, before + 8);
        assert_eq!(app.database.number("SELECT pending_challenges FROM users").await, before + 8);
    }
    app.finish().await;
}

#[tokio::test]
async fn a_plain_command_is_not_repeated_blindly_and_its_caller_may_repeat_it() {
    let thief = commit_thief().await;
    let app = behind(&thief).await;
    let idp = app.admin().await;
    for (round, loss) in (1..).zip([Loss::Answer, Loss::Request]) {
        let phone = idp.enroll("ada").await;
        let path = format!("/v1/devices/{}", phone.device_id());
        let status = async || idp.get(&path).await.ok(200)["status"].clone();
        thief.lose(loss, 1);
        let refused = idp.delete(&path).await;
        refused.problem("unavailable");
        assert_eq!(refused.header("retry-after"), "1");
        let has_happened = loss == Loss::Answer;
        assert_eq!(status().await, if has_happened { "revoked" } else { "active" }, "{loss:?}: once or not at all");
        assert_eq!(idp.delete(&path).await.ok(200)["status"], "revoked");
        assert_eq!(events(&app, "device.revoked").await, round);
    }
    app.finish().await;
}

#[tokio::test]
async fn a_code_whose_commit_is_lost_is_judged_once_and_its_caller_hears_it() {
    let thief = commit_thief().await;
    let app = behind(&thief).await;
    let idp = app.admin().await;
    let phone = idp.enroll("ada").await;
    for (round, loss) in (1..).zip([Loss::Answer, Loss::Request]) {
        let challenge = display::challenge(&idp, "ada").await;
        // An approve that asks for the code finds itself: the phone shows the one that was written.
        thief.lose(loss, 1);
        let code = display::shown_code(&phone, &challenge).await;
        thief.lose(loss, 1);
        let wrong = display::type_code(&idp, &challenge, &display::wrong(&code)).await.problem("wrong-code");
        assert_eq!(wrong["attempts_left"], 4, "{loss:?}");
        let counted = app.database.number("SELECT consecutive_failures FROM users").await;
        assert_eq!(counted, 1, "{loss:?}: our own faults never count");
        thief.lose(loss, 1);
        assert_eq!(display::type_code(&idp, &challenge, &code).await.ok(200)["status"], "approved");
        assert_eq!(events(&app, "challenge.approved").await, round);
        assert_eq!(app.database.number("SELECT pending_challenges FROM users").await, 0);
    }
    app.finish().await;
}
