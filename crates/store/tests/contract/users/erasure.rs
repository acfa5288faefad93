//! Erasing somebody: the barrier, what is left of the past, and that nothing is left.

use std::{sync::Arc, time::Duration};

use countersign_core::{
    event::EventKind,
    ports::{
        challenges::{CreateOutcome, DecideOutcome, Idempotency},
        enrollments::ClaimOutcome,
        users::{EraseUserOutcome as Outcome, Erasure, RenameUser, UserFilter},
    },
    verify::Verdict,
    wake::WakeKey,
};
use countersign_proto::{
    ids::{ChallengeId, UserId},
    push::PushBinding,
    vocabulary::{ChallengeReason, ChallengeStatus, Confirmation, PushChannel},
};

use sqlx::Connection as _;

use super::ALL;
use crate::{
    kit::{self, Wakes, rounds},
    world::{NOW, Phone, World},
};

const APPROVE: Verdict = Verdict::Approve { with_number: true };

async fn erase(world: &World, id: UserId) -> Outcome {
    world.store.erase_user(world.stamp(world.client), id).await.unwrap()
}

async fn blank(world: &World, user_id: UserId, limit: u32) {
    let erasure = Erasure { tenant_id: world.tenant_id, user_id };
    while world.other.blank_erased(erasure, NOW, limit).await.unwrap() {}
    assert_eq!(world.store.scrub_files().await, Ok(true));
    world.store.finish_erasure(erasure).await.unwrap();
}

/// A phone of somebody whose every text is a canary.
async fn canary(world: &World) -> Phone {
    let mut new = world.new_enrollment("canary-ada", Confirmation::None);
    new.display_name = Some("canary-name".to_owned());
    let (id, ticket) = (new.id, new.ticket);
    let user = world.create(new).await;
    let invitation = crate::world::Invitation { id, ticket, user: user.clone() };
    let mut claim = world.claim(&invitation);
    let about = &mut claim.description;
    about.name = "canary-phone".to_owned();
    about.model = Some("canary-model".to_owned());
    about.installation_id = Some("canary-installation".to_owned());
    claim.push = PushBinding::Fcm { token: "canary-token".to_owned(), project: None };
    claim.claim_seal = "canary-seal".to_owned();
    claim.reply.body = "canary-reply".to_owned();
    let mut binding = world.binding();
    binding.jws = "canary-binding".to_owned();
    claim.activation = countersign_core::ports::enrollments::Activation::AtOnce(binding.clone());
    let phone = Phone { id: claim.device_id, user, key: claim.device_key.clone(), binding };
    assert_eq!(world.store.claim_ticket(claim).await, Ok(ClaimOutcome::Claimed));
    phone
}

/// A challenge of that person, which is made by a request that may be repeated.
async fn canary_challenge(world: &World, phone: &Phone) -> ChallengeId {
    let mut command = world.new_challenge(&[phone]).await;
    command.facts.text.message = Some("canary-message".to_owned());
    command.facts.jws = "canary-jws".to_owned();
    command.idempotency = Some(Idempotency {
        key: format!("canary-key-{}", command.facts.id),
        body: world.digest(),
        reply: "canary-stored-reply".to_owned(),
        suppressed_reply: "canary-stored-reply".to_owned(),
        expires_at: NOW.plus_seconds(86_400),
    });
    let id = command.facts.id;
    assert!(matches!(world.store.create_challenge(command).await, Ok(CreateOutcome::Created(_))));
    id
}

