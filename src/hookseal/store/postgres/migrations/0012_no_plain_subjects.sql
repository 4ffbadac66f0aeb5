-- What is encrypted now no longer stands beside it.

DROP VIEW event_rows;
DROP VIEW delivery_rows;
DROP INDEX events_subject;
ALTER TABLE events DROP COLUMN provider_type;
ALTER TABLE events DROP COLUMN provider_id;
ALTER TABLE events DROP COLUMN subject;
CREATE INDEX events_subject ON events (subject_hash, received_at) WHERE subject_hash IS NOT NULL;
CREATE VIEW delivery_rows AS
SELECT
    deliveries.id AS key, deliveries.id, deliveries.event AS event_id, deliveries.event, events.source, events.type,
    events.received_at, deliveries.endpoint, deliveries.state, deliveries.attempts, deliveries.losses,
    deliveries.created_at, deliveries.due_at, deliveries.ended_at, deliveries.last_status, deliveries.last_reason,
    deliveries.replayed_as, deliveries.seal
FROM deliveries JOIN events ON events.id = deliveries.event;

CREATE VIEW event_rows AS
SELECT
    events.id AS key, events.id, events.source, events.sequence, events.item, events.type, events.received_at,
    events.facts, events.content, events.subject_hash, events.time, events.flags, events.conflicts,
    events.request AS request_id, events.siblings, bodies.sealed,
    coalesce(events.standing < events.peak, false) AS superseded, events.mapping, events.outcome, events.final,
    events.standing
FROM events LEFT JOIN bodies ON bodies.request = events.request;
