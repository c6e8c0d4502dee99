"""A query to PostgreSQL as a source, on a real server: from its rows to the tree, with values written by
hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from e2e.sources.pages import documents
from e2e.world import World
from metaferry.tables.readers.sql.adbc import AdbcRows
from metaferry.tables.readers.sql.pull import Pull
from metaferry.tables.readers.sql.target import target_of
from servers.postgres import Postgres
from servers.process import free_port
from servers.relay import relay

pytestmark = pytest.mark.servers

#: Every type that a document can hold, in ways in which drivers lose something.
LABELS = """
    CREATE TYPE mood AS ENUM ('calm', 'busy');
    CREATE TABLE labels (
        file_name text, n2 smallint, n4 integer, n8 bigint, f4 real, f8 double precision, exact numeric,
        money_in numeric(10,2), day date, moment timestamptz, at timestamp, clock time, id uuid, mood mood,
        tags text[], extra jsonb, ok boolean, code "char"
    );
    INSERT INTO labels VALUES
        ('a.png', 1, 2, 9007199254740991, 0.1, 0.1, 12345678901.123456789, 1.20, '2026-05-01',
         '2026-05-01 12:00:00.5+02', '2026-05-01 12:00', '12:30', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11',
         'calm', ARRAY['x', 'y'], '{"weather": "fog"}', true, 'k'),
        ('b.png', NULL, NULL, NULL, NULL, NULL, 0.5, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
        NULL, NULL)
