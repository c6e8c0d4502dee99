"""Deletes of a plan, dropped where a stale document is the only one of its frame.

A stale document is one half of a rename. Whether the other half is in place is only known once it was
written, or read: where that failed, or conflicted, the stale document stays.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from metaferry.findings import Code
from metaferry.planning.database import Database
from metaferry.planning.formats import Action
from metaferry.planning.sql.rules import quote_text
from metaferry.progress import Progress
from metaferry.runs.in_place import read_in_place
from metaferry.storage.io.portal import Portal
from metaferry.storage.protocol import Storage

_DONE: Final = "SELECT target FROM outcomes WHERE outcome = 'done'"
#: Rows in memory at once.
_ROWS: Final = 1_000


def keep_back_unwritten(database: Database, plan: Path) -> None:
    """Reduces the files of a plan whose writes are over to its deletes, without those of stale documents
    whose replacements the plan (table `decided`) writes and no outcome has as done."""
    database.run(
        f"""
        CREATE OR REPLACE TEMP TABLE missing AS
        SELECT target FROM decided
        WHERE action IN ('{Action.CREATE}', '{Action.UPDATE}') AND target NOT IN ({_DONE})
        """
    )
    _keep_back(database, plan, "could not be written")


def keep_back_missing(
    database: Database, plan: Path, storage: Storage, portal: Portal, progress: Progress
) -> None:
    """The same, after reading each replacement that was in place when the plan was made and that has no
    outcome. One request for each: the plan may be old."""
    _deletes(database, plan)
    database.run(
        f"""
        CREATE OR REPLACE TEMP TABLE expected AS
        SELECT row_number() OVER () - 1 AS n, replacement FROM (
            SELECT DISTINCT replacement FROM deletes
            WHERE replacement IS NOT NULL AND replacement NOT IN ({_DONE})
        )
        """
    )
    database.run("CREATE OR REPLACE TEMP TABLE missing (target VARCHAR)")
    for target, data in read_in_place(storage, portal, _expected(database), progress):
        if not isinstance(data, bytes):
            database.run("INSERT INTO missing VALUES (?)", [target])
    _keep_back(database, plan, "is not there any more")


def _deletes(database: Database, plan: Path) -> None:
    """View `deletes`: the rows of the plan's files that delete."""
    files = ", ".join(quote_text(str(file)) for file in sorted(plan.glob("shard=*/*.parquet")))
    database.run(
        f"CREATE OR REPLACE TEMP VIEW deletes AS SELECT * FROM "
        f"read_parquet([{files}], hive_partitioning = false) WHERE action = '{Action.DELETE}'"
    )


def _keep_back(database: Database, plan: Path, why: str) -> None:
    """Rewrites the files; the finding of each document that stays says why."""
    _deletes(database, plan)
    stays = "replacement IN (SELECT target FROM missing)"
    database.run(
        f"""
        UPDATE findings SET severity = 'warning',
               message = 'left in place: the document of its frame under the right name {why}'
        WHERE code = '{Code.DOCUMENT_STALE}' AND target IN (SELECT target FROM deletes WHERE {stays})
        """
    )
    for file in sorted(plan.glob("shard=*/*.parquet")):
        left = file.with_suffix(".left")
        database.run(
            f"COPY (SELECT * FROM read_parquet({quote_text(str(file))}, hive_partitioning = false) "
            f"WHERE action = '{Action.DELETE}' AND NOT coalesce({stays}, false)) "
            f"TO {quote_text(str(left))} (FORMAT parquet, COMPRESSION zstd)"
        )
        left.replace(file)


def _expected(database: Database) -> Iterator[tuple[str, int]]:
    total: int = database.value("SELECT count(*) FROM expected")
    for start in range(0, total, _ROWS):
        rows = database.rows(
            "SELECT replacement FROM expected WHERE n >= ? AND n < ? ORDER BY n", [start, start + _ROWS]
        )
        yield from ((target, 0) for (target,) in rows)
