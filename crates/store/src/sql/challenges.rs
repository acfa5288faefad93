//! Challenges: the hot path.
//!
//! Creating, deciding and closing are set-based: each function below `Tx` takes the commands of one round and
//! runs one statement per table for all of them. A command whose row did not change has lost; its true state is
//! read in the same transaction. To add a command: a file beside these, and its variant in `batch.rs`.

#[path = "challenges/close.rs"]
mod close;
#[path = "challenges/code.rs"]
mod code;
#[path = "challenges/create.rs"]
mod create;
#[path = "challenges/decide.rs"]
mod decide;
#[path = "challenges/ended.rs"]
mod ended;
#[path = "challenges/idempotency.rs"]
mod idempotency;
#[path = "challenges/inbox.rs"]
mod inbox;
#[path = "challenges/read.rs"]
mod read;
#[path = "challenges/reported.rs"]
mod reported;

use async_trait::async_trait;
use countersign_core::{
    challenge::{ChallengeRecord, DeliveryRecord},
    device::StoredBinding,
    ports::{
        PageRequest, StoreError,
        challenges::{
            Addressees, Asker, ChallengeFilter, Challenges, ChangedChallenge, CloseChallenge, CloseOutcome,
            CreateChallenge, CreateOutcome, DecideChallenge, DecideOutcome, DueChallenge, EnterCode, EnterCodeOutcome,
            InboxEntry, RecordedResponse, StoredCreation,
        },
    },
    verify::DecisionState,
};
use countersign_proto::{
    ids::{ApiClientId, ChallengeId, DeviceId, TenantId},
    jose::Thumbprint,
    timestamp::Timestamp,
    vocabulary::ChallengeStatus,
};

pub(super) use self::{
    ended::{Ended, Withdrawn, withdrawal},
    inbox::InboxOf,
    read::{AddresseesOf, ChallengeById},
};
use super::{Database, batch::SetCommand};

/// The statements of the files below this one.
pub(super) struct Statements {
    code: code::Statements,
    create: create::Statements,
    decide: decide::Statements,
    close: close::Statements,
    ended: ended::Statements,
    idempotency: idempotency::Statements,
    inbox: inbox::Statements,
    read: read::Statements,
    reported: reported::Statements,
}

impl Statements {
    pub(super) fn new() -> Self {
        Self {
            code: code::Statements::new(),
            create: create::Statements::new(),
            decide: decide::Statements::new(),
            close: close::Statements::new(),
            ended: ended::Statements::new(),
            idempotency: idempotency::Statements::new(),
            inbox: inbox::Statements::new(),
            read: read::Statements::new(),
            reported: reported::Statements::new(),
        }
    }
}

#[async_trait]
impl Challenges for Database {
    async fn addressees(&self, tenant_id: TenantId, external_id: &str) -> Result<Option<Addressees>, StoreError> {
        self.lookups.addressees.find((tenant_id, external_id.to_owned())).await
    }

    async fn stored_creation(
        &self,
        client_id: ApiClientId,
        key: &str,
        now: Timestamp,
    ) -> Result<Option<StoredCreation>, StoreError> {
        idempotency::stored_creation(self, client_id, key, now).await
    }

    async fn create_challenge(&self, command: CreateChallenge) -> Result<CreateOutcome, StoreError> {
        self.write_in_batch(command, |ask| SetCommand::Create(Box::new(ask))).await
    }

    async fn decide_challenge(&self, command: DecideChallenge) -> Result<DecideOutcome, StoreError> {
        self.write_in_batch(command, |ask| SetCommand::Decide(Box::new(ask))).await
    }

    async fn enter_code(&self, command: EnterCode) -> Result<EnterCodeOutcome, StoreError> {
        self.write(command).await
    }

    async fn close_challenge(&self, command: CloseChallenge) -> Result<CloseOutcome, StoreError> {
        self.write_in_batch(command, |ask| SetCommand::Close(Box::new(ask))).await
    }

    async fn challenge_for(
        &self,
        asker: Asker,
        tenant_id: TenantId,
        id: ChallengeId,
    ) -> Result<Option<ChallengeRecord>, StoreError> {
        self.lookups.challenges.find((asker, tenant_id, id)).await
    }

    async fn challenges(
        &self,
        tenant_id: TenantId,
        filter: ChallengeFilter,
        page: PageRequest<ChallengeId>,
    ) -> Result<Vec<ChallengeRecord>, StoreError> {
        read::challenges(self, tenant_id, filter, page).await
    }

    async fn deliveries(&self, tenant_id: TenantId, id: ChallengeId) -> Result<Vec<DeliveryRecord>, StoreError> {
        read::deliveries(self, tenant_id, id).await
    }

    async fn recorded_response(&self, id: ChallengeId) -> Result<Option<RecordedResponse>, StoreError> {
        read::recorded_response(self, id).await
    }

    async fn decision_state(
        &self,
        id: ChallengeId,
        device_id: DeviceId,
        key: &Thumbprint,
        binding: &StoredBinding,
    ) -> Result<Option<DecisionState>, StoreError> {
        read::decision_state(self, id, device_id, key, binding).await
    }

    async fn inbox(&self, device_id: DeviceId, now: Timestamp) -> Result<Vec<InboxEntry>, StoreError> {
        Ok(self.lookups.inboxes.find((device_id, now)).await?.unwrap_or_default())
    }

    async fn inbox_entry(
        &self,
        device_id: DeviceId,
        id: ChallengeId,
    ) -> Result<Option<(InboxEntry, ChallengeStatus)>, StoreError> {
        inbox::entry(self, device_id, id).await
    }

    async fn changed(&self, ids: &[ChallengeId], now: Timestamp) -> Result<Vec<ChangedChallenge>, StoreError> {
        inbox::changed(self, ids, now).await
    }

    async fn inboxes(&self, ids: &[DeviceId], now: Timestamp) -> Result<Vec<(DeviceId, ChallengeId)>, StoreError> {
        inbox::inboxes(self, ids, now).await
    }

    async fn due_challenges(&self, now: Timestamp, limit: u32) -> Result<Vec<DueChallenge>, StoreError> {
        inbox::due(self, now, limit).await
    }
}