/// Every row of every table that holds a text with `canary`.
async fn canaries(world: &World) -> Vec<String> {
    let tables = match world.database.is_postgres() {
        true => "SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'public'",
        false => "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'",
    };
    let mut found = Vec::new();
    for table in world.database.texts(tables).await {
        let columns = match world.database.is_postgres() {
            true => format!(
                "SELECT column_name::text FROM information_schema.columns WHERE table_schema = 'public' AND table_name = '{table}'"
            ),
            false => format!("SELECT name FROM pragma_table_info('{table}')"),
        };
        for column in world.database.texts(&columns).await {
            let sql = format!(r#"SELECT count(*) FROM {table} WHERE CAST("{column}" AS TEXT) LIKE '%canary%'"#);
            if world.database.number(&sql).await > 0 {
                found.push(format!("{table}.{column}"));
            }
        }
    }
    found
}

#[tokio::test]
async fn nothing_that_names_an_erased_person_is_left_in_any_table() {
    for world in World::each().await {
        let phone = canary(&world).await;
        for _ in 0..5 {
            let id = canary_challenge(&world, &phone).await;
            let mut answer = world.answer(&phone, id, APPROVE);
            answer.response = format!("canary-response-{id}");
            assert!(matches!(world.store.decide_challenge(answer).await, Ok(DecideOutcome::Won { .. })));
        }
        canary_challenge(&world, &phone).await;
        let other = world.phone("bob").await;
        let others = world.challenge(&[&other]).await;
        assert!(canaries(&world).await.len() > 10, "a search that finds nothing proves nothing");
        let events = world.kinds().await;

        assert_eq!(erase(&world, phone.user.id).await, Outcome::Begun);
        blank(&world, phone.user.id, 2).await;
        assert_eq!(canaries(&world).await, Vec::<String>::new());
        // What happened stays on record, in words and ids.
        let mut new = crate::world::new_kinds(&events, world.kinds().await);
        new.sort_by_key(|kind| kind.as_str());
        assert_eq!(new, [EventKind::ChallengeCancelled, EventKind::DeviceRevoked, EventKind::UserErased]);
        // Nobody else has lost anything.
        assert_eq!(
            world.store.challenge(world.tenant_id, others).await.unwrap().unwrap().facts.jws,
            format!("challenge.{others}")
        );
        assert!(world.device(other.id).await.is_some());
        assert_eq!(world.store.unfinished_erasures(None, 9).await, Ok(vec![]));
        // The key that was registered once stays refused, to anybody.
        let invitation = world.invite("carl").await;
        let mut claim = world.claim(&invitation);
        claim.device_key = phone.key.clone();
        assert_eq!(world.store.claim_ticket(claim).await, Ok(ClaimOutcome::KeyAlreadyRegistered));
        assert_eq!(world.store.key(&phone.key.thumbprint).await, Ok(None));
    }
}

#[tokio::test]
async fn whoever_comes_after_an_erasure_was_finished_blanks_nothing() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        for _ in 0..4 {
            world.challenge(&[&phone]).await;
        }
        let erasure = Erasure { tenant_id: world.tenant_id, user_id: phone.user.id };
        assert_eq!(erase(&world, phone.user.id).await, Outcome::Begun);
        // Two finish it; this one has done its first portion.
        assert_eq!(world.store.blank_erased(erasure, NOW, 2).await, Ok(true));
        blank(&world, phone.user.id, 2).await;
        assert_eq!(world.store.blank_erased(erasure, NOW, 2).await, Ok(false));
    }
}

#[tokio::test]
async fn unfinished_erasures_are_found_one_behind_the_other() {
    for world in World::each().await {
        let mut users = Vec::new();
        for name in ["ada", "bob", "carl"] {
            let user_id = world.invite(name).await.user.id;
            assert_eq!(erase(&world, user_id).await, Outcome::Begun);
            users.push(user_id);
        }
        users.sort_unstable_by_key(|id| id.as_uuid());
        let behind = async |after, limit| -> Vec<UserId> {
            let found = world.other.unfinished_erasures(after, limit).await.unwrap();
            found.iter().map(|erasure| erasure.user_id).collect()
        };
        assert_eq!(behind(None, 2).await, users[..2]);
        assert_eq!(behind(Some(users[1]), 2).await, users[2..]);
        assert_eq!(behind(Some(users[2]), 2).await, Vec::<UserId>::new());
    }
}

