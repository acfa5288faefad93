//! Stand-ins of all push providers, and a server that is configured for them.

use std::{sync::Arc, time::Duration};

use countersign::config::{Apns, Fcm, Settings};
use countersign_proto::{push::PushBinding, vocabulary::ApnsEnvironment};
use countersign_simulator::{
    apns, fcm,
    phone::EnrollOptions,
    stand_in::{Certificates, Clock, Common},
    webpush,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{TestApp, TestAppOptions, TestClock};

/// The app whose phones are rung.
pub const TOPIC: &str = "org.example.authenticator";
/// Longer than anything takes that is on its way.
pub const SOON: Duration = Duration::from_secs(20);

/// Stand-ins of all providers, under the test's clock and one certificate authority.
pub struct Providers {
    /// Apple's.
    pub apns: apns::Handle,
    /// Google's.
    pub fcm: fcm::Handle,
    /// A push service.
    pub webpush: webpush::Handle,
    folder: TempDir,
}

/// Runs a story on both databases, with stand-ins of all providers, and finishes each.
pub async fn both_with_providers(story: impl AsyncFn(&TestApp, &Providers)) {
    for db in [crate::Db::Sqlite, crate::Db::Postgres] {
        let clock = TestClock::default();
        let providers = Providers::start(&clock).await;
        let options = TestAppOptions { clock, ..TestAppOptions::new(db) };
        let app = TestApp::start_as(options, |settings| providers.configure(settings)).await;
        story(&app, &providers).await;
        app.finish().await;
        providers.stop().await;
    }
}

impl Providers {
    /// Starts them under the clock of a test.
    pub async fn start(clock: &TestClock) -> Self {
        let clock = clock.clone();
        Self::start_by(Arc::new(move || clock.time().as_seconds())).await
    }

    /// Starts them under a clock that tells unix seconds.
    pub async fn start_by(clock: Clock) -> Self {
        let certificates = Certificates::generate().unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), certificates.ca_pem()).unwrap();
        let common = Common { certificates: Some(certificates), clock, ..Common::default() };
        let key = apns::DeveloperKey::generate("KEY0000001", "TEAM000001").unwrap();
        std::fs::write(folder.path().join("apns.p8"), &key.private_pem).unwrap();
        let options = apns::Options { common: common.clone(), ..apns::Options::new(key, TOPIC) };
        let apns = apns::start(options).await.unwrap();
        let fcm = fcm::start(fcm::Options { common: common.clone(), ..fcm::Options::default() }).await.unwrap();
        std::fs::write(folder.path().join("fcm.json"), fcm.service_account_json()).unwrap();
        let webpush = webpush::start(webpush::Options { common }).await.unwrap();
        Self { apns, fcm, webpush, folder }
    }

    /// Points a server at them.
    pub fn configure(&self, settings: &mut Settings) {
        let push = &mut settings.push;
        push.extra_ca_file = self.file("ca.pem");
        push.webpush.extra_ca_file = self.file("ca.pem");
        push.webpush.additional_networks = vec!["127.0.0.0/8".to_owned()];
        let port = self.webpush.base_url().rsplit(':').next().unwrap();
        push.webpush.additional_ports = vec![port.parse().unwrap()];
        let apns = Apns {
            key_file: self.file("apns.p8"),
            key_id: "KEY0000001".to_owned(),
            team_id: "TEAM000001".to_owned(),
            topic: TOPIC.to_owned(),
            environment: ApnsEnvironment::Production,
            base_url: self.apns.base_url().to_owned(),
            tenants: Vec::new(),
        };
        push.apns.insert("main".to_owned(), apns);
        let fcm = Fcm {
            service_account_file: self.file("fcm.json"),
            base_url: self.fcm.base_url().to_owned(),
            tenants: Vec::new(),
        };
        push.fcm.insert("main".to_owned(), fcm);
    }

    /// The same settings by their names, as a program gets them from its environment.
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        let port = self.webpush.base_url().rsplit(':').next().unwrap();
        let file = |name| self.file(name).display().to_string();
        vec![
            ("push.extra_ca_file", file("ca.pem")),
            ("push.webpush.extra_ca_file", file("ca.pem")),
            ("push.webpush.additional_networks", "[\"127.0.0.0/8\"]".to_owned()),
            ("push.webpush.additional_ports", format!("[{port}]")),
            ("push.apns.main.key_file", file("apns.p8")),
            ("push.apns.main.key_id", "KEY0000001".to_owned()),
            ("push.apns.main.team_id", "TEAM000001".to_owned()),
            ("push.apns.main.topic", TOPIC.to_owned()),
            ("push.apns.main.base_url", self.apns.base_url().to_owned()),
            ("push.fcm.main.service_account_file", file("fcm.json")),
            ("push.fcm.main.base_url", self.fcm.base_url().to_owned()),
        ]
    }

    /// A file of the stand-ins' folder, credentials among them.
    pub fn file(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// The next push of this kind that APNs took for the token; others are passed over.
    pub async fn next_apns(&self, token: &str, kind: &str) -> apns::Push {
        loop {
            let next = self.apns.next(token, SOON).await;
            let push = next.unwrap_or_else(|| panic!("APNs was told no {kind}")).push;
            if push.payload["kind"] == kind {
                return push;
            }
        }
    }

    /// The next push of this kind that FCM took for the token; others are passed over.
    pub async fn next_fcm(&self, token: &str, kind: &str) -> fcm::Push {
        loop {
            let push = self.fcm.next(token, SOON).await.unwrap_or_else(|| panic!("FCM was told no {kind}")).push;
            if push.data["kind"] == kind {
                return push;
            }
        }
    }

    /// The next push of this kind that the browser decrypted; others are passed over.
    pub async fn next_webpush(&self, browser: &webpush::Subscription, kind: &str) -> Value {
        loop {
            let next = self.webpush.next(&browser.id, SOON).await;
            let push = next.unwrap_or_else(|| panic!("the browser was told no {kind}")).push;
            let payload: Value = serde_json::from_str(&push.plain.unwrap()).unwrap();
            if payload["kind"] == kind {
                return payload;
            }
        }
    }

    /// Everything that the providers were told in requests that they took or refused, as text.
    pub fn heard(&self) -> String {
        let apns = self.apns.attempts().into_iter().map(|attempt| format!("{attempt:?}"));
        let fcm = self.fcm.attempts().into_iter().map(|attempt| format!("{attempt:?}"));
        let webpush = self.webpush.attempts().into_iter().map(|attempt| format!("{attempt:?}"));
        apns.chain(fcm).chain(webpush).collect::<Vec<_>>().join("\n")
    }

    /// Ends them.
    pub async fn stop(self) {
        let Self { apns, fcm, webpush, folder } = self;
        apns.stop().await;
        fcm.stop().await;
        webpush.stop().await;
        drop(folder);
    }
}

/// An APNs token of 64 digits that begins with this one.
pub fn apns_token(digit: char) -> String {
    digit.to_string().repeat(64)
}

/// A phone with an APNs token.
pub fn apns_options(token: &str) -> EnrollOptions {
    let binding = json!({"channel": "apns", "token": token, "topic": TOPIC, "environment": "production"});
    with_push("iPhone", binding)
}

/// A phone with an FCM token.
pub fn fcm_options(token: &str) -> EnrollOptions {
    with_push("Android", json!({"channel": "fcm", "token": token}))
}

/// A browser.
pub fn webpush_options(browser: &webpush::Subscription) -> EnrollOptions {
    with_push("Browser", browser.binding())
}

/// A phone with this binding.
pub fn with_push(name: &str, binding: Value) -> EnrollOptions {
    let push: PushBinding = serde_json::from_value(binding).unwrap();
    EnrollOptions { push, ..EnrollOptions::named(name) }
}
