"""What a user names to be looked at: a job file, or the URL of a datasource."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike, fspath
from typing import Final, TypeAlias

from metaferry.job.loader import storage_of
from metaferry.job.model import Job
from metaferry.job.parts import Location
from metaferry.lightly.names import DOCUMENTS
from metaferry.storage.local.disk_names import absolute

Target: TypeAlias = "Job | str | PathLike[str]"

#: What the name of a job file ends with; anything else is a URL.
JOB_FILES: Final = (".yaml", ".yml", ".json")


def job_of(target: Target, overrides: Sequence[str]) -> Job:
    """A job, or what stands for one without sources: a URL's datasource, with the options of `overrides`."""
    if isinstance(target, Job):
        return target
    name = fspath(target)
    if name.lower().endswith(JOB_FILES):
        return Job.load(name, overrides)
    return job_at(above_documents(url_of(name)), overrides)


def job_at(url: str, overrides: Sequence[str]) -> Job:
    """What stands for a job where there is only the URL of a datasource: it has no sources."""
    location = Location.named(url)
    return Job.model_construct(
        {"input", "storage"}, input=location, storage=storage_of(overrides), sources=()
    )


def url_of(name: str) -> str:
    """A URL as it is, and a path as an absolute one."""
    return name if "://" in name or "::" in name else absolute(name)


def above_documents(url: str) -> str:
    """The datasource, where its `.lightly` or `.lightly/metadata` was named."""
    for below in (DOCUMENTS.rstrip("/"), DOCUMENTS.partition("/")[0]):
        url = url.rstrip("/").removesuffix(f"/{below}")
    return url
