-- Subjects and the provider's names are encrypted, and stored rows are bound to what stands in their columns.
-- `store/sqlite/sealing_old_rows.py` fills these columns for the rows of an older store, in the same transaction.

ALTER TABLE events ADD COLUMN subject_hash BLOB;
ALTER TABLE events ADD COLUMN facts BLOB;
ALTER TABLE deliveries ADD COLUMN seal BLOB;
