"""`metaferry serve` as a process: its runs, its HTTP, signals during a run and between two, a run that
is killed, a job file that changes. Nothing here waits for a time; everything waits for what it can see."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from e2e.serving import LONG, Bucket, get, many_images, metrics, serving
from e2e.world import ENVIRONMENT, World
from metaferry.cli.serve.child import Runner, RunRequest
from metaferry.demo import make_dataset
from metaferry.progress import Stop
from servers.collectors import gateway
from servers.s3 import FastS3

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    dataset = make_dataset(tmp_path_factory.mktemp("demo"))
    return (dataset.media / dataset.images[0]).read_bytes()


@pytest.fixture
def world(tmp_path: Path, picture: bytes) -> World:
    world = World(tmp_path)
    for name in ("a.png", "b.png"):
        world.put(f"data/images/{name}", picture)
    world.put("tables/labels.csv", "file_name,scene\nimages/a.png,city\nimages/b.png,road\n")
    world.job = {
        "input": "data",
        "sources": [{"name": "labels", "table": "tables/labels.csv"}],
        "metrics": {"job": "fleet"},
    }
    world.write_job()
    return world


def test_runs_failures_and_what_it_answers(world: World) -> None:
    """One process through its life: a good run, a job file that is broken, mended, and changed again."""
    with serving(world, "--every", "1s", "--jitter", "0", "--format", "json") as it:
        url = it.address()
        first = json.loads(it.line())
        assert (first["exit_code"], first["documents"]["create"], first["error"]) == (0, 2, "")
        assert (world.run_folders()[-1] / "run.json").exists()

        code, kind, body = get(f"{url}/healthz/ready")
        account = json.loads(body)
        assert (code, kind, account["job"], account["ready"]) == (200, "application/json", "fleet", True)
        assert account["last_good_run"]["exit_code"] == 0
        assert account["last_good_age_seconds"] >= 0
        code, kind, _ = get(f"{url}/metrics")
        assert code == 200
        assert kind.startswith("text/plain; version=")
        open_metrics = get(f"{url}/metrics", Accept="application/openmetrics-text; version=1.0.0")
        assert open_metrics[1].startswith("application/openmetrics-text")
        assert open_metrics[2].endswith("# EOF\n")
        assert get(f"{url}/")[0] == 404
        assert get(f"{url}/healthz/other")[0] == 404

        text = (world.root / "job.yaml").read_text()
        world.put("job.yaml", "input: data\nsorces: []\n")
        while (broken := json.loads(it.line()))["exit_code"] == 0:
            assert broken["documents"]["create"] == 0, "a second run writes nothing"
        assert broken["exit_code"] == 2
        assert "sources: is missing" in broken["error"]
        assert get(f"{url}/healthz/ready")[0] == 503
        assert get(f"{url}/healthz/live")[0] == get(f"{url}/healthz")[0] == 200
        values = metrics(url)
        assert values["metaferry_last_run_exit_code",] in (2, 0)
        assert values["metaferry_runs_total", "2"] >= 1
        assert values["process_resident_memory_bytes",] > 1 << 20
        assert values["process_start_time_seconds",] > 0
        assert values["metaferry_documents_total", "create"] == 2
        assert ("metaferry_last_success_timestamp_seconds",) in values

        world.put("tables/labels.csv", "file_name,scene\nimages/a.png,market\nimages/b.png,road\n")
        world.put("job.yaml", text)
        while (mended := json.loads(it.line()))["exit_code"] != 0:
            assert mended["exit_code"] == 2
        assert mended["documents"]["update"] == 1
        assert get(f"{url}/healthz/ready")[0] == 200
        assert it.end() == 143


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_before_its_handlers_stand_drains_the_run(
    world: World, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """The process of the run gets it while it is still importing: it was reported as killed."""
    monkeypatch.chdir(world.root)
    monkeypatch.setenv("PYTHONPATH", ENVIRONMENT["PYTHONPATH"])
    stop = Stop()
    runner = Runner(RunRequest("job.yaml", (), False, 0, "text"), stop, now=lambda: datetime.now(UTC))
    stop.request(number)  # so that it is passed on as soon as there is a process
    finished = runner.run()
    assert finished.exit_code == 128 + number
    assert "killed" not in finished.error
    assert "interrupted" in finished.error
    assert not (world.data / ".lightly").exists()
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set(), "and holds nothing back here"


def test_a_restart_knows_of_the_last_success(world: World) -> None:
    """Without a run of its own: it is ready, and an alert on the age of the last success stays quiet."""
    seldom = ("--cron", "0 0 1 1 *")
    with serving(world, *seldom) as it:
        url = it.address()
        assert get(f"{url}/healthz/ready")[0] == 503, "no run has ever ended"
        assert it.end() == 143
    assert world.run("sync", "job.yaml").code == 0
    report = json.loads((world.run_folders()[-1] / "run.json").read_text())
    with serving(world, *seldom) as it:
        url = it.address()
        ready: tuple[int, str, str] = (0, "", "")
        while ready[0] != 200:  # it listens before it has read what was left
            assert it.process.poll() is None
            ready = get(f"{url}/healthz/ready")
        account = json.loads(ready[2])
        assert account["last_good_run"]["run_id"] == account["last_run"]["run_id"] == report["run_id"]
        assert account["runs"] == 0
        values = metrics(url)
        finished = datetime.fromisoformat(report["finished"]).timestamp()
        assert values["metaferry_last_success_timestamp_seconds",] == finished
        assert values["metaferry_last_run_documents", "create"] == 2
        assert it.end() == 143
    # A state folder that cannot be read is no reason not to begin.
    (world.data / ".metaferry").rename(world.root / "away")
    (world.data / ".metaferry").write_text("no folder")
    with serving(world, *seldom) as it:
        assert get(f"{it.address()}/healthz/live")[0] == 200
        assert it.end() == 143


def test_between_runs_a_signal_ends_it_at_once(world: World) -> None:
    for number, code in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        with serving(world, *LONG) as it:
            line = it.line()
            assert "done (exit code 0)" in line
            assert it.end(number) == code


@pytest.fixture
def bucket(world: World, fast_s3_server: FastS3, picture: bytes) -> Iterator[Bucket]:
    with many_images(world, fast_s3_server, picture) as made:
        yield made


@pytest.mark.servers
def test_a_signal_during_a_run_is_passed_on_and_the_run_drains(world: World, bucket: Bucket) -> None:
    with gateway() as at:
        world.job["metrics"]["gateway"] = at.url
        world.write_job()
        with serving(world, *LONG, "--format", "json") as it:
            seen: list[Any] = []
            url = it.address()

            def act() -> None:
                seen.append((get(f"{url}/healthz"), get(f"{url}/healthz/ready")[0], metrics(url)))
                it.process.send_signal(signal.SIGTERM)

            bucket.answers_slowly()
            bucket.at_the_first_document(act)
            report = json.loads(it.line())
            assert it.wait() == 143
        (health, ready, values) = seen[0]
        assert (health[0], json.loads(health[2])["running"], ready) == (200, True, 503)
        assert values["metaferry_run_active",] == 1
        # Of the run, which is another process than the loop and began after it.
        assert values["metaferry_run_process_resident_memory_bytes",] > 1 << 20
        started = "process_start_time_seconds"
        assert values[f"metaferry_run_{started}",] > values[started,]
        assert (report["exit_code"], report["error"]) == (143, "")
        counts = report["documents"]
        assert 1 <= counts["create"] == bucket.documents() < 300
        assert counts["create"] + counts["deferred"] == 300
        assert [each["exit_code"] for each in bucket.reports()] == [143]
        (group,) = at.groups.values()
        assert {n for (name, _), n in group.items() if name == "metaferry_last_run_exit_code"} == {143}


@pytest.mark.servers
def test_a_run_that_is_killed_does_not_end_the_loop(world: World, bucket: Bucket) -> None:
    with serving(world, "--every", "1s", "--format", "json") as it:
        it.address()

        def act() -> None:
            (child,) = Path(f"/proc/{it.process.pid}/task/{it.process.pid}/children").read_text().split()
            os.kill(int(child), signal.SIGKILL)

        bucket.at_the_first_document(act)
        killed, mended = json.loads(it.line()), json.loads(it.line())
        assert (killed["exit_code"], killed["error"]) == (
            137,
            "the process of the run was killed by signal 9",
        )
        assert "lack of memory" in killed["advice"]
        assert mended["exit_code"] == 0
        assert bucket.documents() == 300
        assert it.end() == 143


@pytest.mark.servers
def test_a_run_whose_loop_is_killed_drains_and_ends(world: World, bucket: Bucket) -> None:
    """Else it would go on beside the one that a new loop begins."""
    with serving(world, *LONG) as it:
        it.address()
        bucket.answers_slowly()
        bucket.at_the_first_document(it.process.kill)
        assert it.wait() == -signal.SIGKILL  # its streams too: the run had them, and ended
        (report,) = bucket.reports()
        assert report["exit_code"] == 143
        assert bucket.documents() == report["documents"]["create"] < 300


# -- what is wrong from the beginning


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ((), 2, "exactly one of --every and --cron"),
        (("--every", "soon"), 2, "--every should be a time such as"),
        (("--every", "5m", "--jitter", "x"), 2, "--jitter should be a time"),
        (("--cron", "* * *"), 2, "not a cron expression"),
        (("--every", "5m", "--set", "sources=[]"), 2, "sources: should not be empty"),
        (("--every", "5m", "--port", "70000"), 2, "65535"),
        (("--every", "5m", "--host", "192.0.2.1"), 1, "cannot be used"),
    ],
)
def test_wrong_calls(world: World, arguments: tuple[str, ...], code: int, words: str) -> None:
    ran = world.run("serve", "job.yaml", *arguments)
    assert (ran.code, ran.out) == (code, "")
    assert words in ran.err


def test_a_port_that_is_taken(world: World) -> None:
    with gateway() as at:
        port = at.url.rpartition(":")[2]
        ran = world.run("serve", "job.yaml", *LONG, "--host", "127.0.0.1", "--port", port)
    assert (ran.code, ran.out) == (1, "")
    assert f"port {port} of 127.0.0.1 cannot be used" in ran.err
    assert "--port 0" in ran.err