#[tokio::test]
async fn files_that_somebody_reads_are_left_alone_and_writes_go_on() {
    for world in World::each().await.into_iter().filter(|world| !world.database.is_postgres()) {
        // Whoever waits for a reader as long as for another writer is cut short, and says that the database is gone.
        let (connect_timeout, transaction_timeout) = (Duration::from_secs(600), Duration::from_secs(3));
        let options = countersign_store::Options { connect_timeout, transaction_timeout, ..kit::options() };
        let node = world.database.open_with(options, Arc::new(Wakes::default())).await.unwrap();
        let mut reader = world.database.sqlite_connection().await;
        let mut snapshot = reader.begin().await.unwrap();
        sqlx::query("SELECT id FROM tenants").fetch_all(&mut *snapshot).await.unwrap();
        let user = world.invite("ada").await.user;
        assert_eq!(node.erase_user(world.stamp(world.client), user.id).await, Ok(Outcome::Begun));
        // However many ask.
        assert_eq!(tokio::join!(node.scrub_files(), node.scrub_files()), (Ok(false), Ok(false)));
        assert!(matches!(node.erase_user(world.stamp(world.client), user.id).await, Ok(Outcome::Unfinished)));
        snapshot.rollback().await.unwrap();
        assert_eq!(node.scrub_files().await, Ok(true));
    }
}

#[tokio::test]
async fn an_erased_user_is_unknown_and_the_name_is_somebody_new() {
    for world in World::each().await {
        let phone = canary(&world).await;
        let pending = canary_challenge(&world, &phone).await;
        let open = world.invite("canary-ada").await;
        assert_eq!(erase(&world, phone.user.id).await, Outcome::Begun);
        // At once, before anything is blanked.
        assert_eq!(world.other.user(world.tenant_id, phone.user.id).await, Ok(None));
        assert_eq!(
            world.store.users(world.tenant_id, UserFilter::ExternalId("canary-ada".to_owned()), ALL).await,
            Ok(vec![])
        );
        assert_eq!(world.store.users(world.tenant_id, UserFilter::All, ALL).await, Ok(vec![]));
        assert!(world.device(phone.id).await.is_none());
        assert_eq!(world.store.addressees(world.tenant_id, "canary-ada").await, Ok(None));
        assert_eq!(world.store.enrollment(world.tenant_id, open.id).await, Ok(None));
        let ended = world.store.challenge(world.tenant_id, pending).await.unwrap().unwrap();
        assert_eq!((ended.status, ended.reason), (ChallengeStatus::Cancelled, Some(ChallengeReason::UserErased)));
        let rename =
            RenameUser { stamp: world.stamp(world.client), id: phone.user.id, display_name: Some("X".to_owned()) };
        assert_eq!(world.store.rename_user(rename).await, Ok(None));
        assert_eq!(world.store.record_export(world.stamp(world.client), phone.user.id).await, Ok(false));
        // Until it is finished a repeat goes on with it.
        assert_eq!(erase(&world, phone.user.id).await, Outcome::Unfinished);
        let erasure = Erasure { tenant_id: world.tenant_id, user_id: phone.user.id };
        assert_eq!(world.other.unfinished_erasures(None, 9).await, Ok(vec![erasure]));
        blank(&world, phone.user.id, 100).await;
        assert_eq!(erase(&world, phone.user.id).await, Outcome::NotFound);
        assert_eq!(world.store.challenge(world.tenant_id, pending).await.unwrap().unwrap().erased_at, Some(NOW));

        let again = world.phone("canary-ada").await;
        assert_ne!(again.user.id, phone.user.id);
        assert_eq!(world.device_count(again.user.id).await, 1);
        let users = world.store.users(world.tenant_id, UserFilter::All, ALL).await.unwrap();
        assert_eq!(users.iter().map(|user| user.name.id).collect::<Vec<_>>(), [again.user.id]);
        let usage = world.store.tenant_details(world.tenant_id).await.unwrap().unwrap().usage;
        assert_eq!(usage[0].count, 1, "the erased are not counted");
    }
}

