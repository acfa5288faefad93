//! Devices, their keys, and the first replies to what they sent.
//!
//! What is read here is judged elsewhere: a key is believed only under a binding that verifies, and whether a
//! device may answer is decided by the conditional write of its answer.
//! Changes of status are in `devices/status.rs`, of the push channel in `devices/push.rs`; a device begins, and
//! ends unconfirmed, in `enrollments/`.

use async_trait::async_trait;
use countersign_core::{
    device::{DeviceDescription, DeviceRecord, DeviceVersions, PushHealth, StoredBinding, StoredKey, Undeliverable},
    digest::Digest,
    policy::devices::DeviceStanding,
    ports::{
        PageRequest, Reply, StoreError,
        devices::{
            ChangeDeviceStatus, ChangeDeviceStatusOutcome, DeviceFilter, Devices, DisputeNotice, DisputeNoticeOutcome,
            NoticeRecord, RenameDevice, RenameDeviceOutcome, RevokeAllDevices, RotateKeys, RotateKeysOutcome,
            UpdatePush, UpdatePushOutcome,
        },
        users::UserName,
    },
};
use countersign_proto::{
    ids::{DeviceId, TenantId, UserId},
    jose::Thumbprint,
    push::PushBinding,
    timestamp::Timestamp,
    vocabulary::Word as _,
};
use uuid::Uuid;

use super::{Columns, Database, Outcome, Plain, Query, Row, Tx, query};
use crate::{failure::Failure, rows, statement::Statement};

#[path = "devices/dispute.rs"]
mod dispute;
#[path = "devices/key.rs"]
mod key;
#[path = "devices/many.rs"]
mod many;
#[path = "devices/notices.rs"]
mod notices;
#[path = "devices/push.rs"]
mod push;
#[path = "devices/rename.rs"]
mod rename;
#[path = "devices/rotate.rs"]
mod rotate;
#[path = "devices/standing.rs"]
mod standing;
#[path = "devices/status.rs"]
mod status;

pub(super) use self::{
    key::{KeyByThumbprint, insert_keys},
    many::supersede,
    notices::SIGN_INS,
};

/// The statements that share their columns.
pub(super) struct Statements {
    key: key::Statements,
    by_id: Statement,
    of_user: Statement,
    of_installation: Statement,
    of_tenant: Statement,
    notices: Statement,
    status: status::Statements,
}

impl Statements {
    pub(super) fn new() -> Self {
        let select = |name: &str, which: &str| {
            Statement::new(format!(
                "-- {name}
                SELECT devices.id AS id, devices.tenant_id AS tenant_id, devices.user_id AS user_id, external_id,
                    display_name, name, platform, model, os_version, app_id, app_version, installation_id, purpose,
                    status, key_thumbprint, uv_thumbprint, binding_id, binding, push_channel, push_token_gone,
                    push_undeliverable, push_undeliverable_at, push_updated_at, devices.created_at AS created_at,
                    activated_at, revoked_at, revoke_reason, accepted_at, pulled_at, answered_at, error, error_at
                FROM devices JOIN users ON users.id = devices.user_id AND users.tenant_id = devices.tenant_id
                    AND users.erased_at IS NULL
                LEFT JOIN push_health ON push_health.device_id = devices.id
                WHERE devices.tenant_id = $1 AND {which}"
            ))
        };
        // One statement per index that leads to the page; what else is asked for filters its rows. Ids begin with the
        // time of the registration.
        let page = "devices.id < $2 AND devices.id >= $6 AND ($3 IS NULL OR status = $3)
                AND ($4 IS NULL OR platform = $4) AND ($7 IS NULL OR app_id = $7)";
        let any_installation = "($8 IS NULL OR installation_id = $8)";
        let newest_first = "ORDER BY devices.id DESC LIMIT $5";
        Self {
            key: key::Statements::new(),
            by_id: select("device", "devices.id = $2"),
            of_user: select(
                "devices_of_user",
                &format!("{page} AND {any_installation} AND devices.user_id = $9 {newest_first}"),
            ),
            of_installation: select(
                "devices_of_installation",
                &format!("{page} AND installation_id = $8 {newest_first}"),
            ),
            of_tenant: select("devices", &format!("{page} AND {any_installation} {newest_first}")),
            notices: notices::statement(),
            status: status::Statements::new(),
        }
    }
}

#[async_trait]
impl Devices for Database {
    async fn key(&self, thumbprint: &Thumbprint) -> Result<Option<StoredKey>, StoreError> {
        self.lookups.keys.find(thumbprint.clone()).await
    }

    async fn device(&self, tenant_id: TenantId, id: DeviceId) -> Result<Option<DeviceRecord>, StoreError> {
        self.fetch_optional(by_id(&self.statements.devices, tenant_id, id)).await?.as_ref().map(device).transpose()
    }

