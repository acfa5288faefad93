//! What happens on one node is heard on another: by a notification, or by the poller if that got lost.

use std::time::Duration;

use countersign_simulator::phone::Answer;
use countersign_tests::{ApiClient, Db, Device, Node, Reply, TestApp, at_once, both, path_of};
use tokio::task::JoinHandle;

use super::{follow, hold_inbox, ids};
use crate::races::{Arena, BURST};

/// PostgreSQL delivers notifications only to those who listen already.
async fn until_all_listen(app: &TestApp, nodes: i64) {
    let listening = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND query LIKE 'LISTEN%'";
    let wait = async { while app.database.number(listening).await < nodes {} };
    tokio::time::timeout(Duration::from_secs(10), wait).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_notification_alone_wakes_callers_and_devices_on_another_node() {
    let app = TestApp::start(Db::Postgres).await;
    let second = app.second_node().await;
    until_all_listen(&app, 2).await;
    let arenas = Arena::several(&app, 2).await;
    for _ in 0..4 {
        let rounds = arenas.iter().cloned().map(|arena| {
            let there = second.http.clone();
            async move {
                let phone = &arena.phones[1];
                let arrivals = tokio::spawn(follow(there.clone(), phone.clone(), None, BURST));
                let shown = arena.burst(120).await;
                let tag = arrivals.await.unwrap();
                let idp = arena.idp.at(&there);
                let callers: Vec<_> =
                    shown.iter().map(|shown| idp.hold(&format!("/v1/challenges/{}?wait=50", shown.id()))).collect();
                let decisions = tokio::spawn(follow(there, phone.clone(), Some(tag), 0));
                let answers = shown.into_iter().map(|shown| {
                    let arena = arena.clone();
                    async move { arena.answer(0, &shown, Answer::approve(None)).await.ok(200) }
                });
                at_once(answers).await;
                decisions.await.unwrap();
                for caller in callers {
                    assert_eq!(caller.await.unwrap().ok(200)["status"], "approved");
                }
            }
        });
        at_once(rounds).await;
    }
    second.stop().await;
    app.finish().await;
}

/// Nodes that start after this send their notifications nowhere: another function of the same name comes first.
async fn suppress_notifications(app: &TestApp) {
    if app.database.db() == Db::Postgres {
        let name = app.database.texts("SELECT current_database()::text").await.remove(0);
        app.database.tamper("CREATE FUNCTION public.pg_notify(text, text) RETURNS void LANGUAGE sql AS 'SELECT'").await;
        app.database.tamper(&format!("ALTER DATABASE {name} SET search_path = public, pg_catalog")).await;
    }
}

/// Polls until the held read has ended: the round that comes while a waiter is still on its way to its place may
/// pass it by, the next one does not.
async fn poll_until_ended(node: &Node, held: JoinHandle<Reply>) -> Reply {
    let wait = async {
        while !held.is_finished() {
            node.poll().await;
            // A round without anybody to ask for never waits: let the one who woke answer.
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait).await.unwrap();
    held.await.unwrap()
}

/// Whether both reads were still held when the other node had answered. A read that is counted as held may not have
/// looked yet: then it finds the news by itself, and the round says nothing about notifications.
async fn is_deaf_to(app: &TestApp, idp: &ApiClient, phone: &Device, elsewhere: &Node) -> bool {
    let there = idp.at(&elsewhere.http);
    let arrival = hold_inbox(&app.http, phone, 50, None);
    app.until_held(1).await;
    let challenge = there.plain_challenge("ada").await;
    let is_deaf_to_arrival = !arrival.is_finished();
    let reply = poll_until_ended(app.node(), arrival).await;
    let tag = reply.header("etag").to_owned();
    assert_eq!(ids(&reply.ok(200)), [challenge["id"].as_str().unwrap()]);
    let device = hold_inbox(&app.http, phone, 50, Some(&tag));
    let caller = idp.hold(&format!("{}?wait=50", path_of(&challenge)));
    app.until_held(2).await;
    there.post_empty(&format!("{}/cancel", path_of(&challenge))).await.ok(200);
    let is_deaf_to_end = !caller.is_finished() && !device.is_finished();
    assert_eq!(poll_until_ended(app.node(), caller).await.ok(200)["status"], "cancelled");
    assert!(ids(&poll_until_ended(app.node(), device).await.ok(200)).is_empty());
    is_deaf_to_arrival && is_deaf_to_end
}

#[tokio::test]
async fn a_lost_notification_is_made_good_by_the_next_poll() {
    both(async |app| {
        let idp = app.admin().await;
        let phone = idp.enroll("ada").await;
        suppress_notifications(app).await;
        let second = app.second_node().await;
        let mut deaf_rounds = 0;
        for _ in 0..20 {
            deaf_rounds += u32::from(is_deaf_to(app, &idp, &phone, &second).await);
        }
        assert!(deaf_rounds >= 10, "news came by itself in {} of 20 rounds", 20 - deaf_rounds);
        second.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_listener_that_is_cut_off_costs_no_answer_and_listens_again() {
    let app = TestApp::start(Db::Postgres).await;
    let second = app.second_node().await;
    let idp = app.admin().await;
    idp.enroll("ada").await;
    let there = idp.at(&second.http);
    let cut = "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity
        WHERE datname = current_database() AND query LIKE 'LISTEN%'";
    for _ in 0..5 {
        until_all_listen(&app, 2).await;
        let challenge = idp.plain_challenge("ada").await;
        let caller = there.hold(&format!("{}?wait=50", path_of(&challenge)));
        second.until_held(1).await;
        assert_eq!(app.database.number(cut).await, 2);
        idp.post_empty(&format!("{}/cancel", path_of(&challenge))).await.ok(200);
        assert_eq!(poll_until_ended(&second, caller).await.ok(200)["status"], "cancelled");
    }
    until_all_listen(&app, 2).await;
    let challenge = idp.plain_challenge("ada").await;
    let caller = there.hold(&format!("{}?wait=50", path_of(&challenge)));
    second.until_held(1).await;
    idp.post_empty(&format!("{}/cancel", path_of(&challenge))).await.ok(200);
    assert_eq!(caller.await.unwrap().ok(200)["status"], "cancelled", "by the notification: nobody has polled");
    second.stop().await;
    app.finish().await;
}

#[tokio::test]
async fn what_is_revoked_on_one_node_ends_what_another_holds_and_is_refused_there_at_once() {
    both(async |app| {
        let second = app.second_node().await;
        let idp = app.admin().await;
        let there = idp.at(&second.http);
        let phone = idp.enroll("ada").await;
        let challenge = idp.plain_challenge("ada").await;
        let token = phone.sign_response(&phone.only_pending().await, &Answer::approve(None)).unwrap();
        let seen = hold_inbox(&second.http, &phone, 0, None).await.unwrap();
        let device = hold_inbox(&second.http, &phone, 50, Some(seen.header("etag")));
        let caller = there.hold(&format!("{}?wait=50", path_of(&challenge)));
        second.until_held(2).await;
        idp.delete(&format!("/v1/devices/{}", phone.device_id())).await.ok(200);
        hold_inbox(&second.http, &phone, 0, None).await.unwrap().problem("device-not-active");
        let response = phone.at(&second.http).respond_with(challenge["id"].as_str().unwrap(), &token).await;
        response.problem("device-not-active");
        poll_until_ended(&second, device).await.problem("device-not-active");
        assert_eq!(poll_until_ended(&second, caller).await.ok(200)["status"], "cancelled");

        // A key that is revoked while its read is held learns nothing more.
        let phone = idp.enroll("ada").await;
        let client = app.client("challenges").await;
        let challenge = client.plain_challenge("ada").await;
        let held = client.at(&second.http).hold(&format!("{}?wait=50", path_of(&challenge)));
        second.until_held(1).await;
        app.revoke_client(&client).await;
        phone.deny(&phone.only_pending().await, None).await.unwrap();
        poll_until_ended(&second, held).await.problem("unauthenticated");
        second.stop().await;
    })
    .await;
}
