//! Two moves on one challenge at the same time.

use countersign_simulator::phone::{Answer, VerifiedChallenge};
use countersign_tests::{Reply, at_once, both, text};

use super::{ARENAS, Arena, BURST, one_end_each};

/// Rounds of each race on each database: bursts of each user.
const BURSTS: usize = 10;

/// What somebody does to a challenge.
#[derive(Debug, Clone, Copy)]
enum Move {
    Approve(usize),
    Deny(usize),
    Cancel,
}

impl Move {
    async fn make(self, arena: Arena, shown: VerifiedChallenge) -> Reply {
        match self {
            Self::Approve(phone) => arena.answer(phone, &shown, Answer::approve(None)).await,
            Self::Deny(phone) => arena.answer(phone, &shown, Answer::deny(None)).await,
            Self::Cancel => arena.idp.post_empty(&format!("/v1/challenges/{}/cancel", shown.id())).await,
        }
    }

    /// The end that it brings about if it wins.
    const fn end(self) -> &'static str {
        match self {
            Self::Approve(_) => "approved",
            Self::Deny(_) => "denied",
            Self::Cancel => "cancelled",
        }
    }
}

async fn race(moves: [Move; 2]) {
    both(async |app| {
        let arenas = Arena::several(app, 2).await;
        let mut wins = [0, 0];
        for _ in 0..BURSTS {
            let rounds = arenas.iter().cloned().map(|arena| async move {
                let shown = arena.burst(120).await;
                at_once(shown.into_iter().enumerate().map(|(index, shown)| round(arena.clone(), shown, moves, index)))
                    .await
            });
            for winner in at_once(rounds).await.into_iter().flatten() {
                wins[winner] += 1;
            }
        }
        assert_eq!(wins[0] + wins[1], ARENAS * BURSTS * BURST);
        assert!(wins[0] > 0 && wins[1] > 0, "no race: {moves:?} {wins:?}");
        one_end_each(app, ARENAS * BURSTS * BURST).await;
    })
    .await;
}

/// One challenge, two moves; which of them won.
async fn round(arena: Arena, shown: VerifiedChallenge, moves: [Move; 2], index: usize) -> usize {
    // Each of them is the first to start in half of the rounds, by more and more turns of the scheduler: which of two that
    // start together wins says how fast the disk is, for one of them reads before it writes.
    let order = if index.is_multiple_of(2) { [0, 1] } else { [1, 0] };
    let replies = at_once([0, 1].map(|place| {
        let (one, arena, shown) = (moves[order[place]], arena.clone(), shown.clone());
        async move {
            for _ in 0..place * index * 2 {
                tokio::task::yield_now().await;
            }
            one.make(arena, shown).await
        }
    }))
    .await;
    let ended = arena.settled(&shown).await;
    let winners: Vec<_> = (0..2).filter(|&place| replies[place].status == 200).collect();
    let [place] = winners[..] else { panic!("{winners:?} won: {replies:?}") };
    assert_eq!(replies[place].json()["status"], moves[order[place]].end());
    assert_eq!(text(&ended, "status"), moves[order[place]].end());
    assert_eq!(replies[1 - place].problem("challenge-closed")["challenge_status"], ended["status"]);
    for phone in &arena.phones {
        let gone = phone.get(&format!("/v1/device/challenges/{}", shown.id())).await;
        assert_eq!(gone.problem("challenge-gone")["challenge_status"], ended["status"]);
    }
    order[place]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_approvals_one_counts() {
    race([Move::Approve(0), Move::Approve(1)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_approval_and_a_denial_have_one_end() {
    race([Move::Approve(0), Move::Deny(1)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_approval_and_a_cancellation_have_one_end() {
    race([Move::Approve(0), Move::Cancel]).await;
}
