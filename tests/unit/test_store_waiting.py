"""Which operations share a transaction."""

from dataclasses import dataclass

from hookseal.store.waiting import Waiting


@dataclass
class Operation:
    name: str
    weight: int = 1
    is_large: bool = False


def taken(waiting: Waiting[Operation], most: int = 10, most_bytes: int = 100) -> list[str]:
    return [operation.name for operation in waiting.take(most, most_bytes)]


def waiting(*operations: Operation) -> Waiting[Operation]:
    made: Waiting[Operation] = Waiting()
    for operation in operations:
        made.append(operation)
    return made


def test_what_waits_is_taken_in_order_up_to_the_bounds() -> None:
    queue = waiting(*(Operation(str(number)) for number in range(5)), Operation("heavy", weight=200))
    assert taken(queue, most=2) == ["0", "1"]
    assert taken(queue, most_bytes=2) == ["2", "3"]
    assert taken(queue) == ["4"]
    assert taken(queue) == ["heavy"]
    assert taken(queue) == []


def test_a_large_one_is_taken_alone_and_in_turns_with_the_others() -> None:
    queue = waiting(
        Operation("a"), Operation("L1", is_large=True), Operation("b"), Operation("L2", is_large=True), Operation("c")
    )
    assert len(queue) == 5
    assert taken(queue) == ["a", "b", "c"]
    queue.append(Operation("d"))
    assert taken(queue) == ["L1"]
    assert taken(queue) == ["d"]
    assert taken(queue) == ["L2"]
    assert (taken(queue), len(queue)) == ([], 0)


def test_what_is_left_can_be_listed_and_cleared() -> None:
    queue = waiting(Operation("a"), Operation("L", is_large=True))
    assert [operation.name for operation in queue] == ["a", "L"]
    queue.clear()
    assert len(queue) == 0
