//! Reading challenges.

use countersign_core::{
    challenge::{ChallengeFacts, ChallengeRecord, CodeRecord, DeliveryRecord},
    device::{StoredBinding, last_used_at},
    ports::{
        PageRequest, StoreError,
        challenges::{Addressee, Addressees, Asker, ChallengeFilter, RecordedResponse},
        devices::{DeviceName, Devices as _},
        users::UserName,
    },
    verify::DecisionState,
};
use countersign_proto::{
    evidence::Evidence,
    ids::{ApiClientId, ChallengeId, DeviceId, TenantId, UserId},
    jose::Thumbprint,
    push::PushBinding,
    timestamp::Timestamp,
    vocabulary::{PushChannel, Word as _},
};
use uuid::Uuid;

use serde_json::{Value, json};

use super::{
    super::{
        Columns, Database, Row,
        devices::undeliverable,
        dialect, query,
        reader::{self, Lookup, NUMBER},
    },
    decide,
};
use crate::{
    rows::{self, Type},
    statement::Statement,
};

/// The statements that share the columns of a challenge.
pub(super) struct Statements {
    addressees: Statement,
    by_id: Statement,
    of_tenant: Statement,
    of_client: Statement,
    of_user: Statement,
}

impl Statements {
    pub(super) fn new() -> Self {
        let select = |name: &str, more: &str, source: &str, which: &str| {
            Statement::new(format!(
                "-- {name}
                SELECT challenges.id AS id{more}, challenges.tenant_id AS tenant_id, client_id,
                    challenges.user_id AS user_id, external_id, display_name, content, policy, jws,
                    challenges.status AS status, reason, challenges.created_at AS created_at, expires_at, decided_at,
                    device_id, devices.name AS device_name, devices.platform AS device_platform, response,
                    challenges.binding AS binding, flags, code, code_seal, entered_seal, erased_at,
                    (SELECT string_agg(state, ' ') FROM deliveries WHERE challenge_id = challenges.id) AS states
                FROM {source} challenges
                LEFT JOIN devices ON devices.id = challenges.device_id AND devices.tenant_id = challenges.tenant_id
                WHERE {which}"
            ))
        };
        let ids = dialect::row_source(1, ChallengeById::COLUMNS);
        // One statement per index that leads to the page; what else is asked for filters its rows.
        let page = |name: &str, which: &str| {
            select(
                name,
                "",
                "",
                &format!(
                    "challenges.tenant_id = $1 AND {which} AND challenges.erased_at IS NULL
                    AND challenges.id < $3 AND challenges.id >= $9
                    AND ($4 IS NULL OR challenges.client_id = $4)
                    AND challenges.created_at > $5
                    AND ($10 IS NULL OR challenges.device_id = $10)
                    AND ($11 IS NULL OR challenges.reason = $11)
                    AND ($6 IS NULL OR $6 = CASE
                        WHEN challenges.status = 'pending' AND challenges.expires_at <= $7 THEN 'expired'
                        ELSE challenges.status END)
                    ORDER BY challenges.id DESC LIMIT $8"
                ),
            )
        };
        Self {
            // One statement: user and devices are seen at one moment, so that the version is that of these devices.
            addressees: Statement::new(format!(
                "-- addressees
                SELECT users.id AS id, r_number, external_id, display_name, devices_version, locked_until,
                    devices.id AS device_id, uv_thumbprint, push, push_channel AS channel, push_token_gone,
                    push_undeliverable, push_undeliverable_at, answered_at, activated_at,
                    devices.created_at AS device_created_at
                FROM {users} CROSS JOIN users
                LEFT JOIN devices ON devices.user_id = users.id AND devices.tenant_id = users.tenant_id
                    AND devices.status = 'active' AND devices.purpose = 'approval'
                LEFT JOIN push_health ON push_health.device_id = devices.id
                WHERE users.tenant_id = r_tenant_id AND users.external_id = r_external_id",
                users = dialect::row_source(1, AddresseesOf::COLUMNS),
            )),
            by_id: select(
                "challenge",
                ", r_number",
                &format!("{ids} CROSS JOIN"),
                "challenges.id = r_id AND challenges.tenant_id = r_tenant_id
                    AND (r_user_id IS NULL OR challenges.user_id = r_user_id)
                    AND (r_client_id IS NULL OR client_id = r_client_id)",
            ),
            of_tenant: page("challenges_of_tenant", "$2 IS NULL"),
            of_client: page("challenges_of_client", "$2 IS NULL AND challenges.client_id = $4"),
            of_user: page("challenges_of_user", "challenges.user_id = $2"),
        }
    }
}

