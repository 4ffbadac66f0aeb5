-- Every statement of the PostgreSQL store, under a name and a sentence, with the names of the SQLite store where both
-- have it. Many rows come as one array for each column: one text to prepare, whatever their number.
--
-- `coalesce(<microseconds of now()> - $n, 0)` turns an instant of this node into one of the database: $n is what the
-- node's clock said when the transaction began, or null when instants count as they are given.

-- begin --
-- Not READ WRITE: where `default_transaction_read_only` was turned on, somebody wants nothing to be written now (hosting
-- services do so when a disk fills up), and that is heeded.
BEGIN ISOLATION LEVEL READ COMMITTED;

-- commit --
-- With `synchronous_commit = on` this returns after the log was synced to the disk.
COMMIT;

-- rollback --
-- Undo what the open transaction did.
ROLLBACK;

-- server_state --
-- What decides whether this server may keep a store, and whether it can now. PostgreSQL only: its settings may change
-- with the server that a connection reaches.
SELECT
    current_setting('fsync'), current_setting('full_page_writes'), current_setting('synchronous_commit'),
    current_setting('server_encoding'), current_setting('transaction_read_only'), pg_is_in_recovery(),
    (SELECT source FROM pg_settings WHERE name = 'default_transaction_read_only');

-- sync_commits --
-- A commit that returned is on the disk, and on the synchronous standbys where there are some.
SET synchronous_commit = on;

-- tables_without_rights --
-- List the tables that this user may not read and write. The gateway writes the ledger and the keyring only when it
-- migrates, so they are left out. PostgreSQL only: a file is opened for writing or not at all.
SELECT relname::text FROM pg_class
WHERE relnamespace = 'hookseal'::regnamespace AND relkind = 'r' AND relname NOT IN ('ledger', 'keyring')
    AND NOT (
        has_table_privilege(oid, 'SELECT') AND has_table_privilege(oid, 'INSERT')
        AND has_table_privilege(oid, 'UPDATE') AND has_table_privilege(oid, 'DELETE')
    )
ORDER BY relname;

-- lock_schema --
-- One node migrates at a time; the lock ends with the transaction. PostgreSQL only: SQLite has a lock for the file.
SELECT pg_advisory_xact_lock(7526768903561293651);

-- wait_for_schema --
-- Another node's migration may take longer than a statement may otherwise.
SET LOCAL lock_timeout = '60s'; SET LOCAL statement_timeout = 0;

-- has_schema --
-- Whether the schema is there. Asked first, because to create one needs a right even where it is there.
SELECT to_regnamespace('hookseal') IS NOT NULL;

-- create_schema --
-- A place of our own beside other tables.
CREATE SCHEMA hookseal;

-- create_ledger --
-- The migrations that this store has had. Made by the first one's own transaction.
CREATE TABLE IF NOT EXISTS ledger (
    version integer PRIMARY KEY,
    name text NOT NULL,
    applied_at bigint NOT NULL
);

-- has_ledger --
-- Whether this schema is one of our stores.
SELECT to_regclass('hookseal.ledger') IS NOT NULL;

-- has_tables --
-- How many tables the schema has: 0 in a new one.
SELECT count(*) FROM pg_class WHERE relnamespace = to_regnamespace('hookseal') AND relkind IN ('r', 'p', 'v', 'm', 'f');

-- ledger_version --
-- The newest migration that this store has had, 0 before the first.
SELECT coalesce(max(version), 0) FROM ledger;

-- write_ledger --
-- Note a migration, in its own transaction.
INSERT INTO ledger (version, name, applied_at) VALUES ($1, $2, $3);

-- read_keyring --
-- The keys that sealed values of this store.
SELECT kid, fingerprint FROM keyring;

-- write_keyring --
-- Note a key before anything is sealed under it.
INSERT INTO keyring (kid, fingerprint) VALUES ($1, $2) ON CONFLICT (kid) DO NOTHING;

-- insert_dedupe --
-- Remember keys; gives those that were new. Waits for a transaction that is storing the same key, and in the order of
-- the keys, so that no two transactions wait for each other.
INSERT INTO dedupe (dedupe_key, event, received_at)
SELECT * FROM unnest($1::bytea[], $2::uuid[], $3::bigint[]) AS given (dedupe_key, event, received_at) ORDER BY 1
ON CONFLICT (dedupe_key) DO NOTHING
RETURNING dedupe_key;

