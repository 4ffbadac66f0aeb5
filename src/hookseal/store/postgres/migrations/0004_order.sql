-- Which of two states of one subject is the later one, and which came too late.

-- `standing` is where the event stands among the states of its subject (null: nowhere), `peak` the greatest standing of
-- that subject at that source up to this event: an event below its peak came too late.
ALTER TABLE events ADD COLUMN standing bigint;
ALTER TABLE events ADD COLUMN peak bigint;
ALTER TABLE events ADD CHECK (coalesce(standing <= peak, standing IS NULL AND peak IS NULL)) NOT VALID;

-- How far each subject has come: the greatest standing of its events. `subject` is a hash of the source and the subject,
-- because a subject may be longer than an index entry; `former` is what `peak` was before the last transaction raised it,
-- which that one is told as it does; `received_at` is of the newest event. A row leaves with the last event of its subject.
CREATE TABLE peaks (
    subject uuid PRIMARY KEY,
    peak bigint NOT NULL,
    former bigint,
    received_at bigint NOT NULL
) WITH (fillfactor = 80);

CREATE OR REPLACE VIEW event_rows AS
SELECT
    events.id AS key, events.id, events.source, events.sequence, events.item, events.type, events.received_at,
    events.provider_type, events.provider_id, events.subject, events.time, events.flags, events.conflicts,
    events.request AS request_id, events.siblings, bodies.sealed,
    coalesce(events.standing < events.peak, false) AS superseded
FROM events LEFT JOIN bodies ON bodies.request = events.request;
