-- Webhooks: addresses of an organisation that are told of its events, and the messages on their way there.

-- No secret is here: they follow from the key file, the webhook's id and the secret's.
CREATE TABLE webhooks (
    id BLOB NOT NULL PRIMARY KEY,
    tenant_id BLOB NOT NULL REFERENCES tenants (id),
    url TEXT NOT NULL,
    -- The words, with a blank before, between and behind them.
    events TEXT NOT NULL,
    description TEXT,
    status TEXT NOT NULL,
    disabled_reason TEXT,
    secret_id BLOB NOT NULL,
    -- The ones before that sign, too, with their ends, as JSON.
    previous_secrets TEXT NOT NULL,
    -- A MAC by the server over where, what and the secret: one that does not verify is an alarm, and is told nothing.
    seal TEXT NOT NULL,
    -- Since when everything fails there.
    failing_since INTEGER,
    -- When messages that waited were last brought forward because it answered again.
    brought_forward_at INTEGER,
    created_at INTEGER NOT NULL,
    version INTEGER NOT NULL DEFAULT 1
) STRICT;
CREATE INDEX webhooks_by_tenant ON webhooks (tenant_id, id);

-- Written in the transaction of the event. Ids and words only: what is told is read when it is sent.
CREATE TABLE webhook_deliveries (
    webhook_id BLOB NOT NULL,
    -- The event's id, or a test's.
    message_id BLOB NOT NULL,
    tenant_id BLOB NOT NULL,
    kind TEXT NOT NULL,
    status TEXT NOT NULL,
    due_at INTEGER NOT NULL,
    queued_at INTEGER NOT NULL,
    -- Since it was queued, or sent again by somebody's wish.
    tries INTEGER NOT NULL,
    -- The latest ones, as JSON.
    attempts TEXT NOT NULL,
    -- 1: not before `due_at`, also if the address takes others again. Something is wrong with this one.
    is_put_off INTEGER NOT NULL DEFAULT 0,
    lease BLOB,
    leased_until INTEGER,
    kept_until INTEGER NOT NULL,
    PRIMARY KEY (webhook_id, message_id)
) STRICT;
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (webhook_id, due_at, message_id) WHERE status = 'pending';
CREATE INDEX webhook_deliveries_by_status ON webhook_deliveries (webhook_id, status, message_id);
CREATE INDEX webhook_deliveries_by_age ON webhook_deliveries (kept_until);
