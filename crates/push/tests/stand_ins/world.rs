//! What the tests share: a clock that senders and stand-ins read, credentials for the stand-ins, notifications.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use countersign_core::{
    clock::Clock,
    entropy::Entropy,
    ports::notifications::{LeasedNotification, NotificationKind},
};
use countersign_proto::{ids::Id, push::PushBinding, timestamp::Timestamp, vocabulary::ApnsEnvironment};
use countersign_push::{ApnsSettings, FcmSettings, Outcome, PushSettings, Report, Senders, WebPushSettings};
use countersign_simulator::{
    apns::{self, DeveloperKey},
    fcm,
    stand_in::{self, Common},
    webpush,
};
use zeroize::Zeroizing;

pub(crate) const TOPIC: &str = "org.example.approve";
/// Long enough for a busy machine; a test that reaches it fails.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);
/// The beginning of a slot of provider tokens, and two minutes.
const START_SECONDS: i64 = 600_000 * 3_000 + 120;

/// A clock that a test moves; clones are the same clock.
#[derive(Clone)]
pub(crate) struct Hand(Arc<AtomicI64>);

impl Hand {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicI64::new(START_SECONDS * 1_000)))
    }

    /// The machine's time, as far as a server's `Date` can be compared with it.
    #[expect(clippy::disallowed_methods, reason = "the `Date` of an answer is the machine's")]
    pub(crate) fn of_the_machine() -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        Self(Arc::new(AtomicI64::new(i64::try_from(since.as_millis()).unwrap())))
    }

    pub(crate) fn advance(&self, seconds: i64) {
        self.0.fetch_add(seconds * 1_000, Ordering::SeqCst);
    }

    /// What a stand-in reads, so many seconds ahead.
    pub(crate) fn ahead(&self, seconds: i64) -> stand_in::Clock {
        let millis = Arc::clone(&self.0);
        Arc::new(move || millis.load(Ordering::SeqCst) / 1_000 + seconds)
    }

    pub(crate) fn common(&self) -> Common {
        Common { clock: self.ahead(0), ..Common::default() }
    }
}

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }

    fn sleep_until(&self, _until: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        unreachable!("no sender sleeps")
    }
}

struct Random;

impl Entropy for Random {
    #[expect(clippy::disallowed_methods, reason = "the tests' source of randomness")]
    fn fill(&self, buffer: &mut [u8]) {
        aws_lc_rs::rand::fill(buffer).unwrap();
    }
}

/// Settings without any credential, which trust these authorities and may reach this machine.
pub(crate) fn settings(ca_pem: &[Option<&str>], ports: &[&str]) -> PushSettings {
    let port = |url: &&str| url.rsplit(':').next().unwrap().trim_end_matches('/').parse().unwrap();
    let pem: String = ca_pem.iter().flatten().copied().collect();
    PushSettings {
        apns: Vec::new(),
        fcm: Vec::new(),
        webpush: WebPushSettings {
            vapid_private_key: Zeroizing::new([7; 32]),
            contact: "mailto:admin@example.org".to_owned(),
            additional_ports: ports.iter().map(port).collect(),
            additional_networks: vec!["127.0.0.0/8".parse().unwrap()],
            refused_networks: Vec::new(),
            extra_ca_pem: (!pem.is_empty()).then(|| pem.clone().into_bytes()),
        },
        extra_ca_pem: (!pem.is_empty()).then(|| pem.into_bytes()),
    }
}

pub(crate) fn build(settings: PushSettings, hand: &Hand) -> Arc<Senders> {
    Arc::new(Senders::new(settings, Arc::new(hand.clone()), Arc::new(Random)).unwrap())
}

pub(crate) fn developer_key() -> DeveloperKey {
    DeveloperKey::generate("KEY0000001", "TEAM000001").unwrap()
}

pub(crate) fn apns_settings(name: &str, key: &DeveloperKey, base_url: &str) -> ApnsSettings {
    ApnsSettings {
        name: name.to_owned(),
        key_pem: Zeroizing::new(key.private_pem.clone()),
        key_id: key.key_id.clone(),
        team_id: key.team_id.clone(),
        topic: TOPIC.to_owned(),
        environment: ApnsEnvironment::Sandbox,
        base_url: base_url.to_owned(),
        tenants: None,
    }
}

pub(crate) fn fcm_settings(fcm: &fcm::Handle) -> FcmSettings {
    FcmSettings {
        name: "main".to_owned(),
        service_account_json: Zeroizing::new(fcm.service_account_json()),
        base_url: fcm.base_url().to_owned(),
        tenants: None,
    }
}

/// An APNs and senders with its one key.
pub(crate) struct ApnsRig {
    pub(crate) apns: apns::Handle,
    pub(crate) key: DeveloperKey,
    pub(crate) senders: Arc<Senders>,
    pub(crate) hand: Hand,
}

impl ApnsRig {
    pub(crate) async fn new() -> Self {
        Self::with(|_, _| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut apns::Options, &Hand)) -> Self {
        let (hand, key) = (Hand::new(), developer_key());
        let mut options = apns::Options::new(key.clone(), TOPIC);
        options.common = hand.common();
        change(&mut options, &hand);
        let apns = apns::start(options).await.unwrap();
        let senders = Self::node(&apns, &key, &hand);
        Self { apns, key, senders, hand }
    }

