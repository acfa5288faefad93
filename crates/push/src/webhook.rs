//! Webhooks: a signed message in, a verdict out (protocol 13).
//!
//! The address comes from an organisation's administrator: every connect is under the address rule, https only, redirects
//! are not followed, and of an answer hardly anything is read. A URL may hold a secret: it is never logged, and no fault
//! repeats it. Signs nothing, knows no event, never touches the database, and never decides when to try again.
//!
//! To understand one more answer: its arm in [`verdict`].

use std::{sync::Arc, time::Duration};

use countersign_core::clock::Clock;
use countersign_proto::ids::TenantId;
use ipnet::IpNet;
use reqwest::{
    Client, Method, Request, Response, Url,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};

use crate::{
    address::{AddressRule, Askers, GuardedResolver, Refusal, Resolver, SystemResolver},
    settings::SettingsError,
    transport::{self, Fault, retry_after_millis},
};

/// A connection takes at most so long.
const CONNECT: Duration = Duration::from_secs(5);
/// The longest that a message may take in all.
pub const WHOLE: Duration = Duration::from_secs(15);
/// How long a connection is kept for the next message.
const IDLE: Duration = Duration::from_secs(10);
/// A short answer is read to its end, so that its connection can be used again.
const MAX_BODY_BYTES: usize = 4 * 1024;
/// But not for long.
const BODY: Duration = Duration::from_secs(1);

const ID: HeaderName = HeaderName::from_static("webhook-id");
const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// Where webhooks may be.
#[derive(Debug, Clone, Default)]
pub struct WebhookSettings {
    /// Ports besides 443.
    pub additional_ports: Vec<u16>,
    /// Networks that may be connected to although they are not global unicast.
    pub additional_networks: Vec<IpNet>,
    /// Networks that are never connected to, whatever else allows them.
    pub refused_networks: Vec<IpNet>,
    /// Certificates (PEM) to trust besides the system's.
    pub extra_ca_pem: Option<Vec<u8>>,
}

/// A message, ready to be sent. Not printable: all of it is the organisation's.
pub struct WebhookMessage {
    /// Whose: one organisation's slow names keep no other waiting.
    pub tenant_id: TenantId,
    /// Where.
    pub url: String,
    /// `webhook-id`.
    pub id: String,
    /// `webhook-timestamp`: unix seconds of this attempt.
    pub timestamp: i64,
    /// `webhook-signature`.
    pub signature: String,
    /// The body, byte for byte as it was signed.
    pub body: Vec<u8>,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebhookOutcome {
    /// 2xx: it arrived.
    Delivered,
    /// 410: nobody wants to be told there any more.
    Gone,
    /// Anything else.
    Failed {
        /// What the address asked for, in milliseconds from now.
        retry_after_millis: Option<i64>,
        /// Why, in our words.
        reason: &'static str,
        /// Whether it was asked at all; not if this node had no room to look its name up.
        was_asked: bool,
    },
}

/// What became of a message, and what the address answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WebhookReport {
    /// What became of it.
    pub outcome: WebhookOutcome,
    /// The status, if there was an answer.
    pub status_code: Option<u16>,
}

impl WebhookReport {
    const fn failed(reason: &'static str) -> Self {
        let outcome = WebhookOutcome::Failed { retry_after_millis: None, reason, was_asked: true };
        Self { outcome, status_code: None }
    }
}

/// The sender.
pub struct WebhookSender {
    rule: Arc<AddressRule>,
    /// `None`: this system has no certificates to trust.
    client: Option<Client>,
    askers: Askers,
    clock: Arc<dyn Clock>,
}

impl WebhookSender {
    /// A sender that asks the system for addresses.
    ///
    /// # Errors
    /// [`SettingsError`]: the extra certificates are none.
    pub fn new(settings: WebhookSettings, clock: Arc<dyn Clock>) -> Result<Self, SettingsError> {
        let askers = Askers::default();
        let resolver = Arc::new(SystemResolver::shared(askers.clone()));
        Self::with_resolver(settings, resolver, askers, clock)
    }

