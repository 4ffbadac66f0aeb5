-- How often the values of each namespace (`kept.shelf`) have changed, so that a reader learns of a change without reading
-- the values. Health probes write the namespace `probe`, which nobody reads.
CREATE TABLE kv_versions (
    namespace TEXT PRIMARY KEY,
    version INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TRIGGER kept_inserted AFTER INSERT ON kept WHEN new.shelf <> 'probe' BEGIN
    INSERT INTO kv_versions (namespace, version) VALUES (new.shelf, 1)
    ON CONFLICT (namespace) DO UPDATE SET version = version + 1;
END;
CREATE TRIGGER kept_updated AFTER UPDATE ON kept WHEN new.shelf <> 'probe' BEGIN
    INSERT INTO kv_versions (namespace, version) VALUES (new.shelf, 1)
    ON CONFLICT (namespace) DO UPDATE SET version = version + 1;
END;
CREATE TRIGGER kept_deleted AFTER DELETE ON kept WHEN old.shelf <> 'probe' BEGIN
    INSERT INTO kv_versions (namespace, version) VALUES (old.shelf, 1)
    ON CONFLICT (namespace) DO UPDATE SET version = version + 1;
END;