-- find_originals --
-- The events that duplicates are duplicates of. A later statement than the insert, so that it sees what that waited for.
-- The lock is for the record of it in the log: a transaction that writes nothing waits for no synchronous standby at its
-- commit, and what it found may be on this server alone, from a commit that waited for the standby in vain.
SELECT dedupe.dedupe_key, dedupe.event, events.sequence, events.content
FROM dedupe LEFT JOIN events ON events.id = dedupe.event
WHERE dedupe.dedupe_key = ANY ($1::bytea[])
FOR KEY SHARE OF dedupe;

-- insert_events --
-- Keep events with their requests' bytes and their deliveries, and give each event the next sequence of its source.
-- One statement for what SQLite does in five: here each statement is a journey to the server and back. `back` counts
-- from the source's new last sequence: 0 for the last new event, -1 for the one before it. `peak` is that of the events
-- here up to each one; with the peak before them, which `raised` gives, it is that of all. Gives the new sequence of each
-- source, and the former peak of each subject that had one.
WITH kept AS (
    INSERT INTO bodies (request, sealed) SELECT * FROM unnest($1::uuid[], $2::bytea[]) RETURNING 1
),
planned AS (
    INSERT INTO deliveries (id, event, endpoint, state, created_at, due_at, lease, seal)
    SELECT
        id, event, endpoint, 'pending', created_at,
        due_at + coalesce((extract(epoch FROM now()) * 1000000)::bigint - $3::bigint, 0), lease, seal
    FROM unnest($4::uuid[], $5::uuid[], $6::text[], $7::bigint[], $8::bigint[], $9::bigint[], $10::bytea[])
        AS given (id, event, endpoint, created_at, due_at, lease, seal)
    RETURNING 1
),
raised AS (
    -- In the order of the subjects, so that no two transactions wait for each other.
    INSERT INTO peaks AS mine (subject, peak, received_at)
    SELECT * FROM unnest($29::uuid[], $30::bigint[], $31::bigint[]) AS given (subject, peak, received_at)
    ORDER BY subject
    ON CONFLICT (subject) DO UPDATE SET
        former = mine.peak, peak = greatest(mine.peak, excluded.peak),
        received_at = greatest(mine.received_at, excluded.received_at)
    RETURNING mine.subject, mine.former
),
moved AS (
    -- The row of a source is locked from here to the commit: what needs no sequence was written before.
    INSERT INTO sequences AS mine (source, value)
    SELECT * FROM unnest($11::text[], $12::bigint[]) AS given (source, many)
    WHERE (SELECT count(*) FROM kept) + (SELECT count(*) FROM planned) + (SELECT count(*) FROM raised) >= 0
    ORDER BY source
    ON CONFLICT (source) DO UPDATE SET value = mine.value + excluded.value
    RETURNING mine.source, mine.value
),
noted AS (
    INSERT INTO events (
        id, request, item, siblings, source, sequence, received_at, type, time, flags, content, mapping, outcome, final,
        subject_hash, facts, standing, peak
    )
    SELECT
        id, request, item, siblings, source, moved.value + back, received_at, type, time, flags, content, mapping, outcome,
        final, subject_hash, facts, standing, greatest(peak, raised.former)
    FROM unnest(
        $13::uuid[], $14::uuid[], $15::int[], $16::int[], $17::text[], $18::bigint[], $19::bigint[], $20::text[],
        $21::bigint[], $22::text[], $23::bytea[], $24::int[], $25::text[], $26::bool[], $27::uuid[], $28::bytea[],
        $32::bigint[], $33::bigint[], $34::uuid[]
    ) AS given (
        id, request, item, siblings, source, back, received_at, type, time, flags, content, mapping, outcome, final,
        subject_hash, facts, standing, peak, hash
    )
    JOIN moved USING (source)
    LEFT JOIN raised ON raised.subject = given.hash
)
SELECT source, NULL::uuid, value FROM moved
UNION ALL
SELECT NULL, subject, former FROM raised WHERE former IS NOT NULL;

-- keep_mapping --
-- Keep rules that events are made by. A revision is a hash of its rules: if other ones stand there, they were altered.
INSERT INTO mappings (provider, revision, rules) VALUES ($1, $2, $3)
ON CONFLICT (provider, revision) DO UPDATE SET rules = excluded.rules WHERE mappings.rules <> excluded.rules;

-- read_mappings --
-- All rules that events were made by.
SELECT number, provider, revision, rules FROM mappings;

-- find_unmapped --
-- Events of one source that were stored before rules were kept.
SELECT * FROM event_rows WHERE mapping IS NULL AND source = $1 ORDER BY id LIMIT $2;

