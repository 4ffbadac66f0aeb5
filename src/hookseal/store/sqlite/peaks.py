"""How far each subject has come: the greatest standing of its events, found without a table of its own.

Every event with a standing carries its subject's peak up to itself, so that only the newest one of a subject is asked:
first among the keys in memory, which are the newest, then by the index of subjects in each partition. A state of a
subject that was never seen before costs one look per partition and writes nothing; a random row for each subject would
make one page more dirty with each event. What retention removed is forgotten, the peak that a newer event carries not.
"""

from collections.abc import Iterable
from itertools import chain

import apsw

from hookseal.store.sql import slices
from hookseal.store.sqlite.migrate import QUERIES
from hookseal.store.sqlite.recent import Recent

Subject = tuple[str, bytes]
"""The source, and the subject's hash."""


class Peaks:
    """Within one transaction: what was found, and what its own events raised."""

    def __init__(self, found: dict[Subject, int]) -> None:
        self._found = found

    @staticmethod
    def find(connection: apsw.Connection, recent: Recent, subjects: Iterable[tuple[int, Subject]]) -> "Peaks":
        """subjects: each with the place of its hash."""
        found: dict[Subject, int] = {}
        wanted: list[tuple[int, str, bytes]] = []
        for place, (source, subject) in sorted(set(subjects)):
            peak = _held(connection, recent, place, source, subject)
            if peak is None:
                wanted.append((place, source, subject))
            else:
                found[source, subject] = peak
        for some in slices(wanted):
            values = list(chain.from_iterable(some))
            for source, subject, peak in connection.execute(QUERIES.rows("find_peaks", len(some)), values):
                if peak is not None:
                    found[source, subject] = peak
        return Peaks(found)

    def raised(self, subject: Subject, standing: int) -> int:
        """The subject's peak once an event of that standing is stored: greater than it when the event came too late."""
        peak = self._found[subject] = max(standing, self._found.get(subject, standing))
        return peak


def _held(connection: apsw.Connection, recent: Recent, place: int, source: str, subject: bytes) -> int | None:
    for key in reversed(recent.of_subject(place)):
        row = connection.execute(QUERIES["read_peak"], {"key": key, "source": source, "subject": subject}).get
        if row is not None:
            return int(row)
    return None
