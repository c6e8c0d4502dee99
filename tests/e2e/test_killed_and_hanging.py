"""docs/failures.md, the rows of runs that are killed or hang, and of a `serve` that does."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.memory import no_memory
from e2e.serving import Bucket, Serving, get, many_images, metrics, serving
from e2e.test_failures import PAGE, Row, rows
from e2e.world import ENVIRONMENT, World
from metaferry.demo import make_dataset
from servers.s3 import FastS3

pytestmark = [pytest.mark.slow, pytest.mark.servers]


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    dataset = make_dataset(tmp_path_factory.mktemp("demo"))
    return (dataset.media / dataset.images[0]).read_bytes()


@pytest.fixture
def world(tmp_path: Path, picture: bytes) -> World:
    world = World(tmp_path)
    world.put("data/images/a.png", picture)
    world.put("tables/labels.csv", "file_name,scene\nimages/a.png,city\n")
    world.job = {"input": "data", "sources": [{"table": "tables/labels.csv"}]}
    world.write_job()
    return world


@pytest.fixture
def bucket(world: World, fast_s3_server: FastS3, picture: bytes) -> Iterator[Bucket]:
    with many_images(world, fast_s3_server, picture) as made:
        yield made


def row(failure: str) -> Row:
    (found,) = (each for each in rows() if each.failure == failure)
    return found


def says(text: str, failure: str) -> bool:
    return re.search(".*".join(map(re.escape, row(failure).log.split("…"))), text) is not None


def child(it: Serving) -> int:
    """The process of the run under way."""
    (found,) = Path(f"/proc/{it.process.pid}/task/{it.process.pid}/children").read_text().split()
    return int(found)


def is_killed(world: World, bucket: Bucket, kill: Callable[[int], None]) -> None:
    """A run whose process is killed at its first document, and the next one."""
    bucket.answers_slowly()
    process = subprocess.Popen(
        [sys.executable, "-m", "metaferry", "sync", "job.yaml", "-v"],
        cwd=world.root,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    bucket.at_the_first_document(lambda: kill(process.pid))
    out, _ = process.communicate(timeout=120)
    assert 128 - process.returncode == row("run killed").code  # as a shell and a container say it
    assert out == ""
    assert bucket.reports() == []
    assert bucket.documents() < 300
    bucket.server.set(latency_ms=0)
    ran = world.run("sync", "job.yaml", "-v")
    assert ran.code == 0, ran.err
    assert says(ran.err, "run killed"), ran.err
    assert bucket.documents() == 300


def test_a_run_that_is_killed(world: World, bucket: Bucket) -> None:
    is_killed(world, bucket, lambda pid: os.kill(pid, signal.SIGKILL))


def test_a_run_that_the_kernel_kills_for_lack_of_memory(world: World, bucket: Bucket) -> None:
    """By a limit of its group of processes, as a container has one: nobody sends a signal."""
    with no_memory() as group:
        is_killed(world, bucket, group.take_in)
        assert group.killed() == 1


def test_a_run_of_serve_that_is_killed(world: World, bucket: Bucket) -> None:
    """As the kernel does where memory is short, which nobody can tell from anybody else's."""
    expected = row("run of serve killed")
    with serving(world, "--every", "1d", "--format", "json", "-v") as it:
        url = it.address()
        bucket.at_the_first_document(lambda: os.kill(child(it), signal.SIGKILL))
        killed = json.loads(it.line())
        assert says(killed["error"], "run of serve killed")
        assert "lack of memory" in killed["advice"]
        values = metrics(url)
        assert values[expected.metric,] == killed["exit_code"] == expected.code
        assert values["metaferry_runs_total", str(expected.code)] == 1
        assert get(f"{url}/healthz/ready")[0] == 503
        assert it.end() == 143


def test_a_run_that_hangs(world: World, bucket: Bucket) -> None:
    """Its process stands still, as in a call of the system that does not return."""
    expected = row("run hangs")
    with serving(world, "--every", "1s", "--jitter", "0", "--format", "json") as it:
        url = it.address()
        stopped: list[int] = []

        def stop() -> None:
            stopped.append(child(it))
            os.kill(stopped[0], signal.SIGSTOP)

        bucket.at_the_first_document(stop)
        while not stopped:  # it says so while it still goes on, too
            it.hear("is still going on after")
        assert says(it.hear("is still going on after"), "run hangs")
        values = metrics(url)
        assert values["metaferry_run_active",] == 1
        assert values[expected.metric,] > 0
        assert get(f"{url}/healthz/live")[0] == 200, "a restart would not mend a store that hangs"
        os.kill(stopped[0], signal.SIGKILL)
        killed = json.loads(it.line())
        assert killed["exit_code"] == expected.code
        mended = json.loads(it.line())
        assert (mended["exit_code"], bucket.documents()) == (0, 300)
        assert it.end() == 143


def test_a_serve_that_hangs(world: World) -> None:
    """The process stands still: it answers nobody, and whoever starts it anew finds the last success."""
    expected = row("serve hangs")
    assert (expected.log, expected.metric) == ("nothing any more", "up")
    with serving(world, "--every", "1d") as it:
        url = it.address()
        assert "done (exit code 0)" in it.line()
        success = metrics(url)["metaferry_last_success_timestamp_seconds",]
        it.process.send_signal(signal.SIGSTOP)
        for path in ("/metrics", "/healthz/live"):
            with (
                pytest.raises((TimeoutError, urllib.error.URLError)),
                urllib.request.urlopen(f"{url}{path}", timeout=2),
            ):
                pass
        it.process.kill()
        assert 128 - it.process.wait(60) == expected.code
    with serving(world, "--cron", "0 0 1 1 *") as it:
        url = it.address()
        while ("metaferry_last_success_timestamp_seconds",) not in (values := metrics(url)):
            assert it.process.poll() is None
        assert abs(values["metaferry_last_success_timestamp_seconds",] - success) < 60
        assert it.end() == 143


TRIED: dict[str, Callable[..., Any]] = {
    "run killed": test_a_run_that_is_killed,
    "run of serve killed": test_a_run_of_serve_that_is_killed,
    "run hangs": test_a_run_that_hangs,
    "serve hangs": test_a_serve_that_hangs,
}


def test_the_alerts_that_the_page_names_exist() -> None:
    rules = (Path(__file__).parents[2] / "deploy/monitoring/rules.yaml").read_text()
    named = set(re.findall(r"`(Metaferry\w+)`", PAGE))
    assert named
    assert {name for name in named if f"alert: {name}\n" not in rules} == set()
