//! A tenant with an API client, users and devices, on a fresh database that two nodes have open.
//!
//! Goes through the ports only. To add a step: a method here that fails the test if the store refuses it; what has to do
//! with challenges is in `world/sign_in.rs`.

mod sign_in;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use countersign_core::{
    actor::{Actor, Stamp},
    api_client::{Credential, NewApiKey, Scopes},
    device::{DeviceDescription, DeviceRecord, NewKey, StatusChange, StoredBinding},
    digest::Digest,
    entropy::{Entropy, new_id},
    event::EventKind,
    ports::{
        Reply, Store,
        api_clients::{CreateApiClient, CreateApiClientOutcome},
        devices::{ChangeDeviceStatus, ChangeDeviceStatusOutcome},
        enrollments::{
            Activation, Admission, ClaimOutcome, ClaimTicket, ConfirmEnrollment, CreateEnrollment,
            CreateEnrollmentOutcome,
        },
        tenants::{CreateTenant, CreateTenantOutcome},
        users::UserName,
    },
};
use countersign_proto::{
    ids::{ApiClientId, ApiKeyId, DeviceId, EnrollmentId, Id, TenantId, UserId},
    jose::Thumbprint,
    push::PushBinding,
    timestamp::Timestamp,
    vocabulary::{Confirmation, EnrollmentPurpose, Platform},
};

use crate::kit::Database;

/// The time at which everything happens that does not say otherwise.
pub(crate) const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
/// How long an enrollment lives here.
pub(crate) const TTL_SECONDS: i64 = 600;
/// The store keeps seals; only the server verifies them.
pub(crate) const SEAL: &str = "seal";
/// The right code.
pub(crate) const CODE: &str = "314159";

/// See the module.
pub(crate) struct World {
    /// A node.
    pub(crate) store: Arc<dyn Store>,
    /// Another node on the same database.
    pub(crate) other: Arc<dyn Store>,
    pub(crate) tenant_id: TenantId,
    pub(crate) client: Actor,
    counter: AtomicU64,
    // Dropped last: the database goes with it.
    pub(crate) database: Database,
}

/// An open invitation.
#[derive(Debug, Clone)]
pub(crate) struct Invitation {
    pub(crate) id: EnrollmentId,
    pub(crate) ticket: Digest,
    pub(crate) user: UserName,
}

/// A device, as the phone knows itself.
#[derive(Debug, Clone)]
pub(crate) struct Phone {
    pub(crate) id: DeviceId,
    pub(crate) user: UserName,
    pub(crate) key: NewKey,
    pub(crate) binding: StoredBinding,
}

impl Phone {
    /// As the one who acts.
    pub(crate) fn actor(&self) -> Actor {
        Actor::Device(self.id)
    }
}

impl Entropy for World {
    /// Never the same twice in one world; nothing here must be unpredictable.
    fn fill(&self, buffer: &mut [u8]) {
        let number = self.counter.fetch_add(1, Ordering::Relaxed);
        let digest = Digest::of(number.to_be_bytes());
        for (to, from) in buffer.iter_mut().zip(digest.0.iter().cycle()) {
            *to = *from;
        }
    }
}

impl World {
    /// On each kind of database, one.
    pub(crate) async fn each() -> Vec<Self> {
        let mut worlds = Vec::new();
        for database in Database::each().await {
            let (store, other) = (database.open().await, database.open().await);
            let counter = AtomicU64::new(0);
            let nobody = (Id::from_uuid(uuid::Uuid::nil()), Actor::Operator);
            let mut world = Self { store, other, tenant_id: nobody.0, client: nobody.1, counter, database };
            world.tenant_id = world.tenant("acme").await;
            world.client = world.client().await;
            worlds.push(world);
        }
        worlds
    }

    /// A fresh id.
    pub(crate) fn id<K>(&self) -> Id<K> {
        new_id(NOW, self)
    }

    /// A fresh digest.
    pub(crate) fn digest(&self) -> Digest {
        let mut bytes = [0; 32];
        self.fill(&mut bytes);
        Digest(bytes)
    }

