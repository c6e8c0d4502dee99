"""The readers that speak of the media themselves (`object:`, `media_facts:`, `telemetry:`) in everything that
a run can be, as `test_readers_everywhere` has it of the others, whose media are no images and no videos."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any, Final

import pytest

import metaferry
from e2e.serving import serving
from e2e.sources.every_media_reader import FRAMES, SOURCES, expected, files, image, sources
from e2e.sources.everywhere import below_a_prefix, by_dask, in_shards
from e2e.sources.pages import documents
from e2e.sources.test_readers_everywhere import Held, assert_nothing_was_written, ends_as_stopped, started
from e2e.stores import Store
from e2e.world import World
from metaferry.progress import Silent
from metaferry.storage.io.portal import Portal
from servers.datasource import FreshDatasource
from servers.proxy import Rule, proxy
from servers.s3 import FastS3

#: How phases of readers begin.
OF_READERS: Final = ("Asking", "Reading", "Joining")


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    for path, data in files().items():
        made.put(f"data/{path}", data)
    made.job = {"input": "data", "sources": sources("data")}
    made.write_job()
    return made


def test_a_plan_in_shards_is_applied_and_finished(world: World) -> None:
    in_shards(world, expected())


def test_dask_workers_apply_what_every_reader_has_read(world: World) -> None:
    by_dask(world, expected())


def test_a_prefix_leaves_the_rest_of_every_source_alone(world: World) -> None:
    below_a_prefix(world, expected())


@pytest.mark.servers
def test_every_reader_tells_how_far_it_is(remote: World, fast_s3_server: FastS3) -> None:
    at_input(remote, new_input(fast_s3_server), {"s3": fast_s3_server.options})
    watched = Watched()
    report = metaferry.sync(metaferry.Job.from_mapping(remote.job), progress=watched)
    assert report.exit_code == 0
    assert [each for each in watched.phases if each[0].startswith(OF_READERS)] == [
        ["Reading object", None, 0],
        ["Asking for facts of the media", None, 4],
        ["Reading media_facts", None, 0],
        ["Reading facts of images", 2, 2],
        ["Reading facts of videos", 2, 2],
        ["Reading telemetry", None, 4],
        ["Reading the listed media", 4, 4],
        ["Reading times of frames", 2, 2],
        ["Joining telemetry", None, 0],
    ]


class Watched(Silent):
    """The name of each phase, its total, and how much of it was done."""

    def __init__(self) -> None:
        self.phases: list[list[Any]] = []

    def phase(self, name: str, total: int | None) -> None:
        self.phases.append([name, total, 0])

    def advance(self, count: int, size: int = 0) -> None:
        self.phases[-1][2] += count


@pytest.fixture
def remote(tmp_path: Path) -> World:
    """A job whose media are on a store (`at_input`), and its documents in the local folder `data`."""
    made = World(tmp_path)
    made.data.mkdir()
    return made


def at_input(
    world: World, url: str, storage: dict[str, Any], names: tuple[str, ...] = tuple(SOURCES)
) -> None:
    world.job = {
        "input": url,
        "lightly": str(world.data),
        "storage": storage,
        "sources": sources(url, names),
    }
    world.write_job()


def new_input(server: FastS3) -> str:
    """The files in a bucket of their own: its URL."""
    bucket = server.new_bucket()
    for path, data in files().items():
        server.put(bucket, path, data)
    return f"s3://{bucket}"


@pytest.mark.slow
def test_serve_reads_every_source_again_for_each_run(world: World) -> None:
    with serving(world, "--every", "1s", "--jitter", "0", "--format", "json") as it:
        first = json.loads(it.line())
        assert (first["exit_code"], first["documents"]["create"]) == (0, len(expected())), first
        for path, data in files(5).items():
            world.put("new", data).replace(world.data / path)
        updated = 0
        while updated < 2 + 2 * FRAMES:  # a run may begin between two of the files
            run = json.loads(it.line())
            assert run["exit_code"] == 0, run
            updated += run["documents"]["update"]
        assert it.end() == 143
    assert documents(world) == expected(5)


@pytest.mark.servers
@pytest.mark.parametrize("kind", ["fast_s3", "gcs", "fast_azure"])
def test_media_on_a_store_are_read_whole_though_connections_break(
    remote: World, kind: str, fresh_datasource: FreshDatasource, portal: Portal, request: Any
) -> None:
    """The first answer with bytes of each kind of file ends in its middle, or never comes."""
    url, options = fresh_datasource(kind)
    server = request.getfixturevalue(f"{kind}_server")
    with proxy(server.endpoint) as before:
        store = Store(kind.removeprefix("fast_"), url, options, before, portal, server)
        store.put_all(files())
        cut = [Rule("truncate", "GET", rf"/{name}(\?.*)?$") for name in ("a.jpg", "drive.mp4", "drive.gpx")]
        if store.vendor == "s3":
            cut.append(Rule("drop", "HEAD", r"/a\.jpg$"))
        for rule in cut:
            store.spoil(rule)
        at_input(remote, url.rstrip("/"), {url.partition("://")[0]: store.options})
        ran = remote.run("sync", "job.yaml", "--format", "json", "-v")
        store.close()
    assert ran.code == 0, ran.err
    assert [rule.used for rule in cut] == [1] * len(cut)
    assert documents(remote) == expected()


@pytest.mark.servers
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "method", "key"),
    [
        ("object", "HEAD", r"\.jpg"),
        ("media_facts", "GET", r"\.jpg"),
        ("telemetry", "GET", r"\.gpx"),
        ("telemetry", "GET", r"\.mp4"),
    ],
    ids=["object", "media_facts", "recording", "times"],
)
def test_a_run_that_is_stopped_while_it_reads_ends_and_has_written_nothing(
    remote: World, name: str, method: str, key: str, fast_s3_server: FastS3
) -> None:
    url = new_input(fast_s3_server)
    with proxy(fast_s3_server.endpoint) as before:
        held = before.add(Held("wait", method, rf"{key}(\?.*)?$", times=1_000, seconds=3_600))
        at_input(remote, url, {"s3": {**fast_s3_server.options, "endpoint_url": before.endpoint}}, (name,))
        with started(remote) as process:
            held.act = lambda: process.send_signal(signal.SIGTERM)
            ends_as_stopped(process)
    assert held.used
    assert_nothing_was_written(remote)


@pytest.mark.servers
@pytest.mark.slow
def test_more_media_and_samples_than_a_batch_are_read_with_little_memory(
    remote: World, fast_s3_server: FastS3
) -> None:
    count, more = 150_000, 5_000
    url = new_input(fast_s3_server)
    bucket = url.removeprefix("s3://")
    fast_s3_server.seed(bucket, [f"more/{n:05d}.jpg" for n in range(more)], image("mm"))
    start = 1_777_636_800_000  # 2026-05-01T12:00:00Z in milliseconds
    rows = "".join(f"{start + at},{at},first/drive.mp4\n" for at in range(count))
    (remote.root / "can.csv").write_text(f"t,ms,video\n{rows}")
    at_input(remote, url, {"s3": fast_s3_server.options})
    remote.job["sources"][2] |= {
        "telemetry": {"table": "can.csv"},
        "video": "video",
        "time": {"column": "t", "unit": "ms"},
        "metadata": {"ms": {"linear": "ms"}},
    }
    remote.job |= {"memory_limit": "128MB"}
    remote.write_job()
    ran = remote.run("sync", "job.yaml", "--format", "json")
    assert ran.code == 0, ran.err
    found = documents(remote)
    assert len(found) == 2 + 2 + FRAMES + more
    assert [found[f"first/drive-{n}-mp4"]["ms"] for n in range(FRAMES)] == [0, 40, 80, 120]
    assert found[f"more/{more - 1:05d}"] == expected()["first/a"]
    (samples,) = [each for each in ran.report["relations"] if each["name"] == "telemetry.samples"]
    assert samples["read"] == count
