//! What the server does by itself, on one node of several: ending what is due, deleting what has been kept for long.

use countersign::{config::Retention, worker};
use countersign_tests::{both, path_of, text};

const DAYS: i64 = 24 * 60 * 60;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_nodes_one_holds_the_work_and_the_other_takes_over_when_it_stops_or_dies() {
    both(async |app| {
        let other = app.second_node().await;
        let (here, there) = (app.node().app(), other.app());
        let mut one = worker::lease::Tenure::new(here, "a test", 4);
        let mut two = worker::lease::Tenure::new(there, "a test", 4);
        assert!(one.is_held(here).await.unwrap());
        assert!(!two.is_held(there).await.unwrap());
        // It renews in time, and nobody gets in between.
        for _ in 0..5 {
            app.clock.advance(3);
            assert!(one.is_held(here).await.unwrap());
            assert!(!two.is_held(there).await.unwrap());
        }
        // It dies: after its lease the other does the work; it was only asleep, and learns that it has lost.
        app.clock.advance(4);
        assert!(two.is_held(there).await.unwrap());
        assert!(!one.is_held(here).await.unwrap());
        // It stops: nobody waits.
        two.give_back(there).await;
        assert!(one.is_held(here).await.unwrap());
        one.give_back(here).await;
        other.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_challenge_ends_by_itself_on_a_node_that_took_over_from_one_that_stopped() {
    both(async |app| {
        let idp = app.admin().await;
        idp.enroll("ada").await;
        let other = app.second_node().await;
        // Whoever holds the lease now, one of the two stops, and gives it back.
        app.clock.advance(1);
        other.stop().await;
        let waiting = idp.hold(&format!("{}?wait=50", path_of(&idp.challenge("ada").await)));
        app.until_held(1).await;
        app.clock.advance(200);
        // Nobody asks: the sweeper of the node that is left ends it, and the caller hears.
        assert_eq!(text(&waiting.await.unwrap().ok(200), "status"), "expired");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_been_kept_for_long_enough_is_unknown_and_nothing_younger_is() {
    both(async |app| {
        let idp = app.admin().await;
        let device = idp.enroll("ada").await;
        let old = idp.plain_challenge("ada").await;
        device.approve(&device.only_pending().await, None, None).await.unwrap();
        app.clock.advance(3 * DAYS);
        let young = idp.plain_challenge("ada").await;

        let forget = async |challenge_days, enrollment_days| {
            let retention = Retention { challenge_days, enrollment_days };
            worker::forget::round(app.node().app(), &retention).await.unwrap();
        };
        forget(0, 0).await;
        forget(4, 4).await;
        let kept = idp.get(&format!("{}?include=evidence", path_of(&old))).await.ok(200);
        assert!(kept["evidence"].is_object());
        forget(2, 2).await;
        assert_eq!(idp.get(&path_of(&old)).await.status, 404);
        assert_eq!(idp.show(&young).await["status"], "pending");
        let listed = idp.get("/v1/challenges").await.ok(200);
        assert_eq!(listed["items"].as_array().unwrap().len(), 1);
        // The device whose enrollment is forgotten goes on.
        device.approve(&device.only_pending().await, None, None).await.unwrap();
        assert_eq!(idp.show(&young).await["status"], "approved");
    })
    .await;
}
