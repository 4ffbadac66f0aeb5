-- Where the migrations lead, for reading. Not run: a store is made by `migrations/`, and a test proves that both agree.

-- The migrations that this store has had.
CREATE TABLE ledger (
    version INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    applied_at INTEGER NOT NULL
) STRICT;

-- Integer keys are given out by the writer and never used twice. Ids are 16 bytes, time-ordered (UUIDv7), so that their
-- indexes grow at one end. Times are microseconds since the Unix epoch.

-- Which keys have sealed values of this store, so that a store is never opened without one of them.
CREATE TABLE keyring (
    kid TEXT PRIMARY KEY,
    fingerprint TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- The highest number given out: for each kind of key, for the rows of the newest dedupe partition, and for the
-- sequence of each source. Kept in one place, because retention may remove the row that had the highest number.
CREATE TABLE counters (
    kind TEXT NOT NULL CHECK (kind IN ('event', 'delivery', 'partition', 'sequence')),
    name TEXT NOT NULL,
    value INTEGER NOT NULL CHECK (value >= 0),
    PRIMARY KEY (kind, name),
    CHECK ((kind = 'sequence') = (name <> ''))
) STRICT, WITHOUT ROWID;

-- One accepted HTTP request. `id` is the id of the first event that it brought: the label of its seal.
-- `key` is the key of the first of its events that was stored; `events` counts those, duplicates left out.
CREATE TABLE requests (
    key INTEGER PRIMARY KEY,
    id BLOB NOT NULL CHECK (length(id) = 16),
    events INTEGER NOT NULL CHECK (events > 0)
) STRICT;

-- Headers and body of a request, compressed and sealed. A table of its own, so that retention can let the bytes go in
-- slices and keep what happened.
CREATE TABLE bodies (
    request INTEGER PRIMARY KEY REFERENCES requests (key) ON DELETE CASCADE,
    sealed BLOB NOT NULL
) STRICT;

-- The rules that events were made by: the tables `event` and `claims` of a provider's file as JSON, and the first 128 bits of
-- their SHA-256 in hex. One row for each revision of a provider's rules; rows are never changed.
CREATE TABLE mappings (
    number INTEGER PRIMARY KEY,
    provider TEXT NOT NULL,
    revision TEXT NOT NULL,
    rules BLOB NOT NULL,
    UNIQUE (provider, revision)
) STRICT;

-- `content` is the SHA-256 of the item's own data; `conflicts` counts later requests with this event's dedupe key and
-- other content. No foreign key to `requests`: it would need an index that nothing else asks for.
-- `standing` is where the event stands among the states of its subject (null: nowhere), `peak` the greatest standing of that
-- subject at that source up to this event: so the newest event tells the peak of all, and an event below its peak came
-- too late.
-- `facts` has the provider's type and id of the event and its subject, encrypted and bound to the other columns; `subject_hash`
-- is a keyed hash of the subject. See `store/event_seal.py`.
-- `mapping` is the number of the rules (null: stored before mappings were, and not yet assigned), `outcome` and `final` what
-- they decided then (null: stored before outcomes were, or made by no rules).
CREATE TABLE events (
    key INTEGER PRIMARY KEY,
    id BLOB NOT NULL CHECK (length(id) = 16),
    request INTEGER NOT NULL,
    item INTEGER NOT NULL CHECK (item >= 0),
    source TEXT NOT NULL,
    sequence INTEGER NOT NULL CHECK (sequence > 0),
    received_at INTEGER NOT NULL,
    type TEXT NOT NULL,
    time INTEGER,
    flags TEXT NOT NULL,
    content BLOB NOT NULL CHECK (length(content) = 32),
    conflicts INTEGER NOT NULL DEFAULT 0 CHECK (conflicts >= 0),
    standing INTEGER,
    peak INTEGER CHECK (coalesce(standing <= peak, standing IS NULL AND peak IS NULL)),
    mapping INTEGER,
    outcome TEXT,
    final INTEGER NOT NULL DEFAULT 0 CHECK (final IN (0, 1)),
    subject_hash BLOB,
    facts BLOB
) STRICT;
CREATE UNIQUE INDEX events_id ON events (id);
CREATE INDEX events_received ON events (received_at);
CREATE INDEX events_source ON events (source, received_at);
-- Empty as soon as each source has assigned its mapping to its old events.
CREATE INDEX events_unmapped ON events (source) WHERE mapping IS NULL;

-- The newest dedupe keys, in the order of storing. They wait here, and in the writer's memory, until their turn comes to
-- be put in order into `dedupe` and `subjects`. `subject` is 48 bits of `subject_hash`.
CREATE TABLE recent_keys (
    event_key INTEGER PRIMARY KEY,
    dedupe_key BLOB NOT NULL CHECK (length(dedupe_key) = 32),
    event BLOB NOT NULL CHECK (length(event) = 16),
    day INTEGER NOT NULL,
    subject INTEGER
) STRICT;

-- Events by subject. A random key over all of history would slow every insert, so that `slot` is partition << 48 plus
-- 48 bits of the subject's hash: inserts touch one partition only.
CREATE TABLE subjects (
    slot INTEGER NOT NULL,
    event INTEGER NOT NULL,
    PRIMARY KEY (slot, event)
) STRICT, WITHOUT ROWID;

-- Dedupe keys, in partitions for the same reason: `slot` is partition << 48 plus the key's first 48 bits, `rest` the
-- other 208 bits, `event` the event's id (which outlives the event's row).
CREATE TABLE dedupe (
    slot INTEGER PRIMARY KEY,
    rest BLOB NOT NULL CHECK (length(rest) = 26),
    event BLOB NOT NULL CHECK (length(event) = 16)
) STRICT;

