-- The audit: each organisation's events as a Merkle tree, in tiles, with a signed head.

-- The last position given, how many events the signed checkpoint is over, and the checkpoint: a signed note. All else
-- that is known of the tree follows from the tiles and has to lead to what is signed.
CREATE TABLE audit_heads (
    tenant_id UUID NOT NULL PRIMARY KEY,
    positioned BIGINT NOT NULL,
    size BIGINT NOT NULL DEFAULT 0,
    checkpoint TEXT,
    sealed_at BIGINT
);
CREATE INDEX audit_heads_unsealed ON audit_heads (tenant_id) WHERE positioned > size;
-- Events from before there was a tree: sealed like new ones.
INSERT INTO audit_heads (tenant_id, positioned) SELECT id, event_head FROM tenants WHERE event_head > 0;

-- Up to 256 hashes of 32 bytes each; level 0 are the leaves (C2SP tlog-tiles).
CREATE TABLE audit_tiles (
    tenant_id UUID NOT NULL,
    level BIGINT NOT NULL,
    tile BIGINT NOT NULL,
    hashes BYTEA NOT NULL,
    PRIMARY KEY (tenant_id, level, tile)
);
