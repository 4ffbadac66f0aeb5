"""One of two nodes on one PostgreSQL has its clock set ten minutes ahead, or behind, while both are at work.

Oracles: what the database itself notes, by its own clock, of every change to a delivery (a trigger); the statuses; and,
as of the kill tests, what the clients, the receiver and the API know. Leases and waits are as long as they should be,
none overlaps another, nothing is claimed before it is due; the node refuses nothing for its time.
"""

import asyncio
import json
import os
import signal
import time
from pathlib import Path

import pytest
from aiohttp import ClientSession
from local import endpoints
from plug import CERTAIN, SINK_SECRET, Clients, Node, drained, pages
from postgres_nodes import Nodes, configured, place, run_sql, server
from power.postgres_server import PostgresServer
from standardwebhooks import Webhook
from tiers import note, tier

from hookseal.clock import SystemClock, to_datetime
from hookseal.delivery.engine import LEASE_S

__all__ = ["place", "server"]
pytestmark = pytest.mark.fault

EVENTS = tier(ci=15, full=100)
"""Before and after each step."""
BOUND_S = 120
LONGEST_WAIT_S = 1.2
KEYS = f'sources = ["zignsec", "idenfy"]\nretry = {{ delays_s = {[1] * 100} }}\n'
STAMPED = f'[[source]]\nid = "stamped"\nprovider = "standard_webhooks"\nsecrets = ["{SINK_SECRET}"]\n'
NODE = Path(__file__).with_name("node_set_clock.py")

NOTE_CHANGES = (
    """
    CREATE TABLE public.changes (
        born boolean NOT NULL, before bigint, was_due bigint, after bigint, due bigint, state text NOT NULL,
        at bigint NOT NULL DEFAULT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
    )
    """,
    """
    CREATE FUNCTION public.note_change() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'INSERT' THEN
            INSERT INTO public.changes VALUES (true, NULL, NULL, NEW.lease, NEW.due_at, NEW.state);
        ELSE
            INSERT INTO public.changes VALUES (false, OLD.lease, OLD.due_at, NEW.lease, NEW.due_at, NEW.state);
        END IF;
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER note_change AFTER INSERT OR UPDATE ON hookseal.deliveries
    FOR EACH ROW EXECUTE FUNCTION public.note_change()
    """,
)
CLAIMED_TOO_EARLY = (
    "SELECT count(*) FROM public.changes WHERE NOT born AND after <> coalesce(before, 0) AND was_due > at"
)
"""While another lease lasted, or while it had to wait."""
LEASES_S = "SELECT min(due - at) / 1e6, max(due - at) / 1e6 FROM public.changes WHERE after IS NOT NULL"
WAITS_S = """
SELECT count(*), min(due - at) / 1e6, max(due - at) / 1e6 FROM public.changes
WHERE before IS NOT NULL AND after IS NULL AND state = 'pending'
"""


async def test_a_node_whose_clock_is_ten_minutes_off_keeps_the_waits_and_leases_of_all(
    place: Path, server: PostgresServer
) -> None:
    began, clients = time.monotonic(), Clients(seed=51)
    async with endpoints() as there:
        there.status = lambda name: 503
        config = configured(place, server.url, there.url + "/e/core", KEYS)
        config.write_text(config.read_text() + STAMPED)
        async with Nodes(config, script=NODE, lease_s=None) as nodes:
            odd, right = nodes.all
            for statement in NOTE_CHANGES:
                await run_sql(server, statement)
            await accepted(clients, nodes, EVENTS)
            for number in (signal.SIGUSR1, signal.SIGUSR2):  # ahead, then behind
                assert odd.process is not None
                os.kill(odd.process.pid, number)
                await accepted(clients, nodes, EVENTS)
                assert await stamped(odd) == 503
                assert await stamped(right) == 200
                await there.until(lambda: all(there.got["core"][one] >= 2 for one in clients.acked))
            there.status = lambda name: 200
            await asyncio.wait_for(drained(right.url), BOUND_S)
            events = [row["subject"] for row in await pages(odd.url, "/api/v1/events") if "subject" in row]
            assert sorted(map(str, events)) == sorted(clients.acked), "lost, or stored twice"
            deliveries = await pages(odd.url, "/api/v1/deliveries")
            assert {row["state"] for row in deliveries} == {"delivered"}
            assert not clients.statuses.keys() & CERTAIN
    [(early,)] = await run_sql(server, CLAIMED_TOO_EARLY)
    [(shortest_lease_s, longest_lease_s)] = await run_sql(server, LEASES_S)
    [(waits, shortest_wait_s, longest_wait_s)] = await run_sql(server, WAITS_S)
    assert early == 0
    assert waits > len(deliveries)
    assert min(shortest_lease_s, shortest_wait_s) > -BOUND_S  # a machine may be slow, but not by ten minutes
    assert longest_lease_s <= LEASE_S + 1
    assert longest_wait_s <= LONGEST_WAIT_S + 1
    note(
        "two nodes on postgresql: the clock of one is set ten minutes ahead, then behind",
        acknowledged=len(clients.acked),
        claimed_too_early=0,
        waits=waits,
        waits_s=[round(float(shortest_wait_s), 2), round(float(longest_wait_s), 2)],
        leases_s=[round(float(shortest_lease_s), 2), round(float(longest_lease_s), 2)],
        seconds=round(time.monotonic() - began, 1),
    )


async def accepted(clients: Clients, nodes: Nodes, more: int) -> None:
    goal = len(clients.acked) + more
    await asyncio.wait_for(clients.run_over(nodes.living, 4, lambda: len(clients.acked) >= goal), BOUND_S)


async def stamped(node: Node) -> int:
    """The answer to a request that is signed for this moment."""
    now, body = SystemClock().now(), json.dumps({"type": "t"})
    headers = {
        "Content-Type": "application/json",
        "webhook-id": "msg-1",
        "webhook-timestamp": str(now // 1_000_000),
        "webhook-signature": Webhook(SINK_SECRET).sign("msg-1", to_datetime(now), body),
    }
    async with ClientSession() as session, session.post(f"{node.url}/in/stamped", data=body, headers=headers) as answer:
        assert answer.status != 503 or int(answer.headers["Retry-After"]) > 0
        return answer.status
