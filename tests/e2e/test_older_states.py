"""The state folders of earlier commits under today's code, and what a later version's meets.

`older_states/` has the bucket of a datasource as the code of a commit left it: a sync, a plan of which one of
two shards is applied, and the lease of a run that was killed on another machine. `older_states/make.py` makes
them.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import metaferry
from e2e.older_states.make import BUCKET, IMAGES, JOB, LEASE, PLAN, environment
from metaferry import Job
from metaferry.errors import MetaferryError
from metaferry.runs.state.earlier import earlier_runs
from servers.s3 import FastS3

FIXTURES = sorted((Path(__file__).parent / "older_states").glob("*.zip"))
METADATA = "2026/.lightly/metadata/"
STATE = "2026/.metaferry/"


@pytest.fixture
def server(fast_s3_server: FastS3, monkeypatch: pytest.MonkeyPatch) -> Iterator[FastS3]:
    for name, value in environment(fast_s3_server).items():
        monkeypatch.setenv(name, value)
    fast_s3_server.control(bucket=BUCKET)
    yield fast_s3_server
    fast_s3_server.empty(BUCKET)
    fast_s3_server.reset()


def restore(server: FastS3, fixture: Path, *, lease: bool = True) -> Job:
    server.empty(BUCKET)
    with zipfile.ZipFile(fixture) as archive:
        for name in archive.namelist():
            if lease or name != LEASE:
                server.put(BUCKET, name, archive.read(name))
    return Job.from_mapping(JOB)


def scenes(server: FastS3) -> set[str]:
    found = server.objects(BUCKET, f"{METADATA}images/")
    assert len(found) == len(IMAGES)
    return {json.loads(data)["metadata"]["scene"] for data in found.values()}


@pytest.fixture(params=FIXTURES, ids=lambda path: path.stem)
def fixture(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def test_every_format_that_was_written_is_here() -> None:
    assert [path.stem for path in FIXTURES] == [
        "report-1-plan-2",
        "report-1-plan-3",
        "report-2-plan-3",
        "report-3-plan-4",
    ]


def test_the_next_sync_goes_on_where_the_earlier_version_stopped(server: FastS3, fixture: Path) -> None:
    """It waits for the lease of the run that was killed, and knows frames and documents from the state."""
    job = restore(server, fixture)
    report = metaferry.sync(job)
    documents = report.documents
    assert (report.exit_code, scenes(server)) == (0, {"market"})
    assert documents.create == documents.delete == 0
    assert 0 < documents.update < len(IMAGES)  # one shard was written by the earlier version
    assert documents.update + documents.keep == len(IMAGES) + 3
    assert (report.frames.cached, report.frames.counted) == (1, 0)
    assert report.findings.get(metaferry.Code.DOCUMENT_MODIFIED_EXTERNALLY, 0) == 0
    assert metaferry.sync(job).changes == 0


#: The version of plans that is no longer applied.
TOO_OLD = "report-1-plan-2"


@pytest.fixture(params=[path for path in FIXTURES if path.stem != TOO_OLD], ids=lambda path: path.stem)
def plan_fixture(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def test_a_plan_that_is_too_old_is_refused_and_the_next_sync_does_its_work(server: FastS3) -> None:
    (fixture,) = [path for path in FIXTURES if path.stem == TOO_OLD]
    job = restore(server, fixture, lease=False)
    before = server.objects(BUCKET, METADATA)
    with pytest.raises(metaferry.UsageError, match="version 2, and this is for version 4") as caught:
        metaferry.sync(job, plan=PLAN, shard_index=1, num_shards=2)
    assert "make it again" in caught.value.advice
    assert server.objects(BUCKET, METADATA) == before
    assert (metaferry.sync(job).exit_code, scenes(server)) == (0, {"market"})


def test_a_plan_that_was_begun_is_completed(server: FastS3, plan_fixture: Path) -> None:
    job = restore(server, plan_fixture)
    assert metaferry.sync(job, plan=PLAN, shard_index=1, num_shards=2).exit_code == 0
    report = metaferry.finish(PLAN, job=job)
    assert (report.exit_code, report.documents.update, scenes(server)) == (0, len(IMAGES), {"market"})
    assert metaferry.sync(job).changes == 0


def test_the_job_that_a_plan_kept_is_used(server: FastS3, plan_fixture: Path) -> None:
    restore(server, plan_fixture, lease=False)
    job = Job.from_mapping(JOB)
    metaferry.sync(job, plan=PLAN, shard_index=1, num_shards=2)
    assert metaferry.finish(PLAN).exit_code == 0


def test_serve_remembers_the_last_run(server: FastS3, fixture: Path) -> None:
    job = restore(server, fixture)
    found = earlier_runs(job)
    assert found.last is not None
    assert (found.last.exit_code, found.last.documents.create) == (0, len(IMAGES) + 3)


def test_the_lease_is_shown_and_taken_away(server: FastS3, fixture: Path) -> None:
    job = restore(server, fixture)
    unlocked = metaferry.unlock(job)
    assert unlocked.holder is not None
    assert unlocked.holder.name.startswith("anna@node-7 (process 4711, run 2026")
    assert LEASE not in server.objects(BUCKET, STATE)


# -- down again: what a later version may have left


def rewrite(server: FastS3, name: str, **changes: Any) -> None:
    key = next(key for key in server.objects(BUCKET, STATE) if key.endswith(name))
    value = json.loads(server.objects(BUCKET, key)[key])
    server.put(BUCKET, key, json.dumps({**value, **changes}).encode())


def as_a_later_version_left_it(server: FastS3) -> Job:
    job = restore(server, FIXTURES[-1])
    rewrite(server, "/run.json", version=99, something_new={"a": 1})
    rewrite(server, "/plan.json", version=99)
    rewrite(server, "/traits.json", version=99)
    rewrite(server, "/inferred.json", version=99)
    rewrite(server, "/lease.json", version=99, something_new=1)
    return job


def test_a_sync_after_a_downgrade_works_and_only_costs_more(server: FastS3) -> None:
    job = as_a_later_version_left_it(server)
    report = metaferry.sync(job)
    assert (report.exit_code, scenes(server)) == (0, {"market"})
    assert metaferry.sync(job).changes == 0


def test_a_plan_of_a_later_version_is_refused_before_anything_is_written(server: FastS3) -> None:
    job = as_a_later_version_left_it(server)
    before = server.objects(BUCKET, METADATA)
    for call in (lambda: metaferry.sync(job, plan=PLAN), lambda: metaferry.finish(PLAN, job=job)):
        with pytest.raises(MetaferryError, match="version 99"):
            call()
    assert server.objects(BUCKET, METADATA) == before


def test_the_lease_of_a_later_version_is_honoured(server: FastS3) -> None:
    job = as_a_later_version_left_it(server)
    with pytest.raises(metaferry.LeaseHeld, match="anna@node-7"):
        metaferry.sync(job.model_copy(update={"lease_wait": 0}))
