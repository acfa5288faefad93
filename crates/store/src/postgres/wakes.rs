//! Wake-ups between nodes over LISTEN/NOTIFY: ids only, and only a hint. Whoever misses one learns of the change
//! from its node's poller within a second.

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use countersign_core::wake::{WakeKey, WakeSink};
use countersign_proto::ids::Id;
use sqlx::{Acquire as _, Connection as _, postgres::PgListener};
use tokio::{sync::watch, time::timeout};
use uuid::Uuid;

use super::Pool;

const CHANNEL: &str = "countersign";
/// PostgreSQL takes payloads below 8000 bytes; a key has 33 characters and a comma.
const KEYS_PER_PAYLOAD: usize = 200;
/// How long to wait before the listener's connection is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// The keys as payloads: `c` or `d` and 32 hexadecimal digits, separated by commas. The outbox is left out: whoever
/// queues a push is a node that dispatches, and one that is told at once is enough.
pub(super) fn payloads(keys: &[WakeKey]) -> Vec<String> {
    let word = |key: &WakeKey| match key {
        WakeKey::Challenge(id) => Some(format!("c{}", id.as_uuid().simple())),
        WakeKey::Device(id) => Some(format!("d{}", id.as_uuid().simple())),
        WakeKey::Outbox(_) | WakeKey::Webhooks => None,
    };
    let words: Vec<_> = keys.iter().filter_map(word).collect();
    words.chunks(KEYS_PER_PAYLOAD).map(|words| words.join(",")).collect()
}

/// The keys of a payload; what is not readable is skipped (a newer node may say more).
fn keys(payload: &str) -> Vec<WakeKey> {
    let key = |word: &str| {
        let (kind, id) = word.split_at_checked(1)?;
        let id = Uuid::try_parse(id).ok()?;
        match kind {
            "c" => Some(WakeKey::Challenge(Id::from_uuid(id))),
            "d" => Some(WakeKey::Device(Id::from_uuid(id))),
            _ => None,
        }
    };
    payload.split(',').filter_map(key).collect()
}

/// Tells `sink` what other nodes (and this one) have changed, until `stop` changes or its sender is gone.
pub(super) async fn listen(pool: Pool, sink: Arc<dyn WakeSink>, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            _ = stop.changed() => return,
            Err(error) = forward(&pool, sink.as_ref()) => {
                tracing::warn!(error = %crate::failure::describe(&error), "wake-ups from other nodes are interrupted");
            }
        }
        // A pause that ends at once when the store closes.
        if timeout(PAUSE, stop.changed()).await.is_ok() {
            return;
        }
    }
}

/// Until the connection is lost; what is missed then is the pollers' business.
async fn forward(pool: &Pool, sink: &dyn WakeSink) -> Result<Infallible, sqlx::Error> {
    let patience = pool.options().get_acquire_timeout();
    // A pool for each connection: a former one that nobody answers may keep its place for ever.
    let pool = pool.options().clone().connect_lazy_with(pool.connect_options().as_ref().clone());
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.eager_reconnect(false);
    in_time(patience, listener.listen(CHANNEL)).await?;
    loop {
        match timeout(patience, listener.try_recv()).await {
            Ok(Ok(Some(notification))) => sink.wake(&keys(notification.payload())),
            Ok(Ok(None)) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            Ok(Err(error)) => return Err(error),
            // Either nothing has changed, or the database's machine has gone without a word: who is there answers.
            Err(_) => in_time(patience, async { listener.acquire().await?.ping().await }).await?,
        }
    }
}

async fn in_time(patience: Duration, ask: impl Future<Output = Result<(), sqlx::Error>>) -> Result<(), sqlx::Error> {
    timeout(patience, ask).await.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_survive_the_wire_and_no_payload_is_too_long() {
        let all: Vec<_> = (0..1000_u128)
            .map(|n| match n % 2 {
                0 => WakeKey::Challenge(Id::from_uuid(Uuid::from_u128(n))),
                _ => WakeKey::Device(Id::from_uuid(Uuid::from_u128(n))),
            })
            .collect();
        let payloads = payloads(&all);
        assert!(payloads.iter().all(|payload| payload.len() < 8000));
        let back: Vec<_> = payloads.iter().flat_map(|payload| keys(payload)).collect();
        assert_eq!(back, all);
    }

    #[test]
    fn an_unreadable_word_does_not_hide_its_neighbours() {
        let id = Uuid::from_u128(7);
        let payload = format!("x,,d,ü,c{}", id.simple());
        assert_eq!(keys(&payload), [WakeKey::Challenge(Id::from_uuid(id))]);
    }
}
