//! `ports::audit` on both databases.

use countersign_core::{
    actor::Actor,
    event::EventKind,
    policy::Policy,
    ports::{
        audit::{AuditFilter, AuditPortion, RecordRestored, SealAudit, StoredTile},
        enrollments::{Admission, CreateEnrollment},
        tenants::{SetPolicy, SetPolicyOutcome},
    },
    verify::Verdict,
};
use countersign_proto::{
    audit::TileId,
    ids::Id,
    vocabulary::{ChallengeStatus, Confirmation, DeviceStatus, EnrollmentStatus},
};

use crate::world::{NOW, World};

impl World {
    async fn position_all(&self) -> i64 {
        while self.store.position_events(self.tenant_id, 1_000).await.unwrap() > 0 {}
        self.store.audit_head(self.tenant_id).await.unwrap().unwrap().positioned
    }

    fn seal(&self, old_size: u64, size: u64, byte: u8) -> SealAudit {
        let tile = |level| StoredTile { id: TileId { level, index: u64::from(level) << 33 }, hashes: vec![byte; 64] };
        SealAudit {
            tenant_id: self.tenant_id,
            old_size,
            size,
            checkpoint: format!("checkpoint {byte}"),
            sealed_at: NOW,
            tiles: vec![tile(0), tile(1)],
        }
    }
}

#[tokio::test]
async fn of_two_who_seal_from_the_same_size_one_wins_and_nobody_seals_what_has_no_position() {
    for world in World::each().await {
        assert_eq!(world.store.audit_head(world.tenant_id).await, Ok(None));
        assert_eq!(world.store.unsealed_tenants(None, 10).await, Ok(vec![]));
        assert_eq!(world.store.tenants_with_logs(None, 10).await, Ok(vec![]));
        assert_eq!(world.store.seal_audit(world.seal(0, 1, 1)).await, Ok(false), "nothing has a position");
        let positioned = world.position_all().await;
        let size = positioned.unsigned_abs();
        assert_eq!(world.store.unsealed_tenants(None, 10).await, Ok(vec![world.tenant_id]));
        assert_eq!(world.store.unsealed_tenants(Some(world.tenant_id), 10).await, Ok(vec![]));
        assert_eq!(world.store.seal_audit(world.seal(0, size + 1, 1)).await, Ok(false));

        let outcomes = tokio::join!(
            world.store.seal_audit(world.seal(0, size, 2)),
            world.other.seal_audit(world.seal(0, size - 1, 3)),
        );
        let (winner, loser) = (outcomes.0.unwrap(), outcomes.1.unwrap());
        assert_ne!(winner, loser);
        let (size, byte) = if winner { (size, 2) } else { (size - 1, 3) };
        let head = world.other.audit_head(world.tenant_id).await.unwrap().unwrap();
        assert_eq!((head.size, head.positioned, head.sealed_at), (size, positioned, Some(NOW)));
        assert_eq!(head.checkpoint, Some(format!("checkpoint {byte}")));
        let expected = world.seal(0, size, byte).tiles;
        let ids: Vec<_> = expected.iter().map(|tile| tile.id).chain([TileId { level: 0, index: 7 }]).collect();
        let mut tiles = world.store.audit_tiles(world.tenant_id, &ids).await.unwrap();
        tiles.sort_by_key(|tile| tile.id);
        assert_eq!(tiles, expected);
        assert_eq!(world.store.audit_tiles(world.id(), &ids).await, Ok(vec![]), "no other tenant's");

        // A tile is written again as it grows; what is new waits again.
        world.phone("ada").await;
        let grown = world.position_all().await.unsigned_abs();
        assert_eq!(world.store.unsealed_tenants(None, 10).await, Ok(vec![world.tenant_id]));
        assert_eq!(world.store.seal_audit(world.seal(size, grown, 4)).await, Ok(true));
        assert_eq!(world.store.unsealed_tenants(None, 10).await, Ok(vec![]));
        assert_eq!(world.store.tenants_with_logs(None, 10).await, Ok(vec![world.tenant_id]), "sealed or not");
        assert_eq!(world.store.tenants_with_logs(Some(world.tenant_id), 10).await, Ok(vec![]));
        let tiles = world.store.audit_tiles(world.tenant_id, &ids).await.unwrap();
        assert!(tiles.iter().all(|tile| tile.hashes == vec![4; 64]), "{tiles:?}");
    }
}

