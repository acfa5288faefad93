//! The other client of the demo: a sign-in page that asks over HTTP, and waits.

use countersign_proto::{
    api::{
        Page,
        challenges::{Challenge, ChallengeCreated, CreateChallenge, RequestedVerification},
        devices::Device,
        enrollments::{ConfirmEnrollment, CreateEnrollment, Enrollment, EnrollmentCreated},
        events::Event,
        users::{NewUser, UserReference},
    },
    ids::{ApiClientId, ChallengeId, DeviceId, EnrollmentId},
    jose::claims::ChallengeContext,
    problem::Problem,
    vocabulary::VerificationMode,
};
use reqwest::{Client, Method};
use serde::{Serialize, de::DeserializeOwned};

/// Who signs in.
pub(super) const EXTERNAL_ID: &str = "ada";
const DISPLAY_NAME: &str = "Ada Lovelace";

/// A sign-in page with its API key; cloning shares the connections.
#[derive(Clone)]
pub(super) struct IdentityProvider {
    http: Client,
    issuer: String,
    api_key: String,
    id: Option<ApiClientId>,
}

/// Why a call brought nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    /// No reply.
    #[error("no reply: {0}")]
    Http(#[from] reqwest::Error),
    /// The server refused and said why.
    #[error("{} {}: {}", .0.status, .0.slug(), .0.detail)]
    Problem(Box<Problem>),
    /// A reply of another form than the protocol's.
    #[error("status {status}, and a body of another form")]
    Form {
        /// The HTTP status.
        status: u16,
    },
}

impl CallError {
    /// Whether it is the problem with this slug.
    pub(super) fn is_problem(&self, slug: &str) -> bool {
        matches!(self, Self::Problem(problem) if problem.slug() == slug)
    }
}

impl IdentityProvider {
    pub(super) fn new(issuer: &str, api_key: String) -> Result<Self, CallError> {
        let http = Client::builder().no_proxy().timeout(std::time::Duration::from_secs(60));
        // Loopback in plain HTTP: no search for certificates that this machine may not have.
        let http = if issuer.starts_with("https://") { http } else { http.tls_certs_only([]) };
        Ok(Self { http: http.build()?, issuer: issuer.to_owned(), api_key, id: None })
    }

    pub(super) fn with_id(self, id: ApiClientId) -> Self {
        Self { id: Some(id), ..self }
    }

    /// Its id at the server, as results name it.
    pub(super) fn id(&self) -> String {
        self.id.map(|id| id.to_string()).unwrap_or_default()
    }

    /// The server.
    pub(super) fn issuer(&self) -> &str {
        &self.issuer
    }

    pub(super) async fn is_ready(&self) -> Result<bool, CallError> {
        Ok(self.http.get(format!("{}/readyz", self.issuer)).send().await?.status() == 200)
    }

    pub(super) async fn invite(&self) -> Result<EnrollmentCreated, CallError> {
        let user = NewUser { external_id: EXTERNAL_ID.to_owned(), display_name: Some(DISPLAY_NAME.to_owned()) };
        let request = CreateEnrollment {
            user,
            confirmation: None,
            ttl_seconds: None,
            purpose: None,
            qr: None,
            approval: None,
            override_reason: None,
        };
        self.send(Method::POST, "/v1/enrollments", &request).await
    }

    pub(super) async fn confirm(&self, id: EnrollmentId, code: &str) -> Result<Enrollment, CallError> {
        let request = ConfirmEnrollment { code: code.to_owned() };
        self.send(Method::POST, &format!("/v1/enrollments/{id}/confirmation"), &request).await
    }

    /// Asks for approval of a sign-in from somewhere.
    pub(super) async fn ask(&self, location: &str, ip: &str) -> Result<ChallengeCreated, CallError> {
        let context = ChallengeContext {
            ip: Some(ip.to_owned()),
            user_agent: Some("Firefox on Linux".to_owned()),
            location: Some(location.to_owned()),
            device: None,
        };
        let request = CreateChallenge {
            user: UserReference { external_id: EXTERNAL_ID.to_owned() },
            application: Some("VPN".to_owned()),
            action: None,
            message: None,
            context: Some(context),
            details: None,
            client_reference: None,
            ttl_seconds: None,
            device_ids: None,
            push: None,
            verification: Some(RequestedVerification { mode: VerificationMode::Enter, digits: Some(6) }),
            user_verification: None,
            risk: None,
        };
        self.send(Method::POST, "/v1/challenges", &request).await
    }

    /// Waits for the end of a challenge: one call, which the server holds.
    pub(super) async fn wait(&self, id: ChallengeId) -> Result<Challenge, CallError> {
        self.get(&format!("/v1/challenges/{id}?wait=50")).await
    }

    pub(super) async fn with_evidence(&self, id: ChallengeId) -> Result<Challenge, CallError> {
        self.get(&format!("/v1/challenges/{id}?include=evidence")).await
    }

    pub(super) async fn revoke(&self, id: DeviceId) -> Result<Device, CallError> {
        self.send(Method::DELETE, &format!("/v1/devices/{id}?reason=lost"), &()).await
    }

    pub(super) async fn events(&self) -> Result<Page<Event>, CallError> {
        self.get("/v1/events?limit=200").await
    }

    /// The server's public keys, as bytes to be kept.
    pub(super) async fn jwks(&self) -> Result<Vec<u8>, CallError> {
        let reply = self.http.get(format!("{}/.well-known/jwks.json", self.issuer)).send().await?;
        Ok(reply.error_for_status()?.bytes().await?.to_vec())
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, CallError> {
        self.send(Method::GET, path, &()).await
    }

    async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, CallError> {
        let has_body = method == Method::POST;
        let request = self.http.request(method, format!("{}{path}", self.issuer)).bearer_auth(&self.api_key);
        let request = if has_body { request.json(body) } else { request };
        let reply = request.send().await?;
        let status = reply.status();
        let bytes = reply.bytes().await?;
        let form = |_| CallError::Form { status: status.as_u16() };
        if status.is_success() {
            return serde_json::from_slice(&bytes).map_err(form);
        }
        Err(CallError::Problem(serde_json::from_slice(&bytes).map_err(form)?))
    }
}
