"""The command as a process, ended in the middle: killed, terminated, interrupted; then run again.

When it is ended is a condition, never a time: so many documents are in the folder, or the request
for the n-th one has reached the server.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

import metaferry
from e2e.oracle import expected_documents, job_mapping, read_folder
from e2e.stores import DOCUMENT, Meanwhile, Store
from e2e.world import ENVIRONMENT
from metaferry.demo import DemoDataset, make_dataset
from metaferry.job.model import Job
from metaferry.lightly.names import SCHEMA
from metaferry.planning.formats import RunReport
from metaferry.storage.io.portal import Portal
from servers.datasource import FreshDatasource
from servers.process import wait_until
from servers.proxy import proxy

#: 12 images and two videos of 200 and 9 frames.
PART = {"include": ["images/**", "videos/rear/**"]}
PART_DOCUMENTS = 12 + 2 + 200 + 9


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    make_dataset(folder)
    return folder


@pytest.fixture(scope="module")
def clean(made: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The tree that an undisturbed run leaves; the oracle agrees with it."""
    folder = tmp_path_factory.mktemp("clean") / "demo"
    shutil.copytree(made, folder)
    dataset = make_dataset(folder)
    metaferry.sync(Job.from_mapping(job_mapping(dataset, str(dataset.media), {})))
    tree = read_folder(dataset.media)
    assert {key: body for key, body in tree.items() if key != SCHEMA} == expected_documents(dataset)
    return tree


@pytest.fixture
def dataset(made: Path, tmp_path: Path) -> DemoDataset:
    shutil.copytree(made, tmp_path / "demo")
    return make_dataset(tmp_path / "demo")


def job_file(folder: Path, mapping: dict[str, Any]) -> Path:
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(mapping))
    return path


