-- What somebody waits for goes before the rest of what an address is told; and until when challenges may be gone.

-- 1: somebody waits for it. Each sort has its own turns at an address. What an older version queues is the rest.
ALTER TABLE webhook_deliveries ADD COLUMN is_urgent BIGINT NOT NULL DEFAULT 0;
CREATE INDEX webhook_deliveries_by_urgency ON webhook_deliveries (webhook_id, is_urgent, due_at, message_id)
    WHERE status = 'pending';

-- Until when challenges may have been deleted because they had been kept for long enough: a note that the log key has
-- signed. Of each organisation that keeps them for less than the server; under the nil id, of all.
CREATE TABLE forgotten (
    tenant_id UUID NOT NULL PRIMARY KEY,
    note TEXT NOT NULL
);