"""


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    for name in "abc":
        made.put(f"data/{name}.png", b"image")
    return made


@pytest.fixture
def database(postgres_server: Postgres) -> str:
    return postgres_server.new_database(*filter(str.strip, LABELS.split(";")))


def job(world: World, uri: str, query: str, **more: Any) -> None:
    world.job = {"input": "data", "sources": [{"sql": {"uri": uri, "query": query}, **more}]}
    world.write_job()


def test_rows_become_documents_with_every_value_exact(world: World, database: str) -> None:
    job(world, database, "SELECT * FROM labels ORDER BY file_name")
    ran = world.run("sync", "job.yaml", "--format", "json")
    assert ran.code == 0, ran.err
    found = documents(world)
    assert found["b"] == {"exact": 0.5}
    assert found["a"] == {
        "n2": 1,
        "n4": 2,
        "n8": 9007199254740991,
        "f4": 0.1,
        "f8": 0.1,
        "exact": 12345678901.123456789,
        "money_in": 1.2,
        "day": "2026-05-01",
        "moment": "2026-05-01T10:00:00.5Z",
        "at": "2026-05-01T12:00:00",
        "clock": "12:30:00",
        "id": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        "mood": "calm",
        "tags": ["x", "y"],
        "extra": '{"weather": "fog"}',
        "ok": True,
        "code": "k",
    }
    again = world.run("sync", "job.yaml", "--format", "json")
    assert json.loads(again.out)["documents"]["keep"] == 2


def test_decimals_are_exact_in_expressions(world: World, database: str) -> None:
    job(
        world,
        database,
        "SELECT file_name, exact FROM labels",
        metadata={"rest": "exact - 12345678901", "same": "exact = 12345678901.123456789"},
    )
    assert world.run("sync", "job.yaml").code == 0
    assert documents(world)["a"] == {"rest": 0.123456789, "same": True}


def test_values_that_no_document_can_hold_are_rejected_by_column_and_row(
    world: World, postgres_server: Postgres
) -> None:
    uri = postgres_server.new_database(
        "CREATE TABLE t (file_name text, x numeric, day date, moment timestamptz)",
        "INSERT INTO t VALUES ('a.png', 1.5, NULL, NULL), ('b.png', 1e30, NULL, NULL),"
        "('c.png', 1e37 + 0.25, NULL, NULL), ('d.png', 'NaN', NULL, NULL),"
        "('e.png', 1, 'infinity', NULL), ('f.png', 1, NULL, '-infinity')",
    )
    job(world, uri, "SELECT * FROM t ORDER BY file_name")
    world.job["policy"] = {"max_rejects": 10}
    world.write_job()
    ran = world.run("sync", "job.yaml", "--format", "json")
    assert ran.code == 3, ran.err
    (source,) = ran.report["sources"]
    assert (source["read"], source["rejected"]) == (6, 4)
    rejects = {row["row"]: row for row in world.rejects()}
    assert {number: (row["code"], row["column"]) for number, row in rejects.items()} == {
        3: ("value.range", "x"),
        4: ("value.range", "x"),
        5: ("value.range", "day"),
        6: ("value.range", "moment"),
    }
    assert (rejects[4]["value"], rejects[5]["value"], rejects[6]["value"]) == ("nan", "infinity", "-infinity")
    assert documents(world)["a"] == {"x": 1.5}


@pytest.mark.parametrize(
    ("column", "called", "instead"),
    [
        ("'10.0.0.1'::inet AS x", "inet", "x::text"),
        ("1.5::money AS x", "money", "x::numeric"),
        ("5::oid AS x", "oid", "x::bigint"),
        ("ARRAY[1.5::numeric] AS x", "_numeric", "x::text"),
        ("'[1,3)'::int4range AS x", "", "x::text"),
    ],
)
def test_a_type_that_cannot_be_loaded_is_refused_by_name_where_it_is_used(
    world: World, database: str, column: str, called: str, instead: str
) -> None:
    query = f"SELECT file_name, n2, {column} FROM labels"
    job(world, database, query)
    ran = world.run("plan", "job.yaml")
    assert ran.code == 2
    assert f"the column x is {called}" in ran.err
    assert f"cast it in the query: {instead}" in ran.err
    job(world, database, query, metadata={"n2": "n2"})
    assert world.run("plan", "job.yaml").code == 0


def test_what_the_server_says_has_the_place_and_what_to_do(world: World, database: str) -> None:
    job(world, database, "SELECT file_name,\n  weathr\nFROM labels")
    ran = world.run("plan", "job.yaml")
    assert ran.code == 2
    assert "sources[0].sql.query" in ran.err
    assert 'column "weathr" does not exist (line 2 of the query)' in ran.err


@pytest.mark.parametrize(
    "query", ["DELETE FROM labels RETURNING file_name", "SELECT file_name INTO x FROM labels"]
)
def test_a_session_only_reads(world: World, postgres_server: Postgres, database: str, query: str) -> None:
    job(world, database, query)
    ran = world.run("plan", "job.yaml")
    assert ran.code == 2
    assert postgres_server.execute("SELECT count(*) FROM labels", uri=database) == [(2,)]


def test_a_password_is_shown_nowhere(
    world: World, postgres_server: Postgres, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "canary-pass-9313"
    role = f"reader{database.rpartition('/')[2]}"
    postgres_server.execute(
        f"CREATE ROLE {role} LOGIN PASSWORD '{secret}'", f"GRANT SELECT ON labels TO {role}", uri=database
    )
    name = database.rpartition("/")[2]
    monkeypatch.setenv("LABELS_PG", postgres_server.of(database=name, user=role, password=secret))
    job(world, "${LABELS_PG}", "SELECT file_name, n2 FROM labels", metadata={"n2": "n2"})
    for arguments in (
        ["sync", "job.yaml", "-v"],
        ["plan", "job.yaml", "--out", "kept"],
        ["doctor", "job.yaml"],
    ):
        ran = world.run(*arguments)
        assert ran.code == 0, ran.err
        assert secret not in ran.out + ran.err
    monkeypatch.setenv("LABELS_PG", postgres_server.of(database=name, user=role, password=f"{secret}-wrong"))
    ran = world.run("sync", "job.yaml", "-v")
    assert ran.code == 1
    assert secret not in ran.out + ran.err
    for path in world.root.rglob("*"):
        if path.is_file():
            assert secret.encode() not in path.read_bytes(), path
    assert "LABELS_PG" in (world.root / "kept/plan.json").read_text()


def test_a_connection_that_breaks_in_the_middle_is_told_and_all_of_it_is_asked_again(
    world: World, postgres_server: Postgres
) -> None:
    uri = postgres_server.new_database(
        "CREATE TABLE t AS SELECT i AS n, 'a.png' AS file_name, repeat('x', 100) AS filling "
        "FROM generate_series(1, 300000) i"
    )
    parts = uri.replace(f":{postgres_server.port}/", ":{}/")
    query = "SELECT file_name, n, filling FROM t"
    # The first connection of a driver asks for the types alone.
    with relay(postgres_server.port, [None, 20_000_000]) as broken:
        world.job = {
            "input": "data",
            "tables": {"pg": {"sql": {"uri": parts.format(broken.port), "query": query}}},
            "sources": [
                {"query": "SELECT file_name, count(*) AS rows, sum(n) AS total FROM pg GROUP BY file_name"}
            ],
        }
        world.write_job()
        ran = world.run("sync", "job.yaml", "--format", "json")
    assert ran.code == 0, ran.err
    assert broken.connections > 2
    assert documents(world) == {"a": {"rows": 300_000, "total": 45_000_150_000}}
    assert ran.report["findings"].get("source.asked_again") == 1, (ran.err, ran.report)
    assert "all of it is asked again" in ran.err
    (relation,) = ran.report["relations"]
    assert (relation["read"], relation["rejected"]) == (300_000, 0)


def test_a_server_that_is_not_there_is_asked_again_until_the_time_is_over(world: World) -> None:
    job(world, f"postgresql://db@127.0.0.1:{free_port()}/fleet", "SELECT 1")
    world.job["retry_for"] = 0
    world.write_job()
    ran = world.run("plan", "job.yaml")
    assert ran.code == 1
    assert "Connection refused" in ran.err
    assert "network policy" in ran.err


def test_a_table_of_a_database_is_read_by_queries_and_joined(world: World, database: str) -> None:
    world.put("scenes.csv", "file_name,scene\na.png,city\nb.png,highway\n")
    world.job = {
        "input": "data",
        "tables": {
            "pg": {"sql": {"uri": database, "query": "SELECT * FROM labels"}},
            "scenes": "scenes.csv",
        },
        "sources": [
            {
                "query": "SELECT pg.file_name, scene, exact, extra->>'weather' AS weather FROM pg "
                "JOIN scenes s ON s.file_name = pg.file_name"
            }
        ],
    }
    world.write_job()
    ran = world.run("sync", "job.yaml")
    assert ran.code == 0, ran.err
    assert documents(world) == {
        "a": {"scene": "city", "exact": 12345678901.123456789, "weather": "fog"},
        "b": {"scene": "highway", "exact": 0.5},
    }


def test_where_prefix_and_shards_work_as_with_every_table(world: World, database: str) -> None:
    job(
        world,
        database,
        "SELECT * FROM labels",
        where="exact > 1",
        metadata={"twice": "exact * 2", "day": "day"},
    )
    for arguments in (
        ["plan", "job.yaml", "--out", "kept", "--shards", "2", "--prefix", "a"],
        ["sync", "job.yaml", "--plan", "kept", "--shard-index", "0", "--num-shards", "2"],
        ["sync", "job.yaml", "--plan", "kept", "--shard-index", "1", "--num-shards", "2"],
        ["finish", "kept"],
    ):
        ran = world.run(*arguments)
        assert ran.code == 0, ran.err
    assert documents(world) == {"a": {"twice": 24691357802.246913578, "day": "2026-05-01"}}


def test_a_table_without_rows_has_its_types_and_stops_as_an_empty_one_does(
    world: World, database: str
) -> None:
    job(world, database, "SELECT file_name, n2, exact FROM labels WHERE false", metadata={"n": "n2 + exact"})
    world.job["policy"] = {"allow_empty": True}
    world.write_job()
    ran = world.run("sync", "job.yaml", "--format", "json")
    assert ran.code == 0, ran.err
    assert ran.report["findings"] == {"source.empty": 1}


def test_the_text_of_a_database_in_another_encoding_is_read_right(
    world: World, postgres_server: Postgres
) -> None:
    postgres_server.execute("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0")
    uri = postgres_server.of(database="latin")
    postgres_server.execute("CREATE TABLE t AS SELECT 'a.png' AS file_name, chr(233) AS letter", uri=uri)
    job(world, uri, "SELECT * FROM t -- with a comment at its end")
    ran = world.run("sync", "job.yaml")
    assert ran.code == 0, ran.err
    assert documents(world) == {"a": {"letter": "é"}}


def test_a_query_that_runs_for_long_ends_when_the_run_is_to_end(
    postgres_server: Postgres, database: str
) -> None:
    class Unwanted(Exception):
        """The run is to end."""

    def unwanted() -> None:
        raise Unwanted

    target = target_of(database, "", {}, "sql")
    rows = AdbcRows(target, "SELECT 'asked-for-long' AS x, pg_sleep(3600)", "sql")
    with Pull(rows, unwanted) as pull, pytest.raises(Unwanted):
        pull.schema()
    others = "state = 'active' AND pid <> pg_backend_pid()"
    running = f"SELECT count(*) FROM pg_stat_activity WHERE {others} AND query LIKE '%asked-for-long%'"
    assert postgres_server.execute(running, uri=database) == [(0,)]
