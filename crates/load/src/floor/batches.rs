//! The store alone: create and decide through its ports, as the server gives them, with as many flows.
//!
//! What the server reads before (who may answer) never changes here, so it is read once, when the users are made. The
//! keys are none: the store never looks at them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use countersign_core::{
    actor::{Actor, Stamp},
    api_client::{Credential, NewApiKey, Scopes},
    challenge::{ChallengeFacts, ChallengeText},
    clock::Clock as _,
    device::{DeviceDescription, NewKey, StoredBinding},
    digest::Digest,
    policy::{Policy, PolicyRequest, effective},
    ports::{
        Reply, Store,
        api_clients::CreateApiClient,
        challenges::{CreateChallenge, CreateOutcome, DecideChallenge, DecideOutcome},
        enrollments::{Activation, Admission, ClaimOutcome, ClaimTicket, CreateEnrollment, CreateEnrollmentOutcome},
        tenants::CreateTenant,
    },
    push,
    verify::Verdict,
    wake::{WakeKey, WakeSink},
};
use countersign_proto::{
    ids::{ApiClientId, DeviceId, TenantId},
    jose::Thumbprint,
    push::PushBinding,
    vocabulary::{Confirmation, EnrollmentPurpose, Platform},
};
use countersign_store::{Options, connect};
use tokio::task::JoinSet;

use super::{Exchange, WARM_UP};
use crate::{
    LoadError,
    sample::{NUMBER, binding_id, id},
    system::{Stopwatch, SystemClock},
};

/// Users of each flow, in turn.
const USERS_PER_FLOW: usize = 4;

/// Nobody waits here.
struct Nobody;

impl WakeSink for Nobody {
    fn wake(&self, _: &[WakeKey]) {}
}

/// Sign-ins' worth of commands per second.
pub(super) async fn measure(
    exchange: &Exchange,
    database: &str,
    flows: usize,
    length: Duration,
) -> Result<f64, LoadError> {
    let failed = |error: &dyn std::fmt::Display| LoadError::Failed(format!("the store alone: {error}"));
    let store = connect(database, Options::default(), Arc::new(Nobody)).await.map_err(|error| failed(&error))?;
    let tenant_id = id();
    let world = Arc::new(World {
        tenant_id,
        client: client(&*store, tenant_id).await?,
        challenge: exchange.challenge.clone(),
        response: exchange.response.clone(),
        binding: exchange.binding.clone(),
        store: Arc::clone(&store),
    });
    let mut enrolling = JoinSet::new();
    for flow in 0..flows {
        let world = Arc::clone(&world);
        enrolling.spawn(async move {
            let mut users = Vec::new();
            for user in 0..USERS_PER_FLOW {
                users.push(world.enroll(&format!("floor-{flow}-{user}")).await?);
            }
            Ok::<_, LoadError>(users)
        });
    }
    let mut all = Vec::new();
    while let Some(users) = enrolling.join_next().await {
        all.push(users.map_err(|error| failed(&error))??);
    }
    let rate = drive(&world, all, length).await;
    store.close().await;
    rate
}

async fn drive(world: &Arc<World>, users: Vec<Vec<User>>, length: Duration) -> Result<f64, LoadError> {
    let counted = Arc::new(AtomicU64::new(0));
    let (began, end) = (Stopwatch::start(), WARM_UP + length);
    let mut running = JoinSet::new();
    for users in users {
        let (world, counted) = (Arc::clone(world), Arc::clone(&counted));
        running.spawn(async move {
            for user in users.iter().cycle() {
                if began.elapsed() >= end {
                    break;
                }
                world.sign_in(user).await?;
                counted.fetch_add(u64::from((WARM_UP..end).contains(&began.elapsed())), Ordering::Relaxed);
            }
            Ok::<_, LoadError>(())
        });
    }
    while let Some(flow) = running.join_next().await {
        flow.map_err(|error| LoadError::Failed(error.to_string()))??;
    }
    #[expect(clippy::cast_precision_loss, reason = "a count far below 2^52")]
    let count = counted.load(Ordering::Relaxed) as f64;
    Ok(count / length.as_secs_f64())
}

/// A user with a device.
struct User {
    device_id: DeviceId,
    key: Thumbprint,
    binding: StoredBinding,
    addressees: countersign_core::ports::challenges::Addressees,
}

/// A tenant with an API client.
struct World {
    store: Arc<dyn Store>,
    tenant_id: TenantId,
    client: Actor,
    challenge: String,
    response: String,
    binding: String,
}

fn stamp(tenant_id: TenantId, actor: Actor) -> Stamp {
    let command_id = id();
    Stamp { command_id, actor, tenant_id, request_id: command_id.to_string(), at: SystemClock.now() }
}

fn digest() -> Digest {
    Digest::of(id::<()>().to_string())
}

fn wrong(error: &dyn std::fmt::Debug) -> LoadError {
    LoadError::Failed(format!("the store alone: {error:?}"))
}

