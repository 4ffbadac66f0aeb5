-- Shares of the quarantine by source and peer, and held requests by their events.

-- `peer` is a keyed hash of the client's address, 0 where it is not known: who has most gives way first.
ALTER TABLE quarantine ADD COLUMN peer INTEGER NOT NULL DEFAULT 0 CHECK (peer >= 0);
-- Of a held request: a hash of the dedupe keys of its events, so that it is held once.
ALTER TABLE quarantine ADD COLUMN hold_key BLOB CHECK (hold_key IS NULL OR (held = 1 AND length(hold_key) = 32));
CREATE INDEX quarantine_peer ON quarantine (source, peer, key, bytes) WHERE held = 0;
CREATE UNIQUE INDEX quarantine_hold_key ON quarantine (hold_key) WHERE hold_key IS NOT NULL;
