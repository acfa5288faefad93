//! What is left of an erased person's past, a portion at a time: names, identifiers, tokens, texts, signatures, keys.
//!
//! Rows stay, blank, because the log names their ids; thumbprints stay, because a key that was registered once stays
//! refused. Replies that were kept for repeats go. Each portion is one transaction under the erasure's row: of several
//! who finish one erasure each does its own portion, and nobody does anything once one of them has finished it.
//!
//! To blank one more column: its statement here; for a table of its own, a canary in `tests/it/erasure.rs` besides.

use async_trait::async_trait;
use countersign_core::{limits::REPLAY_SECONDS, ports::users::Erasure};
use countersign_proto::{
    ids::{ChallengeId, DeviceId, Id},
    push::PushBinding,
    timestamp::Timestamp,
    vocabulary::Word as _,
};
use serde_json::json;
use uuid::Uuid;

use super::super::{Columns, Outcome, Plain, Query, Row, Tx, devices::push_json, dialect, query};
use crate::{
    failure::Failure,
    rows::{self, Type},
    statement::Statement,
};

const IDS: &rows::Columns = &[("r_id", Type::Id)];

/// A key of a repeated request lives so long after its challenge was made: a day, and a challenge's times are whole
/// seconds while a key's are not.
pub(super) const KEY_LIVES_MILLIS: [i64; 2] = [(REPLAY_SECONDS - 2) * 1_000, (REPLAY_SECONDS + 2) * 1_000];

/// A challenge's text when it is blank: one that names nothing.
const BLANK_TEXT: &str = r#"{"action":""}"#;

/// See the module.
pub(super) struct Statements {
    blank_challenges: Statement,
    forget_keys_of_erased: Statement,
    of_devices: [Statement; 5],
    erasure_to_go_on_with: Statement,
}

impl Statements {
    pub(super) fn new() -> Self {
        let ids = dialect::row_source(1, IDS);
        let of_devices = |name: &str, what: &str| {
            Statement::new(format!("-- {name}\n{what} WHERE device_id IN (SELECT r_id FROM {ids})"))
        };
        Self {
            blank_challenges: Statement::new(format!(
                "-- blank_challenges
                UPDATE challenges SET external_id = '', display_name = NULL, content = $2, jws = '', number = NULL,
                    response = NULL, binding = NULL, code = NULL, code_seal = NULL, entered_seal = NULL, erased_at = $3
                FROM {ids} WHERE challenges.id = r_id AND challenges.erased_at IS NULL"
            )),
            // No index leads from a challenge to its key; but a key ends a day after its challenge was made.
            forget_keys_of_erased: Statement::new(format!(
                "-- forget_keys_of_erased
                DELETE FROM idempotency_keys WHERE (client_id, key) IN
                    (SELECT known.client_id, known.key
                     FROM {ids} CROSS JOIN challenges CROSS JOIN idempotency_keys AS known
                     WHERE challenges.id = r_id AND challenges.created_at > $2
                       AND known.expires_at > challenges.created_at + $3
                       AND known.expires_at < challenges.created_at + $4 AND known.challenge_id = challenges.id)"
            )),
            of_devices: [
                of_devices("blank_keys_of_erased", "UPDATE device_keys SET public_key = $2"),
                of_devices("forget_health_of_erased", "DELETE FROM push_health"),
                of_devices("forget_tests_of_erased", "DELETE FROM test_pushes"),
                of_devices("forget_jtis_of_erased", "DELETE FROM push_update_jtis"),
                of_devices("forget_pushes_of_erased", "DELETE FROM notifications"),
            ],
            erasure_to_go_on_with: Statement::new(format!(
                "-- erasure_to_go_on_with
                SELECT user_id, blanked_until FROM erasures WHERE user_id = $1 AND tenant_id = $2 {}",
                dialect::locking("FOR UPDATE"),
            )),
        }
    }
}

/// Blanks a portion of each kind; whether there may be more.
pub(super) struct Blank {
    pub(super) erasure: Erasure,
    pub(super) now: Timestamp,
    pub(super) limit: u32,
}

