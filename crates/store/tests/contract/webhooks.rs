//! `ports::webhooks` on both databases.

mod replays;
mod work;

use countersign_core::{
    actor::{Actor, Stamp},
    event::EventKind,
    ports::{
        PageRequest, StoreError,
        webhooks::{
            ChallengeState, ChangeWebhook, ChangeWebhookOutcome, ClaimDeliveries, Content, CreateWebhook,
            CreateWebhookOutcome, DeliveryRecord, DeliveryVerdict, FinishDelivery, Health, LeasedDelivery,
            ReplayDeliveries, Share, WebhookRecord, WebhookTarget,
        },
    },
    wake::WakeKey,
    webhook::{
        Attempt, DELIVERED_KEPT_SECONDS, DeliveryStatus, DisabledReason, EventFilter, FAILED_KEPT_SECONDS,
        PreviousSecret, WAITING_KEPT_SECONDS, WebhookStatus,
    },
};
use countersign_proto::{
    ids::{TenantId, WebhookDeliveryId, WebhookId},
    timestamp::Timestamp,
};

use crate::world::{NOW, World};

const LEASE_SECONDS: i64 = 25;

pub(crate) fn target(words: &[&str]) -> WebhookTarget {
    WebhookTarget {
        url: "https://hooks.example/a".to_owned(),
        events: EventFilter::parse(words.iter().copied()).unwrap(),
        secret_id: "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap(),
        previous_secrets: Vec::new(),
        seal: "seal".to_owned(),
    }
}

impl World {
    fn new_webhook(&self, stamp: Stamp, words: &[&str]) -> CreateWebhook {
        CreateWebhook { stamp, id: self.id(), target: target(words), description: None, usual_limit: 10 }
    }

    /// A webhook of the tenant's.
    pub(crate) async fn webhook(&self, words: &[&str]) -> WebhookRecord {
        self.webhook_by(self.stamp(self.client), words).await
    }

    async fn webhook_by(&self, stamp: Stamp, words: &[&str]) -> WebhookRecord {
        match self.store.create_webhook(self.new_webhook(stamp, words)).await.unwrap() {
            CreateWebhookOutcome::Created(record) => record,
            other @ CreateWebhookOutcome::QuotaExceeded { .. } => panic!("{other:?}"),
        }
    }

    async fn deliveries(&self, webhook: &WebhookRecord) -> Vec<DeliveryRecord> {
        self.deliveries_in(webhook, None).await
    }

    async fn deliveries_in(&self, webhook: &WebhookRecord, status: Option<DeliveryStatus>) -> Vec<DeliveryRecord> {
        let page = PageRequest { before: None, limit: 200 };
        self.store.webhook_deliveries(webhook.tenant_id, webhook.id, status, page).await.unwrap()
    }

    /// The kinds of what a webhook is told, in the order of the alphabet.
    async fn told(&self, webhook: &WebhookRecord) -> Vec<&'static str> {
        let deliveries = self.deliveries(webhook).await;
        let mut kinds: Vec<_> = deliveries.iter().map(|it| it.kind.map_or("test", EventKind::as_str)).collect();
        kinds.sort_unstable();
        kinds
    }

    fn claim_messages(&self, webhooks: &[(WebhookId, u32)], now: Timestamp) -> ClaimDeliveries {
        let share = |(webhook_id, most): &(WebhookId, u32)| Share {
            webhook_id: *webhook_id,
            urgent: *most,
            usual: *most,
            all: *most,
        };
        let webhooks = webhooks.iter().map(share).collect();
        ClaimDeliveries { lease: self.id(), now, lease_seconds: LEASE_SECONDS, webhooks }
    }

    async fn lease_messages(&self, webhook: &WebhookRecord, limit: u32, now: Timestamp) -> Vec<LeasedDelivery> {
        let claim = self.claim_messages(&[(webhook.id, limit)], now);
        readable(self.store.claim_webhook_deliveries(claim).await)
    }

    async fn webhook_now(&self, webhook: &WebhookRecord) -> WebhookRecord {
        self.store.webhook(webhook.tenant_id, webhook.id).await.unwrap().unwrap()
    }

    fn system_stamp(&self) -> Stamp {
        self.stamp(Actor::System)
    }

    fn replay_of(&self, webhook: &WebhookRecord, status: DeliveryStatus) -> ReplayDeliveries {
        ReplayDeliveries {
            stamp: self.stamp_at(self.client, NOW.plus_seconds(100)),
            webhook_id: webhook.id,
            from: NOW.plus_seconds(-10),
            to: NOW.plus_seconds(10),
            status,
            limit: 100,
        }
    }
}

