"""Many processes claim from one store: one delivery is worked by one of them at a time, and a result comes too late or not.

Oracles: what the database itself notes of every lease it gives (a trigger, by the database's clock), what each process
notes of every claim it got, the receiver's count of POSTs by webhook-id, and a node's own metrics.
"""

import asyncio
import os
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from uuid import uuid4

import pytest
import tiers
from aiohttp import ClientSession
from plug import API_KEY, Clients, Node, Sink, letter, pages, sink
from postgres_nodes import KEYRING, LEASE_S, Nodes, configured, place, reached, run_sql, server
from power.postgres_server import PostgresServer
from wire import Wire

from hookseal.clock import SystemClock
from hookseal.ids import new_event_id
from hookseal.model import SourceId
from hookseal.probe import Step
from hookseal.sealing import Keyring, Sealer
from hookseal.store.event_seal import SECRET_NAME, SECRET_SHELF, EventSealer
from hookseal.store.port import NewEvent, NewRequest
from hookseal.store.postgres import PostgresStore
from hookseal.store.rows import kept_label

__all__ = ["place", "server"]
pytestmark = pytest.mark.fault

DELIVERIES = tiers.tier(ci=8_000, full=400_000)
"""Each is claimed about two and a half times."""
CLAIMS = tiers.tier(ci=20_000, full=1_000_000)
PROCESSES = 4
CLAIMER = Path(__file__).with_name("claimer.py")

NOTE_LEASES = (
    """
    CREATE TABLE public.leases (
        delivery uuid NOT NULL, before bigint, until bigint NOT NULL, lease bigint, at bigint NOT NULL
    )
    """,
    """
    CREATE FUNCTION public.note_lease() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO public.leases
        VALUES (NEW.id, OLD.lease, OLD.due_at, NEW.lease, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint);
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER note_lease AFTER UPDATE ON hookseal.deliveries
    FOR EACH ROW WHEN (NEW.lease IS DISTINCT FROM OLD.lease AND NEW.lease IS NOT NULL)
    EXECUTE FUNCTION public.note_lease()
    """,
)
OVERLAPPING = "SELECT count(*) FROM public.leases WHERE before IS NOT NULL AND until > at"
"""A lease that was given while another one had time left."""
SEED = """
INSERT INTO hookseal.deliveries (id, event, endpoint, state, created_at, due_at, seal)
SELECT given.id, $1, 'core', 'pending', 0, given.number, given.seal
FROM unnest($2::uuid[], $3::bytea[]) WITH ORDINALITY AS given (id, seal, number)
"""


async def test_no_delivery_is_claimed_by_two_processes(place: Path, server: PostgresServer) -> None:
    began = time.monotonic()
    await one_event(server)
    await add_deliveries(server, DELIVERIES)
    for statement in NOTE_LEASES:
        await run_sql(server, statement)
    logs = [place / f"claims-{number}" for number in range(PROCESSES)]
    claiming = time.monotonic()
    processes = [
        await asyncio.create_subprocess_exec(sys.executable, str(CLAIMER), server.url, str(log), log.name)
        for log in logs
    ]
    assert [await process.wait() for process in processes] == [0] * PROCESSES
    claimed_s = time.monotonic() - claiming
    claims = [line for log in logs for line in log.read_text().splitlines()]
    assert len(claims) >= CLAIMS
    assert [one for one, count in Counter(claims).items() if count > 1] == []
    [(given,)] = await run_sql(server, "SELECT count(*) FROM public.leases")
    assert given == len(claims), "a lease that no process knows of, or a claim that the database does not know of"
    [(overlapping,)] = await run_sql(server, OVERLAPPING)
    assert overlapping == 0
    [(left,)] = await run_sql(server, "SELECT count(*) FROM hookseal.deliveries WHERE state <> 'delivered'")
    assert left == 0
    shares = [len(log.read_text().splitlines()) for log in logs]
    assert min(shares) > 0
    tiers.note(
        "claims: processes on one postgresql",
        processes=PROCESSES,
        claims=len(claims),
        claimed_twice=0,
        claims_per_second=round(len(claims) / claimed_s),
        seconds=round(time.monotonic() - began, 1),
    )