async fn client(store: &dyn Store, tenant_id: TenantId) -> Result<Actor, LoadError> {
    let slug = format!("floor-{}", tenant_id.as_uuid().simple());
    let stamp = || stamp(tenant_id, Actor::Operator);
    let tenant = CreateTenant { stamp: stamp(), slug, name: "floor".to_owned() };
    store.create_tenant(tenant).await.map_err(|error| wrong(&error))?;
    let (client_id, key_id): (ApiClientId, _) = (id(), id());
    let command = CreateApiClient {
        stamp: stamp(),
        id: client_id,
        name: "floor".to_owned(),
        scopes: "challenges,enrollments".parse::<Scopes>().map_err(|error| wrong(&error))?,
        applications: None,
        seal: String::new(),
        key: NewApiKey { id: key_id, credential: Credential::ApiKey(digest()), expires_at: None, seal: String::new() },
    };
    store.create_api_client(command).await.map_err(|error| wrong(&error))?;
    Ok(Actor::ApiClient { client_id, key_id })
}

impl World {
    async fn enroll(&self, external_id: &str) -> Result<User, LoadError> {
        let expires_at = SystemClock.now().plus_seconds(600);
        let invitation = CreateEnrollment {
            stamp: stamp(self.tenant_id, self.client),
            id: id(),
            new_user_id: id(),
            external_id: external_id.to_owned(),
            display_name: None,
            ticket: digest(),
            confirmation: Confirmation::None,
            purpose: EnrollmentPurpose::Approval,
            expires_at,
            seal: digest().to_b64u(),
            admission: Admission::Free,
        };
        let (enrollment_id, ticket) = (invitation.id, invitation.ticket);
        let user = match self.store.create_enrollment(invitation).await.map_err(|error| wrong(&error))? {
            CreateEnrollmentOutcome::Created(user) => user,
            outcome => return Err(wrong(&outcome)),
        };
        let device_id = id();
        let key: Thumbprint = digest().to_b64u().parse().map_err(|error| wrong(&error))?;
        let binding = StoredBinding { id: binding_id(), jws: self.binding.clone() };
        let mut public_key = [4; 65];
        for (place, byte) in public_key.iter_mut().skip(1).zip(digest().0.iter().cycle()) {
            *place = *byte;
        }
        let claim = ClaimTicket {
            stamp: stamp(self.tenant_id, Actor::Device(device_id)),
            ticket,
            enrollment_id,
            user_id: user.id,
            device_id,
            description: DeviceDescription {
                name: "load".to_owned(),
                platform: Platform::Other,
                model: None,
                os_version: None,
                app_id: None,
                app_version: None,
                installation_id: None,
            },
            push: PushBinding::None,
            purpose: EnrollmentPurpose::Approval,
            device_key: NewKey { thumbprint: key.clone(), public_key },
            uv_key: None,
            activation: Activation::AtOnce(binding.clone()),
            claim_seal: digest().to_b64u(),
            max_devices_per_user: 10,
            is_guarded: false,
            reply: Reply { artefact: digest(), body: "{}".to_owned(), expires_at },
        };
        match self.store.claim_ticket(claim).await.map_err(|error| wrong(&error))? {
            ClaimOutcome::Claimed => {}
            outcome => return Err(wrong(&outcome)),
        }
        let addressees = self.store.addressees(self.tenant_id, external_id).await.map_err(|error| wrong(&error))?;
        let addressees = addressees.ok_or_else(|| wrong(&"no addressees"))?;
        Ok(User { device_id, key, binding, addressees })
    }

    async fn sign_in(&self, user: &User) -> Result<(), LoadError> {
        let now = SystemClock.now();
        let Actor::ApiClient { client_id, .. } = self.client else { return Err(wrong(&"no client")) };
        let policy = effective(&Policy::default(), &PolicyRequest::default()).map_err(|error| wrong(&error))?;
        let (wrong_numbers_before_lock, lock_seconds) = (policy.wrong_numbers_before_lock, policy.lock_seconds);
        let (quiet_seconds_after_report, on_report) = (policy.quiet_seconds_after_report, policy.on_report);
        let challenge_id = id();
        let create = CreateChallenge {
            stamp: stamp(self.tenant_id, self.client),
            facts: ChallengeFacts {
                id: challenge_id,
                tenant_id: self.tenant_id,
                client_id,
                user: user.addressees.user.clone(),
                text: ChallengeText::of_action("sign_in"),
                policy,
                jws: self.challenge.clone(),
                created_at: now.floor_to_second(),
                expires_at: now.floor_to_second().plus_seconds(120),
            },
            devices_version: user.addressees.devices_version,
            number: Some(NUMBER.to_owned()),
            deliveries: user.addressees.devices.iter().map(|device| push::first_delivery(device, true, now)).collect(),
            idempotency: None,
        };
        match self.store.create_challenge(create).await.map_err(|error| wrong(&error))? {
            CreateOutcome::Created(_) => {}
            outcome => return Err(wrong(&outcome)),
        }
        let decide = DecideChallenge {
            stamp: stamp(self.tenant_id, Actor::Device(user.device_id)),
            challenge_id,
            user_id: user.addressees.user.id,
            device_id: user.device_id,
            key: user.key.clone(),
            binding: user.binding.clone(),
            response: self.response.clone(),
            verdict: Verdict::Approve { with_number: true },
            wrong_numbers_before_lock,
            lock_seconds,
            quiet_seconds_after_report,
            on_report,
            flags: Vec::new(),
            code: None,
        };
        match self.store.decide_challenge(decide).await.map_err(|error| wrong(&error))? {
            DecideOutcome::Won { .. } => Ok(()),
            outcome => Err(wrong(&outcome)),
        }
    }
}
