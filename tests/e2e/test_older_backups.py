"""The backups of earlier commits under today's code, and what a run with `compact` left beside them.

`older_states/backups/` has what three runs left, the last of which was killed while it wrote;
`older_states/make_backup.py` makes them. With them come inferred entries, what stores can do, ledgers and, of
`compact`, the defaults that documents were written for.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import metaferry
from e2e.older_states.make import BUCKET, IMAGES, environment
from e2e.older_states.make_backup import BACKUP_JOB, RUNS
from e2e.test_older_states import STATE, rewrite, scenes
from metaferry import Code, Job
from metaferry.errors import MetaferryError
from servers.s3 import FastS3

FIXTURES = sorted((Path(__file__).parent / "older_states/backups").glob("*.zip"))
#: What their jobs had over `BACKUP_JOB`.
KEYS: dict[str, dict[str, Any]] = {"backup-1": {}, "compact-1": {"compact": True}}


@pytest.fixture
def server(fast_s3_server: FastS3, monkeypatch: pytest.MonkeyPatch) -> Iterator[FastS3]:
    for name, value in environment(fast_s3_server).items():
        monkeypatch.setenv(name, value)
    fast_s3_server.control(bucket=BUCKET)
    yield fast_s3_server
    fast_s3_server.empty(BUCKET)
    fast_s3_server.reset()


@pytest.fixture(params=FIXTURES, ids=lambda path: path.stem)
def restored(request: pytest.FixtureRequest, server: FastS3) -> tuple[Job, str, str]:
    """The job, the run that ended, and the one that was killed."""
    server.empty(BUCKET)
    with zipfile.ZipFile(request.param) as archive:
        second, third = json.loads(archive.read(RUNS))
        for name in archive.namelist():
            if name != RUNS:
                server.put(BUCKET, name, archive.read(name))
    return Job.from_mapping(BACKUP_JOB | KEYS[request.param.stem]), second, third


def test_every_kind_is_here() -> None:
    assert [path.stem for path in FIXTURES] == list(KEYS)


def test_runs_of_an_earlier_version_are_taken_back(restored: tuple[Job, str, str], server: FastS3) -> None:
    job, second, third = restored
    assert scenes(server) == {"market", "tunnel"}
    killed = metaferry.rollback(job, third, apply=True)
    assert (killed.exit_code, scenes(server)) == (0, {"market"})
    ended = metaferry.rollback(job, second, apply=True)
    assert (ended.exit_code, scenes(server)) == (0, {"city"})
    report = metaferry.sync(job)
    assert (report.exit_code, report.documents.update, scenes(server)) == (0, len(IMAGES), {"tunnel"})
    assert report.findings.get(Code.DOCUMENT_MODIFIED_EXTERNALLY, 0) == 0
    assert metaferry.sync(job).changes == 0


def test_a_rollback_by_a_plan_tells_what_the_earlier_version_kept(
    restored: tuple[Job, str, str], server: FastS3
) -> None:
    job, second, _ = restored
    before = server.objects(BUCKET, "2026/.lightly/")
    planned = metaferry.rollback(job, second)
    assert planned.exit_code == 3  # those that the killed run has written since are conflicts
    assert server.objects(BUCKET, "2026/.lightly/") == before


def test_the_next_sync_completes_the_killed_run_and_keeps_what_it_replaces(
    restored: tuple[Job, str, str], server: FastS3
) -> None:
    job, _, _ = restored
    report = metaferry.sync(job)
    documents = report.documents
    assert (report.exit_code, scenes(server)) == (0, {"tunnel"})
    assert (documents.create, documents.delete) == (0, 0)
    assert 0 < documents.update < len(IMAGES)
    assert (report.frames.cached, report.frames.counted) == (1, 0)
    assert report.backup.documents == documents.update
    assert metaferry.sync(job).changes == 0


def test_state_of_a_later_version_costs_more_and_breaks_nothing(
    restored: tuple[Job, str, str], server: FastS3
) -> None:
    job, _, _ = restored
    names = ("/traits.json", "/inferred.json", "/defaults.json")
    there = [key for key in server.objects(BUCKET, STATE) if key.endswith(names)]
    assert len(there) == 2 + job.compact
    for key in there:
        rewrite(server, key, version=99)
    assert (metaferry.sync(job).exit_code, scenes(server)) == (0, {"tunnel"})
    assert metaferry.sync(job).changes == 0


def test_a_backup_of_a_later_version_is_refused_before_anything_is_written(
    restored: tuple[Job, str, str], server: FastS3
) -> None:
    job, second, _ = restored
    rewrite(server, f"/backup/{second}/all.json", version=99)
    before = server.objects(BUCKET, "2026/.lightly/")
    with pytest.raises(MetaferryError, match="version 99"):
        metaferry.rollback(job, second, apply=True)
    assert server.objects(BUCKET, "2026/.lightly/") == before
