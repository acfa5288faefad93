//! Challenges: the hot path. Create, decide, cancel and expire are set-based: one statement per table for a
//! whole batch of commands (see `docs/architecture.md`, "The writer").

mod code;
mod decide;

use async_trait::async_trait;
use countersign_proto::{
    ids::{ApiClientId, ChallengeId, DeviceId, TenantId, UserId},
    jose::Thumbprint,
    push::PushBinding,
    timestamp::Timestamp,
    vocabulary::{ChallengeReason, ChallengeStatus, DeliveryState, PushChannel},
};

pub use self::{
    code::{DisplayedCode, EnterCode, EnterCodeOutcome, TypedCode},
    decide::{DecideChallenge, DecideOutcome, RecordedResponse},
};
use super::{PageRequest, StoreError, users::UserName};
use crate::{
    actor::Stamp,
    challenge::{ChallengeFacts, ChallengeRecord, DeliveryRecord},
    device::{StoredBinding, Undeliverable},
    digest::Digest,
    push::budget::{Standing, Suppression},
    verify::DecisionState,
};

/// A user and the devices that may answer: read before a challenge is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addressees {
    /// Who.
    pub user: UserName,
    /// Moves with every change of the user's devices: the write requires that it has not moved since.
    pub devices_version: i64,
    /// The user's lock; may lie in the past.
    pub locked_until: Option<Timestamp>,
    /// Active devices with the purpose `approval`, in id order.
    pub devices: Vec<Addressee>,
}

/// A device that may answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addressee {
    /// The device.
    pub device_id: DeviceId,
    /// Whether it has a second key.
    pub has_uv_key: bool,
    /// Where to ring.
    pub push: PushBinding,
    /// Its channel; stays when the token is gone.
    pub channel: PushChannel,
    /// Whether the provider said that the token is gone.
    pub is_token_gone: bool,
    /// Why and since when the provider refuses the token for good, if it does.
    pub undeliverable: Option<Undeliverable>,
    /// When it last decided a challenge or, if that is later, became active: what makes it dormant.
    pub last_used_at: Timestamp,
}

/// One addressed device of a new challenge. `Queued` also writes a notification, unless the user's limits say that
/// nobody is rung: it becomes `Suppressed` then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDelivery {
    /// The device.
    pub device_id: DeviceId,
    /// Its channel now.
    pub channel: PushChannel,
    /// As [`crate::push::first_delivery`] says.
    pub state: DeliveryState,
    /// Why it is not even tried.
    pub last_error: Option<String>,
}

/// An `Idempotency-Key` and what it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// 1–255 visible ASCII; per API client.
    pub key: String,
    /// SHA-256 of the request's body bytes.
    pub body: Digest,
    /// The reply's JSON, without the number.
    pub reply: String,
    /// The same, should the user's limits say that nobody is rung.
    pub suppressed_reply: String,
    /// Forgotten from then on.
    pub expires_at: Timestamp,
}

/// Makes a challenge: challenge, deliveries, notifications and `challenge.created` in one transaction, which also
/// decides whether it rings ([`crate::push::budget`]).
#[derive(Debug, Clone)]
pub struct CreateChallenge {
    /// Who (the API client), where, when.
    pub stamp: Stamp,
    /// What never changes.
    pub facts: ChallengeFacts,
    /// As [`Addressees`] said.
    pub devices_version: i64,
    /// The number, kept until the end for an idempotent replay.
    pub number: Option<String>,
    /// The addressed devices.
    pub deliveries: Vec<NewDelivery>,
    /// If the caller sent a key.
    pub idempotency: Option<Idempotency>,
}

/// What an idempotency key stands for already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredCreation {
    /// SHA-256 of the first request's body bytes.
    pub body: Digest,
    /// The first reply's JSON, without the number.
    pub reply: String,
    /// The number, while the challenge is pending.
    pub number: Option<String>,
}

/// What came of a creation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CreateOutcome {
    /// It exists.
    Created(Created),
    /// The idempotency key was used before (compare the bodies): nothing was changed.
    Stored(StoredCreation),
    /// A device of the user changed since it was read: read and sign again.
    DevicesChanged,
    /// The user has as many pending challenges as allowed.
    TooManyPending(Standing),
}

/// What became of a new challenge's pushes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Created {
    /// Why its `Queued` deliveries became `Suppressed`; `None` if they did not, or there were none.
    pub suppressed: Option<Suppression>,
    /// What is left of the user's limits.
    pub standing: Standing,
}

/// For whom a challenge is looked up. What is not theirs is not found by the statement itself, so that it costs no more
/// than what there is not: how long an answer takes would tell the two apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Asker {
    /// Whoever may read each of the tenant.
    Anybody,
    /// Devices of this user.
    User(UserId),
    /// The client that asked for it.
    Client(ApiClientId),
}

/// A challenge that is not what it was when somebody began to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangedChallenge {
    /// Which.
    pub id: ChallengeId,
    /// Whether it still waits, now for its code.
    pub is_awaiting_code: bool,
}

/// What came of a cancellation or expiry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseOutcome {
    /// It ended so. Event: `challenge.cancelled|expired`.
    Closed,
    /// It had ended before; how.
    AlreadyClosed(ChallengeStatus),
    /// Not due yet (expiry only).
    NotDue,
    /// No such challenge for this actor.
    NotFound,
}

