"""The file that is the job of a task: a path as the worker sees it, a URL, or an ObjectStoragePath."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from metaferry.errors import JobError

if TYPE_CHECKING:
    from metaferry.job.model import Job


def read_job_file(job: Any, storage: Mapping[str, Mapping[str, Any]], overrides: Sequence[str]) -> Job:
    """The job of that file. JobError names every fault with its line, StorageError a URL that cannot be read.

    `storage` are the options by scheme with which a URL is read, under those that `overrides` give; an
    ObjectStoragePath has a connection of its own. Relative paths in a job that was read from a URL are
    relative to the worker's working directory.
    """
    from metaferry.job.loader import job_from_text
    from metaferry.job.model import Job
    from metaferry.urls import redact

    if not isinstance(job, str) and "://" in str(job) and hasattr(job, "read_bytes"):
        shown = redact(str(job))
        try:
            data = job.read_bytes()
        except FileNotFoundError:
            raise JobError("there is no such job file", place=shown) from None
    elif isinstance(job, str) and "://" in job:
        shown, data = redact(job), _read(job, storage, overrides)
    else:
        return Job.load(job, overrides)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise JobError(f"is not UTF-8 text (byte {error.start})", place=shown) from None
    return job_from_text(Job, text, name=shown, overrides=overrides)


def _read(url: str, storage: Mapping[str, Mapping[str, Any]], overrides: Sequence[str]) -> bytes:
    from metaferry.errors import NotFound
    from metaferry.job.loader import storage_of
    from metaferry.job.model import Job
    from metaferry.job.parts import Location
    from metaferry.storage.factory import open_storage
    from metaferry.storage.io.portal import Portal
    from metaferry.urls import redact, split_signature

    place, signature = split_signature(url)
    folder, _, name = place.rpartition("/")
    given = {scheme: dict(options) for scheme, options in storage.items()}
    for scheme, options in storage_of([each for each in overrides if each.startswith("storage.")]).items():
        given[scheme] = {**given.get(scheme, {}), **options}
    location = Location.named(f"{folder}{signature}")
    with Portal() as portal:
        opened = open_storage(location.url, Job.model_construct(storage=given).storage_options(location))
        try:
            return portal.run(opened.read(name)).data
        except NotFound:
            raise JobError("there is no such job file", place=redact(url)) from None
        finally:
            portal.run(opened.close())
