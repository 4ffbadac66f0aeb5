"""Names of endpoints that do not exist, that their server fails to tell, or that are never answered, among many that are.

Oracles: statuses, what the API tells of each delivery, and the receiver's own count. The name server is a real one, asked
by the system's resolver. What can be delivered is delivered, at the first try and while silent names are waited for; each
delivery that cannot says why; all arrive once the names are told. That requests are answered and endpoints called while
look-ups hang for seconds each is how a blocked loop would be seen.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from name_server import BROKEN, GONE, SILENT, name_server
from plug import CERTAIN, SINK_SECRET, Clients, Node, configuration, pages, sink
from tiers import note, tier

pytestmark = [pytest.mark.fault, pytest.mark.root_only]

BOUND_S = 60
EVENTS = tier(ci=2, full=8)
COUNT = 200
FAULTY = [{GONE: 10, BROKEN: 10, SILENT: 20}, {SILENT: 100}][: tier(ci=1, full=2)]
"""How many of the names fail, and how. 100 are more silent ones than there are places for quick look-ups."""
RESOLV_CONF = "nameserver {}\noptions timeout:4 attempts:1\n"
"""A look-up that is not answered ends after 4 s, which is longer than a try waits for it."""
REASONS = {GONE: "dns_nxdomain", BROKEN: "dns_error", SILENT: "dns_timeout"}
HERE = Path(__file__).parent

Row = Mapping[str, object]


def endpoints(names: Sequence[str], sink_url: str) -> str:
    """An endpoint for each name, all of them at one receiver."""
    port_and_path = sink_url.removeprefix("http://127.0.0.1")
    return "".join(
        f'[[endpoint]]\nid = "{name}"\nurl = "http://{name}.test{port_and_path}"\n'
        f'signing = {{ scheme = "standard_webhooks", secret = "{SINK_SECRET}" }}\n'
        f"retry = {{ delays_s = {[1] * 60} }}\n"
        for name in names
    )


def kind(row: Row) -> str:
    return str(row["endpoint"]).partition("-")[0]


@pytest.mark.parametrize("faulty", FAULTY, ids=lambda faulty: " ".join(faulty))
async def test_names_that_fail_hold_up_no_others_and_each_failure_says_why(
    faulty: Mapping[str, int], tmp_path: Path
) -> None:
    names = [f"{fate}-{number}" for fate, count in faulty.items() for number in range(count)]
    names += [f"good-{number}" for number in range(COUNT - len(names))]
    async with sink() as receiver, name_server() as server:
        resolv_conf = tmp_path / "resolv.conf"
        resolv_conf.write_text(RESOLV_CONF.format(server.address))
        config = tmp_path / "hookseal.toml"
        config.write_text(configuration(receiver.url).partition("[[endpoint]]")[0] + endpoints(names, receiver.url))
        node, clients = Node(config, script=HERE / "node_own_names.py"), Clients(41)
        try:
            assert await node.start(str(resolv_conf))
            await asyncio.wait_for(clients.run(node.url, 1, until_acked=EVENTS), BOUND_S)
            rows = await true_of_all(node.url, lambda row: kind(row) != "good" or row["state"] == "delivered")
            assert {row["attempt_count"] for row in rows if kind(row) == "good"} == {1}, "failed by another's name"
            rows = await true_of_all(node.url, lambda row: kind(row) == "good" or row["attempt_count"] != 0)
            reasons = Counter((kind(row), row["last_reason"]) for row in rows if kind(row) != "good")
            assert reasons.keys() == {(fate, REASONS[fate]) for fate in faulty}
            await asyncio.wait_for(clients.run(node.url, 1, until_acked=2 * EVENTS), BOUND_S)
            server.healed = True
            await true_of_all(node.url, lambda row: row["state"] == "delivered")
            assert len(receiver.posts) == len(clients.acked) * COUNT
            assert set(receiver.posts.values()) == {1}
            assert receiver.forged == 0
            assert not clients.statuses.keys() & CERTAIN
            assert await node.stop() == 0
        finally:
            await node.kill()
    note(
        f"names that fail: {', '.join(f'{count} {fate}' for fate, count in faulty.items())} of {COUNT} endpoints",
        deliveries=len(clients.acked) * COUNT,
        first_tries_of_others_failed=0,
        slowest_answer_s=round(clients.slowest_s, 2),
        questions=server.asked.total(),
    )


async def true_of_all(url: str, fits: Callable[[Row], bool]) -> list[dict[str, object]]:
    """Wait until it is true of all deliveries; these."""
    async with asyncio.timeout(BOUND_S):
        while True:
            rows = await pages(url, "/api/v1/deliveries")
            if all(map(fits, rows)):
                return rows
            await asyncio.sleep(0.1)
