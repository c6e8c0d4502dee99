"""The reports that earlier runs of a job left in its state folder, for a process that did not do them."""

from __future__ import annotations

import logging
from contextlib import closing
from dataclasses import dataclass

from metaferry.job.model import Job
from metaferry.planning.formats import OLDER_VERSIONS, VERSION, RunReport, read_format
from metaferry.runs.metrics.figures import GOOD
from metaferry.runs.state.folder import State
from metaferry.runs.storages import Storages
from metaferry.storage.io.portal import Portal

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Earlier:
    """The newest report of a job, and the newest of a run that did its work (exit code 0 or 3)."""

    last: RunReport | None = None
    good: RunReport | None = None


def earlier_runs(job: Job) -> Earlier:
    """Reads them: one listing, and one read for each run back to the newest good one.

    Runs of another job in the same state folder, and of this one before it was changed, are passed over
    (their digest differs). Raises StorageError.
    """
    last: RunReport | None = None
    with Portal() as portal, closing(Storages(job, portal)) as storages:
        state = State.of(job, storages, portal)
        history = state.history()
        for run_id in reversed(history.run_ids):
            key = state.report_key(run_id)
            if key not in history.files or (data := state.read(key)) is None:
                continue
            try:
                report = read_format(RunReport, data, VERSION, older=OLDER_VERSIONS)
            except ValueError as error:
                log.warning("%s is not used: %s", state.url_of(key), error)
                continue
            if report.job_digest != job.digest():
                continue
            last = last or report
            if report.exit_code in GOOD:
                return Earlier(last, report)
    return Earlier(last)
