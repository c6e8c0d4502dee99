"""Outcomes of applied rows, collected in batches into the table `outcomes`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pyarrow as pa

from metaferry.apply.outcome import Applied
from metaferry.planning.database import Database
from metaferry.planning.formats import OUTCOME_COLUMNS

#: Findings of a plan that announce a change: how they begin, its action, and how they begin once it was
#: made, or was not.
_ANNOUNCED: Final = (
    ("to be deleted: ", "delete", "deleted: ", "not deleted: "),
    ("to be replaced: ", "update", "replaced: ", "not replaced: "),
)

#: Outcomes held as Python objects, some hundreds of bytes each.
_BATCH_ROWS: Final = 8_192


class Outcomes:
    """`add` is called from one thread at a time; one batch is in memory, until `close` at the latest."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._rows: list[Applied] = []

    def add(self, applied: Sequence[Applied]) -> None:
        self._rows.extend(applied)
        if len(self._rows) >= _BATCH_ROWS:
            self.close()

    def close(self) -> None:
        """Writes what is left."""
        rows, self._rows = self._rows, []
        if rows:
            # Column by column and in one go: all threads that write documents wait for it.
            columns = dict(zip(Applied._fields, zip(*rows, strict=True), strict=True))
            arrays = [pa.array(columns[name], pa.string()) for name in OUTCOME_COLUMNS]
            self._database.insert("outcomes", pa.Table.from_arrays(arrays, names=list(OUTCOME_COLUMNS)))


def settle_findings(database: Database) -> None:
    """Rewords findings that announced a delete or an update by the table `outcomes`.

    Without an outcome nothing was tried, so the change was not made.
    """
    done = "SELECT target FROM outcomes WHERE outcome = 'done' AND action ="
    for planned, action, was, was_not in _ANNOUNCED:
        database.run(
            f"""
            UPDATE findings
            SET message = CASE WHEN target IN ({done} '{action}') THEN '{was}' ELSE '{was_not}' END
                          || substr(message, {len(planned) + 1})
            WHERE starts_with(message, '{planned}')
            """
        )
