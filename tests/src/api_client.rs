//! An API client: an identity provider or an admin tool.

use countersign::{
    clock::{Clock as _, SystemClock},
    entropy::SystemEntropy,
};
use countersign_core::entropy::Entropy as _;
use countersign_proto::jose::{Kind, SigningKey, claims::ClientProofClaims, sha256};
use countersign_simulator::{
    Phone,
    phone::{EnrollOptions, EnrollmentUri, Server, Surroundings},
};
use reqwest::{Method, Request, RequestBuilder, header::AUTHORIZATION};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::{Device, Http, Reply};

/// An API client with its key.
#[derive(Debug, Clone)]
pub struct ApiClient {
    /// Its id.
    pub id: String,
    /// Its tenant's id.
    pub tenant_id: String,
    /// Its API key; registered only if it has no `signer`.
    pub key: String,
    /// What it signs its requests with, if it does.
    pub signer: Option<SigningKey>,
    /// Where it sends its requests.
    pub http: Http,
    /// Where its phones register.
    pub phones: Server,
    /// With which clock.
    pub surroundings: Surroundings,
}

impl ApiClient {
    /// The client with this id and key at a server in another process, which lives by the machine's clock.
    pub async fn connect(issuer: &str, id: &str, key: &str) -> Self {
        let entropy = SystemEntropy::default();
        Self {
            id: id.to_owned(),
            tenant_id: String::new(),
            key: key.to_owned(),
            signer: None,
            http: Http::new(issuer.to_owned()),
            phones: Server::discover(issuer).await.unwrap(),
            surroundings: Surroundings::new(|| SystemClock.now(), move |buffer: &mut [u8]| entropy.fill(buffer)),
        }
    }

    /// Raw requests, without its key.
    pub fn http(&self) -> &Http {
        &self.http
    }

    /// Where its phones register, and with which clock.
    pub fn phones(&self) -> (&Server, &Surroundings) {
        (&self.phones, &self.surroundings)
    }

    /// The same client, speaking to another node.
    #[must_use]
    pub fn at(&self, http: &Http) -> Self {
        Self { http: http.clone(), ..self.clone() }
    }

    /// A request with its key, or to be signed when it is sent.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, path);
        match self.signer {
            Some(_) => request,
            None => request.header(AUTHORIZATION, format!("Bearer {}", self.key)),
        }
    }

    /// Sends it.
    pub async fn send(&self, request: RequestBuilder) -> Reply {
        let Some(signer) = &self.signer else { return self.http.send(request).await };
        let mut request = request.build().unwrap();
        let claims = self.proof_claims(&request);
        let proof = signer.sign(Kind::ClientProof, &claims).unwrap();
        request.headers_mut().insert(AUTHORIZATION, format!("ClientProof {proof}").parse().unwrap());
        self.http.send(self.http.again(request)).await
    }

    /// What a proof for this request says.
    pub fn proof_claims(&self, request: &Request) -> ClientProofClaims {
        let body = request.body().and_then(|body| body.as_bytes()).unwrap_or_default();
        let issuer = self.phones.issuer();
        ClientProofClaims {
            iss: self.id.clone(),
            aud: issuer.to_owned(),
            iat: self.surroundings.clock.now().as_seconds(),
            jti: self.surroundings.new_jti(),
            htm: request.method().to_string(),
            htu: format!("{issuer}{}", request.url().path()),
            body_sha256: sha256(body),
        }
    }

    /// A GET.
    pub async fn get(&self, path: &str) -> Reply {
        self.send(self.request(Method::GET, path)).await
    }

    /// A GET that the server may hold, sent at once. See [`crate::TestApp::until_held`].
    pub fn hold(&self, path: &str) -> JoinHandle<Reply> {
        let (client, path) = (self.clone(), path.to_owned());
        tokio::spawn(async move { client.get(&path).await })
    }

    /// A POST of JSON.
    pub async fn post(&self, path: &str, body: Value) -> Reply {
        self.send(self.request(Method::POST, path).json(&body)).await
    }

    /// A PUT of JSON.
    pub async fn put(&self, path: &str, body: Value) -> Reply {
        self.send(self.request(Method::PUT, path).json(&body)).await
    }

    /// A PATCH of JSON.
    pub async fn patch(&self, path: &str, body: Value) -> Reply {
        self.send(self.request(Method::PATCH, path).json(&body)).await
    }

    /// A POST without a body.
    pub async fn post_empty(&self, path: &str) -> Reply {
        self.send(self.request(Method::POST, path)).await
    }

    /// A DELETE.
    pub async fn delete(&self, path: &str) -> Reply {
        self.send(self.request(Method::DELETE, path)).await
    }

    /// A challenge that is created: the 201's body.
    pub async fn create_challenge(&self, body: Value) -> Value {
        self.post("/v1/challenges", body).await.ok(201)
    }

    /// A challenge for this user, by the defaults.
    pub async fn challenge(&self, external_id: &str) -> Value {
        self.create_challenge(json!({"user": {"external_id": external_id}})).await
    }

    /// A challenge for this user in mode `none`.
    pub async fn plain_challenge(&self, external_id: &str) -> Value {
        let body = json!({"user": {"external_id": external_id}, "verification": {"mode": "none"}});
        self.create_challenge(body).await
    }

    /// The challenge, as it is now.
    pub async fn show(&self, challenge: &Value) -> Value {
        self.get(&path_of(challenge)).await.ok(200)
    }

    /// An enrollment that is created: the 201's body.
    pub async fn create_enrollment(&self, body: Value) -> Value {
        self.post("/v1/enrollments", body).await.ok(201)
    }

    /// A phone that scans the enrollment and registers; with a confirmation code it is not active yet.
    pub async fn claim(&self, enrollment: &Value, options: EnrollOptions) -> Device {
        let uri = EnrollmentUri::parse(text(enrollment, "enrollment_uri")).unwrap();
        let phone = Phone::enroll_at(self.phones.clone(), uri.ticket(), options, self.surroundings.clone());
        Device::new(phone.await.unwrap(), self.http.clone())
    }

    /// Types the code that the phone shows into the page that began the enrollment.
    pub async fn confirm(&self, enrollment: &Value, code: &str) -> Reply {
        self.post(&format!("/v1/enrollments/{}/confirmation", text(enrollment, "id")), json!({"code": code})).await
    }

    /// An active device of this user, enrolled with a confirmation code.
    pub async fn enroll(&self, external_id: &str) -> Device {
        self.enroll_with(external_id, EnrollOptions::named("Phone")).await
    }

    /// The same with other keys, names or push.
    pub async fn enroll_with(&self, external_id: &str, options: EnrollOptions) -> Device {
        let enrollment = self.create_enrollment(json!({"user": {"external_id": external_id}})).await;
        let device = self.claim(&enrollment, options).await;
        let code = device.registration().confirmation_code.clone().unwrap();
        assert_eq!(self.confirm(&enrollment, &code).await.ok(200)["status"], "completed");
        device
    }
}

/// The path of a challenge that a reply shows.
pub fn path_of(challenge: &Value) -> String {
    format!("/v1/challenges/{}", text(challenge, "id"))
}

/// A member that is text.
#[track_caller]
pub fn text<'v>(value: &'v Value, member: &str) -> &'v str {
    value[member].as_str().unwrap_or_else(|| panic!("no text {member} in {value}"))
}