#[tokio::test]
async fn an_erasure_ends_what_waits_and_whoever_waits_hears_of_it() {
    for world in World::each().await {
        let phone = world.phone("ada").await;
        let (waiting, claim) = world.waiting("ada").await;
        let challenge = world.challenge(&[&phone]).await;
        let wakes = Arc::new(Wakes::default());
        let node = world.database.open_with(kit::options(), Arc::clone(&wakes) as _).await.unwrap();
        assert_eq!(node.erase_user(world.stamp(world.client), phone.user.id).await, Ok(Outcome::Begun));
        wakes.hear(WakeKey::Challenge(challenge)).await;
        wakes.hear(WakeKey::Device(phone.id)).await;
        let lease = world.claim_of(PushChannel::Fcm, NOW, 100);
        assert_eq!(world.store.claim_notifications(lease).await, Ok(vec![]));
        assert_eq!(world.database.number("SELECT count(*) FROM notifications").await, 0);
        let answer = world.answer(&phone, challenge, APPROVE);
        assert!(!matches!(world.other.decide_challenge(answer).await, Ok(DecideOutcome::Won { .. })));
        let confirm = world.confirm(&waiting, &claim, crate::world::CODE);
        assert!(!matches!(
            world.other.confirm_enrollment(confirm).await,
            Ok(countersign_core::ports::enrollments::ConfirmOutcome::Completed)
        ));
        assert_eq!(world.count(EventKind::EnrollmentCancelled).await, 1);
        // Somebody else's tenant erases nobody here.
        let bob = world.invite("bob").await.user;
        let neighbour = world.tenant("neighbour").await;
        assert_eq!(world.store.erase_user(world.stamp_in(neighbour), bob.id).await, Ok(Outcome::NotFound));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_approve_commits_after_an_erasure_has_returned() {
    for world in World::each().await {
        let world = Arc::new(world);
        let mut approved = 0;
        for round in 0..rounds(40, 1_500) {
            let phone = world.phone(&format!("ada-{round}")).await;
            let challenge = world.challenge(&[&phone]).await;
            let answer = world.answer(&phone, challenge, APPROVE);
            let node = Arc::clone(&world);
            let lease = world.claim_of(PushChannel::Fcm, NOW, 100);
            let approve = tokio::spawn(async move {
                let (leased, outcome) =
                    tokio::join!(node.store.claim_notifications(lease), node.store.decide_challenge(answer));
                leased.unwrap();
                outcome.unwrap()
            });
            let stamp = world.stamp(world.client);
            assert_eq!(world.other.erase_user(stamp, phone.user.id).await, Ok(Outcome::Begun));
            let status = || async { world.store.challenge(world.tenant_id, challenge).await.unwrap().unwrap().status };
            let at_return = status().await;
            let outcome = approve.await.unwrap();
            assert_eq!(status().await, at_return, "{outcome:?} after the erasure had returned");
            assert_eq!(matches!(outcome, DecideOutcome::Won { .. }), at_return == ChallengeStatus::Approved);
            assert_eq!(world.database.number("SELECT count(*) FROM notifications").await, 0, "a push is leased");
            approved += usize::from(at_return == ChallengeStatus::Approved);
        }
        assert_eq!(world.count(EventKind::ChallengeApproved).await, approved);
        assert_eq!(world.deadlocks().await, 0);
    }
}

#[tokio::test]
async fn a_user_is_renamed_and_an_event_says_so_without_the_name() {
    for world in World::each().await {
        let ada = world.invite("ada").await.user;
        let rename = |name: Option<&str>| RenameUser {
            stamp: world.stamp(world.client),
            id: ada.id,
            display_name: name.map(str::to_owned),
        };
        let renamed = world.store.rename_user(rename(Some("Ada"))).await.unwrap().unwrap();
        assert_eq!(renamed.name.display_name.as_deref(), Some("Ada"));
        assert_eq!(world.other.rename_user(rename(Some("Ada"))).await, Ok(Some(renamed)));
        assert_eq!(world.count(EventKind::UserChanged).await, 1, "a name that is so already is no change");
        let unnamed = world.store.rename_user(rename(None)).await.unwrap().unwrap();
        assert_eq!(unnamed.name.display_name, None);
        assert_eq!(world.database.number("SELECT count(*) FROM events WHERE body LIKE '%Ada%'").await, 0);
    }
}
