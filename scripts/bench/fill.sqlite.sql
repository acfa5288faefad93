-- A past for a database of SQLite: :count users, each with a device, its enrollment and one sign-in that has ended.
-- :count is at most 2,000,000. Its twin is fill.postgres.sql. Run by scripts/bench/database.sh, which puts in :count and
-- :high (three bytes in hexadecimal: the time some hours ago, as UUIDv7 begins with it) before the server starts.
--
-- An id ends in three digits to the base 128: characters of one byte, which this database can put together.
PRAGMA journal_mode = WAL;
PRAGMA synchronous = OFF;
PRAGMA temp_store = MEMORY;
BEGIN;

CREATE TEMP TABLE past AS
    WITH RECURSIVE numbers (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM numbers WHERE i < :count)
    SELECT
        i,
        CAST(x':high' || char((i >> 14) & 127) || char((i >> 7) & 127) || char(i & 127) || x'70008000000000000000' AS BLOB) AS id,
        (0x:high << 24) + i AS at,
        lower(substr(hex(randomblob(22)), 1, 43)) AS thumbprint
    FROM numbers;
CREATE TEMP TABLE caller AS
    SELECT tenants.id AS tenant_id, api_clients.id AS client_id, tenants.event_head AS head
    FROM tenants JOIN api_clients ON api_clients.tenant_id = tenants.id
    WHERE tenants.slug = 'default' LIMIT 1;

INSERT INTO users (id, tenant_id, external_id, created_at, device_count, devices_version)
    SELECT id, tenant_id, 'past-' || i, at, 1, 1 FROM past, caller;
INSERT INTO devices (id, tenant_id, user_id, name, platform, purpose, status, key_thumbprint, binding_id, binding,
        push_channel, push, push_updated_at, created_at, activated_at, decision_id)
    SELECT id, tenant_id, id, 'past', 'other', 'approval', 'active', thumbprint, id, hex(randomblob(350)),
        'none', '{"channel":"none"}', at, at, at, id
    FROM past, caller;
INSERT INTO device_keys (thumbprint, tenant_id, device_id, role, public_key, created_at)
    SELECT thumbprint, tenant_id, id, 'device', randomblob(65), at FROM past, caller;
INSERT INTO enrollments (id, tenant_id, user_id, status, confirmation, purpose, ticket, seal, claim_seal, device_id,
        device_name, device_platform, key_thumbprint, expires_at, created_at, decision_id)
    SELECT id, tenant_id, id, 'completed', 'none', 'approval', randomblob(32), hex(randomblob(21)), hex(randomblob(21)),
        id, 'past', 'other', thumbprint, at + 600000, at, id
    FROM past, caller;
INSERT INTO challenges (id, tenant_id, client_id, user_id, external_id, content, policy, jws, status, created_at,
        expires_at, decided_at, device_id, response, binding, decision_id)
    SELECT id, tenant_id, client_id, id, 'past-' || i, '{"action":"sign_in"}',
        '{"version":1,"mode":"enter","digits":6,"user_verification":"preferred","ttl_seconds":120,"wrong_numbers_before_lock":5,"lock_seconds":900}',
        hex(randomblob(550)), 'approved', at, at + 120000, at + 5000, id, hex(randomblob(290)), hex(randomblob(350)), id
    FROM past, caller;
INSERT INTO deliveries (challenge_id, device_id, tenant_id, channel, state, updated_at)
    SELECT id, id, tenant_id, 'none', 'pull_only', at FROM past, caller;
INSERT INTO events (id, tenant_id, position, kind, actor_kind, actor_id, user_id, device_id, challenge_id, request_id, at, body)
    SELECT id, tenant_id, head + 2 * i - 1, 'challenge.created', 'api_client', lower(hex(client_id)), id, NULL, id,
        lower(hex(id)), at, '{}'
    FROM past, caller;
INSERT INTO events (id, tenant_id, position, kind, actor_kind, actor_id, user_id, device_id, challenge_id, request_id, at, body)
    SELECT CAST(substr(id, 1, 15) || x'01' AS BLOB), tenant_id, head + 2 * i, 'challenge.approved', 'device',
        lower(hex(id)), id, id, id, lower(hex(id)), at + 5000, '{}'
    FROM past, caller;
UPDATE tenants SET event_head = event_head + 2 * :count WHERE slug = 'default';
COMMIT;
PRAGMA wal_checkpoint(TRUNCATE);