    fn with_resolver(
        settings: WebhookSettings,
        resolver: Arc<dyn Resolver>,
        askers: Askers,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, SettingsError> {
        let WebhookSettings { additional_ports, additional_networks, refused_networks, extra_ca_pem } = settings;
        let certificates = transport::certificates("webhooks.extra_ca_file", extra_ca_pem.as_deref())?;
        let rule = Arc::new(AddressRule { additional_ports, additional_networks, refused_networks });
        let builder = transport::builder()
            .https_only(true)
            .connect_timeout(CONNECT)
            .pool_max_idle_per_host(2)
            .pool_idle_timeout(IDLE)
            .http2_keep_alive_while_idle(false)
            .dns_resolver(GuardedResolver::new(resolver, Arc::clone(&rule)));
        // Without certificates nothing can be sent, and each attempt says so; the server runs all the same.
        let client = transport::build(builder, &certificates).ok();
        Ok(Self { rule, client, askers, clock })
    }

    /// The URL as it will be asked for, if it may be, as far as it shows by itself. A name is judged at each connect.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn check(&self, url: &str) -> Result<String, Refusal> {
        let checked = self.rule.check(url)?;
        // What is behind `#` is never sent: whoever wrote it meant something else.
        if checked.fragment().is_some() { Err(Refusal::NotAUrl) } else { Ok(checked.to_string()) }
    }

    /// Sends a message, for at most `limit`.
    pub async fn send(&self, message: WebhookMessage, limit: Duration) -> WebhookReport {
        let Ok(url) = self.rule.check(&message.url) else { return WebhookReport::failed("address-forbidden") };
        let Some(client) = &self.client else { return WebhookReport::failed("no-certificates") };
        let host = url.host_str().unwrap_or_default().to_owned();
        let tenant_id = message.tenant_id;
        let Some(request) = request(message, url) else { return WebhookReport::failed("bad-path") };
        let _asker = self.askers.begin(&host, tenant_id);
        let answered = async {
            let response = client.execute(request).await.map_err(|error| Fault::of(&error))?;
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            read(response).await;
            Ok((status, headers))
        };
        match transport::within(limit.min(WHOLE), answered).await {
            Ok((status, headers)) => {
                let outcome = verdict(status, &headers, self.clock.as_ref());
                WebhookReport { outcome, status_code: Some(status) }
            }
            Err(fault) => {
                tracing::debug!(webhook.reason = %fault.reason, "a webhook did not answer");
                // Why there was no connection would tell what our network looks like.
                let code = fault.veiled().reason.code;
                let was_asked = code != "busy";
                let outcome = WebhookOutcome::Failed { retry_after_millis: None, reason: code, was_asked };
                WebhookReport { outcome, status_code: None }
            }
        }
    }
}

fn request(message: WebhookMessage, url: Url) -> Option<Request> {
    let mut request = Request::new(Method::POST, url);
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ID, HeaderValue::from_str(&message.id).ok()?);
    headers.insert(TIMESTAMP, HeaderValue::from(message.timestamp));
    headers.insert(SIGNATURE, HeaderValue::from_str(&message.signature).ok()?);
    *request.body_mut() = Some(message.body.into());
    Some(request)
}

/// Takes what an answer has, up to a bound, and throws it away. Dropping the response ends the rest.
async fn read(mut response: Response) {
    let mut room = MAX_BODY_BYTES;
    // The status is known: what the body does is of no account.
    let _cut = tokio::time::timeout(BODY, async {
        while let Ok(Some(chunk)) = response.chunk().await {
            match room.checked_sub(chunk.len()) {
                Some(left) => room = left,
                None => return,
            }
        }
    })
    .await;
}