    async fn devices(
        &self,
        tenant_id: TenantId,
        filter: DeviceFilter,
        page: PageRequest<DeviceId>,
    ) -> Result<Vec<DeviceRecord>, StoreError> {
        let user_id = match &filter.external_id {
            None => filter.user_id,
            Some(external_id) => match self.user_id(tenant_id, external_id).await? {
                Some(id) if filter.user_id.is_none_or(|wanted| wanted == id) => Some(id),
                _ => return Ok(Vec::new()),
            },
        };
        let statements = &self.statements.devices;
        let statement = match (user_id, &filter.installation_id) {
            (Some(_), _) => &statements.of_user,
            (None, Some(_)) => &statements.of_installation,
            (None, None) => &statements.of_tenant,
        };
        let (before, from) = bounds(&filter, page.before);
        let list = query(statement)
            .bind(tenant_id.as_uuid())
            .bind(before)
            .bind(filter.status.map(|status| status.as_str()))
            .bind(filter.platform.map(|platform| platform.as_str()))
            .bind(i64::from(page.limit))
            .bind(from)
            .bind(filter.app_id)
            .bind(filter.installation_id);
        let list = match user_id {
            Some(id) => list.bind(id.as_uuid()),
            None => list,
        };
        self.fetch_all(list).await?.iter().map(device).collect()
    }

    async fn device_standings(
        &self,
        tenant_id: TenantId,
        page: PageRequest<DeviceId>,
    ) -> Result<Vec<DeviceStanding>, StoreError> {
        let rows = self.fetch_all(standing::page(tenant_id, page)).await?;
        rows.iter().map(standing::read).collect()
    }

    async fn change_device_status(&self, command: ChangeDeviceStatus) -> Result<ChangeDeviceStatusOutcome, StoreError> {
        self.write(command).await
    }

    async fn revoke_all_devices(&self, command: RevokeAllDevices) -> Result<Option<Vec<DeviceId>>, StoreError> {
        self.write(command).await
    }

    async fn rename_device(&self, command: RenameDevice) -> Result<RenameDeviceOutcome, StoreError> {
        self.write(command).await
    }

    async fn update_push(&self, command: UpdatePush) -> Result<UpdatePushOutcome, StoreError> {
        self.write(command).await
    }

    async fn rotate_keys(&self, command: RotateKeys) -> Result<RotateKeysOutcome, StoreError> {
        self.write(command).await
    }

    async fn dispute_notice(&self, command: DisputeNotice) -> Result<DisputeNoticeOutcome, StoreError> {
        self.write(command).await
    }

    async fn notices(
        &self,
        tenant_id: TenantId,
        user_id: UserId,
        device_id: DeviceId,
        since: Timestamp,
    ) -> Result<Vec<NoticeRecord>, StoreError> {
        let recent = query(&self.statements.devices.notices)
            .bind(tenant_id.as_uuid())
            .bind(user_id.as_uuid())
            .bind(device_id.as_uuid())
            .bind(since.as_millis());
        let recent = notices::kinds().fold(recent, |recent, kind| recent.bind(kind.as_str()));
        self.fetch_all(recent).await?.iter().map(notices::read).collect()
    }

    async fn reply(&self, artefact: Digest, now: Timestamp) -> Result<Option<String>, StoreError> {
        let reply = "-- reply
            SELECT body FROM replies WHERE artefact = $1 AND expires_at > $2
                AND 1 = (SELECT 1 FROM tenants WHERE tenants.id = replies.tenant_id AND tenants.disabled_at IS NULL)
                AND 1 = (SELECT 1 FROM users WHERE users.id = replies.user_id
                    AND users.tenant_id = replies.tenant_id AND users.erased_at IS NULL)";
        let row = self.fetch_optional(query(reply).bind(artefact.as_ref()).bind(now.as_millis())).await?;
        row.map(|row| Columns::new("replies", &row).text("body")).transpose()
    }

    async fn remember_reply(&self, tenant_id: TenantId, user_id: UserId, reply: Reply) -> Result<(), StoreError> {
        self.write(RememberReply { tenant_id, user_id, reply }).await
    }
}

impl Database {
    pub(super) async fn user_id(&self, tenant_id: TenantId, external_id: &str) -> Result<Option<UserId>, StoreError> {
        let by_external_id = "-- user_id
            SELECT id FROM users WHERE tenant_id = $1 AND external_id = $2";
        let row = self.fetch_optional(query(by_external_id).bind(tenant_id.as_uuid()).bind(external_id)).await?;
        row.map(|row| Columns::new("users", &row).id("id")).transpose()
    }
}

/// Keeps the first reply to an artefact that changed nothing.
struct RememberReply {
    tenant_id: TenantId,
    user_id: UserId,
    reply: Reply,
}