/// Ends a pending challenge without a response.
#[derive(Debug, Clone)]
pub struct CloseChallenge {
    /// Who, where, when.
    pub stamp: Stamp,
    /// Which challenge.
    pub challenge_id: ChallengeId,
    /// Its user.
    pub user_id: UserId,
    /// How.
    pub how: Close,
}

/// How a challenge ends without a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Close {
    /// By the client that created it (the stamp's actor), while unexpired; `reason:"client"`.
    CancelByClient,
    /// Because its time is up at `stamp.at`.
    Expire,
    /// Because its organisation has been disabled, while unexpired; `reason:"tenant_disabled"`.
    TenantDisabled,
    /// Because an older database was put back, while unexpired; `reason:"database_restored"`.
    DatabaseRestored,
}

/// A challenge whose time is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DueChallenge {
    /// Its organisation.
    pub tenant_id: TenantId,
    /// Its user.
    pub user_id: UserId,
    /// Its id.
    pub id: ChallengeId,
}

/// Which challenges to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChallengeFilter {
    /// Created by this client.
    pub client_id: Option<ApiClientId>,
    /// Of this user (NFC).
    pub external_id: Option<String>,
    /// Of this user (our id).
    pub user_id: Option<UserId>,
    /// Decided by this device, or its code is shown there.
    pub device_id: Option<DeviceId>,
    /// Ended for this reason.
    pub reason: Option<ChallengeReason>,
    /// True at `now`: a pending one past its end counts as expired.
    pub status: Option<ChallengeStatus>,
    /// Not older than this.
    pub created_after: Option<Timestamp>,
    /// Older than this.
    pub created_before: Option<Timestamp>,
    /// For `status`.
    pub now: Option<Timestamp>,
}

/// One entry of a device's inbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboxEntry {
    /// The challenge.
    pub id: ChallengeId,
    /// `countersign-challenge+jwt`.
    pub jws: String,
    /// Its end.
    pub expires_at: Timestamp,
}

/// Challenges.
#[async_trait]
pub trait Challenges: Send + Sync {
    /// The user and the devices that may answer; `None` if the user is unknown.
    async fn addressees(&self, tenant_id: TenantId, external_id: &str) -> Result<Option<Addressees>, StoreError>;
    /// What an idempotency key stands for at `now`.
    async fn stored_creation(
        &self,
        client_id: ApiClientId,
        key: &str,
        now: Timestamp,
    ) -> Result<Option<StoredCreation>, StoreError>;
    /// Makes a challenge.
    async fn create_challenge(&self, command: CreateChallenge) -> Result<CreateOutcome, StoreError>;
    /// Records a response.
    async fn decide_challenge(&self, command: DecideChallenge) -> Result<DecideOutcome, StoreError>;
    /// Takes a code in mode `display`.
    async fn enter_code(&self, command: EnterCode) -> Result<EnterCodeOutcome, StoreError>;
    /// Cancels or expires.
    async fn close_challenge(&self, command: CloseChallenge) -> Result<CloseOutcome, StoreError>;
    /// By id, whosever it is.
    async fn challenge(&self, tenant_id: TenantId, id: ChallengeId) -> Result<Option<ChallengeRecord>, StoreError> {
        self.challenge_for(Asker::Anybody, tenant_id, id).await
    }
    /// By id, if it is the asker's.
    async fn challenge_for(
        &self,
        asker: Asker,
        tenant_id: TenantId,
        id: ChallengeId,
    ) -> Result<Option<ChallengeRecord>, StoreError>;
    /// The tenant's challenges, newest first.
    async fn challenges(
        &self,
        tenant_id: TenantId,
        filter: ChallengeFilter,
        page: PageRequest<ChallengeId>,
    ) -> Result<Vec<ChallengeRecord>, StoreError>;
    /// The addressed devices, in id order.
    async fn deliveries(&self, tenant_id: TenantId, id: ChallengeId) -> Result<Vec<DeliveryRecord>, StoreError>;
    /// The response that decided it, or was shown its code, if there is one.
    async fn recorded_response(&self, id: ChallengeId) -> Result<Option<RecordedResponse>, StoreError>;
    /// The state that changes, for a response by this device and key under this binding; `None` if either is
    /// unknown.
    async fn decision_state(
        &self,
        id: ChallengeId,
        device_id: DeviceId,
        key: &Thumbprint,
        binding: &StoredBinding,
    ) -> Result<Option<DecisionState>, StoreError>;
    /// Pending at `now` and addressed to the device, oldest first. Empty unless the device is active.
    async fn inbox(&self, device_id: DeviceId, now: Timestamp) -> Result<Vec<InboxEntry>, StoreError>;
    /// Whether and how a challenge addressed to the device stands; `None` if it is not addressed to it.
    async fn inbox_entry(
        &self,
        device_id: DeviceId,
        id: ChallengeId,
    ) -> Result<Option<(InboxEntry, ChallengeStatus)>, StoreError>;
    /// Of these challenges, the ones that are no longer pending at `now`, or await their code. One statement, for the
    /// node's poller.
    async fn changed(&self, ids: &[ChallengeId], now: Timestamp) -> Result<Vec<ChangedChallenge>, StoreError>;
    /// The inboxes of these devices at `now`, as pairs. One statement, for the node's poller.
    async fn inboxes(&self, ids: &[DeviceId], now: Timestamp) -> Result<Vec<(DeviceId, ChallengeId)>, StoreError>;
    /// Challenges stored as pending with `expires_at` ≤ `now`, oldest first, at most `limit`.
    async fn due_challenges(&self, now: Timestamp, limit: u32) -> Result<Vec<DueChallenge>, StoreError>;
}
