-- Push: a lane per channel, what came of each push, the devices' push health, test pushes.

-- The lane in which a push waits: whoever sends for one channel never meets what waits for another. The default is
-- for writers that do not know the column; nobody sends in that lane.
ALTER TABLE notifications ADD COLUMN channel TEXT NOT NULL DEFAULT 'none';
UPDATE notifications SET channel = COALESCE(
    (SELECT devices.push_channel FROM devices WHERE devices.id = notifications.device_id), 'none');
CREATE INDEX notifications_by_channel ON notifications (channel, due_at, id);
DROP INDEX notifications_due;
-- Whoever turns a device off, or moves it to another channel, meets its pushes only.
CREATE INDEX notifications_by_device ON notifications (device_id);
-- However much happens to a user's registrations: of the notices at most one waits for each device.
CREATE UNIQUE INDEX notifications_notice_of_device ON notifications (device_id) WHERE kind = 'notice';

-- Why and since when the provider refuses the token for good.
ALTER TABLE devices ADD COLUMN push_undeliverable TEXT;
ALTER TABLE devices ADD COLUMN push_undeliverable_at BIGINT;

ALTER TABLE deliveries ADD COLUMN accepted_at BIGINT;
ALTER TABLE deliveries ADD COLUMN fetched_at BIGINT;

-- How pushes to a device fare, and when it last asked. Beside the devices: what is written with every push must not
-- wait for, or hold up, decisions, which share the devices' rows.
CREATE TABLE push_health (
    device_id UUID NOT NULL PRIMARY KEY,
    tenant_id UUID NOT NULL,
    accepted_at BIGINT,
    pulled_at BIGINT,
    error TEXT,
    error_at BIGINT
);

CREATE TABLE test_pushes (
    -- The notification's, too.
    id UUID NOT NULL PRIMARY KEY,
    tenant_id UUID NOT NULL,
    device_id UUID NOT NULL,
    channel TEXT NOT NULL,
    state TEXT NOT NULL,
    attempts BIGINT NOT NULL DEFAULT 0,
    last_error TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX test_pushes_by_device ON test_pushes (device_id, created_at);
CREATE INDEX test_pushes_by_age ON test_pushes (created_at);
