-- Life cycles: of tenants, of API clients, of users until their erasure, of devices and their keys.

-- Retention, quotas and whatever else the organisation sets, as JSON; its version moves with each change.
ALTER TABLE tenants ADD COLUMN settings TEXT NOT NULL DEFAULT '{}';
ALTER TABLE tenants ADD COLUMN settings_version INTEGER NOT NULL DEFAULT 1;
-- Counters of what has a quota: moved by the conditional write of each change, never counted.
ALTER TABLE tenants ADD COLUMN user_count INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tenants ADD COLUMN api_client_count INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tenants ADD COLUMN webhook_count INTEGER NOT NULL DEFAULT 0;
-- What the operator allows at most; NULL: no limit.
ALTER TABLE tenants ADD COLUMN user_quota INTEGER;
ALTER TABLE tenants ADD COLUMN api_client_quota INTEGER;
ALTER TABLE tenants ADD COLUMN webhook_quota INTEGER;
UPDATE tenants SET
    user_count = (SELECT count(*) FROM users WHERE users.tenant_id = tenants.id),
    api_client_count = (SELECT count(*) FROM api_clients WHERE api_clients.tenant_id = tenants.id AND revoked_at IS NULL);

-- The organisations that keep things for another time than the server does: each has its own portion of forgetting.
CREATE INDEX tenants_with_settings ON tenants (id) WHERE settings <> '{}';
CREATE INDEX enrollments_by_tenant ON enrollments (tenant_id, id);

-- When a key was last used, to the minute or so: beside the keys, whose rows each write of the client shares.
CREATE TABLE api_key_uses (
    key_id BLOB NOT NULL PRIMARY KEY,
    tenant_id BLOB NOT NULL,
    used_at INTEGER NOT NULL
) STRICT;

-- The row of somebody who was erased stays, empty, because the log names its id. `external_id` is then a blank and
-- the id, which nobody can be called.
ALTER TABLE users ADD COLUMN erased_at INTEGER;
ALTER TABLE challenges ADD COLUMN erased_at INTEGER;
-- Erasures that have begun: nobody acts for the person any more, and what is left of the past is blanked in portions.
-- The row goes when nothing is left, also not in the files; whoever finds it goes on.
CREATE TABLE erasures (
    user_id BLOB NOT NULL PRIMARY KEY,
    tenant_id BLOB NOT NULL,
    begun_at INTEGER NOT NULL,
    -- Challenges up to here are blank.
    blanked_until BLOB
) STRICT;

-- Until when a key was its device's.
ALTER TABLE device_keys ADD COLUMN retired_at INTEGER;
-- When the device last replaced keys: not again within a minute.
ALTER TABLE devices ADD COLUMN keys_changed_at INTEGER;
-- All registrations of one app on one phone.
CREATE INDEX devices_by_installation ON devices (tenant_id, installation_id, id) WHERE installation_id IS NOT NULL;

-- Whose reply it is: it goes with the person. Of earlier ones nobody knows whose they are: they lived a day at most.
DELETE FROM replies;
ALTER TABLE replies ADD COLUMN user_id BLOB;
CREATE INDEX replies_by_user ON replies (user_id) WHERE user_id IS NOT NULL;

-- MACs by the server: what the client may do, and whose key it is. Nobody who can write the database makes a key, or
-- widens what one may be used for. A row without one is refused.
ALTER TABLE api_clients ADD COLUMN seal TEXT;
ALTER TABLE api_keys ADD COLUMN seal TEXT;
