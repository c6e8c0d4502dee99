"""The log of a run: every line names it, and how much is said does not grow with what is done."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from e2e.stores import DOCUMENT, Meanwhile
from e2e.world import ENVIRONMENT, World
from metaferry.demo import make_dataset
from metaferry.runid import current, during
from servers.ministack import options_for
from servers.proxy import proxy
from servers.s3 import FastS3

IMAGES = 300
JSON = ("--log-format", "json", "--format", "json")
RUN = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}")


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    dataset = make_dataset(tmp_path_factory.mktemp("demo"))
    return (dataset.media / dataset.images[0]).read_bytes()


@pytest.fixture
def world(tmp_path: Path, picture: bytes) -> World:
    """300 images; rows for them, and 200 rows for what is not there."""
    world = World(tmp_path)
    names = [f"images/{number}.png" for number in range(IMAGES)]
    for name in names:
        world.put(f"data/{name}", picture)
    rows = [f"{name},city" for name in names] + [f"gone/{number}.png,road" for number in range(200)]
    world.put("tables/labels.csv", "file_name,scene\n" + "\n".join(rows) + "\n")
    world.job = {"input": "data", "sources": [{"name": "labels", "table": "tables/labels.csv"}]}
    return world


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def unwritten(report: dict[str, Any]) -> int:
    return int(report["documents"]["failed"] + report["documents"]["conflict"])


def test_nothing_is_said_of_each_object_above_debug(world: World) -> None:
    """A third of the documents cannot be written, and 200 rows are for nothing."""
    for number in range(0, IMAGES, 3):
        (world.data / f".lightly/metadata/images/{number}.json").mkdir(parents=True)
    world.write_job()
    quiet = world.run("sync", "job.yaml", *JSON)
    assert quiet.code == 3, quiet.out
    assert unwritten(quiet.report) == IMAGES / 3
    assert lines(quiet.err) == []
    told = world.run("sync", "job.yaml", "-v", *JSON)
    assert unwritten(told.report) == IMAGES / 3
    assert len(lines(told.err)) < 20
    assert ".png" not in told.err
    assert ".json:" not in told.err


def test_every_line_names_its_run(world: World) -> None:
    """A damaged ledger and cache, which the log names; and a run that fails, which its last line tells."""
    world.write_job()
    first = world.run("sync", "job.yaml", "--format", "json")
    for path in (world.data / ".metaferry").rglob("*.parquet"):
        path.write_bytes(b"no parquet")
    again = world.run("sync", "job.yaml", "-vv", "--log-format", "json", "--format", "json")
    said = lines(again.err)
    assert again.report["run_id"] != first.report["run_id"]
    assert said
    assert {line["run_id"] for line in said} == {again.report["run_id"]}
    assert any("ledger" in line["message"] for line in said)
    assert {"time", "level", "logger", "message"} <= set(said[0])

    (world.root / "tables/labels.csv").unlink()
    failed = world.run("sync", "job.yaml", "--log-format", "json")
    (line,) = lines(failed.err)
    assert (failed.code, line["level"]) == (2, "error")
    assert RUN.fullmatch(line["run_id"])
    assert line["run_id"] not in (again.report["run_id"], first.report["run_id"])


def test_what_a_command_tells_its_user_is_no_warning(world: World) -> None:
    ran = world.run("init", "here", "-q")
    assert (ran.code, ran.err) == (0, "")
    ran = world.run("demo", "there", *JSON)
    assert {line["level"] for line in lines(ran.err)} == {"info"}


class AtTheFirst(Meanwhile):
    def matches(self, method: str, key: str, headers: Mapping[str, str]) -> bool:
        if self.used == 0 and method == "PUT" and re.search(DOCUMENT, key):
            self.used = 1
            self.act()
        return False


@pytest.mark.servers
def test_what_worker_processes_say_is_in_the_runs_log(world: World, fast_s3_server: FastS3) -> None:
    """They give up what is under way, since the grace is short and the store is slow."""
    with proxy(fast_s3_server.endpoint) as before:
        options = options_for(before.endpoint, fast_s3_server.key, fast_s3_server.secret)
        world.job["lightly"] = {"url": f"s3://{fast_s3_server.new_bucket()}/fleet", "options": options}
        world.job |= {"workers": 2, "concurrency": 4, "grace": 0}
        world.write_job()
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "metaferry",
                "sync",
                "job.yaml",
                "--log-format",
                "json",
                "--format",
                "json",
            ],
            cwd=world.root,
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        rule = AtTheFirst("status", "PUT", DOCUMENT)

        def act() -> None:
            fast_s3_server.set(latency_ms=100)
            process.send_signal(signal.SIGTERM)

        rule.act = act
        before.add(rule)
        try:
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
            process.communicate()
            fast_s3_server.reset()
    assert process.returncode == 143
    given_up = [line for line in lines(err) if "given up" in line["message"]]
    assert given_up
    assert {line["run_id"] for line in given_up} == {json.loads(out)["run_id"]}
    assert {line["logger"] for line in given_up} == {"metaferry.apply.apply"}


def test_among_several_runs_none_is_named() -> None:
    with during("a"):
        assert current() == "a"
        with during("b"):
            assert current() == ""
        assert current() == "a"
    assert current() == "b", "the last that began"