/// A user with the devices that may answer, by tenant and `external_id`.
pub(in super::super) struct AddresseesOf;

impl Lookup for AddresseesOf {
    type Key = (TenantId, String);
    type Found = Addressees;

    const COLUMNS: &'static rows::Columns =
        &[("r_tenant_id", Type::Id), ("r_external_id", Type::Text), (NUMBER, Type::Integer)];

    fn statement(statements: &super::super::Statements) -> &Statement {
        &statements.challenges.read.addressees
    }

    fn cells((tenant_id, external_id): &Self::Key) -> Value {
        json!({"r_tenant_id": rows::id(*tenant_id), "r_external_id": external_id})
    }

    fn read(rows: &[Row]) -> Result<Addressees, StoreError> {
        addressees(rows)
    }
}

/// A challenge by its id. Another organisation's is not even read: it costs what an unknown one does.
pub(in super::super) struct ChallengeById;

impl Lookup for ChallengeById {
    type Key = (Asker, TenantId, ChallengeId);
    type Found = ChallengeRecord;

    const COLUMNS: &'static rows::Columns = &[
        ("r_tenant_id", Type::Id),
        ("r_id", Type::Id),
        ("r_user_id", Type::Id),
        ("r_client_id", Type::Id),
        (NUMBER, Type::Integer),
    ];

    const AT_ONCE: usize = 64;

    fn statement(statements: &super::super::Statements) -> &Statement {
        &statements.challenges.read.by_id
    }

    fn cells((asker, tenant_id, id): &Self::Key) -> Value {
        let (user_id, client_id) = match asker {
            Asker::Anybody => (None, None),
            Asker::User(user_id) => (Some(rows::id(*user_id)), None),
            Asker::Client(client_id) => (None, Some(rows::id(*client_id))),
        };
        json!({
            "r_tenant_id": rows::id(*tenant_id),
            "r_id": rows::id(*id),
            "r_user_id": user_id,
            "r_client_id": client_id,
        })
    }

    fn read(rows: &[Row]) -> Result<ChallengeRecord, StoreError> {
        record(&reader::only(rows, "challenges")?)
    }
}

fn addressees(rows: &[Row]) -> Result<Addressees, StoreError> {
    let first = reader::only(rows, "users")?;
    let mut devices = Vec::with_capacity(rows.len());
    for row in rows {
        let row = Columns::new("users", row);
        if let Some(device_id) = row.optional_id("device_id")? {
            let has_uv_key = row.optional_text("uv_thumbprint")?.is_some();
            devices.push(Addressee {
                device_id,
                has_uv_key,
                push: push(&row, device_id),
                channel: row.word("channel")?,
                is_token_gone: row.flag("push_token_gone")?,
                undeliverable: undeliverable(&row)?,
                last_used_at: last_used_at(
                    row.optional_time("answered_at")?,
                    row.optional_time("activated_at")?,
                    row.time("device_created_at")?,
                ),
            });
        }
    }
    devices.sort_by_key(|device: &Addressee| device.device_id);
    Ok(Addressees {
        user: UserName {
            id: first.id("id")?,
            external_id: first.text("external_id")?,
            display_name: first.optional_text("display_name")?,
        },
        devices_version: first.integer("devices_version")?,
        locked_until: first.optional_time("locked_until")?,
        devices,
    })
}

