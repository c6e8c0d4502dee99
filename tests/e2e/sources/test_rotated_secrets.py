"""Passwords of databases from files, replaced during a run: read again where the server refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

import metaferry
from e2e.world import World
from metaferry.errors import Denied
from metaferry.tables.readers.lake.options import for_object_store
from servers.mariadb import MariaDb
from servers.postgres import Postgres
from servers.s3 import FastS3

pytestmark = pytest.mark.servers

OLD, NEW = "canary-pass-of-yesterday", "canary-pass-of-today"
TABLE = ("CREATE TABLE t (file_name varchar(20), scene varchar(20))", "INSERT INTO t VALUES ('a.png', 'fog')")


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.put("data/a.png", b"image")
    made.put("secret", f"{OLD}\n")
    return made


def loaded(world: World, sql: dict[str, Any]) -> metaferry.Job:
    """The job as a run has it that began before the secret was replaced."""
    world.job = {"input": "data", "sources": [{"sql": {"query": "SELECT * FROM t", **sql}}]}
    world.write_job()
    return metaferry.Job.load(world.root / "job.yaml")


@pytest.mark.parametrize("place", ["uri", "db_kwargs"])
def test_mariadb_is_asked_again_with_the_new_password(
    world: World, mariadb_server: MariaDb, place: str
) -> None:
    uri = mariadb_server.new_database(*TABLE)
    name = uri.rpartition("/")[2]
    user = f"'{name}'@'127.0.0.1'"
    mariadb_server.execute(f"CREATE USER {user} IDENTIFIED BY '{OLD}'", f"GRANT SELECT ON {name}.* TO {user}")
    file = f"${{file:{world.root}/secret}}"
    at = f"127.0.0.1:{mariadb_server.port}/{name}"
    sql: dict[str, Any] = (
        {"uri": f"mysql://{name}:{file}@{at}"}
        if place == "uri"
        else {"uri": f"mysql://{name}@{at}", "db_kwargs": {"password": file}}
    )
    job = loaded(world, sql)
    mariadb_server.execute(f"ALTER USER {user} IDENTIFIED BY '{NEW}'")
    with pytest.raises(Denied) as caught:  # the file still has the old one
        metaferry.plan(job)
    assert OLD not in str(caught.value)
    world.put("secret", NEW)
    report = metaferry.sync(job)
    assert (report.exit_code, report.documents.create) == (0, 1)
    assert NEW not in repr(report.to_dict())


def test_postgresql_is_asked_again_with_the_new_password(world: World, postgres_server: Postgres) -> None:
    uri = postgres_server.new_database(*TABLE)
    name = urlsplit(uri).path.removeprefix("/")
    role = f"reader{name}"
    postgres_server.execute(
        f"CREATE ROLE {role} LOGIN PASSWORD '{OLD}'", f"GRANT SELECT ON t TO {role}", uri=uri
    )
    plain = postgres_server.of(database=name, user=role, password="in-its-place")
    job = loaded(world, {"uri": plain.replace("in-its-place", f"${{file:{world.root}/secret}}")})
    postgres_server.execute(f"ALTER ROLE {role} PASSWORD '{NEW}'", uri=uri)
    with pytest.raises(Denied):
        metaferry.plan(job)
    world.put("secret", NEW)
    assert metaferry.sync(job).documents.create == 1


def test_a_file_that_is_gone_leaves_the_refusal_as_it_is(world: World, mariadb_server: MariaDb) -> None:
    uri = mariadb_server.new_database(*TABLE)
    job = loaded(world, {"uri": uri.replace("root@", f"nobody:${{file:{world.root}/secret}}@")})
    (world.root / "secret").unlink()
    with pytest.raises(Denied, match="Access denied for user"):
        metaferry.plan(job)


def test_a_delta_table_is_opened_again_with_the_new_credentials(world: World, fast_s3_server: FastS3) -> None:
    deltalake = pytest.importorskip("deltalake", reason="the library of Delta is not here")
    import pyarrow as pa

    url = f"s3://{fast_s3_server.new_bucket()}/labels"
    plain = for_object_store("s3", fast_s3_server.options, "x")
    rows = pa.table({"file_name": ["a.png"], "scene": ["fog"]})
    deltalake.write_deltalake(url, rows, storage_options=dict(plain))
    options = {**fast_s3_server.options, "key": f"${{file:{world.root}/secret}}"}
    world.job = {"input": "data", "sources": [{"delta": url}], "storage": {"s3": options}}
    world.write_job()
    job = metaferry.Job.load(world.root / "job.yaml")
    fast_s3_server.expire(OLD)
    try:
        with pytest.raises(Denied):
            metaferry.plan(job)
        world.put("secret", NEW)
        assert metaferry.sync(job).documents.create == 1
    finally:
        fast_s3_server.renew()
        fast_s3_server.reset()
