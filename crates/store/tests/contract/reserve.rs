//! What goes on while the disk is full: a folder in the place of SQLite's reserve stands for a disk without room for it.
//! `countersign-proof disk` fills a real one.

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use countersign_core::{
    actor::Actor,
    device::StatusChange,
    ports::{
        Store, StoreError,
        api_clients::{RevokeApiClientOutcome, SpendProof},
        challenges::CreateOutcome,
        devices::{ChangeDeviceStatusOutcome, RevokeAllDevices},
        enrollments::CancelEnrollmentOutcome,
        tenants::SwitchTenantOutcome,
    },
};
use countersign_proto::vocabulary::{Confirmation, RevokeReason};
use countersign_store::Options;

use crate::{
    kit::{self, Database, Wakes},
    world::{NOW, World},
};

const BYTES: u64 = 100_000;
/// What a busy machine may need.
const PATIENCE: Duration = Duration::from_secs(60);

fn reserve(database: &Database) -> PathBuf {
    let mut path = database.path().into_os_string();
    path.push("-reserve");
    path.into()
}

/// A node on the world's SQLite that keeps a reserve, and finds no room for it.
async fn full(world: &World) -> Arc<dyn Store> {
    fs::create_dir(reserve(&world.database)).unwrap();
    let options = Options { reserve_bytes: BYTES, ..kit::options() };
    world.database.open_with(options, Arc::new(Wakes::default())).await.unwrap()
}

async fn sqlite() -> World {
    World::each().await.into_iter().find(|world| !world.database.is_postgres()).unwrap()
}

fn proof(world: &World, takes_access_away: bool) -> SpendProof {
    let Actor::ApiClient { client_id, .. } = world.client else { panic!("no client") };
    SpendProof {
        command_id: world.id(),
        tenant_id: world.tenant_id,
        client_id,
        jti: format!("jti-{takes_access_away}"),
        expires_at: NOW.plus_seconds(120),
        takes_access_away,
    }
}

fn is_refused<T>(outcome: Result<T, StoreError>) -> bool {
    matches!(outcome, Err(StoreError::Unavailable(_)))
}

#[tokio::test]
async fn on_a_full_disk_access_is_taken_away_and_nothing_else_is_written() {
    let world = sqlite().await;
    let (lost, kept) = (world.phone("lost").await, world.phone("kept").await);
    let (both, more) = (world.phone("both").await, world.waiting("more").await);
    let asked = world.new_challenge(&[&lost]).await;
    let store = full(&world).await;
    let change = |phone, change| store.change_device_status(world.new_status(world.client, phone, change));

    assert!(is_refused(store.create_challenge(asked).await));
    assert!(is_refused(store.create_enrollment(world.new_enrollment("new", Confirmation::Code)).await));
    assert!(is_refused(store.check_ready(NOW).await), "a node that cannot serve is not ready");
    assert!(is_refused(store.scrub_files().await));

    assert!(matches!(change(kept.id, StatusChange::Suspend).await, Ok(ChangeDeviceStatusOutcome::Changed { .. })));
    assert!(is_refused(change(kept.id, StatusChange::Resume).await), "that lets somebody in");
    let revoke = StatusChange::Revoke(RevokeReason::Lost);
    assert!(matches!(change(lost.id, revoke).await, Ok(ChangeDeviceStatusOutcome::Changed { .. })));
    let stamp = world.stamp(world.client);
    let all = RevokeAllDevices { stamp, user_id: both.user.id, reason: RevokeReason::Lost };
    assert_eq!(store.revoke_all_devices(all).await, Ok(Some(vec![both.id])));
    let cancelled = store.cancel_enrollment(world.stamp(world.client), more.0.id).await;
    assert!(matches!(cancelled, Ok(CancelEnrollmentOutcome::Cancelled)), "{cancelled:?}");
    let Actor::ApiClient { client_id, .. } = world.client else { panic!("no client") };
    let gone = store.revoke_api_client(world.stamp(Actor::Operator), client_id).await;
    assert_eq!(gone, Ok(RevokeApiClientOutcome::Revoked));
    assert_eq!(store.disable_tenant(world.stamp(Actor::Operator)).await, Ok(SwitchTenantOutcome::Switched));
    assert!(is_refused(store.enable_tenant(world.stamp(Actor::Operator)).await));
}

#[tokio::test]
async fn whoever_signs_its_requests_takes_access_away_beside_others_that_wait() {
    let world = sqlite().await;
    let phone = world.phone("somebody").await;
    let asked = world.new_challenge(&[&phone]).await;
    let store = full(&world).await;
    // They meet in one batch.
    let (other, created, spent) = tokio::join!(
        store.spend_proof(proof(&world, false)),
        store.create_challenge(asked),
        store.spend_proof(proof(&world, true)),
    );
    assert!(is_refused(other));
    assert!(is_refused(created));
    assert_eq!(spent, Ok(true));
    assert_eq!(store.spend_proof(proof(&world, true)).await, Ok(false), "spent is spent");
}

#[tokio::test]
async fn a_disk_with_room_again_serves_without_a_restart() {
    let world = sqlite().await;
    let phone = world.phone("somebody").await;
    let store = full(&world).await;
    assert!(is_refused(store.create_challenge(world.new_challenge(&[&phone]).await).await));
    fs::remove_dir(reserve(&world.database)).unwrap();
    let asked = world.new_challenge(&[&phone]).await;
    let has_room = async {
        loop {
            let outcome = store.create_challenge(asked.clone()).await;
            if matches!(outcome, Ok(CreateOutcome::Created(_))) {
                break;
            }
            assert!(is_refused(outcome));
            tokio::task::yield_now().await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, has_room).await.is_ok(), "refused for ever");
    assert_eq!(fs::metadata(reserve(&world.database)).unwrap().len(), BYTES);
}

#[tokio::test]
async fn another_process_at_the_database_keeps_to_what_one_has_found() {
    let world = sqlite().await;
    let phone = world.phone("somebody").await;
    let store = full(&world).await;
    fs::remove_dir(reserve(&world.database)).unwrap();
    let options = Options { reserve_bytes: BYTES, ..kit::options() };
    let beside = world.database.open_with(options, Arc::new(Wakes::default())).await.unwrap();
    assert!(beside.check_ready(NOW).await.is_ok(), "it has made the file whole");
    assert!(store.create_challenge(world.new_challenge(&[&phone]).await).await.is_ok(), "and that holds for both");
    // What was given up by whoever it was is missing to both.
    fs::remove_file(reserve(&world.database)).unwrap();
    fs::create_dir(reserve(&world.database)).unwrap();
    assert!(is_refused(store.create_challenge(world.new_challenge(&[&phone]).await).await));
    assert!(is_refused(beside.check_ready(NOW).await));
}
