-- Flat cost: leases of background work, and indexes that are as small as what they are asked for.

-- Which node does a kind of background work, and until when unless it renews.
CREATE TABLE leases (
    name TEXT NOT NULL PRIMARY KEY,
    holder UUID NOT NULL,
    until BIGINT NOT NULL
);

-- What a device has waiting is found by its notifications: no sign-in pays for an index of all its past deliveries.
DROP INDEX deliveries_by_device;

-- Only what people are told of is asked for by user: sign-ins, which are nearly all events, are left out.
DROP INDEX events_by_user;
CREATE INDEX events_of_user ON events (user_id, at)
    WHERE user_id IS NOT NULL AND kind NOT IN ('challenge.created', 'challenge.approved', 'challenge.denied', 'challenge.expired', 'challenge.cancelled', 'challenge.reported');

-- PostgreSQL alone: how these tables are stored and tended.
-- Room for the next version of a row in its page: a change of no indexed column then costs no index anything. Users
-- change twice with each sign-in, deliveries and push health with each push. (Challenges gain nothing: their status is
-- in the predicates of two indexes, so that its change always writes all of them.)
ALTER TABLE users SET (fillfactor = 80);
ALTER TABLE deliveries SET (fillfactor = 80);
ALTER TABLE push_health SET (fillfactor = 70);
-- Cleaned after so many changes rather than after a fifth of a long history has changed.
ALTER TABLE challenges SET (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 10000, autovacuum_analyze_scale_factor = 0.02);
ALTER TABLE deliveries SET (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 10000, autovacuum_analyze_scale_factor = 0.02);
ALTER TABLE events SET (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 10000, autovacuum_analyze_scale_factor = 0.02);
ALTER TABLE users SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000);
-- Rows that live for seconds or a day: what is dead outnumbers what lives, and every claim wades through it.
ALTER TABLE notifications SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
ALTER TABLE idempotency_keys SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000);
