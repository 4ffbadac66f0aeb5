-- What retention looks things up by.

-- The events of a request other than the one that has the request's own id: a small part of all.
CREATE INDEX events_request ON events (request) WHERE request <> id;

-- Dedupe keys by age. Not block ranges any more: once freed space is used again, old and new keys share every range, and
-- to find a few old ones the whole table would be read.
DROP INDEX dedupe_received;
CREATE INDEX dedupe_received ON dedupe (received_at);
