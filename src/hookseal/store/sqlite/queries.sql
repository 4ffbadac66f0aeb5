-- Every statement of the SQLite store, under a name and a sentence. What stands between two `/* row */` is one row: it
-- is repeated for as many rows as there are, because one statement with many rows costs less than many statements.

-- begin --
-- Take the one write lock now, not at the first write.
BEGIN IMMEDIATE;

-- commit --
-- With `synchronous = FULL` this returns after the log was synced to the disk.
COMMIT;

-- rollback --
-- Undo what the open transaction did.
ROLLBACK;

-- create_ledger --
-- The migrations that this store has had. Made by the first one's own transaction.
CREATE TABLE IF NOT EXISTS ledger (
    version INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    applied_at INTEGER NOT NULL
) STRICT;

-- has_ledger --
-- 1 when this file is one of our stores.
SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'ledger';

-- has_tables --
-- How many tables the file has: 0 in a new one.
SELECT count(*) FROM sqlite_schema;

-- ledger_version --
-- The newest migration that this store has had, 0 before the first.
SELECT coalesce(max(version), 0) FROM ledger;

-- write_ledger --
-- Note a migration, in its own transaction.
INSERT INTO ledger (version, name, applied_at) VALUES (:version, :name, :applied_at);

-- read_keyring --
-- The keys that sealed values of this store.
SELECT kid, fingerprint FROM keyring;

-- write_keyring --
-- Note a key before anything is sealed under it.
INSERT INTO keyring (kid, fingerprint) VALUES (:kid, :fingerprint) ON CONFLICT (kid) DO NOTHING;

-- read_counters --
-- Where the numbers stand.
SELECT kind, name, value FROM counters;

-- write_counters --
-- Move numbers on.
INSERT INTO counters (kind, name, value) VALUES /* row */ (?, ?, ?) /* row */
ON CONFLICT (kind, name) DO UPDATE SET value = excluded.value;

-- read_partitions --
-- The dedupe partitions, oldest first.
SELECT number, first_day, last_day FROM dedupe_partitions ORDER BY number;

-- write_partition --
-- Begin a partition, or widen its days.
INSERT INTO dedupe_partitions (number, first_day, last_day) VALUES (:number, :first_day, :last_day)
ON CONFLICT (number) DO UPDATE SET first_day = excluded.first_day, last_day = excluded.last_day;

-- find_dedupe --
-- Which of these slots are taken, and by what.
SELECT slot, rest, event FROM dedupe WHERE slot IN (/* row */ ? /* row */);

-- find_collisions --
-- Which of these keys stand under their full text.
SELECT dedupe_key, event FROM dedupe_collisions WHERE dedupe_key IN (/* row */ ? /* row */);

-- find_originals --
-- The events that duplicates are duplicates of.
SELECT id, key, sequence, content FROM events WHERE id IN (/* row */ ? /* row */);

-- insert_requests --
-- Keep that requests came.
INSERT INTO requests (key, id, events) VALUES /* row */ (?, ?, ?) /* row */;

-- insert_bodies --
-- Keep the sealed bytes of requests.
INSERT INTO bodies (request, sealed) VALUES /* row */ (?, ?) /* row */;

-- insert_events --
-- Keep events.
INSERT INTO events (
    key, id, request, item, source, sequence, received_at, type, time, flags, content, standing, peak, mapping, outcome,
    final, subject_hash, facts
) VALUES /* row */ (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) /* row */;

-- keep_mapping --
-- Keep rules that events are made by. A revision is a hash of its rules: if other ones stand there, they were altered.
INSERT INTO mappings (provider, revision, rules) VALUES (:provider, :revision, :rules)
ON CONFLICT (provider, revision) DO UPDATE SET rules = excluded.rules WHERE rules <> excluded.rules;

-- read_mappings --
-- All rules that events were made by.
SELECT number, provider, revision, rules FROM mappings;

-- find_unmapped --
-- Events of one source that were stored before rules were kept.
SELECT * FROM event_rows WHERE mapping IS NULL AND source = :source LIMIT :limit;

-- assign_mapping --
-- Give one of them its rules.
UPDATE events SET mapping = :mapping, facts = :facts WHERE key = :key AND mapping IS NULL;

