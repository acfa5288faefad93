//! The provider token: what proves to Apple that we may send (ES256 over team, key and `iat`).
//!
//! Apple refuses tokens older than an hour, and providers that change theirs more often than every 20 minutes. So the
//! token is a function of key and time: every 25 minutes one could be made, and the signature is deterministic, so two
//! nodes, or one before and after a restart, that take the same `iat` send the very same bytes with nothing to
//! coordinate. Whoever has none takes the newest that leaves it at least 21 minutes, prefers every other one (so that
//! nodes meet), and keeps it for its first 51 minutes. Each is used a minute late, so that a clock that runs fast makes
//! no token from the future.
//!
//! Two refusals have a second try. "Expired" (a clock that runs slow): the next newer token of the 25-minute grid, if
//! there is one. "Updated too often" (another node has shown another one less than 20 minutes ago): the next older,
//! which must be that one. A second refusal is not the token's fault.

use std::sync::{Arc, Mutex};

use countersign_proto::timestamp::Timestamp;
use reqwest::header::HeaderValue;
use serde::Serialize;

use crate::{destinations::lock, es256::Key};

const SLOT_SECONDS: i64 = 50 * 60;
const HALF_SLOT_SECONDS: i64 = SLOT_SECONDS / 2;
/// How fast our clock may run.
const FAST_CLOCK_SECONDS: i64 = 60;
/// A token that begins to be used has to last for 21 minutes more.
const LATEST_START_SECONDS: i64 = 29 * 60;
/// One that we fell back to is used for so long after its `iat`.
const FALLBACK_SECONDS: i64 = 55 * 60;

/// A token, ready to be sent.
pub(crate) struct Token {
    issued_at_seconds: i64,
    used_until_seconds: i64,
    pub(crate) header: HeaderValue,
}

/// See the module.
pub(crate) struct ProviderToken {
    key: Key,
    key_id: String,
    team_id: String,
    current: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    token: Option<Arc<Token>>,
    mints: u64,
}

#[derive(Serialize)]
struct Header<'a> {
    alg: &'static str,
    kid: &'a str,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    iat: i64,
}

impl ProviderToken {
    pub(crate) fn new(key: Key, key_id: &str, team_id: &str) -> Self {
        Self { key, key_id: key_id.to_owned(), team_id: team_id.to_owned(), current: Mutex::default() }
    }

    /// The token of `now`. However many ask at once, one makes it: signing takes less time than finding out that
    /// somebody else does.
    pub(crate) fn current(&self, now: Timestamp) -> Arc<Token> {
        let seconds = now.as_seconds();
        let mut held = lock(&self.current);
        match &held.token {
            Some(token) if (token.issued_at_seconds..token.used_until_seconds).contains(&seconds) => Arc::clone(token),
            _ => self.mint(&mut held, start(now), SLOT_SECONDS + FAST_CLOCK_SECONDS),
        }
    }

    /// A token that is newer than `refused`, which Apple called expired; `None` if there is none yet. Of a thousand
    /// that were refused at once, the first makes it and the others take it.
    pub(crate) fn newer(&self, refused: &Token, now: Timestamp) -> Option<Arc<Token>> {
        let newest = beginning(now, HALF_SLOT_SECONDS);
        let mut held = lock(&self.current);
        match &held.token {
            Some(token) if token.issued_at_seconds > refused.issued_at_seconds => Some(Arc::clone(token)),
            _ if newest > refused.issued_at_seconds => {
                Some(self.mint(&mut held, newest, SLOT_SECONDS + FAST_CLOCK_SECONDS))
            }
            _ => None,
        }
    }

    /// The token before `refused`, which Apple said came too soon; `None` if that is too old.
    pub(crate) fn older(&self, refused: &Token, now: Timestamp) -> Option<Arc<Token>> {
        let older = refused.issued_at_seconds - HALF_SLOT_SECONDS;
        let mut held = lock(&self.current);
        match &held.token {
            Some(token) if token.issued_at_seconds < refused.issued_at_seconds => Some(Arc::clone(token)),
            _ if now.as_seconds() < older + FALLBACK_SECONDS => Some(self.mint(&mut held, older, FALLBACK_SECONDS)),
            _ => None,
        }
    }

    fn mint(&self, held: &mut Held, issued_at_seconds: i64, used_for_seconds: i64) -> Arc<Token> {
        held.mints += 1;
        let claims = Claims { iss: &self.team_id, iat: issued_at_seconds };
        let text = self.key.sign(&Header { alg: "ES256", kid: &self.key_id }, &claims);
        // A compact JWS is ASCII; an empty header would be refused by Apple, as it should be.
        let mut header =
            HeaderValue::from_str(&format!("bearer {text}")).unwrap_or_else(|_| HeaderValue::from_static(""));
        // Not shown by `Debug`, and never put into HPACK's table, as Apple asks.
        header.set_sensitive(true);
        let used_until_seconds = issued_at_seconds + used_for_seconds;
        let token = Arc::new(Token { issued_at_seconds, used_until_seconds, header });
        held.token = Some(Arc::clone(&token));
        token
    }
}

/// The `iat` of whoever has no token yet.
fn start(now: Timestamp) -> i64 {
    let slot = beginning(now, SLOT_SECONDS);
    let age = now.as_seconds() - FAST_CLOCK_SECONDS - slot;
    if age <= LATEST_START_SECONDS { slot } else { slot + HALF_SLOT_SECONDS }
}

fn beginning(now: Timestamp, slot_seconds: i64) -> i64 {
    let seconds = now.as_seconds() - FAST_CLOCK_SECONDS;
    seconds - seconds.rem_euclid(slot_seconds)
}

#[cfg(test)]
mod tests;