    /// One more node (or the same after a restart).
    pub(crate) fn node(apns: &apns::Handle, key: &DeveloperKey, hand: &Hand) -> Arc<Senders> {
        let mut settings = settings(&[apns.ca_pem()], &[]);
        settings.apns.push(apns_settings("main", key, apns.base_url()));
        build(settings, hand)
    }

    pub(crate) fn push(&self, number: u16) -> LeasedNotification {
        notification(number, NotificationKind::Challenge, apns_device(number), &self.hand)
    }

    pub(crate) async fn send(&self, number: u16) -> Outcome {
        self.senders.send(&self.push(number)).await.outcome
    }
}

/// An FCM and senders with its one account.
pub(crate) struct FcmRig {
    pub(crate) fcm: fcm::Handle,
    pub(crate) senders: Arc<Senders>,
    pub(crate) hand: Hand,
}

impl FcmRig {
    pub(crate) async fn new() -> Self {
        Self::at(Hand::new()).await
    }

    pub(crate) async fn at(hand: Hand) -> Self {
        let options = fcm::Options { common: hand.common(), ..fcm::Options::default() };
        let fcm = fcm::start(options).await.unwrap();
        let mut settings = settings(&[fcm.ca_pem()], &[]);
        settings.fcm.push(fcm_settings(&fcm));
        Self { senders: build(settings, &hand), fcm, hand }
    }

    pub(crate) fn push(&self, number: u16) -> LeasedNotification {
        notification(number, NotificationKind::Challenge, fcm_device(number), &self.hand)
    }

    pub(crate) async fn send(&self, number: u16) -> Outcome {
        self.senders.send(&self.push(number)).await.outcome
    }
}

/// A push service and senders that may reach it.
pub(crate) struct WebRig {
    pub(crate) service: webpush::Handle,
    pub(crate) senders: Arc<Senders>,
    pub(crate) hand: Hand,
}

impl WebRig {
    pub(crate) async fn new() -> Self {
        let hand = Hand::new();
        let service = webpush::start(webpush::Options { common: hand.common() }).await.unwrap();
        let senders = build(settings(&[service.ca_pem()], &[service.base_url()]), &hand);
        Self { service, senders, hand }
    }

    pub(crate) async fn send(&self, number: u16, subscription: &webpush::Subscription) -> Outcome {
        let push = web_device(subscription);
        self.senders.send(&notification(number, NotificationKind::Challenge, push, &self.hand)).await.outcome
    }
}

pub(crate) fn apns_token(number: u16) -> String {
    format!("ab{number:04x}").repeat(11)
}

pub(crate) fn apns_device(number: u16) -> PushBinding {
    PushBinding::Apns { token: apns_token(number), topic: TOPIC.to_owned(), environment: ApnsEnvironment::Sandbox }
}

pub(crate) fn fcm_token(number: u16) -> String {
    format!("token-{number}")
}

pub(crate) fn fcm_device(number: u16) -> PushBinding {
    PushBinding::Fcm { token: fcm_token(number), project: None }
}

pub(crate) fn web_device(subscription: &webpush::Subscription) -> PushBinding {
    PushBinding::Webpush {
        endpoint: subscription.endpoint.clone(),
        p256dh: subscription.p256dh.clone(),
        auth: subscription.auth.clone(),
    }
}

fn id<K>(noun: u8, number: u16) -> Id<K> {
    format!("01890a5d-ac96-774b-bcce-b3020{noun:02x}9{number:04x}").parse().unwrap()
}

/// The `number`th notification, about the `number`th challenge: leased for 10 s and worth sending for two minutes.
pub(crate) fn notification(number: u16, kind: NotificationKind, push: PushBinding, hand: &Hand) -> LeasedNotification {
    let now = hand.now();
    LeasedNotification {
        id: id(1, number),
        tenant_id: id(2, 0),
        kind,
        device_id: id(3, number),
        challenge_id: matches!(kind, NotificationKind::Challenge | NotificationKind::Withdrawn).then(|| id(4, number)),
        push,
        push_updated_at: now.plus_seconds(-3_600),
        was_undeliverable: false,
        attempts: 0,
        expires_at: now.plus_seconds(120),
        lease: id(5, number),
        leased_until: now.plus_seconds(10),
    }
}

/// Sends all of them at once.
pub(crate) async fn send_all(
    senders: &Arc<Senders>,
    notifications: impl IntoIterator<Item = LeasedNotification>,
) -> Vec<Report> {
    let mut tasks = Vec::new();
    for notification in notifications {
        let senders = Arc::clone(senders);
        tasks.push(tokio::spawn(async move { senders.send(&notification).await }));
    }
    let mut reports = Vec::new();
    for task in tasks {
        reports.push(task.await.unwrap());
    }
    reports
}

pub(crate) fn count_accepted(reports: &[Report]) -> usize {
    reports.iter().filter(|report| report.outcome == Outcome::Accepted).count()
}

/// The outcome's kind and reason in a word: `accepted`, `retry busy`, `gone unregistered 410`.
pub(crate) fn word(outcome: Outcome) -> String {
    match outcome {
        Outcome::Accepted => "accepted".to_owned(),
        Outcome::Retry { reason, .. } => format!("retry {reason}"),
        Outcome::NotTried { reason, .. } => format!("untried {reason}"),
        Outcome::TokenGone(reason) => format!("gone {reason}"),
        Outcome::Undeliverable(reason) => format!("undeliverable {reason}"),
        Outcome::Rejected(reason) => format!("rejected {reason}"),
    }
}