async def one_event(server: PostgresServer) -> None:
    store = PostgresStore(server.url, Keyring.parse(KEYRING))
    await store.open()
    now = SystemClock().now()
    event = NewEvent(id=new_event_id(now), item=0, type="other", dedupe_key=bytes(32), content=bytes(32))
    await store.accept(NewRequest(source=SourceId("idenfy"), received_at=now, headers=(), body=b"{}", events=(event,)))
    await store.close()


async def add_deliveries(server: PostgresServer, count: int) -> None:
    """Add deliveries of the one event, each bound to it as the store does."""
    [(event,)] = await run_sql(server, "SELECT id FROM hookseal.events")
    [(secret,)] = await run_sql(server, "SELECT sealed FROM hookseal.kept WHERE shelf = $1", SECRET_SHELF)
    sealer = EventSealer()
    sealer.use(Sealer(Keyring.parse(KEYRING)).unseal(secret, kept_label(SECRET_SHELF, SECRET_NAME)))
    ids = [uuid4() for _ in range(count)]
    await run_sql(server, SEED, event, ids, [sealer.delivery_seal(id.bytes, event.bytes, "core") for id in ids])


# --- results that come too late ---


async def test_a_node_that_is_frozen_past_its_leases_records_nothing_and_each_event_is_posted_twice_at_most(
    place: Path, server: PostgresServer
) -> None:
    rounds, posts, fenced_in_all = tiers.tier(ci=2, full=20), 0, 0.0
    async with sink() as receiver, Nodes(configured(place, server.url, receiver.url)) as nodes:
        clients = Clients(seed=21)
        sleeper = nodes.all[0]
        for _ in range(rounds):
            fenced = await results_refused(sleeper)
            sent = await posted_and_not_answered(clients, sleeper, receiver)
            assert sleeper.process is not None
            os.kill(sleeper.process.pid, signal.SIGSTOP)
            receiver.answer()
            await reached(lambda sent=sent: all(receiver.posts[one] == 2 for one in sent), within_s=LEASE_S + 30)
            os.kill(sleeper.process.pid, signal.SIGCONT)
            async with asyncio.timeout(30):
                while await results_refused(sleeper) < fenced + len(sent):
                    await asyncio.sleep(0.05)
            fenced_in_all += len(sent)
            posts += len(sent)
        await nodes.settle_and_check(clients, receiver)
        assert max(receiver.posts.values()) <= 2
    tiers.note("claims: node frozen past its leases", rounds=rounds, results_refused=fenced_in_all, posts_twice=posts)


async def test_a_node_that_is_cut_off_from_the_database_while_it_posts_records_nothing(
    place: Path, server: PostgresServer
) -> None:
    async with sink() as receiver, Wire(server.port) as wire:
        cut_off_place = place / "cut off"
        cut_off_place.mkdir()
        clients = Clients(seed=22)
        async with (
            Nodes(configured(cut_off_place, wire.url, receiver.url), 1) as alone,
            Nodes(configured(place, server.url, receiver.url), 1) as whole,
        ):
            [cut_off] = alone.all
            sent = await posted_and_not_answered(clients, cut_off, receiver)
            wire.hold()
            receiver.answer()
            await reached(lambda: all(receiver.posts[one] == 2 for one in sent), within_s=LEASE_S + 30)
            posted = clients.run(cut_off.url, 4, until=lambda: clients.statuses[503] >= 4)
            await asyncio.wait_for(posted, 60)
            wire.release()
            wire.cut()
            goal = len(clients.acked) + 50
            async with asyncio.timeout(30):
                while len(clients.acked) < goal:
                    await clients.run(cut_off.url, 4, until_acked=goal)
            await whole.settle_and_check(clients, receiver)
            deliveries = await run_sql(server, "SELECT attempts FROM hookseal.deliveries")
            assert {attempts for (attempts,) in deliveries} == {1}, "a result without its lease was recorded"
            assert await alone.stop(cut_off) == 0
        assert max(receiver.posts.values()) <= 2
    tiers.note("claims: node cut off from postgresql while it posts", posts_twice=len(sent), results_of_it_recorded=0)


async def posted_and_not_answered(clients: Clients, node: Node, receiver: Sink) -> list[str]:
    """Let one node post some events and hear nothing; their webhook-ids."""
    # Tries that failed in an earlier round have narrowed the lane. Answers widen it again, so that all are posted at once.
    known = set(receiver.posts)
    await clients.run(node.url, 1, until_acked=len(clients.acked) + 24)
    await reached(lambda: len(receiver.posts.keys() - known) >= 24)
    receiver.kept_waiting = True
    before = set(receiver.posts)
    goal = len(clients.acked) + 8
    await clients.run(node.url, 1, until_acked=goal)
    await reached(lambda: len(receiver.posts.keys() - before) >= 8)
    return list(receiver.posts.keys() - before)


