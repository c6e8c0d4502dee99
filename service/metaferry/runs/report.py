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
    count: Callable[[RequestCounts], None],
) -> None:
    """Writes what the next run, and people, need of this one. Raises StorageError.

    `count` fills the report's requests; it gets the last ones to the state folder, which come after it.
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
    # The put of the report and the delete of the lease: the file and the returned report are the same.
    looks = state.storage.capabilities.delete_looks
    count(RequestCounts(put=1, delete=1, get=int(looks)))
    state.write(key, report.to_json())


def requests_of(storages: Iterable[Storage]) -> RequestCounts:
    """The requests of all storages of a run, added up."""
    return sum((storage.requests for storage in storages), RequestCounts())
