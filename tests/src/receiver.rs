//! A stand-in of an organisation's receiver of webhooks, and a server that may tell it.

use std::{collections::BTreeSet, sync::Arc};

use aws_lc_rs::{
    hmac,
    signature::{ED25519, UnparsedPublicKey},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use countersign::config::Settings;
use countersign_simulator::{
    stand_in::{Certificates, Clock, Common},
    webhook::{self, Message},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{ApiClient, Db, TestApp, TestAppOptions, TestClock, providers::SOON, text};

/// A receiver under the test's clock.
pub struct Receiver {
    /// The stand-in.
    pub hooks: webhook::Handle,
    common: Common,
    folder: TempDir,
}

/// A webhook, with what verifies its messages.
#[derive(Debug, Clone)]
pub struct Hook {
    /// Our id.
    pub id: String,
    /// Under this name the stand-in is scripted and remembers.
    pub name: String,
    /// `whsec_…`
    pub secret: String,
    /// `whpk_…`
    pub public_key: String,
}

/// Runs a story on both databases, with a receiver, and finishes each.
pub async fn both_with_receiver(story: impl AsyncFn(&TestApp, &Receiver)) {
    for db in [Db::Sqlite, Db::Postgres] {
        let clock = TestClock::default();
        let receiver = Receiver::start(&clock).await;
        let options = TestAppOptions { clock, ..TestAppOptions::new(db) };
        let app = TestApp::start_as(options, |settings| receiver.configure(settings)).await;
        story(&app, &receiver).await;
        app.finish().await;
        receiver.hooks.stop().await;
    }
}

impl Receiver {
    /// Starts one under the clock of a test.
    pub async fn start(clock: &TestClock) -> Self {
        let clock = clock.clone();
        Self::start_by(Arc::new(move || clock.time().as_seconds())).await
    }

    /// Starts one under a clock that tells unix seconds.
    pub async fn start_by(clock: Clock) -> Self {
        let certificates = Some(Certificates::generate().unwrap());
        Self::start_as(Common { clock, certificates, ..Common::default() }).await
    }

    /// Another one, at an address of its own, that a server trusts likewise.
    pub async fn beside(&self) -> Self {
        Self::start_as(self.common.clone()).await
    }

    async fn start_as(common: Common) -> Self {
        let hooks = webhook::start(webhook::Options { common: common.clone() }).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), hooks.ca_pem().unwrap()).unwrap();
        Self { hooks, common, folder }
    }

    /// Lets a server tell it, too.
    pub fn configure(&self, settings: &mut Settings) {
        settings.webhooks.additional_ports.push(self.hooks.port());
        settings.webhooks.additional_networks = vec!["127.0.0.0/8".to_owned()];
        settings.webhooks.extra_ca_file = self.folder.path().join("ca.pem");
    }

    /// The same settings by their names, as a program gets them from its environment.
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            ("webhooks.additional_ports", format!("[{}]", self.hooks.port())),
            ("webhooks.additional_networks", "[\"127.0.0.0/8\"]".to_owned()),
            ("webhooks.extra_ca_file", self.folder.path().join("ca.pem").display().to_string()),
        ]
    }

    /// A webhook of the client's organisation that is told of these events.
    pub async fn hook(&self, client: &ApiClient, name: &str, events: &[&str]) -> Hook {
        let body = json!({"url": self.hooks.url(name), "events": events});
        let made = client.post("/v1/webhooks", body).await.ok(201);
        Hook::of(&made, name)
    }

    /// The next message of this type that was taken under this name, verified; others are passed over.
    pub async fn next(&self, hook: &Hook, kind: &str) -> Value {
        loop {
            let next = self.hooks.next(&hook.name, SOON).await;
            let message = next.unwrap_or_else(|| panic!("{} was told no {kind}", hook.name)).push;
            assert!(hook.verifies(&message), "{message:?}");
            let body: Value = serde_json::from_str(&message.body).unwrap();
            if body["type"] == kind {
                return body;
            }
        }
    }

    /// All that was taken under this name, verified: ids with types, as a receiver that dedupes by id sees them.
    pub fn taken(&self, hook: &Hook) -> BTreeSet<(String, String)> {
        let received = self.hooks.received();
        let own = received.into_iter().filter(|attempt| attempt.token == hook.name).map(|attempt| attempt.push);
        own.map(|message| {
            assert!(hook.verifies(&message), "{message:?}");
            let body: Value = serde_json::from_str(&message.body).unwrap();
            (message.id.unwrap(), text(&body, "type").to_owned())
        })
        .collect()
    }
}

impl Hook {
    /// From a reply that carries a secret.
    pub fn of(reply: &Value, name: &str) -> Self {
        Self {
            id: text(reply, "id").to_owned(),
            name: name.to_owned(),
            secret: text(reply, "secret").to_owned(),
            public_key: text(reply, "public_key").to_owned(),
        }
    }

    /// The path of the webhook.
    pub fn path(&self) -> String {
        format!("/v1/webhooks/{}", self.id)
    }

    /// Whether one of the message's signatures of each scheme is this webhook's (Standard Webhooks).
    pub fn verifies(&self, message: &Message) -> bool {
        let (Some(id), Some(timestamp), Some(signature)) = (&message.id, &message.timestamp, &message.signature) else {
            return false;
        };
        let signed = format!("{id}.{timestamp}.{}", message.body);
        let decode = |text: &str, prefix| STANDARD.decode(text.strip_prefix(prefix)?).ok();
        let secret = hmac::Key::new(hmac::HMAC_SHA256, &decode(&self.secret, "whsec_").unwrap());
        let public_key = UnparsedPublicKey::new(&ED25519, decode(&self.public_key, "whpk_").unwrap());
        let has = |prefix, verifies: &dyn Fn(&[u8]) -> bool| {
            signature.split(' ').filter_map(|part| decode(part, prefix)).any(|tag| verifies(&tag))
        };
        has("v1,", &|tag| hmac::verify(&secret, signed.as_bytes(), tag).is_ok())
            && has("v1a,", &|tag| public_key.verify(signed.as_bytes(), tag).is_ok())
    }
}
