-- Policy: versions, number matching in both directions, an end to push fatigue.

-- Beside the policy itself: what must be known, or must not have changed, where the policy is not read.
ALTER TABLE tenants ADD COLUMN policy_version BIGINT NOT NULL DEFAULT 1;
ALTER TABLE tenants ADD COLUMN client_proof_required BIGINT NOT NULL DEFAULT 0;
UPDATE tenants SET policy_version = COALESCE(CAST(CAST(policy AS json) ->> 'version' AS BIGINT), 1);

-- Every policy that ever held, from the first change on: a challenge names the version that held for it.
CREATE TABLE policy_versions (
    tenant_id UUID NOT NULL REFERENCES tenants (id),
    version BIGINT NOT NULL,
    policy TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, version)
);

-- The applications that the client may name, as JSON; all if NULL.
ALTER TABLE api_clients ADD COLUMN applications TEXT;
-- Of a client that signs its requests, uncompressed SEC1; `digest` is then that of the key's thumbprint.
ALTER TABLE api_keys ADD COLUMN public_key BYTEA;

-- Proofs by which API clients changed something: none does so twice, on any node.
CREATE TABLE client_proof_jtis (
    client_id UUID NOT NULL,
    jti TEXT NOT NULL,
    tenant_id UUID NOT NULL,
    expires_at BIGINT NOT NULL,
    -- The command that spent it.
    decision_id UUID NOT NULL,
    PRIMARY KEY (client_id, jti)
);
CREATE INDEX client_proof_jtis_by_expiry ON client_proof_jtis (expires_at);

-- When the user was last rung for a challenge, unix milliseconds, oldest first, at most 20; and how often since the
-- last approval. Moved with each challenge that rings, by whoever holds the user's row.
ALTER TABLE users ADD COLUMN recent_pushes TEXT NOT NULL DEFAULT '';
ALTER TABLE users ADD COLUMN pushes_since_approval BIGINT NOT NULL DEFAULT 0;
-- Nobody is rung until then: after a report, or after several denials in a row.
ALTER TABLE users ADD COLUMN pushes_stopped_until BIGINT;
ALTER TABLE users ADD COLUMN consecutive_denials BIGINT NOT NULL DEFAULT 0;
-- A report of fraud that no administrator has cleared, and whose it was: `device` or `api_client`.
ALTER TABLE users ADD COLUMN reported_at BIGINT;
ALTER TABLE users ADD COLUMN reported_by TEXT;

-- Mode `display`: the code that the first approve was given (gone when the challenge ends; not `number`, which a
-- repeated request of the caller's gets again), the server's MAC over it (nobody who can write the database can choose
-- the code), its MAC that the code was typed in (or make an approval of a code that was not), the wrong codes so far.
ALTER TABLE challenges ADD COLUMN code TEXT;
ALTER TABLE challenges ADD COLUMN code_seal TEXT;
ALTER TABLE challenges ADD COLUMN entered_seal TEXT;
ALTER TABLE challenges ADD COLUMN wrong_codes BIGINT NOT NULL DEFAULT 0;
-- What is remarkable about the decision: words, separated by blanks.
ALTER TABLE challenges ADD COLUMN flags TEXT;

-- The approved challenge that let this enrollment be made: once only.
ALTER TABLE enrollments ADD COLUMN approval_id UUID;
-- An administrator let it be made without one.
ALTER TABLE enrollments ADD COLUMN overridden BIGINT NOT NULL DEFAULT 0;
CREATE UNIQUE INDEX enrollments_by_approval ON enrollments (approval_id) WHERE approval_id IS NOT NULL;

-- When the device last decided a challenge.
ALTER TABLE push_health ADD COLUMN answered_at BIGINT;
-- What is known of the past: nobody is dormant for having answered before this was kept.
INSERT INTO push_health (device_id, tenant_id, answered_at)
    SELECT device_id, tenant_id, max(decided_at) FROM challenges WHERE device_id IS NOT NULL GROUP BY device_id, tenant_id
    ON CONFLICT (device_id) DO UPDATE SET answered_at = excluded.answered_at;
