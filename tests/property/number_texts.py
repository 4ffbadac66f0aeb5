"""Numbers as JSON may spell them, of every size and form, and bodies of the providers' examples that hold them."""

import json
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

from hookseal import catalogue
from hookseal.catalogue import Provider
from hookseal.clock import from_unix
from hookseal.message import Headers, headers_of
from hookseal.simulate.examples import EXAMPLES, calls_of

# Where types end: 2**53 of a double, 64 bits, the year 9999 in seconds and milliseconds, the largest double, and the
# 4300 digits that Python converts.
EDGES = (
    *("0", "-0", "0.0", "-0.0", "1", "-1", "1E2", "1e+2", "5e-324", "1e-400", "0.1", "1.5"),
    *("253402300799", "253402300800", "253402300799.9999999", "-62135596800", "-62135596801"),
    *(
        "253402300799999",
        "253402300800000",
        "9007199254740993",
        "9223372036854",
        "9223372036855",
        "9223372036854775807",
    ),
    *("9223372036854775808", "18446744073709551616", "-9223372036854775809"),
    *(
        "1e15",
        "1e18",
        "1e19",
        "1e302",
        "1e303",
        "1e308",
        "-1e308",
        "1.7976931348623157e308",
        "1e309",
        "1e400",
        "-1e400",
    ),
    *("1e99999", "1e-99999", "1" * 20, "9" * 308, "9" * 309, "-" + "9" * 400, "9" * 4300, "9" * 4301, "9" * 5000),
    *("1." + "3" * 400, "0." + "0" * 400 + "1", "1" + "0" * 400 + ".5", "1" * 400 + "e-400"),
)
NUMBER_TEXTS = st.one_of(
    st.sampled_from(EDGES),
    st.integers(-(2**2000), 2**2000).map(str),
    st.integers(-(2**70), 2**70).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.tuples(st.integers(-(10**20), 10**20), st.integers(-500, 500)).map(lambda pair: f"{pair[0]}e{pair[1]}"),
)
NOT_JSON = ("NaN", "Infinity", "-Infinity", "+1", "01", "1.", ".5", "0x10", "1_000", "1e", "--1", "\u0661\u0662")
"""What parsers of other languages take for a number."""

SPELLED = NUMBER_TEXTS | NUMBER_TEXTS.map(lambda text: f'"{text}"') | st.sampled_from(NOT_JSON)


def _places(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    members = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    yield path
    for name, value in members:
        yield from _places(value, (*path, name))


def _examples() -> Iterator[tuple[Provider, Any, Headers, tuple[Any, ...]]]:
    seen = set()
    for provider in catalogue.providers():
        for example in EXAMPLES.get(provider.id, ()):
            for call in calls_of(provider, example, from_unix(1_763_712_000), bytes):
                try:
                    tree = json.loads(call.body)
                except ValueError:  # XML
                    continue
                headers = headers_of([("Content-Type", call.content_type), *call.headers])
                for path in _places(tree):
                    if (provider.id, path) not in seen:  # the same place of several examples is read by the same rules
                        seen.add((provider.id, path))
                        yield provider, tree, headers, path


PLACES = [*_examples()]


def body_with(tree: Any, path: tuple[Any, ...], text: str) -> bytes:
    """The tree as JSON with `text`, as it is, in place of the value at `path`."""
    if not path:
        return text.encode()
    copied = node = json.loads(json.dumps(tree))
    for part in path[:-1]:
        node = node[part]
    node[path[-1]] = "\x00here"
    return json.dumps(copied).replace(json.dumps("\x00here"), text).encode()
