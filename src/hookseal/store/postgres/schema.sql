-- Where the migrations lead, for reading. Not run: a store is made by `migrations/`, and a test proves that both agree.
-- Everything lies in the schema `hookseal` of the database, so that other tables may stand beside it.

-- The migrations that this store has had.
CREATE TABLE ledger (
    version integer PRIMARY KEY,
    name text NOT NULL,
    applied_at bigint NOT NULL
);

-- Rows are known by the ids that nodes make: 16 bytes, time-ordered (UUIDv7), so that their indexes grow at one end and
-- no number is given out by a counter that spans all sources. Times are microseconds since the Unix epoch, by the clock
-- of the node that wrote them; `due_at` alone counts by the clock of the database, which is the same for all nodes.
--
-- No foreign keys between the tables that every event is written to: each one costs a look-up and a lock on its parent
-- per row, and rows are removed by retention in the right order. What belongs together is written in one transaction.

-- Which keys have sealed values of this store, so that no node joins it without one of them.
CREATE TABLE keyring (
    kid text PRIMARY KEY,
    fingerprint text NOT NULL
);

-- The last sequence of each source. A transaction moves the row of a source once, by as many events as it stores, and
-- holds it until its commit, so that sequences rise in the order of the commits. Half of each page stays free: the new
-- version of a row fits beside the old one (HOT), and no index is touched.
CREATE TABLE sequences (
    source text PRIMARY KEY,
    value bigint NOT NULL CHECK (value > 0)
) WITH (fillfactor = 50);

-- Headers and body of a request, compressed and sealed, under the id of the request: that of its first event.
CREATE TABLE bodies (
    request uuid PRIMARY KEY,
    sealed bytea NOT NULL
);
-- Sealed bytes do not compress.
ALTER TABLE bodies ALTER COLUMN sealed SET STORAGE EXTERNAL;

-- The rules that events were made by: the tables `event` and `claims` of a provider's file as JSON, and the first 128 bits of
-- their SHA-256 in hex. One row for each revision of a provider's rules; rows are never changed.
CREATE TABLE mappings (
    number integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    provider text NOT NULL,
    revision text NOT NULL,
    rules bytea NOT NULL,
    UNIQUE (provider, revision)
);

-- `content` is the SHA-256 of the item's own data; `conflicts` counts later requests with this event's dedupe key and
-- other content; `siblings` counts the events that its request brought, duplicates left out.
-- `standing` is where the event stands among the states of its subject (null: nowhere), `peak` the greatest standing of
-- that subject at that source up to this event: an event below its peak came too late.
-- `facts` has the provider's type and id of the event and its subject, encrypted and bound to the other columns; `subject_hash`
-- is a keyed hash of the subject. See `store/event_seal.py`.
-- `mapping` is the number of the rules (null: stored before mappings were, and not yet assigned), `outcome` and `final` what
-- they decided then (null: stored before outcomes were, or made by no rules).
CREATE TABLE events (
    id uuid PRIMARY KEY,
    request uuid NOT NULL,
    item integer NOT NULL CHECK (item >= 0),
    siblings integer NOT NULL CHECK (siblings > 0),
    source text NOT NULL,
    sequence bigint NOT NULL CHECK (sequence > 0),
    received_at bigint NOT NULL,
    type text NOT NULL,
    time bigint,
    flags text NOT NULL,
    content bytea NOT NULL CHECK (length(content) = 32),
    conflicts integer NOT NULL DEFAULT 0 CHECK (conflicts >= 0),
    standing bigint,
    peak bigint,
    mapping integer,
    outcome text,
    final boolean NOT NULL DEFAULT false,
    subject_hash uuid,
    facts bytea
);
ALTER TABLE events ADD CHECK (coalesce(standing <= peak, standing IS NULL AND peak IS NULL)) NOT VALID;
CREATE INDEX events_received ON events (received_at, id);
CREATE INDEX events_source ON events (source, received_at, id);
-- Empty as soon as each source has assigned its mapping to its old events.
CREATE INDEX events_unmapped ON events (source) WHERE mapping IS NULL;
CREATE INDEX events_subject ON events (subject_hash, received_at) WHERE subject_hash IS NOT NULL;
-- For retention: the events of a request other than the one that has the request's own id, a small part of all.
CREATE INDEX events_request ON events (request) WHERE request <> id;

-- How far each subject has come: the greatest standing of its events. `subject` is a hash of the source and of the
-- subject's hash; `former` is what `peak` was before the last transaction raised it,
-- which that one is told as it does; `received_at` is of the newest event. A row leaves with the last event of its subject.
CREATE TABLE peaks (
    subject uuid PRIMARY KEY,
    peak bigint NOT NULL,
    former bigint,
    received_at bigint NOT NULL
) WITH (fillfactor = 80);

-- Dedupe keys; they outlive the events that they made. One plain unique index, never partitions: a unique index does
-- not reach over partitions, and two nodes could store one key twice.
CREATE TABLE dedupe (
    dedupe_key bytea PRIMARY KEY CHECK (length(dedupe_key) = 32),
    event uuid NOT NULL,
    received_at bigint NOT NULL
);
-- For retention.
CREATE INDEX dedupe_received ON dedupe (received_at);