/// What was leased, all of it readable.
fn readable(leased: Result<Vec<Result<LeasedDelivery, StoreError>>, StoreError>) -> Vec<LeasedDelivery> {
    leased.unwrap().into_iter().map(Result::unwrap).collect()
}

fn attempt(number: u32) -> Attempt {
    Attempt { number, at: NOW, duration_millis: 12, status_code: Some(200), error: None }
}

fn finished(leased: &LeasedDelivery, verdict: DeliveryVerdict, at: Timestamp) -> FinishDelivery {
    let attempt = attempt(u32::try_from(leased.attempts.len()).unwrap() + 1);
    FinishDelivery { leased: leased.clone(), attempt, verdict, was_sent: true, disable: None, at }
}

fn changed(world: &World, webhook: &WebhookRecord, status: WebhookStatus) -> ChangeWebhook {
    ChangeWebhook {
        stamp: world.stamp(world.client),
        id: webhook.id,
        expected_version: webhook.version,
        target: webhook.target.clone(),
        description: webhook.description.clone(),
        status,
        kind: EventKind::WebhookChanged,
        changed: vec!["enabled"],
    }
}

#[tokio::test]
async fn an_event_is_queued_for_each_webhook_of_its_tenant_that_wants_it() {
    for world in World::each().await {
        let neighbour = world.tenant("neighbour").await;
        let all = world.webhook(&["*"]).await;
        let some = world.webhook(&["device.*", "challenge.created"]).await;
        let one = world.webhook(&["device.added"]).await;
        let stranger = world.webhook_by(world.stamp_in(neighbour), &["*"]).await;
        let phone = world.phone("ada").await;
        let id = world.challenge(&[&phone]).await;
        world.store.close_challenge(world.cancel(phone.user.id, id)).await.unwrap();

        assert_eq!(world.told(&one).await, ["device.added"]);
        assert_eq!(world.told(&some).await, ["challenge.created", "device.added"]);
        assert_eq!(world.told(&stranger).await, ["webhook.created"], "nothing of another tenant's");
        let mut expected: Vec<_> = world.kinds().await.iter().map(|kind| kind.as_str()).collect();
        // What had happened before it was there.
        expected.retain(|kind| !["tenant.created", "api_client.created"].contains(kind));
        assert_eq!(world.told(&all).await, expected);
        let told = world.deliveries(&one).await;
        let events = world.store.events(world.tenant_id, 0, 100).await.unwrap();
        let added = events.iter().find(|event| event.kind == EventKind::DeviceAdded).unwrap();
        assert_eq!(told[0].id.as_uuid(), added.id.as_uuid(), "the message has the event's id");
        assert_eq!((told[0].status, told[0].due_at), (DeliveryStatus::Pending, Some(NOW)));
    }
}

#[tokio::test]
async fn a_command_that_changes_nothing_tells_nothing() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let webhook = world.webhook(&["challenge.*"]).await;
        let id = world.challenge(&[&phone]).await;
        world.store.close_challenge(world.cancel(phone.user.id, id)).await.unwrap();
        world.store.close_challenge(world.cancel(phone.user.id, id)).await.unwrap();
        assert_eq!(world.told(&webhook).await, ["challenge.cancelled", "challenge.created"]);
    }
}

#[tokio::test]
async fn a_disabled_webhook_is_told_nothing_until_it_is_enabled_again() {
    for world in World::each().await {
        let webhook = world.webhook(&["device.*"]).await;
        world.phone("ada").await;
        let disabled = changed(&world, &webhook, WebhookStatus::Disabled(DisabledReason::Client));
        let ChangeWebhookOutcome::Changed(disabled) = world.store.change_webhook(disabled).await.unwrap() else {
            panic!("it is not disabled")
        };
        world.phone("grace").await;
        assert_eq!(world.told(&webhook).await, ["device.added"]);
        assert_eq!(world.store.due_webhooks(NOW, Health::Well, None, 10).await, Ok(vec![]));
        assert_eq!(world.lease_messages(&webhook, 4, NOW).await, []);
        assert_eq!(world.store.oldest_due_webhook_delivery(NOW).await, Ok(None));
        let enabled = changed(&world, &disabled, WebhookStatus::Enabled);
        world.other.change_webhook(enabled).await.unwrap();
        assert_eq!(world.store.oldest_due_webhook_delivery(NOW).await, Ok(Some(NOW)));
        assert_eq!(world.lease_messages(&webhook, 4, NOW).await.len(), 1, "what waited goes on");
    }
}

