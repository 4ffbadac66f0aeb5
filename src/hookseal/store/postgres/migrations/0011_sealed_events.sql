-- Subjects and the provider's names are encrypted, and stored rows are bound to what stands in their columns.
-- `store/postgres/sealing_old_rows.py` fills these columns for the rows of an older store, in the same transaction.

ALTER TABLE events ADD COLUMN subject_hash uuid;
ALTER TABLE events ADD COLUMN facts bytea;
ALTER TABLE deliveries ADD COLUMN seal bytea;
