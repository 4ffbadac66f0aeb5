-- Deliveries that may have killed the process that attempted them.

ALTER TABLE deliveries
    ADD COLUMN unexplained_losses integer NOT NULL DEFAULT 0 CHECK (unexplained_losses >= 0),
    ADD COLUMN isolated_losses integer NOT NULL DEFAULT 0 CHECK (isolated_losses >= 0),
    ADD COLUMN due_if_lost bigint CHECK (due_if_lost IS NULL OR lease IS NOT NULL);
CREATE INDEX deliveries_suspect ON deliveries (due_at) WHERE state = 'pending' AND unexplained_losses > 1;