    /// A fresh key. The store never looks at the point itself.
    pub(crate) fn key(&self) -> NewKey {
        let mut public_key = [4; 65];
        self.fill(&mut public_key[1..]);
        let thumbprint: Thumbprint = Digest::of(public_key).to_b64u().parse().unwrap();
        NewKey { thumbprint, public_key }
    }

    /// A fresh binding.
    pub(crate) fn binding(&self) -> StoredBinding {
        let id = self.id();
        StoredBinding { id, jws: format!("binding.{id}") }
    }

    /// The tenant's own stamp of `actor`, at `NOW`.
    pub(crate) fn stamp(&self, actor: Actor) -> Stamp {
        self.stamp_at(actor, NOW)
    }

    pub(crate) fn stamp_at(&self, actor: Actor, at: Timestamp) -> Stamp {
        Stamp { command_id: self.id(), actor, tenant_id: self.tenant_id, request_id: "test".to_owned(), at }
    }

    /// The operator's stamp in another tenant.
    pub(crate) fn stamp_in(&self, tenant_id: TenantId) -> Stamp {
        Stamp { tenant_id, ..self.stamp(Actor::Operator) }
    }

    pub(crate) async fn tenant(&self, slug: &str) -> TenantId {
        let tenant_id = self.id();
        let command =
            CreateTenant { stamp: self.stamp_in(tenant_id), slug: slug.to_owned(), name: format!("{slug} Inc.") };
        assert_eq!(self.store.create_tenant(command).await, Ok(CreateTenantOutcome::Created));
        tenant_id
    }

    pub(crate) fn new_client(&self, scopes: &str) -> CreateApiClient {
        CreateApiClient {
            stamp: self.stamp(Actor::Operator),
            id: self.id(),
            name: "identity provider".to_owned(),
            scopes: scopes.parse::<Scopes>().unwrap(),
            applications: None,
            seal: "client".to_owned(),
            key: self.new_key(),
        }
    }

    /// A secret for an API client.
    pub(crate) fn new_key(&self) -> NewApiKey {
        NewApiKey {
            id: self.id(),
            credential: Credential::ApiKey(self.digest()),
            expires_at: None,
            seal: "key".to_owned(),
        }
    }

    /// A live API client, as the one who acts.
    pub(crate) async fn client(&self) -> Actor {
        let command = self.new_client("admin");
        let (client_id, key_id): (ApiClientId, ApiKeyId) = (command.id, command.key.id);
        assert_eq!(self.store.create_api_client(command).await, Ok(CreateApiClientOutcome::Created));
        Actor::ApiClient { client_id, key_id }
    }

    pub(crate) fn new_enrollment(&self, external_id: &str, confirmation: Confirmation) -> CreateEnrollment {
        CreateEnrollment {
            stamp: self.stamp(self.client),
            id: self.id(),
            new_user_id: self.id(),
            external_id: external_id.to_owned(),
            display_name: None,
            ticket: self.digest(),
            confirmation,
            purpose: EnrollmentPurpose::Approval,
            expires_at: NOW.plus_seconds(TTL_SECONDS),
            seal: SEAL.to_owned(),
            admission: Admission::Free,
        }
    }

    pub(crate) async fn invite(&self, external_id: &str) -> Invitation {
        let command = self.new_enrollment(external_id, Confirmation::Code);
        let (id, ticket) = (command.id, command.ticket);
        let user = self.create(command).await;
        Invitation { id, ticket, user }
    }

    /// An invitation that is made: its user.
    pub(crate) async fn create(&self, command: CreateEnrollment) -> UserName {
        match self.store.create_enrollment(command).await.unwrap() {
            CreateEnrollmentOutcome::Created(user) => user,
            other => panic!("{other:?}"),
        }
    }

    /// A claim of the invitation by a new phone, to be confirmed with [`CODE`].
    pub(crate) fn claim(&self, invitation: &Invitation) -> ClaimTicket {
        let device_id = self.id();
        ClaimTicket {
            stamp: self.stamp(Actor::Device(device_id)),
            ticket: invitation.ticket,
            enrollment_id: invitation.id,
            user_id: invitation.user.id,
            device_id,
            description: DeviceDescription {
                name: "Phone".to_owned(),
                platform: Platform::Android,
                model: Some("M".to_owned()),
                os_version: None,
                app_id: None,
                app_version: Some("1.0".to_owned()),
                installation_id: None,
            },
            push: PushBinding::Fcm { token: "token".to_owned(), project: None },
            purpose: EnrollmentPurpose::Approval,
            device_key: self.key(),
            uv_key: None,
            activation: Activation::ByCode(CODE.to_owned()),
            claim_seal: SEAL.to_owned(),
            max_devices_per_user: 10,
            is_guarded: false,
            reply: self.reply(),
        }
    }