/// Where the device is rung; nowhere if that cannot be read: it still pulls, and nobody's sign-in fails for it.
fn push(row: &Columns<'_>, device_id: DeviceId) -> PushBinding {
    row.json("push").unwrap_or_else(|_| {
        tracing::error!(%device_id, "a device's push binding in the database cannot be read");
        PushBinding::None
    })
}

pub(super) async fn challenges(
    database: &Database,
    tenant_id: TenantId,
    filter: ChallengeFilter,
    page: PageRequest<ChallengeId>,
) -> Result<Vec<ChallengeRecord>, StoreError> {
    let Some(user_id) = user_of(database, tenant_id, &filter).await? else { return Ok(Vec::new()) };
    let statements = &database.statements.challenges.read;
    let statement = match (user_id, filter.client_id) {
        (Some(_), _) => &statements.of_user,
        (None, Some(_)) => &statements.of_client,
        (None, None) => &statements.of_tenant,
    };
    let before = page.before.map_or(Uuid::max(), ChallengeId::as_uuid);
    let page = query(statement)
        .bind(tenant_id.as_uuid())
        .bind(user_id.map(UserId::as_uuid))
        .bind(before.min(filter.created_before.map_or(Uuid::max(), rows::first_id_at)))
        .bind(filter.client_id.map(ApiClientId::as_uuid))
        .bind(filter.created_after.map_or(i64::MIN, Timestamp::as_millis))
        .bind(filter.status.map(|status| status.as_str()))
        // Without a time the status is the stored one.
        .bind(filter.now.map_or(i64::MIN, Timestamp::as_millis))
        .bind(i64::from(page.limit))
        // Ids begin with the time: a caller who asks for what is new reads no history.
        .bind(filter.created_after.map_or(Uuid::nil(), rows::first_id_at))
        .bind(filter.device_id.map(DeviceId::as_uuid))
        .bind(filter.reason.map(|reason| reason.as_str()));
    database.fetch_all(page).await?.iter().map(|row| record(&Columns::new("challenges", row))).collect()
}

/// The one user whose challenges are asked for, of whatever the filter names; `Some(None)` if it names none, `None` if
/// there is nobody of whom all is true.
async fn user_of(
    database: &Database,
    tenant_id: TenantId,
    filter: &ChallengeFilter,
) -> Result<Option<Option<UserId>>, StoreError> {
    let mut users: Vec<Option<UserId>> = filter.user_id.into_iter().map(Some).collect();
    if let Some(external_id) = &filter.external_id {
        users.push(database.user_id(tenant_id, external_id).await?);
    }
    // A device never changes hands, so that its user's index leads to what it decided.
    if let Some(device_id) = filter.device_id {
        users.push(database.device(tenant_id, device_id).await?.map(|device| device.user.id));
    }
    let Some(first) = users.first().copied() else { return Ok(Some(None)) };
    let is_one = users.iter().all(|user| user.is_some() && *user == first);
    Ok(is_one.then_some(first))
}

fn record(row: &Columns<'_>) -> Result<ChallengeRecord, StoreError> {
    let jws = row.text("jws")?;
    let evidence = match (row.optional_text("response")?, row.optional_text("binding")?) {
        (Some(response), Some(binding)) => Some(Evidence { challenge: jws.clone(), response, binding }),
        _ => None,
    };
    let device = match (row.optional_id("device_id")?, row.optional_text("device_name")?) {
        (Some(id), Some(name)) => Some(DeviceName { id, name, platform: row.word("device_platform")? }),
        _ => None,
    };
    let facts = ChallengeFacts {
        id: row.id("id")?,
        tenant_id: row.id("tenant_id")?,
        client_id: row.id("client_id")?,
        user: UserName {
            id: row.id("user_id")?,
            external_id: row.text("external_id")?,
            display_name: row.optional_text("display_name")?,
        },
        text: row.json("content")?,
        policy: row.json("policy")?,
        jws,
        created_at: row.time("created_at")?,
        expires_at: row.time("expires_at")?,
    };
    let code = match row.optional_text("code_seal")? {
        Some(seal) => {
            let (code, entered_seal) = (row.optional_text("code")?, row.optional_text("entered_seal")?);
            Some(CodeRecord { code, seal, entered_seal })
        }
        None => None,
    };
    let states = row.optional_text("states")?.unwrap_or_default();
    let state = |word: &str| word.parse().map_err(|_| row.corrupt("states"));
    let flags = row.optional_text("flags")?.unwrap_or_default();
    let flag = |word: &str| word.parse().map_err(|_| row.corrupt("flags"));
    Ok(ChallengeRecord {
        facts,
        status: row.word("status")?,
        reason: row.optional_word("reason")?,
        decided_at: row.optional_time("decided_at")?,
        device,
        evidence,
        flags: flags.split_whitespace().map(flag).collect::<Result<_, _>>()?,
        code,
        erased_at: row.optional_time("erased_at")?,
        delivery_states: states.split_whitespace().map(state).collect::<Result<_, _>>()?,
    })
}