-- find_peaks --
-- The greatest standing of each of some subjects, among what is in order: that of the newest event which has one, in each
-- partition; null where there is none. CROSS JOIN: the slot is walked from its newest event on, and one step is usual.
WITH wanted (place, source, subject) AS (VALUES /* row */ (?, ?, ?) /* row */)
SELECT source, subject, (
    SELECT max((
        SELECT events.peak FROM subjects CROSS JOIN events ON events.key = subjects.event
        WHERE subjects.slot = (dedupe_partitions.number << 48 | wanted.place)
        AND events.source = wanted.source AND events.subject_hash = wanted.subject AND events.peak IS NOT NULL
        ORDER BY subjects.event DESC LIMIT 1
    )) FROM dedupe_partitions
) FROM wanted;

-- read_peak --
-- What find_peaks asks of one event.
SELECT peak FROM events WHERE key = :key AND source = :source AND subject_hash = :subject AND peak IS NOT NULL;

-- insert_recent --
-- Note new keys in the order of storing.
INSERT INTO recent_keys (event_key, dedupe_key, event, day, subject) VALUES /* row */ (?, ?, ?, ?, ?) /* row */;

-- read_recent --
-- The keys that a former process had in memory, and some that it had already put in order.
SELECT event_key, dedupe_key, event, day, subject FROM recent_keys ORDER BY event_key;

-- drop_recent --
-- Forget the notes of keys that are in order.
DELETE FROM recent_keys WHERE event_key <= :last;

-- insert_subjects --
-- Let events be found by their subject. One that a former process put in order already is left as it is.
INSERT OR IGNORE INTO subjects (slot, event) VALUES /* row */ (?, ?) /* row */;

-- insert_dedupe --
-- Put keys in order.
INSERT INTO dedupe (slot, rest, event) VALUES /* row */ (?, ?, ?) /* row */;

-- insert_collisions --
-- Remember keys whose slot is another key's.
INSERT INTO dedupe_collisions (dedupe_key, partition, event) VALUES /* row */ (?, ?, ?) /* row */
ON CONFLICT (dedupe_key) DO NOTHING;

-- insert_deliveries --
-- Plan deliveries, with or without a lease.
INSERT INTO deliveries (key, id, event, endpoint, state, created_at, due_at, lease, seal)
VALUES /* row */ (?, ?, ?, ?, 'pending', ?, ?, ?, ?) /* row */;

-- count_conflict --
-- Another request had this event's dedupe key and other content.
UPDATE events SET conflicts = conflicts + 1 WHERE key = :key;

-- find_due --
-- The deliveries of one endpoint that are due, the longest due first. Crash suspects are claimed by `claim_suspect`.
SELECT key FROM deliveries
WHERE state = 'pending' AND endpoint = :endpoint AND due_at <= :now AND unexplained_losses < 2
ORDER BY due_at LIMIT :free;

-- lease_due --
-- Lease deliveries. One that still has a lease lost it by running out of time: that is a loss.
WITH taken (key, lease, lease_until) AS (VALUES /* row */ (?, ?, ?) /* row */)
UPDATE deliveries SET
    lease = taken.lease, due_at = taken.lease_until, losses = losses + (deliveries.lease IS NOT NULL),
    unexplained_losses = unexplained_losses + (deliveries.lease IS NOT NULL)
FROM taken WHERE deliveries.key = taken.key AND state = 'pending';

-- read_leased --
-- What a claim needs of leased deliveries beside their events.
SELECT key, id, endpoint, lease, attempts, losses, unexplained_losses, first_attempt_at, event, seal FROM deliveries
WHERE key IN (/* row */ ? /* row */) AND state = 'pending' AND lease IS NOT NULL;

-- claimed_events --
-- Read the events of claimed deliveries: the columns of `event_rows` with the length of the sealed bytes in the place of
-- these, and the key of the bytes. Many events may share them.
SELECT
    key, id, source, sequence, item, type, received_at, facts, content, subject_hash, time, flags, conflicts,
    request_id, siblings, length(sealed), superseded, mapping, outcome, final, standing,
    (SELECT request FROM events WHERE events.key = event_rows.key)
FROM event_rows WHERE key IN (/* row */ ? /* row */);

-- read_bodies --
-- Read the sealed bytes of requests.
SELECT request, sealed FROM bodies WHERE request IN (/* row */ ? /* row */);