-- assign_mapping --
-- Give them their rules. One that another node has assigned meanwhile is left as it is.
UPDATE events SET mapping = $1, facts = given.facts
FROM unnest($2::uuid[], $3::bytea[]) AS given (id, facts)
WHERE events.id = given.id AND mapping IS NULL;

-- insert_deliveries --
-- Plan deliveries of stored events that are due at once.
INSERT INTO deliveries (id, event, endpoint, state, created_at, seal, due_at)
SELECT id, event, $3, 'pending', $4, seal, $4 + coalesce((extract(epoch FROM now()) * 1000000)::bigint - $5::bigint, 0)
FROM unnest($1::uuid[], $2::uuid[], $6::bytea[]) AS given (id, event, seal);

-- count_conflict --
-- Other requests had these events' dedupe keys and other content.
UPDATE events SET conflicts = conflicts + given.many
FROM unnest($1::uuid[], $2::int[]) AS given (id, many) WHERE events.id = given.id;

-- claim_due --
-- Lease what is due at some endpoints, the longest due first; skips rows that other nodes hold. One that still has a
-- lease lost it by running out of time: that is a loss. Crash suspects are claimed by `claim_suspect`. One statement for what SQLite does in three, because rows are
-- locked as they are found. $1 endpoints, $2 how many of each, $3 fresh leases, as many as could be taken at most.
-- What was found is named once more as an array: how many `asked.free` are the planner cannot know and takes for a tenth of
-- the table, which it would then read from end to end for each claim; of an array it expects few.
WITH moment AS (
    SELECT coalesce((extract(epoch FROM now()) * 1000000)::bigint - $4::bigint, 0) AS shift
),
due AS (
    SELECT found.id, asked.place, found.due_at, moment.shift
    FROM moment, unnest($1::text[], $2::int[]) WITH ORDINALITY AS asked (endpoint, free, place)
    CROSS JOIN LATERAL (
        SELECT id, due_at FROM deliveries
        WHERE state = 'pending' AND endpoint = asked.endpoint AND due_at <= $5::bigint + moment.shift
            AND unexplained_losses < 2
        ORDER BY due_at LIMIT asked.free
        FOR UPDATE SKIP LOCKED
    ) AS found
),
taken AS (
    SELECT id, shift, row_number() OVER (ORDER BY place, due_at) AS number FROM due
)
UPDATE deliveries SET
    lease = ($3::bigint[])[taken.number], due_at = $6::bigint + taken.shift,
    losses = losses + (deliveries.lease IS NOT NULL)::int,
    unexplained_losses = unexplained_losses + (deliveries.lease IS NOT NULL)::int
FROM taken WHERE deliveries.id = ANY (ARRAY(SELECT id FROM due)) AND deliveries.id = taken.id
RETURNING
    taken.number, deliveries.id, deliveries.endpoint, deliveries.lease, deliveries.attempts, deliveries.losses,
    deliveries.unexplained_losses, deliveries.first_attempt_at, deliveries.event, deliveries.seal;

-- claimed_events --
-- Read the events of claimed deliveries: the columns of `event_rows` with the length of the sealed bytes in the place of
-- these. Many events may share them.
SELECT
    key, id, source, sequence, item, type, received_at, facts, content, subject_hash, time, flags, conflicts,
    request_id, siblings, length(sealed), superseded, mapping, outcome, final, standing
FROM event_rows WHERE id = ANY ($1::uuid[]);

-- read_bodies --
-- Read the sealed bytes of requests.
SELECT request, sealed FROM bodies WHERE request = ANY ($1::uuid[]);

