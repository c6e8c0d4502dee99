"""What a run leaves at its end: the ledger, its rejects and findings, and `run.json` after all else.

A run with a `run.json` has ended; one that has begun and has none was cut off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime

from metaferry.planning.database import Database
from metaferry.planning.formats import Report
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
    finished: str,
    count: Callable[[], None],
) -> None:
    """Writes what the next run, and people, need of this one. Raises StorageError.

    `count` fills the report's requests; the last two, which come after it, are added.
    """
    ledger.save(report.run_id)
    damage.save()
    state.forget_old_runs(history, report.run_id, keep_runs, datetime.fromisoformat(finished))
    for name in ("rejects", "findings"):
        if database.value(f"SELECT count(*) FROM {name}"):
            key = state.run_key(report.run_id, f"{name}.parquet")
            state.write(key, export_parquet(database, f"FROM {name}", name))
            if name == "rejects":
                report.rejects_url = state.url_of(key)
    key = state.report_key(report.run_id)
    report.report_url = state.url_of(key)
    report.finished = finished
    count()
    # The put of the report and the delete of the lease: the file and the returned report are the same.
    report.requests.put += 1
    report.requests.delete += 1
    state.write(key, report.to_json())


def requests_of(storages: Iterable[Storage]) -> RequestCounts:
    """The requests of all storages of a run, added up."""
    return sum((storage.requests for storage in storages), RequestCounts())