-- record_results --
-- Move deliveries on, each only while its lease is held. `ended_at` is when the try ended.
WITH result (id, lease, state, due_at, started_at, ended_at, status, reason) AS (
    VALUES /* row */ (?, ?, ?, ?, ?, ?, ?, ?) /* row */
)
UPDATE deliveries SET
    state = result.state, due_at = result.due_at, lease = NULL, attempts = attempts + 1,
    first_attempt_at = coalesce(first_attempt_at, result.started_at),
    ended_at = CASE result.state WHEN 'pending' THEN NULL ELSE result.ended_at END,
    last_status = result.status, last_reason = result.reason, unexplained_losses = 0, isolated_losses = 0,
    due_if_lost = NULL
FROM result
WHERE deliveries.id = result.id AND deliveries.lease = result.lease AND deliveries.state = 'pending'
RETURNING deliveries.id, deliveries.key;

-- insert_attempts --
-- Write tries down.
INSERT INTO attempts (delivery, number, started_at, duration_ms, status, reason)
VALUES /* row */ (?, ?, ?, ?, ?, ?) /* row */;

-- renew_leases --
-- Extend leases that are still held.
WITH held (id, lease, until) AS (VALUES /* row */ (?, ?, ?) /* row */)
UPDATE deliveries SET due_at = held.until
FROM held WHERE deliveries.id = held.id AND deliveries.lease = held.lease AND state = 'pending'
RETURNING deliveries.id;

-- release_leases --
-- Give leases back untried.
WITH held (id, lease, due_at) AS (VALUES /* row */ (?, ?, ?) /* row */)
UPDATE deliveries SET lease = NULL, due_at = held.due_at, due_if_lost = NULL
FROM held WHERE deliveries.id = held.id AND deliveries.lease = held.lease AND state = 'pending';

-- void_leases --
-- End every lease: its holder is dead. The delivery is due now, or later if its attempt was an isolated one.
UPDATE deliveries SET
    lease = NULL, due_at = max(:now, coalesce(due_if_lost, :now)), losses = losses + 1,
    unexplained_losses = unexplained_losses + 1, isolated_losses = isolated_losses + (due_if_lost IS NOT NULL),
    due_if_lost = NULL
WHERE lease IS NOT NULL AND state = 'pending'
RETURNING key;

-- void_suspects --
-- The same for leases of crash suspects that have run out of time.
UPDATE deliveries SET
    lease = NULL, due_at = max(:now, coalesce(due_if_lost, :now)), losses = losses + 1,
    unexplained_losses = unexplained_losses + 1, isolated_losses = isolated_losses + (due_if_lost IS NOT NULL),
    due_if_lost = NULL
WHERE state = 'pending' AND unexplained_losses > 1 AND due_at <= :now AND lease IS NOT NULL;

-- due_suspects --
-- Crash suspects that are due, the longest due first. :endpoints is a JSON array. `+` keeps SQLite from walking all that is
-- pending.
SELECT id, endpoint, isolated_losses FROM deliveries
WHERE state = 'pending' AND unexplained_losses > 1 AND due_at <= :now AND lease IS NULL
AND +endpoint IN (SELECT value FROM json_each(:endpoints))
ORDER BY due_at LIMIT :limit;

-- next_suspect_at --
-- When the first crash suspect of some endpoints is due. :endpoints is a JSON array. `+` as in `due_suspects`.
SELECT min(due_at) FROM deliveries
WHERE state = 'pending' AND unexplained_losses > 1 AND +endpoint IN (SELECT value FROM json_each(:endpoints));

-- claim_suspect --
-- Lease one crash suspect for an isolated attempt.
UPDATE deliveries SET lease = :lease, due_at = :lease_until, due_if_lost = :due_if_lost
WHERE id = :id AND state = 'pending' AND unexplained_losses > 1 AND due_at <= :now AND lease IS NULL
RETURNING key, id, endpoint, lease, attempts, losses, unexplained_losses, first_attempt_at, event, seal;

-- end_suspect --
-- A crash suspect was lost in too many isolated attempts. No attempt is written down: none has a known result.
UPDATE deliveries SET state = 'dead', due_at = NULL, ended_at = :now, last_status = NULL, last_reason = :reason
WHERE id = :id AND state = 'pending' AND unexplained_losses > 1 AND lease IS NULL
RETURNING key;

