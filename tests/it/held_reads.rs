//! Held reads: whenever a caller or a device began to wait, it hears of the change; and waiting costs nothing.
//!
//! The clock stands still, so the server's own poller does not run: a wake-up that gets lost leaves its waiter
//! hanging until the client gives up, and the test fails.

mod nodes;
mod thousand;

use countersign_simulator::phone::{Answer, VerifiedChallenge};
use countersign_tests::{Device, Http, Reply, at_once, both, both_with, path_of, text};
use reqwest::{
    Method,
    header::{AUTHORIZATION, IF_NONE_MATCH},
};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::races::{Arena, BURST};

/// A device's read of its inbox that the server may hold; `seen`: the `If-None-Match`.
pub(crate) fn hold_inbox(http: &Http, phone: &Device, wait: u32, seen: Option<&str>) -> JoinHandle<Reply> {
    let proof = phone.proof("GET", &format!("{}/v1/device/challenges", phone.registration().issuer)).unwrap();
    let request = http.request(Method::GET, &format!("/v1/device/challenges?wait={wait}"));
    let mut request = request.header(AUTHORIZATION, proof);
    if let Some(seen) = seen {
        request = request.header(IF_NONE_MATCH, seen);
    }
    let http = http.clone();
    tokio::spawn(async move { http.send(request).await })
}

/// The ids of a set, sorted.
pub(crate) fn ids(set: &Value) -> Vec<String> {
    let all = set["challenges"].as_array().unwrap().iter();
    let mut ids: Vec<_> = all.map(|one| text(one, "id").to_owned()).collect();
    ids.sort_unstable();
    ids
}

/// Follows an inbox by held reads, each beginning where the last one ended, until it holds so many.
pub(crate) async fn follow(http: Http, phone: Device, mut seen: Option<String>, until: usize) -> String {
    loop {
        let reply = hold_inbox(&http, &phone, 50, seen.as_deref()).await.unwrap();
        let tag = reply.header("etag").to_owned();
        // With the clock standing still nothing else than news ends it.
        let set = reply.ok(200);
        assert_ne!(Some(&tag), seen.as_ref());
        if ids(&set).len() == until {
            return tag;
        }
        seen = Some(tag);
    }
}

