-- Events keep the provider and the rules that made them.

CREATE TABLE mappings (
    number integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    provider text NOT NULL,
    revision text NOT NULL,
    rules bytea NOT NULL,
    UNIQUE (provider, revision)
);

ALTER TABLE events ADD COLUMN mapping integer;
ALTER TABLE events ADD COLUMN outcome text;
ALTER TABLE events ADD COLUMN final boolean NOT NULL DEFAULT false;
CREATE INDEX events_unmapped ON events (source) WHERE mapping IS NULL;

CREATE OR REPLACE VIEW event_rows AS
SELECT
    events.id AS key, events.id, events.source, events.sequence, events.item, events.type, events.received_at,
    events.provider_type, events.provider_id, events.subject, events.time, events.flags, events.conflicts,
    events.request AS request_id, events.siblings, bodies.sealed,
    coalesce(events.standing < events.peak, false) AS superseded, events.mapping, events.outcome, events.final
FROM events LEFT JOIN bodies ON bodies.request = events.request;
