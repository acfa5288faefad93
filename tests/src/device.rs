//! The simulator's phone, and what tests add to it.

use std::ops::Deref;

use countersign_proto::jose::Kind;
use countersign_simulator::{
    Phone,
    phone::{Replace, VerifiedChallenge},
};
use reqwest::{Method, header::AUTHORIZATION};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{Http, Reply};

/// A registered phone. All that [`Phone`] can do, it can.
#[derive(Debug, Clone)]
pub struct Device {
    phone: Phone,
    http: Http,
}

impl Deref for Device {
    type Target = Phone;

    fn deref(&self) -> &Phone {
        &self.phone
    }
}

impl Device {
    /// From a phone, so that its raw requests go through `http`.
    pub fn new(phone: Phone, http: Http) -> Self {
        Self { phone, http }
    }

    /// The same phone, speaking to another node in its raw requests.
    #[must_use]
    pub fn at(&self, http: &Http) -> Self {
        Self { phone: self.phone.clone(), http: http.clone() }
    }

    /// The same phone with new keys; the old ones are dead.
    pub async fn rotated(&self, replace: Replace) -> Self {
        let rotation = self.prepare_rotation(replace).unwrap();
        Self { phone: self.rotate(&rotation).await.unwrap(), http: self.http.clone() }
    }

    /// Posts a rotation: any token.
    pub async fn rotate_with(&self, token: &str) -> Reply {
        self.http.artefact(Method::POST, "/v1/device/key", token).await
    }

    /// Where its raw requests go.
    pub fn http(&self) -> &Http {
        &self.http
    }

    /// Its id, as text.
    pub fn device_id(&self) -> String {
        self.id().to_string()
    }

    /// What waits for an answer, verified, oldest first.
    pub async fn all_pending(&self) -> Vec<VerifiedChallenge> {
        let set = self.pending(0, None).await.unwrap().unwrap();
        let mut all = Vec::new();
        for pending in &set.challenges {
            all.push(self.verify(pending).await.unwrap());
        }
        all
    }

    /// The one challenge that waits for an answer, verified.
    pub async fn only_pending(&self) -> VerifiedChallenge {
        let mut all = self.all_pending().await;
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }

    /// This challenge, which waits for an answer, verified.
    pub async fn pending_of(&self, challenge: &Value) -> VerifiedChallenge {
        let id = challenge["id"].as_str().unwrap().parse().unwrap();
        let pending = self.challenge(id).await.unwrap();
        self.verify(&pending).await.unwrap()
    }

    /// The claims of any artefact of this device but those of its kind: `iss aud iat jti`.
    pub fn claims(&self) -> Value {
        let surroundings = self.surroundings();
        json!({"iss": self.device_id(), "aud": self.registration().issuer,
            "iat": surroundings.clock.now().as_seconds(), "jti": surroundings.new_jti()})
    }

    /// The same and further members, which may replace the former.
    pub fn claims_with(&self, further: Value) -> Value {
        let mut claims = self.claims();
        let (Value::Object(all), Value::Object(further)) = (&mut claims, further) else { panic!("not an object") };
        all.extend(further);
        claims
    }

    /// A GET under a fresh proof.
    pub async fn get(&self, path: &str) -> Reply {
        let bare = path.split('?').next().unwrap();
        let url = format!("{}{bare}", self.registration().issuer);
        let request = self.http.request(Method::GET, path).header(AUTHORIZATION, self.proof("GET", &url).unwrap());
        self.http.send(request).await
    }

    /// Sends any token as an artefact.
    pub async fn artefact(&self, method: Method, path: &str, token: &str) -> Reply {
        self.http.artefact(method, path, token).await
    }

    /// Posts a response to a challenge: any token.
    pub async fn respond_with(&self, challenge_id: &str, token: &str) -> Reply {
        let path = format!("/v1/device/challenges/{challenge_id}/response");
        self.http.artefact(Method::POST, &path, token).await
    }

    /// Signs these claims as a response and posts it.
    pub async fn respond_claims(&self, challenge_id: &str, claims: &impl Serialize) -> Reply {
        self.respond_with(challenge_id, &self.sign(Kind::Response, claims).unwrap()).await
    }
}
