-- Which of two states of one subject is the later one, and which came too late.

-- `standing` is where the event stands among the states of its subject (null: nowhere), `peak` the greatest standing of that
-- subject at that source up to this event: so the newest event tells the peak of all, and an event below its peak came
-- too late.
ALTER TABLE events ADD COLUMN standing INTEGER;
ALTER TABLE events ADD COLUMN peak INTEGER CHECK (coalesce(standing <= peak, standing IS NULL AND peak IS NULL));

DROP VIEW event_rows;
CREATE VIEW event_rows AS
SELECT
    events.key, events.id, events.source, events.sequence, events.item, events.type, events.received_at,
    events.provider_type, events.provider_id, events.subject, events.time, events.flags, events.conflicts,
    requests.id AS request_id, requests.events AS siblings, bodies.sealed,
    coalesce(events.standing < events.peak, 0) AS superseded
FROM events
LEFT JOIN requests ON requests.key = events.request
LEFT JOIN bodies ON bodies.request = events.request;
