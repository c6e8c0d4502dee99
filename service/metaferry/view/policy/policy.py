"""The policy of a job for one cloud. Opens no storage."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import Final

from metaferry.errors import UsageError
from metaferry.job.model import Job
from metaferry.view.policy.accesses import Access, accesses_of
from metaferry.view.policy.aws import aws_policy
from metaferry.view.policy.azure import azure_policy
from metaferry.view.policy.gcp import gcp_policy
from metaferry.view.policy.model import Cloud, JobPolicy

CLOUDS: Final[dict[Cloud, str]] = {"aws": "s3", "gcp": "gcs", "azure": "azure"}


def policy_of(
    target: Job | str | PathLike[str], cloud: Cloud | None = None, overrides: Sequence[str] = ()
) -> JobPolicy:
    """The least rights of a job, or of the job file at a path, under `overrides` (`key=value`).

    Raises JobError, and UsageError for a cloud that the job does not use, and for none where it uses several.
    """
    if isinstance(target, Job):
        if overrides:
            raise UsageError("overrides apply to a job file; put them into the job that is given")
        job = target
    else:
        job = Job.load(target, overrides)
    accesses, other_locations = accesses_of(job)
    used = [name for name, store in CLOUDS.items() if any(each.store == store for each in accesses)]
    if cloud is None:
        cloud = _only(used)
    here = [each for each in accesses if each.store == CLOUDS[cloud]]
    if not here:
        raise UsageError(
            f"this job uses nothing of {cloud}",
            advice=f"it uses {' and '.join(used)}: --cloud {used[0]}" if used else "it needs no rights there",
        )
    others = [_url(each) for each in accesses if each.store != CLOUDS[cloud]]
    if cloud == "aws":
        read = [job.storage_options(job.input)]
        document, rights = aws_policy(here, job.storage_options(job.lightly_location), read)
    else:
        document, rights = (gcp_policy if cloud == "gcp" else azure_policy)(here)
    return JobPolicy(cloud, document, tuple(rights), (*dict.fromkeys(others), *other_locations))


def _only(used: list[Cloud]) -> Cloud:
    if len(used) == 1:
        return used[0]
    which = f"uses {' and '.join(used)}" if used else "uses none of aws, gcp and azure"
    advice = (
        f"say which one: --cloud {used[0]}" if used else "rights on other stores are those of their files"
    )
    raise UsageError(f"this job {which}", advice=advice)


def _url(each: Access) -> str:
    scheme = {"s3": "s3", "gcs": "gs", "azure": "az"}[each.store]
    return f"{scheme}://{each.bucket}"