-- bury --
-- A leased delivery whose event cannot be read can never be sent.
UPDATE deliveries SET
    state = 'dead', due_at = NULL, lease = NULL, due_if_lost = NULL, ended_at = :now, last_reason = :reason
WHERE key = :key AND lease = :lease AND state = 'pending';

-- pending_since --
-- The endpoints that have pending deliveries, each with when its oldest one is due. One look into the index for each
-- endpoint, whatever the number of deliveries.
WITH RECURSIVE waiting (endpoint) AS (
    SELECT min(endpoint) FROM deliveries WHERE state = 'pending'
    UNION ALL
    SELECT (SELECT min(endpoint) FROM deliveries WHERE state = 'pending' AND endpoint > waiting.endpoint)
    FROM waiting WHERE waiting.endpoint IS NOT NULL
)
SELECT endpoint, (SELECT min(due_at) FROM deliveries WHERE state = 'pending' AND endpoint = waiting.endpoint)
FROM waiting WHERE endpoint IS NOT NULL;

-- expire_pending --
-- Deliveries of one endpoint have waited for too long. A lease that one still has ended long ago.
UPDATE deliveries SET
    state = 'dead', due_at = NULL, lease = NULL, due_if_lost = NULL, ended_at = :now, last_reason = :reason
WHERE key IN (
    SELECT key FROM deliveries WHERE state = 'pending' AND endpoint = :endpoint AND due_at < :before
    ORDER BY due_at LIMIT :limit
)
RETURNING id;

-- cancel --
-- Cancel a pending delivery, leased or not.
UPDATE deliveries SET state = 'cancelled', due_at = NULL, lease = NULL, due_if_lost = NULL, ended_at = :now
WHERE id = :id AND state = 'pending' RETURNING key;

-- delivery_exists --
-- 1 when there is such a delivery.
SELECT count(*) FROM deliveries WHERE id = :id;

-- next_due_at --
-- When the first pending delivery of one endpoint is due, crash suspects left out.
SELECT min(due_at) FROM deliveries WHERE state = 'pending' AND endpoint = :endpoint AND unexplained_losses < 2;

-- replay_bounds --
-- The keys between which the events lie that were received in a span of time.
SELECT min(key), max(key) FROM events WHERE received_at >= :since AND received_at < :until;

-- replay_span --
-- Of the events with keys in a span, those that may go again: the latest delivery to the endpoint is in the state
-- asked for (any, when that is null), none is pending, and there are still bytes to send. `+` keeps SQLite from walking
-- all that is pending.
SELECT key, request, id FROM events
WHERE key BETWEEN :first AND :last AND received_at >= :since AND received_at < :until
AND (:state IS NULL OR :state = (
    SELECT state FROM deliveries WHERE event = events.key AND endpoint = :endpoint ORDER BY deliveries.key DESC LIMIT 1
))
AND NOT EXISTS (
    SELECT 1 FROM deliveries WHERE event = events.key AND +endpoint = :endpoint AND +state = 'pending'
)
AND EXISTS (SELECT 1 FROM bodies WHERE bodies.request = events.request)
ORDER BY key;

-- replay_pending --
-- A delivery of any event of a request that is pending at an endpoint. `+` as in `replay_span`.
SELECT deliveries.id FROM requests CROSS JOIN deliveries
ON deliveries.event >= requests.key AND deliveries.event < requests.key + requests.events
WHERE requests.key = :request AND +deliveries.endpoint = :endpoint AND +deliveries.state = 'pending'
LIMIT 1;

-- mark_replayed --
-- Dead deliveries of events at one endpoint were replaced by a replay. `+` as in `replay_span`.
WITH replay (event, endpoint, id) AS (VALUES /* row */ (?, ?, ?) /* row */)
UPDATE deliveries SET replayed_as = replay.id
FROM replay
WHERE deliveries.event = replay.event AND +deliveries.endpoint = replay.endpoint AND +deliveries.state = 'dead'
AND replayed_as IS NULL;

-- replay_keys --
-- The keys of named events.
SELECT key FROM events WHERE id IN (/* row */ ? /* row */);

-- read_event --
-- One event with its sealed bytes.
SELECT * FROM event_rows WHERE id = :id;

