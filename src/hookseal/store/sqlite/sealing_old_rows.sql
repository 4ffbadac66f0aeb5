-- What is run once on the rows of a store that is older than schema 10, after its migration 10.

-- old_events --
-- The next events, with the columns that were readable.
SELECT
    events.key, events.id, requests.id, events.source, events.item, events.received_at, events.type, events.time,
    events.flags, events.content, events.standing, events.outcome, events.final, mappings.provider, mappings.revision,
    events.provider_type, events.provider_id, events.subject
FROM events
LEFT JOIN requests ON requests.key = events.request
LEFT JOIN mappings ON mappings.number = events.mapping
WHERE events.key > :after ORDER BY events.key LIMIT :limit;

-- seal_event --
-- Replace what was readable.
UPDATE events SET
    facts = :facts, subject_hash = :subject_hash, provider_type = NULL, provider_id = NULL, subject = NULL
WHERE key = :key;

-- old_deliveries --
-- The next deliveries, each with the id of its event.
SELECT deliveries.key, deliveries.id, events.id, deliveries.endpoint
FROM deliveries JOIN events ON events.key = deliveries.event
WHERE deliveries.key > :after ORDER BY deliveries.key LIMIT :limit;

-- seal_delivery --
-- Bind a delivery to its event and endpoint.
UPDATE deliveries SET seal = :seal WHERE key = :key;

-- old_refusals --
-- The next refused requests.
SELECT key, id, source, received_at, reason, held, sealed FROM quarantine
WHERE key > :after ORDER BY key LIMIT :limit;

-- seal_refusal --
-- Replace the sealed bytes of one.
UPDATE quarantine SET sealed = :sealed, bytes = :bytes WHERE key = :key;

-- old_subjects --
-- Note the places that subjects have now.
CREATE TEMP TABLE placed AS
SELECT subjects.slot >> 48 << 48 | subject_place(events.subject_hash) AS slot, subjects.event
FROM subjects JOIN events ON events.key = subjects.event WHERE events.subject_hash IS NOT NULL;

-- drop_subjects --
-- Forget the places that subjects had.
DELETE FROM subjects;

-- place_subjects --
-- Put the subjects at their places.
INSERT INTO subjects (slot, event) SELECT slot, event FROM placed ORDER BY slot, event;

-- drop_placed --
-- Drop the notes.
DROP TABLE placed;

-- place_recent --
-- The same for those that are not in order yet.
UPDATE recent_keys SET subject = (
    SELECT subject_place(events.subject_hash) FROM events WHERE events.key = recent_keys.event_key
) WHERE subject IS NOT NULL;

-- keep_secret --
-- Keep the secret that these rows are sealed with.
INSERT INTO kept (shelf, name, sealed) VALUES (:shelf, :name, :sealed);