/// Waits for one decision by callers who began before, while and after it was made.
async fn wait_around(arena: Arena, shown: VerifiedChallenge, index: usize) {
    let path = format!("/v1/challenges/{}?wait=50", shown.id());
    let deny = index.is_multiple_of(3);
    let answer = if deny { Answer::deny(None) } else { Answer::approve(None) };
    let mut waiting = vec![arena.idp.hold(&path)];
    for _ in 0..index {
        tokio::task::yield_now().await;
    }
    let decision = tokio::spawn({
        let (arena, shown) = (arena.clone(), shown.clone());
        async move { arena.answer(0, &shown, answer).await }
    });
    for _ in 0..index {
        waiting.push(arena.idp.hold(&path));
        tokio::task::yield_now().await;
    }
    decision.await.unwrap().ok(200);
    waiting.push(arena.idp.hold(&path));
    for reply in waiting {
        assert_eq!(reply.await.unwrap().ok(200)["status"], if deny { "denied" } else { "approved" });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whenever_a_caller_began_to_wait_it_hears_of_the_decision() {
    both(async |app| {
        let arenas = Arena::several(app, 1).await;
        for _ in 0..4 {
            let bursts = arenas.iter().cloned().map(|arena| async move {
                let shown = arena.burst(120).await;
                at_once(shown.into_iter().enumerate().map(|(index, shown)| wait_around(arena.clone(), shown, index)))
                    .await;
            });
            at_once(bursts).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_follows_its_inbox_misses_nothing() {
    both(async |app| {
        let arenas = Arena::several(app, 2).await;
        for _ in 0..10 {
            let rounds = arenas.iter().cloned().map(|arena| async move {
                let http = arena.idp.http().clone();
                let arrivals = tokio::spawn(follow(http.clone(), arena.phones[1].clone(), None, BURST));
                let shown = arena.burst(120).await;
                let tag = arrivals.await.unwrap();
                let decisions = tokio::spawn(follow(http, arena.phones[1].clone(), Some(tag), 0));
                let answers = shown.into_iter().map(|shown| {
                    let arena = arena.clone();
                    async move { arena.answer(0, &shown, Answer::approve(None)).await.ok(200) }
                });
                at_once(answers).await;
                decisions.await.unwrap();
            });
            at_once(rounds).await;
        }
    })
    .await;
}

#[tokio::test]
async fn the_end_of_a_challenge_ends_all_who_wait_for_it() {
    both(async |app| {
        let idp = app.admin().await;
        let phone = idp.enroll("ada").await;
        let body = json!({"user": {"external_id": "ada"}, "ttl_seconds": 10});
        let challenge = idp.create_challenge(body).await;
        let seen = hold_inbox(&app.http, &phone, 0, None).await.unwrap();
        let caller = idp.hold(&format!("{}?wait=50", path_of(&challenge)));
        let stream = idp.hold(&format!("{}/events", path_of(&challenge)));
        let device = hold_inbox(&app.http, &phone, 50, Some(seen.header("etag")));
        app.node().until(|node| node.app().waiters.count() == 3).await;
        app.clock.advance(10);
        assert_eq!(caller.await.unwrap().ok(200)["status"], "expired");
        assert!(stream.await.unwrap().text().contains("\"status\":\"expired\""));
        assert!(ids(&device.await.unwrap().ok(200)).is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_newer_read_of_a_device_ends_the_older_with_the_current_set() {
    both(async |app| {
        let idp = app.admin().await;
        let phone = idp.enroll("ada").await;
        let mut reads = Vec::new();
        for _ in 0..5 {
            reads.push(hold_inbox(&app.http, &phone, 50, None));
            app.until_held(1).await;
            if reads.len() > 1 {
                // The older one first, so that the next one is the newest.
                let older = reads.remove(0).await.unwrap();
                assert!(ids(&older.ok(200)).is_empty());
            }
        }
        let challenge = idp.plain_challenge("ada").await;
        let newest = reads.remove(0).await.unwrap().ok(200);
        assert_eq!(ids(&newest), [text(&challenge, "id")]);
        // Callers do not end each other.
        let callers = [0; 3].map(|_| idp.hold(&format!("{}?wait=50", path_of(&challenge))));
        app.node().until(|node| node.app().waiters.count() == 3).await;
        phone.approve(&phone.only_pending().await, None, None).await.unwrap();
        for caller in callers {
            assert_eq!(caller.await.unwrap().ok(200)["status"], "approved");
        }
    })
    .await;
}

#[tokio::test]
async fn an_inbox_has_a_tag_and_is_told_only_if_it_is_another() {
    both(async |app| {
        let idp = app.admin().await;
        let phone = idp.enroll("ada").await;
        let read = async |wait: u32, seen: Option<&str>| hold_inbox(&app.http, &phone, wait, seen).await.unwrap();
        let empty = read(0, None).await.header("etag").to_owned();
        let first = idp.plain_challenge("ada").await;
        app.clock.advance(1);
        let second = idp.plain_challenge("ada").await;
        let reply = read(0, None).await;
        let tag = reply.header("etag").to_owned();
        assert!(tag.starts_with('"') && tag.ends_with('"') && tag != empty, "{tag}");
        let set = reply.ok(200);
        assert_eq!((set["challenges"][0]["id"].clone(), ids(&set).len()), (first["id"].clone(), 2));
        let (weak, list) = (format!("W/{tag}"), format!("\"x\", {tag}"));
        for seen in [tag.as_str(), weak.as_str(), list.as_str(), "*"] {
            let same = read(0, Some(seen)).await;
            assert_eq!((same.status, same.header("etag"), same.body.len()), (304, tag.as_str(), 0), "{seen}");
        }
        for seen in [empty.as_str(), "\"x\"", tag.trim_matches('"')] {
            assert_eq!(ids(&read(50, Some(seen)).await.ok(200)).len(), 2, "{seen}");
        }
        // Held until time is up: still the same.
        let held = hold_inbox(&app.http, &phone, 20, Some(&tag));
        app.until_held(1).await;
        app.clock.advance(20);
        assert_eq!(held.await.unwrap().status, 304);
        // Held until one is gone.
        let held = hold_inbox(&app.http, &phone, 50, Some(&tag));
        app.until_held(1).await;
        idp.post_empty(&format!("{}/cancel", path_of(&first))).await.ok(200);
        assert_eq!(ids(&held.await.unwrap().ok(200)), [text(&second, "id")]);
    })
    .await;
}

#[tokio::test]
async fn a_server_that_stops_ends_held_reads_with_what_is_true() {
    both(async |app| {
        let idp = app.admin().await;
        let phone = idp.enroll("ada").await;
        let challenge = idp.plain_challenge("ada").await;
        let seen = hold_inbox(&app.http, &phone, 0, None).await.unwrap();
        let second = app.second_node().await;
        let there = idp.at(&second.http);
        let caller = there.hold(&format!("{}?wait=50", path_of(&challenge)));
        let device = hold_inbox(&second.http, &phone, 50, Some(seen.header("etag")));
        let stream = there.hold(&format!("{}/events", path_of(&challenge)));
        second.until(|node| node.app().waiters.count() == 3).await;
        second.stop().await;
        assert_eq!(caller.await.unwrap().ok(200)["status"], "pending");
        assert_eq!(device.await.unwrap().status, 304);
        assert!(stream.await.unwrap().text().contains("\"status\":\"pending\""));
        phone.approve(&phone.only_pending().await, None, None).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_full_table_answers_as_if_nobody_wanted_to_wait() {
    both_with(
        |settings| settings.server.max_held_reads = 1,
        async |app| {
            let idp = app.admin().await;
            let phone = idp.enroll("ada").await;
            let challenge = idp.plain_challenge("ada").await;
            let held = idp.hold(&format!("{}?wait=50", path_of(&challenge)));
            app.until_held(1).await;
            let at_once = idp.get(&format!("{}?wait=50", path_of(&challenge))).await.ok(200);
            assert_eq!(at_once["status"], "pending");
            let seen = hold_inbox(&app.http, &phone, 0, None).await.unwrap();
            assert_eq!(hold_inbox(&app.http, &phone, 50, Some(seen.header("etag"))).await.unwrap().status, 304);
            phone.approve(&phone.only_pending().await, None, None).await.unwrap();
            assert_eq!(held.await.unwrap().ok(200)["status"], "approved");
        },
    )
    .await;
}
