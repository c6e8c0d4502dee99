"""Rows are written once where a job names columns alone, by a thread that ends with the reading."""

from __future__ import annotations

import threading
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from metaferry.tables.csv.cell_table import CellTable
from metaferry.tables.csv.column_types import Numbers
from metaferry.tables.model import FILE, ROW
from metaferry.tables.staging import BATCH_ROWS, StagingTable, arrow_pool, numbers_from
from unit.tables.table_loading import left_in, load, sealed

LINES = '{"file_name": "a.png", "n": 1, "at": {"x": 1.5}}\n{"file_name": "b.png", "n": 2, "at": null}\n'


def written(folder: Path, name: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if name.endswith(".parquet"):
        at = pa.array([{"x": 1.5}, None])
        pq.write_table(pa.table({"file_name": ["a.png", "b.png"], "n": [1, 2], "at": at}), path)
    else:
        path.write_text(LINES)
    return path


@pytest.mark.parametrize("name", ["t.parquet", "t.jsonl"])
def test_rows_of_columns_alone_are_written_once(tmp_path: Path, name: str) -> None:
    result = load(written(tmp_path, name))
    assert left_in(result.con) & {"source_0", "staged_0"} == {"staged_0"}
    assert result.values("n") == [1, 2]
    assert result.values("at.x") == [1.5, None]
    rows = result.con.execute("SELECT rowid, row FROM source_0 ORDER BY 1").fetchall()
    assert rows == [(0, 1), (1, 2)]


@pytest.mark.parametrize("more", [{"where": "n > 1"}, {"metadata": {"n": "n + 1"}}, {"frame": "n"}])
@pytest.mark.parametrize("name", ["t.parquet", "t.jsonl"])
def test_what_is_computed_is_computed_once(tmp_path: Path, name: str, more: dict[str, object]) -> None:
    assert left_in(load(written(tmp_path, name), **more).con) & {"source_0", "staged_0"} == {"source_0"}


def test_columns_of_folders_are_joined_to_what_was_written_once(tmp_path: Path) -> None:
    for side in ("left", "right"):
        written(tmp_path, f"side={side}/t.parquet")
    result = load(f"{tmp_path}/**/*.parquet")
    assert "source_0" not in left_in(result.con)
    assert result.values("side") == ["left", "left", "right", "right"]
    ids = result.con.execute("SELECT count(DISTINCT rowid) FROM source_0").fetchall()
    assert ids == [(4,)]


@pytest.mark.parametrize("name", ["t.parquet", "t.jsonl", "t.csv"])
def test_a_column_called_rowid_is_a_column_like_any_other(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "t.parquet":
        pq.write_table(pa.table({"file_name": ["a.png", "b.png"], "rowid": ["y", "x"]}), path)
    elif name == "t.jsonl":
        path.write_text('{"file_name": "a.png", "rowid": "y"}\n{"file_name": "b.png", "rowid": "x"}\n')
    else:
        path.write_text("file_name,rowid\na.png,y\nb.png,x\n")
    result = load(path, metadata={"mine": "rowid"})
    assert result.values("mine") == ["y", "x"]
    ids = result.con.execute("SELECT count(DISTINCT rowid) FROM source_0").fetchall()
    assert ids == [(2,)]


def test_rows_come_in_the_order_in_which_they_were_appended() -> None:
    con = sealed()
    told: list[int] = []
    with StagingTable(con, "t", pa.schema([("n", pa.int64())]), told.append) as staging:
        for start in (0, BATCH_ROWS, 2 * BATCH_ROWS):
            numbers = numbers_from(start, BATCH_ROWS)
            staging.append(0, numbers, [numbers])
        staging.append(1, numbers_from(7, 1), [pa.array([None], pa.int64())])
        staging.flush()
    assert sum(told) == 3 * BATCH_ROWS + 1
    found = con.execute(f"SELECT count(*), count(*) FILTER (rowid = {ROW} AND n = {ROW}) FROM t").fetchall()
    assert found == [(3 * BATCH_ROWS + 1, 3 * BATCH_ROWS)]
    assert con.execute(f"SELECT {ROW} FROM t WHERE {FILE} = 1").fetchall() == [(7,)]


def test_a_column_of_values_has_one_of_text_from_the_first_cell_on_that_needs_it() -> None:
    con = sealed()
    batches = [
        {"n": ["1", "2"], "x": ["0.5", ""], "b": ["true", "false"]},
        {"n": ["3", "{}"], "x": ["1.50", "007"], "b": ["", "true"]},
        {"n": ["", "+4"], "x": ["2.5", "inf"], "b": ["false", "true"]},
    ]
    with CellTable(con, "t", lambda rows: None, Numbers(), nulls=["", "{}"]) as table:
        table.add_cells({key: pa.array(cells) for key, cells in batches[0].items()})
        for at, batch in enumerate(batches):
            table.append(0, numbers_from(2 * at, 2), [pa.array(cells) for cells in batch.values()])
            table.flush()
            if not at:
                before = set(table.values())
    assert before == {"n", "x", "b"}
    assert set(table.values()) == {"b"}
    shown = con.execute(f"SELECT {', '.join(table.cells().values())} FROM t ORDER BY {ROW}").fetchall()
    written = zip(*([cell for batch in batches for cell in batch[key]] for key in "nxb"), strict=True)
    assert shown == [tuple(None if cell in ("", "{}") else cell for cell in row) for row in written]
    kept = "SELECT count(*) FROM duckdb_columns() WHERE table_name = 't' AND data_type = 'VARCHAR'"
    assert con.execute(kept).fetchall() == [(2,)]


def test_a_run_that_is_cancelled_leaves_no_thread_and_no_table(tmp_path: Path) -> None:
    con = sealed()
    names = pa.array(["a.png"] * (2 * BATCH_ROWS))
    pq.write_table(pa.table({"file_name": names}), tmp_path / "t.parquet")
    before = left_in(con)

    class Cancelled(Exception):
        pass

    def stop(rows: int) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        load(tmp_path / "t.parquet", con=con, progress=stop)
    assert left_in(con) == before
    assert not [one.name for one in threading.enumerate() if one.name.startswith("metaferry-staging")]


def test_an_error_of_the_engine_reaches_who_appends() -> None:
    con = sealed()
    with StagingTable(con, "gone", pa.schema([("n", pa.int64())]), lambda rows: None) as staging:
        con.execute("DROP TABLE gone").fetchall()
        staging.append(0, numbers_from(1, 1), [numbers_from(1, 1)])
        with pytest.raises(duckdb.Error, match="gone"):
            staging.flush()


def test_who_chose_the_memory_of_arrow_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    default = pa.default_memory_pool().backend_name
    monkeypatch.setenv("ARROW_DEFAULT_MEMORY_POOL", default)
    assert arrow_pool.__wrapped__().backend_name == default
    monkeypatch.delenv("ARROW_DEFAULT_MEMORY_POOL")
    offered = "jemalloc" if "jemalloc" in pa.supported_memory_backends() else default
    assert arrow_pool.__wrapped__().backend_name == offered
    assert pa.default_memory_pool().backend_name == default
