//! What is held on a person, and what happened to one.

use countersign_core::{
    event::EventKind,
    ports::{
        challenges::{CreateOutcome, Idempotency},
        devices::UpdatePush,
        events::EventRecord,
        test_pushes::CreateTestPush,
        users::{Happened, Kept, KeptRow},
    },
    verify::Verdict,
};
use countersign_proto::{
    ids::{EventId, UserId},
    push::PushBinding,
    vocabulary::ChallengeStatus,
};
use serde_json::{Value, json};

use crate::world::{NOW, Phone, World};

const APPROVE: Verdict = Verdict::Approve { with_number: true };

#[tokio::test]
async fn a_timeline_merges_events_and_challenges_in_pages() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let challenge = world.challenge(&[&phone]).await;
        world.phone("bob").await;
        world.store.decide_challenge(world.answer(&phone, challenge, APPROVE)).await.unwrap();
        let (mut before, mut seen) = (None, Vec::new());
        loop {
            let page = world.store.timeline(world.tenant_id, phone.user.id, before, 2).await.unwrap();
            assert!(page.len() <= 2);
            let Some(last) = page.last() else { break };
            before = Some(last.id);
            seen.extend(page);
        }
        assert!(seen.is_sorted_by(|one, other| one.id > other.id));
        let mut kinds: Vec<_> = seen
            .iter()
            .map(|entry| match &entry.what {
                Happened::Event { kind, .. } => kind.as_str(),
                Happened::Challenge { status, device_id, .. } => {
                    assert_eq!((*status, *device_id), (ChallengeStatus::Approved, Some(phone.id)));
                    "a challenge"
                }
            })
            .collect();
        kinds.sort_unstable();
        let wanted =
            ["a challenge", "device.added", "enrollment.claimed", "enrollment.completed", "enrollment.created"];
        assert_eq!(kinds, [&wanted[..], &["user.created"]].concat());
        let neighbour = world.tenant("neighbour").await;
        assert_eq!(world.store.timeline(neighbour, phone.user.id, None, 9).await, Ok(vec![]));
    }
}

#[tokio::test]
async fn what_is_held_on_a_person_is_found_by_the_person() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let page = countersign_core::ports::PageRequest { before: None, limit: 10 };
        let held = world.store.enrollments_of_user(world.tenant_id, phone.user.id, page).await.unwrap();
        assert_eq!(held.len(), 1);
        assert_eq!((held[0].device_id, held[0].device_name.as_deref()), (Some(phone.id), Some("Phone")));
        let keys = world.store.keys_of_device(world.tenant_id, phone.id).await.unwrap();
        assert_eq!(keys.len(), 1);
        assert_eq!(keys[0].thumbprint, phone.key.thumbprint.as_str());
        assert_eq!(world.store.record_export(world.stamp(world.client), phone.user.id).await, Ok(true));
        assert_eq!(world.count(EventKind::UserExported).await, 1);
        let neighbour = world.tenant("neighbour").await;
        assert_eq!(world.store.enrollments_of_user(neighbour, phone.user.id, page).await, Ok(vec![]));
        assert_eq!(world.store.keys_of_device(neighbour, phone.id).await, Ok(vec![]));
    }
}

impl World {
    async fn kept(&self, what: Kept) -> Vec<KeptRow> {
        self.other.kept(self.tenant_id, what).await.unwrap()
    }

    /// The one row, as JSON.
    async fn only(&self, what: Kept) -> Value {
        let mut rows = self.kept(what).await;
        assert_eq!(rows.len(), 1, "{rows:?}");
        Value::Object(rows.remove(0))
    }

    async fn events_about(&self, id: UserId) -> Vec<EventId> {
        while self.store.position_events(self.tenant_id, 100).await.unwrap() > 0 {}
        let events = self.store.events(self.tenant_id, 0, 100).await.unwrap();
        events.iter().filter(|event| event.subjects.user_id == Some(id)).map(|event| event.id).collect()
    }
}

/// A phone with everything that is kept beside its record.
async fn busy_phone(world: &World) -> Phone {
    let phone = world.phone("ada").await;
    let update = UpdatePush {
        stamp: world.stamp(phone.actor()),
        device_id: phone.id,
        key: phone.key.thumbprint.clone(),
        jti: "spent".to_owned(),
        push: PushBinding::Fcm { token: "secret-token".to_owned(), project: None },
        app_version: None,
        os_version: None,
    };
    world.store.update_push(update).await.unwrap();
    let test = CreateTestPush {
        stamp: world.stamp(world.client),
        id: world.id(),
        device_id: phone.id,
        expires_at: NOW.plus_seconds(60),
        not_after_another_since: NOW.plus_seconds(-10),
    };
    world.store.create_test_push(test).await.unwrap();
    phone
}

