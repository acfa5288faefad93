-- Flat cost: leases of background work, and indexes that are as small as what they are asked for.

-- Which node does a kind of background work, and until when unless it renews.
CREATE TABLE leases (
    name TEXT NOT NULL PRIMARY KEY,
    holder BLOB NOT NULL,
    until INTEGER NOT NULL
) STRICT;

-- What a device has waiting is found by its notifications: no sign-in pays for an index of all its past deliveries.
DROP INDEX deliveries_by_device;

-- Only what people are told of is asked for by user: sign-ins, which are nearly all events, are left out.
DROP INDEX events_by_user;
CREATE INDEX events_of_user ON events (user_id, at)
    WHERE user_id IS NOT NULL AND kind NOT IN ('challenge.created', 'challenge.approved', 'challenge.denied', 'challenge.expired', 'challenge.cancelled', 'challenge.reported');
