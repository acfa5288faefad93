//! What a phone signs, and everything that is not quite it: one kind per endpoint, the strict header, the claims.
//!
//! [`Stage`] sets up one device with something to answer; each test breaks one thing and sees that nothing changed.

mod claims;
mod headers;
mod kinds;
mod order;
mod repeats;

use countersign_proto::jose::Kind;
use countersign_simulator::phone::EnrollOptions;
use countersign_tests::{ApiClient, Device, Reply, TestApp, path_of, text};
use serde_json::{Value, json};

/// One active device with one challenge to answer.
pub(crate) struct Stage {
    pub(crate) idp: ApiClient,
    pub(crate) phone: Device,
    pub(crate) challenge: Value,
    /// The challenge's exact JWS.
    pub(crate) shown: String,
}

impl Stage {
    /// In mode `none`.
    pub(crate) async fn plain(app: &TestApp) -> Self {
        Self::new(app, json!({"verification": {"mode": "none"}})).await
    }

    /// In mode `enter`.
    pub(crate) async fn with_number(app: &TestApp) -> Self {
        Self::new(app, json!({})).await
    }

    /// With these members of the request for a challenge.
    pub(crate) async fn new(app: &TestApp, members: Value) -> Self {
        let idp = app.admin().await;
        let phone = idp.enroll_with("ada", EnrollOptions::named("Phone").with_uv_key()).await;
        let mut body = json!({"user": {"external_id": "ada"}, "ttl_seconds": 600});
        body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        let challenge = idp.create_challenge(body).await;
        let shown = phone.only_pending().await.text().to_owned();
        Self { idp, phone, challenge, shown }
    }

    pub(crate) fn id(&self) -> &str {
        text(&self.challenge, "id")
    }

    /// The right number, and one that is not.
    pub(crate) fn numbers(&self) -> (&str, &str) {
        let right = text(&self.challenge, "number");
        (right, if right == "000000" { "000001" } else { "000000" })
    }

    /// The claims of an approval, with further members that may replace its own.
    pub(crate) fn approval(&self, further: Value) -> Value {
        let mut claims = self.phone.claims_with(json!({"sub": self.id(), "decision": "approve", "proofs": [],
            "challenge_sha256": countersign_proto::jose::sha256(&self.shown)}));
        claims.as_object_mut().unwrap().extend(further.as_object().unwrap().clone());
        claims
    }

    /// Signs these claims and sends them as the response.
    pub(crate) async fn respond(&self, claims: &Value) -> Reply {
        self.phone.respond_claims(self.id(), claims).await
    }

    /// The challenge waits as before, and no failure was counted.
    pub(crate) async fn untouched(&self) {
        assert_eq!(self.idp.get(&path_of(&self.challenge)).await.ok(200)["status"], "pending");
        assert_eq!(self.failures().await, 0);
    }

    pub(crate) async fn failures(&self) -> u64 {
        let user = self.idp.get("/v1/users?external_id=ada").await.ok(200);
        user["items"][0]["consecutive_failures"].as_u64().unwrap()
    }

    pub(crate) async fn status(&self) -> String {
        text(&self.idp.get(&path_of(&self.challenge)).await.ok(200), "status").to_owned()
    }
}

/// Where a device sends what it signs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Endpoint {
    Registrations,
    Read,
    Push,
    Response,
    Key,
    Deregistration,
}

impl Endpoint {
    /// In an order in which each can still be accepted after those before it.
    pub(crate) const ALL: [Self; 6] =
        [Self::Registrations, Self::Read, Self::Push, Self::Response, Self::Key, Self::Deregistration];

    /// The one kind that it takes.
    pub(crate) const fn kind(self) -> Kind {
        match self {
            Self::Registrations => Kind::Registration,
            Self::Read => Kind::Proof,
            Self::Push => Kind::PushUpdate,
            Self::Response => Kind::Response,
            Self::Key => Kind::KeyRotation,
            Self::Deregistration => Kind::Deregistration,
        }
    }

    pub(crate) async fn send(self, app: &TestApp, challenge_id: &str, token: &str) -> Reply {
        let response = format!("/v1/device/challenges/{challenge_id}/response");
        let (method, path) = match self {
            Self::Read => {
                let request = app.http.request(reqwest::Method::GET, "/v1/device");
                return app.http.send(request.header("authorization", format!("DeviceProof {token}"))).await;
            }
            Self::Registrations => (reqwest::Method::POST, "/v1/device/registrations"),
            Self::Push => (reqwest::Method::PUT, "/v1/device/push"),
            Self::Response => (reqwest::Method::POST, response.as_str()),
            Self::Key => (reqwest::Method::POST, "/v1/device/key"),
            Self::Deregistration => (reqwest::Method::POST, "/v1/device/deregistration"),
        };
        app.http.artefact(method, path, token).await
    }
}