    pub(crate) fn reply(&self) -> Reply {
        let artefact = self.digest();
        let body = format!("{{\"reply_to\":\"{}\"}}", artefact.to_b64u());
        Reply { artefact, body, expires_at: NOW.plus_seconds(86_400) }
    }

    /// An invitation that a phone has claimed; its code is not typed yet.
    pub(crate) async fn waiting(&self, external_id: &str) -> (Invitation, ClaimTicket) {
        let invitation = self.invite(external_id).await;
        let claim = self.claim(&invitation);
        assert_eq!(self.store.claim_ticket(claim.clone()).await, Ok(ClaimOutcome::Claimed));
        (invitation, claim)
    }

    pub(crate) fn confirm(&self, invitation: &Invitation, claim: &ClaimTicket, code: &str) -> ConfirmEnrollment {
        ConfirmEnrollment {
            stamp: self.stamp(self.client),
            id: invitation.id,
            device_id: claim.device_id,
            code: code.to_owned(),
            binding: self.binding(),
            is_guarded: false,
        }
    }

    /// An active phone of the user.
    pub(crate) async fn phone(&self, external_id: &str) -> Phone {
        let invitation = self.invite(external_id).await;
        let binding = self.binding();
        let claim = ClaimTicket { activation: Activation::AtOnce(binding.clone()), ..self.claim(&invitation) };
        let phone = Phone { id: claim.device_id, user: invitation.user, key: claim.device_key.clone(), binding };
        assert_eq!(self.store.claim_ticket(claim).await, Ok(ClaimOutcome::Claimed));
        phone
    }

    pub(crate) async fn device(&self, id: DeviceId) -> Option<DeviceRecord> {
        self.store.device(self.tenant_id, id).await.unwrap()
    }

    pub(crate) async fn device_count(&self, user_id: UserId) -> u32 {
        self.store.user(self.tenant_id, user_id).await.unwrap().unwrap().device_count
    }

    pub(crate) fn new_status(&self, actor: Actor, device_id: DeviceId, change: StatusChange) -> ChangeDeviceStatus {
        ChangeDeviceStatus { stamp: self.stamp(actor), device_id, change, key: None, reply: None }
    }

    pub(crate) async fn change(&self, device_id: DeviceId, change: StatusChange) -> ChangeDeviceStatusOutcome {
        self.store.change_device_status(self.new_status(self.client, device_id, change)).await.unwrap()
    }

    /// How often nodes stood in each other's way so that the database had to step in. Closes them.
    pub(crate) async fn deadlocks(&self) -> i64 {
        self.store.close().await;
        self.other.close().await;
        self.database.deadlocks().await
    }

    /// The kinds of all events of the tenant, in the order of the alphabet of their words.
    pub(crate) async fn kinds(&self) -> Vec<EventKind> {
        let mut last = 0;
        let mut kinds = Vec::new();
        while self.store.position_events(self.tenant_id, 1000).await.unwrap() > 0 {}
        loop {
            let events = self.store.events(self.tenant_id, last, 200).await.unwrap();
            let Some(newest) = events.last() else { break };
            last = newest.position;
            kinds.extend(events.into_iter().map(|event| event.kind));
        }
        kinds.sort_by_key(|kind| kind.as_str());
        kinds
    }

    /// How many events of this kind there are.
    pub(crate) async fn count(&self, kind: EventKind) -> usize {
        self.kinds().await.into_iter().filter(|other| *other == kind).count()
    }
}

/// The kinds that are in `after` and were not in `before`.
pub(crate) fn new_kinds(before: &[EventKind], mut after: Vec<EventKind>) -> Vec<EventKind> {
    for kind in before {
        let position = after.iter().position(|other| other == kind);
        // An event is never taken back.
        after.remove(position.unwrap());
    }
    after
}
