-- A past for a database of PostgreSQL: :count users, each with a device, its enrollment and one sign-in that has ended.
-- :count is at most 2,000,000. Its twin is fill.sqlite.sql. Run by scripts/bench/database.sh, with :high (three bytes in
-- hexadecimal: the time some hours ago, as UUIDv7 begins with it), before the server starts.
SET synchronous_commit = off;
BEGIN;

-- Random texts, so that they are stored as long as they are; a few thousand, for making them takes longest.
CREATE TEMP TABLE texts AS
    SELECT n, (SELECT string_agg(md5(random()::text || n || part), '') FROM generate_series(1, 36) AS part) AS text
    FROM generate_series(0, 1023) AS n;
CREATE UNIQUE INDEX ON texts (n);
CREATE TEMP TABLE past AS
    SELECT
        i,
        (:'high' || lpad(to_hex(i), 6, '0') || '70008000000000000000')::uuid AS id,
        (('x' || lpad(:'high', 16, '0'))::bit(64)::bigint << 24) + i AS at,
        substr(md5('a' || i) || md5('b' || i), 1, 43) AS thumbprint,
        i % 1024 AS n
    FROM generate_series(1, :count) AS i;
CREATE TEMP TABLE caller AS
    SELECT tenants.id AS tenant_id, api_clients.id AS client_id, tenants.event_head AS head
    FROM tenants JOIN api_clients ON api_clients.tenant_id = tenants.id
    WHERE tenants.slug = 'default' LIMIT 1;
ANALYZE texts;
ANALYZE past;

INSERT INTO users (id, tenant_id, external_id, created_at, device_count, devices_version)
    SELECT id, tenant_id, 'past-' || i, at, 1, 1 FROM past, caller;
INSERT INTO devices (id, tenant_id, user_id, name, platform, purpose, status, key_thumbprint, binding_id, binding,
        push_channel, push, push_updated_at, created_at, activated_at, decision_id)
    SELECT id, tenant_id, id, 'past', 'other', 'approval', 'active', thumbprint, id, substr(text, 1, 700),
        'none', '{"channel":"none"}', at, at, at, id
    FROM past JOIN texts USING (n), caller;
INSERT INTO device_keys (thumbprint, tenant_id, device_id, role, public_key, created_at)
    SELECT thumbprint, tenant_id, id, 'device', decode(substr(text, 1, 130), 'hex'), at FROM past JOIN texts USING (n), caller;
INSERT INTO enrollments (id, tenant_id, user_id, status, confirmation, purpose, ticket, seal, claim_seal, device_id,
        device_name, device_platform, key_thumbprint, expires_at, created_at, decision_id)
    SELECT id, tenant_id, id, 'completed', 'none', 'approval', decode(md5('c' || i) || md5('d' || i), 'hex'),
        substr(text, 1, 43), substr(text, 44, 43), id, 'past', 'other', thumbprint, at + 600000, at, id
    FROM past JOIN texts USING (n), caller;
INSERT INTO challenges (id, tenant_id, client_id, user_id, external_id, content, policy, jws, status, created_at,
        expires_at, decided_at, device_id, response, binding, decision_id)
    SELECT id, tenant_id, client_id, id, 'past-' || i, '{"action":"sign_in"}',
        '{"version":1,"mode":"enter","digits":6,"user_verification":"preferred","ttl_seconds":120,"wrong_numbers_before_lock":5,"lock_seconds":900}',
        substr(text, 1, 1100), 'approved', at, at + 120000, at + 5000, id, substr(text, 1, 580), substr(text, 400, 700), id
    FROM past JOIN texts USING (n), caller;
INSERT INTO deliveries (challenge_id, device_id, tenant_id, channel, state, updated_at)
    SELECT id, id, tenant_id, 'none', 'pull_only', at FROM past, caller;
INSERT INTO events (id, tenant_id, position, kind, actor_kind, actor_id, user_id, device_id, challenge_id, request_id, at, body)
    SELECT id, tenant_id, head + 2 * i - 1, 'challenge.created', 'api_client', client_id::text, id, NULL, id, id::text, at, '{}'
    FROM past, caller;
INSERT INTO events (id, tenant_id, position, kind, actor_kind, actor_id, user_id, device_id, challenge_id, request_id, at, body)
    SELECT (left(id::text, 34) || '01')::uuid, tenant_id, head + 2 * i, 'challenge.approved', 'device', id::text, id, id,
        id, id::text, at + 5000, '{}'
    FROM past, caller;
UPDATE tenants SET event_head = event_head + 2 * :count WHERE slug = 'default';
COMMIT;
VACUUM (ANALYZE);
CHECKPOINT;
