"""Every run ends, and soon: stores that throttle for good, pauses of an hour, and SIGTERM, on all stores.

The real command against servers over the wire. Limits of time here are for safety; what is
protected is that there is an end at all.
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from e2e.world import ENVIRONMENT
from servers.azure import fast_azure
from servers.gcs import gcs
from servers.process import wait_until
from servers.s3 import Fault, fast_s3
from servers.steering import Steered

pytestmark = pytest.mark.servers

SCHEME = {"s3": "s3", "gcs": "gs", "azure": "az"}
DOCUMENTS = r"\.lightly/metadata/.*\.json"
ALWAYS = 1_000_000
COUNT = 400


@pytest.fixture(scope="module", params=["s3", "gcs", "azure"])
def server_(request: pytest.FixtureRequest) -> Iterator[tuple[str, Steered]]:
    with {"s3": fast_s3, "gcs": gcs, "azure": fast_azure}[request.param]() as server:
        yield request.param, server


class Case:
    """A bucket with images, a table, a job file; and the command on it."""

    def __init__(self, kind: str, server: Any, folder: Path, **job: Any) -> None:
        self.kind, self.server, self.folder = kind, server, folder
        self.bucket = server.new_bucket()
        names = [f"front/{n:05d}.png" for n in range(COUNT)]
        server.seed(self.bucket, names)
        pq.write_table(pa.table({"file_name": names, "scene": ["city"] * COUNT}), folder / "labels.parquet")
        scheme = SCHEME[kind]
        self.job: dict[str, Any] = {
            "input": f"{scheme}://{self.bucket}",
            "storage": {scheme: server.options},
            "sources": [{"table": "labels.parquet"}],
            "workers": 1,
            **job,
        }
        (folder / "job.yaml").write_text(yaml.safe_dump(self.job))

    @property
    def write(self) -> str:
        return "POST" if self.kind == "gcs" else "PUT"

    @property
    def documents_key(self) -> str:
        # An upload to GCS names its object in the body, not in the path.
        return ".*" if self.kind == "gcs" else DOCUMENTS

    def throttle(self, key: str | None = None, method: str | None = None, **fault: Any) -> int:
        """Refuses for good what matches, and asks for a pause where `retry_after` is given.

        The number under which the server counts the refusals.
        """
        key = self.documents_key if key is None else key
        code = {"s3": "SlowDown", "gcs": "backendError", "azure": "ServerBusy"}[self.kind]
        rule = Fault(
            "status", method=method or self.write, key=key, times=ALWAYS, status=503, code=code, **fault
        )
        return int(self.server.add(rule))

    def documents(self) -> int:
        return int(self.server.count(self.bucket, ".lightly/metadata/"))

    @contextlib.contextmanager
    def running(self) -> Iterator[subprocess.Popen[str]]:
        process = subprocess.Popen(
            [sys.executable, "-m", "metaferry", "sync", "job.yaml", "--format", "json"],
            cwd=self.folder,
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

    def until(self, process: subprocess.Popen[str], documents: int) -> None:
        end = time.monotonic() + 100.0
        while self.documents() < documents:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < end, "it writes nothing"
            time.sleep(0.02)  # noqa: TID251 - there is nothing to wait on in another process

    def has_lease(self) -> bool:
        return int(self.server.count(self.bucket, ".metaferry/lease.json")) > 0


@pytest.fixture
def server(server_: tuple[str, Steered]) -> Iterator[tuple[str, Steered]]:
    yield server_
    server_[1].reset()


def test_a_store_that_throttles_for_good_ends_the_run(server: tuple[str, Steered], tmp_path: Path) -> None:
    case = Case(*server, tmp_path, retry_for=3, max_rate=40)
    with case.running() as process:
        case.until(process, 5)
        case.throttle()
        out, err = process.communicate(timeout=150)
    assert process.returncode == 3, err
    report = json.loads(out)
    counts = report["documents"]
    assert counts["create"] + counts["failed"] + counts["deferred"] == COUNT
    assert counts["deferred"] > 200
    assert report["findings"]["storage.outage"] == 1
    assert "Traceback" not in err


def test_sigterm_ends_a_run_under_max_rate_with_what_is_on_the_wire(
    server: tuple[str, Steered], tmp_path: Path
) -> None:
    case = Case(*server, tmp_path, max_rate=30)
    with case.running() as process:
        case.until(process, 20)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    assert case.documents() < COUNT - 100  # hundreds waited for their turn: nine seconds of them may go
    assert json.loads(out)["documents"]["create"] == case.documents()
    assert not case.has_lease()
    assert "leaked" not in err


@pytest.mark.parametrize("retry_after", [None, 3600.0])
def test_sigterm_ends_a_run_that_waits_for_a_store(
    server: tuple[str, Steered], tmp_path: Path, retry_after: float | None
) -> None:
    """`docker stop` kills after ten seconds: the pause is for an hour."""
    case = Case(*server, tmp_path, max_rate=40)
    with case.running() as process:
        case.until(process, 5)
        refusal = case.throttle(retry_after=retry_after)
        wait_until(lambda: case.server.used(refusal) > 0, process)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    assert "leaked" not in err
    assert json.loads(out)["documents"]["deferred"] > 200


@pytest.mark.parametrize("what", ["listing", "lease"])
def test_a_listing_or_a_lease_that_is_throttled_for_good_ends_the_run(
    server: tuple[str, Steered], tmp_path: Path, what: str
) -> None:
    case = Case(*server, tmp_path, retry_for=2)
    if what == "listing":
        case.throttle(key=".*", method="GET", retry_after=3600.0)
    else:
        case.throttle(key=".*", retry_after=3600.0)
    with case.running() as process:
        _, err = process.communicate(timeout=150)
    assert process.returncode == 1, err
    assert "asks for fewer requests" in err


def test_sigterm_ends_a_listing_that_waits_for_a_store(server: tuple[str, Steered], tmp_path: Path) -> None:
    case = Case(*server, tmp_path)
    refusal = case.throttle(key=".*", method="GET", retry_after=3600.0)
    with case.running() as process:
        wait_until(lambda: case.server.used(refusal) > 0, process)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 143, err


@pytest.mark.parametrize("transport", ["auto", "fsspec"])
@pytest.mark.parametrize("wait", ["3600", "Fri, 31 Dec 9999 23:59:59 GMT", "²"])
def test_one_pause_costs_retry_for_at_most_and_no_document(
    server: tuple[str, Steered], tmp_path: Path, transport: str, wait: str
) -> None:
    case = Case(*server, tmp_path, retry_for=3, transport=transport)
    server[1].add(
        Fault("status", case.write, case.documents_key, times=1, status=503, headers={"Retry-After": wait})
    )
    with case.running() as process:
        out, err = process.communicate(timeout=150)
    assert process.returncode == 0, err
    report = json.loads(out)
    assert report["documents"]["create"] == COUNT
    assert report["requests"]["throttled"] == int(wait != "²")
