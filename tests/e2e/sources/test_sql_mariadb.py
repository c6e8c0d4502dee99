"""A query to MariaDB as a source, on a real server: its types, its refusals, and a connection that breaks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from e2e.sources.pages import documents
from e2e.world import World
from servers.mariadb import MariaDb
from servers.relay import relay

pytestmark = pytest.mark.servers

COLUMNS = (
    "file_name varchar(20), tiny tinyint, whole bigint unsigned, f float, d double, exact decimal(10,2), "
    "`long` decimal(65,30), day date, at datetime(6), moment timestamp(3) NULL, clock time, made year, "
    "flag bit(1), kind enum('a','b'), parts set('x','y'), extra json, id uuid, note longtext"
)
ROW = (
    "('a.png', 1, 9007199254740991, 0.1, 0.1, 1.20, 12345678901.123456789, '2026-05-01', "
    "'2026-05-01 12:00:00.25', '2026-05-01 12:00:00.5', '-12:00:00', 2026, 1, 'a', 'x,y', '{\"a\": 1}', "
    "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'grün')"
)


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    for name in "abc":
        made.put(f"data/{name}.png", b"image")
    return made


def job(world: World, uri: str, query: str, **more: Any) -> None:
    world.job = {"input": "data", "sources": [{"sql": {"uri": uri, "query": query}, **more}]}
    world.write_job()


def test_rows_become_documents_with_every_value_exact(world: World, mariadb_server: MariaDb) -> None:
    uri = mariadb_server.new_database(
        f"CREATE TABLE t ({COLUMNS})",
        "SET time_zone = '+00:00'",
        f"INSERT INTO t VALUES {ROW}",
        "INSERT INTO t (file_name) VALUES ('b.png')",
    )
    job(world, uri, "SELECT *, NULL AS nothing FROM t")
    ran = world.run("sync", "job.yaml", "--format", "json")
    assert ran.code == 0, ran.err
    found = documents(world)
    assert found["b"] == {}
    assert found["a"] == {
        "tiny": 1,
        "whole": 9007199254740991,
        "f": 0.1,
        "d": 0.1,
        "exact": 1.2,
        "long": 12345678901.123456789,
        "day": "2026-05-01",
        "at": "2026-05-01T12:00:00.25",
        "moment": "2026-05-01T12:00:00.5Z",
        "clock": "-12:00:00",
        "made": 2026,
        "flag": 1,
        "kind": "a",
        "parts": "x,y",
        "extra": '{"a": 1}',
        "id": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        "note": "grün",
    }
    assert world.run("sync", "job.yaml", "--format", "json").report["documents"]["keep"] == 2


def test_a_date_that_no_calendar_has_rejects_its_row(world: World, mariadb_server: MariaDb) -> None:
    uri = mariadb_server.new_database(
        "CREATE TABLE t (file_name text, day date)",
        "SET sql_mode = ''",
        "INSERT INTO t VALUES ('a.png', '2026-05-01'), ('b.png', '0000-00-00')",
    )
    job(world, uri, "SELECT * FROM t ORDER BY file_name")
    ran = world.run("plan", "job.yaml", "--format", "json")
    assert ran.code == 5
    assert "value.range" in ran.out


def test_geometries_are_refused_by_name_where_they_are_used(world: World, mariadb_server: MariaDb) -> None:
    uri = mariadb_server.new_database("CREATE TABLE t AS SELECT 'a.png' AS file_name, point(1, 2) AS place")
    job(world, uri, "SELECT * FROM t")
    ran = world.run("plan", "job.yaml")
    assert ran.code == 2
    assert "the column place is geometry, which cannot be loaded" in ran.err
    job(world, uri, "SELECT * FROM t", metadata={"n": "1"})
    assert world.run("plan", "job.yaml").code == 0


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("INSERT INTO t VALUES ('x')", "its session only reads"),
        ("SELECT weathr FROM t", "weathr"),
        ("SET @a = 1", "the query has no result"),
    ],
)
def test_a_query_that_cannot_be_used_is_named_with_its_place(
    world: World, mariadb_server: MariaDb, query: str, message: str
) -> None:
    uri = mariadb_server.new_database("CREATE TABLE t (file_name text)")
    job(world, uri, query)
    ran = world.run("plan", "job.yaml")
    assert ran.code == 2
    assert message in ran.err
    assert "sources[0].sql.query" in ran.err
    assert mariadb_server.execute("SELECT count(*) FROM t", database=uri.rpartition("/")[2]) == [(0,)]


def test_a_wrong_password_is_not_shown_and_not_tried_again(world: World, mariadb_server: MariaDb) -> None:
    uri = mariadb_server.new_database("CREATE TABLE t (file_name text)")
    job(world, uri.replace("root@", "nobody:canary-pass-8822@"), "SELECT * FROM t")
    ran = world.run("sync", "job.yaml", "-v")
    assert ran.code == 1
    assert "Access denied for user" in ran.err
    assert "canary-pass-8822" not in ran.out + ran.err


def test_a_connection_that_breaks_in_the_middle_is_asked_again_as_a_whole(
    world: World, mariadb_server: MariaDb
) -> None:
    uri = mariadb_server.new_database(
        "CREATE TABLE t AS SELECT 'a.png' AS file_name, seq AS n, repeat('x', 100) AS filling "
        "FROM seq_1_to_100000"
    )
    with relay(mariadb_server.port, [5_000_000]) as broken:
        world.job = {
            "input": "data",
            "tables": {
                "labels": {
                    "sql": {
                        "uri": uri.replace(f":{mariadb_server.port}/", f":{broken.port}/"),
                        "query": "SELECT * FROM t",
                    }
                }
            },
            "sources": [
                {"query": "SELECT file_name, count(*) AS n, sum(n) AS total FROM labels GROUP BY file_name"}
            ],
        }
        world.write_job()
        ran = world.run("sync", "job.yaml", "--format", "json")
    assert ran.code == 0, ran.err
    assert broken.connections >= 2
    assert documents(world) == {"a": {"n": 100_000, "total": 5_000_050_000}}
    assert ran.report["findings"]["source.asked_again"] == 1