-- The days (since the epoch, UTC) that the keys of each partition were received on.
CREATE TABLE dedupe_partitions (
    number INTEGER PRIMARY KEY CHECK (number > 0 AND number < 32768),
    first_day INTEGER NOT NULL,
    last_day INTEGER NOT NULL,
    CHECK (first_day <= last_day)
) STRICT;

-- Keys whose slot another key has: told apart by all of their 256 bits. They leave together with their partition.
CREATE TABLE dedupe_collisions (
    dedupe_key BLOB PRIMARY KEY CHECK (length(dedupe_key) = 32),
    partition INTEGER NOT NULL REFERENCES dedupe_partitions (number) ON DELETE CASCADE,
    event BLOB NOT NULL CHECK (length(event) = 16)
) STRICT, WITHOUT ROWID;
CREATE INDEX dedupe_collisions_partition ON dedupe_collisions (partition);

-- One event for one endpoint; `seal` binds the three ids. A pending delivery is due at `due_at`; a lease moves that
-- to its own end.
-- `losses` counts leases that ended without a result. `unexplained_losses` counts those since the last recorded attempt:
-- a delivery with more than one is a crash suspect. `isolated_losses` counts those of them where it was the only delivery
-- in flight in its process. `due_if_lost` is set during such an attempt: when the delivery is due if that lease is lost.
-- `replayed_as` of a dead delivery: the delivery that a replay made in its place. It is not counted as dead any more.
CREATE TABLE deliveries (
    key INTEGER PRIMARY KEY,
    id BLOB NOT NULL CHECK (length(id) = 16),
    event INTEGER NOT NULL REFERENCES events (key),
    endpoint TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'delivered', 'dead', 'cancelled')),
    attempts INTEGER NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    losses INTEGER NOT NULL DEFAULT 0 CHECK (losses >= 0),
    created_at INTEGER NOT NULL,
    due_at INTEGER,
    lease INTEGER CHECK (lease > 0),
    first_attempt_at INTEGER,
    ended_at INTEGER,
    last_status INTEGER,
    last_reason TEXT,
    unexplained_losses INTEGER NOT NULL DEFAULT 0 CHECK (unexplained_losses >= 0),
    isolated_losses INTEGER NOT NULL DEFAULT 0 CHECK (isolated_losses >= 0),
    due_if_lost INTEGER CHECK (due_if_lost IS NULL OR lease IS NOT NULL),
    replayed_as BLOB CHECK (replayed_as IS NULL OR state = 'dead'),
    seal BLOB,
    CHECK ((state = 'pending') = (due_at IS NOT NULL)),
    CHECK ((state = 'pending') = (ended_at IS NULL)),
    CHECK (lease IS NULL OR state = 'pending'),
    CHECK ((attempts > 0) = (first_attempt_at IS NOT NULL))
) STRICT;
CREATE UNIQUE INDEX deliveries_id ON deliveries (id);
CREATE INDEX deliveries_event ON deliveries (event);
-- These four hold what is unfinished or needs a person, so that their cost follows the work and not the history.
CREATE INDEX deliveries_due ON deliveries (endpoint, due_at) WHERE state = 'pending';
CREATE INDEX deliveries_leased ON deliveries (lease) WHERE lease IS NOT NULL;
CREATE INDEX deliveries_suspect ON deliveries (due_at) WHERE state = 'pending' AND unexplained_losses > 1;
CREATE INDEX deliveries_open ON deliveries (state, key, endpoint) WHERE state <> 'delivered' AND replayed_as IS NULL;