#[async_trait]
impl Plain for Blank {
    type Reply = bool;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Outcome<bool>, Failure> {
        let Erasure { tenant_id, user_id } = self.erasure;
        let statements = tx.statements();
        let erasure = query(&statements.users.blank.erasure_to_go_on_with);
        let Some(row) = tx.fetch_optional(erasure.bind(user_id.as_uuid()).bind(tenant_id.as_uuid())).await? else {
            return Ok(Outcome::Rollback(false));
        };
        let blanked_until: Option<ChallengeId> = Columns::new("erasures", &row).optional_id("blanked_until")?;
        let mut most = blank_devices(self, tx).await?;
        let enrollments = query(
            "-- blank_enrollments
            UPDATE enrollments SET device_name = NULL, code = NULL, seal = '', claim_seal = NULL
            WHERE id IN (SELECT id FROM enrollments WHERE user_id = (SELECT users.id FROM users WHERE users.tenant_id = $2 AND users.id = $1) AND seal <> '' LIMIT $3)",
        );
        most = most.max(tx.execute(self.bind(enrollments)).await?);
        let replies = query(
            "-- forget_replies_of_erased
            DELETE FROM replies WHERE artefact IN
                (SELECT artefact FROM replies WHERE user_id = $1 AND tenant_id = $2 LIMIT $3)",
        );
        most = most.max(tx.execute(self.bind(replies)).await?);
        most = most.max(blank_challenges(self, tx, blanked_until).await?);
        Ok(match most {
            // Nothing to write costs no commit.
            0 => Outcome::Rollback(false),
            most => Outcome::Commit(most >= u64::from(self.limit)),
        })
    }
}

impl Blank {
    fn bind<'q>(&self, query: Query<'q>) -> Query<'q> {
        let Erasure { tenant_id, user_id } = self.erasure;
        query.bind(user_id.as_uuid()).bind(tenant_id.as_uuid()).bind(i64::from(self.limit))
    }
}

/// Every device has a name until it is blank.
async fn blank_devices(command: &Blank, tx: &mut Tx<'_>) -> Result<u64, Failure> {
    let none = PushBinding::None;
    let blank = query(
        "-- blank_devices
        UPDATE devices SET name = '', model = NULL, os_version = NULL, app_id = NULL, app_version = NULL,
            installation_id = NULL, binding_id = NULL, binding = NULL, push_channel = $4, push = $5,
            push_token_gone = 0, push_undeliverable = NULL, push_undeliverable_at = NULL
        WHERE id IN (SELECT id FROM devices WHERE user_id = (SELECT users.id FROM users WHERE users.tenant_id = $2 AND users.id = $1) AND name <> '' LIMIT $3)
        RETURNING id",
    );
    let blank = command.bind(blank).bind(none.channel().as_str()).bind(push_json(&none)?);
    let devices: Vec<DeviceId> = ids(&tx.fetch_all(blank).await?, "devices")?;
    if devices.is_empty() {
        return Ok(0);
    }
    let parameter = parameter(&devices);
    let statements = tx.statements();
    let [keys, further @ ..] = &statements.users.blank.of_devices;
    tx.execute(query(keys).bind(&parameter).bind(Vec::<u8>::new())).await?;
    for forget in further {
        tx.execute(query(forget).bind(&parameter)).await?;
    }
    Ok(devices.len() as u64)
}

/// In the order of the ids, from where the last portion stopped: nobody wades again through what is blank.
async fn blank_challenges(
    command: &Blank,
    tx: &mut Tx<'_>,
    blanked_until: Option<ChallengeId>,
) -> Result<u64, Failure> {
    let Erasure { tenant_id, user_id } = command.erasure;
    let next = query(
        "-- challenges_to_blank
        SELECT id FROM challenges WHERE user_id = (SELECT users.id FROM users WHERE users.tenant_id = $2 AND users.id = $1)
            AND id > $4
        ORDER BY id LIMIT $3",
    );
    let next = command.bind(next).bind(blanked_until.map_or(Uuid::nil(), ChallengeId::as_uuid));
    let challenges: Vec<ChallengeId> = ids(&tx.fetch_all(next).await?, "challenges")?;
    let Some(last) = challenges.iter().copied().max_by_key(|id| id.as_uuid()) else { return Ok(0) };
    let parameter = parameter(&challenges);
    let statements = tx.statements();
    let statements = &statements.users.blank;
    let forget = query(&statements.forget_keys_of_erased)
        .bind(&parameter)
        .bind(command.now.as_millis() - KEY_LIVES_MILLIS[1])
        .bind(KEY_LIVES_MILLIS[0])
        .bind(KEY_LIVES_MILLIS[1]);
    tx.execute(forget).await?;
    let blank = query(&statements.blank_challenges).bind(&parameter).bind(BLANK_TEXT).bind(command.now.as_millis());
    tx.execute(blank).await?;
    let mark = query("-- mark_erasure\nUPDATE erasures SET blanked_until = $3 WHERE user_id = $1 AND tenant_id = $2")
        .bind(user_id.as_uuid())
        .bind(tenant_id.as_uuid())
        .bind(last.as_uuid());
    tx.execute(mark).await?;
    Ok(challenges.len() as u64)
}

fn ids<K>(rows: &[Row], table: &'static str) -> Result<Vec<Id<K>>, Failure> {
    Ok(rows.iter().map(|row| Columns::new(table, row).id("id")).collect::<Result<_, _>>()?)
}

fn parameter<K>(ids: &[Id<K>]) -> String {
    rows::to_parameter(IDS, ids.iter().map(|id| json!({"r_id": rows::id(*id)})).collect())
}