pub(super) async fn deliveries(
    database: &Database,
    tenant_id: TenantId,
    id: ChallengeId,
) -> Result<Vec<DeliveryRecord>, StoreError> {
    let deliveries = query(
        "-- deliveries
        SELECT device_id, channel, state, attempts, last_error, updated_at, accepted_at, fetched_at
        FROM deliveries WHERE challenge_id = $1 AND tenant_id = $2 ORDER BY device_id",
    );
    let read = |row: &Row| {
        let row = Columns::new("deliveries", row);
        Ok(DeliveryRecord {
            device_id: row.id("device_id")?,
            channel: row.word::<PushChannel>("channel")?,
            state: row.word("state")?,
            attempts: row.count("attempts")?,
            last_error: row.optional_text("last_error")?,
            updated_at: row.time("updated_at")?,
            accepted_at: row.optional_time("accepted_at")?,
            fetched_at: row.optional_time("fetched_at")?,
        })
    };
    database.fetch_all(deliveries.bind(id.as_uuid()).bind(tenant_id.as_uuid())).await?.iter().map(read).collect()
}

pub(super) async fn recorded_response(
    database: &Database,
    id: ChallengeId,
) -> Result<Option<RecordedResponse>, StoreError> {
    let recorded = query(
        "-- recorded_response
        SELECT id, tenant_id, response, status, reason, decided_at, expires_at, code, code_seal
        FROM challenges WHERE id = $1 AND response IS NOT NULL",
    );
    let read = |row: &Row| decide::recorded(&Columns::new("challenges", row));
    database.fetch_optional(recorded.bind(id.as_uuid())).await?.as_ref().map(read).transpose()
}

pub(super) async fn decision_state(
    database: &Database,
    id: ChallengeId,
    device_id: DeviceId,
    key: &Thumbprint,
    binding: &StoredBinding,
) -> Result<Option<DecisionState>, StoreError> {
    let state = query(
        "-- decision_state
        SELECT challenges.id AS id, devices.status AS device_status, key_thumbprint, uv_thumbprint, binding_id,
            challenges.status AS status, expires_at, locked_until
        FROM challenges CROSS JOIN devices CROSS JOIN users
        WHERE challenges.id = $1 AND devices.id = $2 AND devices.tenant_id = challenges.tenant_id
          AND users.id = devices.user_id AND users.tenant_id = devices.tenant_id",
    );
    let read = |row: &Row| {
        let row = Columns::new("devices", row);
        let is_current = row.text("key_thumbprint")? == key.as_str()
            || row.optional_text("uv_thumbprint")?.as_deref() == Some(key.as_str());
        let is_bound = row.get::<Option<Uuid>>("binding_id")? == Some(binding.id.as_uuid());
        Ok(DecisionState {
            device_status: row.word("device_status")?,
            key_is_current: is_current && is_bound,
            challenge_status: row.word("status")?,
            expires_at: row.time("expires_at")?,
            locked_until: row.optional_time("locked_until")?,
        })
    };
    database.fetch_optional(state.bind(id.as_uuid()).bind(device_id.as_uuid())).await?.as_ref().map(read).transpose()
}
