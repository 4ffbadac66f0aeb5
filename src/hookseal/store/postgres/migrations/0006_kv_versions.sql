-- How often the values of each namespace (`kept.shelf`) have changed, so that a node learns of a change without reading
-- the values. Triggers count, because a node of an earlier version does not know this table. Listening nodes are notified.
CREATE TABLE kv_versions (
    namespace text PRIMARY KEY,
    version bigint NOT NULL
);
CREATE FUNCTION raise_kv_version() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    changed text := CASE TG_OP WHEN 'DELETE' THEN OLD.shelf ELSE NEW.shelf END;
BEGIN
    -- Health probes write their own namespace. Nobody reads it, and nodes that probe must not wait for each other.
    IF changed = 'probe' THEN
        RETURN NULL;
    END IF;
    INSERT INTO hookseal.kv_versions AS mine (namespace, version) VALUES (changed, 1)
    ON CONFLICT (namespace) DO UPDATE SET version = mine.version + 1;
    PERFORM pg_notify('hookseal_kv', changed);
    RETURN NULL;
END $$;
CREATE TRIGGER kept_changed AFTER INSERT OR UPDATE OR DELETE ON kept
FOR EACH ROW EXECUTE FUNCTION raise_kv_version();
