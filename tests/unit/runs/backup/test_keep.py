"""What a backup reads of the files of a plan."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from metaferry.apply.apply import DELETES, WRITES
from metaferry.runs.backup import keep


def test_a_plan_of_an_older_version_is_read_without_its_new_columns(tmp_path: Path) -> None:
    """Then no document is known to be ours, and none has a size that is known before it is read."""
    (tmp_path / "shard=000").mkdir()
    rows = {
        "target": ["a", "b", "c", "d"],
        "action": ["create", "update", "delete", "keep"],
        "body": ["{}", "{}", None, None],
        "md5": ["1", "2", None, "4"],
        "expect": [None, "t2", "t3", "t4"],
    }
    pq.write_table(pa.table(rows), tmp_path / "shard=000/data_0.parquet")
    read = list(keep._rows(tmp_path, WRITES | DELETES, None))
    assert [(row.target, row.md5, row.expect, row.size, row.ours) for row in read] == [
        ("a", "1", None, 0, False),
        ("b", "2", "t2", 0, False),
        ("c", None, "t3", 0, False),
    ]
