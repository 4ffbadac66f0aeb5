-- A dead delivery whose event was replayed names the delivery that took its place.

ALTER TABLE deliveries ADD COLUMN replayed_as uuid;
ALTER TABLE deliveries ADD CHECK (replayed_as IS NULL OR state = 'dead');

UPDATE deliveries SET replayed_as = (
    SELECT newer.id FROM deliveries AS newer
    WHERE newer.event = deliveries.event AND newer.endpoint = deliveries.endpoint AND newer.id > deliveries.id
    ORDER BY newer.id LIMIT 1
)
WHERE state = 'dead' AND state <> 'delivered';

DROP INDEX deliveries_open;
CREATE INDEX deliveries_open ON deliveries (state, id) WHERE state <> 'delivered' AND replayed_as IS NULL;

DROP VIEW delivery_rows;
CREATE VIEW delivery_rows AS
SELECT
    deliveries.id AS key, deliveries.id, deliveries.event AS event_id, deliveries.event, events.source, events.type,
    events.received_at, deliveries.endpoint, deliveries.state, deliveries.attempts, deliveries.losses,
    deliveries.created_at, deliveries.due_at, deliveries.ended_at, deliveries.last_status, deliveries.last_reason,
    deliveries.replayed_as
FROM deliveries JOIN events ON events.id = deliveries.event;