async def results_refused(node: Node) -> float:
    headers = {"Authorization": f"Bearer {API_KEY}"}
    async with ClientSession(headers=headers) as session, session.get(f"{node.url}/metrics") as response:
        lines = (await response.text()).splitlines()
    # On waking, a call of the store may find its own deadline passed before the store can refuse anything: then the
    # result is given up here, which is as well.
    refused = ("hookseal_delivery_results_fenced_total", "hookseal_delivery_results_unrecorded_total")
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(refused))


# --- one event on two nodes at once ---

ROUNDS = tiers.tier(ci=60, full=1000)
AT_ONCE = 64


async def test_the_same_event_at_once_on_two_nodes_is_stored_and_delivered_once(
    place: Path, server: PostgresServer
) -> None:
    began = time.monotonic()
    statuses: Counter[int] = Counter()
    async with sink() as receiver, Nodes(configured(place, server.url, receiver.url)) as nodes:
        ports = [int(node.url.rsplit(":", 1)[1]) for node in nodes.all]
        connections = [await asyncio.open_connection("127.0.0.1", ports[number % 2]) for number in range(AT_ONCE)]

        async def send(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
            writer.write(letter(number).raw)
            async with asyncio.timeout(10):
                return int((await reader.readuntil(b"\r\n\r\n"))[9:12])

        for number in range(ROUNDS):
            statuses.update(await asyncio.gather(*(send(number, *connection) for connection in connections)))
        for _, writer in connections:
            writer.close()
        assert set(statuses) == {200}
        clients = Clients(seed=23)
        clients.acked = {letter(number).key for number in range(ROUNDS)}
        assert len(await pages(nodes.all[0].url, "/api/v1/events")) == ROUNDS
        await nodes.settle_and_check(clients, receiver)
        assert set(receiver.got.values()) == {1}
        assert len(receiver.posts) == ROUNDS
    tiers.note(
        "the same event at once: two nodes on postgresql",
        rounds=ROUNDS,
        requests=statuses.total(),
        events=ROUNDS,
        seconds=round(time.monotonic() - began, 1),
    )


# --- a node that is frozen with locks in its hands ---

ALONE_S = 120
"""Against hanging, also on a machine with other work. The server ends a frozen node's transaction after 3 s."""


@pytest.mark.parametrize("step", [Step.EVENTS_WRITTEN, Step.COMMITTING, Step.RECORDING])
async def test_a_node_that_is_frozen_in_a_transaction_does_not_stop_the_other(
    step: Step, place: Path, server: PostgresServer
) -> None:
    clients, longest_s = Clients(seed=24), 0.0
    async with sink() as receiver, Nodes(configured(place, server.url, receiver.url), 1) as nodes:
        [other] = nodes.all
        freezing = Node(other.config, environment={"NODE_SIGNAL": "SIGSTOP", "NODE_LEASE_S": str(LEASE_S)})
        try:
            assert await freezing.start(step.value, "20")
            process = freezing.process
            assert process is not None
            load = asyncio.create_task(clients.run(freezing.url, 8))
            await reached(lambda: state_of(process.pid) == "T")
            for _ in range(10):
                began = time.monotonic()
                goal = len(clients.acked) + 20
                async with asyncio.timeout(ALONE_S):
                    while len(clients.acked) < goal:
                        await clients.run(other.url, 8, until_acked=goal)
                longest_s = max(longest_s, time.monotonic() - began)
            os.kill(process.pid, signal.SIGCONT)
            await clients.acked_beyond(len(clients.acked) + 50)
            assert await freezing.stop() == 0
            await load
        finally:
            await freezing.kill()
        await nodes.settle_and_check(clients, receiver)
    tiers.note(
        f"claims: node frozen at {step.value}",
        other_node_waited_s_at_most=round(longest_s, 2),
        posts_twice=sum(receiver.posts.values()) - len(receiver.posts),
        statuses={str(status): count for status, count in clients.statuses.items()},
    )


def state_of(process: int) -> str:
    """One letter of the kernel's; T is stopped."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
