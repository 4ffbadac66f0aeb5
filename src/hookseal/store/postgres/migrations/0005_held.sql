-- Requests that are genuine and too old, where the source holds such.

-- A held request is proven and acknowledged, and waits for a person: it never gives way to what strangers send.
ALTER TABLE quarantine ADD COLUMN held boolean NOT NULL DEFAULT false;
