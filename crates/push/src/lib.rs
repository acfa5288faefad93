//! Push senders: a leased notification in, a report with a verdict out (protocol section 8). Webhooks beside them: a signed
//! message in, a verdict out (section 13).
//!
//! APNs, FCM HTTP v1 and Web Push behind one [`Senders::send`]. What a provider receives is fixed texts and ids
//! (`payload`), never a user, an application, a number or a challenge's text. What a provider answers becomes a word
//! of our own closed list ([`Reason`]): its texts are neither logged nor returned.
//!
//! Never decides when to try again, never touches the database, never reads the environment: settings, clock and
//! randomness come in as values. Each provider is told of by a destination with its own circuit and its own bound of
//! requests in flight, so that one that is slow, wrong or dead delays nobody else.
//!
//! To add a provider: its settings in `settings`, a module beside `apns` with a `send` that ends in an
//! [`Outcome`], a variant of [`Destination`] and its arm in [`Senders`]; for every answer that it documents a line in
//! its verdict table, and a test against its stand-in.

pub mod address;
mod apns;
mod circuit;
mod destinations;
mod doctor;
mod es256;
mod fcm;
#[doc(hidden)]
pub mod judged;
mod payload;
mod places;
mod report;
mod senders;
mod settings;
#[cfg(test)]
mod testing;
mod transport;
mod webhook;
mod webpush;

pub use report::{CODES, Destination, Diagnosis, Outcome, Reason, Report};
pub use senders::Senders;
pub use settings::{
    APNS_PRODUCTION_URL, APNS_SANDBOX_URL, ApnsSettings, FCM_URL, FcmSettings, PushSettings, SettingsError,
    WebPushSettings,
};
pub use webhook::{
    WHOLE as WEBHOOK_TIMEOUT, WebhookMessage, WebhookOutcome, WebhookReport, WebhookSender, WebhookSettings,
};
