"""Which of two states of one subject is the later one, by the provider's own rule and never by when they arrived.

A state's place is one number, so that a store can compare places without knowing any rule. From the highest bit down:
1 bit final, 6 bits rank, 56 bits time in microseconds since 1970. So a final state stands over all others, then the
rank decides, then the provider's time:

    queued 0x0100000000000000 < sent 0x0200000000000000 < failed 0x4300000000000000 < delivered 0x4400000000000000

Equal places are no news to one another: of those the one stored last is in force.
"""

from hookseal.identity.reading import Reading
from hookseal.identity.rule_compiler import CompiledKind

_TIME_BITS = 56
_FINAL = 1 << 62
_LATEST = (1 << _TIME_BITS) - 1


def place_in_order(reading: Reading, kind: CompiledKind) -> int | None:
    """0 to 2**63 - 1; None where the entry has no rule for this event, or its state is not one that the rule lists.

    A time that is missing, or before 1970, is 0; one after the year 4253 is that year's.
    """
    rules, tree, headers = reading.rules.order, reading.tree, reading.headers
    if rules is None or not isinstance(tree, dict | list) or not rules.holds(tree, headers):
        return None
    rank = 0
    if rules.ranks:
        rank = rules.ranks.get(rules.state(tree, headers) or "", 0)
        if rank == 0:
            return None
    time = rules.time(tree, headers)
    micros = 0 if time is None else min(max(time, 0), _LATEST)
    return (_FINAL if reading.is_final(kind) else 0) | rank << _TIME_BITS | micros
