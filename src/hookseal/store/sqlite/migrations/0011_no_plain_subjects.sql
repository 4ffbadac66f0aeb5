-- What is encrypted now no longer stands beside it.

DROP VIEW event_rows;
DROP VIEW delivery_rows;
ALTER TABLE events DROP COLUMN provider_type;
ALTER TABLE events DROP COLUMN provider_id;
ALTER TABLE events DROP COLUMN subject;
CREATE VIEW event_rows AS
SELECT
    events.key, events.id, events.source, events.sequence, events.item, events.type, events.received_at,
    events.facts, events.content, events.subject_hash, events.time, events.flags, events.conflicts,
    requests.id AS request_id, requests.events AS siblings, bodies.sealed,
    coalesce(events.standing < events.peak, 0) AS superseded, events.mapping, events.outcome, events.final,
    events.standing
FROM events
LEFT JOIN requests ON requests.key = events.request
LEFT JOIN bodies ON bodies.request = events.request;

CREATE VIEW delivery_rows AS
SELECT
    deliveries.key, deliveries.id, events.id AS event_id, deliveries.event, events.source, events.type,
    events.received_at, deliveries.endpoint, deliveries.state, deliveries.attempts, deliveries.losses,
    deliveries.created_at, deliveries.due_at, deliveries.ended_at, deliveries.last_status, deliveries.last_reason,
    deliveries.replayed_as, deliveries.seal
FROM deliveries CROSS JOIN events ON events.key = deliveries.event;
