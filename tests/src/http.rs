//! Raw requests and their replies.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use countersign_proto::problem::ProblemType;
use reqwest::{
    Client, Method, Request, RequestBuilder,
    header::{CONTENT_TYPE, HeaderMap},
    redirect::Policy,
};
use serde_json::Value;

/// Longer than anything here lasts: a held call ends because something happened, not because time is up.
const PATIENCE: Duration = Duration::from_secs(30);

/// An HTTP client at one node of the server. Clones share connections.
#[derive(Debug, Clone)]
pub struct Http {
    base: String,
    client: Client,
    failures: Arc<Mutex<Vec<String>>>,
    ear: Option<Ear>,
}

/// What was said and answered, one exchange after the other.
pub type Ear = Arc<Mutex<Vec<Exchange>>>;

/// A request and its reply.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// The method.
    pub method: Method,
    /// The path, without its query.
    pub path: String,
    /// URL, headers and body of the request.
    pub request: String,
    /// The reply.
    pub reply: Reply,
}

/// A reply as it came.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
}

impl Http {
    pub(crate) fn new(base: String) -> Self {
        let client =
            Client::builder().no_proxy().tls_certs_only([]).redirect(Policy::none()).timeout(PATIENCE).build().unwrap();
        Self { base, client, failures: Arc::default(), ear: None }
    }

    /// The same, overheard by this.
    #[must_use]
    pub fn overheard(&self, ear: &Ear) -> Self {
        Self { ear: Some(Arc::clone(ear)), ..self.clone() }
    }

    /// Scheme, host and port.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// A request without credentials.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    /// A request that was finished, to be sent by [`Self::send`].
    pub fn again(&self, request: Request) -> RequestBuilder {
        RequestBuilder::from_parts(self.client.clone(), request)
    }

    /// Sends it.
    pub async fn send(&self, request: RequestBuilder) -> Reply {
        let request = request.build().expect("a request");
        let (method, path) = (request.method().clone(), request.url().path().to_owned());
        let said = self.ear.as_ref().map(|_| {
            let body = request.body().and_then(|body| body.as_bytes()).unwrap_or_default();
            format!("{} {:?}\n{}", request.url(), request.headers(), String::from_utf8_lossy(body))
        });
        let mut response = self.client.execute(request).await.expect("a reply");
        let status = response.status().as_u16();
        let headers = std::mem::take(response.headers_mut());
        let body = response.bytes().await.expect("a whole reply").to_vec();
        let reply = Reply { status, headers, body };
        if let (Some(ear), Some(request)) = (&self.ear, said) {
            ear.lock().unwrap().push(Exchange { method, path, request, reply: reply.clone() });
        }
        if status == 500 {
            self.failures.lock().unwrap().push(format!("{reply:?}"));
        }
        reply
    }

    /// A GET without credentials.
    pub async fn get(&self, path: &str) -> Reply {
        self.send(self.request(Method::GET, path)).await
    }

    /// Sends a signed artefact as the whole body.
    pub async fn artefact(&self, method: Method, path: &str, token: impl Into<String>) -> Reply {
        let request = self.request(method, path).header(CONTENT_TYPE, "application/jwt");
        self.send(request.body(token.into())).await
    }

    /// Takes the replies 500 so far. A story that provokes one must take it.
    pub fn take_failures(&self) -> Vec<String> {
        std::mem::take(&mut *self.failures.lock().unwrap())
    }
}

impl Reply {
    /// A header, or nothing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The JSON of a reply of this status.
    #[track_caller]
    pub fn ok(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        self.json()
    }

    /// The problem document of this type, checked in all that every problem document must have.
    #[track_caller]
    pub fn problem(&self, slug: &str) -> Value {
        assert!(self.status >= 400, "expected {slug}, got {}: {}", self.status, self.text());
        let document = self.json();
        let kind = document["type"].as_str().unwrap_or_default();
        assert!(kind.ends_with(&format!("/problems/{slug}")), "expected {slug}, got {document}");
        let spec = ProblemType::ALL.iter().map(|kind| kind.spec()).find(|spec| spec.slug == slug);
        let spec = spec.unwrap_or_else(|| panic!("{slug} is not in the closed list of problem types"));
        assert_eq!((self.status, document["status"].as_u64()), (spec.status, Some(u64::from(spec.status))));
        assert_eq!(document["title"], spec.title);
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(self.header("cache-control"), "no-store");
        assert!(!self.header("x-request-id").is_empty());
        assert_eq!(document["request_id"], self.header("x-request-id"));
        assert!(document["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{document}");
        document
    }

    /// The problem `invalid-request`, naming exactly these pointers.
    #[track_caller]
    pub fn invalid(&self, pointers: &[&str]) {
        let document = self.problem("invalid-request");
        let errors = document["errors"].as_array().cloned().unwrap_or_default();
        let named: Vec<_> = errors.iter().map(|error| error["pointer"].as_str().unwrap()).collect();
        assert_eq!(named, pointers, "{document}");
    }
}
