"""Tables that are read a part at a time."""

from __future__ import annotations

from pathlib import Path

import pytest

from metaferry.planning.database import open_database


@pytest.mark.parametrize("size", [1, 2, 5, 1_000])
def test_numbered_rows_come_once_and_in_order_while_the_engine_is_used(tmp_path: Path, size: int) -> None:
    with open_database(memory_limit="64MB", scratch=str(tmp_path)) as database:
        database.run("CREATE TABLE t AS SELECT 6 - i AS n, 'r' || (6 - i) AS name FROM range(1, 6) r(i)")
        database.run("CREATE TABLE seen(name VARCHAR)")
        found = []
        for n, name in database.numbered("n, name", "t", size=size):
            database.run("INSERT INTO seen VALUES (?)", [name])
            found.append(n)
        assert found == [1, 2, 3, 4, 5]
        assert database.value("SELECT count(*) FROM seen") == 5
        assert list(database.numbered("n", "(SELECT * FROM t WHERE false)", size=size)) == []