@contextlib.contextmanager
def running(job: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """`metaferry sync JOB … --format json` while the block runs; ended with the block if it still goes."""
    process = subprocess.Popen(
        [sys.executable, "-m", "metaferry", "sync", str(job), *arguments, "--format", "json"],
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def documents_below(folder: Path) -> int:
    """The number of documents, without looking into one."""
    return sum(
        name.endswith(".json") for _, _, names in os.walk(folder / ".lightly/metadata") for name in names
    )


def temporaries(folder: Path) -> list[Path]:
    return [path for path in (folder / ".lightly").rglob("*") if path.suffix == ".tmp"]


def converges(job: Path, tree: Callable[[], dict[str, bytes]], clean: dict[str, bytes]) -> RunReport:
    """The next run makes the tree a clean run's, and the one after it writes nothing. Gives the first."""
    second = metaferry.sync(job)
    assert (second.exit_code, second.stopped) == (0, "")
    assert second.findings.get("document.modified_externally", 0) == 0, "what we wrote is not somebody else's"
    assert tree() == clean
    third = metaferry.sync(job)
    assert (third.exit_code, third.changes, third.schema.written) == (0, 0, False)
    assert third.documents.keep == len(clean) - 1
    return second


# -- on a local folder


@pytest.mark.parametrize(
    "documents", [pytest.param(1, marks=pytest.mark.slow), 150, pytest.param(700, marks=pytest.mark.slow)]
)
def test_killed_on_a_folder(dataset: DemoDataset, clean: dict[str, bytes], documents: int) -> None:
    job = job_file(dataset.root, job_mapping(dataset, str(dataset.media), {}) | {"concurrency": 2})
    with running(job) as process:
        wait_until(lambda: documents_below(dataset.media) >= documents, process)
        process.kill()
        assert process.wait(30) == -signal.SIGKILL
    left = {key: body for key, body in read_folder(dataset.media).items() if not key.endswith(".tmp")}
    assert documents <= len(left) < len(clean) - 1, "in the middle"
    assert left.items() <= clean.items(), "every document that is visible is complete"
    assert SCHEMA not in left
    converges(job, lambda: read_folder(dataset.media), clean)
    assert temporaries(dataset.media) == []


def test_a_temporary_file_left_behind_is_no_document(dataset: DemoDataset, clean: dict[str, bytes]) -> None:
    job = job_file(dataset.root, job_mapping(dataset, str(dataset.media), {}))
    assert metaferry.sync(job).exit_code == 0
    # Named by a process that is gone, as a killed one leaves it.
    name = subprocess.run(
        [sys.executable, "-c", "from metaferry.storage.local.atomic import temporary_name as n; print(n())"],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    left = dataset.media / ".lightly/metadata/images/berlin" / name
    left.write_bytes(b'{"type": "im')
    report = metaferry.sync(job)
    assert (report.exit_code, report.changes, report.documents.skip) == (0, 0, 0)
    assert report.documents.keep == len(clean) - 1
    assert not left.exists()
    assert read_folder(dataset.media) == clean


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_stopped_on_a_folder(
    dataset: DemoDataset, clean: dict[str, bytes], number: signal.Signals, code: int
) -> None:
    job = job_file(dataset.root, job_mapping(dataset, str(dataset.media), {}) | {"concurrency": 2})
    with running(job) as process:
        wait_until(lambda: documents_below(dataset.media) >= 100, process)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert "stopping: " in err
    assert "Traceback" not in err
    report = json.loads(out)
    left = read_folder(dataset.media)
    assert left.items() <= clean.items()
    assert SCHEMA not in left
    counts = report["documents"]
    assert (counts["create"], counts["failed"], counts["conflict"]) == (len(left), 0, 0)
    assert counts["create"] + counts["deferred"] == len(clean) - 1
    assert counts["deferred"] > 0
    assert (report["exit_code"], report["schema"]["written"]) == (code, False)
    [run] = (dataset.media / ".metaferry/runs").iterdir()
    assert json.loads((run / "run.json").read_text()) == report
    # What it did is in the ledger: the next run does only the rest.
    second = converges(job, lambda: read_folder(dataset.media), clean)
    assert (second.documents.keep, second.documents.create) == (counts["create"], counts["deferred"])
    assert second.documents.update == 0


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


class AtTheNth(Meanwhile):
    """Acts when the n-th request that matches arrives."""

    nth = 1
    seen = 0

    def matches(self, method: str, key: str, headers: Mapping[str, str]) -> bool:
        if self.used == 0 and method == "PUT" and re.search(DOCUMENT, key):
            self.seen += 1
            if self.seen == self.nth:
                self.used = 1
                self.act()
        return False


def part(clean: dict[str, bytes]) -> dict[str, bytes]:
    """The tree of a clean run over the part; its schema is the whole one's, since all tables are read."""
    stems = (".lightly/metadata/images/", ".lightly/metadata/videos/rear/", SCHEMA)
    return {key: body for key, body in clean.items() if key.startswith(stems)}


def s3_job(folder: Path, store: Store, dataset: DemoDataset) -> Path:
    mapping = job_mapping(dataset, store.url, store.options) | {"media": PART, "concurrency": 8}
    return job_file(folder, mapping)


@pytest.mark.servers
@pytest.mark.parametrize("nth", [1, 100, PART_DOCUMENTS + 1], ids=["first", "middle", "schema"])
def test_killed_on_s3(store: Store, made: Path, clean: dict[str, bytes], tmp_path: Path, nth: int) -> None:
    job = s3_job(tmp_path, store, make_dataset(made))
    with running(job) as process:
        rule = AtTheNth("status", "PUT", DOCUMENT)
        rule.nth, rule.act = nth, process.kill
        store.spoil(rule)
        assert process.wait(60) == -signal.SIGKILL
    left = store.documents()
    assert left.items() <= part(clean).items()
    assert len(left) < PART_DOCUMENTS or nth > PART_DOCUMENTS
    store.proxy.clear()
    second = converges(job, store.documents, part(clean))
    # The listing proves what the killed run wrote: none of it is written again.
    assert (second.documents.keep, second.documents.update) == (len(left) - (SCHEMA in left), 0)


@pytest.mark.servers
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_stopped_on_s3(
    store: Store, made: Path, clean: dict[str, bytes], tmp_path: Path, number: signal.Signals, code: int
) -> None:
    job = s3_job(tmp_path, store, make_dataset(made))
    with running(job) as process:
        rule = AtTheNth("status", "PUT", DOCUMENT)
        rule.nth, rule.act = 50, lambda: process.send_signal(number)
        store.spoil(rule)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, "Traceback" in err) == (code, False)
    report = json.loads(out)
    left = store.documents()
    assert report["documents"]["create"] == len(left)
    assert 50 <= len(left) < PART_DOCUMENTS
    assert report["documents"]["deferred"] == PART_DOCUMENTS - len(left)
    assert left.items() <= part(clean).items()
    second = converges(job, store.documents, part(clean))
    assert second.documents.create == PART_DOCUMENTS - len(left)


@pytest.mark.servers
def test_stopped_while_it_lists(store: Store, made: Path, tmp_path: Path) -> None:
    job = s3_job(tmp_path, store, make_dataset(made))
    with running(job) as process:
        rule = Meanwhile("status", "GET", "list-type=2")
        rule.act = lambda: process.send_signal(signal.SIGTERM)
        store.spoil(rule)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (143, "")
    assert "Traceback" not in err
    assert "error: " in err
    assert store.documents() == {}
    assert store.writes() == []
