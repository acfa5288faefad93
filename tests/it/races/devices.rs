//! Approvals while the only phone that is asked is revoked or suspended.

use countersign_simulator::phone::Answer;
use countersign_tests::{Reply, at_once, both, text};

use super::{ARENAS, Arena, BURST, one_end_each};

const BURSTS: usize = 10;

/// How a phone is put out of action.
#[derive(Debug, Clone, Copy)]
enum End {
    Revoke,
    Suspend,
}

impl End {
    async fn make(self, arena: &Arena) -> Reply {
        let path = format!("/v1/devices/{}", arena.phones[0].device_id());
        match self {
            Self::Revoke => arena.idp.delete(&path).await,
            Self::Suspend => arena.idp.post_empty(&format!("{path}/suspend")).await,
        }
    }

    const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Revoke => ("revoked", "device_revoked"),
            Self::Suspend => ("suspended", "device_suspended"),
        }
    }

    /// A phone that can answer again, for the next burst.
    async fn undo(self, arena: &mut Arena) {
        match self {
            Self::Revoke => arena.phones = vec![arena.idp.enroll(&arena.user).await],
            Self::Suspend => {
                let resume = format!("/v1/devices/{}/resume", arena.phones[0].device_id());
                arena.idp.post_empty(&resume).await.ok(200);
            }
        }
    }
}

/// All of a user's challenges are approved while the phone ends after the `turn`th; how many were approved.
async fn burst(mut arena: Arena, end: End, turn: usize) -> (Arena, usize) {
    let shown = arena.burst(120).await;
    let moves = (0..=BURST).map(|index| {
        let (arena, shown) = (arena.clone(), shown.clone());
        async move {
            match index.cmp(&turn) {
                std::cmp::Ordering::Less => arena.answer(0, &shown[index], Answer::approve(None)).await,
                std::cmp::Ordering::Equal => end.make(&arena).await,
                std::cmp::Ordering::Greater => arena.answer(0, &shown[index - 1], Answer::approve(None)).await,
            }
        }
    });
    let mut replies = at_once(moves).await;
    let (status, reason) = end.words();
    assert_eq!(text(&replies.remove(turn).ok(200), "status"), status);
    let mut approved = 0;
    for (shown, reply) in shown.iter().zip(replies) {
        let ended = arena.settled(shown).await;
        if reply.status == 200 {
            assert_eq!((&reply.json()["status"], text(&ended, "status")), (&ended["status"], "approved"));
            approved += 1;
        } else {
            assert_eq!(reply.problem("device-not-active")["device_status"], status);
            assert_eq!((text(&ended, "status"), text(&ended, "reason")), ("cancelled", reason));
        }
    }
    end.undo(&mut arena).await;
    (arena, approved)
}

async fn race(end: End) {
    both(async |app| {
        let mut arenas = Arena::several(app, 1).await;
        let mut approved = 0;
        for turn in 0..BURSTS {
            let rounds = at_once(arenas.into_iter().map(|arena| burst(arena, end, turn))).await;
            approved += rounds.iter().map(|(_, approved)| approved).sum::<usize>();
            arenas = rounds.into_iter().map(|(arena, _)| arena).collect();
        }
        let all = ARENAS * BURSTS * BURST;
        assert!(approved > 0 && approved < all, "no race: {approved} approved");
        one_end_each(app, all).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_approval_and_a_revocation_have_one_end() {
    race(End::Revoke).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_approval_and_a_suspension_have_one_end() {
    race(End::Suspend).await;
}