CREATE TABLE attempts (
    delivery INTEGER NOT NULL REFERENCES deliveries (key) ON DELETE CASCADE,
    number INTEGER NOT NULL CHECK (number > 0),
    started_at INTEGER NOT NULL,
    duration_ms INTEGER NOT NULL CHECK (duration_ms >= 0),
    status INTEGER,
    reason TEXT,
    PRIMARY KEY (delivery, number)
) STRICT, WITHOUT ROWID;

-- Refused requests; method, URL, address, headers and body are sealed. `bytes` is the size of `sealed`.
-- A held request is proven and acknowledged, and waits for a person: it never gives way to what strangers send.
CREATE TABLE quarantine (
    key INTEGER PRIMARY KEY,
    id BLOB NOT NULL CHECK (length(id) = 16),
    source TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    reason TEXT NOT NULL,
    released_at INTEGER,
    bytes INTEGER NOT NULL CHECK (bytes = length(sealed)),
    sealed BLOB NOT NULL,
    held INTEGER NOT NULL DEFAULT 0 CHECK (held IN (0, 1)),
    -- A keyed hash of the client's address, 0 where it is not known.
    peer INTEGER NOT NULL DEFAULT 0 CHECK (peer >= 0),
    -- Of a held request: a hash of the dedupe keys of its events.
    hold_key BLOB CHECK (hold_key IS NULL OR (held = 1 AND length(hold_key) = 32))
) STRICT;
CREATE UNIQUE INDEX quarantine_id ON quarantine (id);
CREATE INDEX quarantine_source ON quarantine (source);
CREATE INDEX quarantine_refused ON quarantine (key, bytes) WHERE held = 0;
CREATE INDEX quarantine_held ON quarantine (key) WHERE held = 1;
CREATE INDEX quarantine_peer ON quarantine (source, peer, key, bytes) WHERE held = 0;
CREATE UNIQUE INDEX quarantine_hold_key ON quarantine (hold_key) WHERE hold_key IS NOT NULL;

-- What the gateway keeps for itself, by shelf and name: consents of endpoints, the key of our own issuer. Few and small.
CREATE TABLE kept (
    shelf TEXT NOT NULL,
    name TEXT NOT NULL,
    sealed BLOB NOT NULL,
    PRIMARY KEY (shelf, name)
) STRICT, WITHOUT ROWID;

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

-- Deliveries and events as readers see them. CROSS JOIN: SQLite then begins with the deliveries, and stops at a page's end.
CREATE VIEW delivery_rows AS
SELECT
    deliveries.key, deliveries.id, events.id AS event_id, deliveries.event, events.source, events.type,
    events.received_at, deliveries.endpoint, deliveries.state, deliveries.attempts, deliveries.losses,
    deliveries.created_at, deliveries.due_at, deliveries.ended_at, deliveries.last_status, deliveries.last_reason,
    deliveries.replayed_as, deliveries.seal
FROM deliveries CROSS JOIN events ON events.key = deliveries.event;

CREATE VIEW event_rows AS
SELECT
    events.key, events.id, events.source, events.sequence, events.item, events.type, events.received_at,
    events.facts, events.content, events.subject_hash, events.time, events.flags, events.conflicts,
    requests.id AS request_id, requests.events AS siblings, bodies.sealed,
    coalesce(events.standing < events.peak, 0) AS superseded, events.mapping, events.outcome, events.final,
    events.standing
FROM events
LEFT JOIN requests ON requests.key = events.request
LEFT JOIN bodies ON bodies.request = events.request;
