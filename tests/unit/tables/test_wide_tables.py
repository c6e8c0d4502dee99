"""Tables with more columns than can be used are refused before they cost anything, in every format."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from metaferry.errors import JobError
from metaferry.tables import staging
from unit.tables.table_loading import load

pytestmark = pytest.mark.slow

WIDE = [f"c{number}" for number in range(100_000)]


def wide(folder: Path, format: str) -> Path:
    path = folder / f"wide.{format}"
    if format == "csv":
        path.write_text(f"file_name,{','.join(WIDE)}\na.png,{','.join('1' * len(WIDE))}\n")
    elif format == "jsonl":
        path.write_text(json.dumps({"file_name": "a.png"} | dict.fromkeys(WIDE, 1)) + "\n")
    elif format == "nested.jsonl":
        path.write_text(json.dumps({"file_name": "a.png", "all": dict.fromkeys(WIDE[:3000], 1)}) + "\n")
    else:
        names = ["file_name", *WIDE[:20_000]]
        pq.write_table(pa.table([["a.png"], *[[1]] * (len(names) - 1)], names=names), path)
    return path


@pytest.mark.parametrize("format", ["csv", "jsonl", "nested.jsonl", "parquet"])
def test_a_table_of_too_many_columns_is_refused(tmp_path: Path, format: str) -> None:
    with pytest.raises(JobError, match=r"columns are too many, at most 2,000|more than 4,096 different keys"):
        load(wide(tmp_path, format))


@pytest.mark.parametrize("format", ["csv", "jsonl", "parquet"])
def test_the_few_that_a_mapping_names_are_used(tmp_path: Path, format: str) -> None:
    result = load(wide(tmp_path, format), metadata={"one": "c17"})
    assert [str(value) for value in result.values("one")] == ["1"]


def test_the_limit_itself_is_allowed() -> None:
    staging.check_width(staging.MAX_COLUMNS, "t.csv", "sources[0].table")
    with pytest.raises(JobError):
        staging.check_width(staging.MAX_COLUMNS + 1, "t.csv", "sources[0].table")
