"""What the operator is told when SQLite fails."""

from pathlib import Path

import apsw
import pytest

from hookseal.errors import StoreMismatch
from hookseal.store.sqlite.connection import open_writer
from hookseal.store.sqlite.faults import fault_of


def test_an_error_of_the_driver_itself_is_not_called_a_success() -> None:
    assert str(fault_of(apsw.ConnectionClosedError(), "claim")) == "claim: ConnectionClosedError"


def test_a_file_that_is_no_database_is_named_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "other.db").write_bytes(b"no database" * 1000)
    with pytest.raises(StoreMismatch, match=r"opening .*/other\.db: SQLITE_NOTADB"):
        open_writer(tmp_path / "other.db")
