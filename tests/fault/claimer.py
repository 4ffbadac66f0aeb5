"""A process that claims from a shared store and does what engines do with claims. Run by a test, never imported.

    python claimer.py DATABASE_URL LOG SEED

Claims until nothing is pending: of four claims three are delivered, or failed and due again at once, and one is given
back untried. Writes each claim to LOG before it acts on it: the delivery and its lease. A result that the store refuses
ends it with status 1.
"""

import asyncio
import random
import sys
from pathlib import Path

from postgres_nodes import KEYRING

from hookseal.clock import SystemClock, plus
from hookseal.model import AttemptReason, DeliveryId, DeliveryState, EndpointId
from hookseal.sealing import Keyring
from hookseal.store.port import AttemptRow, Claimed, Lease, Result
from hookseal.store.postgres import PostgresStore

ENDPOINT = EndpointId("core")


async def main() -> None:
    url, log, dice = sys.argv[1], Path(sys.argv[2]), random.Random(sys.argv[3])
    store, clock = PostgresStore(url, Keyring.parse(KEYRING)), SystemClock()
    await store.open()
    with log.open("w") as written:
        while await store.next_due_at([ENDPOINT]) is not None:
            now = clock.now()
            claims = await store.claim_due({ENDPOINT: dice.randint(1, 128)}, now, plus(now, 60))
            written.writelines(f"{one.id} {one.lease}\n" for one in claims)
            back: dict[DeliveryId, Lease] = {}
            results = []
            for one in claims:
                if dice.random() < 0.25:
                    back[one.id] = one.lease
                else:
                    results.append(result(one, dice.random() < 0.5, clock))
            if back:
                await store.release(back, clock.now())
            if not all(await asyncio.gather(*map(store.record, results))):
                sys.exit("a result was refused while its lease was held")
    await store.close()


def result(one: Claimed, succeeded: bool, clock: SystemClock) -> Result:
    now, final = clock.now(), succeeded or one.attempts >= 5
    reason = None if succeeded else AttemptReason.CONNECT_REFUSED.value
    return Result(
        delivery=one.id,
        lease=one.lease,
        attempt=AttemptRow(number=one.attempts + 1, started_at=now, duration_ms=0, status=None, reason=reason),
        state=DeliveryState.DELIVERED if final else DeliveryState.PENDING,
        due_at=None if final else now,
    )


asyncio.run(main())
