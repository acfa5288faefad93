//! Approvals while the challenges' time runs out.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use countersign_simulator::phone::{Answer, VerifiedChallenge};
use countersign_tests::{Reply, TestApp, TestClock, at_once, both, text};
use serde_json::Value;

use super::{ARENAS, Arena, BURST, one_end_each};

const BURSTS: usize = 10;
const TTL_SECONDS: u32 = 10;

/// Answers one after the other; the one who gives the `turn`th answer of all moves the clock to their end.
async fn answer_all(
    arena: Arena,
    shown: Vec<VerifiedChallenge>,
    clock: TestClock,
    answered: Arc<AtomicUsize>,
    turn: usize,
) -> Vec<(VerifiedChallenge, Reply)> {
    let mut replies = Vec::new();
    for shown in shown {
        if answered.fetch_add(1, Ordering::SeqCst) == turn {
            clock.advance(i64::from(TTL_SECONDS));
        }
        let reply = arena.answer(0, &shown, Answer::approve(None)).await;
        replies.push((shown, reply));
    }
    replies
}

/// All challenges of all users in one race with the clock; how many were approved in time.
async fn burst(app: &TestApp, arenas: &[Arena], turn: usize) -> usize {
    let mut all = Vec::new();
    for arena in arenas {
        all.push((arena.clone(), arena.burst(TTL_SECONDS).await));
    }
    // Callers who wait hear an end, and it is the end.
    let waiting: Vec<_> = all
        .iter()
        .map(|(arena, shown)| arena.idp.hold(&format!("/v1/challenges/{}?wait=50", shown[BURST - 1].id())))
        .collect();
    app.until_held(arenas.len()).await;
    let answered = Arc::new(AtomicUsize::new(0));
    let answers =
        all.into_iter().map(|(arena, shown)| answer_all(arena, shown, app.clock.clone(), Arc::clone(&answered), turn));
    let replies = at_once(answers).await;
    let mut approved = 0;
    for ((arena, replies), waiting) in arenas.iter().zip(replies).zip(waiting) {
        let heard = waiting.await.unwrap().ok(200);
        let mut last = Value::Null;
        for (shown, reply) in replies {
            let ended = arena.settled(&shown).await;
            if reply.status == 200 {
                assert_eq!((&reply.json()["status"], text(&ended, "status")), (&ended["status"], "approved"));
                approved += 1;
            } else {
                assert_eq!(reply.problem("challenge-closed")["challenge_status"], ended["status"]);
                assert_eq!((text(&ended, "status"), &ended["decided_at"]), ("expired", &ended["expires_at"]));
            }
            last = ended["status"].clone();
        }
        assert_eq!(heard["status"], last);
    }
    approved
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_approval_and_the_end_of_time_have_one_end() {
    both(async |app| {
        let arenas = Arena::several(app, 1).await;
        let mut approved = 0;
        for round in 0..BURSTS {
            approved += burst(app, &arenas, round * 5).await;
            app.sweep().await;
        }
        let all = ARENAS * BURSTS * BURST;
        assert!(approved > 0 && approved < all, "no race: {approved} approved");
        one_end_each(app, all).await;
    })
    .await;
}
