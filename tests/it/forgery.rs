//! Who can write the database can make the server fail, not lie: a forged row is refused when used, with an alarm.
//!
//! Each story rewrites rows behind the server's back as an intruder would, and then uses them. The server is not
//! stopped in order at the end: it could not settle what was forged.

mod api_keys;
mod challenges;
mod keys;

use std::sync::Mutex;

use countersign_simulator::phone::EnrollOptions;
use countersign_tests::{ApiClient, Db, Device, Reply, TestApp, path_of, text};
use metrics::{
    Counter, Gauge, Histogram, Key, KeyName, LocalRecorderGuard, Metadata, Recorder, SharedString, Unit,
    set_default_local_recorder,
};
use serde_json::{Value, json};

/// The alarms that were raised in this test: its one thread runs the server too.
#[derive(Default)]
pub(crate) struct Alarms(Mutex<Vec<String>>);

impl Alarms {
    fn listen(&self) -> LocalRecorderGuard<'_> {
        set_default_local_recorder(self)
    }

    /// The alarms since the last call.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl Recorder for Alarms {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        if key.name() == "countersign_alarms_total" {
            let what = key.labels().find(|label| label.key() == "what").unwrap();
            self.0.lock().unwrap().push(what.value().to_owned());
        }
        Counter::noop()
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

/// A server whose database an intruder writes.
pub(crate) struct House {
    pub(crate) app: TestApp,
    pub(crate) idp: ApiClient,
}

impl House {
    /// What to send for a challenge of this user.
    fn request(user: &str, mode: &str) -> Value {
        json!({"user": {"external_id": user}, "application": "VPN", "message": "Amount: 12",
            "client_reference": "session-1", "ttl_seconds": 600, "verification": {"mode": mode},
            "user_verification": "required"})
    }

    pub(crate) async fn challenge(&self, user: &str, mode: &str) -> Value {
        self.idp.create_challenge(Self::request(user, mode)).await
    }

    pub(crate) async fn enroll(&self, user: &str) -> Device {
        self.idp.enroll_with(user, EnrollOptions::named("Phone").with_uv_key()).await
    }

    /// Rewrites one row.
    pub(crate) async fn forge(&self, table: &str, id: &str, changes: &str) {
        let sql = format!("UPDATE {table} SET {changes} WHERE id = {}", self.app.database.id(id));
        assert_eq!(self.app.database.tamper(&sql).await, 1, "{sql}");
    }

    pub(crate) async fn forge_challenge(&self, challenge: &Value, changes: &str) {
        self.forge("challenges", text(challenge, "id"), changes).await;
    }

    /// A column of another challenge, to be pasted.
    pub(crate) fn of(&self, column: &str, challenge: &Value) -> String {
        let id = self.app.database.id(text(challenge, "id"));
        format!("{column} = (SELECT other.{column} FROM challenges AS other WHERE other.id = {id})")
    }

    /// Every way to read it fails, says nothing of an approval, and raises the alarm.
    pub(crate) async fn is_disbelieved(&self, alarms: &Alarms, challenge: &Value, by: &ApiClient, alarm: &str) {
        alarms.take();
        let path = path_of(challenge);
        for path in [path.clone(), format!("{path}?include=evidence,deliveries"), "/v1/challenges".to_owned()] {
            let reply = by.get(&path).await;
            reply.problem("internal");
            says_nothing(&reply);
            assert_eq!(alarms.take(), [alarm], "{path}");
        }
        says_nothing(&by.get(&format!("{path}/events")).await);
        assert_eq!(alarms.take(), [alarm]);
        self.app.http.take_failures();
    }
}

/// No status, no token: not in a body, and not in a problem's text.
#[track_caller]
fn says_nothing(reply: &Reply) {
    let said = reply.text();
    assert!(!said.contains("approved") && !said.contains("result_token"), "{said}");
}

/// Runs a story on both databases.
pub(crate) async fn intrusion(story: impl AsyncFn(&House, &Alarms)) {
    for db in [Db::Sqlite, Db::Postgres] {
        let alarms = Alarms::default();
        let _listening = alarms.listen();
        let app = TestApp::start(db).await;
        let idp = app.client("enrollments,challenges,devices:write,devices:read").await;
        story(&House { app, idp }, &alarms).await;
    }
}
