-- Events keep the provider and the rules that made them.

CREATE TABLE mappings (
    number INTEGER PRIMARY KEY,
    provider TEXT NOT NULL,
    revision TEXT NOT NULL,
    rules BLOB NOT NULL,
    UNIQUE (provider, revision)
) STRICT;

ALTER TABLE events ADD COLUMN mapping INTEGER;
ALTER TABLE events ADD COLUMN outcome TEXT;
ALTER TABLE events ADD COLUMN final INTEGER NOT NULL DEFAULT 0 CHECK (final IN (0, 1));
CREATE INDEX events_unmapped ON events (source) WHERE mapping IS NULL;

DROP VIEW event_rows;
CREATE VIEW event_rows AS
SELECT
    events.key, events.id, events.source, events.sequence, events.item, events.type, events.received_at,
    events.provider_type, events.provider_id, events.subject, events.time, events.flags, events.conflicts,
    requests.id AS request_id, requests.events AS siblings, bodies.sealed,
    coalesce(events.standing < events.peak, 0) AS superseded, events.mapping, events.outcome, events.final
FROM events
LEFT JOIN requests ON requests.key = events.request
LEFT JOIN bodies ON bodies.request = events.request;
