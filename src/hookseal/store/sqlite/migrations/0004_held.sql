-- Requests that are genuine and too old, where the source holds such.

-- A held request is proven and acknowledged, and waits for a person: it never gives way to what strangers send.
ALTER TABLE quarantine ADD COLUMN held INTEGER NOT NULL DEFAULT 0 CHECK (held IN (0, 1));
DROP INDEX quarantine_bytes;
CREATE INDEX quarantine_refused ON quarantine (key, bytes) WHERE held = 0;
CREATE INDEX quarantine_held ON quarantine (key) WHERE held = 1;
