//! Every column of the schema: where an export tells it, why it is not told, and what an erasure leaves of it.
//!
//! The one list of what is held on a person; `held.rs` asks both databases, an export and an erasure whether it is true.
//! To add a column: its line here. Without one, the test fails.

use self::{After::*, Form::*};

/// How an export writes what a column holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Form {
    /// As it is.
    Text,
    /// As a number.
    Number,
    /// 1 is `true`, 0 is not written.
    Flag,
    /// 1 is this word.
    Means(&'static str),
    /// Milliseconds, written as RFC 3339.
    Time,
    /// Several of these, separated by blanks.
    Times,
    /// A UUID.
    Id,
    /// In base64url.
    Bytes,
    /// Words, separated by blanks.
    Words,
    /// The same JSON.
    Json,
    /// JSON whose texts and numbers are all there, wherever.
    Leaves,
}

/// What an export does with a column.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Told {
    /// Tells it here: `devices[].name`; of several places, separated by `|`, at one.
    At(&'static str, Form),
    /// The same of rows of which this holds; of the others not, for it is a secret then.
    Where(&'static str, Form, &'static str),
    /// Never; why.
    Secret(&'static str),
    /// It is not about the person; why.
    Nobody(&'static str),
}

/// What an erasure leaves of a column.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum After {
    /// Nothing: the row is gone, or the column is NULL, empty or 0.
    Blank,
    /// This instead; of a text that ends with `…`, a text that begins so.
    Instead(&'static str),
    /// What was there; why.
    Stays(&'static str),
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) told: Told,
    pub(super) after: After,
}

pub(super) struct Table {
    pub(super) name: &'static str,
    /// Which rows are the person's, whose id is `{user}`; empty if none is.
    pub(super) rows: &'static str,
    pub(super) columns: &'static [Column],
}

const fn at(name: &'static str, path: &'static str, form: Form, after: After) -> Column {
    Column { name, told: Told::At(path, form), after }
}

const fn secret(name: &'static str, why: &'static str, after: After) -> Column {
    Column { name, told: Told::Secret(why), after }
}

const fn nobody(name: &'static str, why: &'static str) -> Column {
    Column { name, told: Told::Nobody(why), after: Stays(why) }
}

const TENANT: Column = nobody("tenant_id", "the organisation, whose export it is");
const WRITE: Column = nobody("decision_id", "a random id of a write");

const ID: After = Stays("an id, which the log names");
const WORD: After = Stays("a fixed word");
const TIME: After = Stays("a time");
const COUNT: After = Stays("a count");
const THUMBPRINT: After = Stays("a key that was registered once stays refused");
const LOG: After = Stays("the log holds ids, digests and fixed words, and is proven as a whole");

const OF_USER: &str = "user_id = {user}";
const OF_DEVICES: &str = "device_id IN (SELECT id FROM devices WHERE user_id = {user})";
const OF_CHALLENGES: &str = "challenge_id IN (SELECT id FROM challenges WHERE user_id = {user})";
const OF_EVENTS: &str = "message_id IN (SELECT id FROM events WHERE user_id = {user})";
/// Whatever is about something of the person's has to name the person.
const IN_LOG: &str = "user_id = {user} OR device_id IN (SELECT id FROM devices WHERE user_id = {user})
    OR challenge_id IN (SELECT id FROM challenges WHERE user_id = {user})
    OR enrollment_id IN (SELECT id FROM enrollments WHERE user_id = {user})";

/// Tables in which no row is about a person, with their columns.
pub(super) const NOBODYS: &[(&str, &str)] = &[
    ("installation", "id checked_at"),
    (
        "tenants",
        "id slug name policy created_at disabled_at event_head policy_version client_proof_required settings \
         settings_version user_count api_client_count webhook_count user_quota api_client_quota webhook_quota",
    ),
    ("policy_versions", "tenant_id version policy created_at"),
    // A program, named by an administrator.
    ("api_clients", "id tenant_id name scopes created_at revoked_at applications seal"),
    ("api_keys", "id tenant_id client_id digest created_at expires_at revoked_at public_key seal"),
    ("api_key_uses", "key_id tenant_id used_at"),
    // Random ids that programs made.
    ("client_proof_jtis", "client_id jti tenant_id expires_at decision_id"),
    ("leases", "name holder until"),
    // Hashes over whole events, with signed heads.
    ("audit_heads", "tenant_id positioned size checkpoint sealed_at"),
    ("audit_tiles", "tenant_id level tile hashes"),
    ("forgotten", "tenant_id note"),
    (
        "webhooks",
        "id tenant_id url events description status disabled_reason secret_id previous_secrets seal failing_since \
         brought_forward_at created_at version",
    ),
    // Of whoever is being erased, whom nobody exports any more; goes with the end of it.
    ("erasures", "user_id tenant_id begun_at blanked_until"),
    ("_sqlx_migrations", "version description installed_on success checksum execution_time"),
];

/// The others.
pub(super) const PERSONS: &[Table] = &[
    Table { name: "users", rows: "id = {user}", columns: USERS },
    Table { name: "devices", rows: OF_USER, columns: DEVICES },
    Table { name: "device_keys", rows: OF_DEVICES, columns: KEYS },
    Table { name: "push_health", rows: OF_DEVICES, columns: PUSH_HEALTH },
    Table { name: "notifications", rows: OF_DEVICES, columns: NOTIFICATIONS },
    Table { name: "test_pushes", rows: OF_DEVICES, columns: TEST_PUSHES },
    Table { name: "push_update_jtis", rows: OF_DEVICES, columns: JTIS },
    Table { name: "enrollments", rows: OF_USER, columns: ENROLLMENTS },
    Table { name: "replies", rows: OF_USER, columns: REPLIES },
    Table { name: "challenges", rows: OF_USER, columns: CHALLENGES },
    Table { name: "deliveries", rows: OF_CHALLENGES, columns: DELIVERIES },
    Table { name: "idempotency_keys", rows: OF_CHALLENGES, columns: REQUESTS },
    Table { name: "events", rows: IN_LOG, columns: EVENTS },
    Table { name: "webhook_deliveries", rows: OF_EVENTS, columns: MESSAGES },
];

const USERS: &[Column] = &[
    at("id", "user.id", Id, ID),
    TENANT,
    // No name begins with white space.
    at("external_id", "user.external_id", Text, Instead(" …")),
    at("display_name", "user.display_name", Text, Blank),
    at("created_at", "user.created_at", Time, TIME),
    at("device_count", "user.device_count", Number, Blank),
    at("pending_challenges", "user.pending_challenges", Number, Blank),
    at("consecutive_failures", "guards.consecutive_failures", Number, Blank),
    at("consecutive_denials", "guards.consecutive_denials", Number, Blank),
    at("locked_until", "guards.locked_until", Time, Blank),
    at("devices_version", "guards.devices_version", Number, COUNT),
    at("recent_pushes", "guards.recent_pushes[]", Times, Blank),
    at("pushes_since_approval", "guards.pushes_since_approval", Number, Blank),
    at("pushes_stopped_until", "guards.pushes_stopped_until", Time, Blank),
    at("reported_at", "user.reported.at", Time, Blank),
    at("reported_by", "user.reported.by", Text, Blank),
    nobody("erased_at", "nobody who is exported is erased"),
];

const DEVICES: &[Column] = &[
    at("id", "devices[].id", Id, ID),
    TENANT,
    at("user_id", "devices[].user.id", Id, ID),
    at("name", "devices[].name", Text, Blank),
    at("platform", "devices[].platform", Text, WORD),
    at("model", "devices[].model", Text, Blank),
    at("os_version", "devices[].os_version", Text, Blank),
    at("app_id", "devices[].app_id", Text, Blank),
    at("app_version", "devices[].app_version", Text, Blank),
    at("installation_id", "devices[].installation_id", Text, Blank),
    at("purpose", "devices[].purpose", Text, WORD),
    at("status", "devices[].status", Text, WORD),
    at("key_thumbprint", "devices[].key_thumbprint", Text, THUMBPRINT),
    at("uv_thumbprint", "devices[].keys[].thumbprint", Text, THUMBPRINT),
    at("binding_id", "devices[].binding_id", Id, Blank),
    at("binding", "devices[].binding", Text, Blank),
    at("push_channel", "devices[].push.channel", Text, Instead("none")),
    secret(
        "push",
        "who has the token rings the phone; channel, state and age are told",
        Instead(r#"{"channel":"none"}"#),
    ),
    at("push_token_gone", "devices[].push.state", Means("token_gone"), Blank),
    at("push_updated_at", "devices[].push.updated_at", Time, TIME),
    at("push_undeliverable", "devices[].push.reason", Text, Blank),
    at("push_undeliverable_at", "devices[].push_undeliverable_at", Time, Blank),
    at("created_at", "devices[].created_at", Time, TIME),
    at("activated_at", "devices[].activated_at", Time, TIME),
    at("revoked_at", "devices[].revoked_at", Time, TIME),
    at("revoke_reason", "devices[].revoke_reason", Text, WORD),
    at("keys_changed_at", "devices[].keys_changed_at", Time, TIME),
    WRITE,
];

const KEYS: &[Column] = &[
    at("thumbprint", "devices[].keys[].thumbprint", Text, THUMBPRINT),
    TENANT,
    at("device_id", "devices[].id", Id, ID),
    at("role", "devices[].keys[].role", Text, WORD),
    at("public_key", "devices[].keys[].public_key", Bytes, Blank),
    at("created_at", "devices[].keys[].created_at", Time, TIME),
    at("retired_at", "devices[].keys[].retired_at", Time, TIME),
];

const PUSH_HEALTH: &[Column] = &[
    at("device_id", "devices[].id", Id, Blank),
    TENANT,
    at("accepted_at", "devices[].push_health.last_accepted_at", Time, Blank),
    at("pulled_at", "devices[].push_health.last_pull_at", Time, Blank),
    at("answered_at", "devices[].last_decision_at", Time, Blank),
    at("error", "devices[].push_health.last_error", Text, Blank),
    at("error_at", "devices[].push_health.last_error_at", Time, Blank),
];

const NOTIFICATIONS: &[Column] = &[
    at("id", "devices[].queued_pushes[].id", Id, Blank),
    TENANT,
    at("kind", "devices[].queued_pushes[].kind", Text, Blank),
    at("channel", "devices[].queued_pushes[].channel", Text, Blank),
    at("device_id", "devices[].id", Id, Blank),
    at("challenge_id", "devices[].queued_pushes[].challenge_id", Id, Blank),
    at("due_at", "devices[].queued_pushes[].due_at", Time, Blank),
    at("expires_at", "devices[].queued_pushes[].expires_at", Time, Blank),
    at("attempts", "devices[].queued_pushes[].attempts", Number, Blank),
    nobody("lease", "which node sends it"),
    at("leased_until", "devices[].queued_pushes[].leased_until", Time, Blank),
];

const TEST_PUSHES: &[Column] = &[
    at("id", "devices[].test_pushes[].id", Id, Blank),
    TENANT,
    at("device_id", "devices[].id", Id, Blank),
    at("channel", "devices[].test_pushes[].channel", Text, Blank),
    at("state", "devices[].test_pushes[].state", Text, Blank),
    at("attempts", "devices[].test_pushes[].attempts", Number, Blank),
    at("last_error", "devices[].test_pushes[].last_error", Text, Blank),
    at("created_at", "devices[].test_pushes[].created_at", Time, Blank),
    at("updated_at", "devices[].test_pushes[].updated_at", Time, Blank),
];

const JTIS: &[Column] = &[
    at("device_id", "devices[].id", Id, Blank),
    at("jti", "devices[].spent_ids[].jti", Text, Blank),
    TENANT,
    at("expires_at", "devices[].spent_ids[].kept_until", Time, Blank),
];

const ENROLLMENTS: &[Column] = &[
    at("id", "enrollments[].id", Id, ID),
    TENANT,
    at("user_id", "user.id", Id, ID),
    at("status", "enrollments[].status", Text, WORD),
    at("confirmation", "enrollments[].confirmation", Text, WORD),
    at("purpose", "enrollments[].purpose", Text, WORD),
    secret(
        "ticket",
        "who can open it registers a device",
        Stays("a digest of random bytes that open nothing any more"),
    ),
    secret("seal", "a MAC", Blank),
    secret("claim_seal", "a MAC", Blank),
    secret("code", "it confirms a device", Blank),
    at("wrong_codes", "enrollments[].wrong_codes", Number, COUNT),
    at("device_id", "enrollments[].device.id", Id, ID),
    at("device_name", "enrollments[].device.name", Text, Blank),
    at("device_platform", "enrollments[].device.platform", Text, WORD),
    at("key_thumbprint", "enrollments[].device.key_thumbprint", Text, THUMBPRINT),
    at("approval_id", "enrollments[].approval_challenge_id", Id, ID),
    at("overridden", "enrollments[].overridden", Flag, WORD),
    at("expires_at", "enrollments[].expires_at", Time, TIME),
    at("created_at", "enrollments[].created_at", Time, TIME),
    WRITE,
];

const REPLIES: &[Column] = &[
    at("artefact", "stored_replies[].artefact_sha256", Bytes, Blank),
    TENANT,
    secret("body", "some hold a code that waits; the names of its members are told", Blank),
    at("expires_at", "stored_replies[].kept_until", Time, Blank),
    at("user_id", "user.id", Id, Blank),
];

const CHALLENGES: &[Column] = &[
    at("id", "challenges[].id", Id, ID),
    TENANT,
    at("client_id", "challenges[].api_client_id", Id, ID),
    at("user_id", "challenges[].user.id", Id, ID),
    at("external_id", "challenges[].user.external_id", Text, Blank),
    at("display_name", "challenges[].user.display_name", Text, Blank),
    at("content", "challenges[]", Leaves, Instead(r#"{"action":""}"#)),
    nobody("policy", "the organisation's policy that held"),
    Column {
        name: "jws",
        told: Told::Where("challenges[].evidence.challenge|challenges[].signed_challenge", Text, "status <> 'pending'"),
        after: Blank,
    },
    secret("number", "it approves", Blank),
    at("status", "challenges[].status", Text, WORD),
    at("reason", "challenges[].reason", Text, WORD),
    at("created_at", "challenges[].created_at", Time, TIME),
    at("expires_at", "challenges[].expires_at", Time, TIME),
    at("decided_at", "challenges[].decided_at", Time, TIME),
    at("device_id", "challenges[].device_id", Id, ID),
    at("response", "challenges[].evidence.response|challenges[].signed_response", Text, Blank),
    at("binding", "challenges[].evidence.binding|challenges[].signed_binding", Text, Blank),
    WRITE,
    secret("code", "it approves", Blank),
    secret("code_seal", "a MAC", Blank),
    secret("entered_seal", "a MAC", Blank),
    at("wrong_codes", "challenges[].wrong_codes", Number, COUNT),
    at("flags", "challenges[].flags[]", Words, WORD),
    nobody("erased_at", "nobody who is exported is erased"),
];

const DELIVERIES: &[Column] = &[
    at("challenge_id", "challenges[].id", Id, ID),
    at("device_id", "challenges[].deliveries[].device_id", Id, ID),
    TENANT,
    at("channel", "challenges[].deliveries[].channel", Text, WORD),
    at("state", "challenges[].deliveries[].state", Text, WORD),
    at("attempts", "challenges[].deliveries[].attempts", Number, COUNT),
    at("last_error", "challenges[].deliveries[].last_error", Text, Stays("a fixed word and a number")),
    at("updated_at", "challenges[].deliveries[].updated_at", Time, TIME),
    at("accepted_at", "challenges[].deliveries[].accepted_at", Time, TIME),
    at("fetched_at", "challenges[].deliveries[].fetched_at", Time, TIME),
];

const REQUESTS: &[Column] = &[
    at("client_id", "challenges[].kept_requests[].api_client_id", Id, Blank),
    at("key", "challenges[].kept_requests[].idempotency_key", Text, Blank),
    TENANT,
    at("challenge_id", "challenges[].id", Id, Blank),
    at("body", "challenges[].kept_requests[].request_sha256", Bytes, Blank),
    secret("reply", "a copy of the challenge, which is beside it", Blank),
    at("expires_at", "challenges[].kept_requests[].kept_until", Time, Blank),
    WRITE,
];

const EVENTS: &[Column] = &[
    at("id", "events[].id", Id, LOG),
    TENANT,
    at("position", "events[].position", Number, LOG),
    at("kind", "events[].type", Text, LOG),
    at("actor_kind", "events[].actor.type", Text, LOG),
    at("actor_id", "events[].actor.id", Text, LOG),
    at("user_id", "events[].user_id", Id, LOG),
    at("device_id", "events[].device_id", Id, LOG),
    at("challenge_id", "events[].challenge_id", Id, LOG),
    at("enrollment_id", "events[].enrollment_id", Id, LOG),
    at("api_client_id", "events[].api_client_id", Id, LOG),
    at("request_id", "events[].request_id", Text, LOG),
    at("at", "events[].created_at", Time, LOG),
    at("body", "events[].data", Json, LOG),
];

const MESSAGES: &[Column] = &[
    at("webhook_id", "events[].webhook_messages[].webhook_id", Id, ID),
    at("message_id", "events[].id", Id, ID),
    TENANT,
    at("kind", "events[].type", Text, WORD),
    at("status", "events[].webhook_messages[].status", Text, WORD),
    at("due_at", "events[].webhook_messages[].due_at", Time, TIME),
    at("queued_at", "events[].webhook_messages[].queued_at", Time, TIME),
    at("tries", "events[].webhook_messages[].tries", Number, COUNT),
    at("attempts", "events[].webhook_messages[].attempts", Json, Stays("times, statuses and fixed words")),
    at("is_put_off", "events[].webhook_messages[].is_put_off", Flag, WORD),
    nobody("is_urgent", "whose turn it is"),
    nobody("lease", "which node sends it"),
    at("leased_until", "events[].webhook_messages[].leased_until", Time, TIME),
    at("kept_until", "events[].webhook_messages[].kept_until", Time, TIME),
];
