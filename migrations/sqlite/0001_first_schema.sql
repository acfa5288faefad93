-- 0001: the first schema. Its twin for the other database has the same tables, columns and order.
-- Times are unix milliseconds. Ids are UUIDv7. JSON is opaque text. Nothing here calls a clock.

CREATE TABLE installation (
    -- One row. Proves at /readyz that the database takes a durable write.
    id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    checked_at INTEGER NOT NULL
) STRICT;
INSERT INTO installation (id, checked_at) VALUES (1, 0);

CREATE TABLE tenants (
    id BLOB NOT NULL PRIMARY KEY,
    slug TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    policy TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    disabled_at INTEGER,
    -- The last position given to one of its events.
    event_head INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE api_clients (
    id BLOB NOT NULL PRIMARY KEY,
    tenant_id BLOB NOT NULL REFERENCES tenants (id),
    name TEXT NOT NULL,
    scopes TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    revoked_at INTEGER
) STRICT;
CREATE INDEX api_clients_by_tenant ON api_clients (tenant_id, id);

CREATE TABLE api_keys (
    id BLOB NOT NULL PRIMARY KEY,
    tenant_id BLOB NOT NULL REFERENCES tenants (id),
    client_id BLOB NOT NULL REFERENCES api_clients (id),
    digest BLOB NOT NULL UNIQUE,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    revoked_at INTEGER
) STRICT;
CREATE INDEX api_keys_by_client ON api_keys (client_id);

CREATE TABLE users (
    id BLOB NOT NULL PRIMARY KEY,
    tenant_id BLOB NOT NULL REFERENCES tenants (id),
    external_id TEXT NOT NULL,
    display_name TEXT,
    created_at INTEGER NOT NULL,
    -- Counters: moved by the conditional write of each change, never counted.
    device_count INTEGER NOT NULL DEFAULT 0,
    pending_challenges INTEGER NOT NULL DEFAULT 0,
    consecutive_failures INTEGER NOT NULL DEFAULT 0,
    locked_until INTEGER,
    -- Moves with each change of status of one of the user's devices: a challenge that was signed for other
    -- devices than there are now is not written.
    devices_version INTEGER NOT NULL DEFAULT 0,
    UNIQUE (tenant_id, external_id)
) STRICT;
CREATE INDEX users_by_tenant ON users (tenant_id, id);

CREATE TABLE devices (
    id BLOB NOT NULL PRIMARY KEY,
    tenant_id BLOB NOT NULL REFERENCES tenants (id),
    user_id BLOB NOT NULL REFERENCES users (id),
    name TEXT NOT NULL,
    platform TEXT NOT NULL,
    model TEXT,
    os_version TEXT,
    app_id TEXT,
    app_version TEXT,
    installation_id TEXT,
    purpose TEXT NOT NULL,
    status TEXT NOT NULL,
    key_thumbprint TEXT NOT NULL,
    uv_thumbprint TEXT,
    binding_id BLOB,
    binding TEXT,
    push_channel TEXT NOT NULL,
    push TEXT NOT NULL,
    push_token_gone INTEGER NOT NULL DEFAULT 0,
    push_updated_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    activated_at INTEGER,
    revoked_at INTEGER,
    revoke_reason TEXT,
    -- The command that last changed the status.
    decision_id BLOB NOT NULL
) STRICT;
CREATE INDEX devices_by_user ON devices (user_id, id);
CREATE INDEX devices_by_tenant ON devices (tenant_id, id);

-- Every key that a device ever had. A thumbprint is registered once on this server, by anybody.
CREATE TABLE device_keys (
    thumbprint TEXT NOT NULL PRIMARY KEY,
    tenant_id BLOB NOT NULL REFERENCES tenants (id),
    device_id BLOB NOT NULL REFERENCES devices (id),
    role TEXT NOT NULL,
    public_key BLOB NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX device_keys_by_device ON device_keys (device_id);

CREATE TABLE enrollments (
    id BLOB NOT NULL PRIMARY KEY,
    tenant_id BLOB NOT NULL REFERENCES tenants (id),
    user_id BLOB NOT NULL REFERENCES users (id),
    status TEXT NOT NULL,
    confirmation TEXT NOT NULL,
    purpose TEXT NOT NULL,
    ticket BLOB NOT NULL UNIQUE,
    -- MACs by the server: whose ticket it is, and which keys claimed it. One that does not verify is an alarm.
    seal TEXT NOT NULL,
    claim_seal TEXT,
    -- What the claiming device shows; kept by a completed one, which knows a repeat by it; gone at any other end.
    code TEXT,
    wrong_codes INTEGER NOT NULL DEFAULT 0,
    -- No foreign key: a device that is deleted with its enrollment stays named in it.
    device_id BLOB,
    device_name TEXT,
    device_platform TEXT,
    key_thumbprint TEXT,
    expires_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    decision_id BLOB NOT NULL
) STRICT;
CREATE INDEX enrollments_due ON enrollments (expires_at) WHERE status IN ('pending', 'claimed');
CREATE INDEX enrollments_by_user ON enrollments (user_id);

-- The first replies to artefacts: a byte-identical repeat gets them again.
CREATE TABLE replies (
    artefact BLOB NOT NULL PRIMARY KEY,
    tenant_id BLOB NOT NULL REFERENCES tenants (id),
    body TEXT NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX replies_by_expiry ON replies (expires_at);

CREATE TABLE push_update_jtis (
    device_id BLOB NOT NULL,
    jti TEXT NOT NULL,
    tenant_id BLOB NOT NULL REFERENCES tenants (id),
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (device_id, jti)
) STRICT;
CREATE INDEX push_update_jtis_by_expiry ON push_update_jtis (expires_at);

CREATE TABLE challenges (
    -- No foreign keys on the hot tables: the statement that writes a row joins what it refers to.
    id BLOB NOT NULL PRIMARY KEY,
    tenant_id BLOB NOT NULL,
    client_id BLOB NOT NULL,
    user_id BLOB NOT NULL,
    external_id TEXT NOT NULL,
    display_name TEXT,
    -- What is shown and echoed, and the policy that held: JSON.
    content TEXT NOT NULL,
    policy TEXT NOT NULL,
    jws TEXT NOT NULL,
    -- For idempotent replays while pending; gone when the challenge ends.
    number TEXT,
    status TEXT NOT NULL,
    reason TEXT,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    decided_at INTEGER,
    device_id BLOB,
    response TEXT,
    binding TEXT,
    -- The command that made it, then the one that ended it: says who won, and after a lost COMMIT answer
    -- whether it happened.
    decision_id BLOB NOT NULL
) STRICT;
CREATE INDEX challenges_due ON challenges (expires_at) WHERE status = 'pending';
CREATE INDEX challenges_by_tenant ON challenges (tenant_id, id);
CREATE INDEX challenges_by_client ON challenges (client_id, id);
CREATE INDEX challenges_by_user ON challenges (user_id, id);
-- A user has at most a handful of these, however long the history: inboxes and the barrier look here.
CREATE INDEX challenges_pending_by_user ON challenges (user_id, id) WHERE status = 'pending';

CREATE TABLE deliveries (
    challenge_id BLOB NOT NULL,
    device_id BLOB NOT NULL,
    tenant_id BLOB NOT NULL,
    channel TEXT NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    last_error TEXT,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (challenge_id, device_id)
) STRICT;
CREATE INDEX deliveries_by_device ON deliveries (device_id, challenge_id);

CREATE TABLE notifications (
    id BLOB NOT NULL PRIMARY KEY,
    tenant_id BLOB NOT NULL,
    kind TEXT NOT NULL,
    device_id BLOB NOT NULL,
    challenge_id BLOB,
    due_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    lease BLOB,
    leased_until INTEGER
) STRICT;
CREATE INDEX notifications_due ON notifications (due_at, id);
CREATE INDEX notifications_by_expiry ON notifications (expires_at);
CREATE INDEX notifications_by_challenge ON notifications (challenge_id);

CREATE TABLE idempotency_keys (
    client_id BLOB NOT NULL,
    key TEXT NOT NULL,
    tenant_id BLOB NOT NULL,
    challenge_id BLOB NOT NULL,
    body BLOB NOT NULL,
    reply TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    decision_id BLOB NOT NULL,
    PRIMARY KEY (client_id, key)
) STRICT;
CREATE INDEX idempotency_keys_by_expiry ON idempotency_keys (expires_at);

CREATE TABLE events (
    id BLOB NOT NULL PRIMARY KEY,
    tenant_id BLOB NOT NULL,
    -- Given after the commit, under a lock on the tenant's head.
    position INTEGER,
    kind TEXT NOT NULL,
    actor_kind TEXT NOT NULL,
    actor_id TEXT,
    user_id BLOB,
    device_id BLOB,
    challenge_id BLOB,
    enrollment_id BLOB,
    api_client_id BLOB,
    request_id TEXT NOT NULL,
    at INTEGER NOT NULL,
    body TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX events_by_position ON events (tenant_id, position) WHERE position IS NOT NULL;
CREATE INDEX events_without_position ON events (tenant_id, at, id) WHERE position IS NULL;
CREATE INDEX events_by_user ON events (user_id, at) WHERE user_id IS NOT NULL;
