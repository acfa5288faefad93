//! HTTP to the providers: clients that are bounded in every direction, and what can go wrong on the way.
//!
//! No redirects, no proxies from the environment, a connect in 3 s, all in 8 s or what the lease has left; a
//! connection that died silently is found by PING in 5 s; of an answer 16 KiB are read, whatever its length. A
//! request that failed with its connection is repeated once at once, on another connection, with the same ids: a
//! provider that had taken the first shows one notification. Later repeats are the dispatcher's. A destination that is
//! in trouble, or that nobody knows, gets no repeat at once.
//!
//! To type one more failure, see `fault`.

mod fault;
mod retry_after;

use std::time::Duration;

use countersign_core::ports::notifications::LeasedNotification;
use countersign_proto::timestamp::Timestamp;
use reqwest::{Certificate, Client, ClientBuilder, Request, Response, header::HeaderMap, redirect::Policy};

pub(crate) use fault::Fault;
pub(crate) use retry_after::{http_date, retry_after_millis};

use crate::{
    destinations::BUSY_MILLIS,
    report::{Outcome, Reason},
    settings::SettingsError,
};

const CONNECT: Duration = Duration::from_secs(3);
/// The longest that a push may take in all.
pub(crate) const WHOLE: Duration = Duration::from_secs(8);
/// What is left of a lease for storing the verdict.
const STORING: Duration = Duration::from_millis(500);
/// A push that has less than this is not begun.
pub(crate) const LEAST: Duration = Duration::from_secs(1);
/// A timeout after less than this is our haste: it says nothing about the destination.
pub(crate) const TELLING: Duration = CONNECT;
/// A body says why at its beginning, or never.
const BODY: Duration = Duration::from_secs(2);
const MAX_BODY_BYTES: usize = 16 * 1024;
/// PINGs on an idle connection, too: the first push after a silent death must not be the one to find out.
const PING_EVERY: Duration = Duration::from_secs(3);
const PING_TIMEOUT: Duration = Duration::from_secs(2);
/// How much a provider may send before it is read.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;

/// What every client has in common.
pub(crate) fn builder() -> ClientBuilder {
    Client::builder()
        .user_agent(concat!("countersign/", env!("CARGO_PKG_VERSION")))
        .no_proxy()
        .redirect(Policy::none())
        .referer(false)
        .connect_timeout(CONNECT)
        .pool_idle_timeout(Duration::from_secs(300))
        .pool_max_idle_per_host(8)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(PING_EVERY)
        .http2_keep_alive_timeout(PING_TIMEOUT)
        .http2_keep_alive_while_idle(true)
        .http2_initial_stream_window_size(STREAM_WINDOW_BYTES)
        .http2_initial_connection_window_size(CONNECTION_WINDOW_BYTES)
}

/// Builds a client that trusts the system's certificates and `extra`.
pub(crate) fn build(builder: ClientBuilder, extra: &[Certificate]) -> Result<Client, SettingsError> {
    // The only thing that can fail once the options are right is a system without certificates.
    builder.tls_certs_merge(extra.iter().cloned()).build().map_err(|_| SettingsError::NoRoots)
}

/// Parses the extra certificates that `setting` names.
pub(crate) fn certificates(setting: &'static str, pem: Option<&[u8]>) -> Result<Vec<Certificate>, SettingsError> {
    let Some(pem) = pem else { return Ok(Vec::new()) };
    match Certificate::from_pem_bundle(pem) {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(SettingsError::ExtraCa { setting }),
    }
}

/// What a provider answered.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    /// At most 16 KiB of it.
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// What the provider asked for, in milliseconds from `now`.
    pub(crate) fn retry_after_millis(&self, now: Timestamp) -> Option<i64> {
        retry_after_millis(&self.headers, now)
    }

    /// A status that nobody documents: one that blames the message is final, any other may pass.
    pub(crate) fn unexpected(&self, now: Timestamp) -> Outcome {
        let reason = Reason::answered("unexpected-status", self.status);
        match self.status {
            400..=499 => Outcome::Rejected(reason),
            _ => Outcome::Retry { after_millis: self.retry_after_millis(now), reason },
        }
    }
}

/// Sends `request`, and once more if its connection failed and then `may_repeat` (asked when it has failed: what
/// others saw meanwhile counts). Bounded by whoever calls: see [`within`].
pub(crate) async fn exchange(
    client: &Client,
    request: Request,
    may_repeat: impl Fn() -> bool,
) -> Result<Answer, Fault> {
    let repeat = request.try_clone();
    exchange_or(client, request, || repeat.filter(|_| may_repeat())).await
}