/// What an answer means. A redirect is none: a message goes where an administrator said, and nowhere else.
pub(crate) fn verdict(status: u16, headers: &HeaderMap, clock: &dyn Clock) -> WebhookOutcome {
    match status {
        200..=299 => WebhookOutcome::Delivered,
        410 => WebhookOutcome::Gone,
        _ => WebhookOutcome::Failed {
            retry_after_millis: retry_after_millis(headers, clock.now()),
            reason: "unexpected-status",
            was_asked: true,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::{io, net::IpAddr};

    use async_trait::async_trait;

    use super::*;
    use crate::testing::TestClock;

    /// Every name leads to this address.
    struct Leads(IpAddr);

    #[async_trait]
    impl Resolver for Leads {
        async fn resolve(&self, _name: &str) -> io::Result<Vec<IpAddr>> {
            Ok(vec![self.0])
        }
    }

    fn sender(address: &str) -> WebhookSender {
        let resolver = Arc::new(Leads(address.parse().unwrap()));
        let clock = Arc::new(TestClock::default());
        WebhookSender::with_resolver(WebhookSettings::default(), resolver, Askers::default(), clock).unwrap()
    }

    fn message(url: &str) -> WebhookMessage {
        WebhookMessage {
            tenant_id: "01890a5d-ac96-774b-bcce-000000000001".parse().unwrap(),
            url: url.to_owned(),
            id: "01890a5d-ac96-774b-bcce-b302099a8057".to_owned(),
            timestamp: 1_800_000_000,
            signature: "v1,AAAA".to_owned(),
            body: b"{}".to_vec(),
        }
    }

    #[test]
    fn a_url_is_https_on_port_443_of_a_public_host_without_a_user_or_a_fragment() {
        let sender = sender("203.0.113.1");
        for url in [
            "http://hooks.example/a",
            "ftp://hooks.example/a",
            "https://hooks.example:8443/a",
            "https://user@hooks.example/a",
            "https://user:word@hooks.example/a",
            "https://hooks.example/a#part",
            "https://127.0.0.1/",
            "https://0x7f.1/",
            "https://2130706433/",
            "https://[::1]/",
            "https://[::ffff:169.254.169.254]/",
            "https://10.0.0.1/",
            "https://192.168.1.1/",
            "https://169.254.169.254/latest/meta-data",
            "https://100.64.0.1/",
            "https://[fd00::1]/",
            "https://[64:ff9b::a00:1]/",
            "//hooks.example/a",
            "hooks.example",
            "",
        ] {
            assert!(sender.check(url).is_err(), "{url}");
        }
        assert_eq!(
            sender.check("https://HOOKS.example:443/a?token=b"),
            Ok("https://hooks.example/a?token=b".to_owned())
        );
    }

    #[tokio::test]
    async fn a_name_that_leads_into_a_private_network_is_not_connected_to() {
        for address in ["127.0.0.1", "10.1.2.3", "169.254.169.254", "::1", "fd00::1", "::ffff:10.0.0.1"] {
            let report = sender(address).send(message("https://rebound.example/a"), WHOLE).await;
            let WebhookOutcome::Failed { reason, .. } = report.outcome else { panic!("{address}: {report:?}") };
            assert!(["address-forbidden", "unreachable"].contains(&reason), "{address}: {reason}");
            assert_eq!(report.status_code, None);
        }
        let literal = sender("203.0.113.1").send(message("https://127.0.0.1/a"), WHOLE).await;
        assert_eq!(literal, WebhookReport::failed("address-forbidden"));
    }

    #[test]
    fn only_2xx_is_an_arrival_and_only_410_an_end() {
        let clock = TestClock::default();
        let judge = |status| verdict(status, &HeaderMap::new(), &clock);
        for status in [200, 201, 202, 204, 299] {
            assert_eq!(judge(status), WebhookOutcome::Delivered, "{status}");
        }
        assert_eq!(judge(410), WebhookOutcome::Gone);
        for status in [100, 301, 302, 307, 400, 401, 404, 409, 429, 500, 502, 503, 504] {
            assert!(matches!(judge(status), WebhookOutcome::Failed { was_asked: true, .. }), "{status}");
        }
    }

    #[test]
    fn an_address_may_ask_for_time() {
        let headers = HeaderMap::from_iter([("retry-after".parse().unwrap(), HeaderValue::from_static("120"))]);
        let WebhookOutcome::Failed { retry_after_millis, .. } = verdict(429, &headers, &TestClock::default()) else {
            panic!("429 is no arrival");
        };
        assert_eq!(retry_after_millis, Some(120_000));
    }
}