#[async_trait]
impl Plain for RememberReply {
    type Reply = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Outcome<()>, Failure> {
        insert_reply(tx, self.tenant_id, self.user_id, &self.reply).await?;
        Ok(Outcome::Commit(()))
    }
}

/// Keeps a reply, which goes with its user; an earlier one to the same artefact stays.
pub(super) async fn insert_reply(
    tx: &mut Tx<'_>,
    tenant_id: TenantId,
    user_id: UserId,
    reply: &Reply,
) -> Result<(), Failure> {
    let insert = "-- insert_reply
        INSERT INTO replies (artefact, tenant_id, body, expires_at, user_id) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (artefact) DO NOTHING";
    let insert = query(insert)
        .bind(reply.artefact.as_ref())
        .bind(tenant_id.as_uuid())
        .bind(&reply.body)
        .bind(reply.expires_at.as_millis())
        .bind(user_id.as_uuid());
    tx.execute(insert).await?;
    Ok(())
}

/// Ids below the first, and from the second on, are on the page. A time that is named is not part of it, as it is shown:
/// in whole seconds.
fn bounds(filter: &DeviceFilter, before: Option<DeviceId>) -> (Uuid, Uuid) {
    let before = before.map_or(Uuid::max(), DeviceId::as_uuid);
    let created_before = filter.created_before.map_or(Uuid::max(), rows::first_id_at);
    let from =
        filter.created_after.map_or(Uuid::nil(), |after| rows::first_id_at(after.floor_to_second().plus_seconds(1)));
    (before.min(created_before), from)
}

/// A push binding as its column has it.
pub(super) fn push_json(push: &PushBinding) -> Result<String, StoreError> {
    serde_json::to_string(push).map_err(|error| StoreError::Unavailable(format!("no JSON for a push binding: {error}")))
}

fn by_id<'q>(statements: &Statements, tenant_id: TenantId, id: DeviceId) -> Query<'q> {
    query(&statements.by_id).bind(tenant_id.as_uuid()).bind(id.as_uuid())
}

fn device(row: &Row) -> Result<DeviceRecord, StoreError> {
    let columns = Columns::new("devices", row);
    Ok(DeviceRecord {
        id: columns.id("id")?,
        tenant_id: columns.id("tenant_id")?,
        user: UserName {
            id: columns.id("user_id")?,
            external_id: columns.text("external_id")?,
            display_name: columns.optional_text("display_name")?,
        },
        description: DeviceDescription {
            name: columns.text("name")?,
            platform: columns.word("platform")?,
            model: columns.optional_text("model")?,
            os_version: columns.optional_text("os_version")?,
            app_id: columns.optional_text("app_id")?,
            app_version: columns.optional_text("app_version")?,
            installation_id: columns.optional_text("installation_id")?,
        },
        purpose: columns.word("purpose")?,
        status: columns.word("status")?,
        key_thumbprint: columns.word("key_thumbprint")?,
        has_uv_key: columns.optional_text("uv_thumbprint")?.is_some(),
        push_channel: columns.word("push_channel")?,
        push_token_gone: columns.flag("push_token_gone")?,
        push_undeliverable: undeliverable(&columns)?,
        push_health: PushHealth {
            accepted_at: columns.optional_time("accepted_at")?,
            pulled_at: columns.optional_time("pulled_at")?,
            answered_at: columns.optional_time("answered_at")?,
            last_error: columns.optional_text("error")?.zip(columns.optional_time("error_at")?),
        },
        push_updated_at: columns.time("push_updated_at")?,
        binding: binding(&columns)?,
        created_at: columns.time("created_at")?,
        activated_at: columns.optional_time("activated_at")?,
        revoked_at: columns.optional_time("revoked_at")?,
        revoke_reason: columns.optional_word("revoke_reason")?,
    })
}

/// The provider's refusal of the token, if there is one.
pub(super) fn undeliverable(columns: &Columns<'_>) -> Result<Option<Undeliverable>, StoreError> {
    match (columns.optional_text("push_undeliverable")?, columns.optional_time("push_undeliverable_at")?) {
        (Some(reason), Some(since)) => Ok(Some(Undeliverable { reason, since })),
        (None, None) => Ok(None),
        _ => Err(columns.corrupt("push_undeliverable")),
    }
}

fn versions(columns: &Columns<'_>) -> Result<DeviceVersions, StoreError> {
    Ok(DeviceVersions {
        platform: columns.word("platform")?,
        app_version: columns.optional_text("app_version")?,
        os_version: columns.optional_text("os_version")?,
    })
}

pub(super) fn binding(columns: &Columns<'_>) -> Result<Option<StoredBinding>, StoreError> {
    match (columns.optional_id("binding_id")?, columns.optional_text("binding")?) {
        (Some(id), Some(jws)) => Ok(Some(StoredBinding { id, jws })),
        (None, None) => Ok(None),
        _ => Err(columns.corrupt("binding")),
    }
}
