//! Answers of providers, judged without asking anybody: for the fuzz targets (`tests/src/hostile/provider.rs`).
//!
//! Not part of the API: hidden from the documents, linked by nothing that runs. It adds no rule of its own, so that what is
//! fuzzed is what the senders ask. To add a provider: its variant of [`Provider`] and its arm in [`judge`].

use countersign_core::{clock::Clock, ports::notifications::LeasedNotification};
use reqwest::header::{DATE, HeaderMap, HeaderValue, RETRY_AFTER};

use crate::{
    apns, fcm,
    report::Outcome,
    transport::Answer,
    webhook::{self, WebhookOutcome},
    webpush,
};

/// Who answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provider {
    /// Apple.
    Apns,
    /// Google.
    Fcm,
    /// A push service.
    WebPush,
}

/// What came back, as far as any verdict looks at it.
#[derive(Debug, Clone, Copy)]
pub struct Reply<'a> {
    /// The status.
    pub status: u16,
    /// `Retry-After`; bytes that are no header's value are none.
    pub retry_after: Option<&'a [u8]>,
    /// `Date`.
    pub date: Option<&'a [u8]>,
    /// The body's beginning.
    pub body: &'a [u8],
}

impl Reply<'_> {
    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in [(RETRY_AFTER, self.retry_after), (DATE, self.date)] {
            if let Some(value) = value.and_then(|value| HeaderValue::from_bytes(value).ok()) {
                headers.insert(name, value);
            }
        }
        headers
    }
}

/// What the reply to a push means for it.
pub fn judge(provider: Provider, reply: Reply<'_>, push: &LeasedNotification, clock: &dyn Clock) -> Outcome {
    let answer = Answer { status: reply.status, headers: reply.headers(), body: reply.body.to_vec() };
    let now = clock.now();
    match provider {
        Provider::Apns => apns::verdict::verdict(&answer, push, now).0,
        Provider::Fcm => fcm::verdict::verdict(&answer, now).0,
        Provider::WebPush => webpush::verdict(&answer, now).0,
    }
}

/// What the reply to a webhook's message means for it.
pub fn judge_webhook(reply: Reply<'_>, clock: &dyn Clock) -> WebhookOutcome {
    webhook::verdict(reply.status, &reply.headers(), clock)
}
