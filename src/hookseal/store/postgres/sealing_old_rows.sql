-- What is run once on the rows of a store that is older than schema 11, after its migration 11.

-- old_events --
-- The next events, with the columns that were readable.
SELECT
    events.id, events.request, events.source, events.item, events.received_at, events.type, events.time, events.flags,
    events.content, events.standing, events.outcome, events.final, mappings.provider, mappings.revision,
    events.provider_type, events.provider_id, events.subject
FROM events LEFT JOIN mappings ON mappings.number = events.mapping
WHERE events.id > $1 ORDER BY events.id LIMIT $2;

-- seal_events --
-- Replace what was readable.
UPDATE events SET
    facts = given.facts, subject_hash = given.subject_hash, provider_type = NULL, provider_id = NULL, subject = NULL
FROM unnest($1::uuid[], $2::bytea[], $3::uuid[]) AS given (id, facts, subject_hash) WHERE events.id = given.id;

-- old_deliveries --
-- The next deliveries.
SELECT id, event, endpoint FROM deliveries WHERE id > $1 ORDER BY id LIMIT $2;

-- seal_deliveries --
-- Bind deliveries to their events and endpoints.
UPDATE deliveries SET seal = given.seal
FROM unnest($1::uuid[], $2::bytea[]) AS given (id, seal) WHERE deliveries.id = given.id;

-- old_refusals --
-- The next refused requests.
SELECT id, source, received_at, reason, held, sealed FROM quarantine WHERE id > $1 ORDER BY id LIMIT $2;

-- seal_refusal --
-- Replace the sealed bytes of one.
UPDATE quarantine SET sealed = $2, bytes = $3 WHERE id = $1;

-- drop_peaks --
-- Forget how far subjects came, under the hashes that they had.
DELETE FROM peaks;

-- old_peaks --
-- How far the next subjects came. The newest event of a subject carries the peak of all before it.
SELECT subject_hash, source, max(peak), max(received_at) FROM events
WHERE peak IS NOT NULL AND subject_hash IS NOT NULL AND (subject_hash, source) > ($1, $2)
GROUP BY subject_hash, source ORDER BY subject_hash, source LIMIT $3;

-- keep_peaks --
-- Note it under the hashes that they have now.
INSERT INTO peaks (subject, peak, received_at) SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::bigint[]);

-- keep_secret --
-- Keep the secret that these rows are sealed with.
INSERT INTO kept (shelf, name, sealed) VALUES ($1, $2, $3);
