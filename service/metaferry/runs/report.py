"""What a run leaves at its end: the ledger, its rejects and findings, and `run.json` after all else.

A run with a `run.json` has ended; one that has begun and has none was cut off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from metaferry.planning.database import Database
from metaferry.planning.formats import JOINED_VIDEOS, Report
from metaferry.runs.backup.expire import is_due, too_old
from metaferry.runs.state.damage import Damage
from metaferry.runs.state.folder import RunHistory, State
from metaferry.runs.state.ledger import Ledger, export_parquet
from metaferry.storage.counts import RequestCounts
from metaferry.storage.protocol import Storage


def leave_report(
    report: Report,
    database: Database,
    state: State,
    ledger: Ledger,
    history: RunHistory,
    damage: Damage,
    *,
    keep_runs: int,
    keep_backups: timedelta | None,
    finished: str,
    count: Callable[[RequestCounts], None],
) -> None:
    """Writes what the next run, and people, need of this one. Raises StorageError.

    `keep_backups`: the age at which a backup is deleted; None: the job keeps none. `count` fills the
    report's requests; it gets the last ones to the state folder, which come after it.
    """
    ledger.save(report.run_id)
    damage.save()
    now = datetime.fromisoformat(finished)
    state.forget_old_runs(history, report.run_id, keep_runs, now)
    if keep_backups is not None:
        forget_old_backups(state, history, report.run_id, keep_backups, now)
    for name in ("rejects", "findings", JOINED_VIDEOS):
        if database.value(f"SELECT count(*) FROM {name}"):
            key = state.run_key(report.run_id, f"{name}.parquet")
            state.write(key, export_parquet(database, f"FROM {name}", name))
            if name == "rejects":
                report.rejects_url = state.url_of(key)
    key = state.report_key(report.run_id)
    report.report_url = state.url_of(key)
    report.finished = finished
    # The put of the report and the delete of the lease: the file and the returned report are the same.
    looks = state.storage.capabilities.delete_looks
    count(RequestCounts(put=1, delete=1, get=int(looks)))
    state.write(key, report.to_json())


def forget_old_backups(
    state: State, history: RunHistory, run_id: str, keep: timedelta, now: datetime
) -> None:
    """Deletes the backups that are older than `keep`, when the run `run_id` ends. It has the lease, so that
    no rollback is reading them."""
    if is_due(run_id, history.run_ids, wrote=state.has_begun(run_id)):
        found = state.backups()
        state.delete_backups({run: found[run] for run in too_old(found, this=run_id, keep=keep, now=now)})


def requests_of(storages: Iterable[Storage]) -> RequestCounts:
    """The requests of all storages of a run, added up."""
    return sum((storage.requests for storage in storages), RequestCounts())
