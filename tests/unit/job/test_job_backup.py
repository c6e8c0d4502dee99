"""`backup` in a job: how long, in which words."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from metaferry.errors import JobError
from metaferry.job.model import Job


def job_with(backup: Any) -> Job:
    return Job.from_mapping(
        {"input": "memory://x/", "sources": [{"table": "memory://t.csv"}], "backup": backup}
    )


@pytest.mark.parametrize(
    ("written", "age"),
    [
        ({"keep": "30d"}, timedelta(days=30)),
        ("30d", timedelta(days=30)),
        ({"keep": " 12 h"}, timedelta(hours=12)),
        ({"keep": "08w"}, timedelta(weeks=8)),
    ],
)
def test_an_age_is_hours_days_or_weeks(written: Any, age: timedelta) -> None:
    job = job_with(written)
    assert job.backup is not None
    assert job.backup.age == age
    assert Job.from_mapping(job.model_dump(by_alias=True, exclude_unset=True)).backup == job.backup


@pytest.mark.parametrize(
    "written", [{"keep": 30}, {"keep": "30"}, {"keep": "0d"}, {"keep": "30m"}, {}, 30, True]
)
def test_another_age_is_a_fault_of_the_job(written: Any) -> None:
    with pytest.raises(JobError, match="backup"):
        job_with(written)


def test_none_is_kept_by_default_and_the_digest_is_as_it_was() -> None:
    """A backup decides no document: with and without one a kept plan can be applied."""
    assert job_with(None).backup is None
    assert job_with(None).digest() == job_with("30d").digest()
