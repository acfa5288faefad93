//! Which commands may share one set of statements.
//!
//! A statement that changes one row for two commands of its set applies only one of them, silently, and `n + 1`
//! three times over makes 1. So a round holds at most one command per guard row; further ones wait for a later
//! round of the same transaction, in order of arrival.

use std::collections::HashMap;

use countersign_core::ports::{
    api_clients::SpendProof,
    challenges::{CloseChallenge, CreateChallenge, DecideChallenge},
    notifications::FinishNotification,
};
use countersign_proto::ids::{ApiClientId, ChallengeId, NotificationId, UserId};

/// A row (or what stands for some) that at most one command of a round may change.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Guard<'a> {
    /// A challenge.
    Challenge(ChallengeId),
    /// A user, for the counters.
    User(UserId),
    /// A proof of an API client.
    Proof(ApiClientId, &'a str),
    /// An idempotency key.
    Idempotency(ApiClientId, &'a str),
    /// A notification.
    Notification(NotificationId),
    /// Whatever notifications are due.
    Due,
}

/// What spending a proof changes.
pub(crate) fn of_spend(command: &SpendProof) -> Vec<Guard<'_>> {
    vec![Guard::Proof(command.client_id, &command.jti)]
}

/// What a creation changes.
pub(crate) fn of_create(command: &CreateChallenge) -> Vec<Guard<'_>> {
    let mut guards = vec![Guard::Challenge(command.facts.id), Guard::User(command.facts.user.id)];
    if let Some(idempotency) = &command.idempotency {
        guards.push(Guard::Idempotency(command.facts.client_id, &idempotency.key));
    }
    guards
}

/// What a decision changes.
pub(crate) fn of_decide(command: &DecideChallenge) -> Vec<Guard<'_>> {
    vec![Guard::Challenge(command.challenge_id), Guard::User(command.user_id)]
}

/// What a cancellation or expiry changes.
pub(crate) fn of_close(command: &CloseChallenge) -> Vec<Guard<'_>> {
    vec![Guard::Challenge(command.challenge_id), Guard::User(command.user_id)]
}

/// What a verdict changes.
pub(crate) fn of_finish(command: &FinishNotification) -> Vec<Guard<'_>> {
    vec![Guard::Notification(command.leased.id)]
}

/// Hands out rounds in order of arrival.
#[derive(Debug, Default)]
pub(crate) struct Rounds<'a>(HashMap<Guard<'a>, usize>);

impl<'a> Rounds<'a> {
    /// The first round in which a command with these guards meets none of them, and after all earlier commands
    /// that share one.
    pub(crate) fn next(&mut self, guards: Vec<Guard<'a>>) -> usize {
        let round = guards.iter().filter_map(|guard| self.0.get(guard)).max().map_or(0, |last| last + 1);
        self.0.extend(guards.into_iter().map(|guard| (guard, round)));
        round
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_proto::ids::Id;

    fn challenge(n: u128) -> Guard<'static> {
        Guard::Challenge(Id::from_uuid(uuid::Uuid::from_u128(n)))
    }

    fn user(n: u128) -> Guard<'static> {
        Guard::User(Id::from_uuid(uuid::Uuid::from_u128(n)))
    }

    #[test]
    fn strangers_share_a_round_and_rivals_queue_in_order_of_arrival() {
        let mut rounds = Rounds::default();
        assert_eq!(rounds.next(vec![challenge(1), user(1)]), 0);
        assert_eq!(rounds.next(vec![challenge(2), user(2)]), 0);
        assert_eq!(rounds.next(vec![challenge(1), user(1)]), 1);
        assert_eq!(rounds.next(vec![challenge(3), user(1)]), 2);
        // Behind both of its rivals, although one of them is in an early round.
        assert_eq!(rounds.next(vec![challenge(3), user(2)]), 3);
        assert_eq!(rounds.next(vec![challenge(2), user(4)]), 1);
    }
}