#[tokio::test]
async fn of_two_changes_of_one_version_one_is_told_so() {
    for world in World::each().await {
        let webhook = world.webhook(&["*"]).await;
        let mut command = changed(&world, &webhook, WebhookStatus::Enabled);
        command.target = WebhookTarget {
            url: "https://other.example/".to_owned(),
            secret_id: world.id(),
            previous_secrets: vec![PreviousSecret { id: webhook.target.secret_id, until: NOW.plus_seconds(60) }],
            ..target(&["user.*"])
        };
        command.description = Some("the other one".to_owned());
        let ChangeWebhookOutcome::Changed(now) = world.store.change_webhook(command.clone()).await.unwrap() else {
            panic!("nothing has changed")
        };
        assert_eq!((&now.target, &now.description), (&command.target, &command.description));
        assert_eq!(world.webhook_now(&webhook).await, now);
        let again = ChangeWebhook { stamp: world.stamp(world.client), ..command.clone() };
        assert_eq!(world.other.change_webhook(again).await, Ok(ChangeWebhookOutcome::Conflict));
        let unknown = ChangeWebhook { id: world.id(), ..command };
        assert_eq!(world.store.change_webhook(unknown).await, Ok(ChangeWebhookOutcome::NotFound));
        assert_eq!(world.count(EventKind::WebhookChanged).await, 1);
    }
}

#[tokio::test]
async fn a_tenant_has_ten_webhooks_or_as_many_as_its_operator_says() {
    for world in World::each().await {
        let mut made = Vec::new();
        for _ in 0..10 {
            made.push(world.webhook(&["user.*"]).await);
        }
        let one_more = || world.new_webhook(world.stamp(world.client), &["*"]);
        let exceeded = |limit| Ok(CreateWebhookOutcome::QuotaExceeded { limit });
        assert_eq!(world.store.create_webhook(one_more()).await, exceeded(10));
        assert!(world.store.delete_webhook(world.stamp(world.client), made[3].id).await.unwrap());
        assert!(!world.other.delete_webhook(world.stamp(world.client), made[3].id).await.unwrap());
        world.webhook(&["*"]).await;
        assert_eq!(world.other.create_webhook(one_more()).await, exceeded(10));
        world.database.tamper("UPDATE tenants SET webhook_quota = 2").await;
        assert_eq!(world.store.create_webhook(one_more()).await, exceeded(2));
        let page = PageRequest { before: None, limit: 200 };
        let listed = world.store.webhooks(world.tenant_id, page).await.unwrap();
        assert_eq!(listed.len(), 10);
        assert!(listed.windows(2).all(|pair| pair[0].id.as_uuid() > pair[1].id.as_uuid()), "newest first");
        assert_eq!(world.count(EventKind::WebhookDeleted).await, 1);
    }
}

#[tokio::test]
async fn another_tenants_webhook_is_not_found() {
    for world in World::each().await {
        let neighbour: TenantId = world.tenant("neighbour").await;
        let webhook = world.webhook(&["*"]).await;
        world.phone("ada").await;
        let message = world.deliveries(&webhook).await[0].id;
        let stamp = || world.stamp_in(neighbour);
        let store = &world.store;
        assert_eq!(store.webhook(neighbour, webhook.id).await, Ok(None));
        assert_eq!(store.webhook_delivery(neighbour, webhook.id, message).await, Ok(None));
        let page = PageRequest { before: None, limit: 10 };
        assert_eq!(store.webhook_deliveries(neighbour, webhook.id, None, page).await, Ok(vec![]));
        assert_eq!(store.delete_webhook(stamp(), webhook.id).await, Ok(false));
        assert_eq!(store.test_webhook(stamp(), webhook.id, world.id()).await, Ok(false));
        assert_eq!(store.replay_webhook_delivery(stamp(), webhook.id, message).await, Ok(false));
        let replay = ReplayDeliveries { stamp: stamp(), ..world.replay_of(&webhook, DeliveryStatus::Delivered) };
        assert_eq!(store.replay_webhook_deliveries(replay).await, Ok(0));
        let change = ChangeWebhook { stamp: stamp(), ..changed(&world, &webhook, WebhookStatus::Enabled) };
        assert_eq!(store.change_webhook(change).await, Ok(ChangeWebhookOutcome::NotFound));
        assert_eq!(world.webhook_now(&webhook).await, webhook);
    }
}

#[tokio::test]
async fn a_revoked_client_changes_no_webhook() {
    for world in World::each().await {
        let webhook = world.webhook(&["*"]).await;
        let Actor::ApiClient { client_id, .. } = world.client else { panic!("no client") };
        world.store.revoke_api_client(world.stamp(Actor::Operator), client_id).await.unwrap();
        let told = world.told(&webhook).await;
        let gone = Err(StoreError::ActorGone);
        let create = world.new_webhook(world.stamp(world.client), &["*"]);
        assert_eq!(world.other.create_webhook(create).await.map(|_| ()), gone.clone());
        let change = changed(&world, &webhook, WebhookStatus::Enabled);
        assert_eq!(world.other.change_webhook(change).await.map(|_| ()), gone.clone());
        assert_eq!(world.other.delete_webhook(world.stamp(world.client), webhook.id).await.map(|_| ()), gone.clone());
        let test = world.other.test_webhook(world.stamp(world.client), webhook.id, world.id());
        assert_eq!(test.await.map(|_| ()), gone);
        assert_eq!(world.told(&webhook).await, told);
    }
}