#[tokio::test]
async fn an_auditor_finds_events_by_any_of_their_particulars_in_one_portion() {
    for world in World::each().await {
        let (ada, grace) = (world.phone("ada").await, world.phone("grace").await);
        let asked = world.challenge(&[&ada]).await;
        let positioned = world.position_all().await;
        let found = async |filter: AuditFilter, after, through, limit| {
            let portion = AuditPortion { after, through, limit };
            let events = world.store.audit_events(world.tenant_id, filter, portion).await.unwrap();
            events.into_iter().map(|event| event.position).collect::<Vec<_>>()
        };
        let all = found(AuditFilter::default(), 0, positioned, 1_000).await;
        assert_eq!(all, (1..=positioned).collect::<Vec<_>>());
        assert_eq!(found(AuditFilter::default(), 2, 5, 1_000).await, [3, 4, 5]);
        assert_eq!(found(AuditFilter::default(), 2, positioned, 2).await, [3, 4]);
        let events = world.store.events(world.tenant_id, 0, 1_000).await.unwrap();
        let mut filters = vec![
            AuditFilter { kind: Some(EventKind::DeviceAdded), ..AuditFilter::default() },
            AuditFilter { actor_id: Actor::Device(ada.id).id(), ..AuditFilter::default() },
            AuditFilter { user_id: Some(grace.user.id), ..AuditFilter::default() },
            AuditFilter { device_id: Some(grace.id), ..AuditFilter::default() },
            AuditFilter { challenge_id: Some(asked), ..AuditFilter::default() },
            AuditFilter { from: Some(NOW), to: Some(NOW.plus_millis(1)), ..AuditFilter::default() },
        ];
        if let Actor::ApiClient { client_id, .. } = world.client {
            filters.push(AuditFilter { api_client_id: Some(client_id), ..AuditFilter::default() });
        }
        for filter in filters {
            let expected: Vec<_> = events
                .iter()
                .filter(|event| filter.kind.is_none_or(|kind| event.kind == kind))
                .filter(|event| filter.actor_id.is_none() || event.actor_id == filter.actor_id)
                .filter(|event| filter.user_id.is_none() || event.subjects.user_id == filter.user_id)
                .filter(|event| filter.device_id.is_none() || event.subjects.device_id == filter.device_id)
                .filter(|event| filter.challenge_id.is_none() || event.subjects.challenge_id == filter.challenge_id)
                .filter(|event| filter.api_client_id.is_none() || event.subjects.api_client_id == filter.api_client_id)
                .map(|event| event.position)
                .collect();
            assert!(!expected.is_empty(), "{filter:?}");
            assert_eq!(found(filter.clone(), 0, positioned, 1_000).await, expected, "{filter:?}");
        }
        let later = AuditFilter { from: Some(NOW.plus_millis(1)), ..AuditFilter::default() };
        assert!(found(later, 0, positioned, 1_000).await.is_empty());
    }
}

#[tokio::test]
async fn an_auditor_sees_decisions_devices_and_keys_as_they_are_kept() {
    for world in World::each().await {
        let ada = world.phone("ada").await;
        let (decided, open) = (world.challenge(&[&ada]).await, world.challenge(&[&ada]).await);
        let approve = world.answer(&ada, decided, Verdict::Approve { with_number: true });
        let response = approve.response.clone();
        world.store.decide_challenge(approve).await.unwrap();
        let ids = [decided, open, world.id()];
        let mut kept = world.store.kept_decisions(world.tenant_id, &ids).await.unwrap();
        kept.sort_by_key(|kept| kept.status != ChallengeStatus::Approved);
        let [of_decided, of_open] = kept.as_slice() else { panic!("{kept:?}") };
        assert_eq!((of_decided.id, of_decided.erased_at), (decided, None));
        assert_eq!(of_decided.evidence.as_ref().map(|evidence| &evidence.response), Some(&response));
        assert_eq!((of_open.id, of_open.status, &of_open.evidence), (open, ChallengeStatus::Pending, &None));
        assert_eq!(world.store.kept_decisions(world.id(), &ids).await, Ok(vec![]), "no other tenant's");

        let devices = world.store.audited_devices(world.tenant_id, None, 10).await.unwrap();
        let [device] = devices.as_slice() else { panic!("{devices:?}") };
        assert_eq!((device.id, device.user_id, device.status), (ada.id, ada.user.id, DeviceStatus::Active));
        assert_eq!((device.external_id.as_str(), device.is_erased, device.failures), ("ada", false, 0));
        assert_eq!(device.binding, Some(ada.binding.clone()));
        assert_eq!(world.store.audited_devices(world.tenant_id, Some(ada.id), 10).await, Ok(vec![]));
        let keys = world.store.audited_keys(&[ada.id, Id::from_uuid(uuid::Uuid::nil())]).await.unwrap();
        let [key] = keys.as_slice() else { panic!("{keys:?}") };
        assert_eq!((key.thumbprint.as_str(), key.device_id), (ada.key.thumbprint.as_str(), ada.id));
        assert_eq!((key.tenant_id, key.role.as_str()), (world.tenant_id, "device"));
        assert_eq!(key.public_key, ada.key.public_key.to_vec());
    }
}

