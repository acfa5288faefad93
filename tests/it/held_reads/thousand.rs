//! A thousand wait, and the server has two database connections to read with.

use countersign_tests::{both_with, path_of};

use super::{hold_inbox, ids};

const USERS: usize = 20;
/// Of each challenge; with the user's phone that makes a thousand.
const CALLERS: usize = 49;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_waiters_hold_no_database_connection() {
    both_with(
        |settings| settings.database.read_connections = 2,
        async |app| {
            let idp = app.admin().await;
            let mut users = Vec::new();
            for index in 0..USERS {
                let user = format!("user-{index}");
                let phone = idp.enroll(&user).await;
                let challenge = idp.plain_challenge(&user).await;
                let seen = hold_inbox(&app.http, &phone, 0, None).await.unwrap();
                users.push((phone, challenge, seen.header("etag").to_owned()));
            }
            let mut callers = Vec::new();
            let mut devices = Vec::new();
            for (phone, challenge, seen) in &users {
                let path = format!("{}?wait=50", path_of(challenge));
                callers.extend((0..CALLERS).map(|_| idp.hold(&path)));
                devices.push(hold_inbox(&app.http, phone, 50, Some(seen)));
            }
            let all = USERS * (CALLERS + 1);
            app.node().until(|node| node.app().waiters.count() == all).await;
            // The others do not notice.
            let newcomer = idp.enroll("newcomer").await;
            for _ in 0..5 {
                idp.plain_challenge("newcomer").await;
            }
            for shown in newcomer.all_pending().await {
                newcomer.approve(&shown, None, None).await.unwrap();
            }
            app.poll().await;
            assert_eq!(app.node().app().waiters.count(), all);
            for (phone, _, _) in &users {
                phone.approve(&phone.only_pending().await, None, None).await.unwrap();
            }
            for caller in callers {
                assert_eq!(caller.await.unwrap().ok(200)["status"], "approved");
            }
            for device in devices {
                assert!(ids(&device.await.unwrap().ok(200)).is_empty());
            }
            app.until_held(0).await;
        },
    )
    .await;
}