-- One event for one endpoint; `seal` binds the three ids. A pending delivery is due at `due_at`; a lease moves that
-- to its own end.
-- `losses` counts leases that ended without a result. `unexplained_losses` counts those since the last recorded attempt:
-- a delivery with more than one is a crash suspect. `isolated_losses` counts those of them where it was the only delivery
-- in flight in its process. `due_if_lost` is set during such an attempt: when the delivery is due if that lease is lost.
-- `replayed_as` of a dead delivery: the delivery that a replay made in its place. It is not counted as dead any more.
CREATE TABLE deliveries (
    id uuid PRIMARY KEY,
    event uuid NOT NULL,
    endpoint text NOT NULL,
    state text NOT NULL CHECK (state IN ('pending', 'delivered', 'dead', 'cancelled')),
    attempts integer NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    losses integer NOT NULL DEFAULT 0 CHECK (losses >= 0),
    created_at bigint NOT NULL,
    due_at bigint,
    lease bigint CHECK (lease > 0),
    first_attempt_at bigint,
    ended_at bigint,
    last_status integer,
    last_reason text,
    unexplained_losses integer NOT NULL DEFAULT 0 CHECK (unexplained_losses >= 0),
    isolated_losses integer NOT NULL DEFAULT 0 CHECK (isolated_losses >= 0),
    due_if_lost bigint,
    replayed_as uuid,
    seal bytea,
    CHECK ((state = 'pending') = (due_at IS NOT NULL)),
    CHECK ((state = 'pending') = (ended_at IS NULL)),
    CHECK (lease IS NULL OR state = 'pending'),
    CHECK ((attempts > 0) = (first_attempt_at IS NOT NULL)),
    CHECK (due_if_lost IS NULL OR lease IS NOT NULL),
    CHECK (replayed_as IS NULL OR state = 'dead')
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000);
CREATE INDEX deliveries_event ON deliveries (event);
-- These three hold what is unfinished or needs a person, so that their cost follows the work and not the history.
CREATE INDEX deliveries_due ON deliveries (endpoint, due_at) WHERE state = 'pending';
CREATE INDEX deliveries_suspect ON deliveries (due_at) WHERE state = 'pending' AND unexplained_losses > 1;
CREATE INDEX deliveries_open ON deliveries (state, id) WHERE state <> 'delivered' AND replayed_as IS NULL;

CREATE TABLE attempts (
    delivery uuid NOT NULL,
    number integer NOT NULL CHECK (number > 0),
    started_at bigint NOT NULL,
    duration_ms bigint NOT NULL CHECK (duration_ms >= 0),
    status integer,
    reason text,
    PRIMARY KEY (delivery, number)
);

-- Refused requests; method, URL, address, headers and body are sealed. `bytes` is the size of `sealed`.
-- A held request is proven and acknowledged, and waits for a person: it never gives way to what strangers send.
CREATE TABLE quarantine (
    id uuid PRIMARY KEY,
    source text NOT NULL,
    received_at bigint NOT NULL,
    reason text NOT NULL,
    released_at bigint,
    bytes integer NOT NULL CHECK (bytes = length(sealed)),
    sealed bytea NOT NULL,
    held boolean NOT NULL DEFAULT false,
    -- A keyed hash of the client's address, 0 where it is not known.
    peer bigint NOT NULL DEFAULT 0 CHECK (peer >= 0),
    -- Of a held request: a hash of the dedupe keys of its events.
    hold_key bytea CHECK (hold_key IS NULL OR (held AND length(hold_key) = 32))
);
ALTER TABLE quarantine ALTER COLUMN sealed SET STORAGE EXTERNAL;
CREATE INDEX quarantine_source ON quarantine (source, id);
CREATE INDEX quarantine_peer ON quarantine (source, peer, id) INCLUDE (bytes) WHERE NOT held;
CREATE UNIQUE INDEX quarantine_hold_key ON quarantine (hold_key) WHERE hold_key IS NOT NULL;

-- What the gateway keeps for itself, by shelf and name: consents of endpoints, the key of our own issuer. Few and small.
CREATE TABLE kept (
    shelf text NOT NULL,
    name text NOT NULL,
    sealed bytea NOT NULL,
    PRIMARY KEY (shelf, name)
);

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

-- Deliveries and events as readers see them; the columns stand in the order of `store/rows.py`.
CREATE VIEW delivery_rows AS
SELECT
    deliveries.id AS key, deliveries.id, deliveries.event AS event_id, deliveries.event, events.source, events.type,
    events.received_at, deliveries.endpoint, deliveries.state, deliveries.attempts, deliveries.losses,
    deliveries.created_at, deliveries.due_at, deliveries.ended_at, deliveries.last_status, deliveries.last_reason,
    deliveries.replayed_as, deliveries.seal
FROM deliveries JOIN events ON events.id = deliveries.event;

CREATE VIEW event_rows AS
SELECT
    events.id AS key, events.id, events.source, events.sequence, events.item, events.type, events.received_at,
    events.facts, events.content, events.subject_hash, events.time, events.flags, events.conflicts,
    events.request AS request_id, events.siblings, bodies.sealed,
    coalesce(events.standing < events.peak, false) AS superseded, events.mapping, events.outcome, events.final,
    events.standing
FROM events LEFT JOIN bodies ON bodies.request = events.request;