#[tokio::test]
async fn an_auditor_sees_what_an_organisation_asks_for_as_it_is_kept() {
    for world in World::each().await {
        let tenant_id = world.tenant_id;
        assert_eq!(world.store.audited_tenant(world.id()).await, Ok(None));
        let before = world.store.audited_tenant(tenant_id).await.unwrap().unwrap();
        assert_eq!((before.policy_version, before.is_disabled, before.is_proof_required), (1, false, false));
        assert_eq!((before.settings.as_str(), before.event_head, before.positioned), ("{}", 0, 0));
        assert_eq!(serde_json::from_str::<Policy>(&before.policy).unwrap(), Policy::default());
        assert_eq!(world.store.audited_policies(tenant_id, 0, 10).await, Ok(vec![]), "the first is in force");

        let policy = Policy { digits: 8, ..Policy::default() };
        let command = SetPolicy::new(world.stamp(Actor::Operator), &Policy::default(), policy);
        assert_eq!(world.store.set_policy(command).await, Ok(SetPolicyOutcome::Set));
        world.store.disable_tenant(world.stamp(Actor::Operator)).await.unwrap();
        let positioned = world.position_all().await;
        let after = world.store.audited_tenant(tenant_id).await.unwrap().unwrap();
        assert_eq!((after.policy_version, after.is_disabled), (2, true));
        assert_eq!((after.event_head, after.positioned), (positioned, positioned));
        assert_eq!(serde_json::from_str::<Policy>(&after.policy).unwrap().digits, 8);
        let kept = world.store.audited_policies(tenant_id, 0, 10).await.unwrap();
        let kept: Vec<_> = kept.into_iter().map(|kept| (kept.version, kept.policy)).collect();
        assert_eq!(kept, [(1, before.policy), (2, after.policy)]);
        assert_eq!(world.store.audited_policies(tenant_id, 1, 10).await.unwrap().len(), 1);
        assert_eq!(world.store.audited_policies(tenant_id, 0, 1).await.unwrap().len(), 1);
        assert_eq!(world.store.audited_policies(world.id(), 0, 10).await, Ok(vec![]), "no other tenant's");
    }
}

#[tokio::test]
async fn an_auditor_sees_invitations_as_they_are_kept() {
    for world in World::each().await {
        let ada = world.invite("ada").await;
        let command = CreateEnrollment {
            admission: Admission::Overridden { reason: world.digest() },
            ..world.new_enrollment("grace", Confirmation::Code)
        };
        let overridden = command.id;
        let grace = world.create(command).await;
        let rows = world.store.audited_enrollments(world.tenant_id, None, 10).await.unwrap();
        assert_eq!(rows.len(), 2);
        // Made in the same millisecond: in the order of their ids.
        let of = |user| rows.iter().find(|row| row.user_id == user).unwrap();
        let (plain, other) = (of(ada.user.id), of(grace.id));
        assert_eq!((plain.status, plain.is_overridden), (EnrollmentStatus::Pending, false));
        assert_eq!((other.id, other.is_overridden, other.approval_id), (overridden, true, None));
        let further = world.store.audited_enrollments(world.tenant_id, Some(rows[0].id), 10).await.unwrap();
        assert_eq!(further, rows[1..]);
        assert_eq!(world.store.audited_enrollments(world.tenant_id, None, 1).await.unwrap(), rows[..1]);
        assert_eq!(world.store.audited_enrollments(world.id(), None, 10).await, Ok(vec![]), "no other tenant's");
    }
}

#[tokio::test]
async fn a_restored_database_is_written_down() {
    for world in World::each().await {
        let stamp = world.stamp(Actor::Operator);
        let command = RecordRestored { stamp, lost_size: 9, lost_root: "root".to_owned(), size: 4 };
        assert_eq!(world.store.record_restored(command).await, Ok(()));
        world.position_all().await;
        let events = world.store.events(world.tenant_id, 0, 1_000).await.unwrap();
        let restored = events.iter().find(|event| event.kind == EventKind::DatabaseRestored).unwrap();
        assert_eq!(restored.body.get("lost_size").and_then(serde_json::Value::as_u64), Some(9));
    }
}
