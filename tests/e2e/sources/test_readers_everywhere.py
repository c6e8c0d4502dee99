"""Every reader of sources in everything that a run can be: shards, Dask, a prefix, `serve`, a run that is
stopped while it reads, stores over the wire that break connections, little memory."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from e2e.sources.every_reader import OF_FILES, OF_LAKES, READERS, Sources, expected, media
from e2e.sources.everywhere import below_a_prefix, by_dask, in_shards
from e2e.sources.pages import documents
from e2e.stores import Store
from e2e.test_serve import serving
from e2e.world import CANARIES, ENVIRONMENT, World
from metaferry.storage.io.portal import Portal
from servers.datasource import FreshDatasource
from servers.process import wait_until
from servers.proxy import Rule, proxy
from servers.s3 import FastS3

#: Requests for the bytes of each source, in a path and query as the proxy sees it.
BYTES = {
    **{name: rf"/{name}\.(json|xml|ndjson)" for name in OF_FILES},
    "nuscenes": r"/nuscenes/sample_data\.json",
    **{name: rf"/{name}/.*\.parquet" for name in OF_LAKES},
}


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    """A source of each reader in the folder `sources`."""
    folder = tmp_path / "sources"
    folder.mkdir()
    made = Sources(str(folder), lambda path, data: World(tmp_path).put(f"sources/{path}", data), folder)
    made.write()
    return made


@pytest.fixture
def world(tmp_path: Path, sources: Sources) -> World:
    """The job with all of them."""
    made = World(tmp_path)
    for path in media():
        made.put(f"data/{path}", b"image")
    made.job = {"input": "data", "sources": [sources.of(name) for name in READERS]}
    made.write_job()
    return made


def test_a_plan_in_shards_is_applied_and_finished(world: World) -> None:
    in_shards(world, expected())


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


def test_dask_workers_apply_what_every_reader_has_read(world: World) -> None:
    by_dask(world, expected())


def test_a_prefix_leaves_the_rest_of_every_source_alone(world: World) -> None:
    for source in below_a_prefix(world, expected()):
        assert source["used"] == 1, source


@pytest.mark.slow
def test_sources_larger_than_a_batch_are_read_with_little_memory(world: World, sources: Sources) -> None:
    """Rows by the hundred thousand, and elements of megabytes."""
    sources.write(count=10_000, rows=150_000)
    world.job |= {"memory_limit": "128MB"}
    world.write_job()
    ran = world.run("sync", "job.yaml", "--format", "json")
    assert ran.code == 0, ran.err
    assert documents(world) == expected(count=10_000)
    read = {source["name"]: source["read"] for source in ran.report["sources"]}
    assert {read[name] for name in ("sql", *OF_LAKES)} == {150_002}


def test_what_a_plan_keeps_of_a_job_has_no_secret(
    world: World, sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers take the values from their own environment."""
    key = CANARIES[0]
    monkeypatch.setenv("LABELS_DB", f"sqlite:///{sources.folder}/labels.db")
    monkeypatch.setenv("LABELS_KEY", key)
    world.job["storage"] = {"s3": {"key": "${LABELS_KEY}", "secret": "${LABELS_KEY}"}}
    for source in world.job["sources"]:
        if "sql" in source:
            source["sql"]["uri"] = "${LABELS_DB}"
    world.write_job()
    assert world.run("plan", "job.yaml", "--out", "kept", "-vv").code == 0
    kept = (world.root / "kept/plan.json").read_text()
    assert "${LABELS_DB}" in kept
    assert "${LABELS_KEY}" in kept
    for path in [*(world.root / "kept").rglob("*"), *(world.data / ".metaferry").rglob("*")]:
        assert not path.is_file() or key.encode() not in path.read_bytes(), path


@pytest.mark.slow
def test_serve_reads_every_source_again_for_each_run(world: World, sources: Sources) -> None:
    with serving(world, "--every", "1s", "--jitter", "0", "--format", "json") as it:
        first = json.loads(it.line())
        assert (first["exit_code"], first["documents"]["create"]) == (0, len(expected())), first
        for name in READERS:
            sources.write([name], 5)
        updated = 0
        while updated < len(READERS):  # a run may begin between two of the sources
            run = json.loads(it.line())
            assert run["exit_code"] == 0, run
            updated += run["documents"]["update"]
        assert it.end() == 143
    assert documents(world) == expected(count=5)


class Held(Rule):
    """Acts when the first matching request arrives, which gets no answer for as long as anybody waits."""

    act: Callable[[], None]

    def matches(self, method: str, key: str, headers: Mapping[str, str]) -> bool:
        found = super().matches(method, key, headers)
        if found and not self.used:
            self.act()
        return found


@pytest.mark.servers
@pytest.mark.slow
@pytest.mark.parametrize("name", ["coco", "cvat", "nuscenes", "labelbox", *OF_LAKES])
def test_a_run_that_is_stopped_while_it_reads_ends_and_has_written_nothing(
    world: World, name: str, fast_s3_server: FastS3, portal: Portal
) -> None:
    bucket = fast_s3_server.new_bucket()
    with proxy(fast_s3_server.endpoint) as before:
        url = f"s3://{bucket}/labels"
        store = Store("s3", url, fast_s3_server.options, before, portal, fast_s3_server)
        (world.root / "here").mkdir()
        sources = Sources(url, store.put, world.root / "here")
        sources.write([name])
        held = Held("wait", "GET", BYTES[name], times=1_000, seconds=3_600)
        world.job |= {"sources": [sources.of(name)], "storage": {"s3": store.options}}
        world.write_job()
        with started(world) as process:
            held.act = lambda: process.send_signal(signal.SIGTERM)
            store.spoil(held)
            ends_as_stopped(process)
        store.close()
    assert held.used
    assert_nothing_was_written(world)


@pytest.mark.slow
def test_a_run_that_is_stopped_while_a_database_file_answers_ends_too(world: World, sources: Sources) -> None:
    query = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT count(*) AS n FROM c"
    world.job["sources"] = [sources.of("sql")]
    world.source["sql"] |= {"query": query}
    world.write_job()
    with started(world) as process:
        wait_until(lambda: "labels.db" in open_files(process), process)
        process.send_signal(signal.SIGTERM)
        ends_as_stopped(process)
    assert_nothing_was_written(world)


@contextlib.contextmanager
def started(world: World) -> Iterator[subprocess.Popen[str]]:
    """`metaferry sync` as the first process of a group of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "metaferry", "sync", "job.yaml", "--log-format", "json", "-v"],
        cwd=world.root,
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def open_files(process: subprocess.Popen[str]) -> set[str]:
    """The names of the files that it has open."""
    found = set()
    with contextlib.suppress(FileNotFoundError):  # closed meanwhile
        for descriptor in Path(f"/proc/{process.pid}/fd").iterdir():
            found.add(os.readlink(descriptor).rpartition("/")[2])
    return found


def ends_as_stopped(process: subprocess.Popen[str]) -> None:
    """Waits for it to end as SIGTERM ends it, with all that it started."""
    _, err = process.communicate(timeout=120)
    assert process.returncode == 143, err
    assert "Traceback" not in err
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


def assert_nothing_was_written(world: World) -> None:
    assert not (world.data / ".lightly").exists()
    assert not list(world.data.glob(".metaferry/lease*"))