/// The same for a request that is cheaper to make `again` in that rare case than to copy each time; `None`: it may not
/// be repeated.
pub(crate) async fn exchange_or(
    client: &Client,
    request: Request,
    again: impl FnOnce() -> Option<Request>,
) -> Result<Answer, Fault> {
    let fault = match once(client, request).await {
        Ok(answer) => return Ok(answer),
        Err(fault) => fault,
    };
    let repeat = if fault.is_of_connection { again() } else { None };
    match repeat {
        // The broken connection has left the pool: this takes another.
        Some(request) => once(client, request).await,
        None => Err(fault),
    }
}

async fn once(client: &Client, request: Request) -> Result<Answer, Fault> {
    let mut response = client.execute(request).await.map_err(|error| Fault::of(&error))?;
    let status = response.status().as_u16();
    let headers = std::mem::take(response.headers_mut());
    Ok(Answer { status, headers, body: read(response).await })
}

/// The beginning of a body. One that breaks off or stalls is cut there: the status is known, and a verdict that needs
/// more than that finds it missing. The rest is never read: dropping the response resets its stream.
async fn read(mut response: Response) -> Vec<u8> {
    let mut body = Vec::new();
    // What a timeout leaves in `body` is what had come.
    let _cut = tokio::time::timeout(BODY, async {
        while let Ok(Some(chunk)) = response.chunk().await {
            let room = MAX_BODY_BYTES.saturating_sub(body.len());
            body.extend(chunk.iter().take(room));
            if chunk.len() >= room {
                return;
            }
        }
    })
    .await;
    body
}

/// What is left for a push: until its lease ends, with time to store the verdict, and until it is worth nothing. A
/// sign-in that is over must ring nobody.
///
/// # Errors
/// The verdict on a push that is not worth beginning.
pub(crate) fn time_left(now: Timestamp, notification: &LeasedNotification) -> Result<Duration, Outcome> {
    let until = |end: Timestamp| Duration::from_millis(end.millis_since(now));
    let worth = until(notification.expires_at);
    if worth < LEAST {
        return Err(Outcome::retry(Reason::of("too-late")));
    }
    let lease = until(notification.leased_until).saturating_sub(STORING);
    if lease < LEAST {
        return Err(Outcome::NotTried { after_millis: BUSY_MILLIS, reason: Reason::of("lease-over") });
    }
    Ok(lease.min(worth).min(WHOLE))
}

/// Runs `work` for at most `limit`; then it is dropped, its request with it.
pub(crate) async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(Fault::TIMEOUT))
}

#[cfg(test)]
mod tests {
    use countersign_core::ports::notifications::NotificationKind;
    use countersign_proto::push::PushBinding;

    use super::*;
    use crate::testing::{NOW, notification};

    fn left(lease_millis: i64, worth_millis: i64) -> Result<Duration, Outcome> {
        let mut push = notification(NotificationKind::Challenge, PushBinding::None);
        push.leased_until = NOW.plus_millis(lease_millis);
        push.expires_at = NOW.plus_millis(worth_millis);
        time_left(NOW, &push)
    }

    #[test]
    fn a_push_takes_eight_seconds_at_most_and_leaves_time_to_store_its_verdict() {
        assert_eq!(left(10_000, 99_000), Ok(Duration::from_secs(8)));
        assert_eq!(left(3_000, 99_000), Ok(Duration::from_millis(2_500)));
        let over = Outcome::NotTried { after_millis: 200, reason: Reason::of("lease-over") };
        assert_eq!(left(1_499, 99_000), Err(over));
        assert_eq!(left(-1, 99_000), Err(over));
    }

    #[test]
    fn no_push_is_under_way_when_it_is_worth_nothing() {
        assert_eq!(left(10_000, 2_000), Ok(Duration::from_secs(2)));
        for millis in [999, 0, -1] {
            assert_eq!(left(10_000, millis), Err(Outcome::retry(Reason::of("too-late"))));
        }
    }

    #[test]
    fn certificates_that_are_none_are_said_so() {
        for pem in ["", "-----BEGIN CERTIFICATE-----\nAAAA", "not a certificate"] {
            let refused = certificates("push.extra_ca_file", Some(pem.as_bytes())).err();
            assert_eq!(refused, Some(SettingsError::ExtraCa { setting: "push.extra_ca_file" }), "{pem}");
        }
        assert!(certificates("push.extra_ca_file", None).is_ok());
    }
}