#[tokio::test]
async fn a_test_is_a_message_without_an_event() {
    for world in World::each().await {
        let webhook = world.webhook(&["user.*"]).await;
        let id: WebhookDeliveryId = world.id();
        assert_eq!(world.store.test_webhook(world.stamp(world.client), webhook.id, id).await, Ok(true));
        let leased = world.lease_messages(&webhook, 4, NOW).await;
        assert_eq!((leased[0].id, &leased[0].content), (id, &Content::Test));
        assert_eq!(world.told(&webhook).await, ["test"]);
    }
}

#[tokio::test]
async fn what_was_kept_for_long_enough_is_forgotten_and_what_is_on_its_way_is_not() {
    for world in World::each().await {
        let webhook = world.webhook(&["device.*"]).await;
        for user in ["ada", "grace", "alan"] {
            world.phone(user).await;
        }
        let leased = world.lease_messages(&webhook, 2, NOW).await;
        let verdicts = vec![
            finished(&leased[0], DeliveryVerdict::Delivered, NOW),
            finished(&leased[1], DeliveryVerdict::Failed, NOW),
        ];
        assert_eq!(world.store.finish_webhook_deliveries(verdicts).await, Ok(2));
        let forget = async |seconds| world.other.forget_webhook_deliveries(NOW.plus_seconds(seconds), 100).await;
        assert_eq!(forget(DELIVERED_KEPT_SECONDS - 1).await, Ok(0));
        assert_eq!(forget(DELIVERED_KEPT_SECONDS).await, Ok(1));
        assert_eq!(forget(FAILED_KEPT_SECONDS - 1).await, Ok(0));
        assert_eq!(forget(FAILED_KEPT_SECONDS).await, Ok(1));
        assert_eq!(forget(WAITING_KEPT_SECONDS - 1).await, Ok(0));
        let late = NOW.plus_seconds(WAITING_KEPT_SECONDS);
        let leased = world.lease_messages(&webhook, 2, late).await;
        assert_eq!(leased.len(), 1);
        assert_eq!(forget(WAITING_KEPT_SECONDS).await, Ok(0), "it is on its way");
        let verdict = finished(&leased[0], DeliveryVerdict::RetryAt(late), late);
        assert_eq!(world.store.finish_webhook_deliveries(vec![verdict]).await, Ok(1));
        assert_eq!(forget(WAITING_KEPT_SECONDS).await, Ok(1));
        assert_eq!(world.deliveries(&webhook).await, []);
    }
}

#[tokio::test]
async fn what_a_dead_sender_left_at_a_disabled_webhook_is_sent_again_by_wish_and_forgotten() {
    for world in World::each().await {
        let webhook = world.webhook(&["device.*"]).await;
        for user in ["ada", "grace"] {
            world.phone(user).await;
        }
        let leased = world.lease_messages(&webhook, 2, NOW).await;
        let disabled = changed(&world, &webhook, WebhookStatus::Disabled(DisabledReason::Client));
        world.store.change_webhook(disabled).await.unwrap();
        let replay = async |seconds| {
            let stamp = world.stamp_at(world.client, NOW.plus_seconds(seconds));
            world.store.replay_webhook_delivery(stamp, webhook.id, leased[0].id).await.unwrap();
            let message = world.store.webhook_delivery(world.tenant_id, webhook.id, leased[0].id).await;
            message.unwrap().unwrap().queued_at
        };
        assert_eq!(replay(LEASE_SECONDS - 1).await, NOW, "it may be on its way");
        assert_eq!(replay(LEASE_SECONDS).await, NOW.plus_seconds(LEASE_SECONDS));
        let late = finished(&leased[0], DeliveryVerdict::Delivered, NOW.plus_seconds(LEASE_SECONDS));
        assert_eq!(world.other.finish_webhook_deliveries(vec![late]).await, Ok(0), "its lease is over");
        let end = NOW.plus_seconds(WAITING_KEPT_SECONDS);
        assert_eq!(
            world.store.forget_webhook_deliveries(end, 100).await,
            Ok(1),
            "the other one, leased by nobody alive"
        );
        let end = end.plus_seconds(LEASE_SECONDS);
        assert_eq!(world.store.forget_webhook_deliveries(end, 100).await, Ok(1));
        assert_eq!(world.deliveries(&webhook).await, []);
    }
}
