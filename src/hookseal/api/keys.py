"""The keys that seal the store, over HTTP: which there are, a new one, and the end of old ones. Never a key itself.

The key of our own issuer of tokens is rotated here, too.
"""

from collections.abc import Awaitable, Callable

from hookseal.api.operation import Answer, Body, Call, Document, Faulty, Operation
from hookseal.api.problem import Fault
from hookseal.api.schemas import ref
from hookseal.clock import rfc3339
from hookseal.destinations.issuer import IssuerRotation
from hookseal.manage.rotation import KeyRotation
from hookseal.model import Json

RotateIssuer = Callable[[], Awaitable[IssuerRotation]]


def operations(rotation: KeyRotation, rotate_issuer: RotateIssuer, path: str) -> tuple[Operation, ...]:
    async def list_keys(call: Call) -> Answer:
        keys: list[Json] = [
            {"id": key.id, "fingerprint": key.fingerprint, "active": key.is_active, "values": key.values}
            for key in await rotation.keys()
        ]
        return Document(
            {"keys": keys, "rotating": rotation.is_under_way, "moved": rotation.moved, "broken": rotation.broken}
        )

    async def rotate(call: Call) -> Answer:
        done = await rotation.rotate()
        return Document({"active": done.active, "new": done.is_new}, status=202)

    async def prune(call: Call) -> Answer:
        return Document({"dropped": list(await rotation.prune())})

    async def rotate_key_of_issuer(call: Call) -> Answer:
        done = await rotate_issuer()
        return Document({"id": done.id, "new": done.is_new, "signs_at": rfc3339(done.signs_at)}, status=202)

    return (
        Operation(
            name="listKeys",
            method="GET",
            path=path,
            summary="The keys that seal the store, the active one first, and how many values each seals.",
            handler=list_keys,
            schema=ref("Keys"),
        ),
        Operation(
            name="rotateKeys",
            method="POST",
            path=f"{path}/rotate",
            summary="Seals under a new key from now on, and moves what is stored to it in the background.",
            handler=rotate,
            body=Body(_nothing),
            status=202,
            schema=ref("Rotated"),
        ),
        Operation(
            name="pruneKeys",
            method="POST",
            path=f"{path}/prune",
            summary="Drops the keys that seal nothing any more.",
            handler=prune,
            body=Body(_nothing),
            schema=ref("Pruned"),
        ),
        Operation(
            name="rotateIssuerKey",
            method="POST",
            path=f"{path}/issuer/rotate",
            summary="Publishes a new key of our own issuer of tokens, which signs a day later.",
            handler=rotate_key_of_issuer,
            body=Body(_nothing),
            status=202,
            schema=ref("IssuerRotated"),
        ),
    )


def _nothing(given: Json) -> Faulty | None:
    return None if given == {} else Faulty((Fault("", "not_empty"),))
