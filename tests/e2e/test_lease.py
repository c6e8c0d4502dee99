"""Two real runs on one datasource: one waits, one is suspended past its lease, one is unlocked."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import metaferry
from e2e.oracle import expected_documents, job_mapping, read_folder
from e2e.stores import DOCUMENT, Store
from e2e.test_killed import PART, AtTheNth, documents_below, job_file, running, wait_until
from e2e.world import World
from metaferry.demo import DemoDataset, make_dataset
from metaferry.lightly.names import SCHEMA
from metaferry.storage.io.portal import Portal
from servers.datasource import FreshDatasource
from servers.proxy import proxy

pytestmark = pytest.mark.slow

#: The shortest lease that a job may ask for, in seconds.
SHORT = 5


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    make_dataset(folder)
    return folder


@pytest.fixture
def dataset(made: Path, tmp_path: Path) -> DemoDataset:
    shutil.copytree(made, tmp_path / "demo")
    return make_dataset(tmp_path / "demo")


def slow_job(dataset: DemoDataset, **changes: Any) -> Path:
    return job_file(
        dataset.root, job_mapping(dataset, str(dataset.media), {}) | {"concurrency": 2, **changes}
    )


def suspend_in_the_middle(dataset: DemoDataset, process: subprocess.Popen[str]) -> None:
    """Stops it after some documents, not in a rename: who works on is to find no folder locked."""
    wait_until(lambda: documents_below(dataset.media) >= 100, process)
    suspend(process)
    while any(is_locked(folder) for folder in (dataset.media / ".lightly").rglob("*") if folder.is_dir()):
        process.send_signal(signal.SIGCONT)
        suspend(process)


def suspend(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED)  # until every thread has stopped


def is_locked(folder: Path) -> bool:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)


def files(dataset: DemoDataset) -> dict[str, tuple[bytes, int]]:
    """Documents and state, with their times of writing."""
    return {
        str(path): (path.read_bytes(), path.stat().st_mtime_ns)
        for below in (".lightly", ".metaferry")
        for path in (dataset.media / below).rglob("*")
        if path.is_file()
    }


def is_complete(dataset: DemoDataset) -> bool:
    tree = {key: body for key, body in read_folder(dataset.media).items() if not key.endswith(".tmp")}
    return tree.pop(SCHEMA, None) is not None and tree == expected_documents(dataset)


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_one_waits_for_the_other_and_then_has_nothing_to_do(dataset: DemoDataset, log_format: str) -> None:
    job = slow_job(dataset)
    with running(job) as first:
        suspend_in_the_middle(dataset, first)
        with running(job, "--log-format", log_format) as second:
            assert second.stderr is not None
            waiting = next(line for line in second.stderr if "waiting up to" in line)
            if log_format == "json":
                waiting = json.loads(waiting)["message"]
            assert f"(process {first.pid}, run " in waiting
            first.send_signal(signal.SIGCONT)
            out, err = first.communicate(timeout=60)
            assert (first.returncode, "Traceback" in err) == (0, False)
            report = json.loads(out)
            out, err = second.communicate(timeout=60)
    assert second.returncode == 0
    after = json.loads(out)
    assert report["documents"]["create"] == after["documents"]["keep"] == len(expected_documents(dataset))
    assert (after["documents"]["create"], after["documents"]["update"]) == (0, 0)
    assert is_complete(dataset)
    assert not (dataset.media / ".metaferry/lease.json").exists()


def test_suspended_past_its_lease_it_writes_nothing_more(dataset: DemoDataset) -> None:
    job = slow_job(dataset, lease_for=SHORT)
    with running(job) as first:
        suspend_in_the_middle(dataset, first)
        lease = json.loads((dataset.media / ".metaferry/lease.json").read_text())
        assert lease["pid"] == first.pid
        report = metaferry.sync(job)  # waits until nobody has renewed it for its time
        assert (report.exit_code, report.stopped) == (0, "")
        assert is_complete(dataset)
        before = files(dataset)
        first.send_signal(signal.SIGCONT)
        out, err = first.communicate(timeout=60)
    assert (first.returncode, out) == (11, "")
    assert "the lease of this run" in err
    assert "Traceback" not in err
    left = {path: file for path, file in files(dataset).items() if not path.endswith(".tmp")}
    assert left == {path: file for path, file in before.items() if not path.endswith(".tmp")}
    runs = dataset.media / ".metaferry/runs"
    assert not (runs / lease["run_id"] / "run.json").exists(), "not even its report"
    assert metaferry.sync(job).changes == 0


def test_unlock_takes_it_away_and_the_run_stops(dataset: DemoDataset, tmp_path: Path) -> None:
    job = slow_job(dataset, lease_for=SHORT)
    world = World(tmp_path)
    with running(job) as first:
        suspend_in_the_middle(dataset, first)
        since = time.monotonic()
        held = world.run("sync", str(job), "--set", "lease_wait=0")
        assert held.code == 11
        assert f"(process {first.pid}, run " in held.err
        assert "metaferry unlock" in held.err
        shown = world.run("unlock", str(job), "--format", "json").report
        assert (shown["holder"]["pid"], shown["gone"]) == (first.pid, False)
        nobody = world.run("unlock", str(job))
        assert nobody.code == 0
        assert "nobody holds the lease" in nobody.out
        report = metaferry.sync(job)
        assert report.exit_code == 0
        wait_until(lambda: time.monotonic() > since + SHORT, first)
        first.send_signal(signal.SIGCONT)
        _, err = first.communicate(timeout=60)
    assert (first.returncode, "Traceback" in err) == (11, False)
    assert is_complete(dataset)


def test_unlock_names_who_held_it(dataset: DemoDataset, tmp_path: Path) -> None:
    job = slow_job(dataset)
    with running(job) as first:
        suspend_in_the_middle(dataset, first)
        first.kill()
        first.wait(30)
        ran = World(tmp_path).run("unlock", str(job))
    assert ran.code == 0
    assert "removed the lease of " in ran.out
    assert f"(process {first.pid}, run " in ran.out
    assert "its process had ended" in ran.out
    assert metaferry.sync(job).exit_code == 0


def test_unlock_of_one_run_leaves_the_lease_of_another(dataset: DemoDataset) -> None:
    job = slow_job(dataset)
    with running(job) as first:
        suspend_in_the_middle(dataset, first)
        first.kill()
        first.wait(30)
        (held,) = [json.loads(path.read_bytes()) for path in dataset.root.rglob("lease.json")]
        with pytest.raises(metaferry.LeaseHeld, match=f"is that of run {held['run_id']}, not of another"):
            metaferry.unlock(job, run_id="another")
        unlocked = metaferry.unlock(job, run_id=held["run_id"])
    assert unlocked.holder is not None
    assert unlocked.holder.run_id == held["run_id"]
    assert metaferry.unlock(job, run_id="another").holder is None


# -- on S3


@pytest.fixture
def store(fresh_datasource: FreshDatasource, portal: Portal, made: Path, request: Any) -> Iterator[Store]:
    url, options = fresh_datasource("s3")
    server = request.getfixturevalue("s3_server")
    with proxy(server.endpoint) as before:
        store = Store("s3", url, options, before, portal, server)
        dataset = make_dataset(made)
        names = [*dataset.images, *(name for name in dataset.videos if name.startswith("videos/rear/"))]
        store.put_all({name: (dataset.media / name).read_bytes() for name in names})
        yield store
        store.close()


@pytest.mark.servers
def test_suspended_past_its_lease_on_s3(store: Store, made: Path, tmp_path: Path) -> None:
    mapping = job_mapping(make_dataset(made), store.url, store.options)
    job = job_file(tmp_path, mapping | {"media": PART, "concurrency": 1, "lease_for": SHORT})
    with running(job) as first:
        rule = AtTheNth("status", "PUT", DOCUMENT)
        rule.nth, rule.act = 50, lambda: first.send_signal(signal.SIGSTOP)
        store.spoil(rule)
        wait_until(lambda: rule.used > 0, first)
        report = metaferry.sync(job)
        assert (report.exit_code, report.stopped) == (0, "")
        tree = store.documents()
        assert SCHEMA in tree
        store.proxy.clear()
        first.send_signal(signal.SIGCONT)
        out, err = first.communicate(timeout=60)
    assert (first.returncode, out) == (11, "")
    assert "the lease of this run" in err
    assert store.writes() == []
    assert store.documents() == tree
    assert [
        each.key for each in store.proxy.requests if each.method == "PUT" and ".metaferry/runs" in each.key
    ] == []
