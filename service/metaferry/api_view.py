"""The calls of the library that look at what is in place; `api` has those of runs, and what holds for all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from typing import TYPE_CHECKING

from metaferry.api import AnyJob
from metaferry.masked_logs import masked_logs
from metaferry.progress import Progress

if TYPE_CHECKING:
    from metaferry.view.check.check import Check
    from metaferry.view.check.found import CheckReport
    from metaferry.view.doctor.model import Doctor


@contextmanager
def open_check(
    target: AnyJob,
    *,
    sample: str = "",
    seed: int = 0,
    out: str | PathLike[str] = "",
    overrides: Sequence[str] = (),
    progress: Progress | None = None,
) -> Iterator[Check]:
    """A check with all its findings, open for one block; `check` has the arguments."""
    from metaferry.view.check.check import open_check
    from metaferry.view.check.sample import Sample
    from metaferry.view.check.write import place_of, write_findings

    taken = Sample.parse(sample, seed) if sample else None
    place = place_of(out) if out else None
    with masked_logs(), open_check(target, sample=taken, overrides=overrides, progress=progress) as checked:
        if place is not None:
            write_findings(checked, place)
        yield checked


@masked_logs()
def check(
    target: AnyJob,
    *,
    sample: str = "",
    seed: int = 0,
    out: str | PathLike[str] = "",
    overrides: Sequence[str] = (),
    progress: Progress | None = None,
) -> CheckReport:
    """Reads the documents in place as their consumer does, and says what a sync would change.

    `target` is the URL of a datasource, a `Job`, or the path of a job file; `overrides` are `key=value` over
    the job, or `storage.SCHEME.OPTION=value`. sample: a share ("1%"), a part ("3/7") or a number ("10000") of
    the documents to be read, chosen by the hash of `seed` and their keys; "": all that nothing proves. out: a
    Parquet file, or its URL, for all findings; the report has the first of each code.

    Writes nothing else but the cache of frame counts. `report.exit_code` is 4 where something is invalid or a
    sync would change something, else 0. Raises JobError, UsageError and StorageError.
    """
    with open_check(
        target, sample=sample, seed=seed, out=out, overrides=overrides, progress=progress
    ) as checked:
        return checked.report


@masked_logs()
def doctor(
    job: AnyJob, *, overrides: Sequence[str] = (), read_only: bool = False, progress: Progress | None = None
) -> Doctor:
    """Whether a job can run here: each check has a status (ok, warn, fail, skipped), what was measured, and
    the remedy.

    `overrides` are `key=value` over the job. Files are written below the `doctor/` of the state folder and
    removed again; with `read_only` nothing is written. `exit_code` is 1 where a check failed, else 0. Raises
    JobError and UsageError for a job that cannot be opened.
    """
    from metaferry.view.doctor.doctor import examine

    return examine(job, overrides=overrides, read_only=read_only, progress=progress)
