"""Every reader of sources in everything that a run can be: shards, Dask, a prefix, `serve`, a run that is
stopped while it reads, stores over the wire that break connections, little memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from e2e.sources.every_reader import OF_FILES, OF_LAKES, READERS, Sources, expected, media
from e2e.sources.pages import documents
from e2e.stores import Store
from e2e.world import World
from metaferry.storage.io.portal import Portal
from servers.datasource import FreshDatasource
from servers.proxy import Rule, proxy


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A job with a source of each reader, all of them in the folder `sources`."""
    made = World(tmp_path)
    for path in media():
        made.put(f"data/{path}", b"image")
    (tmp_path / "sources").mkdir()
    sources_of(made).write()
    made.job = {"input": "data", "sources": [sources_of(made).of(name) for name in READERS]}
    made.write_job()
    return made


def sources_of(world: World) -> Sources:
    folder = world.root / "sources"
    return Sources(str(folder), lambda path, data: world.put(f"sources/{path}", data), folder)


def test_a_plan_in_shards_is_applied_and_finished(world: World) -> None:
    assert world.run("plan", "job.yaml", "--out", "kept", "--shards", "2").code == 0
    for share in "01":
        ran = world.run("sync", "job.yaml", "--plan", "kept", "--shard-index", share, "--num-shards", "2")
        assert ran.code == 0, ran.err
    ran = world.run("finish", "kept", "--format", "json")
    assert ran.code == 0, ran.err
    assert documents(world) == expected()
    again = world.run("sync", "job.yaml", "--format", "json")
    assert (again.code, again.report["documents"]["keep"]) == (0, len(expected())), again.err


@pytest.mark.servers
@pytest.mark.parametrize("kind", ["fast_s3", "gcs", "fast_azure"])
def test_sources_on_a_store_are_read_whole_though_connections_break(
    world: World, kind: str, fresh_datasource: FreshDatasource, portal: Portal, request: Any
) -> None:
    """The first answer with the bytes of each source ends in its middle."""
    url, options = fresh_datasource(kind)
    server = request.getfixturevalue(f"{kind}_server")
    with proxy(server.endpoint) as before:
        store = Store(kind.removeprefix("fast_"), url, options, before, portal, server)
        sources = Sources(url.rstrip("/"), store.put, world.root / "here")
        (world.root / "here").mkdir()
        sources.write(count=3)
        names = [name for name in READERS if name != "sql"]
        cut = {name: Rule("truncate", "GET", BYTES[name]) for name in names}
        for rule in cut.values():
            store.spoil(rule)
        scheme = url.partition("://")[0]
        world.job |= {"sources": [sources.of(name) for name in READERS], "storage": {scheme: store.options}}
        world.write_job()
        ran = world.run("sync", "job.yaml", "--format", "json", "-v")
        store.close()
    assert ran.code == 0, ran.err
    assert documents(world) == expected(names, 3) | expected(["sql"], 3)
    assert {name: rule.used for name, rule in cut.items()} == dict.fromkeys(names, 1)


#: Requests for the bytes of each source, in a path and query as the proxy sees it.
BYTES = {
    **{name: rf"/{name}\.(json|xml|ndjson)" for name in OF_FILES},
    "nuscenes": r"/nuscenes/sample_data\.json",
    **{name: rf"/{name}/.*\.parquet" for name in OF_LAKES},
}
