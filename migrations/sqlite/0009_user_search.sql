-- Searching users: what an administrator asks for most has an index that is as small as its answer.

CREATE INDEX users_locked ON users (tenant_id, id) WHERE locked_until IS NOT NULL;
CREATE INDEX users_reported ON users (tenant_id, id) WHERE reported_at IS NOT NULL;
CREATE INDEX users_without_device ON users (tenant_id, id) WHERE device_count = 0;
