//! What a stand-in was asked and what it answered: bounded, and waitable.
//!
//! The oldest entries are forgotten first; the counts are not. It holds payloads, so it stays in memory.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;

/// What was answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// The HTTP status; `None` if none was sent.
    pub status: Option<u16>,
    /// The provider's word for a refusal, or what was done instead of an answer.
    pub reason: Option<String>,
    /// Whether the push was taken: only then it counts as received.
    pub accepted: bool,
}

impl Answer {
    pub(crate) fn accepted(status: u16) -> Self {
        Self { status: Some(status), reason: None, accepted: true }
    }

    pub(crate) fn refused(status: u16, reason: &str) -> Self {
        Self { status: Some(status), reason: Some(reason.to_owned()), accepted: false }
    }

    pub(crate) fn none(reason: &str) -> Self {
        Self { status: None, reason: Some(reason.to_owned()), accepted: false }
    }
}

/// One request for a token, as it was understood.
#[derive(Debug, Clone, Serialize)]
pub struct Attempt<P> {
    /// Counts the requests of this stand-in from 1.
    pub sequence: u64,
    /// The stand-in's clock, unix seconds.
    pub at: i64,
    /// Counts the connections of this stand-in from 1.
    pub connection: u64,
    /// The device token; Web Push: the subscription.
    pub token: String,
    /// What was answered.
    pub answer: Answer,
    /// The push itself.
    pub push: P,
}

/// All attempts, as far as they are remembered.
#[derive(Debug)]
pub struct Ledger<P> {
    inner: Mutex<Inner<P>>,
    /// The last sequence number, for those who wait.
    news: watch::Sender<u64>,
    limit: usize,
}

#[derive(Debug)]
struct Inner<P> {
    attempts: VecDeque<Attempt<P>>,
    sequence: u64,
    accepted: u64,
    /// Per token: up to where [`Ledger::next`] has handed out what was received.
    read_up_to: HashMap<String, u64>,
}

impl<P: Clone> Ledger<P> {
    /// Remembers at most `limit` attempts; 0 only counts.
    pub(crate) fn new(limit: usize) -> Self {
        let inner = Inner { attempts: VecDeque::new(), sequence: 0, accepted: 0, read_up_to: HashMap::new() };
        Self { inner: Mutex::new(inner), news: watch::Sender::new(0), limit }
    }

    pub(crate) fn record(&self, at: i64, connection: u64, token: &str, answer: Answer, push: impl FnOnce() -> P) {
        let mut inner = self.lock();
        inner.sequence += 1;
        inner.accepted += u64::from(answer.accepted);
        let sequence = inner.sequence;
        if self.limit > 0 {
            if inner.attempts.len() == self.limit {
                inner.attempts.pop_front();
            }
            inner.attempts.push_back(Attempt {
                sequence,
                at,
                connection,
                token: token.to_owned(),
                answer,
                push: push(),
            });
        }
        drop(inner);
        // Two at once may come in either order: the number only ever grows.
        self.news.send_if_modified(|last| {
            let is_news = sequence > *last;
            *last = sequence.max(*last);
            is_news
        });
    }

    /// Everything that is remembered, oldest first: refused and unanswered ones too.
    pub fn attempts(&self) -> Vec<Attempt<P>> {
        self.lock().attempts.iter().cloned().collect()
    }

    /// What was accepted, oldest first.
    pub fn received(&self) -> Vec<Attempt<P>> {
        self.lock().attempts.iter().filter(|attempt| attempt.answer.accepted).cloned().collect()
    }

    /// What was accepted for `token` after the sequence number `after`.
    pub fn received_for(&self, token: &str, after: u64) -> Vec<Attempt<P>> {
        let inner = self.lock();
        let due = |attempt: &&Attempt<P>| attempt.answer.accepted && attempt.sequence > after && attempt.token == token;
        inner.attempts.iter().filter(due).cloned().collect()
    }

    /// How many requests were recorded.
    pub fn attempted_count(&self) -> u64 {
        self.lock().sequence
    }

    /// How many pushes were accepted.
    pub fn accepted_count(&self) -> u64 {
        self.lock().accepted
    }

    /// The next push accepted for `token` that no earlier call has returned; `None` after `deadline`.
    pub async fn next(&self, token: &str, deadline: Duration) -> Option<Attempt<P>> {
        self.wait(deadline, || {
            let mut inner = self.lock();
            let after = inner.read_up_to.get(token).copied().unwrap_or(0);
            let due =
                |attempt: &&Attempt<P>| attempt.answer.accepted && attempt.sequence > after && attempt.token == token;
            let found = inner.attempts.iter().find(due).cloned()?;
            inner.read_up_to.insert(token.to_owned(), found.sequence);
            Some(found)
        })
        .await
    }

    /// Waits until `look`, called after each news, finds something; `None` after `deadline`.
    pub async fn wait<T>(&self, deadline: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
        let mut news = self.news.subscribe();
        let search = async {
            loop {
                // Marked as seen before looking: what comes in between wakes the wait below.
                news.borrow_and_update();
                if let Some(found) = look() {
                    return Some(found);
                }
                news.changed().await.ok()?;
            }
        };
        tokio::time::timeout(deadline, search).await.ok().flatten()
    }

    fn lock(&self) -> MutexGuard<'_, Inner<P>> {
        // Nothing that runs under the lock can leave it half changed.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn each_received_push_is_handed_out_once_and_a_refused_one_never() {
        let ledger = Ledger::new(10);
        ledger.record(0, 1, "a", Answer::refused(503, "x"), || 1);
        ledger.record(0, 1, "a", Answer::accepted(200), || 2);
        ledger.record(0, 1, "b", Answer::accepted(200), || 3);
        ledger.record(0, 1, "a", Answer::accepted(200), || 4);
        assert_eq!(ledger.next("a", SOON).await.unwrap().push, 2);
        assert_eq!(ledger.next("a", SOON).await.unwrap().push, 4);
        assert!(ledger.next("a", SOON).await.is_none());
        assert_eq!((ledger.attempted_count(), ledger.accepted_count()), (4, 3));
    }

    #[tokio::test]
    async fn who_waits_is_woken_by_what_comes() {
        let ledger = std::sync::Arc::new(Ledger::new(10));
        let waiting = tokio::spawn({
            let ledger = ledger.clone();
            async move { ledger.next("a", Duration::from_secs(5)).await }
        });
        tokio::task::yield_now().await;
        ledger.record(0, 1, "a", Answer::accepted(200), || 7);
        assert_eq!(waiting.await.unwrap().unwrap().push, 7);
    }

    #[test]
    fn the_oldest_is_forgotten_first_and_the_counts_stay() {
        let ledger = Ledger::new(2);
        (1..=3).for_each(|number| ledger.record(0, 1, "a", Answer::accepted(200), || number));
        assert_eq!(ledger.received().iter().map(|attempt| attempt.push).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(ledger.accepted_count(), 3);
        let counting = Ledger::new(0);
        counting.record(0, 1, "a", Answer::accepted(200), || unreachable!("nothing is kept"));
        assert_eq!((counting.received().len(), counting.accepted_count()), (0, 1));
    }
}
