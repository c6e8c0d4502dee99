"""Deletes of a plan, kept back where a stale document is all that there is of its frame.

A stale document is one half of a rename. What becomes of the other half is only known once it was
written, or found in place: where that failed, or met what somebody else wrote, the stale one stays.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from metaferry.errors import NotFound
from metaferry.findings import Code
from metaferry.planning.database import Database
from metaferry.planning.formats import Action
from metaferry.planning.sql import quote_text
from metaferry.storage.contract import Storage
from metaferry.storage.portal import Portal

_DONE: Final = "SELECT target FROM outcomes WHERE outcome = 'done'"
#: Documents looked for at once.
_AT_ONCE: Final = 64


def keep_back_unwritten(database: Database, plan: Path) -> None:
    """Leaves the deletes alone in the files of a plan whose writes are over, without those of stale
    documents whose replacements the plan (table `decided`) writes and no outcome says are done."""
    database.run(
        f"""
        CREATE OR REPLACE TEMP TABLE missing AS
        SELECT target FROM decided
        WHERE action IN ('{Action.CREATE}', '{Action.UPDATE}') AND target NOT IN ({_DONE})
        """
    )
    _keep_back(database, plan, "could not be written")


def keep_back_missing(database: Database, plan: Path, storage: Storage, portal: Portal) -> None:
    """The same by a look at each replacement that was in place when the plan was made, and that no
    outcome tells of. One request for each: the plan may be old."""
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
    total: int = database.value("SELECT count(*) FROM expected")
    for start in range(0, total, _AT_ONCE):
        rows = database.rows(
            f"SELECT replacement FROM expected WHERE n >= {start} AND n < {start + _AT_ONCE} ORDER BY n"
        )
        for target in portal.run(_not_there(storage, [target for (target,) in rows])):
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
    """Rewrites the files, and says of each document that stays why it does."""
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


async def _not_there(storage: Storage, targets: list[str]) -> list[str]:
    async def there(target: str) -> bool:
        try:
            await storage.read(target, 0, 0)
        except NotFound as error:
            if not error.path:
                raise
            return False
        return True

    found = await asyncio.gather(*map(there, targets))
    return [target for target, is_there in zip(targets, found, strict=True) if not is_there]
