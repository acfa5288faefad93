-- Searching users: what an administrator asks for most has an index that is as small as its answer.

CREATE INDEX users_locked ON users (tenant_id, id) WHERE locked_until IS NOT NULL;
CREATE INDEX users_reported ON users (tenant_id, id) WHERE reported_at IS NOT NULL;
CREATE INDEX users_without_device ON users (tenant_id, id) WHERE device_count = 0;

-- PostgreSQL alone: how these tables are stored and tended.
-- Ids are compared byte for byte, whatever language the cluster sorts by: the ids that begin with some characters are
-- then one range of the index that keeps them unique. The index is made anew; the rows stay as they are.
ALTER TABLE users ALTER COLUMN external_id TYPE TEXT COLLATE "C";
