"""Shares of the places and bytes of the receiving side. Times are given, and no request is really read.

A reader that lost its place is one whose deadline was moved. Outside of a server it has none, so `is_evicted` says it.
"""

import random

from hookseal.model import SourceId
from hookseal.web.admission import Admission, Place

A, B = SourceId("a"), SourceId("b")


def admission(**bounds: float) -> Admission:
    most = {"max_reading": 4, "max_judging": 8, "max_bytes": 100, "slow_after_s": 1.0, **bounds}
    return Admission(
        max_reading=int(most["max_reading"]),
        max_judging=int(most["max_judging"]),
        max_bytes=int(most["max_bytes"]),
        slow_after_s=most["slow_after_s"],
    )


def read(admitted: Admission, client: str | None, source: SourceId = A, now: float = 0.0) -> Place:
    place = admitted.read(client, source, now)
    assert place is not None
    return place


def test_the_oldest_reader_of_the_client_with_most_makes_place() -> None:
    bounded = admission(max_reading=20)
    small = read(bounded, "small")
    greedy = [read(bounded, "greedy") for _ in range(19)]
    read(bounded, "new")
    assert [place.is_evicted for place in (small, *greedy)] == [False, True] + [False] * 18


def test_clients_with_about_equal_shares_end_no_readers_of_each_other() -> None:
    bounded = admission(max_reading=60)
    readers = [read(bounded, f"client {number % 3}") for number in range(60)]
    assert bounded.read("client 1", A, 0.9) is None
    assert not any(place.is_evicted for place in readers)


def test_in_an_overload_no_young_reader_makes_place_for_its_own_client() -> None:
    bounded = admission()
    readers = [read(bounded, "only") for _ in range(4)]
    assert bounded.read("only", A, 0.9) is None
    assert not any(place.is_evicted for place in readers)


def test_a_slow_reader_makes_place_for_any_client() -> None:
    bounded = admission()
    readers = [read(bounded, "only", now=number / 2) for number in range(4)]
    read(bounded, "only", now=1.9)
    assert [place.is_evicted for place in readers] == [True, False, False, False]


def test_a_reader_is_slow_as_soon_as_it_brings_few_bytes() -> None:
    bounded = admission(max_bytes=1_000_000)
    readers = [read(bounded, "only") for _ in range(4)]
    for place in readers:
        assert bounded.hold(place, 100_000, 1.0)
    assert bounded.read("only", A, 1.5) is None
    for place in readers[1:]:
        assert bounded.hold(place, 20_000, 2.0)
    read(bounded, "only", now=2.5)
    assert [place.is_evicted for place in readers] == [True, False, False, False]


def test_clients_that_are_equal_keep_their_places_until_they_are_slow() -> None:
    bounded = admission()
    readers = [read(bounded, f"client {number}") for number in range(4)]
    assert bounded.read("new", A, 0.5) is None
    read(bounded, "new", now=1.0)
    assert [place.is_evicted for place in readers] == [True, False, False, False]


def test_the_source_with_most_makes_place_for_another_source() -> None:
    bounded = admission(max_reading=20)
    readers = [read(bounded, f"client {number}") for number in range(20)]
    read(bounded, "new", B)
    assert [place.is_evicted for place in readers] == [True] + [False] * 19


def test_a_client_with_most_readers_takes_no_place_from_others() -> None:
    """Its requests for a source with few readers end its own readers at the busy source."""
    bounded = admission(max_reading=20)
    others = [read(bounded, f"client {number}", A) for number in range(2)]
    own = [read(bounded, "greedy", A) for _ in range(18)]
    read(bounded, "greedy", B)
    assert not any(place.is_evicted for place in others)
    assert own[0].is_evicted


def test_the_client_with_most_bytes_gives_them_up() -> None:
    bounded = admission()
    few, many = read(bounded, "few"), read(bounded, "many")
    assert bounded.hold(few, 20, 0)
    assert bounded.hold(many, 80, 0)
    assert bounded.hold(few, 10, 0)
    assert many.is_evicted
    assert bounded.bytes_held == 30


def test_bytes_beyond_the_bound_of_the_client_that_has_most_are_refused() -> None:
    bounded = admission()
    few, many = read(bounded, "few"), read(bounded, "many")
    assert bounded.hold(few, 20, 0)
    assert not bounded.hold(many, 90, 0)
    assert not few.is_evicted
    bounded.leave(many)
    assert bounded.bytes_held == 20


def test_one_client_has_all_places_of_judging_and_others_have_a_quarter_more() -> None:
    """The last quarter of the places was refused to a busy provider also when nobody else sent anything."""
    bounded = admission(max_judging=64)
    assert [bounded.judge(read(bounded, "busy")) for _ in range(65)] == [True] * 64 + [False]
    assert not bounded.judge(read(bounded, "new", A)), "the source has its share"
    assert not bounded.judge(read(bounded, "busy", B)), "the client has its share"
    assert [bounded.judge(read(bounded, "new", B)) for _ in range(16)] == [True] * 16
    assert not bounded.judge(read(bounded, "newer", SourceId("c")))


def test_a_request_without_a_place_to_be_judged_is_known_before_its_body_is_read() -> None:
    bounded = admission(max_judging=8)
    assert [bounded.judge(read(bounded, "only")) for _ in range(9)] == [True] * 8 + [False]
    assert [bounded.has_room("only", A), bounded.has_room("new", A), bounded.has_room("new", B)] == [False, False, True]


def test_clients_that_are_not_known_have_no_share_in_common() -> None:
    bounded = admission()
    assert [bounded.judge(read(bounded, None, SourceId(str(number)))) for number in range(8)] == [True] * 8


def test_bounds_hold_and_everything_is_free_in_the_end() -> None:
    draw = random.Random(16)
    bounded = admission(max_reading=16, max_judging=8, max_bytes=1000)
    reading: list[Place] = []
    judging: list[Place] = []
    for turn in range(5000):
        reading = [place for place in reading if not place.is_evicted or bounded.leave(place)]
        action = draw.random()
        if action < 0.5:
            place = bounded.read(f"client {draw.randrange(6)}", draw.choice([A, B]), turn / 10)
            reading += [place] if place is not None else []
        elif action < 0.8 and reading:
            place = draw.choice(reading)
            if not bounded.hold(place, draw.randrange(1, 300), turn / 10):
                bounded.leave(place)
                reading.remove(place)
        elif reading:
            place = reading.pop(draw.randrange(len(reading)))
            if bounded.judge(place):
                judging.append(place)
            else:
                bounded.leave(place)
        elif judging:
            bounded.leave(judging.pop())
        if len(judging) > 4:
            bounded.leave(judging.pop(0))
        reading = [place for place in reading if not place.is_evicted or bounded.leave(place)]
        assert len(reading) <= 16
        assert sum(place.size for place in (*reading, *judging)) == bounded.bytes_held <= 1000
    for place in (*reading, *judging):
        bounded.leave(place)
    assert bounded.bytes_held == 0