-- events_newest --
-- A page of events, by when they were received.
SELECT * FROM event_rows
WHERE (received_at, key) < (:at, :key) AND received_at >= :since
AND (:type IS NULL OR type = :type)
ORDER BY received_at DESC, key DESC LIMIT :limit;

-- events_of_source --
-- The same for one source.
SELECT * FROM event_rows
WHERE source = :source AND (received_at, key) < (:at, :key) AND received_at >= :since
AND (:type IS NULL OR type = :type)
ORDER BY received_at DESC, key DESC LIMIT :limit;

-- events_of_subject --
-- The same for one subject. Slots have a part of its hash, so that the whole hash is compared too.
SELECT * FROM event_rows
WHERE key IN (
    SELECT event FROM subjects WHERE slot IN (SELECT value FROM json_each(:slots))
    UNION SELECT event_key FROM recent_keys WHERE recent_keys.subject = :place
)
AND subject_hash = :subject AND (:source IS NULL OR source = :source)
AND (received_at, key) < (:at, :key) AND received_at >= :since
AND (:type IS NULL OR type = :type)
ORDER BY received_at DESC, key DESC LIMIT :limit;

-- state_in_force --
-- The event of one subject with the greatest standing, of equal ones the last; those without one come after all others.
-- `+` keeps SQLite from walking all of the source.
SELECT * FROM event_rows WHERE key = (
    SELECT key FROM events
    WHERE key IN (
        SELECT event FROM subjects WHERE slot IN (SELECT value FROM json_each(:slots))
        UNION SELECT event_key FROM recent_keys WHERE recent_keys.subject = :place
    )
    AND subject_hash = :subject AND +source = :source
    ORDER BY standing DESC NULLS LAST, sequence DESC LIMIT 1
);

-- count_states --
-- How many events a subject has, and how many of them came too late.
SELECT count(*), count(*) FILTER (WHERE standing < peak) FROM events
WHERE key IN (
    SELECT event FROM subjects WHERE slot IN (SELECT value FROM json_each(:slots))
    UNION SELECT event_key FROM recent_keys WHERE recent_keys.subject = :place
)
AND subject_hash = :subject AND +source = :source;

-- read_delivery --
-- One delivery.
SELECT * FROM delivery_rows WHERE id = :id;

-- read_attempts --
-- The tries of one delivery, the first one first.
SELECT number, started_at, duration_ms, status, reason FROM attempts WHERE delivery = :delivery ORDER BY number;

-- deliveries_newest --
-- A page of deliveries, the newest first.
SELECT * FROM delivery_rows
WHERE key < :key AND (:endpoint IS NULL OR endpoint = :endpoint)
AND (:state IS NULL OR :state = CASE WHEN replayed_as IS NULL THEN state ELSE 'replayed' END)
AND received_at >= :since AND received_at < :until
ORDER BY key DESC LIMIT :limit;

-- deliveries_open --
-- The same for one state other than `delivered` and `replayed`; the further conditions let the partial index be used.
SELECT * FROM delivery_rows
WHERE state = :state AND state <> 'delivered' AND replayed_as IS NULL AND key < :key AND (:endpoint IS NULL OR endpoint = :endpoint)
AND received_at >= :since AND received_at < :until
ORDER BY key DESC LIMIT :limit;

-- deliveries_of_event --
-- The same for one event.
SELECT * FROM delivery_rows
WHERE event = (SELECT key FROM events WHERE id = :event) AND key < :key
AND (:endpoint IS NULL OR endpoint = :endpoint)
AND (:state IS NULL OR :state = CASE WHEN replayed_as IS NULL THEN state ELSE 'replayed' END)
AND received_at >= :since AND received_at < :until
ORDER BY key DESC LIMIT :limit;

-- quarantine_totals --
-- How many rows and bytes the quarantine has, those held left out, and its highest key.
SELECT count(*), coalesce(sum(bytes), 0), (SELECT coalesce(max(key), 0) FROM quarantine) FROM quarantine WHERE held = 0;

-- quarantine_shares --
-- What each peer of each source has in the quarantine, held requests left out.
SELECT source, peer, count(*), sum(bytes) FROM quarantine WHERE held = 0 GROUP BY source, peer;

-- held_totals --
-- How many held requests wait for a release, and their bytes.
SELECT count(*), coalesce(sum(bytes), 0) FROM quarantine WHERE held = 1 AND released_at IS NULL;

