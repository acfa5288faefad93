//! Tokens over hours, against an Apple that is as strict as its documents can be read.

use super::*;

/// The beginning of a slot, as it is entered.
const SLOT: i64 = 600_000 * SLOT_SECONDS + FAST_CLOCK_SECONDS;

fn provider() -> ProviderToken {
    ProviderToken::new(Key::from_scalar(&[7; 32]).unwrap(), "KEY0000000", "TEAM000000")
}

fn at(minute: i64) -> Timestamp {
    Timestamp::from_seconds(SLOT + minute * 60)
}

fn mints(provider: &ProviderToken) -> u64 {
    lock(&provider.current).mints
}

#[test]
fn a_token_serves_fifty_minutes_and_is_never_older_than_fifty_five() {
    let provider = provider();
    let first = provider.current(at(0));
    for minute in 0..50 {
        let token = provider.current(at(minute));
        assert_eq!(token.header, first.header, "minute {minute}");
        let age = at(minute).as_seconds() - token.issued_at_seconds;
        assert!((60..55 * 60).contains(&age), "{age}");
    }
    assert_eq!(mints(&provider), 1);
    assert_ne!(provider.current(at(50)).header, first.header);
    assert_eq!(mints(&provider), 2);
}

#[test]
fn a_thousand_that_ask_at_once_get_one_token_from_one_mint() {
    let provider = provider();
    std::thread::scope(|scope| {
        let provider = &provider;
        let askers: Vec<_> = (0..1_000).map(|_| scope.spawn(move || provider.current(at(7)).header.clone())).collect();
        let mut tokens: Vec<_> = askers.into_iter().map(|asker| asker.join().unwrap()).collect();
        tokens.dedup();
        assert_eq!(tokens.len(), 1);
    });
    assert_eq!(mints(&provider), 1);
}

#[test]
fn two_nodes_and_a_restart_send_the_same_bytes() {
    assert_eq!(provider().current(at(1)).header, provider().current(at(29)).header);
    assert_eq!(provider().current(at(30)).header, provider().current(at(49)).header);
}

#[test]
fn an_expired_token_is_renewed_once_for_all_and_then_no_more() {
    let provider = provider();
    let refused = provider.current(at(0));
    let renewed = provider.newer(&refused, at(30)).unwrap();
    for _ in 0..999 {
        assert_eq!(provider.newer(&refused, at(31)).unwrap().header, renewed.header);
    }
    assert_eq!(mints(&provider), 2);
    assert!(provider.newer(&renewed, at(31)).is_none(), "refused again: it is not the age");
    assert_eq!(provider.current(at(49)).header, renewed.header, "it stays the current one");
}

#[test]
fn there_is_no_newer_token_for_twenty_five_minutes() {
    let provider = provider();
    let refused = provider.current(at(0));
    assert!(provider.newer(&refused, at(24)).is_none());
    assert_eq!(mints(&provider), 1);
}

#[test]
fn tokens_that_are_all_refused_are_never_made_closer_than_twenty_minutes() {
    let provider = provider();
    let mut issued = Vec::new();
    for minute in 0..600 {
        let token = provider.current(at(minute));
        let last = provider.newer(&token, at(minute)).unwrap_or(token);
        issued.push(last.issued_at_seconds);
    }
    issued.dedup();
    assert!(issued.windows(2).all(|pair| pair[1] - pair[0] >= 20 * 60), "{issued:?}");
    assert_eq!(mints(&provider), u64::try_from(issued.len()).unwrap());
}

/// Refuses a token that it sees for the first time less than 20 minutes after the last such one.
#[derive(Default)]
struct Apple {
    seen: Vec<(i64, Timestamp)>,
}

impl Apple {
    fn takes(&mut self, token: &Token, now: Timestamp) -> bool {
        assert!((0..60 * 60).contains(&(now.as_seconds() - token.issued_at_seconds)), "too old or from the future");
        if self.seen.iter().any(|(issued, _)| *issued == token.issued_at_seconds) {
            return true;
        }
        if self.seen.last().is_some_and(|(_, at)| now.millis_since(*at) < 20 * 60 * 1_000) {
            return false;
        }
        self.seen.push((token.issued_at_seconds, now));
        true
    }
}

#[test]
fn nodes_that_come_and_go_never_change_tokens_too_often_for_anybody() {
    let mut random = 7_u64;
    let mut draw = |bound: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % bound
    };
    let mut fallbacks = 0;
    for _round in 0..40 {
        let mut apple = Apple::default();
        let mut nodes = [provider(), provider(), provider()];
        let mut now = at(0);
        for _push in 0..60 {
            now = now.plus_seconds(i64::try_from(draw(900)).unwrap());
            let which = usize::try_from(draw(3)).unwrap();
            if draw(10) == 0 {
                nodes[which] = provider();
            }
            let token = nodes[which].current(now);
            if !apple.takes(&token, now) {
                let older = nodes[which].older(&token, now).expect("another node has shown it");
                assert!(apple.takes(&older, now), "{} then {}", token.issued_at_seconds, older.issued_at_seconds);
                fallbacks += 1;
            }
        }
    }
    assert!(fallbacks > 0, "no round was hard enough");
}

#[test]
fn the_token_is_not_printed() {
    assert_eq!(format!("{:?}", provider().current(at(0)).header), "Sensitive");
}
