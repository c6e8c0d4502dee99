"""A query to SQLite as a source: cells of several types, files that are none, and the jobs of the page."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from e2e.sources.pages import documents, jobs_of, synced
from e2e.world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    for name in "abc":
        made.put(f"data/{name}.png", b"image")
    return made


def database(world: World, *statements: str, rows: list[tuple[Any, ...]] | None = None) -> None:
    with sqlite3.connect(world.root / "labels.db") as con:
        for statement in statements:
            con.execute(statement)
        if rows:
            con.executemany(f"INSERT INTO t VALUES ({', '.join('?' * len(rows[0]))})", rows)
    con.close()


def job(world: World, query: str, **more: Any) -> None:
    world.job = {
        "input": "data",
        "sources": [{"sql": {"uri": "sqlite:///labels.db", "query": query}, **more}],
    }
    world.write_job()


def test_the_jobs_of_the_page_run(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    database(
        world,
        "CREATE TABLE labels (name TEXT, speed REAL, weather TEXT, checked INTEGER)",
        "INSERT INTO labels VALUES ('a.png', 12.5, 'fog', 1), ('b.png', 3, NULL, 1), ('c.png', 9, 'sun', 0)",
    )
    world.put("scenes.csv", "file_name,scene\na.png,city\n")
    monkeypatch.setenv("LABELS_DB", f"sqlite:///{world.root}/labels.db")
    alone, joined = jobs_of("sql.md")
    assert synced(world, alone) == {"a": {"speed": 12.5, "weather": "fog"}, "b": {"speed": 3.0}}
    for path in (world.data / ".lightly/metadata").glob("*.json"):
        path.unlink()
    assert synced(world, joined)["a"] == {"scene": "city", "speed": 12.5}


def test_a_column_has_the_type_that_holds_all_of_its_cells(world: World) -> None:
    # The driver of ADBC takes the types of the first 1,024 rows, and fails at the row after them.
    rows: list[tuple[Any, ...]] = [("c.png", 1, None, 1, None, 7)] * 2_000
    rows += [("a.png", 0.5, "late", "text", None, 8)]
    database(world, "CREATE TABLE t (file_name, mixed, late, odd, empty, whole)", rows=rows)
    job(world, "SELECT * FROM t WHERE file_name = 'a.png' UNION ALL SELECT * FROM t ORDER BY whole")
    ran = world.run("sync", "job.yaml", "--format", "json")
    assert ran.code == 0, ran.err
    assert documents(world) == {
        "a": {"mixed": 0.5, "late": "late", "odd": "text", "whole": 8},
        "c": {"mixed": 1.0, "odd": "1", "whole": 7},
    }
    (source,) = ran.report["sources"]
    assert (source["read"], source["used"], source["repeated"]) == (2_002, 2, 2_000)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELECT speed FROM nope", "no such table: nope"),
        ("SELEC 1", "syntax error"),
        ("DELETE FROM t", "its session only reads"),
        ("SELECT 1 AS a; SELECT 2", "syntax error"),
        ("SELECT 'a.png' AS file_name, x'00' AS raw", "raw"),
    ],
)
def test_a_query_that_cannot_be_used_is_named_with_its_place(world: World, query: str, message: str) -> None:
    database(world, "CREATE TABLE t (a)")
    job(world, query)
    ran = world.run("plan", "job.yaml")
    assert ran.code == 2
    assert message in ran.err
    assert "sources[0]" in ran.err


def test_what_is_no_database_is_told(world: World) -> None:
    job(world, "SELECT 1")
    ran = world.run("plan", "job.yaml")
    assert ran.code == 2
    assert f"the SQLite file {world.root}/labels.db is not there" in ran.err
    world.put("labels.db", b"file_name,speed\n" * 200)
    ran = world.run("plan", "job.yaml")
    assert ran.code == 2
    assert "file is not a database" in ran.err


def test_a_driver_by_its_library_reads_the_same(world: World) -> None:
    import adbc_driver_sqlite

    database(world, "CREATE TABLE t (file_name TEXT, n INTEGER)", rows=[("a.png", 1)])
    given = {
        "driver": adbc_driver_sqlite._driver_path(),
        "db_kwargs": {"uri": f"file:{world.root}/labels.db?mode=ro"},
        "query": "SELECT * FROM t",
    }
    world.job = {"input": "data", "sources": [{"sql": given}]}
    world.write_job()
    ran = world.run("sync", "job.yaml")
    assert ran.code == 0, ran.err
    assert documents(world) == {"a": {"n": 1}}


@pytest.mark.parametrize(
    ("module", "uri", "extra"),
    [
        ("adbc_driver_manager", "sqlite:///labels.db", "metaferry[sql]"),
        ("pymysql", "mysql://root@127.0.0.1/x", "metaferry[mysql]"),
    ],
)
def test_an_extra_that_is_not_installed_is_named(
    world: World, monkeypatch: pytest.MonkeyPatch, module: str, uri: str, extra: str
) -> None:
    import sys

    database(world, "CREATE TABLE t (a)")
    monkeypatch.setitem(sys.modules, module, None)
    world.job = {"input": "data", "sources": [{"sql": {"uri": uri, "query": "SELECT 1"}}]}
    world.write_job()
    ran = world.run("plan", "job.yaml")
    assert ran.code == 2
    assert f"pip install '{extra}'" in ran.err


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"query": "SELECT 1"}, "should have a `uri`"),
        ({"uri": "sqlite:///x.db", "query": " ; "}, "is empty"),
        ({"uri": "sqlite:///x.db"}, "query: is missing"),
        ({"uri": "sqlite:///x.db", "query": "SELECT 1", "querry": 1}, 'did you mean "query"?'),
        ({"uri": "oracle://x", "query": "SELECT 1"}, "oracle:// is no database that is known"),
    ],
)
def test_a_fault_in_the_job_names_its_key(world: World, given: dict[str, Any], message: str) -> None:
    world.job = {"input": "data", "sources": [{"sql": given}]}
    world.write_job()
    ran = world.run("plan", "job.yaml")
    assert ran.code == 2
    assert message in ran.err