-- is_held --
-- Whether a request of the same events is held, or was until it was released.
SELECT 1 FROM quarantine WHERE hold_key = :hold_key;

-- insert_refusal --
-- Store a refused request.
INSERT INTO quarantine (key, id, source, received_at, reason, released_at, bytes, sealed, held, peer, hold_key)
VALUES (:key, :id, :source, :received_at, :reason, :released_at, :bytes, :sealed, :held, :peer, :hold_key);

-- drop_share --
-- Delete the oldest requests of one peer of one source.
DELETE FROM quarantine WHERE key IN (
    SELECT key FROM quarantine WHERE held = 0 AND source = :source AND peer = :peer ORDER BY key LIMIT :rows
);

-- oldest_refusals --
-- Those that give way first.
SELECT key, bytes, received_at FROM quarantine WHERE held = 0 ORDER BY key LIMIT :limit;

-- drop_refusals --
-- Let the oldest go.
DELETE FROM quarantine WHERE key <= :key AND held = 0;

-- oldest_held --
-- Those held, the oldest first.
SELECT key, received_at FROM quarantine WHERE held = 1 ORDER BY key LIMIT :limit;

-- drop_held --
-- Let the oldest of those go.
DELETE FROM quarantine WHERE key <= :key AND held = 1;

-- mark_released --
-- Note that a refused request was let in after all.
UPDATE quarantine SET released_at = :now WHERE id = :id RETURNING key;

-- read_refusal --
-- One refused request.
SELECT key, id, source, received_at, reason, released_at, sealed, held FROM quarantine WHERE id = :id;

-- refusals_newest --
-- A page of refused requests, the newest first.
SELECT key, id, source, received_at, reason, released_at, sealed, held FROM quarantine
WHERE key < :key ORDER BY key DESC LIMIT :limit;

-- refusals_of_source --
-- The same for one source.
SELECT key, id, source, received_at, reason, released_at, sealed, held FROM quarantine
WHERE source = :source AND key < :key ORDER BY key DESC LIMIT :limit;

-- find_event_ids --
-- Ids of events in a range, in order. A search in the index of the ids.
SELECT id FROM events WHERE id BETWEEN :first AND :last ORDER BY id LIMIT :limit;

-- find_delivery_ids --
-- The same for deliveries.
SELECT id FROM deliveries WHERE id BETWEEN :first AND :last ORDER BY id LIMIT :limit;

-- find_refusal_ids --
-- The same for refused requests.
SELECT id FROM quarantine WHERE id BETWEEN :first AND :last ORDER BY id LIMIT :limit;

-- count_pending --
-- Pending deliveries by endpoint.
SELECT endpoint, count(*) FROM deliveries WHERE state = 'pending' GROUP BY endpoint;

-- count_dead --
-- Dead deliveries by endpoint, those left out that were replayed; the repeated condition lets the partial index be used.
SELECT endpoint, count(*) FROM deliveries
WHERE state = 'dead' AND state <> 'delivered' AND replayed_as IS NULL GROUP BY endpoint;

-- count_quarantine --
-- Rows of the quarantine.
SELECT count(*) FROM quarantine;

-- keep --
-- Keep a value in place of what was there.
INSERT INTO kept (shelf, name, sealed) VALUES (:shelf, :name, :sealed)
ON CONFLICT (shelf, name) DO UPDATE SET sealed = excluded.sealed;

-- keep_new --
-- Keep a value where there is none.
INSERT INTO kept (shelf, name, sealed) VALUES (:shelf, :name, :sealed) ON CONFLICT (shelf, name) DO NOTHING;

-- forget --
-- Drop a value.
DELETE FROM kept WHERE shelf = :shelf AND name = :name;

-- read_kept --
-- All values of one shelf.
SELECT name, sealed FROM kept WHERE shelf = :shelf ORDER BY name;

-- read_kv_versions --
-- The number of changes of each namespace.
SELECT namespace, version FROM kv_versions;

-- newest_receipt --
-- The greatest receipt time of all events.
SELECT max(received_at) FROM events;

-- newest_old_event --
-- The event that was received last before an instant.
SELECT key FROM events WHERE received_at < :before ORDER BY received_at DESC, key DESC LIMIT 1;