-- record_results --
-- Move deliveries on, each only while its lease is held, and write the tries down. `ended_at` is when the try ended.
WITH result AS (
    SELECT * FROM unnest(
        $1::uuid[], $2::bigint[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::int[], $8::text[], $9::int[],
        $10::bigint[]
    ) AS given (id, lease, state, due_at, started_at, ended_at, status, reason, number, duration_ms)
),
moved AS (
    UPDATE deliveries SET
        state = result.state,
        due_at = result.due_at + coalesce((extract(epoch FROM now()) * 1000000)::bigint - $11::bigint, 0),
        lease = NULL, attempts = attempts + 1,
        first_attempt_at = coalesce(first_attempt_at, result.started_at),
        ended_at = CASE result.state WHEN 'pending' THEN NULL ELSE result.ended_at END,
        last_status = result.status, last_reason = result.reason, unexplained_losses = 0, isolated_losses = 0,
        due_if_lost = NULL
    FROM result
    WHERE deliveries.id = result.id AND deliveries.lease = result.lease AND deliveries.state = 'pending'
    RETURNING deliveries.id
)
INSERT INTO attempts (delivery, number, started_at, duration_ms, status, reason)
SELECT result.id, number, started_at, duration_ms, status, reason FROM result JOIN moved USING (id)
RETURNING delivery;

-- void_suspects --
-- End leases of crash suspects that have run out of time. Such a delivery is due now, or later if its attempt was an
-- isolated one. $1: now.
UPDATE deliveries SET
    lease = NULL, due_at = greatest(due_at, due_if_lost), losses = losses + 1,
    unexplained_losses = unexplained_losses + 1, isolated_losses = isolated_losses + (due_if_lost IS NOT NULL)::int,
    due_if_lost = NULL
WHERE id IN (
    SELECT id FROM deliveries
    WHERE state = 'pending' AND unexplained_losses > 1 AND lease IS NOT NULL
        AND due_at <= $1::bigint + coalesce((extract(epoch FROM now()) * 1000000)::bigint - $2::bigint, 0)
    ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
);

-- due_suspects --
-- Crash suspects that are due, the longest due first.
SELECT id, endpoint, isolated_losses FROM deliveries
WHERE state = 'pending' AND unexplained_losses > 1 AND lease IS NULL AND endpoint = ANY ($3::text[])
    AND due_at <= $1::bigint + coalesce((extract(epoch FROM now()) * 1000000)::bigint - $2::bigint, 0)
ORDER BY due_at LIMIT $4;

-- next_suspect_at --
-- When the first crash suspect of some endpoints is due, by this node's clock.
SELECT min(due_at) - coalesce((extract(epoch FROM now()) * 1000000)::bigint - $2::bigint, 0) FROM deliveries
WHERE state = 'pending' AND unexplained_losses > 1 AND endpoint = ANY ($1::text[]);

-- claim_suspect --
-- Lease one crash suspect for an isolated attempt. $1 id, $2 lease, $3 now, $4 end of the lease, $5 due if it is lost.
WITH moment AS (
    SELECT coalesce((extract(epoch FROM now()) * 1000000)::bigint - $6::bigint, 0) AS shift
)
UPDATE deliveries SET lease = $2, due_at = $4::bigint + shift, due_if_lost = $5::bigint + shift
FROM moment
WHERE id = $1 AND state = 'pending' AND unexplained_losses > 1 AND due_at <= $3::bigint + shift AND lease IS NULL
RETURNING
    deliveries.id, deliveries.endpoint, deliveries.lease, deliveries.attempts, deliveries.losses,
    deliveries.unexplained_losses, deliveries.first_attempt_at, deliveries.event, deliveries.seal;

-- end_suspect --
-- A crash suspect was lost in too many isolated attempts. No attempt is written down: none has a known result.
UPDATE deliveries SET state = 'dead', due_at = NULL, ended_at = $2, last_status = NULL, last_reason = $3
WHERE id = $1 AND state = 'pending' AND unexplained_losses > 1 AND lease IS NULL
RETURNING id;

-- renew_leases --
-- Extend leases that are still held.
UPDATE deliveries SET due_at = $3::bigint + coalesce((extract(epoch FROM now()) * 1000000)::bigint - $4::bigint, 0)
FROM unnest($1::uuid[], $2::bigint[]) AS held (id, lease)
WHERE deliveries.id = held.id AND deliveries.lease = held.lease AND state = 'pending'
RETURNING deliveries.id;

-- release_leases --
-- Give leases back untried.
UPDATE deliveries SET
    lease = NULL, due_if_lost = NULL,
    due_at = $3::bigint + coalesce((extract(epoch FROM now()) * 1000000)::bigint - $4::bigint, 0)
FROM unnest($1::uuid[], $2::bigint[]) AS held (id, lease)
WHERE deliveries.id = held.id AND deliveries.lease = held.lease AND state = 'pending';

-- release_adrift --
-- Give leases back that nobody holds. Rows that others have locked are passed over: they are about to change, or the
-- server still works at what it was asked to over a connection that is gone. PostgreSQL only: no answer of SQLite's is
-- lost on the way.
UPDATE deliveries SET
    lease = NULL, due_if_lost = NULL,
    due_at = $3::bigint + coalesce((extract(epoch FROM now()) * 1000000)::bigint - $4::bigint, 0)
FROM (
    SELECT deliveries.id
    FROM deliveries JOIN unnest($1::uuid[], $2::bigint[]) AS held (id, lease)
        ON deliveries.id = held.id AND deliveries.lease = held.lease
    WHERE state = 'pending'
    ORDER BY deliveries.id
    FOR NO KEY UPDATE OF deliveries SKIP LOCKED
) AS free
WHERE deliveries.id = free.id;

-- bury --
-- Leased deliveries whose events cannot be read can never be sent.
UPDATE deliveries SET
    state = 'dead', due_at = NULL, lease = NULL, due_if_lost = NULL, ended_at = $3, last_reason = $4
FROM unnest($1::uuid[], $2::bigint[]) AS held (id, lease)
WHERE deliveries.id = held.id AND deliveries.lease = held.lease AND state = 'pending';

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
    state = 'dead', due_at = NULL, lease = NULL, due_if_lost = NULL, ended_at = $3, last_reason = $4
WHERE id = ANY (ARRAY(
    SELECT id FROM deliveries WHERE state = 'pending' AND endpoint = $1 AND due_at < $2
    ORDER BY due_at LIMIT $5 FOR NO KEY UPDATE SKIP LOCKED
))
RETURNING id;

-- cancel --
-- Cancel a pending delivery, leased or not.
UPDATE deliveries SET state = 'cancelled', due_at = NULL, lease = NULL, due_if_lost = NULL, ended_at = $2
WHERE id = $1 AND state = 'pending' RETURNING id;

-- delivery_exists --
-- 1 when there is such a delivery.
SELECT count(*) FROM deliveries WHERE id = $1;

-- next_due_at --
-- When the first pending delivery of some endpoints is due, by this node's clock, crash suspects left out.
SELECT min(first.due_at) - coalesce((extract(epoch FROM now()) * 1000000)::bigint - $2::bigint, 0)
FROM unnest($1::text[]) AS asked (endpoint)
CROSS JOIN LATERAL (
    SELECT due_at FROM deliveries
    WHERE state = 'pending' AND endpoint = asked.endpoint AND unexplained_losses < 2
    ORDER BY due_at LIMIT 1
) AS first;

-- replay_bounds --
-- The last of the events that were received in a span of time: what is stored from now on is not replayed.
SELECT received_at, id FROM events WHERE received_at >= $1 AND received_at < $2
ORDER BY received_at DESC, id DESC LIMIT 1;

-- replay_slice --
-- Where a slice of events ends that begins behind one event; keys are not dense here, so that it must be looked up.
SELECT received_at, id FROM (
    SELECT received_at, id FROM events
    WHERE (received_at, id) > ($1, $2) AND (received_at, id) <= ($3, $4)
    ORDER BY received_at, id LIMIT $5
) AS slice ORDER BY received_at DESC, id DESC LIMIT 1;

-- replay_span --
-- Of the events in a slice, those that may go again: the latest delivery to the endpoint is in the state asked for
-- (any, when that is null), none is pending, and there are still bytes to send.
SELECT id, request FROM events
WHERE (received_at, id) > ($1, $2) AND (received_at, id) <= ($3, $4)
AND ($5::text IS NULL OR $5 = (
    SELECT state FROM deliveries WHERE event = events.id AND endpoint = $6 ORDER BY deliveries.id DESC LIMIT 1
))
AND NOT EXISTS (
    SELECT 1 FROM deliveries WHERE event = events.id AND endpoint = $6 AND state = 'pending'
)
AND EXISTS (SELECT 1 FROM bodies WHERE bodies.request = events.request)
ORDER BY received_at, id;

-- replay_named --
-- The same for named events. $3 and $4: received since and until.
SELECT id, request FROM events
WHERE id = ANY ($1::uuid[]) AND received_at >= $3 AND received_at < $4
AND ($5::text IS NULL OR $5 = (
    SELECT state FROM deliveries WHERE event = events.id AND endpoint = $2 ORDER BY deliveries.id DESC LIMIT 1
))
AND NOT EXISTS (
    SELECT 1 FROM deliveries WHERE event = events.id AND endpoint = $2 AND state = 'pending'
)
AND EXISTS (SELECT 1 FROM bodies WHERE bodies.request = events.request)
ORDER BY id;

-- replay_pending --
-- Of some requests, those of which a delivery is pending at an endpoint, each with that delivery. The event with the
-- request's own id is found by that, the others by an index of their own.
SELECT asked.request, pending.id FROM unnest($1::uuid[]) AS asked (request)
CROSS JOIN LATERAL (
    SELECT deliveries.id FROM (
        SELECT id FROM events WHERE id = asked.request
        UNION ALL
        SELECT id FROM events WHERE request = asked.request AND request <> id
    ) AS mine
    JOIN deliveries ON deliveries.event = mine.id
    WHERE deliveries.endpoint = $2 AND deliveries.state = 'pending'
    LIMIT 1
) AS pending;

-- mark_replayed --
-- Dead deliveries of events at one endpoint were replaced by a replay. $1 events, $2 the deliveries in their place.
UPDATE deliveries SET replayed_as = replay.id
FROM unnest($1::uuid[], $2::uuid[]) AS replay (event, id)
WHERE deliveries.event = replay.event AND deliveries.endpoint = $3 AND deliveries.state = 'dead' AND replayed_as IS NULL;

-- lock_replay --
-- One node at a time makes deliveries anew for one endpoint, so that two make no two for one event.
SELECT pg_advisory_xact_lock(hashtextextended('hookseal replay ' || $1, 0));

-- read_event --
-- One event with its sealed bytes.
SELECT * FROM event_rows WHERE id = $1;

-- events_newest --
-- A page of events, by when they were received.
SELECT * FROM event_rows
WHERE (received_at, id) < ($1, $2) AND received_at >= $3 AND ($4::text IS NULL OR type = $4)
ORDER BY received_at DESC, id DESC LIMIT $5;

-- events_of_source --
-- The same for one source.
SELECT * FROM event_rows
WHERE source = $6 AND (received_at, id) < ($1, $2) AND received_at >= $3 AND ($4::text IS NULL OR type = $4)
ORDER BY received_at DESC, id DESC LIMIT $5;

-- events_of_subject --
-- The same for one subject, by its keyed hash.
SELECT * FROM event_rows
WHERE subject_hash = $7 AND ($6::text IS NULL OR source = $6)
AND (received_at, id) < ($1, $2) AND received_at >= $3 AND ($4::text IS NULL OR type = $4)
ORDER BY received_at DESC, id DESC LIMIT $5;

-- state_in_force --
-- The event of one subject with the greatest standing, of equal ones the last; those without one come after all others.
SELECT * FROM event_rows WHERE key = (
    SELECT id FROM events
    WHERE subject_hash = $2 AND source = $1
    ORDER BY standing DESC NULLS LAST, sequence DESC LIMIT 1
);

-- count_states --
-- How many events a subject has, and how many of them came too late.
SELECT count(*), count(*) FILTER (WHERE standing < peak) FROM events
WHERE subject_hash = $2 AND source = $1;

-- read_delivery --
-- One delivery.
SELECT * FROM delivery_rows WHERE id = $1;

-- read_attempts --
-- The tries of one delivery, the first one first.
SELECT number, started_at, duration_ms, status, reason FROM attempts WHERE delivery = $1 ORDER BY number;

-- deliveries_newest --
-- A page of deliveries, the newest first.
SELECT * FROM delivery_rows
WHERE id < $1 AND ($2::text IS NULL OR endpoint = $2)
AND ($3::text IS NULL OR $3 = CASE WHEN replayed_as IS NULL THEN state ELSE 'replayed' END)
AND received_at >= $4 AND received_at < $5
ORDER BY id DESC LIMIT $6;

-- deliveries_open --
-- The same for one state other than `delivered` and `replayed`; the further conditions let the partial index be used.
SELECT * FROM delivery_rows
WHERE state = $3 AND state <> 'delivered' AND replayed_as IS NULL AND id < $1 AND ($2::text IS NULL OR endpoint = $2)
AND received_at >= $4 AND received_at < $5
ORDER BY id DESC LIMIT $6;

-- deliveries_of_event --
-- The same for one event.
SELECT * FROM delivery_rows
WHERE event = $7 AND id < $1 AND ($2::text IS NULL OR endpoint = $2)
AND ($3::text IS NULL OR $3 = CASE WHEN replayed_as IS NULL THEN state ELSE 'replayed' END)
AND received_at >= $4 AND received_at < $5
ORDER BY id DESC LIMIT $6;

-- quarantine_totals --
-- How many rows and bytes the quarantine has, those held left out.
SELECT count(*), coalesce(sum(bytes), 0)::bigint FROM quarantine WHERE NOT held;

-- quarantine_shares --
-- What each peer of each source has in the quarantine, held requests left out.
SELECT source, peer, count(*), sum(bytes)::bigint FROM quarantine WHERE NOT held GROUP BY source, peer;

-- held_totals --
-- How many held requests wait for a release, and their bytes.
SELECT count(*), coalesce(sum(bytes), 0)::bigint FROM quarantine WHERE held AND released_at IS NULL;

-- held_keys --
-- Which of these requests are held, or were until they were released. The lock is for the record of it in the log, as in
-- `find_originals`.
SELECT hold_key FROM quarantine WHERE hold_key = ANY ($1::bytea[]) FOR KEY SHARE;

-- stored_keys --
-- Which of these keys made an event. The lock is as above.
SELECT dedupe_key FROM dedupe WHERE dedupe_key = ANY ($1::bytea[]) FOR KEY SHARE;

-- insert_refusal --
-- Store refused requests. One that another node is holding at the moment is left as that node stores it, and written again,
-- so that this commit waits for a synchronous standby as well.
INSERT INTO quarantine (id, source, received_at, reason, released_at, bytes, sealed, held, peer, hold_key)
SELECT * FROM unnest(
    $1::uuid[], $2::text[], $3::bigint[], $4::text[], $5::bigint[], $6::int[], $7::bytea[], $8::bool[], $9::bigint[],
    $10::bytea[]
)
ON CONFLICT (hold_key) WHERE hold_key IS NOT NULL DO UPDATE SET held = excluded.held;

-- lock_quarantine --
-- Whether this transaction alone makes room in the quarantine. Two at once would each delete what both counted.
SELECT pg_try_advisory_xact_lock(hashtextextended('hookseal.quarantine', 0));

-- drop_share --
-- Delete the $3 oldest requests of one peer of one source; rows that another node is deleting are left to it.
DELETE FROM quarantine WHERE id IN (
    SELECT id FROM quarantine WHERE NOT held AND source = $1 AND peer = $2 ORDER BY id LIMIT $3 FOR UPDATE SKIP LOCKED
);

-- mark_released --
-- Note that a refused request was let in after all.
UPDATE quarantine SET released_at = $2 WHERE id = $1 RETURNING id;

-- read_refusal --
-- One refused request.
SELECT id AS key, id, source, received_at, reason, released_at, sealed, held FROM quarantine WHERE id = $1;

-- refusals_newest --
-- A page of refused requests, the newest first.
SELECT id AS key, id, source, received_at, reason, released_at, sealed, held FROM quarantine
WHERE id < $1 ORDER BY id DESC LIMIT $2;

-- refusals_of_source --
-- The same for one source.
SELECT id AS key, id, source, received_at, reason, released_at, sealed, held FROM quarantine
WHERE source = $3 AND id < $1 ORDER BY id DESC LIMIT $2;

-- find_event_ids --
-- Ids of events in a range, in order. A search in the index of the ids.
SELECT id FROM events WHERE id BETWEEN $1 AND $2 ORDER BY id LIMIT $3;

-- find_delivery_ids --
-- The same for deliveries.
SELECT id FROM deliveries WHERE id BETWEEN $1 AND $2 ORDER BY id LIMIT $3;

-- find_refusal_ids --
-- The same for refused requests.
SELECT id FROM quarantine WHERE id BETWEEN $1 AND $2 ORDER BY id LIMIT $3;

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
INSERT INTO kept (shelf, name, sealed) VALUES ($1, $2, $3)
ON CONFLICT (shelf, name) DO UPDATE SET sealed = excluded.sealed;

-- keep_new --
-- Keep a value where there is none.
INSERT INTO kept (shelf, name, sealed) VALUES ($1, $2, $3) ON CONFLICT (shelf, name) DO NOTHING;

-- forget --
-- Drop a value.
DELETE FROM kept WHERE shelf = $1 AND name = $2;

-- read_kept --
-- All values of one shelf.
SELECT name, sealed FROM kept WHERE shelf = $1 ORDER BY name;

-- read_kv_versions --
-- The number of changes of each namespace.
SELECT namespace, version FROM kv_versions;

-- newest_receipt --
-- The greatest receipt time of all events.
SELECT max(received_at) FROM events;

-- newest_old_event --
-- The event that was received last before an instant.
SELECT id FROM events WHERE received_at < $1 ORDER BY received_at DESC, id DESC LIMIT 1;

-- database_time --
-- The server's clock, and whether the server is on this machine: a local socket has no addresses.
SELECT
    (extract(epoch FROM clock_timestamp()) * 1000000)::bigint,
    inet_server_addr() IS NOT DISTINCT FROM inet_client_addr();

-- lock_retention --
-- Whether this transaction may let go of what is old: one node at a time, and none while a replay is planned.
SELECT pg_try_advisory_xact_lock(7526768903561293652);

-- share_retention --
-- Nobody lets go of what is old until this transaction has ended.
SELECT pg_advisory_xact_lock_shared(7526768903561293652);

-- look_at_bodies --
-- The next requests that still have bytes, each with when it was received and when its last delivery ended: for ever
-- where one is pending. The event with the request's own id is found by that; the few others by an index of their own.
SELECT
    kept.request, coalesce(used.received_at, 9223372036854775807), coalesce(used.needed_until, 0), kept.length
FROM (
    SELECT request, length(sealed) AS length FROM bodies WHERE request > $1 ORDER BY request LIMIT $2
) AS kept
CROSS JOIN LATERAL (
    SELECT
        max(mine.received_at) AS received_at,
        max((SELECT max(coalesce(ended_at, 9223372036854775807)) FROM deliveries WHERE event = mine.id)) AS needed_until
    FROM (
        SELECT id, received_at FROM events WHERE id = kept.request
        UNION ALL
        SELECT id, received_at FROM events WHERE request = kept.request AND request <> id
    ) AS mine
) AS used
ORDER BY kept.request;

-- expire_bodies --
-- Let the bytes of requests go.
DELETE FROM bodies WHERE request = ANY ($1::uuid[]);

-- look_at_events --
-- The next events, as in `look_at_bodies`. By event, because requests have no table here.
SELECT
    id, received_at,
    coalesce((
        SELECT max(coalesce(ended_at, 9223372036854775807)) FROM deliveries WHERE event = events.id
    ), 0),
    EXISTS (SELECT 1 FROM bodies WHERE bodies.request = events.request)
FROM events WHERE id > $1 ORDER BY id LIMIT $2;

-- expire_events --
-- Let events go, with their deliveries and attempts.
WITH ended AS (
    DELETE FROM deliveries WHERE event = ANY ($1::uuid[]) RETURNING id
),
tried AS (
    DELETE FROM attempts USING ended WHERE attempts.delivery = ended.id
)
DELETE FROM events WHERE id = ANY ($1::uuid[])
RETURNING source, CASE WHEN standing IS NOT NULL THEN subject_hash END;

-- expire_peaks --
-- Forget how far these subjects came, where no event of theirs was received since. One that is being raised at this
-- moment is in use again: nobody waits for it, so that no two transactions wait for each other.
DELETE FROM peaks WHERE subject IN (
    SELECT subject FROM peaks WHERE subject = ANY ($1::uuid[]) AND received_at < $2 FOR UPDATE SKIP LOCKED
);

-- expire_dedupe --
-- Forget the oldest dedupe keys.
DELETE FROM dedupe WHERE dedupe_key IN (
    SELECT dedupe_key FROM dedupe WHERE received_at < $1 ORDER BY received_at LIMIT $2
)
RETURNING 1;

-- expire_refusals --
-- Let the oldest refused requests go.
DELETE FROM quarantine WHERE id IN (SELECT id FROM quarantine WHERE received_at < $1 ORDER BY id LIMIT $2) RETURNING 1;

-- drop_key --
-- The store may be opened without this key.
DELETE FROM keyring WHERE kid = $1;

-- seals_of_bodies --
-- What the next sealed requests begin with.
SELECT request, substr(sealed, 1, $3), length(sealed) FROM bodies WHERE request > $1 ORDER BY request LIMIT $2;

-- seals_of_quarantine --
-- What the next sealed refused requests begin with.
SELECT id, substr(sealed, 1, $3), length(sealed), source, received_at, reason, held FROM quarantine WHERE id > $1 ORDER BY id LIMIT $2;

-- seals_of_kept --
-- What all values that are kept by name begin with.
SELECT shelf, name, substr(sealed, 1, $1), length(sealed) FROM kept ORDER BY shelf, name;

-- rewrap_body --
-- Give sealed requests another beginning.
UPDATE bodies SET sealed = given.new || substr(bodies.sealed, length(given.old) + 1)
FROM unnest($1::uuid[], $2::bytea[], $3::bytea[]) AS given (id, old, new)
WHERE bodies.request = given.id AND substr(bodies.sealed, 1, length(given.old)) = given.old
RETURNING 1;

-- rewrap_refusal --
-- The same for refused requests.
UPDATE quarantine SET
    sealed = given.new || substr(quarantine.sealed, length(given.old) + 1),
    bytes = quarantine.bytes - length(given.old) + length(given.new)
FROM unnest($1::uuid[], $2::bytea[], $3::bytea[]) AS given (id, old, new)
WHERE quarantine.id = given.id AND substr(quarantine.sealed, 1, length(given.old)) = given.old
RETURNING 1;

-- rewrap_kept --
-- The same for a value kept by name.
UPDATE kept SET sealed = $4::bytea || substr(sealed, length($3::bytea) + 1)
WHERE shelf = $1 AND name = $2 AND substr(sealed, 1, length($3::bytea)) = $3
RETURNING 1;