#[tokio::test]
async fn what_is_kept_beside_a_device_is_told_without_its_token() {
    for world in World::each().await {
        let phone = busy_phone(&world).await;
        assert_eq!(world.only(Kept::Device(phone.id)).await, json!({"binding_id": phone.binding.id}));
        let waiting = world.kept(Kept::QueuedPushes(phone.id)).await;
        let test = waiting.iter().find(|push| push["kind"] == "test").unwrap();
        assert_eq!((&test["channel"], &test["attempts"]), (&json!("fcm"), &json!(0)));
        assert_eq!(test["expires_at"], json!(NOW.plus_seconds(60)));
        assert_eq!(world.only(Kept::TestPushes(phone.id)).await["state"], "queued");
        let spent = world.only(Kept::SpentIds(phone.id)).await;
        assert_eq!(spent, json!({"jti": "spent", "kept_until": NOW.plus_seconds(300)}));
        let reply = world.only(Kept::Replies(phone.user.id)).await;
        assert_eq!((&reply["says"], &reply["kept_since"]), (&json!(["reply_to"]), &json!(NOW)));
        assert_eq!(reply["kept_until"], json!(NOW.plus_seconds(86_400)));
        // Of nobody else's, and to no other organisation.
        let bob = world.phone("bob").await;
        assert_eq!(world.kept(Kept::TestPushes(bob.id)).await, Vec::<KeptRow>::new());
        let neighbour = world.tenant("neighbour").await;
        for what in [
            Kept::Guards(phone.user.id),
            Kept::Replies(phone.user.id),
            Kept::Device(phone.id),
            Kept::QueuedPushes(phone.id),
            Kept::TestPushes(phone.id),
            Kept::SpentIds(phone.id),
        ] {
            let all = format!("{:?}", world.kept(what.clone()).await);
            assert!(!all.contains("secret-token"), "{all}");
            assert_eq!(world.other.kept(neighbour, what.clone()).await, Ok(vec![]), "{what:?}");
        }
    }
}

#[tokio::test]
async fn counters_and_locks_are_told_as_they_are_stored() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        for _ in 0..5 {
            let challenge_id = world.challenge(&[&phone]).await;
            world.store.decide_challenge(world.answer(&phone, challenge_id, Verdict::WrongNumber)).await.unwrap();
        }
        let guards = world.only(Kept::Guards(phone.user.id)).await;
        assert_eq!(guards["locked_until"], json!(NOW.plus_seconds(900)));
        assert_eq!((&guards["consecutive_failures"], &guards["pushes_since_approval"]), (&json!(5), &json!(5)));
        assert_eq!(guards["recent_pushes"], json!(vec![NOW; 5]));
    }
}

#[tokio::test]
async fn a_challenge_that_waits_keeps_its_text_and_tells_who_asked_and_by_which_request() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let decided = world.challenge(&[&phone]).await;
        world.store.decide_challenge(world.answer(&phone, decided, APPROVE)).await.unwrap();
        let mut command = world.new_challenge(&[&phone]).await;
        let (waiting, body) = (command.facts.id, world.digest());
        command.idempotency = Some(Idempotency {
            key: "key-1".to_owned(),
            body,
            reply: r#"{"secret":"stored"}"#.to_owned(),
            suppressed_reply: "{}".to_owned(),
            expires_at: command.facts.created_at.plus_seconds(86_400),
        });
        let client = command.facts.client_id;
        assert!(matches!(world.store.create_challenge(command).await, Ok(CreateOutcome::Created(_))));
        let rows = world.kept(Kept::Challenges(vec![decided, waiting])).await;
        let row = |id| rows.iter().find(|row| row["challenge_id"] == json!(id)).unwrap();
        let wanted = json!({"challenge_id": waiting, "api_client_id": client, "wrong_codes": 0});
        assert_eq!(Value::Object(row(waiting).clone()), wanted);
        assert_eq!(row(decided)["signed_challenge"], format!("challenge.{decided}"));
        assert_eq!(row(decided)["device_id"], json!(phone.id));
        assert!(row(decided)["signed_response"].is_string() && row(decided)["signed_binding"].is_string());
        let key = json!({"challenge_id": waiting, "api_client_id": client, "idempotency_key": "key-1",
            "request_sha256": body.to_b64u(), "kept_until": NOW.plus_seconds(86_400)});
        assert_eq!(world.only(Kept::RequestKeys(vec![decided, waiting], NOW)).await, key);
        let neighbour = world.tenant("neighbour").await;
        assert_eq!(world.other.kept(neighbour, Kept::Challenges(vec![waiting])).await, Ok(vec![]));
        assert_eq!(world.other.kept(neighbour, Kept::RequestKeys(vec![waiting], NOW)).await, Ok(vec![]));
    }
}

#[tokio::test]
async fn messages_to_webhooks_are_found_by_the_event_and_the_log_from_its_first() {
    for world in World::each().await {
        world.phone("somebody else").await;
        let webhook = world.webhook(&["user.created"]).await;
        let phone = world.phone("ada").await;
        assert_eq!(world.store.first_position(world.tenant_id, phone.user.id).await, Ok(0));
        let about = world.events_about(phone.user.id).await;
        let first = world.store.first_position(world.tenant_id, phone.user.id).await.unwrap();
        let events = world.store.events(world.tenant_id, 0, 100).await.unwrap();
        let of_ada = |event: &&EventRecord| event.subjects.user_id == Some(phone.user.id);
        assert_eq!(events.iter().find(of_ada).unwrap().position, first);
        let created = events.iter().filter(of_ada).find(|event| event.kind == EventKind::UserCreated).unwrap();
        let message = world.only(Kept::WebhookMessages(about.clone())).await;
        assert_eq!(message["event_id"], json!(created.id));
        assert_eq!((&message["webhook_id"], &message["status"]), (&json!(webhook.id), &json!("pending")));
        assert_eq!(message["attempts"], json!([]));
        let neighbour = world.tenant("neighbour").await;
        assert_eq!(world.other.kept(neighbour, Kept::WebhookMessages(about)).await, Ok(vec![]));
        assert_eq!(world.other.first_position(neighbour, phone.user.id).await, Ok(0));
    }
}
