//! What may change in the database without a word of `audit verify`: what no decision and no record of one depends on,
//! and what is sealed, and so refused when it is used. Each with its reason.
//!
//! To add an entry: only with a reason that holds for every value; an entry that was never met is reported. What is
//! sealed is used after each deed, see `Cast::is_refused`.

use std::collections::BTreeSet;

use countersign_tests::Database;

use super::intruder::{Deed, key_of};

/// What may go unnamed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Verdict {
    /// Nothing depends on it.
    Harmless,
    /// The server refuses it when it is used.
    Sealed,
    /// It must not go unnamed.
    Unseen,
}

/// A deletion of a row, and a copy of it.
const DELETION: &str = "";
const COPY: &str = "+";

/// Table, columns, for which rows, why. `kept` is the row as it was, `now` as it is.
type Entry = (&'static str, &'static [&'static str], &'static str, &'static str);

const HARMLESS: &[Entry] = &[
    (
        "devices",
        &["name", "platform", "model", "os_version", "app_id", "app_version", "installation_id"],
        "true",
        "what the device says of itself; nothing that it says is believed for a decision",
    ),
    (
        "devices",
        &["push_channel", "push", "push_token_gone", "push_updated_at", "push_undeliverable", "push_undeliverable_at"],
        "true",
        "where it is rung: a push carries no secret and decides nothing, and phones pull",
    ),
    ("devices", &["created_at", "activated_at", "revoked_at", "revoke_reason"], "true", "the log says when and why"),
    ("devices", &["purpose"], "true", "the signed binding says what the device is for, and is what is believed"),
    ("devices", &["decision_id"], "true", "says which command won a race that is over"),
    ("devices", &["keys_changed_at"], "true", "how soon it may replace its keys again: each replacement is in the log"),
    ("devices", &[COPY], "kept.status = 'revoked'", "a revoked device may do nothing, and nothing leads back"),
    (
        "device_keys",
        &["created_at", "retired_at"],
        "true",
        "a key counts only while the device names it and the binding states it",
    ),
    ("challenges", &["display_name"], "true", "shown beside the signed name; the challenge as signed has its own"),
    (
        "challenges",
        &["content"],
        "true",
        "what is signed of it is compared; risk signals are the caller's note to itself",
    ),
    ("challenges", &["policy"], "true", "what is signed of it is compared; the rest held when it was made"),
    (
        "challenges",
        &["number", "code", "code_seal", "entered_seal", "wrong_codes"],
        "true",
        "a number or code is right only under the server's MAC; a decided one is compared by it; guesses end with the challenge",
    ),
    ("challenges", &["decision_id"], "true", "says which command won a race that is over"),
    (
        "challenges",
        &["decided_at", "reason", "response", "binding", "device_id", "flags"],
        "kept.status IN ('expired', 'cancelled')",
        "no device decided, and the log says how it ended",
    ),
    (
        "challenges",
        &["tenant_id", "erased_at"],
        "kept.status IN ('expired', 'cancelled')",
        "gone from here, as if deleted: no list has what is another organisation's or erased",
    ),
    (
        "challenges",
        &[DELETION],
        "kept.status IN ('expired', 'cancelled')",
        "no device decided, and the log says how it ended",
    ),
    ("audit_heads", &["sealed_at"], "true", "for people; nothing is concluded from it"),
    ("audit_tiles", &[COPY], "true", "a tile beyond the log is written anew when the log gets there"),
    ("users", &["display_name", "created_at"], "true", "for people; what is signed has the name of its time"),
    (
        "users",
        &["recent_pushes", "pushes_since_approval", "pushes_stopped_until", "consecutive_denials"],
        "true",
        "how often somebody is rung decides nothing: phones pull",
    ),
    (
        "users",
        &["device_count", "pending_challenges", "devices_version"],
        "true",
        "how much somebody may have at once; each device and challenge is in the log",
    ),
    (
        "users",
        &["reported_at", "reported_by"],
        "true",
        "the log says who was reported, and by whom; a lock has its own",
    ),
    (
        "users",
        &["external_id", "erased_at", "tenant_id", "consecutive_failures"],
        "NOT EXISTS (SELECT 1 FROM devices WHERE devices.user_id = kept.id AND devices.binding IS NOT NULL)",
        "nobody acts for who has no device; who gets one gets it by a ticket that is sealed for a name",
    ),
    (
        "users",
        &["consecutive_failures"],
        "now.consecutive_failures > kept.consecutive_failures",
        "more failures lock sooner",
    ),
    (
        "users",
        &["consecutive_failures"],
        "EXISTS (SELECT 1 FROM challenges WHERE challenges.user_id = kept.id AND challenges.wrong_codes > 0)",
        "of wrong codes only the last one of a challenge is in the log, which so tells how many there were at least; \
         whoever writes the database reads the code, and need not guess",
    ),
    (
        "users",
        &["locked_until"],
        "now.locked_until / 1000 >= kept.locked_until / 1000 OR kept.locked_until IS NULL",
        "a longer lock approves nothing, and a second less is none",
    ),
    ("enrollments", &["created_at", "device_name", "device_platform"], "true", "for people"),
    ("enrollments", &["decision_id"], "true", "says which command won a race that is over"),
    (
        "enrollments",
        &["code", "wrong_codes", "key_thumbprint", "device_id", "claim_seal"],
        "true",
        "whose keys are confirmed is sealed, and whoever is confirmed is in the log; who could write the code could read it",
    ),
    (
        "enrollments",
        &["ticket", "seal", "confirmation", "purpose", "expires_at"],
        "kept.status <> 'pending'",
        "the ticket is used up, or over, and nothing leads back",
    ),
    ("enrollments", &[DELETION], "true", "it ends sooner than it should: what it let in is in the log"),
    ("tenants", &["slug", "name", "created_at"], "true", "for people; what is signed has the name of its time"),
    (
        "tenants",
        &[
            "settings_version",
            "user_count",
            "api_client_count",
            "webhook_count",
            "user_quota",
            "api_client_quota",
            "webhook_quota",
        ],
        "true",
        "how much it may have; each of it is in the log",
    ),
    ("policy_versions", &["created_at"], "true", "the log says when"),
    ("api_clients", &["name", "created_at"], "true", "for people"),
    (
        "api_clients",
        &["scopes", "applications", "seal"],
        "kept.revoked_at IS NOT NULL",
        "a revoked client may do nothing, and that it is revoked is compared",
    ),
    ("api_clients", &["revoked_at"], "kept.revoked_at IS NOT NULL AND now.revoked_at IS NOT NULL", "the log says when"),
    ("api_keys", &["created_at"], "true", "for people"),
    (
        "api_keys",
        &["digest", "public_key", "expires_at", "seal"],
        "kept.revoked_at IS NOT NULL",
        "a revoked key opens nothing, and that it is revoked is compared",
    ),
    ("api_keys", &["revoked_at"], "kept.revoked_at IS NOT NULL AND now.revoked_at IS NOT NULL", "the log says when"),
];

const SEALED: &[Entry] = &[
    (
        "api_keys",
        &["digest", "public_key", "expires_at", "seal"],
        "kept.revoked_at IS NULL",
        "whose key it is, and until when, is under a seal that every call is held to",
    ),
    (
        "enrollments",
        &["ticket", "seal", "confirmation", "purpose", "expires_at"],
        "kept.status = 'pending'",
        "whose ticket it is, what for and until when, is under a seal that whoever claims it is held to",
    ),
];

/// Judges what was not named, and remembers which reasons it needed.
#[derive(Default)]
pub(super) struct Judge {
    met: BTreeSet<(&'static str, &'static str)>,
}

impl Judge {
    /// Whether a deed that was not named may go unnamed. To be asked before all is as it was.
    pub(super) async fn judge(&mut self, database: &Database, deed: &Deed) -> Verdict {
        let what = match &deed.column {
            Some(column) => column.as_str(),
            None if deed.is_insertion => COPY,
            None => DELETION,
        };
        for (verdict, entries) in [(Verdict::Harmless, HARMLESS), (Verdict::Sealed, SEALED)] {
            for (table, columns, condition, _) in entries {
                let Some(column) = columns.iter().find(|column| **column == what) else { continue };
                if *table == deed.table && holds(database, deed, condition).await {
                    self.met.insert((table, column));
                    return verdict;
                }
            }
        }
        Verdict::Unseen
    }

    /// What is in the lists, and was never met.
    pub(super) fn idle(&self) -> Vec<(&'static str, &'static str)> {
        let all = HARMLESS.iter().chain(SEALED);
        let all = all.flat_map(|(table, columns, ..)| columns.iter().map(move |column| (*table, *column)));
        all.filter(|entry| !self.met.contains(entry)).collect()
    }
}

async fn holds(database: &Database, deed: &Deed, condition: &str) -> bool {
    let (table, offset) = (deed.table, deed.offset);
    let keys = key_of(table);
    let same: Vec<_> = keys.iter().map(|name| format!("now.{name} = kept.{name}")).collect();
    let sql = format!(
        "SELECT count(*) FROM (SELECT * FROM kept_{table} ORDER BY {} LIMIT 1 OFFSET {offset}) AS kept \
         LEFT JOIN {table} AS now ON {} WHERE {condition}",
        keys.join(", "),
        same.join(" AND ")
    );
    database.number(&sql).await == 1
}