-- look_at_bodies --
-- The next requests that still have bytes, each with when it was received and when its last delivery ended: for ever
-- where one is pending. A request's events have consecutive keys from its own. What is missing in a damaged file is kept.
SELECT
    requests.key,
    coalesce((
        SELECT max(received_at) FROM events WHERE events.key >= requests.key AND events.key < requests.key + requests.events
    ), 9223372036854775807),
    coalesce((
        SELECT max(coalesce(ended_at, 9223372036854775807)) FROM deliveries
        WHERE event >= requests.key AND event < requests.key + requests.events
    ), 0),
    length(bodies.sealed)
FROM bodies CROSS JOIN requests ON requests.key = bodies.request
WHERE bodies.request > :after
ORDER BY bodies.request LIMIT :limit;

-- expire_bodies --
-- Let the bytes of requests go.
DELETE FROM bodies WHERE request IN (/* row */ ? /* row */);

-- look_at_requests --
-- The next requests, with or without bytes, as in `look_at_bodies`.
SELECT
    requests.key,
    coalesce((
        SELECT max(received_at) FROM events WHERE events.key >= requests.key AND events.key < requests.key + requests.events
    ), 9223372036854775807),
    coalesce((
        SELECT max(coalesce(ended_at, 9223372036854775807)) FROM deliveries
        WHERE event >= requests.key AND event < requests.key + requests.events
    ), 0),
    requests.events,
    EXISTS (SELECT 1 FROM bodies WHERE bodies.request = requests.key)
FROM requests
WHERE requests.key > :after
ORDER BY requests.key LIMIT :limit;

-- expire_deliveries --
-- Let the deliveries of events go, with their attempts.
DELETE FROM deliveries WHERE event IN (/* row */ ? /* row */);

-- expire_events --
-- Let events go, after their deliveries.
DELETE FROM events WHERE key IN (/* row */ ? /* row */);

-- expire_requests --
-- Let requests go, after their events.
DELETE FROM requests WHERE key IN (/* row */ ? /* row */);

-- expire_dedupe --
-- Forget some keys of a partition: those of its range of slots.
DELETE FROM dedupe WHERE slot IN (
    SELECT slot FROM dedupe WHERE slot >= :first AND slot < :beyond ORDER BY slot LIMIT :limit
);

-- expire_subjects --
-- Forget some subjects of a partition.
DELETE FROM subjects WHERE (slot, event) IN (
    SELECT slot, event FROM subjects WHERE slot >= :first AND slot < :beyond ORDER BY slot, event LIMIT :limit
);

-- drop_partition --
-- Forget a partition that is empty, with its collisions.
DELETE FROM dedupe_partitions WHERE number = :number;

-- drop_key --
-- The store may be opened without this key.
DELETE FROM keyring WHERE kid = :kid;

-- seals_of_bodies --
-- What the next sealed requests begin with.
SELECT bodies.request, requests.id, substr(bodies.sealed, 1, :bytes), length(bodies.sealed)
FROM bodies CROSS JOIN requests ON requests.key = bodies.request
WHERE bodies.request > :after ORDER BY bodies.request LIMIT :limit;

-- seals_of_quarantine --
-- What the next sealed refused requests begin with.
SELECT key, id, substr(sealed, 1, :bytes), length(sealed), source, received_at, reason, held FROM quarantine
WHERE key > :after ORDER BY key LIMIT :limit;

-- seals_of_kept --
-- What all values that are kept by name begin with.
SELECT shelf, name, substr(sealed, 1, :bytes), length(sealed) FROM kept ORDER BY shelf, name;

-- rewrap_body --
-- Give a sealed request another beginning. `||` makes text of two blobs, byte for byte, and the cast a blob again.
UPDATE bodies SET sealed = CAST(:new || substr(sealed, :skip + 1) AS BLOB)
WHERE request = :key AND substr(sealed, 1, :skip) = :old;

-- rewrap_refusal --
-- The same for a refused request.
UPDATE quarantine SET
    sealed = CAST(:new || substr(sealed, :skip + 1) AS BLOB), bytes = bytes - :skip + length(:new)
WHERE key = :key AND substr(sealed, 1, :skip) = :old;

-- rewrap_kept --
-- The same for a value kept by name.
UPDATE kept SET sealed = CAST(:new || substr(sealed, :skip + 1) AS BLOB)
WHERE shelf = :shelf AND name = :name AND substr(sealed, 1, :skip) = :old;
